"""Scans and images without a layout: what is there to be segmented, one case each."""

from __future__ import annotations

from pathlib import Path

from ..core.case import Case
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.labels import Labels
from . import register
from .cohort import decide_labels, with_patients
from .image import ImageSource
from .paths import is_image, is_scan, listing, stem
from .scans import scan_source
from .sequences import MASK, parse, patient_of


def _is_scan(path: Path) -> bool:
    return path.is_file() and is_scan(path)


def _holds_images(path: Path) -> bool:
    return bool(_images(path))


@register(claims=_is_scan, rank=60)
def scans(path: Path, labels: Labels | None) -> Dataset:
    """Read a single 3D scan, whose name may end in its sequence (else its channel is `image`).

    Args:
        path: A `.nii`, `.nii.gz`, `.nrrd` or `.mha` file.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If the name says that it is a mask.
    """
    prefix, channel = parse(path) or (stem(path), "image")
    if channel == MASK:
        raise DataError(path, "is a mask by its name", "a scan", "give the scan's file instead")
    name = prefix or stem(path)
    patient, timepoint = patient_of(name)
    case = Case(name, patient, path, {channel: scan_source(path)}, None, timepoint)
    return Dataset(path, "scans", (case,), decide_labels(path, [case], labels))


@register(claims=_holds_images, rank=70)
def images(path: Path, labels: Labels | None) -> Dataset:
    """Read 2D images without masks: a folder of them, or a single one.

    Args:
        path: The folder or the image.
        labels: The label scheme, if the user named it.
    """
    cases = [
        Case(stem(file), stem(file), file, {"image": ImageSource(file)}) for file in _images(path)
    ]
    known, patients_from = with_patients(path, cases, None)
    return Dataset(path, "images", known, labels, patients_from)


def _images(path: Path) -> list[Path]:
    if path.is_file() and is_image(path):
        return [path]
    if not path.is_dir():
        return []
    return [Path(e.path) for e in listing(path) if is_image(e.name) and e.is_file()]
