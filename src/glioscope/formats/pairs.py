"""Folders of 2D images with a mask image for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.case import Case
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.labels import SCHEMES, Labels, decide
from . import register
from .cohort import surveyed, with_patients
from .image import LABEL_LIMIT, ImageMask, ImageSource, halfway, mask_values
from .paths import SPLIT_FOLDERS, is_image, is_lossy, listing, mask_stem, stem

IMAGES = ("images", "image", "imgs", "img")
BINARY = SCHEMES["binary"]
_REMEDY = "store the labels as they are in lossless files, or leave out --labels"
_REMEDY_LOSSY = "store the masks as PNG, as such small values cannot be told from noise"
MASKS = ("masks", "mask", "labels", "segmentations", "annotations")


@dataclass(frozen=True)
class _Place:
    """Where images and their masks lie, as paths by common name."""

    split: str | None
    images: Mapping[str, Path]
    masks: Mapping[str, Path]


@dataclass(frozen=True)
class MaskKind:
    """How the stored values of a data set's masks are understood.

    Attributes:
        threshold: Values from here on are tumour; None if the values are labels.
        labels: The scheme of the result.
        notes: What was found and done, for the user to see.
    """

    threshold: int | None
    labels: Labels
    notes: tuple[str, ...] = ()


def _claims(path: Path) -> bool:
    return path.is_dir() and any(place.masks for place in _places(path))


@register(claims=_claims, rank=40)
def pairs(path: Path, labels: Labels | None) -> Dataset:
    """Read 2D images and masks from two folders, or side by side as `X.png` and `X_mask.png`.

    The folders are named `images` and `masks` (or `image imgs img`, and `mask labels segmentations
    annotations`), also inside `train`, `valid` and `test`. Names match after the suffix and a
    trailing `_seg -seg _mask -mask` are dropped.

    Args:
        path: The folder.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If a mask has no image, or two files have one name.
    """
    places = list(_places(path))
    for place in places:
        _refuse_lone_masks(place)
    masks = [mask for place in places for mask in place.masks.values()]
    kind = mask_kind(path, masks, labels)
    cases = [
        Case(
            name,
            name,
            image,
            {"image": ImageSource(image)},
            ImageMask(place.masks[name], kind.threshold) if name in place.masks else None,
            split=place.split,
        )
        for place in places
        for name, image in place.images.items()
    ]
    known, patients_from = with_patients(path, cases, None)
    return Dataset(path, "pairs", known, kind.labels, patients_from, kind.notes)


def images_alone(path: Path) -> Dataset:
    """Return the images of a folder of pairs without their masks, whatever those hold.

    Raises:
        DataError: If two files have one name.
    """
    cases = [
        Case(name, name, image, {"image": ImageSource(image)}, split=place.split)
        for place in _places(path)
        for name, image in place.images.items()
    ]
    known, patients_from = with_patients(path, cases, None)
    return Dataset(path, "pairs", known, None, patients_from)


def mask_kind(path: Path, masks: Sequence[Path], labels: Labels | None) -> MaskKind:
    """Decide from the values of all masks of a data set whether they are labels or black and white.

    Values up to 15 in lossless files, more than one of them besides 0, are labels. Everything else
    is binary: 0 and 1, 0 and 255, colours, shades that JPEG or resampling left.

    Args:
        path: The data set, for messages.
        masks: All mask files; those that cannot be read are passed over, as whoever uses their
            cases will say what is wrong.
        labels: The scheme that the user named; `binary` makes every value tumour.

    Raises:
        DataError: If none can be read, or some masks are 0/1 and others 0/255.
    """
    stored = dict(surveyed(masks, mask_values))
    union = sorted(set().union(*stored.values()))
    highest = max(union, default=1)
    lossy = any(map(is_lossy, stored))
    few = highest <= LABEL_LIMIT and not lossy
    if few and labels is None and len({*union} - {0}) > 1:
        return MaskKind(None, decide(union, path))
    if labels is not None and labels != BINARY:
        if few:
            return MaskKind(None, labels)
        raise DataError(path, f"masks hold {_said(union)}", f"values of {labels.name}", _REMEDY)
    if highest <= LABEL_LIMIT and lossy:
        raise DataError(path, f"JPEG masks hold {_said(union)}", "0 and 255", _REMEDY_LOSSY)
    threshold = 1 if few else halfway(highest)
    if not lossy:
        _refuse_mixed(stored, threshold, highest)
    said = f"masks hold {_said(union)}{' (JPEG)' if lossy else ''}: binarised at {threshold}"
    return MaskKind(threshold, BINARY, () if {*union} <= {0, 1} else (said,))


def _said(values: Sequence[int]) -> str:
    if len(values) < 3:
        return " and ".join(map(str, values))
    return f"{len(values)} values from {values[0]} to {values[-1]}"


def _refuse_mixed(stored: Mapping[Path, set[int]], threshold: int, highest: int) -> None:
    for mask, values in stored.items():
        if 0 < max(values) <= LABEL_LIMIT < threshold:
            raise DataError(
                mask,
                f"its values end at {max(values)}, those of other masks at {highest}",
                "one kind of mask in a data set",
                "store all masks as 0 and 255",
            )


def _places(path: Path) -> Iterator[_Place]:
    """Yield the pairs in a folder and in its split folders.

    Raises:
        DataError: If two files have one name.
    """
    folders = [Path(entry.path) for entry in listing(path) if entry.is_dir()]
    splits = [(SPLIT_FOLDERS.get(folder.name.lower()), folder) for folder in folders]
    for split, place in [(None, path), *(pair for pair in splits if pair[0])]:
        found = _place(split, place)
        if found is not None:
            yield found


def _place(split: str | None, folder: Path) -> _Place | None:
    names = {e.name.lower(): Path(e.path) for e in listing(folder) if e.is_dir()}
    images = next((names[name] for name in IMAGES if name in names), None)
    masks = next((names[name] for name in MASKS if name in names), None)
    if images and masks:
        pictures, truth = _pictures(images), _pictures(masks)
    else:
        files = _pictures(folder)
        truth = [file for file in files if mask_stem(file) != stem(file)]
        pictures = [file for file in files if mask_stem(file) == stem(file)]
    if not (pictures and truth):
        return None
    return _Place(split, _by_name(pictures), _by_name(truth))


def _refuse_lone_masks(place: _Place) -> None:
    alone = [mask for name, mask in place.masks.items() if name not in place.images]
    if alone:
        raise DataError(
            alone[0].parent,
            f"{len(alone)} masks have no image (such as {alone[0].name})",
            "an image of the same name for every mask",
            "add the images, or remove the masks",
        )


def _pictures(folder: Path) -> list[Path]:
    return [Path(e.path) for e in listing(folder) if is_image(e.name) and e.is_file()]


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        name = mask_stem(file)
        if name in found:
            raise DataError(
                file, f"has the same name as {found[name].name}", "one file of each name",
                "rename or remove one of them",
            )  # fmt: skip
        found[name] = file
    return found
