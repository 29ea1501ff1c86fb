"""What file names say: kinds of files, stems, splits; and folders listed with one error for all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".mha")
SCAN_SUFFIXES = (*NIFTI_SUFFIXES, *ITK_SUFFIXES)
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_LOSSY_SUFFIXES = (".jpg", ".jpeg")
SPLIT_FOLDERS: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""Folder names (in lower case) that put what they hold into a split."""
COPY = "fetch the file again from its source"
"""The way out of a damaged file."""
_MASK_ENDINGS = ("_seg", "-seg", "_mask", "-mask")


def is_nifti(path: Path | str) -> bool:
    """Tell whether a file is NIfTI by its name."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def is_itk(path: Path | str) -> bool:
    """Tell whether a file is NRRD or MetaImage by its name."""
    return str(path).lower().endswith(ITK_SUFFIXES)


def is_scan(path: Path | str) -> bool:
    """Tell whether a file holds a 3D scan or label map by its name."""
    return str(path).lower().endswith(SCAN_SUFFIXES)


def is_image(path: Path | str) -> bool:
    """Tell whether a file is a 2D image by its name."""
    return str(path).lower().endswith(IMAGE_SUFFIXES)


def is_lossy(path: Path | str) -> bool:
    """Tell whether a file's values are blurred by its compression, by its name.

    Even an empty mask may then hold ones.
    """
    return str(path).lower().endswith(_LOSSY_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Tell whether a name is hidden: `.DS_Store`, the `._*` twins of macOS and their folder."""
    return name.startswith(".") or name == "__MACOSX"


def stem(path: Path | str) -> str:
    """Return a file's name less its image suffix; other dots stay.

    >>> stem("2256_jpg.rf.3afd.jpg"), stem("BraTS20_001_t1.nii.gz")
    ('2256_jpg.rf.3afd', 'BraTS20_001_t1')
    """
    name = Path(path).name
    for suffix in (*SCAN_SUFFIXES, *IMAGE_SUFFIXES):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def mask_stem(path: Path | str) -> str:
    """Return a mask's name less its image suffix and less a trailing `_seg -seg _mask -mask`.

    This is the name by which truth, prediction and image find each other.

    >>> mask_stem("BraTS-GLI-00005-100-seg.nii.gz"), mask_stem("7_mask.png")
    ('BraTS-GLI-00005-100', '7')
    """
    name = stem(path)
    for ending in _MASK_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def identity(path: Path) -> str:
    """Return what tells a file from another version of itself: its name and size in bytes.

    Raises:
        DataError: If the file cannot be looked at.
    """
    try:
        return f"{path.name}:{path.stat().st_size}"
    except OSError as error:
        raise unreadable(path, error) from error


@dataclass(frozen=True)
class StoredFile:
    """A file that is read when asked for."""

    path: Path

    @property
    def identity(self) -> str:
        """Name and size of the file."""
        return identity(self.path)


def unreadable(path: Path, error: OSError) -> DataError:
    """Translate an operating-system error of reading `path` into one line with a way out."""
    if isinstance(error, FileNotFoundError):
        return DataError(path, "there is no such file", "a file", "check the path")
    reason = error.strerror or str(error) or type(error).__name__
    return DataError(path, f"cannot be read ({reason})", "a file you may read", "check the path")


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds, sorted by name, hidden things left out.

    Raises:
        DataError: If the folder is missing or may not be read.
    """
    try:
        with os.scandir(folder) as entries:
            seen = [entry for entry in entries if not is_hidden(entry.name)]
    except OSError as error:
        raise unreadable(folder, error) from error
    return sorted(seen, key=lambda entry: entry.name)


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield every folder under `folder`, itself first, with the names of its files.

    Links to folders are followed; a folder that holds itself is visited once.

    Raises:
        DataError: If a folder may not be read.
    """
    real = os.path.realpath(folder)
    todo, seen = [(folder, real)], {real}
    while todo:
        here, real = todo.pop()
        entries = listing(here)
        yield here, [entry.name for entry in entries if entry.is_file()]
        for entry in reversed(entries):
            linked = entry.is_symlink()
            place = os.path.realpath(entry.path) if linked else os.path.join(real, entry.name)
            if entry.is_dir() and place not in seen:
                seen.add(place)
                todo.append((here / entry.name, place))


def split_of(folder: Path, root: Path) -> str | None:
    """Return the split that a folder at or below `root` lies in, by the names on the way."""
    for name in folder.relative_to(root).parts:
        if name.lower() in SPLIT_FOLDERS:
            return SPLIT_FOLDERS[name.lower()]
    return None
