"""The straight way of a scan from disk to network input. Imports no torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core.case import Case
from ..core.errors import DataError
from ..core.labels import Labels
from ..core.plan import ZERO, Plan
from ..core.volume import Grid, Volume, bounding_box
from .normalise import NORMALISATIONS


def prepare_image(case: Case, plan: Plan) -> Volume:
    """Read the channels of a case and bring them to the plan's grid and intensities.

    Returns:
        A float32 volume (C, X, Y, Z) in the order of `plan.channels`, on canonical axes.

    Raises:
        DataError: If a channel is missing, unreadable, constant or on another grid.
    """
    scan = read_image(case, plan).canonical()
    if plan.dims == 3 and scan.unit == "px":
        raise DataError(case.path, "is a 2D image", "a volume", "choose a 2D recipe")
    if plan.crop == "head" and scan.unit == "mm":
        start, shape = bounding_box((scan.array != 0).any(axis=0))
        if plan.dims == 2:  # every slice stays, so that slices are counted as in the scan
            start, shape = (*start[:2], 0), (*shape[:2], scan.grid.shape[2])
        scan = scan.crop(start, shape)
    normalise = NORMALISATIONS[plan.normalise]
    scan = scan.with_array(np.stack([normalise(channel) for channel in scan.array]))
    scan = scan.onto(planned_grid(scan.grid, plan))
    empty = np.zeros(scan.grid.shape, np.float32)
    channels = [empty if name == ZERO else scan.channel(name) for name in plan.channels]
    return scan.with_array(np.stack(channels).astype(np.float32), plan.channels)


def read_image(case: Case, plan: Plan) -> Volume:
    """Read the channels that a plan needs, as `Case.read` does.

    Raises:
        DataError: If a channel is missing, unreadable, on another grid or of one value everywhere:
            nothing can be seen in it, and the mask that a network makes of it looks like any other.
    """
    scan = case.read(plan.sequences)
    for name, channel in zip(scan.names, scan.array, strict=True):
        low, high = channel.min(), channel.max()
        if low == high:
            raise DataError(
                case.channels[name].path,
                f"holds one value everywhere ({low:g})",
                "an image",
                "export the scan again from its source, or leave the case out",
            )
    return scan


def prepare_mask(case: Case, labels: Labels, grid: Grid) -> NDArray[np.uint8]:
    """Read the mask of a case and bring its stored values (X, Y, Z) onto the grid of its image.

    Raises:
        DataError: If the mask is missing, unreadable, of unknown values or on another grid.
    """
    stored = case.read_mask(labels, case.grid()).onto(grid)
    return np.asarray(stored.array[0], np.uint8)


def planned_grid(grid: Grid, plan: Plan) -> Grid:
    """Return the grid that the network works on, given that of the canonical, cropped scan."""
    if plan.size:
        return grid.resized((*plan.size, grid.shape[2]) if plan.dims == 2 else plan.size)
    return grid.resampled(plan.spacing) if plan.spacing else grid


def target_table(plan: Plan, labels: Labels) -> NDArray[np.float32]:
    """Return which outputs of the network each stored value belongs to, shape (outputs, 256).

    `table[:, mask]` turns a mask of stored values into targets; with `softmax`, output 0 is the
    background.
    """
    values = np.arange(256)
    rows = []
    for target in plan.targets:
        known = [c for c in target.classes if c in labels.values]
        rows.append(np.isin(values, [labels.values[c] for c in known]))
    if plan.activation == "softmax":
        rows.insert(0, ~np.any(rows, axis=0))
    return np.stack(rows).astype(np.float32)
