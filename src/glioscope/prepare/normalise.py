"""Intensity normalisations of one channel (X, Y, Z)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def zscore(image: Image) -> Image:
    """Give the voxels that are not zero mean 0 and standard deviation 1; zeros stay zero."""
    brain = image != 0
    out = np.zeros_like(image)
    if brain.any():
        inside = image[brain].astype(np.float64)
        out[brain] = (inside - inside.mean()) / max(float(inside.std()), 1e-8)
    return out


def unit(image: Image) -> Image:
    """Scale the values to 0..1; a constant image becomes 0."""
    low, high = float(image.min()), float(image.max())
    return ((image - low) / max(high - low, 1e-8)).astype(np.float32)


def percentile(image: Image) -> Image:
    """Clip the voxels that are not zero to their 0.5 to 99.5 percentiles, then `zscore`."""
    brain = image != 0
    if not brain.any():
        return np.zeros_like(image)
    low, high = np.percentile(image[brain], [0.5, 99.5])
    return zscore(np.where(brain, np.clip(image, low, high), 0).astype(np.float32))


def by_slice(function: Callable[[Image], Image]) -> Callable[[Image], Image]:
    """Return a normalisation that treats every axial slice by itself."""

    def normalise(image: Image) -> Image:
        slices = [function(image[..., z]) for z in range(image.shape[-1])]
        return np.stack(slices, axis=-1)

    return normalise


NORMALISATIONS: Mapping[str, Callable[[Image], Image]] = {
    "zscore": zscore,
    "zscore-slice": by_slice(zscore),
    "unit-slice": by_slice(unit),
    "percentile": percentile,
}
"""By the names that recipes use."""
