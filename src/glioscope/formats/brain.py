"""A healthy brain drawn from a seed: every structure is a distance field in mm.

Nothing is taken from a patient. Folds, ventricles and deep nuclei are closed formulas bent by
random fields, so a brain can be sampled at any place and spacing. A voxel is a mixture of tissues.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..core.volume import Grid

Field = NDArray[np.floating[Any]]

TISSUES = ("white", "grey", "deep", "fluid", "vessel", "oedema", "enhancing", "necrosis")
"""Axis 0 of a mixture; the last three are a tumour's."""
FIELD_OF_VIEW = (160.0, 192.0, 144.0)
"""Extent of a phantom in mm: left to right, back to front, bottom to top."""
SURFACE = -1.2
"""Depth in mm at which the brain mask ends: a little over the brain."""


def head_grid(spacing: float) -> Grid:
    """Return the grid of every phantom of a spacing in mm: RAS axes, the head in the middle."""
    x, y, z = (round(extent / spacing) for extent in FIELD_OF_VIEW)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * spacing for n in (x, y, z)]
    return Grid((x, y, z), affine)


def places_of(grid: Grid) -> Field:
    """Return the world coordinates (3, N) in mm of all voxels of an upright grid."""
    steps, origin = np.diag(grid.affine)[:3], grid.affine[:3, 3]
    lines = [
        (start + step * np.arange(n)).astype(np.float32)
        for start, step, n in zip(origin, steps, grid.shape, strict=True)
    ]
    return np.stack(np.meshgrid(*lines, indexing="ij")).reshape(3, -1)


class Noise:
    """A smooth random field over space: mean 0, standard deviation 1.

    Args:
        rng: Where it is drawn from.
        scale: Size of its blobs in mm.
    """

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        field = _smooth(rng.standard_normal((24,) * 3, np.float32), 1.5)
        self.lattice, self.step = field / field.std(), scale / 3

    def __call__(self, places: Field) -> Field:
        """Return the values at `places` (3, N) in mm."""
        out: Field = ndimage.map_coordinates(
            self.lattice, places / self.step, order=1, mode="grid-wrap"
        )
        return out


class Folds(Noise):
    """Winding sheets about `scale` mm apart; its value is the signed distance to the nearest in mm.

    The zero level of a random wave of one wavelength winds as sulci do. In a wave of wavenumber k
    the zero level is about atan(k wave / |gradient|) / k away.
    """

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        field = rng.standard_normal((48,) * 3, np.float32)
        wave = _smooth(field, 1.6) - _smooth(field, 2.2)
        steep = np.linalg.norm(np.gradient(wave), axis=0)
        k = np.sqrt((steep**2).mean() / (wave**2).mean())
        self.step = scale * k / np.pi
        self.lattice = (np.arctan2(wave, steep / k) / k * self.step).astype(np.float32)


def _smooth(field: Field, nodes: float) -> Field:
    out: Field = ndimage.gaussian_filter(field, nodes, mode="wrap")
    return out


def soft(distance: Field, width: float) -> Field:
    """Return the share of a voxel of `width` mm that is on the negative side of a surface."""
    out: Field = np.clip(0.5 - distance / width, 0, 1)
    return out


def ball(places: Field, centre: ArrayLike, axes: ArrayLike) -> Field:
    """Return the distance to an ellipsoid, negative inside (first order; Quilez, 2008)."""
    away = places - _column(centre)
    near = np.linalg.norm(away / _column(axes), axis=0) + 1e-6
    steep = np.linalg.norm(away / _column(axes) ** 2, axis=0) + 1e-6
    out: Field = near * (near - 1) / steep
    return out


def tube(places: Field, start: ArrayLike, end: ArrayLike, radii: tuple[float, float]) -> Field:
    """Return the distance to a straight tube with round ends, negative inside."""
    way = _column(end) - _column(start)
    away = places - _column(start)
    along = np.clip((away * way).sum(0) / float((way**2).sum()), 0, 1)
    reach: Field = np.linalg.norm(away - way * along, axis=0)
    out: Field = reach - (radii[0] + (radii[1] - radii[0]) * along)
    return out


def join(first: Field, second: Field, round_off: float) -> Field:
    """Return the smooth minimum of two distance fields."""
    blend = np.clip(0.5 + (second - first) / (2 * round_off), 0, 1)
    out: Field = second + (first - second) * blend - round_off * blend * (1 - blend)
    return out


def folded(p: Field) -> Field:
    """Return places (3, N) with the left half turned onto the right."""
    return np.stack([np.abs(p[0]), p[1], p[2]])


def _column(values: ArrayLike) -> Field:
    return np.asarray(values, np.float32).reshape(3, 1)


class Brain:
    """A healthy adult brain in mm, x to the right, y to the front, z up, the thalami at 0.

    Attributes:
        turn: Rotation and scaling (3, 3) from the world to the brain's own upright coordinates.
        shift: Place (3, 1) of its middle in the world.
        age: From 0 (tight sulci, narrow ventricles) to 1.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        angles = rng.normal(0, [2.5, 2.5, 3.0])
        turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
        self.turn = turn / rng.normal(1, 0.025, 3).clip(0.95, 1.05)
        self.shift = _column(rng.normal(0, 1.5, 3))
        self.age = rng.uniform(0, 1)
        self.coarse = [Noise(rng, 45) for _ in range(3)]
        self.fine = [Noise(rng, 13) for _ in range(3)]
        self.folds = Folds(rng, 16)
        self.reach = Noise(rng, 22)
        self.veins = Noise(rng, 6)

    def own(self, world: Field) -> Field:
        """Return places (3, N) of the world in the head's own upright coordinates."""
        out: Field = (self.turn @ (world - self.shift)).astype(np.float32)
        return out

    def world(self, p: Field) -> Field:
        """Return the place (3) in the world of one in the head's own coordinates."""
        out: Field = np.linalg.solve(self.turn, p) + self.shift[:, 0]
        return out

    def bend(self, p: Field) -> Field:
        """Return places shifted a few mm, so that nothing stays straight or symmetrical."""
        shifts = [3 * c(p) + 1.2 * f(p) for c, f in zip(self.coarse, self.fine, strict=True)]
        out: Field = p + np.stack(shifts)
        return out

    def hulls(self, p: Field) -> tuple[Field, Field]:
        """Return the distances to the smooth outlines of cerebrum and hindbrain."""
        x, y, z = p
        m = folded(p)
        egg = 1 + 1.6e-5 * np.maximum(y + 20, 0) ** 2
        top = ball(np.stack([x * egg, y * (1 - 3e-5 * x**2), z]), (0, -3, 8), (66, 84, 59))
        cap = -join(-top, z + 18, 8)
        cerebrum = join(cap, ball(m, (38, 0, -20), (25, 44, 24)), 7)
        lobes = join(ball(m, (22, -52, -38), (29, 31, 23)), ball(p, (0, -52, -38), (12, 25, 20)), 5)
        stem = join(
            tube(p, (0, -22, -12), (0, -36, -80), (15, 10)), ball(p, (0, -18, -32), (17, 14, 15)), 5
        )
        return cerebrum, join(lobes, stem, 4)

    def depth(self, world: Field) -> Field:
        """Return how far places (3, N) of the world lie under the brain's surface in mm."""
        p = self.own(world)
        bumps: Field = 0.7 * self.fine[0](p) + 1.2 * self.coarse[0](p)
        return bumps - join(*self.hulls(p), 5)

    def cortex(self, p: Field, depth: Field) -> Field:
        """Return the distance to the folded surface, in sulci and fissures too."""
        share = np.linalg.norm((p - _column((0, -5, 5))) / _column((66, 85, 60)), axis=0).clip(0.2)
        # on the hull sulci wind; towards the middle they close in on each other
        sheet = np.abs(self.folds(p / share + 0.4 * p)) * share
        inward = np.maximum(depth, (0.93 - share) * 62)
        surface = np.hypot(sheet, np.maximum(0, inward - 17 - 5 * self.reach(p)))
        x, y, z = p
        core = np.hypot((y + 4) / 46, (z - 4) / 27)  # callosum and nuclei: no fissure there
        middle = np.hypot(x, np.maximum(0, 1 - core) * 30) + 0.3
        sylvian = np.abs(z + 2 + 0.45 * y + 3 * self.reach(p)) * 0.9 - 0.6
        away = np.maximum(0, 37 - np.abs(x)) + np.maximum(0, np.abs(y - 2) - 24)
        lateral = np.hypot(np.maximum(sylvian, 0), away)
        out: Field = np.min([surface, depth, middle, lateral], axis=0)
        return out

    def tissues(self, p: Field, depth: Field, width: float) -> Field:
        """Return the share of each tissue (8, N) where there is no tumour.

        Args:
            p: Places (3, N) in the head's own coordinates, as a tumour pushed them.
            depth: How far they lie under the surface in mm.
            width: Edge of a voxel in mm.
        """
        mix = np.zeros((len(TISSUES), depth.size), np.float32)
        mix[0] = 1
        q = self.bend(p)
        m = folded(q)
        reach = self.reach(q)
        surface = self.cortex(q, depth) - 0.1 - 0.5 * self.age - 0.25 * self.fine[1](p)
        paint(mix, "grey", soft(surface - 2.7 - 0.4 * reach, width))
        for centre, axes in _DEEP:
            paint(mix, "deep", soft(ball(m, centre, axes), width + 1))
        paint(mix, "fluid", 0.92 * soft(surface, width))
        self._paint_hindbrain(mix, q, self.hulls(p), width)
        ventricles = self.ventricles(q)
        caps = soft(ventricles - 1.5 - 1.5 * self.veins(q), 4)  # age-related, bright on FLAIR
        paint(mix, "oedema", 0.75 * self.age * caps * (part(mix, "white") > 0.5))
        paint(mix, "fluid", soft(ventricles, width))
        paint(mix, "fluid", soft(depth - 0.2 - 0.8 * reach, width))
        sinus = np.hypot(q[0], depth - 1.5) - 2.5
        paint(mix, "vessel", 0.8 * soft(sinus, width) * (p[2] > -10))
        twigs = soft((1.5 - self.veins(q)) * 3, 2) * soft(surface - 1, width)
        paint(mix, "vessel", 0.8 * twigs)
        return mix

    def ventricles(self, q: Field) -> Field:
        """Return the distance to the fluid spaces inside the brain."""
        wide = 0.7 + 0.6 * self.age
        m = folded(q)
        horns = ball(q, (0, -38, -34), (6, 5, 8))  # the fourth ventricle
        for start, end, radii in _HORNS:
            radii = (radii[0] * wide, radii[1] * wide)
            horns = join(horns, tube(m, start, end, radii), 2)
        third = np.maximum(m[0] - 0.9 - self.age, ball(q, (0, -8, -1), (20, 15, 11)))
        out: Field = np.minimum(np.maximum(horns, 0.8 - m[0]), third)
        return out

    def _paint_hindbrain(
        self, mix: Field, q: Field, hulls: tuple[Field, Field], width: float
    ) -> None:
        brain, hind = hulls  # between the two lies the tentorium
        here = soft(hind - brain + 1, width)
        bark = soft(q[1] + 38, 6)
        rings = np.linalg.norm(q - _column((0, -22, -34)), axis=0) + 2 * self.reach(q)
        folia = 0.5 + 0.5 * np.sin(rings * (2 * np.pi / 5.5))
        core = soft(ball(folded(q), (16, -44, -36), (16, 12, 9)), 6)
        share = np.zeros_like(mix)
        share[0] = 1
        paint(share, "grey", 0.5 + bark * (0.1 + 0.3 * folia))
        paint(share, "fluid", 0.25 * bark * folia**3)
        paint(share, "white", 0.8 * core)
        stem = np.maximum(0, np.minimum(q[1] + 35, q[2] + 24))  # it grows into the cerebrum
        paint(share, "fluid", soft(np.abs(hind - brain) - 1.4 + 0.4 * stem, width))
        mix *= 1 - here
        mix += share * here


_DEEP = (  # putamen and pallidum, thalamus, caudate: centre and half axes in mm
    ((27, 4, 1), (7, 17, 11)),
    ((11, -16, 6), (10, 15, 10)),
    ((15, 16, 12), (5, 11, 11)),
)
_HORNS = (  # lateral ventricle from the frontal to the occipital horn, and the temporal horn
    ((6, 31, 5), (8, 14, 17), (3.5, 4.5)),
    ((8, 14, 17), (13, -14, 19), (4.5, 5)),
    ((13, -14, 19), (22, -34, 9), (5, 6.5)),
    ((22, -34, 9), (20, -54, 4), (6, 3)),
    ((22, -34, 8), (33, -8, -14), (4, 2)),
)


def paint(mix: Field, tissue: str, share: Field) -> None:
    """Lay `share` (N) of a tissue over a mixture (8, N)."""
    mix *= 1 - share
    mix[TISSUES.index(tissue)] += share


def part(mix: Field, tissue: str) -> Field:
    """Return the share (N) of one tissue in a mixture (8, N)."""
    out: Field = mix[TISSUES.index(tissue)]
    return out
