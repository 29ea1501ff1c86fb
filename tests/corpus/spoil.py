"""What is done to files: each function spoils one in place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

Spoil = Callable[[Path], object]
Array = NDArray[Any]


def removed(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def text(path: Path) -> None:
    path.write_text("patient moved to the archive\n")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def packed_garbage(path: Path) -> None:
    path.write_bytes(gzip.compress(bytes(range(256)) * 8, mtime=0))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def unpacked(then: Spoil) -> Spoil:
    """Return a change of a file that was a `.nii.gz` and becomes a `.nii`."""

    def spoil(path: Path) -> None:
        plain = path.with_suffix("")
        plain.write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
        then(plain)

    return spoil


def promise(path: Path) -> None:
    """Leave a header alone, of 30000 voxels along each axis."""
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    header.set_data_dtype(np.float32)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    content = bytes(header.binaryblock).ljust(4096, b"\0")
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def voxels(change: Callable[[Array], Array], dtype: str | None = None) -> Spoil:
    """Return a change of the voxels (X, Y, Z) of a scan."""

    def spoil(path: Path) -> None:
        image: Any = nib.load(path)
        array = change(np.array(image.dataobj))
        nib.save(nib.Nifti1Image(array, image.affine, dtype=dtype or array.dtype), path)

    return spoil


def with_value(value: float) -> Spoil:
    """Return a change that gives three voxels a value, and stores all as float32."""

    def change(array: Array) -> Array:
        array = array.astype(np.float32)
        array[3, 3, 3:6] = value
        return array

    return voxels(change)


def constant(value: int) -> Spoil:
    return voxels(lambda array: np.full_like(array, value))


def header(change: Callable[[Any], object]) -> Spoil:
    """Return a change of the header of a scan, as it lies in the file."""

    def spoil(path: Path) -> None:
        content = bytearray(gzip.decompress(path.read_bytes()))
        fields = nib.Nifti1Header(bytes(content[:348]))
        change(fields)
        content[:348] = fields.binaryblock
        path.write_bytes(gzip.compress(bytes(content), mtime=0))

    return spoil


def _sheared(fields: Any) -> None:
    fields["srow_x"][1] = 3.0


def _singular(fields: Any) -> None:
    fields["srow_x"] = fields["srow_y"]


def _shifted(fields: Any) -> None:
    fields["srow_x"][3] += 30


sheared, singular, shifted = header(_sheared), header(_singular), header(_shifted)
smaller = voxels(lambda array: array[:9, :9, :9])
frames = voxels(lambda array: np.stack([array, array], axis=-1))
