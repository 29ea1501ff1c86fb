"""Data sets with a `dataset.json`: nnU-Net's raw layout, and the Medical Segmentation Decathlon."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.case import Case, Source
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.labels import Labels
from . import register
from .cohort import with_patients
from .image import ImageMask, source
from .manifest import IMAGES, NAME, Manifest, manifest_path, read_manifest
from .nifti import NiftiSource
from .paths import is_image, is_nifti, is_scan, listing, stem, unreadable
from .scans import scan_mask
from .sequences import patient_of

_KEYS = (re.compile(rb'"labels"\s*:'), re.compile(rb'"(channel_names|modality)"\s*:'))
_TRAINING = re.compile(rb'"training"\s*:\s*\[')
_NUMBERED = re.compile(r"(?P<case>.+)_(?P<number>\d{4})")
_FOLDERS = tuple(zip(IMAGES, ("labelsTr", "labelsTs"), (None, "test"), strict=True))
_ENDING = ".nii.gz"
_COLOURS = ({"r", "g", "b"}, {"red", "green", "blue"})


@dataclass(frozen=True)
class _Found:
    """The files of a case: images by the number of their channel."""

    case: str
    images: Mapping[int, Path]
    mask: Path | None
    split: str | None


def _start(path: Path) -> bytes:
    """Return the text of a `dataset.json` with channels and labels; nothing if it is none."""
    file = manifest_path(path)
    if file.name.lower() != NAME or not file.is_file():
        return b""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from error
    return text if all(key.search(text) for key in _KEYS) else b""


def _is_decathlon(path: Path) -> bool:
    """Tell whether a `dataset.json` lists its files, and they are not numbered by channel."""
    folder = manifest_path(path).parent / "imagesTr"
    if not _TRAINING.search(_start(path)):
        return False
    names = [entry.name for entry in listing(folder)] if folder.is_dir() else []
    return not any(stem(name).endswith("_0000") for name in names)


def _is_nnunet(path: Path) -> bool:
    return bool(_start(path)) and not _is_decathlon(path)


@register(claims=_is_nnunet, rank=15)
def nnunet(path: Path, labels: Labels | None) -> Dataset:
    """Read nnU-Net's raw layout: `dataset.json`, `imagesTr/CASE_0000.nii.gz`, `labelsTr/...`.

    Sequences, classes and regions are what `dataset.json` says. Cases of `imagesTs` are the test
    split. Where the json has a key `dataset`, that lists the cases.

    Args:
        path: The folder, its `dataset.json`, or its `imagesTr` or `imagesTs` for the cases there.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If the json contradicts itself or the files.
    """
    manifest = read_manifest(manifest_path(path), "nnunet")
    listed = manifest.content.get("dataset")
    found = _numbered(manifest) if listed is None else _listed(manifest, listed)
    channels = manifest.channels
    images = [image for one in found for image in one.images.values()]
    colours = {*channels} in _COLOURS and all({*one.images} == {0} for one in found)
    if any(map(is_image, images)) and (colours or len(channels) == 1):
        channels = ("image",)  # colours are one file
    cases = []
    for one in found:
        sources = {channels[k]: source(image) for k, image in sorted(one.images.items())}
        cases.append(_case(manifest, one, sources))
    return _dataset("nnunet", manifest, _within(path, cases), labels)


@register(claims=_is_decathlon, rank=14)
def msd(path: Path, labels: Labels | None) -> Dataset:
    """Read a task of the Medical Segmentation Decathlon: `dataset.json` and the files it lists.

    The sequences of a case are the frames of one 4D NIfTI file; they are read one at a time.

    Args:
        path: The folder, its `dataset.json`, or its `imagesTr` or `imagesTs` for the cases there.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If the json contradicts itself or lists a file that is missing.
    """
    manifest = read_manifest(manifest_path(path), "msd")
    cases = []
    for key, split in (("training", None), ("test", "test")):
        for item in _items(manifest, key):
            entry = {"image": item} if isinstance(item, str) else item
            if not isinstance(entry, dict):
                raise DataError(manifest.path, f"lists {item!r} in {key}", '{"image": FILE, ...}')
            image = _file(manifest, entry.get("image"))
            mask = _file(manifest, entry["label"]) if "label" in entry else None
            one = _Found(stem(image), {0: image}, mask, split)
            cases.append(_case(manifest, one, _frames(manifest, image)))
    return _dataset("msd", manifest, _within(path, cases), labels)


def _items(manifest: Manifest, key: str) -> list[Any]:
    items = manifest.content.get(key, [])
    if not isinstance(items, list):
        raise DataError(manifest.path, f"{key} is {type(items).__name__}", "a list of files")
    return items


def _frames(manifest: Manifest, image: Path) -> dict[str, Source]:
    count = len(manifest.channels)
    if count == 1:
        return {manifest.channels[0]: source(image)}
    if not is_nifti(image):
        raise DataError(image, f"holds {count} sequences", "a NIfTI file", "convert it to .nii.gz")
    return {name: NiftiSource(image, (k, count)) for k, name in enumerate(manifest.channels)}


def _case(manifest: Manifest, found: _Found, sources: Mapping[str, Source]) -> Case:
    patient, timepoint = patient_of(found.case)
    mask = None if found.mask is None else _mask(found.mask)
    where = manifest.path
    return Case(found.case, patient, where, sources, mask, timepoint, split=found.split)


def _dataset(
    name: str, manifest: Manifest, cases: Sequence[Case], labels: Labels | None
) -> Dataset:
    known, patients_from = with_patients(manifest.root, cases, "case names")
    notes = [] if labels else [*manifest.notes]
    trained = [case for case in known if case.split is None]
    alone = [case.id for case in trained if case.mask is None]
    if alone:
        notes.append(f"{len(alone)} training cases have no mask (such as {alone[0]})")
    stated = manifest.content.get("numTraining")
    if isinstance(stated, int) and trained and stated != len(trained):
        notes.append(f"{NAME} speaks of {stated} training cases; {len(trained)} are there")
    scheme = labels or manifest.labels
    return Dataset(manifest.path, name, known, scheme, patients_from, tuple(notes))


def _within(path: Path, cases: Sequence[Case]) -> Sequence[Case]:
    """Return the cases of a folder of images; all of them if the path is none."""
    if path.name not in IMAGES:
        return cases
    return [case for case in cases if case.inputs[0].parent.name == path.name]


def _listed(manifest: Manifest, listed: object) -> list[_Found]:
    """Return the cases that the json names one by one."""
    if not isinstance(listed, dict):
        raise DataError(manifest.path, "dataset is no object", '{"CASE": {"images": [...], ...}}')
    found = []
    for case, entry in listed.items():
        images = entry.get("images") if isinstance(entry, dict) else None
        if not isinstance(images, list) or len(images) != len(manifest.channels):
            count = len(images) if isinstance(images, list) else "no"
            raise DataError(
                manifest.path,
                f"lists {count} images of case {case}",
                f"{len(manifest.channels)}, as channel_names has",
            )
        files = {number: _file(manifest, image) for number, image in enumerate(images)}
        mask = _file(manifest, entry["label"]) if "label" in entry else None
        found.append(_Found(case, files, mask, None))
    return found


def _file(manifest: Manifest, name: object) -> Path:
    path = manifest.root / name if isinstance(name, str) else None
    if path is None or not (is_scan(path) or is_image(path)):
        raise DataError(manifest.path, f"lists {name!r} as a file", "a scan or an image")
    if not path.is_file():
        raise DataError(
            manifest.path, f"lists {name}, and there is no such file", "a file", "fetch it again"
        )
    return path


def _numbered(manifest: Manifest) -> list[_Found]:
    """Return the cases whose files lie in `imagesTr` and `imagesTs`."""
    ending = manifest.content.get("file_ending", _ENDING)
    if not isinstance(ending, str) or not (is_scan(ending) or is_image(ending)):
        raise DataError(manifest.path, f"file_ending {ending!r}", "that of a scan or an image")
    found: list[_Found] = []
    for images, masks, split in _FOLDERS:
        files = _by_case(manifest, images, ending)
        truth = {name[: -len(ending)]: manifest.root / masks / name
                 for name in _names(manifest.root / masks) if name.endswith(ending)}  # fmt: skip
        lone = sorted(truth.keys() - files.keys())
        if lone:
            raise DataError(
                truth[lone[0]], f"a mask without its scans in {images}", f"{lone[0]}_0000{ending}",
                "add the scans, or remove the mask",
            )  # fmt: skip
        found += [_Found(case, files[case], truth.get(case), split) for case in files]
    if not found:
        names = [name for folder, _, _ in _FOLDERS for name in _names(manifest.root / folder)]
        held = f"; {names[0]} is there" if names else ""
        raise DataError(
            manifest.path, f"file_ending {ending} matches no file{held}",
            f"imagesTr/CASE_0000{ending}", "correct file_ending, or fetch the files",
        )  # fmt: skip
    return found


def _by_case(manifest: Manifest, folder: str, ending: str) -> dict[str, dict[int, Path]]:
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for name in _names(manifest.root / folder):
        match = _NUMBERED.fullmatch(name[: -len(ending)]) if name.endswith(ending) else None
        if match is None:
            continue
        number = int(match["number"])
        if number >= len(manifest.channels):
            raise DataError(
                manifest.root / folder / name, f"is of channel {number}",
                f"0 to {len(manifest.channels) - 1}, as {NAME} names", "name it there",
            )  # fmt: skip
        found[match["case"]][number] = manifest.root / folder / name
    return found


def _names(folder: Path) -> Iterable[str]:
    if not folder.is_dir():
        return []
    return [entry.name for entry in listing(folder) if entry.is_file()]


def _mask(path: Path) -> Source:
    return ImageMask(path) if is_image(path) else scan_mask(path)
