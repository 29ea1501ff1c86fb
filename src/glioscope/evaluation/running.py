"""Evaluate a model: segment every case on its own grid, and score what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..core.case import Case, require_same_grid
from ..core.errors import BadCase, DataError
from ..core.labels import Labels
from ..core.plan import Plan
from ..losses.mixing import Loss
from ..prediction.predictor import Predictor, Segmentation
from ..prepare.scan import prepare_mask, target_table
from .scoring import missing_rows, score_case, shared_names
from .tables import ALL, Row

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


def check(plan: Plan, subjects: Sequence[Subject]) -> list[BadCase]:
    """Return the cases whose headers already tell that they cannot be used."""
    problems = []
    for subject in subjects:
        try:
            case = subject.case.only(plan.sequences)
            grid = case.require_common_grid(plan.sequences)
            if case.mask is not None:
                require_same_grid(case.mask.path, case.mask.grid(), case.path, grid)
        except DataError as error:
            problems.append(BadCase(subject.case.id, error))
    return problems


def evaluate_cases(
    predictor: Predictor,
    loss: Loss,
    subjects: Sequence[Subject],
    labels: Labels,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[Row], list[BadCase]]:
    """Segment and score cases one by one.

    Args:
        predictor: The model.
        loss: The loss of its recipe.
        subjects: What to evaluate.
        labels: The scheme of the reference masks.
        advance: Called after each case.

    Returns:
        The rows of all cases, and the bad ones, whose rows are the worst with the reason.
    """
    table = torch.from_numpy(target_table(predictor.plan, labels))
    names = shared_names(predictor.plan.labels, labels)
    rows: list[Row] = []
    bad: list[BadCase] = []
    for subject in subjects:
        case = subject.case
        about = {"case": case.id, "patient": case.patient, "split": subject.split}
        try:
            case = case.only(predictor.plan.sequences)
            result = predictor.segment(case)
            truth = case.read_mask(labels, case.grid())
            rows += score_case(result.mask, result.labels, truth, labels, **about)
            value = whole_loss(result, case, labels, loss, table)
            known = math.isfinite(value)
            rows.append(
                Row(
                    **about,
                    region=ALL,
                    metric="loss",
                    value=value if known else None,
                    rule=LOSS_RULE,
                    reason="" if known else "the loss is not finite",
                )
            )
        except DataError as error:
            bad.append(BadCase(case.id, error))
            rows += missing_rows(names, **about)
        advance()
    return rows, bad


def whole_loss(
    result: Segmentation, case: Case, labels: Labels, loss: Loss, table: torch.Tensor
) -> float:
    """Return the loss of a segmented case on the grid that the network worked on."""
    mask = torch.from_numpy(prepare_mask(case, labels, result.prepared.grid))
    target = table[:, mask.long()]
    return float(loss(torch.from_numpy(result.logits)[None], target[None]))
