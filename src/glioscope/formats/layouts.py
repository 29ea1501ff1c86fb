"""Writers of whole data sets: BraTS and nnU-Net folders, COCO exports, image/mask pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.case import Case
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.files import write_json, write_text
from ..core.splits import NAMES, make_splits
from ..core.volume import Volume
from .cohort import PATIENTS
from .image import write_image
from .nifti import write_nifti

Progress = Callable[[int, int], None]
Writer = Callable[[Path, Dataset, Progress], None]

_BRATS_NAMES = {"t1": "t1n", "t1c": "t1c", "t2": "t2w", "flair": "t2f"}
_PARENT, _TUMOUR = 0, 1
_CATEGORIES = [  # Roboflow writes a parent that no annotation uses
    {"id": _PARENT, "name": "tumors", "supercategory": "none"},
    {"id": _TUMOUR, "name": "tumor", "supercategory": "tumors"},
]


def write_brats(out: Path, dataset: Dataset, progress: Progress) -> None:
    """Write `CASE/CASE-t1n.nii.gz`, `-t1c`, `-t2w`, `-t2f` and `-seg`, as BraTS 2023 names them."""
    for done, case in enumerate(dataset.cases, 1):
        for channel, source in case.channels.items():
            path = out / case.id / f"{case.id}-{_BRATS_NAMES[channel]}.nii.gz"
            write_nifti(path, _stored(source.read(), np.int16))
        write_nifti(out / case.id / f"{case.id}-seg.nii.gz", _stored(_mask(case), np.uint8))
        progress(done, len(dataset.cases))


def write_nnunet(out: Path, dataset: Dataset, progress: Progress) -> None:
    """Write `dataset.json`, `imagesTr/CASE_0000.nii.gz` and `labelsTr/CASE.nii.gz` (nnU-Net v2)."""
    for done, case in enumerate(dataset.cases, 1):
        for number, source in enumerate(case.channels.values()):
            path = out / "imagesTr" / f"{case.id}_{number:04d}.nii.gz"
            write_nifti(path, _stored(source.read(), np.int16))
        write_nifti(out / "labelsTr" / f"{case.id}.nii.gz", _stored(_mask(case), np.uint8))
        progress(done, len(dataset.cases))
    names = enumerate(dataset.cases[0].channels)
    values = {} if dataset.labels is None else dataset.labels.values
    description = {
        "channel_names": {str(number): name for number, name in names},
        "labels": {"background": 0, **values},
        "numTraining": len(dataset.cases),
        "file_ending": ".nii.gz",
    }
    write_json(out / "dataset.json", description)


def write_pairs(out: Path, dataset: Dataset, progress: Progress) -> None:
    """Write `images/N.png`, `masks/N.png` (0 and 255) and `patients.csv`."""
    for done, case in enumerate(dataset.cases, 1):
        write_image(out / "images" / f"{case.id}.png", _pixels(case.channels["image"].read()))
        write_image(out / "masks" / f"{case.id}.png", _pixels(_mask(case)) * np.uint8(255))
        progress(done, len(dataset.cases))
    _write_patients(out, dataset.cases)


def write_coco(out: Path, dataset: Dataset, progress: Progress) -> None:
    """Write `train valid test`, each with PNG images and a json of polygons, split by patient.

    Raises:
        DataError: If there are too few patients for three splits.
    """
    splits = make_splits(dataset, seed=0)
    done = 0
    for split in NAMES:
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for case in dataset.only(getattr(splits, split)).cases:
            pixels = _pixels(case.channels["image"].read())
            file = f"{case.id}.png"
            write_image(out / split / file, pixels)
            width, height = pixels.shape
            number = len(images)
            images.append({"id": number, "file_name": file, "width": width, "height": height})
            annotations += _annotations(_pixels(_mask(case)), number, len(annotations))
            done += 1
            progress(done, len(dataset.cases))
        export = {"categories": _CATEGORIES, "images": images, "annotations": annotations}
        write_json(out / split / "_annotations.coco.json", export)
    _write_patients(out, dataset.cases)


LAYOUTS: Mapping[str, tuple[int, Writer]] = {
    "brats": (3, write_brats),
    "coco": (2, write_coco),
    "nnunet": (3, write_nnunet),
    "pairs": (2, write_pairs),
}
"""Writers by name, each with the dimensions of what it can hold."""


def _stored(volume: Volume, dtype: type[np.integer[Any]]) -> Volume:
    return volume.with_array(volume.array.astype(dtype))


def _mask(case: Case) -> Volume:
    if case.mask is None:
        raise DataError(case.path, f"case {case.id} has no mask", "a reference segmentation")
    return case.mask.read()


def _pixels(volume: Volume) -> NDArray[np.uint8]:
    """Return a 2D image of 8 bits with axes (X = column, Y = row)."""
    return volume.array[0, :, :, 0].astype(np.uint8)


def _annotations(mask: NDArray[np.uint8], image: int, start: int) -> list[dict[str, Any]]:
    """Return one annotation for each outline of a mask (X, Y), numbered from `start` on."""
    found = []
    for number, outline in enumerate(_outlines(mask), start):
        low, high = outline.min(0), outline.max(0)
        x, y = outline.T
        annotation = {
            "id": number,
            "image_id": image,
            "category_id": _TUMOUR,
            "bbox": [*low.tolist(), *(high - low).tolist()],
            "area": abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2,
            "segmentation": [outline.ravel().tolist()],
            "iscrowd": 0,
        }
        found.append(annotation)
    return found


def _outlines(mask: NDArray[np.uint8]) -> list[NDArray[np.floating[Any]]]:
    """Return polygons (points, 2) of column and row round a mask (X, Y); holes are filled.

    COCO counts from the corner of a pixel, skimage from its middle.
    """
    from scipy import ndimage
    from skimage import measure

    filled = np.pad(ndimage.binary_fill_holes(mask), 1).astype(np.float32)
    outlines = measure.find_contours(filled, 0.5)  # type: ignore[no-untyped-call]
    return [np.clip(line - 0.5, 0, mask.shape)[:-1] for line in outlines]


def _write_patients(out: Path, cases: Sequence[Case]) -> None:
    rows = [f"{case.id},glioma,{case.patient}" for case in cases]
    write_text(out / PATIENTS, "\n".join(["id,class,patient", *rows]) + "\n")
