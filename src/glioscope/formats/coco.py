"""COCO exports: images with outlines, run lengths or boxes in one json a folder."""

from __future__ import annotations

import re
import reprlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.case import Case
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.files import read_json
from ..core.labels import SCHEMES, Labels
from . import register
from .cohort import with_patients
from .image import ImageSource
from .outlines import CocoMask, has_outline
from .paths import SPLIT_FOLDERS, listing, stem, unreadable

Record = dict[str, Any]
_PREFERRED = "_annotations.coco.json"
_SECTION = re.compile(rb'"(images|annotations|categories|licenses)"\s*:')
_FIRST_BYTES = 65536
_REMEDY = "export the data set again, or correct the json"


@dataclass(frozen=True)
class _Export:
    """A json, the split that its place names, and the folders in which its images may lie."""

    path: Path
    split: str | None
    folders: tuple[Path, ...]


def _claims(path: Path) -> bool:
    return bool(_exports(path))


@register(claims=_claims, rank=20)
def coco(path: Path, labels: Labels | None) -> Dataset:
    """Read a COCO export: `train valid test` folders with a json each, or a single json.

    Every category that has annotations is tumour, and what the annotations of an image cover
    together is its mask, filled as pycocotools does. An image without annotation has an empty
    mask: that is a truth. An annotation with a box and no outline stands for its box.

    Args:
        path: The folder of the export, or a json whose images lie beside it, in `images` beside
            it or in `../images`.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If a json is not COCO, its ids contradict each other or images are missing.
    """
    masks: list[tuple[str | None, CocoMask]] = []
    categories: dict[str, None] = {}
    for export in _exports(path):
        document = _document(export.path)
        masks += [(export.split, mask) for mask in _masks(export, document)]
        categories |= dict.fromkeys(_used(document))
    cases = _cases(masks)
    known, patients_from = with_patients(path if path.is_dir() else path.parent, cases, None)
    scheme = labels or SCHEMES["binary"]
    notes = _notes([mask for _, mask in masks], list(categories))
    return Dataset(path, "coco", known, scheme, patients_from, notes)


def _exports(path: Path) -> list[_Export]:
    if path.is_file():
        return [_export(path, None)] if _is_coco(path) else []
    if not path.is_dir():
        return []
    entries = listing(path)
    found = []
    for entry in entries:
        split = SPLIT_FOLDERS.get(entry.name.lower())
        if split and entry.is_dir():
            found += [_export(json, split) for json in _single(Path(entry.path))]
    if found:
        return found
    places = [path, *(Path(e.path) for e in entries if e.name.lower() == "annotations")]
    jsons = [json for place in places if place.is_dir() for json in _jsons(place)]
    splits = [_split_in(json) for json in jsons]
    if len(jsons) > 1 and len({*splits} - {None}) < len(jsons):
        raise _several(path, jsons)
    return [_export(json, split) for json, split in zip(jsons, splits, strict=True)]


def _single(folder: Path) -> list[Path]:
    """Return the one json of a split folder, in a list; an empty list if it has none."""
    jsons = _jsons(folder)
    if len(jsons) > 1:
        raise _several(folder, jsons)
    return jsons


def _jsons(folder: Path) -> list[Path]:
    """Return the COCO files in a folder; only the one of the customary name, if it is there."""
    names = [entry.name for entry in listing(folder) if entry.name.lower().endswith(".json")]
    if _PREFERRED in names:
        return [folder / _PREFERRED]
    return [folder / name for name in names if _is_coco(folder / name)]


def _is_coco(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return False
    try:
        with path.open("rb") as file:
            return _SECTION.search(file.read(_FIRST_BYTES)) is not None
    except OSError as error:
        raise unreadable(path, error) from error


def _split_in(json: Path) -> str | None:
    """Return the split that a name such as `instances_val2017.json` holds."""
    words = re.findall("[a-z]+", json.stem.lower())
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), None)


def _several(folder: Path, jsons: Sequence[Path]) -> DataError:
    names = ", ".join(json.name for json in jsons)
    return DataError(folder, f"holds several COCO files ({names})", "one", "give one of them")


def _export(json: Path, split: str | None) -> _Export:
    above, word = json.parent.parent, json.stem.rsplit("_", 1)[-1]  # instances_train2017
    beside = (json.parent, json.parent / "images", above / "images")
    return _Export(json, split, (*beside, above / word, above / "images" / word))


def _document(path: Path) -> dict[str, list[Record]]:
    """Return the three sections of a COCO file, with the keys that we need in every record."""
    data = read_json(path)
    needed = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("id", "image_id", "category_id"),
        "categories": ("id", "name"),
    }
    for section, keys in needed.items():
        records = data.get(section) if isinstance(data, dict) else None
        if not isinstance(records, list):
            raise DataError(path, f"has no list {section!r}", "a COCO file", _REMEDY)
        for number, record in enumerate(records):
            _refuse_incomplete(path, f"{section}[{number}]", record, keys)
    _refuse_contradictions(path, data)
    return {section: data[section] for section in needed}


def _refuse_incomplete(path: Path, where: str, record: object, keys: Sequence[str]) -> None:
    for key in keys:
        if not isinstance(record, dict) or key not in record:
            raise DataError(path, f"{where} has no {key!r}", "", _REMEDY)
        if not isinstance(record[key], str | int | float):
            found = f"{key!r} of {where} is {reprlib.repr(record[key])}"
            raise DataError(path, found, "a text or a number", _REMEDY)


def _refuse_contradictions(path: Path, data: dict[str, list[Record]]) -> None:
    for section in ("images", "categories"):
        counts = Counter(str(record["id"]) for record in data[section])
        twice = [name for name, n in counts.items() if n > 1]
        if twice:
            raise DataError(path, f"two {section} have the id {twice[0]}", "unique ids", _REMEDY)
    for key, section in (("image_id", "images"), ("category_id", "categories")):
        known = {str(record["id"]) for record in data[section]}
        for annotation in data["annotations"]:
            if str(annotation[key]) not in known:
                found = f"annotation {annotation['id']} has the {key} {annotation[key]}"
                raise DataError(path, found, f"an id in {section!r}", _REMEDY)
    for image in data["images"]:
        size = (image["width"], image["height"])
        if not all(type(n) is int and n > 0 for n in size):
            raise DataError(path, f"image {image['id']} has the size {size}", "pixels", _REMEDY)
        if not isinstance(image["file_name"], str):
            found = f"image {image['id']} has the file name {image['file_name']!r}"
            raise DataError(path, found, "a text", _REMEDY)


def _masks(export: _Export, document: dict[str, list[Record]]) -> list[CocoMask]:
    by_image: dict[str, list[Record]] = defaultdict(list)
    for annotation in document["annotations"]:
        by_image[str(annotation["image_id"])].append(annotation)
    places = _located(export, [image["file_name"] for image in document["images"]])
    return [
        CocoMask(
            export.path,
            place,
            (image["width"], image["height"]),
            tuple(by_image[str(image["id"])]),
        )
        for image, place in zip(document["images"], places, strict=True)
    ]


def _located(export: _Export, names: Sequence[str]) -> list[Path]:
    """Return where the images lie; every folder is listed once.

    Raises:
        DataError: If images are missing.
    """
    listed: dict[Path, set[str]] = {}

    def there(path: Path) -> bool:
        folder = path.parent
        if folder not in listed:
            listed[folder] = {e.name for e in listing(folder)} if folder.is_dir() else set()
        return path.name in listed[folder]

    found = [next((f / n for f in export.folders if there(f / n)), None) for n in names]
    missing = [name for name, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise DataError(
            export.path,
            f"{len(missing)} of {len(names)} images are missing (such as {missing[0]})",
            f"them in {export.folders[0]}",
            "add the images, or take them out of the json",
        )
    return [path for path in found if path is not None]


def _used(document: dict[str, list[Record]]) -> list[str]:
    """Return the names of the categories that have annotations."""
    used = {str(annotation["category_id"]) for annotation in document["annotations"]}
    return sorted(str(c["name"]) for c in document["categories"] if str(c["id"]) in used)


def _cases(masks: Sequence[tuple[str | None, CocoMask]]) -> list[Case]:
    """Return a case for every image; those of one name in two splits have the split in front."""
    splits = Counter(name for _, name in {(split, stem(mask.image)) for split, mask in masks})
    cases = []
    for split, mask in masks:
        name = stem(mask.image)
        if splits[name] > 1:
            name = f"{split}-{name}"
        source = {"image": ImageSource(mask.image)}
        cases.append(Case(name, name, mask.image, source, mask, split=split))
    return cases


def _notes(masks: Sequence[CocoMask], categories: Sequence[str]) -> tuple[str, ...]:
    bare = sum(not mask.annotations for mask in masks)
    boxes = sum(not has_outline(a) for mask in masks for a in mask.annotations)
    said = {
        f"the categories {', '.join(categories)} were joined to one: tumour": len(categories) > 1,
        f"{bare} of {len(masks)} images have no annotation: they count as free of tumour": bare,
        f"{boxes} annotations have a box and no outline: the box was taken": boxes,
    }
    return tuple(note for note, true in said.items() if true)
