"""Threshold and smallest island of each target, chosen on the validation cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..core.plan import Plan
from ..core.volume import Grid
from ..prediction.decode import targets_found, voxel_size
from ..prediction.window import Forward, activate, infer
from ..prepare.cache import Prepared

THRESHOLDS = (0.5, 0.3, 0.35, 0.4, 0.45, 0.55, 0.6, 0.65, 0.7)
SMALLEST = {
    "mm": (0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0),
    "px": (0.0, 16.0, 32.0, 64.0, 128.0, 256.0),
}
_GAIN = 1e-3
"""Mean Dice by which a choice must beat the default (0.5, keep all) to replace it."""


def tuned(
    plan: Plan,
    cases: Iterable[Prepared],
    forward: Forward,
    table: NDArray[np.float32],
    fixed: tuple[bool, bool],
) -> Plan:
    """Return the plan with the thresholds and smallest islands of the highest mean Dice.

    Args:
        plan: The plan; its own values are the defaults.
        cases: Validation cases.
        forward: The network.
        table: Stored label value to outputs, shape (outputs, 256).
        fixed: Whether the recipe fixes the thresholds, and whether the smallest islands.
    """
    softmax = plan.activation == "softmax"
    tables = []
    unit = "mm"
    for case in cases:
        unit = case.grid.unit
        chances = activate(infer(forward, np.array(case.image), plan), plan)
        truth = table[-len(plan.targets) :, np.array(case.mask)] > 0
        sizes = SMALLEST[case.grid.unit]
        tables.append(
            [
                _scores(
                    _masks(chances, plan, t, fixed[0] or softmax),
                    truth[t],
                    case.grid,
                    (target.smallest,) if fixed[1] else sizes,
                )
                for t, target in enumerate(plan.targets)
            ]
        )
    means = np.mean(tables, axis=0)  # (targets, thresholds, sizes)
    targets = []
    for target, mean in zip(plan.targets, means, strict=True):
        best = np.unravel_index(np.argmax(mean), mean.shape)
        threshold, size = best if mean[best] > mean[0, 0] + _GAIN else (0, 0)
        update = {}
        if not (fixed[0] or softmax):
            update["threshold"] = THRESHOLDS[threshold]
        if not fixed[1]:
            update["smallest"] = SMALLEST[unit][size]
        targets.append(target.model_copy(update=update))
    return plan.model_copy(update={"targets": tuple(targets)})


def _masks(
    chances: NDArray[np.float32], plan: Plan, target: int, fixed: bool
) -> Iterable[NDArray[np.bool_]]:
    """Yield the mask of a target at each threshold that may be chosen."""
    if fixed:
        yield targets_found(chances, plan)[target]
    else:
        yield from (chances[target] >= threshold for threshold in THRESHOLDS)


def _scores(
    masks: Iterable[NDArray[np.bool_]],
    truth: NDArray[np.bool_],
    grid: Grid,
    smallest: Sequence[float],
) -> list[list[float]]:
    """Return the Dice of each mask, for each smallest island that may be chosen."""
    import cc3d

    sizes = np.array(smallest)
    total = np.count_nonzero(truth)
    rows = []
    for mask in masks:
        islands = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
        voxels = np.bincount(islands.ravel())[1:]
        hits = np.bincount(islands[truth], minlength=len(voxels) + 1)[1:]
        kept = voxels[None] * voxel_size(grid) >= sizes[:, None]
        found, right = (kept * voxels).sum(axis=1), (kept * hits).sum(axis=1)
        rows.append(
            [2 * r / (f + total) if f + total else 1.0 for r, f in zip(right, found, strict=True)]
        )
    return rows
