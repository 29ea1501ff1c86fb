"""Masks from COCO annotations: polygons, run lengths and boxes, filled as pycocotools does.

Fills differ at the border (PIL's has IoU .98 with it on small tumours), so there is only this one.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as runs

from ..core.errors import DataError
from ..core.files import digest
from ..core.volume import Grid, Volume
from .image import ImageSource, pixel_grid

Annotation = Mapping[str, Any]
_WANTED = "polygons of at least three points, run lengths of the image's size, or a box"
_LONGEST = 1_000_000
"""Pixels that the outlines of an annotation may be long; pycocotools takes about 100 bytes each."""
_BITS = 64
"""Run lengths have no more."""


@dataclass(frozen=True)
class CocoMask:
    """What the annotations of one image cover together.

    Attributes:
        path: The json, for messages.
        image: The image.
        size: Its columns and rows, as the json says.
        annotations: All annotations of the image; none is an empty mask.
    """

    path: Path
    image: Path
    size: tuple[int, int]
    annotations: tuple[Annotation, ...]

    @property
    def identity(self) -> str:
        """Hash of the outlines."""
        try:
            return digest([[a.get("segmentation"), a.get("bbox")] for a in self.annotations])
        except RecursionError as error:
            raise DataError(
                self.path, f"outlines of {self.image.name} are lists in lists without end", _WANTED
            ) from error

    def grid(self) -> Grid:
        """Return the grid that the json promises."""
        return pixel_grid(*self.size)

    def read(self) -> Volume:
        """Return 0 and 1 as uint8 (1, X, Y, 1).

        Raises:
            DataError: If an annotation is broken, or the image has another size than the json says.
        """
        found = ImageSource(self.image).grid().shape[:2]
        if found != self.size:
            raise DataError(
                self.image,
                f"the image has {found[0]}x{found[1]} pixels",
                f"{self.size[0]}x{self.size[1]} as in {self.path}",
                "export the data set again, so that image and outlines fit",
            )
        covered = np.zeros(self.size, np.uint8)
        for annotation in self.annotations:
            try:
                covered |= filled(annotation, self.size)
            except ValueError as error:
                raise DataError(
                    self.path,
                    f"annotation {annotation.get('id')} of {self.image.name}: {error}",
                    _WANTED,
                    "correct or remove the annotation",
                ) from error
        return Volume(covered[None, :, :, None], ("mask",), unit="px")


def has_outline(annotation: Annotation) -> bool:
    """Tell whether an annotation has more than a box."""
    return bool(annotation.get("segmentation"))


def filled(annotation: Annotation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return what an annotation covers, as 0 and 1 (X = column, Y = row).

    Args:
        annotation: With a `segmentation` (polygons, or compressed or plain run lengths), else a
            `bbox` [x, y, width, height].
        size: Columns and rows of the image.

    Raises:
        ValueError: If it is broken.
    """
    outline = annotation.get("segmentation")
    if isinstance(outline, Mapping):
        return _painted(_run_lengths(outline, size), size)
    width, height = size
    if outline:
        coded = runs.merge(runs.frPyObjects(_polygons(outline, size), height, width))
    else:
        box = np.array([_box(annotation.get("bbox"), size)], np.float64)
        coded = runs.frPyObjects(box, height, width)[0]
    return _painted(_unpacked(coded["counts"].decode()), size)


def _painted(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the pixels (X, Y) of run lengths: background first, down the columns."""
    return np.repeat((np.arange(len(counts)) % 2).astype(np.uint8), counts).reshape(size)


def _polygons(outline: object, size: tuple[int, int]) -> list[list[float]]:
    if not isinstance(outline, list) or not all(isinstance(part, list) for part in outline):
        raise ValueError("its segmentation is not a list of polygons")
    for part in outline:
        if len(part) < 6 or len(part) % 2:
            raise ValueError(f"a polygon has {len(part)} numbers")
        _refuse_outside(part, size)
    length = sum(map(_length, outline))
    if length > _LONGEST:
        raise ValueError(f"its outline is {length:g} pixels long")
    return outline


def _length(polygon: Sequence[float]) -> float:
    """Return how long a polygon is in pixels, as the steps of its edges are counted."""
    points = np.reshape(polygon, (-1, 2))
    steps = np.abs(np.diff(points, axis=0, append=points[:1]))
    return float(steps.max(axis=1).sum())


def _box(box: object, size: tuple[int, int]) -> list[float]:
    if not isinstance(box, list) or len(box) != 4:
        raise ValueError("it has neither an outline nor a box")
    _refuse_outside(box, size)
    if min(box[2:]) < 0:
        raise ValueError(f"its box is {box[2]:g} wide and {box[3]:g} high")
    return box


def _refuse_outside(numbers: Sequence[object], size: tuple[int, int]) -> None:
    """Refuse what is no coordinate; one far outside the image would cost all memory to fill."""
    if not all(type(number) in (int, float) for number in numbers):
        raise ValueError("its outline holds something that is not a number")
    if not all(abs(number) < math.inf for number in numbers):  # type: ignore[arg-type]
        raise ValueError("its outline holds a coordinate that is NaN or infinite")
    reach = max(size)
    if not all(-reach <= number <= 2 * reach for number in numbers):  # type: ignore[operator]
        raise ValueError(f"its outline lies far outside the image of {size[0]}x{size[1]} pixels")


def _run_lengths(outline: Mapping[str, Any], size: tuple[int, int]) -> list[int]:
    width, height = size
    counts, stated = outline.get("counts"), outline.get("size")
    if stated != [height, width]:
        raise ValueError(f"its run lengths are for [height, width] {reprlib.repr(stated)}")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError("its run lengths are not whole numbers")
    if sum(counts) != width * height:
        raise ValueError(f"its run lengths cover {sum(counts)} of {width * height} pixels")
    return counts


def _unpacked(text: str) -> list[int]:
    """Return the run lengths in COCO's compressed string (`rleFrString` of the COCO API).

    Six bits a character: five of the number, one that says that it goes on; from the third number
    on each is the difference from the last but one. pycocotools reads past the end of a string
    that is cut off, and its decoder speaks to NumPy in a way that is going away.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"its run lengths hold the character {character!r}")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            if shift > _BITS:
                raise ValueError("its run lengths hold a number without end")
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("its run lengths are cut off")
    return counts
