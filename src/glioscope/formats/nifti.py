"""NIfTI files as lazy sources, and the one writer of NIfTI files.

Where the voxels lie is the sform's word if its code is above 0, else the qform's, else that of
the voxel sizes alone; contradictions are said (`headers`). Whether a file is compressed is decided
by its first bytes, not its name. Compressed files are read to their end, so that their checksum
is verified. Of a file of several frames only the one that is wanted is held in memory.
"""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from ..core.files import replacing
from ..core.volume import Grid, Volume
from .headers import (
    HEADERS,
    Frame,
    Header,
    broken,
    end_of,
    grid_of,
    read_header,
    start_of,
    unpacked,
)
from .paths import StoredFile, is_nifti
from .voxels import mask_volume, scan_volume

_PLACE = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "xyzt_units"),
    *(f"{kind}_{axis}" for kind in ("qoffset", "srow") for axis in "xyz"),
)
"""Fields that say where the voxels lie."""
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _NiftiFile(StoredFile):
    def grid(self) -> Grid:
        """Return where the voxels lie, from the header alone.

        Raises:
            DataError: If this is no NIfTI file of one 3D scan with a usable affine.
        """
        return grid_of(self.path, read_header(self.path))[0]


@dataclass(frozen=True)
class NiftiSource(_NiftiFile):
    """A scan in a `.nii` or `.nii.gz` file.

    Attributes:
        path: The file.
        frame: Which frame is the scan, of how many, where a file holds several (X, Y, Z, frame).
    """

    frame: Frame | None = None

    @property
    def identity(self) -> str:
        """Name and size of the file, and which of its frames this is."""
        number = "" if self.frame is None else f":{self.frame[0]}"
        return super().identity + number

    def grid(self) -> Grid:
        """Return where the voxels lie, from the header alone.

        Raises:
            DataError: If this is no NIfTI file of a 3D scan, or of as many as there should be,
                with a usable affine.
        """
        return grid_of(self.path, read_header(self.path), self.frame)[0]

    def read(self) -> Volume:
        """Return the scan, scaled as its header says, as float32 (1, X, Y, Z).

        Raises:
            DataError: If the file is broken or holds NaN or infinite voxels.
        """
        return scan_volume(self.path, *_read(self.path, self.frame))


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
        return mask_volume(self.path, *_read(self.path))


def write_nifti(path: Path, volume: Volume, like: Path | None = None) -> None:
    """Write channel 0 of a volume, whole or not at all; the same voxels give the same bytes.

    Args:
        path: A `.nii` file, or `.nii.gz` for a compressed one.
        volume: The voxels; their type is kept (bool becomes uint8).
        like: A file that the volume may lie on. If it is NIfTI by its name and has the same grid,
            its sform and qform are copied to the bit, with their codes, so that the result lies
            exactly where the file does.

    Raises:
        StorageError: If the file cannot be written.
        DataError: If `like` is a broken NIfTI file.
    """
    array = volume.array[0]
    stored = array.astype(np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("="))
    header = HEADERS[348]()
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_slope_inter(1, 0)
    header.set_data_offset(header.single_vox_offset)
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code=1)
    header.set_qform(volume.affine, code=1)
    if like is not None and is_nifti(like):
        _copy_place(header, like, volume.grid)
    start: bytes = header.binaryblock
    data = start.ljust(start_of(header), b"\0") + stored.tobytes("F")
    with replacing(path) as temporary:
        packed = path.name.lower().endswith(".gz")
        temporary.write_bytes(gzip.compress(data, 6, mtime=0) if packed else data)


def _copy_place(header: Header, like: Path, grid: Grid) -> None:
    original = read_header(like)
    frames = math.prod(int(n) or 1 for n in original.get_data_shape()[3:])
    if grid_of(like, original, (0, frames))[0].matches(grid):
        for name in _PLACE:
            header[name] = original[name]
        header["pixdim"][:4] = original["pixdim"][:4]


def _read(path: Path, frame: Frame | None = None) -> tuple[NDArray[Any], Grid, tuple[str, ...]]:
    """Return scaled voxels (X, Y, Z), grid and notes."""
    header = read_header(path)
    grid, notes = grid_of(path, header, frame)
    try:
        slope, inter = header.get_slope_inter()
        stored = np.empty(math.prod(grid.shape), header.get_data_dtype())
        first = start_of(header) + (0 if frame is None else frame[0]) * stored.nbytes
        with path.open("rb") as file:
            _fill(stored, unpacked(file), first, end_of(header))
    except (OSError, EOFError, zlib.error, ValueError, MemoryError, HeaderDataError) as error:
        raise broken(path, error) from error
    if slope is not None and (slope, inter) != (1, 0):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused later
            stored = stored * slope  # whole numbers become float64
            stored += inter
    return stored.reshape(grid.shape, order="F"), grid, notes


def _fill(array: NDArray[Any], stream: BinaryIO, first: int, end: int) -> None:
    """Read an array from byte `first` of a stream on; see that the stream has `end` bytes.

    Raises:
        EOFError: If the stream is shorter.
    """
    stream.seek(first)
    view = array.view(np.uint8).data
    done = 0
    while done < len(view):
        got = stream.readinto(view[done : done + _CHUNK])  # type: ignore[attr-defined]
        if not got:
            raise EOFError(f"it ends after {stream.tell()} of {end} bytes")
        done += got
    stream.seek(end - 1)
    if not stream.read(2)[:1]:  # the byte behind the last makes gzip check its checksum
        raise EOFError(f"it ends after {stream.tell()} of {end} bytes")
