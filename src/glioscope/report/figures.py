"""Pictures of scans with masks (PNG) and plots of scores (SVG).

Volumes are shown as radiologists hang them: the patient's left on the right of the picture, in
sagittal planes the front on the left. 2D images are shown as their file shows them. Plots draw
their ink in `currentColor`, so that they suit a light and a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..core.labels import COLOURS, Labels
from ..core.volume import Volume, bounding_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH = "#00e0ff"
"""Colour of the reference on every picture: cyan, far from every colour of a prediction."""
OTHER = "#648fff"
"""Colour of a region that `COLOURS` does not know."""
NOT_REGIONS = ("all", "background", "mean_with_background")
"""What stands in the column `region` of tables and is no tumour region."""
WIDTH = 1200
"""Width in pixels of a picture with three planes."""
WIDTH_2D = 640
"""Width in pixels of a picture with one plane."""
TALLEST = 640
"""Greatest height in pixels of the planes."""
_GAP, _STRIP = 6, 34
_INK = "#0a0b0c"
_NAMES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "nsd_1mm": "NSD at 1 mm"}
_PLANES = (("axial", 2, "RLA"), ("coronal", 1, "RLS"), ("sagittal", 0, "APS"))
"""Name, array axis (RAS) it is perpendicular to, and what its left, right and top are called."""


def metric_name(name: str) -> str:
    """Return how a metric is written for readers.

    >>> metric_name("dice"), metric_name("mean_surface-distance")
    ('Dice', 'Mean surface distance')
    """
    return _NAMES.get(name) or name.replace("_", " ").replace("-", " ").capitalize()


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
        contours.append(Contour(found, _colour(name), f"{name} prediction", dashed=True))
    return contours


def best_slice(mask: NDArray[np.bool_], axis: int = 2) -> int:
    """Return the slice of (X, Y, Z) with the largest area along `axis`; the middle one if empty."""
    area = mask.sum(axis=tuple(a for a in range(3) if a != axis))
    return int(area.argmax()) if area.any() else mask.shape[axis] // 2


def overlay(
    image: Volume, contours: Sequence[Contour], *, channel: str | None = None, title: str = ""
) -> bytes:
    """Draw outlines on a scan, through the largest slices of the first outline that is not empty.

    Args:
        image: The scan (C, X, Y, Z), any axis order.
        contours: What to draw on it; those without a label are left out of the legend.
        channel: The channel to show; by default FLAIR, else the first there is.
        title: A line above the picture.

    Returns:
        A PNG: three planes of a volume, `WIDTH` pixels wide, or one of a 2D image, `WIDTH_2D`.
    """
    scene = _scene(image, [c.mask for c in contours], channel)
    legend = [_Key(c.label, c.colour, c.dashed) for c in contours if c.label]
    figure, panels = _canvas(scene, title, legend)
    for axes, plane in panels:
        for i, (contour, mask) in enumerate(zip(contours, scene.masks, strict=True)):
            # where outlines coincide, each shows in the gaps of the others
            style: _Style = (1.75 * i, (3, 4)) if contour.dashed else "solid"
            _outline(axes, plane, mask, contour.colour, style)
    return _png(figure)


def preview(image: Volume, mask: Volume, labels: Labels) -> bytes:
    """Draw a segmentation on its scan: filled regions, their outlines and their sizes.

    Args:
        image: The scan (C, X, Y, Z), any axis order.
        mask: Stored label values (1, X, Y, Z) on the same grid.
        labels: The scheme of the mask.

    Returns:
        A PNG as `overlay` gives it; sizes are in ml, or in pixels where the spacing is unknown.
    """
    inside = {c for names in labels.regions.values() for c in names}
    names = [*labels.regions, *(c for c in labels.values if c not in inside)]
    masks = [labels.mask(mask.array[0], name) for name in names]
    legend = [
        _Key(f"{name}  {_size(m, image.grid.voxel_ml)}", _colour(name))
        for name, m in zip(names, masks, strict=True)
        if m.any()
    ]
    scene = _scene(image, masks, None)
    figure, panels = _canvas(scene, "", legend or [_Key("no tumour found", TRUTH)])
    for axes, plane in panels:
        _fill(axes, plane, scene.masks, [_colour(name) for name in names])
        for name, seen in zip(names, scene.masks, strict=True):
            _outline(axes, plane, seen, _colour(name))
    return _png(figure)


def learning_curves(log: pd.DataFrame, best: int | None = None) -> str:
    """Plot losses and validation Dice against the epoch.

    Args:
        log: One row per epoch: `epoch, train_loss, valid_loss, valid_dice`, `valid_dice_<region>`.
        best: The epoch whose weights were kept; by default the one of the highest `valid_dice`.

    Returns:
        An SVG, 720 units wide.
    """
    figure = _figure(720, 280)
    left, right = figure.subplots(1, 2)
    _curve(left, log, "train_loss", "training", OTHER)
    _curve(left, log, "valid_loss", "validation", COLOURS["TC"])
    regions = [c.removeprefix("valid_dice_") for c in map(str, log) if c.startswith("valid_dice_")]
    several = len(regions) > 1
    for region in regions if several else []:
        _curve(right, log, f"valid_dice_{region}", region, _colour(region))
    _curve(right, log, "valid_dice", "mean" if several else "validation", _INK)
    scores = pd.to_numeric(log["valid_dice"], errors="coerce")
    if best is None and scores.notna().any():
        best = int(log["epoch"].iloc[int(scores.argmax())])
    for axes, title in ((left, "Loss"), (right, "Dice on validation")):
        _dress(axes, title)
        axes.set_xlabel("epoch", color=_INK, fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        if best is not None:
            _mark_epoch(axes, best)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, labelcolor=_INK, fontsize=10)
    right.set_ylim(0, 1.02)
    return _svg(figure, "curves")


def distribution(rows: pd.DataFrame) -> str:
    """Plot every case as a dot beside a box plot, one panel per metric.

    Args:
        rows: `metrics.csv`: `region, metric, value`; empty values are left out.

    Returns:
        An SVG, 720 units wide.
    """
    rows = measured(rows)
    metrics = list(dict.fromkeys(rows["metric"]))
    across = min(3, max(1, len(metrics)))
    down = max(1, -(-len(metrics) // across))
    figure = _figure(720, 230 * down)
    grid = figure.subplots(down, across, squeeze=False, gridspec_kw={"hspace": 0.12})
    for axes, metric in zip(grid.flat, metrics, strict=False):
        part = rows[rows["metric"] == metric]
        regions = list(dict.fromkeys(part["region"]))
        for place, region in enumerate(regions):
            _dots_and_box(axes, place, region, part.loc[part["region"] == region, "value"])
        axes.set_xticks(range(len(regions)), regions)
        room = max(0.6, 1.5 - len(regions) / 2)
        axes.set_xlim(-room, len(regions) - 1 + room)
        unit = str(part["unit"].iloc[0])
        _dress(axes, metric_name(metric) + (f" ({unit})" if unit else ""))
        _fit(axes, part["value"], unit)
    for axes in grid.flat[len(metrics) :]:
        axes.set_axis_off()
    return _svg(figure, "distribution")


def score_against_size(rows: pd.DataFrame, sizes: pd.DataFrame, unit: str = "ml") -> str:
    """Plot the Dice of each case against the size of its true region (logarithmic).

    Args:
        rows: `metrics.csv`.
        sizes: `case, region, size`; empty regions are left out.
        unit: Unit of the sizes.

    Returns:
        An SVG, 720 units wide.
    """
    both = measured(rows).query("metric == 'dice'").merge(sizes, on=["case", "region"])
    both = both[both["size"] > 0]
    figure = _figure(720, 300)
    axes = figure.subplots()
    for marker, region in zip("osD^vP*X" * 8, dict.fromkeys(both["region"]), strict=False):
        part = both[both["region"] == region]
        axes.scatter(
            part["size"],
            part["value"],
            s=30,
            marker=marker,
            color=_colour(region),
            edgecolors=_INK,
            linewidths=0.6,
            alpha=0.85,
            label=region,
        )
    _dress(axes, "Dice against size of the true region")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel(unit, color=_INK, fontsize=10)
    if len(both):
        axes.legend(frameon=False, labelcolor=_INK, fontsize=10)
    return _svg(figure, "size")


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `metrics.csv` that have a value of a region, values as numbers."""
    values = pd.to_numeric(rows["value"], errors="coerce")
    rows = rows.assign(value=values, unit=rows["unit"].fillna(""))
    return rows[rows["value"].notna() & ~rows["region"].isin(NOT_REGIONS)]


# --- scans ---------------------------------------------------------------------------------------


_Style = Literal["solid"] | tuple[float, tuple[float, float]]


class _Key(NamedTuple):
    label: str
    colour: str
    dashed: bool | None = None  # None: a filled patch


class _Plane(NamedTuple):
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


class _Scene(NamedTuple):
    """A scan and masks (X, Y, Z), cut to the head, in the axes they are shown in."""

    grey: NDArray[np.floating]
    masks: list[NDArray[np.bool_]]
    planes: list[_Plane]
    scale: bool  # whether lengths are known


def _scene(image: Volume, masks: Sequence[NDArray[np.bool_]], channel: str | None) -> _Scene:
    as_file = image.unit == "px" and image.array.shape[3] == 1
    name = channel or ("flair" if "flair" in image.names else image.names[0])
    shown = image.with_array(image.channel(name)[None], [name])
    stack = np.array(masks, np.uint8).reshape(-1, *image.grid.shape)
    drawn = image.with_array(stack, [str(i) for i in range(len(stack))])
    if not as_file:
        shown, drawn = shown.canonical(), drawn.canonical()
    head = shown.array[0] != 0
    start, shape = bounding_box(np.any([head | as_file, *(drawn.array > 0)], axis=0))
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    cut = [m[box] > 0 for m in drawn.array]
    focus = next((m for m in cut if m.any()), np.zeros(shape, bool))
    planes = []
    for label, axis, sides in _PLANES if image.array.shape[3] > 1 else _PLANES[:1]:
        index = best_slice(focus, axis)
        place = f"{label} {start[axis] + index + 1}/{head.shape[axis]}"
        width, height = (s for a, s in enumerate(shown.spacing) if a != axis)
        planes.append(
            _Plane(axis, index, (width, height), "", "")
            if as_file
            else _Plane(axis, index, (width, height), place, sides)
        )
    source = "" if name == "image" else name
    planes[0] = planes[0]._replace(caption=" · ".join(filter(None, (source, planes[0].caption))))
    return _Scene(_window(shown.array[0])[box], cut, planes, image.unit == "mm")


def _window(array: NDArray[Any]) -> NDArray[np.floating]:
    """Scale to 0..1 between the 1st and 99th percentile of the voxels that are not zero."""
    grey = np.nan_to_num(array.astype(np.float32), posinf=0, neginf=0)
    low, high = np.percentile(grey[grey != 0], (1, 99)) if grey.any() else (0.0, 1.0)
    scaled: NDArray[np.floating] = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    scaled[grey == 0] = 0  # outside the head stays black, whatever the normalisation
    return scaled


def _canvas(
    scene: _Scene, title: str, legend: Sequence[_Key]
) -> tuple[Figure, list[tuple[Axes, _Plane]]]:
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
    figure = _figure(width, height, "black")
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
    _legend(figure, legend, columns)
    return figure, panels


def _mark(axes: Axes, plane: _Plane) -> None:
    """Write the sides and which slice it is."""
    style: dict[str, Any] = {"transform": axes.transAxes, "color": "#e6e6e6", "fontsize": 10}
    style["path_effects"] = _halo()
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
        [x - length, x], [y, y], color="white", lw=2, solid_capstyle="butt", path_effects=_halo()
    )
    axes.text(
        x,
        y - 0.012 * height,
        f"{length} mm",
        color="#e6e6e6",
        fontsize=9,
        ha="right",
        va="bottom",
        path_effects=_halo(),
    )


def _outline(
    axes: Axes, plane: _Plane, mask: NDArray[np.bool_], colour: str, style: _Style = "solid"
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
    lines.set_path_effects(_halo())


def _fill(
    axes: Axes, plane: _Plane, masks: Sequence[NDArray[np.bool_]], colours: Sequence[str]
) -> None:
    """Fill masks half transparent; later ones lie on top of earlier ones."""
    from matplotlib.colors import to_rgba

    paint = np.zeros((*plane.cut(masks[0]).shape, 4))
    for mask, colour in zip(masks, colours, strict=True):
        paint[plane.cut(mask)] = to_rgba(colour, 0.4)
    height, width = np.multiply(paint.shape[:2], plane.steps[::-1])
    axes.imshow(paint, extent=(0, width, height, 0), interpolation="nearest", aspect="auto")


def _legend(figure: Figure, keys: Sequence[_Key], columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=k.colour, label=k.label)
        if k.dashed is None
        else Line2D(
            [], [], color=k.colour, lw=2, ls=(0, (3, 1.5)) if k.dashed else "-", label=k.label
        )
        for k in keys
    ]
    if handles:
        figure.legend(
            handles=handles,
            loc="lower left",
            ncols=columns,
            frameon=False,
            fontsize=11,
            labelcolor="white",
            borderaxespad=0.2,
            handlelength=2.2,
        )


def _halo() -> list[Any]:
    """Return a thin dark edge, so that a line shows on bright tissue too."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.4, foreground=(0, 0, 0, 0.65))]


def _colour(region: str) -> str:
    return COLOURS.get(region, OTHER)


def _size(mask: NDArray[np.bool_], voxel_ml: float | None) -> str:
    count = int(mask.sum())
    return f"{count} px" if voxel_ml is None else f"{count * voxel_ml:.1f} ml"


# --- plots ---------------------------------------------------------------------------------------


def _curve(axes: Axes, log: pd.DataFrame, column: str, label: str, colour: str) -> None:
    values = pd.to_numeric(log[column], errors="coerce")
    known = values.notna()
    size = 3 if known.sum() < 60 else 0
    axes.plot(
        log.loc[known, "epoch"], values[known], "o-", color=colour, label=label, lw=1.5, ms=size
    )


def _mark_epoch(axes: Axes, best: int) -> None:
    axes.axvline(best, color=_INK, lw=1, ls=(0, (2, 3)))
    style: dict[str, Any] = {"color": _INK, "fontsize": 9, "va": "bottom", "ha": "center"}
    axes.text(best, 1, f"best: {best}", transform=axes.get_xaxis_transform(), **style)


def _dots_and_box(axes: Axes, place: int, region: str, values: pd.Series[float]) -> None:
    line = {"color": _INK, "linewidth": 1}
    axes.boxplot(
        [values],
        positions=[place],
        widths=0.5,
        showfliers=False,
        boxprops=line,
        whiskerprops=line,
        capprops=line,
        medianprops={"color": _INK, "linewidth": 2.2},
    )
    spread = (np.arange(len(values)) * 0.618034) % 1 - 0.5  # golden ratio: even, and no dice thrown
    axes.scatter(
        place + 0.36 * spread,
        values,
        s=16,
        color=_colour(region),
        edgecolors=_INK,
        linewidths=0.4,
        alpha=0.8,
        zorder=3,
        rasterized=len(values) > 200,  # thousands of vector dots would swell the page
    )


def _fit(axes: Axes, values: pd.Series[float], unit: str) -> None:
    """Show ratios on 0..1, unless all are near 1; lengths on a scale that stands outliers."""
    low = float(values.min())
    if not unit and values.between(0, 1).all():
        axes.set_ylim(-0.03 if low < 0.9 else None, 1.03 if low < 0.9 else 1 + (1 - low) / 20)
    elif low >= 0 and values.max() > 10 * values.median():
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(-0.1, 2 * values.max())
        axes.yaxis.set_major_formatter("{x:g}")


def _dress(axes: Axes, title: str) -> None:
    """Give a plot its title, grid and ink."""
    axes.set_title(title, loc="left", color=_INK, fontsize=11, weight="bold", pad=14)
    axes.grid(axis="y", color=_INK, alpha=0.15, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(which="both", colors=_INK, labelsize=10)
    axes.patch.set_visible(False)


def _figure(width: int, height: int, background: str = "none") -> Figure:
    """Return an empty figure of a size in pixels, or of a plot in points."""
    from matplotlib.figure import Figure

    if background == "none":
        return Figure((width / 72, height / 72), dpi=72, facecolor="none", layout="constrained")
    dpi = 100 if width == WIDTH else 140  # one plane is shown smaller: larger letters and lines
    return Figure((width / dpi, height / dpi), dpi=dpi, facecolor=background)


def _png(figure: Figure) -> bytes:
    """Return a PNG of 128 greys and 128 colours: a third of the size, and no tint in the scan."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    coloured = np.ptp(pixels, axis=2) > 0
    indices = pixels[..., 0] // 2
    palette = np.repeat(np.linspace(0, 255, 128).round().astype(np.uint8), 3).tolist()
    if coloured.any():
        ink = Image.fromarray(pixels[coloured][None])
        named = b"".join(bytes.fromhex(c[1:]) for c in sorted({TRUTH, OTHER, *COLOURS.values()}))
        blends = ink.quantize(128 - len(named) // 3, Image.Quantize.MEDIANCUT).getpalette() or []
        few = Image.new("P", (1, 1))
        few.putpalette([*named, *blends])
        indices[coloured] = 128 + np.asarray(ink.quantize(palette=few, dither=Image.Dither.NONE))[0]
        palette += [*named, *blends]
    picture = Image.fromarray(indices)
    picture.putpalette(palette)
    stream = io.BytesIO()
    picture.save(stream, "png", optimize=True)
    return stream.getvalue()


def _svg(figure: Figure, name: str) -> str:
    """Return an SVG element with real text, `currentColor` for ink and ids of its own."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # undone right after
        figure.savefig(stream, format="svg", dpi=144, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*">', "<g>", text).replace(_INK, "currentColor")
