"""Synthetic heads with tumours: a brain, a glioma in it, and what four MRI sequences show.

A voxel is a mixture of tissues, and its intensity in each sequence is the mixture's mean times a
smooth bias field, with Rician noise (Gudbjartsson and Patz, 1995).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.volume import Grid, Volume
from .brain import SURFACE, TISSUES, Brain, Field, Noise, head_grid, places_of
from .tumour import LABELS, Tumour

MODALITIES = ("t1", "t1c", "t2", "flair")
SLICE_PIXELS, SLICE_SPACING = 256, 0.85
CONTRAST = np.array(
    [  # t1, t1c, t2, flair; white matter on T1 is 1
        [1.00, 1.00, 0.52, 0.74],  # white
        [0.79, 0.82, 0.70, 0.92],  # grey
        [0.88, 0.91, 0.60, 0.86],  # deep
        [0.34, 0.36, 1.70, 0.24],  # fluid
        [0.66, 1.70, 0.60, 0.55],  # vessel
        [0.82, 0.83, 1.10, 1.42],  # oedema
        [0.80, 1.75, 0.95, 1.22],  # enhancing
        [0.60, 0.56, 1.40, 1.05],  # necrosis
    ]
)
"""Mean intensity of each of `TISSUES` in each of `MODALITIES`."""

_COVER = (
    (1.2, 2.0, 3.0, 4.0, 5.5, 7.0, 8.0, 9.0, 11.5, 12.5, 13.0),
    (0.40, 0.35, 0.16, 0.16, 0.42, 0.16, 0.18, 1.20, 1.35, 0.60, 0.0),
)
"""Intensity on T1 of membranes, skull, marrow and scalp by mm over the brain."""


@dataclass(frozen=True)
class Head:
    """A synthetic examination.

    Attributes:
        volume: Images (C, X, Y, Z), float32 in whole numbers, zero outside the head.
        mask: Label values (1, X, Y, Z), uint8, on the same grid.
    """

    volume: Volume
    mask: Volume


def slice_grid() -> Grid:
    """Return the grid of every phantom slice: its pixels."""
    return Grid((SLICE_PIXELS, SLICE_PIXELS, 1), np.eye(4), "px")


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
    grid = head_grid(spacing)
    places = places_of(grid)
    depth = brain.depth(places)
    inside = depth > SURFACE
    places = places[:, inside]
    mix, labels = tumour.mixture(places, depth[inside], spacing)
    array = np.zeros((4, inside.size), np.float32)
    for image, name in zip(array, MODALITIES, strict=True):
        clean = scanner.clean(name, mix, places)
        image[inside] = np.maximum(1, np.rint(scanner.acquired(name, clean, places)))
    mask = np.zeros((1, inside.size), np.uint8)
    mask[0, inside] = labels
    return Head(
        Volume(array.reshape(4, *grid.shape), MODALITIES, grid.affine),
        Volume(mask.reshape(1, *grid.shape), ("mask",), grid.affine),
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
    affine = np.diag([-SLICE_SPACING, -SLICE_SPACING, 1, 1])
    affine[:2, 3] = SLICE_PIXELS / 2 * SLICE_SPACING
    affine[2, 3] = brain.world(tumour.centre)[2] + offset * tumour.radius
    places = places_of(Grid(slice_grid().shape, affine))
    depth = brain.depth(places)
    inside = depth > SURFACE
    mix, labels = tumour.mixture(places[:, inside], depth[inside], SLICE_SPACING)
    clean = np.interp(-depth, *_COVER)
    clean[inside] = scanner.clean("t1c", mix, places[:, inside])
    image = scanner.acquired("t1c", clean, places)
    image = np.rint(image * (235 / np.percentile(image, 99.7))).clip(0, 255)
    core = np.zeros(inside.size, np.uint8)
    core[inside] = np.isin(labels, [LABELS["necrosis"], LABELS["enhancing"]])
    shape = (1, *slice_grid().shape)
    return Head(
        Volume(image.astype(np.float32).reshape(shape), ("image",), unit="px"),
        Volume(core.reshape(shape), ("mask",), unit="px"),
    )


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
        self.noise = rng.uniform(0.02, 0.055, 4)
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
