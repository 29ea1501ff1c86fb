"""`evaluate`: segment cases that have a reference, and score the masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..core.dataset import Dataset
from ..core.errors import CaseErrors, DataError, UnknownName
from ..core.labels import Labels
from ..core.progress import progress
from ..core.splits import NAMES, read_splits
from ..evaluation.problems import Watch, refused, sides
from ..evaluation.running import Outcome, Subject, check, evaluate_cases
from ..formats.opening import open_dataset
from ..losses.mixing import build_loss
from ..models import trained
from ..models.trained import TrainedModel
from ..prediction.predictor import Predictor
from ..report.canvas import Picture
from ..report.figures import compared, overlay
from ..report.page import Report
from ..report.plots import learning_curves, score_against_size
from ..report.problems import Finding, Kind
from .loading import engine_of, predictor_of
from .scoring import Evaluation, table_of, write_evaluation


def evaluate(  # noqa: PLR0913 - one argument per option of the verb
    model: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    split: str | None = None,
    labels: str | None = None,
    device: str = "auto",
    skip_bad: bool = False,
) -> Evaluation:
    """Segment the cases of a data set that have a reference, and score the masks.

    Args:
        model: The model folder.
        data: The data set.
        out: Folder for `metrics.csv`, `summary.csv`, `summary.json` and `report.html`.
        split: `train`, `valid`, `test` or `all`; by default the test split of the model if the
            data is what it was trained on, else the data's own test split, else all.
        labels: The data's label scheme, where it cannot be told.
        device: `auto`, `cpu` or `cuda`.
        skip_bad: Go on without the cases that cannot be used; they count as missed.

    Raises:
        GlioscopeError: If nothing can be evaluated, or bad cases are not to be skipped.
    """
    loaded = trained.load_model(Path(model))
    dataset = open_dataset(data, labels)
    known = dataset.known_labels()
    subjects, chosen = _subjects(loaded, dataset, split)
    with progress("checking", len(subjects)) as advance:
        problems = check(loaded.plan, subjects, known, advance)
    if problems and (not skip_bad or len(problems) == len(subjects)):
        raise CaseErrors(problems)
    predictor = predictor_of(loaded, engine_of(loaded, device))
    loss = build_loss(loaded.provenance.recipe.loss, loaded.plan.activation)
    watch = Watch(loaded.plan, known, _seen_before(loaded, subjects))
    with progress("evaluating", len(subjects)) as advance:
        outcome = evaluate_cases(predictor, loss, subjects, known, advance, watch.look)
    bad = outcome.bad
    if bad and (not skip_bad or len(bad) == len(subjects)):
        raise CaseErrors(bad)
    pictures = _pictures(predictor, known, subjects, outcome)
    report = _report(loaded, dataset, subjects, chosen, outcome)
    report = replace(report, pictures=pictures, problems=watch.problems(subjects, outcome))
    facts = {
        "model": str(loaded.folder),
        "model_sha256": loaded.sha256,
        "recipe": loaded.provenance.recipe.name,
        "data": str(dataset.path),
        "fingerprint": dataset.fingerprint,
        "split": chosen,
        "labels": known.name,
    }
    return write_evaluation(Path(out), outcome.rows, report, facts, len(bad))


def _subjects(
    model: TrainedModel, dataset: Dataset, split: str | None
) -> tuple[list[Subject], str]:
    """Return the cases to evaluate, and the name of their split."""
    if split not in (None, "all", *NAMES):
        raise UnknownName("split", str(split), ("all", *NAMES))
    of = {case.id: case.split or "" for case in dataset.cases}
    path = model.folder / "splits.json"
    if path.is_file() and dataset.fingerprint == model.provenance.data.get("fingerprint"):
        splits = read_splits(path, dataset)
        of = {case.id: splits.of(case.id) or "" for case in dataset.cases}
    known = {of[case.id] for case in dataset.with_masks()}
    chosen = split or ("test" if "test" in known else "all")
    subjects = [
        Subject(case, of[case.id])
        for case in dataset.with_masks()
        if chosen in ("all", of[case.id])
    ]
    if not subjects:
        raise DataError(
            dataset.path, f"no case with a mask is in the split {chosen}",
            f"one of {', '.join(sorted(known - {''})) or 'no splits'}",
            "try --split all",
        )  # fmt: skip
    return subjects, chosen


def _seen_before(model: TrainedModel, subjects: Sequence[Subject]) -> dict[str, Finding]:
    """Return what to say of cases, and of patients, that the model was trained on."""
    trained_on, patients = set(model.provenance.trained_on), set(model.provenance.patients)
    cases = [s.case for s in subjects if s.case.id in trained_on]
    others = [
        s.case for s in subjects if s.case.id not in trained_on and s.case.patient in patients
    ]
    which = _some([case.id for case in cases])
    warning = f"the model was trained or tuned on {len(cases)} of these cases ({which})"
    text = "The model was trained or tuned on this case."
    seen = {case.id: Finding(Kind.SEEN, text, warning=warning) for case in cases}
    warning = "the model was trained or tuned on other cases of " + _some(
        sorted({case.patient for case in others})
    )
    text = "The model was trained or tuned on other cases of this patient."
    return seen | {case.id: Finding(Kind.SEEN, text, warning=warning) for case in others}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _report(
    model: TrainedModel,
    dataset: Dataset,
    subjects: Sequence[Subject],
    split: str,
    outcome: Outcome,
) -> Report:
    recipe = model.provenance.recipe
    warned = [
        *_seen_before(model, subjects).values(),
        *(refused(bad, Kind.FAILED) for bad in outcome.missed),
        *(refused(bad, Kind.LEFT_OUT) for bad in outcome.left_out),
    ]
    counted = [f"{note} (in {count} cases)" for note, count in sorted(outcome.notes.items())]
    sizes = pd.DataFrame(outcome.sizes, columns=["case", "region", "size"])
    unit = "ml" if model.plan.dims == 3 else "pixels"
    return Report(
        title=f"{recipe.name} on {dataset.path.name}",
        subtitle=f"{len(subjects)} cases of the split {split}",
        warnings=[*dict.fromkeys(finding.warning for finding in warned), *counted],
        curves_svg=_curves(model),
        size_svg=score_against_size(table_of(outcome.rows), sizes, unit),
        settings=recipe.model_dump(mode="json"),
        notes=dataset.notes,
    )


def _pictures(
    predictor: Predictor,
    labels: Labels,
    subjects: Sequence[Subject],
    outcome: Outcome,
) -> list[Picture]:
    """Draw the best, the median and the worst case by mean Dice, truth against prediction."""
    mine, theirs, regions = sides(predictor.plan.labels, labels)
    failed = {case.case for case in outcome.bad}
    dice: dict[str, list[float]] = {}
    for row in outcome.rows:
        if row.metric == "dice" and row.region in regions and row.value is not None:
            dice.setdefault(row.case, []).append(row.value)
    ranked = sorted((float(np.mean(v)), case) for case, v in dice.items() if case not in failed)
    places = {"worst": 0, "median": len(ranked) // 2, "best": len(ranked) - 1}
    chosen = {place: kind for kind, place in places.items() if ranked}
    cases = {s.case.id: s.case for s in subjects}
    drawn = []
    for place, kind in sorted(chosen.items(), reverse=True):
        value, name = ranked[place]
        result = predictor.segment(cases[name])
        truth = cases[name].read_mask(labels)
        contours = compared((truth, theirs), (result.mask, mine), regions)
        png = overlay(cases[name].read(result.sequences), contours)
        drawn.append(Picture(name, png, kind, f"mean Dice {value:.3f}"))
    return drawn


def _curves(model: TrainedModel) -> str | None:
    path = model.folder / "log.csv"
    best = model.provenance.metrics.get("epoch")
    known = None if best is None else int(best)
    return learning_curves(pd.read_csv(path), known) if path.is_file() else None
