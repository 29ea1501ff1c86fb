"""Plots of scores and of training, as SVG.

They draw their ink in `currentColor`, so that they suit a light and a dark page.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..core.labels import COLOURS
from .canvas import OTHER
from .figures import colour_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NOT_REGIONS = ("all", "background", "mean_classes", "mean_with_background")
"""What stands in the column `region` of tables and is no tumour region."""
_INK = "#0a0b0c"
_NAMES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "nsd_1mm": "NSD at 1 mm"}


def metric_name(name: str) -> str:
    """Return how a metric is written for readers.

    >>> metric_name("dice"), metric_name("mean_surface-distance")
    ('Dice', 'Mean surface distance')
    """
    return _NAMES.get(name) or name.replace("_", " ").replace("-", " ").capitalize()


def measured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `metrics.csv` that have a value of a region, values as numbers."""
    values = pd.to_numeric(rows["value"], errors="coerce")
    rows = rows.assign(value=values, unit=rows["unit"].fillna(""))
    return rows[rows["value"].notna() & ~rows["region"].isin(NOT_REGIONS)]


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
        _curve(right, log, f"valid_dice_{region}", region, colour_of(region))
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
            color=colour_of(region),
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
        color=colour_of(region),
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


def _figure(width: int, height: int) -> Figure:
    """Return an empty figure without a background, of a size in points."""
    from matplotlib.figure import Figure

    return Figure((width / 72, height / 72), dpi=72, facecolor="none", layout="constrained")


def _svg(figure: Figure, name: str) -> str:
    """Return an SVG element with real text, `currentColor` for ink and ids of its own."""
    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):  # undone right after
        figure.savefig(stream, format="svg", dpi=144, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*">', "<g>", text).replace(_INK, "currentColor")
