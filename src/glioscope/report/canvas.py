"""What pictures are drawn on: a black figure with a legend, stored as a small PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..core.labels import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH = "#00e0ff"
"""Colour of the reference on every picture: cyan, far from every colour of a prediction."""
OTHER = "#648fff"
"""Colour of a region that `COLOURS` does not know."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A scan with contours.

    Attributes:
        caption: Name of the case.
        png: The picture, as `figures.overlay` draws it.
        kind: Why it is shown.
        detail: Its scores in words.
    """

    caption: str
    png: bytes
    kind: Literal["best", "median", "worst"] | str = ""
    detail: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, read off the PNG's header."""
        return int.from_bytes(self.png[16:20]), int.from_bytes(self.png[20:24])

    @property
    def source(self) -> str:
        """The picture as a `data:` address."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


class Key(NamedTuple):
    """An entry of a legend: a line, or a filled patch where `dashed` is None."""

    label: str
    colour: str
    dashed: bool | None = None


def empty_figure(width: int, height: int, dpi: int) -> Figure:
    """Return an empty black figure of a size in pixels."""
    from matplotlib.figure import Figure

    return Figure((width / dpi, height / dpi), dpi=dpi, facecolor="black")


def add_legend(figure: Figure, keys: Sequence[Key], columns: int) -> None:
    """Write what the colours and dashes mean, in the lower left."""
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


def halo() -> list[Any]:
    """Return a thin dark edge, so that a line shows on bright tissue too."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.4, foreground=(0, 0, 0, 0.65))]


def as_png(figure: Figure) -> bytes:
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
