"""Random changes of a training sample. Every draw comes from the generator that is passed in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.config import Augmentation
from .artefacts import spoil
from .warp import Matrix, displacement, resample, rotation, sampling_grid


def augment(
    image: Tensor,
    mask: Tensor,
    settings: Augmentation,
    rng: np.random.Generator,
    mirror: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """Change an image (C, *S) and its mask of stored values (*S) at random.

    The mask is only ever moved, by nearest neighbour; intensities change in the image alone.

    Args:
        image: The image.
        mask: Its mask.
        settings: Chances of the changes.
        rng: Where every draw comes from.
        mirror: Axes over which the sample may be mirrored; None for all.
    """
    axes = range(mask.ndim) if mirror is None else mirror
    flips = [axis for axis in axes if rng.random() < settings.flip]
    if flips:
        image, mask = image.flip([1 + axis for axis in flips]), mask.flip(flips)
    image, mask = _move(image, mask, settings, rng)
    return _recolour(spoil(image, settings, rng), settings, rng), mask


def _move(
    image: Tensor, mask: Tensor, settings: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Turn, zoom and deform in one resampling."""
    shape, dims = mask.shape, mask.ndim
    turn, zoom, bend = (
        rng.random() < chance for chance in (settings.rotate, settings.scale, settings.elastic)
    )
    if not (turn or zoom or bend):
        return image, mask
    matrix = np.eye(dims)
    if turn:
        limit = np.deg2rad(settings.degrees)
        matrix = rotation(rng.uniform(-limit, limit, dims * (dims - 1) // 2), dims)
    if zoom:
        matrix = matrix * rng.uniform(0.7, 1.4)
    field = displacement(_control_points(dims, rng), shape) if bend else None
    grid = sampling_grid(shape, matrix, field=field)
    moved = resample(mask[None].float(), grid, "nearest")
    return resample(image, grid), moved[0].to(mask.dtype)


def _control_points(dims: int, rng: np.random.Generator) -> Matrix:
    """Draw displacements that give no folds; 1 is the distance between two control points."""
    strength = rng.uniform(0.04, 0.12) * dims  # more points are averaged in 3D
    return rng.uniform(-strength, strength, (dims, *[8] * dims))


def _recolour(image: Tensor, settings: Augmentation, rng: np.random.Generator) -> Tensor:
    """Change intensities; zeros outside the head may move, as they do in a real scanner."""
    if rng.random() < settings.brightness:
        image = image * float(rng.uniform(0.75, 1.25))
    if rng.random() < settings.contrast:
        mean = image.mean(dim=tuple(range(1, image.ndim)), keepdim=True)
        image = (image - mean) * float(rng.uniform(0.75, 1.25)) + mean
    if rng.random() < settings.gamma:
        axes = tuple(range(1, image.ndim))
        low = image.amin(axes, keepdim=True)
        span = (image.amax(axes, keepdim=True) - low).clamp_min(1e-6)
        image = ((image - low) / span) ** float(rng.uniform(0.7, 1.5)) * span + low
    if rng.random() < settings.blur:
        image = _blur(image, float(rng.uniform(0.5, 1)))
    if rng.random() < settings.noise:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0, 0.1)
        image = image + torch.from_numpy(noise.astype(np.float32))
    return image


def _blur(image: Tensor, sigma: float) -> Tensor:
    reach = torch.arange(-3, 4, dtype=torch.float32)
    bell = torch.exp(-0.5 * (reach / sigma) ** 2)
    bell = bell / bell.sum()
    for axis in range(1, image.ndim):
        padded = F.pad(image, [0, 0] * (image.ndim - 1 - axis) + [3, 3])
        image = torch.zeros_like(image)
        for start, weight in enumerate(bell.tolist()):
            image.add_(padded.narrow(axis, start, image.shape[axis]), alpha=weight)
    return image
