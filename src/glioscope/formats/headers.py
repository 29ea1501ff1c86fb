"""Headers of NIfTI files: checked against the file's size, and the place that they give.

The sform if its code is above 0, else the qform if its code is, else voxel sizes alone (which is
said). Where both codes are above 0 and the two put a corner of the scan further apart than two
grids may lie (`SAME_GRID`), that is said, with the distance in mm and which of them was taken.
"""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from ..core.errors import DataError
from ..core.volume import SAME_GRID, Grid, Shape
from .paths import COPY, unreadable
from .voxels import DEFLATE, placed

_LOG = logging.getLogger(__name__)  # nibabel's own logger writes to stderr
_LOG.addHandler(logging.NullHandler())

Header = Any
"""`nibabel.Nifti1Header` or `Nifti2Header`, which have no types."""
Frame = tuple[int, int]
"""Number of a frame, from 0, and how many there are."""
HEADERS: Mapping[int, Any] = {348: Nifti1Header, 540: Nifti2Header}
_MAGIC = (b"n+1", b"n+2")
_MOST_AXES = 7
_LAST_CODE = 5
"""NIFTI_XFORM_TEMPLATE_OTHER, the highest code of what an sform or qform is."""
_UNITS: Mapping[int, str] = {0: "unknown", 1: "metres", 2: "mm", 3: "micrometres"}
"""Units of length by the lowest three bits of `xyzt_units`."""


def read_header(path: Path) -> Header:
    """Return the header of a NIfTI-1 or NIfTI-2 file, checked against the file's size.

    Raises:
        DataError: If this is no NIfTI file, or it cannot hold the voxels that it promises.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            stream = unpacked(file)
            start = stream.read(540)
            factor = 1 if stream is file else DEFLATE
    except (OSError, EOFError, zlib.error) as error:
        raise broken(path, error) from error
    if not start:
        raise DataError(path, "the file is empty", "a NIfTI file", COPY)
    header = _parse(path, start)
    promised = end_of(header)
    if promised > size * factor:
        raise DataError(
            path,
            f"the file has {size} bytes and cannot hold the voxels that its header promises"
            f" ({'x'.join(map(str, header.get_data_shape()))})",
            f"{promised} bytes" + (" when unpacked" if factor > 1 else ""),
            f"it was cut off or damaged: {COPY}",
        )
    return header


def unpacked(file: BinaryIO) -> BinaryIO:
    """Return the file itself, or what it unpacks to if its first bytes are gzip's."""
    file.seek(0)
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file


def grid_of(path: Path, header: Header, frame: Frame | None = None) -> tuple[Grid, tuple[str, ...]]:
    """Return where the voxels of a scan, or of one frame of several, lie; and notes.

    Raises:
        DataError: If the header does not describe one scan, or so many frames, or has no place,
            or one that is not in mm.
    """
    shape = _shape(path, header, frame)
    _refuse_units(path, header)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by the next line
            found = header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        raise DataError(path, f"its qform is damaged ({error})", "a rotation", COPY) from error
    affine, notes = placed(path, found)
    grid = Grid(shape, affine)
    if not header["sform_code"] and not header["qform_code"]:
        notes += ("the header has no orientation: left and right were assumed as in LAS",)
    return grid, notes + _contradiction(header, grid)


def end_of(header: Header) -> int:
    """Return how many bytes a file with this header has, unpacked."""
    voxels = math.prod(_axes(header))
    return start_of(header) + voxels * int(header.get_data_dtype().itemsize)


def start_of(header: Header) -> int:
    """Return where the voxels begin in a file with this header, unpacked."""
    return int(header["vox_offset"]) or int(header.single_vox_offset)


def broken(path: Path, error: Exception) -> DataError:
    """Translate what fails while a NIfTI file is read into one line with a way out."""
    if isinstance(error, OSError) and error.errno:
        return unreadable(path, error)
    if isinstance(error, MemoryError):
        return DataError(path, f"does not fit into memory ({error})", "a smaller scan")
    return DataError(path, f"is damaged or cut off ({error})", "a whole NIfTI file", COPY)


def _parse(path: Path, start: bytes) -> Header:
    sizes = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & {*HEADERS}
    kind = HEADERS[sizes.pop()] if sizes else None
    if kind is None or len(start) < kind.sizeof_hdr:
        raise DataError(
            path,
            f"is not NIfTI (it starts with {start[:12]!r})",
            "a NIfTI file",
            "convert it (dcm2niix for DICOM) or fetch it again from its source",
        )
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        _refuse_damaged_fields(header)
        header.check_fix(_LOG, error_level=40)
        start_of(header)  # a float in NIfTI-1: it may be NaN
        dtype = header.get_data_dtype()
    except (HeaderDataError, ValueError, KeyError, OverflowError) as error:
        raise DataError(path, f"its header is damaged ({error})", "a NIfTI header", COPY) from error
    if bytes(header["magic"].item())[:3] not in _MAGIC or dtype.kind not in "iuf":
        raise DataError(
            path,
            f"holds {dtype} voxels in the layout {header['magic'].item()!r}",
            "real numbers in a single NIfTI file",
            "convert it to .nii.gz",
        )
    return header


def _refuse_damaged_fields(header: Header) -> None:
    """Refuse what nibabel would warn of (axes) or set to 0 without a word (codes)."""
    if not 0 <= header["dim"][0] <= _MOST_AXES:
        raise HeaderDataError(f"it has {header['dim'][0]} axes")
    for name in ("sform_code", "qform_code"):
        if not 0 <= header[name] <= _LAST_CODE:
            raise HeaderDataError(f"its {name} is {header[name]}")


def _shape(path: Path, header: Header, frame: Frame | None) -> Shape:
    shape = _axes(header)
    x, y, z, *frames = [*shape, 1] if len(shape) == 2 else shape if len(shape) > 2 else [0, 0, 0]
    number = 1 if frame is None else frame[1]
    if min(x, y, z, *frames) < 1 or math.prod(frames) != number:
        several = f"{number} frames, as many as sequences are named"
        raise DataError(
            path,
            f"shape {'x'.join(map(str, shape)) or 'without axes'}",
            "one 3D scan" if frame is None else several,
            "store every sequence or frame as a file of its own",
        )
    return x, y, z


def _refuse_units(path: Path, header: Header) -> None:
    """Refuse lengths that are said to be other than mm; unknown ones are taken as mm."""
    code = int(header["xyzt_units"]) & 7
    unit = _UNITS.get(code, f"code {code}")
    if unit not in ("unknown", "mm"):
        raise DataError(
            path,
            f"its unit of length is {unit} (xyzt_units)",
            "mm",
            "scale its affine to mm and set xyzt_units to 2, or only set it if they are mm already",
        )


def _axes(header: Header) -> list[int]:
    """Return the lengths of all axes; those after the third may be written as 0 for 1."""
    shape = [int(n) for n in header.get_data_shape()]
    return [*shape[:3], *(n or 1 for n in shape[3:])]


def _contradiction(header: Header, grid: Grid) -> tuple[str, ...]:
    """Say how far the qform lies from the sform, which was taken, if both hold and differ."""
    if header["sform_code"] <= 0 or header["qform_code"] <= 0:
        return ()
    try:
        with np.errstate(all="ignore"):
            other = Grid(grid.shape, header.get_qform())
            apart = float(np.linalg.norm(grid.corners - other.corners, axis=1).max())
    except (HeaderDataError, ValueError, np.linalg.LinAlgError) as error:
        return (f"its qform is damaged ({error}); the sform was taken",)
    if apart <= SAME_GRID * min(grid.spacing):
        return ()
    return (f"sform and qform lie up to {apart:.2f} mm apart; the sform was taken",)
