"""Stored values that mean something: finite voxels, whole-numbered labels, a place in the world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.labels import WHITE
from ..core.volume import Grid, Volume, checked_affine

WHITE_NOTE = "masks of 0 and 255 were read as 0 and 1"
DEFLATE = 1032
"""Deflate expands a byte to at most this many (zlib's technical notes, "Maximum Expansion")."""
_FARTHEST = 1e9
"""No voxel lies so many mm away, and none is so large: such a header is damaged."""
_WHOLE = 1e-3
"""Label values stored as floats may be this far from a whole number (scaling, rounding)."""


def placed(
    path: Path, affine: NDArray[np.floating]
) -> tuple[NDArray[np.floating], tuple[str, ...]]:
    """Return an affine (4, 4) with axes at right angles, and a note if it had to be repaired.

    Raises:
        DataError: If it is singular, sheared, not finite or out of this world.
    """
    return checked_affine(np.where(np.abs(affine) < _FARTHEST, affine, np.nan), path)


def scan_volume(
    path: Path, stored: NDArray[Any], grid: Grid, notes: tuple[str, ...] = ()
) -> Volume:
    """Return the stored voxels (X, Y, Z) of a scan as float32 (1, X, Y, Z).

    Raises:
        DataError: If some are NaN or infinite, or too large for float32.
    """
    with np.errstate(over="ignore"):  # what overflows is found by the next line
        array = stored.astype(np.float32)
    refuse_non_finite(path, array)
    return Volume(array[None], ("image",), grid.affine, grid.unit, notes)


def mask_volume(
    path: Path, stored: NDArray[Any], grid: Grid, notes: tuple[str, ...] = ()
) -> Volume:
    """Return the stored label values (X, Y, Z) of a mask, as `whole_numbers` does, (1, X, Y, Z).

    A mask of 0 and 255 alone is black and white: it becomes 0 and 1, with a note.

    Raises:
        DataError: If a value is not a whole number from 0 to 32767.
    """
    labels = whole_numbers(path, stored)
    if labels.max() == WHITE and np.isin(labels, (0, WHITE)).all():
        labels = (labels == WHITE).astype(np.uint8)
        notes += (WHITE_NOTE,)
    return Volume(labels[None], ("mask",), grid.affine, grid.unit, notes)


def refuse_non_finite(path: Path, array: NDArray[Any]) -> None:
    """Refuse NaN and infinite voxels.

    Raises:
        DataError: Saying how many there are.
    """
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise DataError(
            path,
            f"{bad} of {array.size} voxels are NaN or infinite",
            "finite numbers",
            "export the scan again from its source, or leave the case out",
        )


def whole_numbers(path: Path, stored: NDArray[Any]) -> NDArray[Any]:
    """Return stored label values as uint8, or int16 if one is above 255.

    Raises:
        DataError: If a value is not a whole number from 0 to 32767.
    """
    remedy = "store the mask as whole numbers (nearest-neighbour resampling keeps them whole)"
    values = stored
    if stored.dtype.kind == "f":
        refuse_non_finite(path, stored)
        values = np.rint(stored)
        fractions = np.abs(stored - values) > _WHOLE
        if fractions.any():
            raise DataError(
                path,
                f"{np.count_nonzero(fractions)} voxels are not whole numbers "
                f"(such as {stored[fractions][0]:g})",
                "label values",
                remedy,
            )
    low, high = values.min(), values.max()
    if low < 0 or high > 32767:
        raise DataError(
            path, f"label values from {low:g} to {high:g}", "values from 0 to 32767", remedy
        )
    return values.astype(np.uint8 if high <= 255 else np.int16)
