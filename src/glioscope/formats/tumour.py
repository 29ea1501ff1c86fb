"""A synthetic glioma that grows in a synthetic brain: oedema, enhancing rim, necrotic core."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..core.labels import SCHEMES
from .brain import SURFACE, Brain, Field, Noise, head_grid, paint, part, places_of, soft

LABELS = SCHEMES["brats2023"].values
"""Stored values of the classes."""
_COARSE = 4.0  # mm; a tumour's outline is fitted to its volume on a grid of this spacing
_THINNEST_RIM = 2.5  # mm
_NOWHERE = 100.0  # mm; farther than any oedema reaches


class Tumour:
    """A glioma in a brain: one lesion or two, of one of three kinds.

    Attributes:
        centre: Of the larger lesion, in the brain's own coordinates (mm).
        radius: That its core would have as a ball, in mm.
        enhances: Whether any part takes up contrast.
        level: Where the fields of oedema, core and necrosis have their outlines, in mm.
    """

    def __init__(self, rng: np.random.Generator, brain: Brain) -> None:
        self.brain = brain
        kind = rng.choice(["ring", "solid", "dull"], p=[0.62, 0.14, 0.24])
        self.enhances = kind != "dull"
        self.whole = float(np.exp(rng.uniform(np.log(8), np.log(110))))  # ml
        self.core = self.whole * rng.uniform(0.2, 0.65)
        self.dead = self.core * (rng.uniform(0.3, 0.6) if kind == "ring" else 0.12)
        self.radius = _radius(self.core)
        self.centre = _site(rng)
        self.lesions = [(self.centre, _stretch(rng), self.radius)]
        if rng.random() < 0.2:
            way = rng.standard_normal(3)
            way *= (2.0 * self.radius + 8) / np.linalg.norm(way)
            satellite = _into_brain(self.centre + way)
            self.lesions.append((satellite, _stretch(rng), 0.4 * self.radius + 1.5))
        self.lobes, self.knobs = Noise(rng, 1.3 * self.radius), Noise(rng, 9)
        self.fingers, self.fronds = Noise(rng, 26), Noise(rng, 11)
        self.holes = Noise(rng, 8)
        self.swelling, self.paleness = rng.uniform(0.55, 1), rng.uniform(0.35, 0.8)
        self._fit()

    def _fit(self) -> None:
        """Choose the levels at which whole tumour, core and necrosis have their volumes."""
        places = places_of(head_grid(_COARSE))
        depth = self.brain.depth(places)
        inside = depth > SURFACE
        places, depth = places[:, inside], depth[inside]
        healthy, p = self._healthy(places, depth, _COARSE)
        core, dead = self._core(p)
        tight = _level(core, self.core)
        gone = _level(np.maximum(dead, core - tight + _THINNEST_RIM), self.dead)
        reach = self._oedema(p, healthy, core - tight)
        self.level = (_level(np.where(core <= tight, -np.inf, reach), self.whole), tight, gone)

    def _healthy(self, places: Field, depth: Field, width: float) -> tuple[Field, Field]:
        """Return the tissues (8, N) that the tumour pushed aside, and places in the brain."""
        p = self.brain.own(places)
        away = p - self.centre[:, None]
        pushed = 0.38 * np.exp(-(away**2).sum(0) / (1.9 * self.radius + 4) ** 2)
        return self.brain.tissues(p - away * pushed, depth, width), p

    def _core(self, p: Field) -> tuple[Field, Field]:
        """Return distance-like fields of the core and of the necrosis in it."""
        rough = 0.2 * self.lobes(p) * self.radius + 1.6 * self.knobs(p)
        core = np.min([_away(p, c, s) - r for c, s, r in self.lesions], axis=0) + rough
        return core, core + (0.12 * self.radius + 1.5) * self.holes(p)

    def _oedema(self, p: Field, healthy: Field, beyond_core: Field) -> Field:
        """Return the field of the oedema: fingers in white matter, few in the cortex."""
        across = np.maximum(0, -np.sign(self.centre[0]) * p[0])
        out: Field = beyond_core + 0.35 * self.radius * self.fingers(p) + 2.5 * self.fronds(p)
        out += 6 * part(healthy, "grey") + 4 * part(healthy, "deep") + 0.6 * across
        return out + np.float32(_NOWHERE) * (part(healthy, "fluid") > 0.5)

    def mixture(self, places: Field, depth: Field, width: float) -> tuple[Field, NDArray[np.uint8]]:
        """Return the share of each tissue (8, N) and the labels (N) at places of the world.

        Args:
            places: World coordinates (3, N) in mm.
            depth: How far they lie under the brain's surface in mm.
            width: Edge of a voxel in mm.
        """
        mix, p = self._healthy(places, depth, width)
        core, dead = self._core(p)
        core = np.maximum(core - self.level[1], 0.5 - depth)
        dead = np.maximum(dead - self.level[2], core + _THINNEST_RIM)
        outer = np.minimum(self._oedema(p, mix, core) - self.level[0], core)
        labels = np.zeros(depth.size, np.uint8)
        labels[outer <= 0] = LABELS["oedema"]
        labels[core <= 0] = LABELS["enhancing" if self.enhances else "necrosis"]
        labels[dead <= 0] = LABELS["necrosis"]
        dry = 1 - part(mix, "fluid") - part(mix, "vessel")
        paint(mix, "oedema", soft(outer, width + 2) * dry * self.swelling)
        if self.enhances:
            paint(mix, "enhancing", soft(core, width))
            paint(mix, "necrosis", soft(dead, width))
        else:
            paint(mix, "oedema", soft(core, width + 2))
            paint(mix, "necrosis", self.paleness * soft(core, width + 2))
        return mix, labels


def _level(field: Field, ml: float) -> float:
    """Return the level under which a field on the coarse grid fills a volume."""
    count = min(round(ml * 1000 / _COARSE**3), field.size - 1)
    return float(np.partition(field, count)[count])


def _radius(ml: float) -> float:
    """Return the radius in mm of a ball."""
    return float(np.cbrt(ml * 1000 * 3 / (4 * np.pi)))


def _away(p: Field, centre: Field, stretch: Field) -> Field:
    """Return the distance (N) from a centre, shorter along some axes than along others."""
    out: Field = np.linalg.norm(stretch @ (p - centre[:, None]), axis=0)
    return out


def _stretch(rng: np.random.Generator) -> Field:
    axes = rng.uniform(0.8, 1.25, 3)
    turn = Rotation.from_rotvec(rng.normal(0, 1, 3)).as_matrix()
    out: Field = (np.diag(axes / np.cbrt(axes.prod())) @ turn).astype(np.float32)
    return out


def _site(rng: np.random.Generator) -> Field:
    """Draw the centre of a tumour: in a hemisphere, off the midline and under the cortex."""
    site = rng.uniform((14, -62, -8), (52, 55, 48))
    return _into_brain(site * [rng.choice([-1, 1]), 1, 1])


def _into_brain(site: Field) -> Field:
    """Move a place towards the middle of the cerebrum until it is well under its surface."""
    middle = np.array([0, -3, 8])
    far = np.linalg.norm((site - middle) / (66, 85, 58))
    out: Field = (middle + (site - middle) * min(1, 0.72 / far)).astype(np.float32)
    return out
