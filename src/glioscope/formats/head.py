"""Synthetic heads with tumours: a brain, a glioma in it, and what four MRI sequences show.

A voxel is a mixture of tissues, and its intensity in each sequence is the mixture's mean times a
smooth bias field, with Rician noise (Gudbjartsson and Patz, 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from ..core.labels import SCHEMES
from ..core.volume import Shape, Volume
from .brain import TISSUES, Brain, Field, Noise, paint, soft

MODALITIES = ("t1", "t1c", "t2", "flair")
FIELD_OF_VIEW = (160.0, 192.0, 144.0)
"""Extent of a phantom in mm: left to right, back to front, bottom to top."""
SLICE_PIXELS, SLICE_SPACING = 256, 0.85
CONTRAST = np.array(
    [  # t1, t1c, t2, flair; white matter on T1 is 1
        [1.00, 1.00, 0.52, 0.76],  # white
        [0.79, 0.82, 0.70, 0.90],  # grey
        [0.88, 0.91, 0.60, 0.86],  # deep
        [0.34, 0.36, 1.70, 0.24],  # fluid
        [0.66, 1.70, 0.60, 0.55],  # vessel
        [0.82, 0.83, 1.10, 1.42],  # oedema
        [0.80, 1.75, 0.95, 1.22],  # enhancing
        [0.60, 0.56, 1.40, 1.05],  # necrosis
    ]
)
"""Mean intensity of each of `TISSUES` in each of `MODALITIES`."""
_LABELS = SCHEMES["brats2023"].values
_COVER = (
    (1.2, 2.0, 3.0, 4.0, 5.5, 7.0, 8.0, 9.0, 11.5, 12.5, 13.0),
    (0.40, 0.35, 0.16, 0.16, 0.42, 0.16, 0.18, 1.20, 1.35, 0.60, 0.0),
)
"""Intensity on T1 of membranes, skull, marrow and scalp by mm over the brain."""
_COARSE = 3.5  # mm; a tumour's outline is fitted to its volume on a grid of this spacing
_THINNEST_RIM = 1.8  # mm
_SURFACE = -1.2  # mm; the brain mask reaches a little over the brain


@dataclass(frozen=True)
class Head:
    """A synthetic examination.

    Attributes:
        volume: Images (C, X, Y, Z), float32 in whole numbers, zero outside the head.
        mask: Label values (1, X, Y, Z), uint8, on the same grid.
    """

    volume: Volume
    mask: Volume


def make_head(seed: int, index: int, spacing: float = 2.0) -> Head:
    """Make a skull-stripped head with a glioma, in RAS axes.

    Seed and index give the same head at any spacing, less the noise.

    Args:
        seed: Seed of the cohort.
        index: Number of the case in the cohort.
        spacing: Edge of the voxels in mm.

    Returns:
        The sequences t1, t1c, t2 and flair, and a mask with the values of `brats2023`.
    """
    rng = np.random.default_rng([seed, index])
    brain = Brain(rng)
    tumour = Tumour(rng, brain)
    scanner = Scanner(rng)
    shape, affine, places = _grid(spacing)
    depth = brain.depth(places)
    inside = depth > _SURFACE
    places = places[:, inside]
    mix, labels = tumour.mixture(places, depth[inside], spacing)
    array = np.zeros((4, inside.size), np.float32)
    for image, name in zip(array, MODALITIES, strict=True):
        clean = scanner.clean(name, mix, places)
        image[inside] = np.maximum(1, np.rint(scanner.acquired(name, clean, places)))
    mask = np.zeros((1, inside.size), np.uint8)
    mask[0, inside] = labels
    return Head(
        Volume(array.reshape(4, *shape), MODALITIES, affine),
        Volume(mask.reshape(1, *shape), ("mask",), affine),
    )


def make_slice(seed: int, patient: int, offset: float = 0.0) -> Head:
    """Make an axial T1-weighted slice after contrast, with skull and scalp, through a tumour.

    Args:
        seed: Seed of the cohort.
        patient: Number of the patient in the cohort.
        offset: Height over the tumour's centre as a share of its core's radius.

    Returns:
        `image` (1, 256, 256, 1) in pixels, values 0..255, the patient's left on the right and the
        face up; the mask is 1 in the tumour's core, enhancing rim included.
    """
    rng = np.random.default_rng([seed, patient])
    brain = Brain(rng)
    tumour = Tumour(rng, brain)
    scanner = Scanner(rng)
    line = (SLICE_PIXELS / 2 - np.arange(SLICE_PIXELS)) * SLICE_SPACING
    x, y = np.meshgrid(line, line, indexing="ij")
    z = brain.world(tumour.centre)[2] + offset * tumour.radius
    places = np.stack([x, y, np.full_like(x, z)]).reshape(3, -1).astype(np.float32)
    depth = brain.depth(places)
    mix, labels = tumour.mixture(places, depth, SLICE_SPACING)
    inside = depth > _SURFACE
    clean = np.where(inside, scanner.clean("t1c", mix, places), np.interp(-depth, *_COVER))
    image = scanner.acquired("t1c", clean, places)
    image = np.rint(image * (235 / np.percentile(image, 99.7))).clip(0, 255)
    core = inside & np.isin(labels, [_LABELS["necrosis"], _LABELS["enhancing"]])
    shape = (1, SLICE_PIXELS, SLICE_PIXELS, 1)
    return Head(
        Volume(image.astype(np.float32).reshape(shape), ("image",), unit="px"),
        Volume(core.astype(np.uint8).reshape(shape), ("mask",), unit="px"),
    )


class Tumour:
    """A glioma in a brain: one lesion or two, of one of three kinds.

    Attributes:
        centre: Of the larger lesion, in the brain's own coordinates (mm).
        radius: That its core would have as a ball, in mm.
        enhances: Whether any part takes up contrast.
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
        self.swelling, self.paleness = rng.uniform(0.7, 1), rng.uniform(0.35, 0.8)
        self._fit()

    def _fit(self) -> None:
        """Choose the levels at which whole tumour, core and necrosis have their volumes."""
        _, _, places = _grid(_COARSE)
        depth = self.brain.depth(places)
        places, depth = places[:, depth > _SURFACE], depth[depth > _SURFACE]
        healthy, p = self._healthy(places, depth, _COARSE)
        core, dead = self._core(p)
        tight = _level(core, self.core)
        gone = _level(np.maximum(dead, core - tight + _THINNEST_RIM), self.dead)
        self.level = (0.0, tight, gone)
        self.level = (_level(self._oedema(p, healthy, core - tight), self.whole), tight, gone)

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
        """Return the field of the whole tumour: fingers in white matter, few in the cortex."""
        reach = beyond_core + 0.4 * self.radius * self.fingers(p) + 2.5 * self.fronds(p)
        across = np.maximum(0, -np.sign(self.centre[0]) * p[0])
        reach += 7 * healthy[1] + 4 * healthy[2] + 0.6 * across + 40 * (healthy[3] > 0.5)
        return np.minimum(reach, beyond_core)

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
        outer = self._oedema(p, mix, core) - self.level[0]
        labels = np.zeros(depth.size, np.uint8)
        labels[outer <= 0] = _LABELS["oedema"]
        labels[core <= 0] = _LABELS["enhancing" if self.enhances else "necrosis"]
        labels[dead <= 0] = _LABELS["necrosis"]
        fluid = mix[3] + mix[4]
        paint(mix, "oedema", soft(outer, width + 2) * (1 - fluid) * self.swelling)
        if self.enhances:
            paint(mix, "enhancing", soft(core, width))
            paint(mix, "necrosis", soft(dead, width))
        else:
            paint(mix, "oedema", soft(core, width + 2))
            paint(mix, "necrosis", self.paleness * soft(core, width + 2))
        return mix, labels


class Scanner:
    """What one examination's four sequences make of tissues.

    Attributes:
        contrast: Mean intensity (8, 4) of each tissue in each sequence; white on T1 is 1.
        unit: What 1 is in each sequence's own arbitrary scale.
        noise: Standard deviation of each sequence's noise before the magnitude is taken.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        spread = np.full((len(TISSUES), 1), 0.025)
        spread[TISSUES.index("oedema") :] = 0.07
        contrast = CONTRAST * np.exp(rng.normal(0, 1, CONTRAST.shape) * spread)
        contrast[-1, -1] *= rng.uniform(0.6, 1.4)  # necrosis on FLAIR: fluid or protein
        self.contrast = contrast.astype(np.float32)
        self.unit = 10 ** rng.uniform(2.4, 3.5, 4)
        self.noise = rng.uniform(0.018, 0.04, 4)
        self.bias = [Noise(rng, 85) for _ in MODALITIES]
        self.texture = [Noise(rng, 7) for _ in MODALITIES]
        self.voxels = rng.spawn(1)[0]

    def clean(self, name: str, mix: Field, places: Field) -> Field:
        """Return the intensities (N) of tissues in one sequence; healthy white on T1 is 1.

        Args:
            name: One of `MODALITIES`.
            mix: Share of each tissue (8, N).
            places: World coordinates (3, N) in mm, for the tissue's texture.
        """
        k = MODALITIES.index(name)
        uneven = 0.015 + 0.07 * mix[TISSUES.index("oedema") :].sum(0)
        out: Field = (self.contrast[:, k] @ mix) * (1 + uneven * self.texture[k](places))
        return out

    def acquired(self, name: str, clean: Field, places: Field) -> Field:
        """Return clean intensities (N) with bias and noise, in the scan's own arbitrary unit."""
        k = MODALITIES.index(name)
        uneven = clean * np.exp(0.09 * self.bias[k](places))
        real, imaginary = self.voxels.normal(0, self.noise[k], (2, clean.size))
        out: Field = self.unit[k] * np.hypot(uneven + real, imaginary)
        return out


def _grid(spacing: float) -> tuple[Shape, Field, Field]:
    """Return shape and affine of a phantom, and its voxels' world coordinates (3, N) in mm."""
    x, y, z = (round(extent / spacing) for extent in FIELD_OF_VIEW)
    lines = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * spacing for n in (x, y, z)]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = [line[0] for line in lines]
    places = np.stack(np.meshgrid(*lines, indexing="ij")).reshape(3, -1)
    return (x, y, z), affine, places


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
    return (middle + (site - middle) * min(1, 0.72 / far)).astype(np.float32)
