"""Pictures of scans with masks, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.labels import COLOURS, Labels
from ..core.volume import Volume
from .canvas import OTHER, TRUTH, Key, add_legend, as_png, empty_figure, halo
from .scene import Plane, Scene, scene_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 1200
"""Width in pixels of a picture with three planes."""
WIDTH_2D = 640
"""Width in pixels of a picture with one plane."""
TALLEST = 640
"""Greatest height in pixels of the planes."""
_GAP, _STRIP = 6, 34


@dataclass(frozen=True, eq=False)
class Contour:
    """An outline to draw.

    Attributes:
        mask: What it surrounds, (X, Y, Z) on the image's grid.
        colour: Colour of the line.
        label: Its name in the legend.
        dashed: Predictions are dashed, the truth is a solid line.
    """

    mask: NDArray[np.bool_]
    colour: str
    label: str
    dashed: bool = False


def compared(
    truth: tuple[Volume, Labels], predicted: tuple[Volume, Labels], regions: Sequence[str]
) -> list[Contour]:
    """Return the contours of truth (solid, cyan) and prediction (dashed, in the region's colour).

    Args:
        truth: Stored label values (1, X, Y, Z), and what they mean.
        predicted: The same of the prediction, on the same grid.
        regions: Regions or classes to draw, outermost first.
    """
    contours: list[Contour] = []
    for name in regions:
        real, found = (labels.mask(mask.array[0], name) for mask, labels in (truth, predicted))
        contours.append(Contour(real, TRUTH, "" if contours else "truth"))
        contours.append(Contour(found, colour_of(name), f"{name} prediction", dashed=True))
    return contours


def overlay(
    image: Volume,
    contours: Sequence[Contour],
    *,
    channel: str | None = None,
    title: str = "",
    focus: NDArray[np.bool_] | None = None,
) -> bytes:
    """Draw outlines on a scan, through the largest slices of the first outline that is not empty.

    Args:
        image: The scan (C, X, Y, Z), any axis order.
        contours: What to draw on it; those without a label are left out of the legend.
        channel: The channel to show; by default FLAIR, else the first there is.
        title: A line above the picture.
        focus: What to show the largest slices of, (X, Y, Z), if it is not empty.

    Returns:
        A PNG: three planes of a volume, `WIDTH` pixels wide, or one of a 2D image, `WIDTH_2D`.
    """
    scene = scene_of(image, [c.mask for c in contours], channel, focus)
    legend = [Key(c.label, c.colour, c.dashed) for c in contours if c.label]
    figure, panels = _canvas(scene, title, legend)
    for axes, plane in panels:
        for i, (contour, mask) in enumerate(zip(contours, scene.masks, strict=True)):
            # where outlines coincide, each shows in the gaps of the others
            style: _Style = (1.75 * i, (3, 4)) if contour.dashed else "solid"
            outline(axes, plane, mask, contour.colour, style)
    return as_png(figure)


def preview(image: Volume, mask: Volume, labels: Labels) -> bytes:
    """Draw a segmentation on its scan: filled regions, their outlines and their sizes.

    Args:
        image: The scan (C, X, Y, Z), any axis order.
        mask: Stored label values (1, X, Y, Z) on the same grid.
        labels: The scheme of the mask.

    Returns:
        A PNG as `overlay` gives it; sizes are in ml, or in pixels where the spacing is unknown.
    """
    names = labels.outlines
    masks = [labels.mask(mask.array[0], name) for name in names]
    legend = [
        Key(f"{name}  {_size(m, image.grid.voxel_ml)}", colour_of(name))
        for name, m in zip(names, masks, strict=True)
        if m.any()
    ]
    scene = scene_of(image, masks, None)
    figure, panels = _canvas(scene, "", legend or [Key("no tumour found", TRUTH)])
    for axes, plane in panels:
        _fill(axes, plane, scene.masks, [colour_of(name) for name in names])
        for name, seen in zip(names, scene.masks, strict=True):
            outline(axes, plane, seen, colour_of(name))
    return as_png(figure)


def colour_of(region: str) -> str:
    """Return the colour of a region or class on every picture and plot."""
    return COLOURS.get(region, OTHER)


_Style = Literal["solid"] | tuple[float, tuple[float, float]]


def _canvas(
    scene: Scene, title: str, legend: Sequence[Key]
) -> tuple[Figure, list[tuple[Axes, Plane]]]:
    """Lay the planes side by side at one scale, the legend below, and draw the scan."""
    sizes = [np.multiply(p.cut(scene.grey).shape[::-1], p.steps) for p in scene.planes]
    width = WIDTH if len(sizes) > 1 else WIDTH_2D
    room = width - _GAP * (len(sizes) + 1)
    tallest = max(h for _, h in sizes)
    zoom = min(room / sum(w for w, _ in sizes), TALLEST / tallest)
    columns = max(1, min(len(legend), width // 200))
    head, foot = _STRIP if title else _GAP, _STRIP * -(-len(legend) // columns) + _GAP
    middle = max(1, round(zoom * tallest))
    height = head + middle + foot
    dpi = 100 if width == WIDTH else 140  # one plane is shown smaller: larger letters and lines
    figure = empty_figure(width, height, dpi)
    gap = (width - zoom * sum(w for w, _ in sizes)) / (len(sizes) + 1)
    panels, left = [], gap
    for plane, (w, h) in zip(scene.planes, sizes, strict=True):
        bottom = foot + (middle - zoom * h) / 2
        box = (left / width, bottom / height, zoom * w / width, zoom * h / height)
        axes = figure.add_axes(box)
        axes.imshow(
            plane.cut(scene.grey),
            cmap="gray",
            vmin=0,
            vmax=1,
            extent=(0, w, h, 0),
            interpolation="bilinear",
            aspect="auto",
        )
        axes.set_axis_off()
        _mark(axes, plane)
        panels.append((axes, plane))
        left += zoom * w + gap
    if scene.scale:
        _scale_bar(panels[0][0], *sizes[0])
    figure.text(
        0.5, 1 - head / height / 2, title, color="white", fontsize=11, ha="center", va="center"
    )
    add_legend(figure, legend, columns)
    return figure, panels


def _mark(axes: Axes, plane: Plane) -> None:
    """Write the sides and which slice it is."""
    style: dict[str, Any] = {"transform": axes.transAxes, "color": "#e6e6e6", "fontsize": 10}
    style["path_effects"] = halo()
    axes.text(0.01, 0.01, plane.caption, ha="left", va="bottom", **style)
    spots = (
        (0.01, 0.5, "left", "center"),
        (0.99, 0.5, "right", "center"),
        (0.5, 0.99, "center", "top"),
    )
    for side, (x, y, ha, va) in zip(plane.sides, spots, strict=False):
        axes.text(x, y, side, ha=ha, va=va, weight="bold", **style)


def _scale_bar(axes: Axes, width: float, height: float) -> None:
    length = next((n for n in (50, 20, 10, 5) if n < width / 2.5), 1)
    x, y = 0.98 * width, 0.975 * height
    axes.plot(
        [x - length, x], [y, y], color="white", lw=2, solid_capstyle="butt", path_effects=halo()
    )
    axes.text(
        x,
        y - 0.012 * height,
        f"{length} mm",
        color="#e6e6e6",
        fontsize=9,
        ha="right",
        va="bottom",
        path_effects=halo(),
    )


def outline(
    axes: Axes, plane: Plane, mask: NDArray[np.bool_], colour: str, style: _Style = "solid"
) -> None:
    """Draw the half-way line between inside and outside, closed at the picture's edge."""
    part = np.pad(plane.cut(mask), 1).astype(np.float32)
    if not part.any():
        return
    x, y = ((np.arange(n) - 0.5) * s for n, s in zip(part.shape[::-1], plane.steps, strict=True))
    lines = axes.contour(
        x,
        y,
        part,
        levels=[0.5],
        colors=[colour],
        linewidths=1.3,
        linestyles=[style],
    )
    lines.set_path_effects(halo())


def _fill(
    axes: Axes, plane: Plane, masks: Sequence[NDArray[np.bool_]], colours: Sequence[str]
) -> None:
    """Fill masks half transparent; later ones lie on top of earlier ones."""
    from matplotlib.colors import to_rgba

    paint = np.zeros((*plane.cut(masks[0]).shape, 4))
    for mask, colour in zip(masks, colours, strict=True):
        paint[plane.cut(mask)] = to_rgba(colour, 0.4)
    height, width = np.multiply(paint.shape[:2], plane.steps[::-1])
    axes.imshow(paint, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")


def _size(mask: NDArray[np.bool_], voxel_ml: float | None) -> str:
    count = int(mask.sum())
    return f"{count} px" if voxel_ml is None else f"{count * voxel_ml:.1f} ml"
