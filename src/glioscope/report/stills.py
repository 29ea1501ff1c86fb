"""Pictures of cases with problems: where two masks disagree, and what of a case can be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.case import Case
from ..core.errors import DataError
from ..core.labels import Labels
from ..core.volume import Volume
from .canvas import TRUTH, Picture, as_png, empty_figure
from .figures import compared, outline, overlay, preview
from .scene import Scene, scene_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCE = "reference"
_SIDE, _GAP, _STRIP = 280, 8, 30
"""Greatest side of a frame, and the space round and under it, in pixels."""
_WIDTH = 1200
_DPI = 100


def disagreement(
    case: str,
    image: Volume | None,
    truth: tuple[Volume, Labels],
    predicted: tuple[Volume, Labels],
    regions: Sequence[str],
) -> Picture:
    """Draw truth and prediction where they differ most.

    Args:
        case: Name of the case.
        image: The scan (C, X, Y, Z), any axis order; None if there is none.
        truth: Stored label values (1, X, Y, Z), and what they mean.
        predicted: The same of the prediction, on the same grid.
        regions: Regions or classes to draw, outermost first.
    """
    contours = compared(truth, predicted, regions)
    pairs = zip(contours[::2], contours[1::2], strict=True)
    apart = np.any([real.mask ^ found.mask for real, found in pairs], axis=0)
    png = overlay(_blank(truth[0]) if image is None else image, contours, focus=apart)
    place = "where they differ most" if apart.any() else "which agree"
    return Picture(case, png, detail=f"Reference (solid) and prediction (dashed), {place}.")


def reference(case: str, truth: Volume, labels: Labels) -> Picture:
    """Draw a reference (1, X, Y, Z) for which there is no prediction, and no scan."""
    png = preview(_blank(truth), truth, labels)
    return Picture(case, png, detail="The reference, for which there is no prediction.")


def readable(case: Case, names: Sequence[str]) -> Picture:
    """Draw what of a broken case can be read: a frame for each channel, and the reference.

    Args:
        case: The case.
        names: The channels that are needed; what is missing or broken leaves its frame empty.
    """
    mask = _read(case, REFERENCE)
    shots = [_shot(name, _read(case, name), mask) for name in names]
    shots.append(_shot(REFERENCE, mask, mask))
    empty = [shot.name for shot in shots if shot.scene is None]
    whole = [shot.name for shot in shots if shot.scene is not None]
    said = [f"What can be read: {', '.join(whole) or 'nothing'}."]
    said += [f"Empty frames: {', '.join(empty)}."] if empty else []
    said += [] if REFERENCE in empty else ["The line is what the reference marks."]
    return Picture(case.id, _frames(shots), detail=" ".join(said))


class _Shot(NamedTuple):
    name: str
    scene: Scene | None
    note: str  # the shape, or why there is nothing to see


def _blank(mask: Volume) -> Volume:
    """Return a black scan on the grid of a mask; it is not zero, or it would be cropped."""
    return mask.with_array(np.ones_like(mask.array, np.float32), ["image"])


def _read(case: Case, name: str) -> Volume | str:
    """Return a channel or the reference, or why there is none."""
    source = case.mask if name == REFERENCE else case.channels.get(name)
    if source is None:
        return "missing"
    try:
        return source.read()
    except DataError:
        return "cannot be read"


def _shot(name: str, found: Volume | str, mask: Volume | str) -> _Shot:
    """Cut the largest slice of the tumour if the mask lies on the grid, else the middle one."""
    if isinstance(found, str):
        return _Shot(name, None, found)
    fits = isinstance(mask, Volume) and found.grid.matches(mask.grid)
    tumour = [_tumour(mask)] if fits and isinstance(mask, Volume) else []
    image = _blank(found) if name == REFERENCE else found
    shape = "x".join(map(str, found.grid.shape))
    return _Shot(name, scene_of(image.with_array(image.array, ["image"]), tumour, None), shape)


def _tumour(mask: Volume) -> NDArray[np.bool_]:
    """Return where a mask holds any label, known or not."""
    tumour: NDArray[np.bool_] = mask.array[0] > 0
    return tumour


def _frames(shots: Sequence[_Shot]) -> bytes:
    """Lay the frames side by side, each with its name above and a note below."""
    side = min(_SIDE, (_WIDTH - _GAP) // len(shots) - _GAP)
    width, height = len(shots) * (side + _GAP) + _GAP, side + 2 * _STRIP
    figure = empty_figure(width, height, _DPI)
    text: dict[str, Any] = {"ha": "center", "va": "center", "parse_math": False}
    for place, shot in enumerate(shots):
        left = _GAP + place * (side + _GAP)
        middle = (left + side / 2) / width
        figure.text(middle, 1 - _STRIP / 2 / height, shot.name, color="white", fontsize=12, **text)
        if shot.scene is not None:
            style = text | {"color": "#b0b0b0", "fontsize": 10}
            figure.text(middle, _STRIP / 2 / height, shot.note, **style)
        axes = figure.add_axes((left / width, _STRIP / height, side / width, side / height))
        _fill(axes, shot)
    return as_png(figure)


def _fill(axes: Axes, shot: _Shot) -> None:
    """Show a slice at its own proportions, or an empty frame."""
    if shot.scene is None:
        axes.set(facecolor="black", xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="#808080", linestyle=(0, (4, 4)))
        middle: dict[str, Any] = {"ha": "center", "va": "center", "transform": axes.transAxes}
        axes.text(0.5, 0.5, shot.note, color="#b0b0b0", fontsize=12, **middle)
        return
    plane = shot.scene.planes[0]
    grey = plane.cut(shot.scene.grey)
    height, width = np.multiply(grey.shape, plane.steps[::-1])
    axes.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), aspect="equal")
    axes.set_axis_off()
    for mask in shot.scene.masks:
        outline(axes, plane, mask, TRUTH)
