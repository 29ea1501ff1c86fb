"""From probabilities to stored label values, by the thresholds and sizes of the plan."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.plan import Plan
from ..core.volume import Grid, Volume


def decode(probabilities: Volume, plan: Plan) -> Volume:
    """Return the mask (1, X, Y, Z) of stored values for the probabilities of the plan's targets."""
    mask = np.zeros(probabilities.grid.shape, np.uint8)
    found = targets_found(probabilities.array, plan)
    for target, voxels in zip(plan.targets, found, strict=True):
        kept = drop_small(voxels, target.smallest, voxel_size(probabilities.grid))
        mask[kept] = plan.labels.values[target.paints]
    return probabilities.with_array(mask[None], ("mask",))


def targets_found(probabilities: NDArray[np.float32], plan: Plan) -> NDArray[np.bool_]:
    """Return where each target is found, shape (targets, X, Y, Z)."""
    if plan.activation == "sigmoid":
        thresholds = np.array([t.threshold for t in plan.targets], np.float32)
        return np.asarray(probabilities >= thresholds[:, None, None, None])
    background = 1 - probabilities.sum(axis=0, keepdims=True)
    best = np.argmax(np.concatenate([background, probabilities]), axis=0)
    return np.asarray(best == np.arange(1, len(plan.targets) + 1)[:, None, None, None])


def voxel_size(grid: Grid) -> float:
    """Return the volume of a voxel in ml, or in pixels of the stored image where it has no mm."""
    return grid.voxel_ml or float(abs(np.linalg.det(grid.affine[:3, :3])))


def drop_small(mask: NDArray[np.bool_], smallest: float, voxel: float) -> NDArray[np.bool_]:
    """Return a mask (X, Y, Z) less its islands (26-connected) below a size.

    Args:
        mask: The mask.
        smallest: Smallest size that is kept, in the unit of `voxel`.
        voxel: Size of one voxel (ml, or 1 for pixels).
    """
    if smallest <= voxel or not mask.any():
        return mask
    import cc3d

    islands = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    sizes = np.bincount(islands.ravel()) * voxel
    sizes[0] = 0
    return np.asarray(sizes >= smallest)[islands] & mask
