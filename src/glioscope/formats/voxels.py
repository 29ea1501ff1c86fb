"""Stored values that mean something: finite voxels, whole-numbered labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError

_WHOLE = 1e-3
"""Label values stored as floats may be this far from a whole number (scaling, rounding)."""


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
            "replace them (numpy.nan_to_num), or leave the case out",
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
