"""Score masks against the truth: one case, or two folders paired by the names of their files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import numpy as np

from ..core.errors import CaseErrors, DataError, UndecidedLabels
from ..core.labels import SCHEMES, Labels, decide, strange
from ..core.registry import Entry
from ..core.volume import Volume
from ..formats.sequences import schemes_of
from ..metrics import MetricTraits, Score, metrics
from .pairing import Pair, aligned, masks_of, paired
from .tables import BACKGROUND, NO_PREDICTION, Row

Result = TypeVar("Result")
_ENHANCING = {SCHEMES[name].values["enhancing"] for name in ("brats2021", "brats2023")}
_TUMOUR = "tumour"
_BACKGROUND_METRICS = ("dice",)
_READERS = 4  # cases in memory at a time


class About(TypedDict):
    """What stands in every row of a case.

    Attributes:
        case: Name of the case.
        patient: Who it belongs to.
        split: `train`, `valid`, `test`, or empty.
    """

    case: str
    patient: str
    split: str


@dataclass(frozen=True)
class ScoreResult:
    """The scores of two folders.

    Attributes:
        rows: One for each metric of each region in each case.
        warnings: What the user should know.
        cases: What was compared, sorted by case.
        labels: The label scheme of all masks.
        notes: What was repaired or assumed when the masks of a case were read, by case.
    """

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]
    cases: tuple[Pair, ...]
    labels: Labels
    notes: Mapping[str, tuple[str, ...]]


def shared_names(one: Labels, other: Labels) -> tuple[str, ...]:
    """Return what can be compared between two schemes: regions, then classes.

    Where only one of them is binary, the `tumour` of the other is its whole tumour.

    >>> shared_names(SCHEMES["brats2021"], SCHEMES["brats2024"])
    ('WT', 'TC', 'ET', 'necrosis', 'oedema', 'enhancing')
    >>> shared_names(SCHEMES["brats2021"], SCHEMES["binary"])
    ('tumour',)
    """
    known = with_tumour(other, one).names
    return tuple(name for name in with_tumour(one, other).names if name in known)


def score_case(
    prediction: Volume,
    predicted_labels: Labels,
    truth: Volume,
    truth_labels: Labels,
    *,
    metric_names: Sequence[str] | None = None,
    **about: Unpack[About],
) -> list[Row]:
    """Score one mask in every region that both label schemes know, and the background's Dice.

    Args:
        prediction: Stored label values (1, X, Y, Z).
        predicted_labels: What they mean.
        truth: Stored label values (1, X, Y, Z) on the same grid.
        truth_labels: What they mean.
        metric_names: Registered metrics; all of them if None.
        **about: Case, patient and split, as they stand in the rows.

    Raises:
        DataError: If the schemes have no region in common.
        UnknownName: If there is no such metric.
        ValueError: If the shapes differ.
    """
    names = shared_names(predicted_labels, truth_labels)
    if not names:
        raise DataError(
            about["case"],
            f"labels {predicted_labels.name} of the prediction and {truth_labels.name} of the truth"
            " share no region",
            "one scheme",
            "say which with --labels",
        )
    predicted_labels, truth_labels = (
        with_tumour(predicted_labels, truth_labels),
        with_tumour(truth_labels, predicted_labels),
    )
    chosen, rows = _chosen(metric_names), []
    background = np.ones((2, *truth.array.shape[1:]), bool)
    for name in names:
        found = predicted_labels.mask(prediction.array[0], name)
        real = truth_labels.mask(truth.array[0], name)
        background[0] &= ~found
        background[1] &= ~real
        rows += [
            _row(name, metric, metric.function(found, real, truth.spacing), about)
            for metric in chosen
        ]
    for metric in chosen:
        if metric.name in _BACKGROUND_METRICS:
            score = metric.function(*background, truth.spacing)
            rows.append(_row(BACKGROUND, metric, score, about))
    return rows


def missing_rows(
    names: Sequence[str],
    *,
    metric_names: Sequence[str] | None = None,
    reason: str = NO_PREDICTION,
    **about: Unpack[About],
) -> list[Row]:
    """Return the worst value of every metric, for a case without a prediction.

    Args:
        names: Regions and classes, as `shared_names` gives them.
        metric_names: Registered metrics; all of them if None.
        reason: Why there is none.
        **about: Case, patient and split, as they stand in the rows.
    """
    chosen = _chosen(metric_names)
    wanted = [(name, metric) for name in names for metric in chosen]
    wanted += [(BACKGROUND, metric) for metric in chosen if metric.name in _BACKGROUND_METRICS]
    return [
        _row(name, metric, Score(metric.traits.worst, reason), about) for name, metric in wanted
    ]


def score_folders(truth: Path, prediction: Path, labels: Labels | None) -> ScoreResult:
    """Score every mask of one folder against the mask of the same name in another.

    Masks are paired as `pairing.paired` says. A missing prediction counts as the worst; another
    axis order is turned, any other grid refused.

    Args:
        truth: Folder or file of the truth, 3D masks or images.
        prediction: Folder or file of the predictions.
        labels: The label scheme; if None, it is decided once from the names and the values of all
            masks on both sides. In `binary` every value but 0 is tumour.

    Raises:
        DataError: If a folder holds no mask or two of one case, no name matches, or the label
            scheme is ambiguous.
        CaseErrors: Naming every mask that cannot be read, lies on another grid than its truth or
            holds unknown labels.
    """
    pairs, warnings = paired(truth, prediction)
    if labels is None:
        labels, doubts = _decide(truth, pairs)
        warnings += doubts
    scheme = labels
    results = _each(pairs, lambda pair: _score_pair(pair, scheme))
    notes = Counter(note for _, found in results for note in found)
    warnings += [f"{note} (in {count} cases)" for note, count in notes.items()]
    rows = tuple(row for found, _ in results for row in found)
    said = {pair.case: found for pair, (_, found) in zip(pairs, results, strict=True)}
    return ScoreResult(rows, tuple(warnings), tuple(pairs), labels, said)


def _chosen(metric_names: Sequence[str] | None) -> list[Entry[MetricTraits]]:
    return [metrics[name] for name in (metrics if metric_names is None else metric_names)]


def _row(region: str, metric: Entry[MetricTraits], score: Score, about: About) -> Row:
    return Row(
        **about,
        region=region,
        metric=metric.name,
        value=score.value,
        unit=metric.traits.unit,
        rule=metric.traits.rule,
        reason=score.reason,
    )


def with_tumour(labels: Labels, other: Labels) -> Labels:
    """Return a scheme that has a region `tumour` if the other, with no name in common, has it."""
    if _TUMOUR not in other.names or set(labels.names) & set(other.names):
        return labels
    whole = labels.regions.get("WT", tuple(labels.values))
    return Labels(labels.name, labels.values, {**labels.regions, _TUMOUR: whole})


def _score_pair(pair: Pair, labels: Labels) -> tuple[list[Row], tuple[str, ...]]:
    """Return the rows of a pair, and the notes of its masks."""
    truth, prediction = masks_of(pair, labels)
    about = About(case=pair.case, patient=pair.patient, split="")
    if prediction is None:
        return missing_rows(labels.names, **about), truth.notes
    rows = score_case(prediction, labels, truth, labels, **about)
    return rows, tuple(dict.fromkeys((*truth.notes, *prediction.notes)))


def _each(pairs: Sequence[Pair], function: Callable[[Pair], Result]) -> list[Result]:
    """Apply a function to every pair, a few at a time; list all that cannot be used."""

    def attempt(pair: Pair) -> Result | DataError:
        try:
            return function(pair)
        except DataError as error:
            return error

    with ThreadPoolExecutor(_READERS) as pool:
        found = list(pool.map(attempt, pairs))
    errors = [result for result in found if isinstance(result, DataError)]
    if errors:
        raise CaseErrors(errors)
    return [result for result in found if not isinstance(result, DataError)]


def _decide(truth: Path, pairs: Sequence[Pair]) -> tuple[Labels, list[str]]:
    """Return the scheme of all masks, by the names of the cases and all values, and doubts."""
    values = _each(pairs, _values)
    real, predicted = (set[int]().union(*side) for side in zip(*values, strict=True))
    _refuse_two_conventions(truth, real, predicted)
    allowed = [name for name in SCHEMES if all(name in schemes_of(pair.case) for pair in pairs)]
    unknown = strange(real | predicted, allowed)
    files = [(pair.truth, pair.prediction) for pair in pairs]
    holding = (
        file
        for both, held in zip(files, values, strict=True)
        for file, side in zip(both, held, strict=True)
        if unknown & side
    )
    labels = decide(real | predicted, next(holding, None) or truth, allowed)
    both = {"predictions hold": (predicted, real), "truth holds": (real, predicted)}
    doubts = [
        f"the {side} no label but 1: if that is any tumour, --labels binary"
        for side, (one, other) in both.items()
        if one == {1} and len(other) > 1
    ]
    return labels, doubts


def _refuse_two_conventions(truth: Path, real: set[int], predicted: set[int]) -> None:
    """Refuse an enhancing tumour of 4 here and of 3 there, which together look like 2024."""
    alike = _ENHANCING <= real | predicted <= {*SCHEMES["brats2024"].values.values()}
    if alike and not (real >= _ENHANCING or predicted >= _ENHANCING):
        raise UndecidedLabels(
            str(truth),
            f"the truth holds {sorted(real)} and the predictions hold {sorted(predicted)}",
            "one label scheme on both sides",
            f"convert one side, or say which with --labels ({', '.join(SCHEMES)})",
        )


def _values(pair: Pair) -> tuple[set[int], set[int]]:
    """Return the label values of the truth and of the prediction, less the background."""
    one, other = (
        set() if mask is None else {int(value) for value in np.unique(mask.array)} - {0}
        for mask in aligned(pair)
    )
    return one, other
