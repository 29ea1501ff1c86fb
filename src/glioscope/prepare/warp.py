"""Where voxels are read from when a sample is turned, zoomed or deformed; smooth fields."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Matrix = NDArray[np.float64]


def smooth(coefficients: Matrix, bases: Sequence[Matrix]) -> Tensor:
    """Return the sum of products of 1D functions, one for each axis.

    Args:
        coefficients: Weight of each product, shape (*functions of each axis).
        bases: For each axis, the values of its functions, (voxels, functions).

    Returns:
        The field, float32, shape (*voxels of each axis).
    """
    field = torch.from_numpy(coefficients).float()
    for basis in bases:  # takes the first axis away and puts its voxels last
        field = torch.tensordot(field, torch.from_numpy(basis).float(), dims=([0], [1]))
    return field


def splines(size: int, points: int) -> Matrix:
    """Return the cubic B-splines of control points, (size, points).

    The second point lies on the first voxel, the last but one on the last voxel.
    """
    place = np.linspace(1, points - 2, size)[:, None]
    away = np.abs(place - np.arange(points))
    inner = 2 / 3 - away**2 + away**3 / 2
    outer = np.clip(2 - away, 0, None) ** 3 / 6
    return np.where(away < 1, inner, outer)


def displacement(control: Matrix, shape: Sequence[int]) -> Tensor:
    """Return how far each voxel is read from its place, in voxels, (dims, *shape).

    Args:
        control: Displacement of control points, (dims, *points); 1 is the distance between two
            points. The field has no folds if all are below 1 / 2.48 in 3D, 1 / 2.05 in 2D (Choi
            and Lee, 2000, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions").
        shape: Voxels along each axis.
    """
    points = control.shape[1:]
    bases = [splines(n, p) for n, p in zip(shape, points, strict=True)]
    spacing = [(n - 1) / (p - 3) for n, p in zip(shape, points, strict=True)]
    return torch.stack([smooth(c, bases) * h for c, h in zip(control, spacing, strict=True)])


def rotation(angles: Matrix, dims: int) -> Matrix:
    """Return a rotation (dims, dims) by one angle (radians) in each plane."""
    matrix = np.eye(dims)
    planes = [(a, b) for a in range(dims) for b in range(a + 1, dims)]
    for (a, b), angle in zip(planes, angles, strict=True):
        plane = np.eye(dims)
        plane[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
        ]  # fmt: skip
        matrix = matrix @ plane
    return matrix


def sampling_grid(
    shape: Sequence[int],
    matrix: Matrix,
    shift: Matrix | None = None,
    field: Tensor | None = None,
) -> Tensor:
    """Return where each voxel x is read, as `grid_sample` wants it, (1, *shape, dims).

    That is `matrix @ (x + field) + shift`, in voxels from the middle of the image.

    Args:
        shape: Voxels along each axis.
        matrix: Rotation and zoom, (dims, dims).
        shift: Voxels along each axis, (dims,).
        field: Displacement of each voxel, (dims, *shape).
    """
    size = np.array(shape)
    # grid_sample wants (x, y, z) = (last, ..., first) axis, and the image from -1 to 1
    columns = torch.from_numpy((matrix * 2 / size[:, None])[::-1].T.copy()).float()
    start = np.zeros(len(shape)) if shift is None else (shift * 2 / size)[::-1].copy()
    grid = torch.from_numpy(start).float()
    for axis, n in enumerate(shape):
        place = (torch.arange(n) - (n - 1) / 2).reshape(along(axis, len(shape)))
        if field is not None:
            place = place + field[axis]
        grid = grid + place[..., None] * columns[axis]
    return grid[None]


def along(axis: int, ndim: int) -> list[int]:
    """Return the shape of a vector that lies along one of some axes."""
    return [-1 if a == axis else 1 for a in range(ndim)]


def resample(image: Tensor, grid: Tensor, mode: str = "bilinear", outside: str = "zeros") -> Tensor:
    """Read an image (C, *S) at the places of a grid."""
    moved = F.grid_sample(image[None], grid, mode=mode, padding_mode=outside, align_corners=False)
    return moved[0]
