"""What of a scan a picture shows: the planes through the tumour, cut to the head, in grey.

Volumes are shown as radiologists hang them: the patient's left on the right of the picture, in
sagittal planes the front on the left. 2D images are shown as their file shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.volume import Volume, bounding_box

_PLANES = (("axial", 2, "RLA"), ("coronal", 1, "RLS"), ("sagittal", 0, "APS"))
"""Name, array axis (RAS) it is perpendicular to, and what its left, right and top are called."""


class Plane(NamedTuple):
    """A cut through the scene; one without `sides` is shown as its file shows it."""

    axis: int
    place: int
    steps: tuple[float, float]  # spacing to the right and downward
    caption: str
    sides: str

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the slice as rows (downward) of columns (to the right)."""
        part: NDArray[Any] = np.take(array, self.place, self.axis).T
        return part[::-1, ::-1] if self.sides else part


class Scene(NamedTuple):
    """A scan and masks (X, Y, Z), cut to the head, in the axes they are shown in."""

    grey: NDArray[np.floating]
    masks: list[NDArray[np.bool_]]
    planes: list[Plane]
    scale: bool  # whether lengths are known


def best_slice(mask: NDArray[np.bool_], axis: int = 2) -> int:
    """Return the slice of (X, Y, Z) with the largest area along `axis`; the middle one if empty."""
    area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
    return int(area.argmax()) if area.any() else mask.shape[axis] // 2


def scene_of(
    image: Volume,
    masks: Sequence[NDArray[np.bool_]],
    channel: str | None,
    focus: NDArray[np.bool_] | None = None,
) -> Scene:
    """Cut the planes that show most of the focus, or else of the first mask that is not empty.

    Args:
        image: The scan (C, X, Y, Z), any axis order.
        masks: What is shown on it, (X, Y, Z) each.
        channel: The channel to show; by default FLAIR, else the first there is.
        focus: What to show most of, (X, Y, Z); nothing is drawn of it.
    """
    as_file = image.unit == "px" and image.array.shape[3] == 1
    name = channel or ("flair" if "flair" in image.names else image.names[0])
    shown = image.with_array(image.channel(name)[None], [name])
    hidden = [] if focus is None else [focus]
    stack = np.array([*hidden, *masks], np.uint8).reshape(-1, *image.grid.shape)
    drawn = image.with_array(stack, [str(i) for i in range(len(stack))])
    if not as_file:
        shown, drawn = shown.canonical(), drawn.canonical()
    head = shown.array[0] != 0
    start, shape = bounding_box(np.any([head | as_file, *(drawn.array > 0)], axis=0))
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    cut = [m[box] > 0 for m in drawn.array]
    shown_most = next((m for m in cut if m.any()), np.zeros(shape, bool))
    planes = []
    flat = [plane for plane in _PLANES if head.shape[plane[1]] == 1]  # a single slice, as it lies
    for label, axis, sides in flat[:1] or _PLANES:
        index = best_slice(shown_most, axis)
        place = f"{label} {start[axis] + index + 1}/{head.shape[axis]}"
        width, height = (s for a, s in enumerate(shown.spacing) if a != axis)
        planes.append(
            Plane(axis, index, (width, height), "", "")
            if as_file
            else Plane(axis, index, (width, height), place, sides)
        )
    source = "" if name == "image" else name
    planes[0] = planes[0]._replace(caption=" · ".join(filter(None, (source, planes[0].caption))))
    return Scene(_window(shown.array[0])[box], cut[len(hidden) :], planes, image.unit == "mm")


def _window(array: NDArray[Any]) -> NDArray[np.floating]:
    """Scale to 0..1 between the 1st and 99th percentile of the voxels that are not zero."""
    grey = np.nan_to_num(array.astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(grey[grey != 0], (1, 99)) if grey.any() else (0.0, 1.0)
    scaled: NDArray[np.floating] = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    scaled[grey == 0] = 0  # outside the head stays black, whatever the normalisation
    return scaled
