"""NRRD and MetaImage files as lazy sources, through SimpleITK.

ITK does not survive every damaged file: it crashes on some headers, writes to stderr from C++, and
reads a compressed MetaImage with one turned bit as noise, without a word. So it is given sound
files only: their text is checked (`itktext`), their voxels are counted and their checksum is
verified before.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.volume import Grid, Shape, Volume
from .itktext import Text, read_text
from .paths import COPY, StoredFile, unreadable
from .voxels import DEFLATE, mask_volume, placed, scan_volume

_CHUNK = 1 << 16
_LPS = np.diag([-1.0, -1, 1, 1])
"""ITK's world points to the left and to the back, ours to the right and to the front."""


@dataclass(frozen=True)
class _Header:
    """ITK's reader of a file, and what it says of the file before its voxels are read.

    Attributes:
        text: What the text before the voxels says.
        reader: ITK's reader.
        grid: Where the voxels lie.
        size: How many bytes they have.
        notes: What was repaired or assumed.
    """

    text: Text
    reader: Any
    grid: Grid
    size: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _ItkFile(StoredFile):
    def grid(self) -> Grid:
        """Return where the voxels lie, from the header alone.

        Raises:
            DataError: If this is no NRRD or MetaImage file of one 3D scan with a usable affine.
        """
        return _header(self.path).grid


@dataclass(frozen=True)
class ItkSource(_ItkFile):
    """A scan in a `.nrrd` or `.mha` file.

    Attributes:
        path: The file.
    """

    def read(self) -> Volume:
        """Return the scan as float32 (1, X, Y, Z).

        Raises:
            DataError: If the file is broken or holds NaN or infinite voxels.
        """
        return scan_volume(self.path, *_read(self.path))


@dataclass(frozen=True)
class ItkMask(_ItkFile):
    """A label map in a `.nrrd` or `.mha` file, stored as whole numbers of any type.

    Attributes:
        path: The file.
    """

    def read(self) -> Volume:
        """Return the label values as uint8 (1, X, Y, Z), or int16 if one is above 255.

        A mask of 0 and 255 alone is black and white: it becomes 0 and 1, with a note.

        Raises:
            DataError: If the file is broken or a value is not a whole number from 0 to 32767.
        """
        return mask_volume(self.path, *_read(self.path))


def _read(path: Path) -> tuple[NDArray[Any], Grid, tuple[str, ...]]:
    """Return stored voxels (X, Y, Z), grid and notes."""
    header = _header(path)
    _refuse_damaged(path, header)
    try:
        stored = simple_itk().GetArrayFromImage(header.reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise _broken(path, error) from error
    return stored.T.reshape(header.grid.shape, order="F"), header.grid, header.notes


def _header(path: Path) -> _Header:
    text = read_text(path)
    reader = itk_reader(path, text.reader)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _broken(path, error) from error
    shape = _shape(path, reader)
    size = math.prod(shape) * _itemsize(path, reader)
    if size > text.rest * (DEFLATE if text.packed else 1):
        raise DataError(
            path,
            f"{text.rest} bytes follow its header and cannot hold the voxels that it promises"
            f" ({'x'.join(map(str, shape))})",
            f"{size} bytes" + (" when unpacked" if text.packed else ""),
            f"it was cut off or damaged: {COPY}",
        )
    affine, notes = placed(path, _affine(reader))
    if not text.oriented:
        notes += ("the header has no orientation: left and right were assumed as in LPS",)
    return _Header(text, reader, Grid(shape, affine), size, notes)


def simple_itk() -> Any:
    """Return SimpleITK, told to be quiet; it is imported when a file first needs it."""
    import SimpleITK

    itk: Any = SimpleITK
    itk.ProcessObject.SetGlobalWarningDisplay(False)  # they go to stderr
    return itk


def itk_reader(path: str | Path, kind: str) -> Any:
    """Return ITK's reader of a file.

    Args:
        path: The file.
        kind: Name of ITK's reader of such files.

    Raises:
        DataError: If the name is not UTF-8, on which SimpleITK ends the process.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise DataError(path, "its name is not UTF-8", "a name in UTF-8", "rename it") from error
    reader = simple_itk().ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(kind)
    return reader


def _shape(path: Path, reader: Any) -> Shape:
    size, components = [int(n) for n in reader.GetSize()], int(reader.GetNumberOfComponents())
    x, y, z, *frames = [*size, 1, 1, 1][: max(3, len(size))]
    if min(x, y, z) < 1 or {*frames} - {1} or components != 1:
        values = f" with {components} values each" if components != 1 else ""
        raise DataError(
            path,
            f"shape {'x'.join(map(str, size))}{values}",
            "one 3D scan",
            "store every sequence or frame as a file of its own",
        )
    return x, y, z


def _itemsize(path: Path, reader: Any) -> int:
    """Return the bytes of a voxel."""
    itk = simple_itk()
    for bits in (8, 16, 32, 64):
        kinds = [f"sitkUInt{bits}", f"sitkInt{bits}", f"sitkFloat{bits}"]
        if reader.GetPixelID() in {getattr(itk, kind, None) for kind in kinds}:
            return bits // 8
    found = itk.GetPixelIDValueAsString(reader.GetPixelID())
    raise DataError(path, f"holds voxels of {found}", "real numbers", "convert it to .nii.gz")


def _affine(reader: Any) -> NDArray[np.floating]:
    dims = int(reader.GetDimension())
    n = min(dims, 3)
    affine = np.eye(4)
    directions = np.reshape(reader.GetDirection(), (dims, dims)) * reader.GetSpacing()
    affine[:n, :n] = directions[:n, :n]
    affine[:n, 3] = reader.GetOrigin()[:n]
    moved: NDArray[np.floating] = _LPS @ affine
    return moved


def _refuse_damaged(path: Path, header: _Header) -> None:
    """Refuse a compressed file that does not hold the voxels that its header promises.

    Raises:
        DataError: If it is cut off, or its checksum is wrong.
    """
    text = header.text
    if not text.packed:
        return
    try:
        length = int(text.fields.get("CompressedDataSize", text.rest))
        if not 0 < length <= text.rest:
            raise EOFError(f"{text.rest} of {length} bytes follow its header")
        with path.open("rb") as file:
            file.seek(text.start)
            found = _unpacked_size(file, length, header.size)
        if found != header.size:
            raise EOFError(f"{found} bytes, where its header promises {header.size}")
    except OSError as error:
        raise unreadable(path, error) from error
    except (EOFError, ValueError, zlib.error) as error:
        raise _broken(path, error) from error


def _unpacked_size(file: BinaryIO, length: int, promised: int) -> int:
    """Return how many bytes `length` bytes unpack to, or one above `promised`; checksum verified.

    Raises:
        EOFError: If the compressed stream is cut off.
        zlib.error: If it is damaged.
    """
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip, as the first bytes say
    found = 0
    while length > 0 and not stream.eof:
        chunk = file.read(min(_CHUNK, length))
        length -= len(chunk)
        found += len(stream.decompress(chunk))
        if found > promised or not chunk:
            return min(found, promised + 1)
    if not stream.eof:
        raise EOFError("its compressed voxels end too early")
    return found


def _broken(path: Path, error: Exception) -> DataError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return DataError(
        path, f"is damaged or cut off ({reason})", "a whole NRRD or MetaImage file", COPY
    )
