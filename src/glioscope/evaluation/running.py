"""Evaluate a model: segment every case on its own grid, and score what comes out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from ..core.case import Case
from ..core.errors import BadCase, DataError
from ..core.labels import Labels
from ..core.plan import Plan
from ..core.volume import Grid, Volume
from ..losses.mixing import Loss
from ..prediction.decode import voxel_size
from ..prediction.predictor import Predictor, Segmentation
from ..prepare.scan import prepare_mask, read_image, target_table
from .scoring import About, missing_rows, score_case, shared_names, with_tumour
from .tables import ALL, Row

_READERS = 4
"""Cases in memory at a time while they are checked."""
LOSS_RULE = "the recipe's loss on the whole case, on the grid the network works on"


@dataclass(frozen=True)
class Subject:
    """A case to evaluate.

    Attributes:
        case: The case, with a mask.
        split: `train`, `valid` or `test` of the model's own splits or of the data's; or empty.
    """

    case: Case
    split: str


Inspect = Callable[[Subject, Volume, Segmentation, Sequence[Row]], None]
"""What looks at a scored case: the reference, what the model said, and the scores."""


def check(
    plan: Plan,
    subjects: Sequence[Subject],
    labels: Labels,
    advance: Callable[[], None] = lambda: None,
) -> list[BadCase]:
    """Read every case once, so that all bad ones are known before work is lost on the others."""

    def attempt(subject: Subject) -> BadCase | None:
        try:
            case = subject.case.only(plan.sequences)
            read_image(case, plan)
            case.read_mask(labels, case.grid())
        except DataError as error:
            return BadCase(subject.case.id, error)
        finally:
            advance()
        return None

    with ThreadPoolExecutor(_READERS) as pool:
        return [bad for bad in pool.map(attempt, subjects) if bad]


@dataclass(frozen=True)
class Outcome:
    """What came of an evaluation.

    Attributes:
        rows: The scores of all cases.
        missed: Cases that could not be segmented; their scores are the worst.
        left_out: Cases whose reference cannot be used; they have no scores.
        sizes: Case, region and size of the reference, in ml, or in pixels of a 2D image.
        notes: What was repaired or assumed, with the number of cases.
    """

    rows: list[Row] = field(default_factory=list)
    missed: list[BadCase] = field(default_factory=list)
    left_out: list[BadCase] = field(default_factory=list)
    sizes: list[tuple[str, str, float]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def bad(self) -> list[BadCase]:
        """Every case that could not be scored."""
        return [*self.missed, *self.left_out]


def evaluate_cases(
    predictor: Predictor,
    loss: Loss,
    subjects: Sequence[Subject],
    labels: Labels,
    advance: Callable[[], None] = lambda: None,
    inspect: Inspect = lambda *_: None,
) -> Outcome:
    """Segment and score cases one by one.

    Args:
        predictor: The model.
        loss: The loss of its recipe.
        subjects: What to evaluate.
        labels: The scheme of the reference masks.
        advance: Called after each case.
        inspect: Called with each case that was scored, while its masks are in memory.
    """
    table = torch.from_numpy(target_table(predictor.plan, labels))
    names = shared_names(predictor.plan.labels, labels)
    outcome = Outcome()
    for subject in subjects:
        case = subject.case
        about = About(case=case.id, patient=case.patient, split=subject.split)
        try:
            truth = case.read_mask(labels, _known_grid(case, predictor.plan))
        except DataError as error:
            outcome.left_out.append(BadCase(case.id, error))
            advance()
            continue
        try:
            result = predictor.segment(case)
            outcome.notes.update({*result.notes, *truth.notes})
            case = case.only(predictor.plan.sequences)
            rows = score_case(result.mask, result.labels, truth, labels, **about)
            rows.append(_loss_row(whole_loss(result, case, labels, loss, table), about))
        except DataError as error:
            outcome.missed.append(BadCase(case.id, error))
            rows = missing_rows(names, reason=str(error), **about)
        else:
            inspect(subject, truth, result, rows)
        outcome.rows.extend(rows)
        known = with_tumour(labels, predictor.plan.labels)
        voxel = voxel_size(truth.grid)
        sizes = ((n, float(known.mask(truth.array, n).sum()) * voxel) for n in names)
        outcome.sizes.extend((case.id, name, size) for name, size in sizes)
        advance()
    return outcome


def _known_grid(case: Case, plan: Plan) -> Grid | None:
    """Return the grid of a scan; None if it cannot be told, which is no fault of the reference."""
    try:
        return case.only(plan.sequences).grid()
    except DataError:
        return None


def _loss_row(value: float, about: About) -> Row:
    known = math.isfinite(value)
    return Row(
        **about,
        region=ALL,
        metric="loss",
        value=value if known else None,
        rule=LOSS_RULE,
        reason="" if known else "the loss is not finite",
    )


def whole_loss(
    result: Segmentation, case: Case, labels: Labels, loss: Loss, table: torch.Tensor
) -> float:
    """Return the loss of a segmented case on the grid that the network worked on."""
    mask = torch.from_numpy(prepare_mask(case, labels, result.prepared.grid))
    target = table[:, mask.long()]
    return float(loss(torch.from_numpy(result.logits)[None], target[None]))
