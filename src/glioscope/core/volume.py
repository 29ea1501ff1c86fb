"""`Grid` and `Volume`: voxels that know where they lie. The affine is the only geometry.

Every spatial operation is one call, `Volume.onto(grid)`; canonical axes, crops and resampling are
grids. Between grids that differ by axis order, direction and whole voxels, `onto` moves voxels
and never interpolates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DataError

Unit = Literal["mm", "px"]
Shape = tuple[int, int, int]

SAME_GRID = 0.05
"""Two grids are one if no voxel of theirs lies further apart than this share of a voxel."""
TINY_SHEAR = 1e-2
"""Largest departure from right angles (cosine between two axes) that is repaired."""
_ROUNDING = 1e-4
"""Cosine between axes below which a shear is rounding of the header and not worth a word."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: a shape (X, Y, Z) and a 4x4 affine from voxel indices to RAS+ world.

    Attributes:
        shape: Number of voxels along each array axis; a 2D image has Z = 1.
        affine: Maps (i, j, k, 1) to (x, y, z, 1), x to the right, y to the front, z up.
        unit: `mm`, or `px` where the file knows no spacing (PNG, JPEG).
    """

    shape: Shape
    affine: NDArray[np.floating]
    unit: Unit = "mm"

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each array axis in `unit`."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Where each array axis points, for example `RAS` or `LPI`."""
        from nibabel.orientations import aff2axcodes

        return "".join(str(code) for code in aff2axcodes(self.affine))  # type: ignore[no-untyped-call]

    @property
    def voxel_ml(self) -> float | None:
        """Volume of a voxel in ml; None where the unit is pixels."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000 if self.unit == "mm" else None

    @property
    def corners(self) -> NDArray[np.floating]:
        """World coordinates of the eight corner voxels, shape (8, 3)."""
        ends = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij"))
        return self.world(ends.reshape(3, 8).T)

    def world(self, index: ArrayLike) -> NDArray[np.floating]:
        """Return the world coordinates, shape (..., 3), of voxel indices, shape (..., 3)."""
        moved: NDArray[np.floating] = np.asarray(index) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return moved

    def matches(self, other: Grid) -> bool:
        """Tell whether both grids have one shape and lie in one place, up to rounding."""
        if self.shape != other.shape or self.unit != other.unit:
            return False
        apart = np.linalg.norm(self.corners - other.corners, axis=1).max()
        return bool(apart <= SAME_GRID * min(self.spacing))

    def canonical(self) -> Grid:
        """Return the same voxels in the axis order nearest to RAS+."""
        axes, signs = _axes(self.affine)
        order = np.argsort(axes)
        turn = np.zeros((4, 4))
        turn[3, 3] = 1
        for new, old in enumerate(order):
            turn[old, new] = signs[old]
            turn[old, 3] = 0 if signs[old] > 0 else self.shape[old] - 1
        shape = _shape([self.shape[old] for old in order])
        return replace(self, shape=shape, affine=self.affine @ turn)

    def window(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """Return the grid of `shape` voxels whose first one is this grid's voxel `start`."""
        affine = self.affine.copy()
        affine[:3, 3] = self.world(start)
        return replace(self, shape=_shape(shape), affine=affine)

    def resized(self, shape: Sequence[int]) -> Grid:
        """Return a grid of `shape` voxels that covers the same box."""
        scale = np.array(self.shape) / np.array(shape)
        affine = self.affine.copy()
        affine[:3, :3] *= scale
        affine[:3, 3] = self.world((scale - 1) / 2)
        return replace(self, shape=_shape(shape), affine=affine)

    def resampled(self, spacing: Sequence[float]) -> Grid:
        """Return a grid of about the given spacing (in `unit`) that covers the same box."""
        extent = np.array(self.shape) * self.spacing
        return self.resized([max(1, round(n)) for n in extent / np.array(spacing)])


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels with names and a place: an array (C, X, Y, Z) on a `Grid`.

    Attributes:
        array: Shape (C, X, Y, Z); a 2D image has Z = 1.
        names: One name per channel or region of axis 0.
        affine: 4x4, voxel index to RAS+ world.
        unit: `mm`, or `px` where the spacing is unknown.
        notes: What was repaired or assumed when this was read, for the user to see.
    """

    array: NDArray[Any]
    names: tuple[str, ...]
    affine: NDArray[np.floating] = field(default_factory=lambda: np.eye(4))
    unit: Unit = "mm"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or len(self.names) != self.array.shape[0]:
            raise ValueError(
                f"a Volume is (C, X, Y, Z) with C names, not {self.array.shape} {self.names}"
            )

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(_shape(self.array.shape[1:]), self.affine, self.unit)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size along each array axis in `unit`."""
        return self.grid.spacing

    @property
    def orientation(self) -> str:
        """Where each array axis points, for example `RAS`."""
        return self.grid.orientation

    def channel(self, name: str) -> NDArray[Any]:
        """Return the voxels (X, Y, Z) of one channel."""
        voxels: NDArray[Any] = self.array[self.names.index(name)]
        return voxels

    def with_array(self, array: NDArray[Any], names: Sequence[str] | None = None) -> Volume:
        """Return other voxels (C, X, Y, Z) on the same grid."""
        return replace(self, array=array, names=self.names if names is None else tuple(names))

    def canonical(self) -> Volume:
        """Return the volume in the axis order nearest to RAS+; no voxel changes its place."""
        return self.onto(self.grid.canonical())

    def crop(self, start: Sequence[int], shape: Sequence[int]) -> Volume:
        """Return `shape` voxels from `start` on; zeros where that reaches outside."""
        return self.onto(self.grid.window(start, shape))

    def resample(self, spacing: Sequence[float]) -> Volume:
        """Return the volume at another spacing (in `unit`)."""
        return self.onto(self.grid.resampled(spacing))

    def onto(self, grid: Grid) -> Volume:
        """Return the volume on another grid; zero where that lies outside this one.

        Whole numbers (masks) take the nearest voxel, floats are interpolated linearly, after a
        Gaussian of (step - 1) / 2 voxels along axes on which the new grid is coarser (the rule of
        `skimage.transform.resize`).

        Raises:
            ValueError: If one grid is in mm and the other in pixels.
        """
        if grid.unit != self.unit:
            raise ValueError(f"voxels in {self.unit} have no place on a grid in {grid.unit}")
        return _reorder(self, grid)._resample_onto(grid)

    def _resample_onto(self, grid: Grid) -> Volume:
        step = np.linalg.solve(self.affine, grid.affine)  # index on `grid` -> index here
        offset = np.round(step[:3, 3]).astype(int)
        reach = np.abs(step - _whole_voxels(offset))[:3] @ [*grid.shape, 1]
        if reach.max() < SAME_GRID:
            array = _window(self.array, offset, grid.shape)
        else:
            array = np.stack([_interpolate(a, step, grid.shape) for a in self.array])
        return replace(self, array=array, affine=grid.affine.copy())


def checked_affine(
    affine: ArrayLike, where: object
) -> tuple[NDArray[np.floating], tuple[str, ...]]:
    """Return an affine with axes at right angles, and a note if it had to be repaired.

    A tiny shear is taken out by polar decomposition (the nearest orthonormal axes; Higham, 1986).

    Args:
        affine: 4x4, voxel index to RAS+ world in mm.
        where: The file, for messages.

    Raises:
        DataError: If the affine is singular, not finite or visibly sheared.
    """
    fixed = np.array(affine, dtype=np.float64)
    linear = fixed[:3, :3]
    spacing = np.linalg.norm(linear, axis=0)
    if (
        not np.isfinite(fixed).all()
        or spacing.min() < 1e-6
        or abs(np.linalg.det(linear / spacing)) < 1e-3
    ):
        raise DataError(
            str(where),
            "the affine is singular or not finite",
            "three independent axes",
            "convert the scan again from its source (dcm2niix for DICOM)",
        )
    directions = linear / spacing
    shear = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if shear > TINY_SHEAR:
        raise DataError(
            str(where),
            f"the affine is sheared (cosine between axes {shear:.3f})",
            f"axes at right angles (at most {TINY_SHEAR})",
            "resample the scan onto a plain grid",
        )
    if shear <= _ROUNDING:
        return fixed, ()
    u, _, vt = np.linalg.svd(directions)
    fixed[:3, :3] = (u @ vt) * spacing
    return fixed, (f"a shear of {shear:.4f} in the affine was taken out",)


def bounding_box(mask: NDArray[np.bool_]) -> tuple[Shape, Shape]:
    """Return start and shape of the smallest box round a mask (X, Y, Z); the whole if empty."""
    if not mask.any():
        return (0, 0, 0), _shape(mask.shape)
    ends = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        ends.append((int(used[0]), int(used[-1]) + 1))
    return _shape([a for a, _ in ends]), _shape([b - a for a, b in ends])


def _shape(values: Sequence[int]) -> Shape:
    x, y, z = (int(v) for v in values)
    return x, y, z


def _axes(affine: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """World axis nearest to each array axis, and its sign (nibabel's `io_orientation`)."""
    from nibabel.orientations import io_orientation

    ornt = io_orientation(affine).astype(np.int64)  # type: ignore[no-untyped-call]
    return ornt[:, 0], ornt[:, 1]


def _reorder(volume: Volume, grid: Grid) -> Volume:
    """Turn and flip the axes of `volume` so that they run nearest to those of `grid`."""
    step = np.linalg.solve(grid.affine, volume.affine)
    axes, signs = _axes(step)
    array, affine = volume.array, volume.affine.copy()
    for axis in range(3):
        if signs[axis] < 0:
            array = np.flip(array, axis + 1)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
    order = np.argsort(axes)
    affine[:, :3] = affine[:, order]
    return replace(volume, array=array.transpose(0, *(order + 1)), affine=affine)


def _whole_voxels(offset: NDArray[np.int64]) -> NDArray[np.floating]:
    step = np.eye(4)
    step[:3, 3] = offset
    return step


def _window(array: NDArray[Any], start: NDArray[np.int64], shape: Shape) -> NDArray[Any]:
    """Cut a window out of (C, X, Y, Z), filled with zeros where it reaches outside."""
    inside = [
        slice(max(0, s), max(0, min(n, s + m)))
        for s, n, m in zip(start, array.shape[1:], shape, strict=True)
    ]
    part = array[(slice(None), *inside)]
    if part.shape[1:] == shape:
        return part
    out = np.zeros((array.shape[0], *shape), array.dtype)
    if part.size:
        at = [slice(cut.start - s, cut.stop - s) for cut, s in zip(inside, start, strict=True)]
        out[(slice(None), *at)] = part
    return out


def _interpolate(array: NDArray[Any], step: NDArray[np.floating], shape: Shape) -> NDArray[Any]:
    """Sample (X, Y, Z) at `step` times the indices of a grid of `shape`."""
    from scipy import ndimage

    linear, offset = step[:3, :3], step[:3, 3]
    order = 1 if np.issubdtype(array.dtype, np.floating) else 0
    if order:
        sigma = np.maximum(0, (np.linalg.norm(linear, axis=1) - 1) / 2)
        if sigma.max() > 0.05:
            array = ndimage.gaussian_filter(array, sigma, mode="nearest")
    straight = bool(np.abs(linear - np.diag(np.diag(linear))).max() * max(shape) < 1e-3)
    out: NDArray[Any] = ndimage.affine_transform(
        array, np.diag(linear) if straight else linear, offset, shape, order=order, mode="nearest"
    )
    _clear_outside(out, linear, offset, array.shape)
    return out


def _clear_outside(
    out: NDArray[Any],
    linear: NDArray[np.floating],
    offset: NDArray[np.floating],
    source: Sequence[int],
) -> None:
    """Set to zero what lies more than half a voxel outside the source array (X, Y, Z)."""
    x, y, z = np.ogrid[: out.shape[0], : out.shape[1], : out.shape[2]]
    for row, shift, n in zip(linear, offset, source, strict=True):
        place = sum(
            (
                c * index
                for c, index in zip(row, (x, y, z), strict=True)
                if abs(c) * max(out.shape) > 1e-3
            ),
            np.full((1, 1, 1), shift),
        )
        outside = (place < -0.5 - 1e-3) | (place > n - 0.5 + 1e-3)
        if outside.any():
            out[np.broadcast_to(outside, out.shape)] = 0
