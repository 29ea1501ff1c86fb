"""NIfTI files as lazy sources, and the one writer of NIfTI files.

The affine is nibabel's choice: the sform if its code is above 0, else the qform, else voxel sizes
alone (which is said). Whether a file is compressed is decided by its first bytes, not its name.
Compressed files are read to their end, so that their checksum is verified.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..core.errors import DataError
from ..core.files import replacing
from ..core.labels import WHITE
from ..core.volume import Grid, Shape, Volume, checked_affine
from .paths import identity, unreadable
from .voxels import refuse_non_finite, whole_numbers

_LOG = logging.getLogger(__name__)  # nibabel's own logger writes to stderr
_LOG.addHandler(logging.NullHandler())

Header = Any
"""`nibabel.Nifti1Header` or `Nifti2Header`, which have no types."""
_HEADERS: Mapping[int, Any] = {348: Nifti1Header, 540: Nifti2Header}
_MAGIC = (b"n+1", b"n+2")
_DEFLATE = 1032
"""Deflate expands a byte to at most this many (zlib's technical notes, "Maximum Expansion")."""
_PLACE = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"),
    *(f"{kind}_{axis}" for kind in ("qoffset", "srow") for axis in "xyz"),
)
"""Fields that say where the voxels lie."""
WHITE_NOTE = "masks of 0 and 255 were read as 0 and 1"
_COPY = "fetch the file again from its source"


@dataclass(frozen=True)
class _NiftiFile:
    path: Path

    @property
    def identity(self) -> str:
        """Name and size of the file."""
        return identity(self.path)

    def grid(self) -> Grid:
        """Return where the voxels lie, from the header alone.

        Raises:
            DataError: If this is no NIfTI file of one 3D scan with a usable affine.
        """
        return _grid(self.path, read_header(self.path))[0]


@dataclass(frozen=True)
class NiftiSource(_NiftiFile):
    """A scan in a `.nii` or `.nii.gz` file.

    Attributes:
        path: The file.
    """

    def read(self) -> Volume:
        """Return the scan, scaled as its header says, as float32 (1, X, Y, Z).

        Raises:
            DataError: If the file is broken or holds NaN or infinite voxels.
        """
        stored, grid, notes = _read(self.path)
        with np.errstate(over="ignore"):  # what overflows is found by the next line
            array = stored.astype(np.float32)
        refuse_non_finite(self.path, array)
        return Volume(array[None], ("image",), grid.affine, grid.unit, notes)


@dataclass(frozen=True)
class NiftiMask(_NiftiFile):
    """A label map in a `.nii` or `.nii.gz` file, stored as whole numbers of any type.

    Attributes:
        path: The file.
    """

    def read(self) -> Volume:
        """Return the label values as uint8 (1, X, Y, Z), or int16 if one is above 255.

        A mask of 0 and 255 alone is black and white: it becomes 0 and 1, with a note.

        Raises:
            DataError: If the file is broken or a value is not a whole number from 0 to 32767.
        """
        stored, grid, notes = _read(self.path)
        labels = whole_numbers(self.path, stored)
        if labels.max() == WHITE and np.isin(labels, (0, WHITE)).all():
            labels = (labels == WHITE).astype(np.uint8)
            notes += (WHITE_NOTE,)
        return Volume(labels[None], ("mask",), grid.affine, grid.unit, notes)


def read_header(path: Path) -> Header:
    """Return the header of a NIfTI-1 or NIfTI-2 file, checked against the file's size.

    Raises:
        DataError: If this is no NIfTI file, or it cannot hold the voxels that it promises.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            stream = _stream(file)
            start = stream.read(540)
            factor = 1 if stream is file else _DEFLATE
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, error) from error
    if not start:
        raise DataError(path, "the file is empty", "a NIfTI file", _COPY)
    header = _parse(path, start)
    promised = _end(header)
    if promised > size * factor:
        raise DataError(
            path,
            f"the file has {size} bytes and cannot hold the voxels that its header promises"
            f" ({'x'.join(map(str, header.get_data_shape()))})",
            f"{promised} bytes" + (" when unpacked" if factor > 1 else ""),
            f"it was cut off or damaged: {_COPY}",
        )
    return header


def write_nifti(path: Path, volume: Volume, like: Path | None = None) -> None:
    """Write channel 0 of a volume, whole or not at all; the same voxels give the same bytes.

    Args:
        path: A `.nii` file, or `.nii.gz` for a compressed one.
        volume: The voxels; their type is kept (bool becomes uint8).
        like: A NIfTI file. If the volume lies on its grid, its sform and qform are copied to the
            bit, with their codes, so that the result lies exactly where the file does.

    Raises:
        StorageError: If the file cannot be written.
        DataError: If `like` is not a NIfTI file.
    """
    array = volume.array[0]
    stored = array.astype(np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("="))
    header = _HEADERS[348]()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_slope_inter(1, 0)
    header.set_data_offset(header.single_vox_offset)
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=1)
    if like is not None:
        _copy_place(header, like, volume.grid)
    start: bytes = header.binaryblock
    data = start.ljust(_offset(header), b"\0") + stored.tobytes("F")
    with replacing(path) as temporary:
        packed = path.name.lower().endswith(".gz")
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if packed else data)


def _copy_place(header: Header, like: Path, grid: Grid) -> None:
    original = read_header(like)
    if _grid(like, original)[0].matches(grid):
        for name in _PLACE:
            header[name] = original[name]
        header["pixdim"][:4] = original["pixdim"][:4]


def _stream(file: BinaryIO) -> BinaryIO:
    """Return the file itself, or what it unpacks to if its first bytes are gzip's."""
    file.seek(0)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def _parse(path: Path, start: bytes) -> Header:
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & {*_HEADERS}
    kind = _HEADERS[sizes.pop()] if sizes else None
    if kind is None or len(start) < kind.sizeof_hdr:
        raise DataError(
            path,
            f"is not NIfTI (it starts with {start[:12]!r})",
            "a NIfTI file",
            "convert it (dcm2niix for DICOM) or fetch it again from its source",
        )
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        header.check_fix(_LOG, error_level=40)
        _offset(header)  # a float in NIfTI-1: it may be NaN
    except (HeaderDataError, ValueError, KeyError, OverflowError) as error:
        raise DataError(
            path, f"its header is damaged ({error})", "a NIfTI header", _COPY
        ) from error
    dtype = header.get_data_dtype()
    if bytes(header["magic"].item())[:3] not in _MAGIC or dtype.kind not in "iuf":
        raise DataError(
            path,
            f"holds {dtype} voxels in the layout {header['magic'].item()!r}",
            "real numbers in a single NIfTI file",
            "convert it to .nii.gz",
        )
    return header


def _shape(path: Path, header: Header) -> Shape:
    shape = [int(n) for n in header.get_data_shape()]
    x, y, z, *frames = [*shape, 1] if len(shape) == 2 else shape if len(shape) > 2 else [0, 0, 0]
    if min(x, y, z) < 1 or math.prod(frames) != 1:
        raise DataError(
            path,
            f"shape {'x'.join(map(str, shape))}",
            "one 3D scan",
            "store every sequence or frame as a file of its own",
        )
    return x, y, z


def _end(header: Header) -> int:
    """Return how many bytes a file with this header has, unpacked."""
    voxels = math.prod(map(int, header.get_data_shape()))
    return _offset(header) + voxels * int(header.get_data_dtype().itemsize)


def _offset(header: Header) -> int:
    return int(header["vox_offset"]) or int(header.single_vox_offset)


def _grid(path: Path, header: Header) -> tuple[Grid, tuple[str, ...]]:
    shape = _shape(path, header)
    try:
        found = header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        raise DataError(path, f"its qform is damaged ({error})", "a rotation", _COPY) from error
    affine, notes = checked_affine(found, path)
    if not header["sform_code"] and not header["qform_code"]:
        notes += ("the header has no orientation: left and right were assumed as in LAS",)
    return Grid(shape, affine), notes


def _read(path: Path) -> tuple[NDArray[Any], Grid, tuple[str, ...]]:
    """Return scaled voxels (X, Y, Z), grid and notes."""
    header = read_header(path)
    grid, notes = _grid(path, header)
    end = _end(header)
    try:
        with path.open("rb") as file:
            data = _stream(file).read(end + 1)  # one more byte makes gzip check its checksum
        if len(data) < end:
            raise EOFError(f"it ends after {len(data)} of {end} bytes")
        stored = np.frombuffer(
            data, header.get_data_dtype(), math.prod(grid.shape), _offset(header)
        )
        slope, inter = header.get_slope_inter()
    except (OSError, EOFError, zlib.error, ValueError, HeaderDataError) as error:
        raise _broken(path, error) from error
    if slope is not None and (slope, inter) != (1, 0):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            stored = stored * slope + (inter or 0)
    return stored.reshape(grid.shape, order="F"), grid, notes


def _broken(path: Path, error: Exception) -> DataError:
    if isinstance(error, OSError) and error.errno:
        return unreadable(path, error)
    return DataError(path, f"is damaged or cut off ({error})", "a whole NIfTI file", _COPY)
