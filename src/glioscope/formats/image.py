"""2D images as lazy sources (PNG, JPEG, TIFF, BMP, through PIL), and the one writer of PNG masks.

A 2D image is an array (1, X = column, Y = row, Z = 1) on the grid of its pixels: identity affine,
unit `px`. An orientation in EXIF data is not applied, so that a mask has the size of the stored
image; it is said instead.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from ..core.case import Source
from ..core.errors import DataError
from ..core.files import replacing
from ..core.labels import WHITE
from ..core.volume import Grid, Volume
from .itk import itk_reader, simple_itk
from .paths import COPY, IMAGE_SUFFIXES, StoredFile, is_image, is_lossy, is_scan, unreadable
from .scans import scan_mask, scan_source
from .voxels import refuse_non_finite, whole_numbers

# PIL warns of broken TIFF tags and then fails or reads on: what fails is said by our error
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # they are refused

LABEL_LIMIT = 15
"""A lossless mask whose values stay at or below this holds labels rather than shades of grey."""
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's own conversion
_EXIF_ORIENTATION = 0x0112
_MOST_PIXELS = 5000 * 5000
"""No slice has so many; reading them takes less than 1 GB."""
_KINDS = ("PNG", "JPEG", "TIFF", "BMP")  # PIL knows many more, each with holes of its own
_SAMPLE_FORMAT = 339  # tag of TIFF; 2 is signed
_BROKEN = (
    OSError,
    SyntaxError,  # PIL's word for a broken PNG or TIFF
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class _ImageFile(StoredFile):
    def grid(self) -> Grid:
        """Return the grid of the pixels, from the header alone.

        Raises:
            DataError: If this is no image.
        """
        with _opened(self.path) as image:
            return pixel_grid(image.width, image.height)


@dataclass(frozen=True)
class ImageSource(_ImageFile):
    """A 2D image of 8 or 16 bits, grey or coloured.

    Attributes:
        path: The file.
    """

    def read(self) -> Volume:
        """Return the luminance as float32 (1, X, Y, 1), with a note if there were colours.

        Raises:
            DataError: If the file is broken.
        """
        with _opened(self.path) as image:
            colours = _channels(image)
            turned = image.getexif().get(_EXIF_ORIENTATION, 1)
        notes: tuple[str, ...] = ()
        if turned != 1:
            notes = (f"EXIF orientation {turned} was not applied",)
        grey = colours[..., 0].astype(np.float32)
        if colours.shape[-1] > 1 and (colours != colours[..., :1]).any():  # NaN is not NaN
            grey = (colours @ np.array(_LUMINANCE)).astype(np.float32)
            notes += ("colours were reduced to their luminance",)
        refuse_non_finite(self.path, grey)
        return Volume(_placed(grey), ("image",), unit="px", notes=notes)


@dataclass(frozen=True)
class ImageMask(_ImageFile):
    """A 2D mask.

    Attributes:
        path: The file.
        threshold: Stored values from here on are tumour (1), the others background (0);
            None if the stored values are labels.
    """

    threshold: int | None = None

    @property
    def identity(self) -> str:
        """Name and size of the file, and how it is understood."""
        return f"{super().identity}:{self.threshold}"

    def read(self) -> Volume:
        """Return 0 and 1, or the labels, as uint8 (1, X, Y, 1), or int16 if one is above 255.

        Raises:
            DataError: If the file is broken.
        """
        values = mask_values(self.path)
        if self.threshold is None:
            labels = whole_numbers(self.path, values)
        else:
            labels = (values >= self.threshold).astype(np.uint8)
        return Volume(_placed(labels), ("mask",), unit="px")


def mask_values(path: Path) -> NDArray[Any]:
    """Return the stored values (row, column) of a 2D mask.

    Of colours the brightest channel counts, so that pure red is not darker than half; a coloured
    palette stands for labels, and its indices count.

    Raises:
        DataError: If the file is broken.
    """
    with _opened(path) as image:
        colours = _channels(image)
        palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
        if (palette != palette[:, :1]).any():
            return np.asarray(image)
        brightest: NDArray[Any] = colours.max(axis=-1)
        refuse_non_finite(path, brightest)
        return brightest


def halfway(highest: int) -> int:
    """Return the threshold between background 0 and tumour `highest`.

    >>> halfway(255), halfway(1)
    (128, 1)
    """
    return (highest + 1) // 2


def source(path: Path) -> Source:
    """Return a scan or a 2D image by the suffix of its name."""
    return ImageSource(path) if is_image(path) else scan_source(path)


def read_mask(path: Path) -> Volume:
    """Read a mask of either kind: 3D labels, or an image with labels or of black and white.

    A JPEG, and any image with values above 15, is binary: what is at least half as bright as its
    highest value becomes 1, with a note. In a JPEG, whose empty masks hold noise, that is 255.

    Raises:
        DataError: If the file is broken, or neither a scan nor an image.
    """
    if is_scan(path):
        return scan_mask(path).read()
    highest = int(mask_values(path).max())
    lossy = is_lossy(path)
    if highest <= LABEL_LIMIT and not lossy:
        return ImageMask(path).read()
    threshold = halfway(max(highest, WHITE) if lossy else highest)
    mask = ImageMask(path, threshold).read()
    return replace(mask, notes=(*mask.notes, f"mask images were binarised at {threshold}"))


def write_image(path: Path, array: NDArray[np.uint8]) -> None:
    """Write an array (X = column, Y = row) as an 8-bit grey PNG, whole or not at all.

    Raises:
        StorageError: If the file cannot be written.
        ValueError: If the array is not of 8 bits and two axes.
    """
    if array.dtype != np.uint8 or array.ndim != 2:
        raise ValueError(f"an 8-bit image has axes (X, Y), not {array.dtype} {array.shape}")
    with replacing(path) as temporary:
        Image.fromarray(np.ascontiguousarray(array.T)).save(temporary, "PNG")


def pixel_grid(width: int, height: int) -> Grid:
    """Return the grid of an image of so many columns and rows."""
    return Grid((width, height, 1), np.eye(4), "px")


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; what PIL raises, then or while pixels are read, becomes a DataError."""
    try:
        with Image.open(path, formats=_KINDS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"{image.width}x{image.height} pixels may be a decompression bomb")
            if getattr(image, "n_frames", 1) > 1:
                raise ValueError(f"it holds {image.n_frames} images")  # type: ignore[attr-defined]
            # PIL leaves rows black that no strip of a TIFF holds; it may turn the sides about
            end = image.tile[-1].extents if image.tile else None
            if end and sorted(end[2:]) != sorted(image.size):
                raise ValueError("its pixels end too early")
            yield image
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno:
            raise unreadable(path, error) from error
        raise DataError(
            path,
            f"is no image that can be read ({error})",
            f"one whole image ({' '.join(IMAGE_SUFFIXES)})",
            COPY,
        ) from error


def _channels(image: Image.Image) -> NDArray[Any]:
    """Return the pixels (row, column, channel) with one channel (grey) or three, without alpha."""
    if _is_squeezed(image):
        return _full_range(image)
    if image.mode in ("1", "LA", "La"):
        image = image.convert("L")
    elif image.mode not in ("L", "RGB") and not image.mode.startswith(("I", "F")):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _is_squeezed(image: Image.Image) -> bool:
    """Tell, of an image whose pixels were not read yet, whether PIL would change their values.

    It keeps 8 of the 16 bits of colours, and takes the signed for unsigned and the other way round.
    """
    layout = image.tile[0][3] if isinstance(image, ImageFile.ImageFile) and image.tile else ""
    stored = str(layout[0] if isinstance(layout, tuple) else layout)
    signed = 2 in getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT, ())
    if image.mode.startswith("I"):
        return stored.startswith("I;32") and not signed
    return "16" in stored or signed


def _full_range(image: Image.Image) -> NDArray[Any]:
    """Return the pixels of a PNG or TIFF with all their bits, which ITK keeps."""
    image.load()  # PIL says what is wrong with a broken file
    reader = itk_reader(image.filename, f"{image.format}ImageIO")  # type: ignore[attr-defined]
    try:
        pixels: NDArray[Any] = simple_itk().GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise ValueError(f"16-bit {image.mode} is not read") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]


def _placed(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn (row, column) into (1, X, Y, 1)."""
    return np.ascontiguousarray(pixels.T)[None, :, :, None]
