"""Random changes of a training sample. Every draw comes from the generator that is passed in."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.config import Augmentation


def augment(
    image: Tensor, mask: Tensor, settings: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Change an image (C, *S) and its mask of stored values (*S) at random.

    The mask is only ever moved, by nearest neighbour; intensities change in the image alone.
    """
    image, mask = _move(image, mask, settings, rng)
    return _recolour(image, settings, rng), mask


def _move(
    image: Tensor, mask: Tensor, settings: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    dims = mask.ndim
    flips = [axis for axis in range(dims) if rng.random() < settings.flip]
    turn = rng.random() < settings.rotate
    zoom = rng.random() < settings.scale
    if flips:
        image, mask = image.flip([1 + axis for axis in flips]), mask.flip(flips)
    if not (turn or zoom):
        return image, mask
    matrix = np.eye(dims)
    if turn:
        matrix = _rotation(dims, np.deg2rad(settings.degrees), rng)
    if zoom:
        matrix = matrix * rng.uniform(0.7, 1.4)
    shape = np.array(mask.shape)[::-1]  # grid_sample wants (x, y, z) = (last, ..., first) axis
    theta = np.zeros((1, dims, dims + 1), np.float32)
    theta[0, :, :dims] = matrix * shape[None, :] / shape[:, None]
    grid = F.affine_grid(torch.from_numpy(theta), [1, 1, *mask.shape], align_corners=False)
    image = F.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
    moved = F.grid_sample(mask[None, None].float(), grid, mode="nearest", align_corners=False)
    return image, moved[0, 0].to(mask.dtype)


def _rotation(dims: int, limit: float, rng: np.random.Generator) -> np.ndarray:
    """Return a rotation by up to `limit` (radians) in each plane."""
    matrix = np.eye(dims)
    for a in range(dims):
        for b in range(a + 1, dims):
            angle = rng.uniform(-limit, limit)
            plane = np.eye(dims)
            plane[[a, a, b, b], [a, b, a, b]] = [
                np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
            ]  # fmt: skip
            matrix = matrix @ plane
    return matrix


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
    dims = image.ndim - 1
    convolve = F.conv2d if dims == 2 else F.conv3d
    for axis in range(dims):
        kernel = bell.reshape([1, 1, *(-1 if a == axis else 1 for a in range(dims))])
        padding = [3 if a == axis else 0 for a in range(dims)]
        image = convolve(image[:, None], kernel, padding=padding)[:, 0]
    return image
