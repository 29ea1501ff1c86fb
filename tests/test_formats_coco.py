"""COCO exports: every layout, every kind of outline, every contradiction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as runs

from glioscope.core.errors import DataError
from glioscope.core.labels import SCHEMES
from glioscope.formats.opening import open_dataset
from glioscope.formats.outlines import filled

WIDTH, HEIGHT = 20, 12
BLOB = np.zeros((HEIGHT, WIDTH), np.uint8)
BLOB[3:8, 10:17] = 1
DECODER = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SQUARE = [[2, 2, 8, 2, 8, 6, 2, 6]]
CATEGORIES = [{"id": n, "name": name} for n, name in enumerate(["Tumor", "0", "1"])]


def outline(segmentation: object, **more: Any) -> dict[str, Any]:
    return {"category_id": 1, "bbox": [2, 2, 6, 4], "segmentation": segmentation, **more}


def export(
    folder: Path,
    images: dict[str, list[dict[str, Any]]],
    name: str = "_annotations.coco.json",
    pictures: str = ".",
) -> dict[str, Any]:
    """Write images and the json of their annotations; return its content."""
    document: dict[str, Any] = {"info": {}, "categories": [*CATEGORIES]}
    document["images"], document["annotations"] = [], []
    for number, (file, outlines) in enumerate(images.items()):
        picture = folder / pictures / file
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT), number).save(picture)
        document["images"].append(
            {"id": number, "file_name": file, "width": WIDTH, "height": HEIGHT}
        )
        for annotation in outlines:
            index = len(document["annotations"])
            document["annotations"].append({"id": index, "image_id": number, **annotation})
    write(folder, document, name)
    return document


def write(folder: Path, document: object, name: str = "_annotations.coco.json") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document))


def mask_of(root: Path) -> np.ndarray:
    """The only case's mask as (row, column)."""
    dataset = open_dataset(root)
    (case,) = dataset.cases
    assert dataset.labels is not None
    mask = case.read_mask(dataset.labels, case.grid())
    assert mask.array.dtype == np.uint8
    return mask.array[0, :, :, 0].T


def test_splits_come_from_the_layout(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        export(tmp_path / split, {f"{number}_jpg.rf.3afd.jpg": [outline(SQUARE)]})
    dataset = open_dataset(tmp_path)
    assert (dataset.format, dataset.patients_from) == ("coco", None)
    assert [c.split for c in dataset.cases] == ["train", "valid", "test"]
    assert dataset.cases[0].id == "0_jpg.rf.3afd"
    assert dataset.labels == SCHEMES["binary"]
    assert dataset.notes == ()


@pytest.mark.parametrize("pictures", [".", "images", "../images"])
def test_a_single_json_finds_its_images(tmp_path: Path, pictures: str) -> None:
    export(tmp_path / "annotations", {"a.png": []}, "instances_all.json", pictures)
    for path in (tmp_path, tmp_path / "annotations" / "instances_all.json"):
        (case,) = open_dataset(path).cases
        assert (case.id, case.split) == ("a", None)


def test_the_layout_of_coco_itself_names_its_splits(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        name = f"instances_{split}.json"
        export(tmp_path / "annotations", {f"{split}.jpg": []}, name, f"../{split}")
    assert [c.split for c in open_dataset(tmp_path).cases] == ["train", "valid"]


def test_one_name_in_two_splits_gets_the_split_in_front(tmp_path: Path) -> None:
    export(tmp_path / "train", {"a.png": [], "b.png": []})
    export(tmp_path / "val", {"a.png": []})
    assert [c.id for c in open_dataset(tmp_path).cases] == ["b", "train-a", "valid-a"]


def test_patients_csv_is_heard(tmp_path: Path) -> None:
    export(tmp_path / "train", {"a.png": []})
    export(tmp_path / "test", {"a.png": [], "b.png": []})
    (tmp_path / "patients.csv").write_text("image,patient\na.png,p1\nb.png,p2\n")
    dataset = open_dataset(tmp_path)
    assert {c.id: c.patient for c in dataset.cases} == {"train-a": "p1", "test-a": "p1", "b": "p2"}
    assert dataset.patients_from == "patients.csv"


def test_several_annotations_are_one_mask_and_none_is_empty(tmp_path: Path) -> None:
    export(tmp_path, {"a.png": [outline(SQUARE), outline([[12, 2, 18, 2, 18, 6, 12, 6]])]})
    mask = mask_of(tmp_path)
    expected = np.zeros_like(BLOB)
    expected[2:6, 2:8] = expected[2:6, 12:18] = 1
    np.testing.assert_array_equal(mask, expected)
    export(tmp_path, {"a.png": []})
    assert not mask_of(tmp_path).any()
    assert "1 of 1 images have no annotation" in open_dataset(tmp_path).notes[0]


@DECODER
def test_polygons_are_filled_as_pycocotools_does(tmp_path: Path) -> None:
    parts = [[1.5, 1.2, 9.7, 2.5, 5.1, 10.9], [12.25, 3, 19.5, 4, 15, 11.75, 11, 8]]
    export(tmp_path, {"a.png": [outline(parts)]})
    expected = runs.decode(runs.merge(runs.frPyObjects(parts, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(mask_of(tmp_path), expected)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_run_lengths_give_their_mask_back(tmp_path: Path, compressed: bool, seed: int) -> None:
    blob = np.asfortranarray(np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.3, np.uint8)
    if compressed:
        counts: object = runs.encode(blob)["counts"].decode()
    else:
        flat = np.concatenate([[0], blob.ravel("F"), [2]])
        counts = [int(n) for n in np.diff(np.flatnonzero(np.diff(flat)), prepend=0)]
        if blob[0, 0]:
            assert counts[0] == 0
    rle = {"size": [HEIGHT, WIDTH], "counts": counts}
    export(tmp_path, {"a.png": [outline(rle, iscrowd=1)]})
    np.testing.assert_array_equal(mask_of(tmp_path), blob)


def test_long_run_lengths_are_unpacked_as_pycocotools_packs_them() -> None:
    blob = np.zeros((300, 200), np.uint8, order="F")
    blob[20:250, 31:150] = 1
    packed = runs.encode(blob)["counts"].decode()
    rle = {"segmentation": {"size": [300, 200], "counts": packed}}
    np.testing.assert_array_equal(filled(rle, (200, 300)), blob.T)


def test_a_box_without_outline_is_taken_and_said(tmp_path: Path) -> None:
    export(tmp_path, {"a.png": [outline([])]})
    expected = np.zeros_like(BLOB)
    expected[2:6, 2:8] = 1
    np.testing.assert_array_equal(mask_of(tmp_path), expected)
    assert "1 annotations have a box and no outline" in open_dataset(tmp_path).notes[0]


def test_used_categories_are_joined_and_said(tmp_path: Path) -> None:
    export(tmp_path, {"a.png": [outline(SQUARE), outline(SQUARE, category_id=2)]})
    assert open_dataset(tmp_path).notes == ("the categories 0, 1 were joined to one: tumour",)


def test_the_fingerprint_changes_with_an_outline(tmp_path: Path) -> None:
    export(tmp_path, {"a.png": [outline(SQUARE)]})
    before = open_dataset(tmp_path).fingerprint
    export(tmp_path, {"a.png": [outline([[2, 2, 8, 2, 8, 7, 2, 7]])]})
    assert open_dataset(tmp_path).fingerprint != before


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 1, 5, 5]], "a polygon has 4 numbers"),
        ([[1, 1, 5, 5, 3, 8, 2]], "a polygon has 7 numbers"),
        ([[1, 1, 5, "5", 3, 8]], "not a number"),
        ([1, 1, 5, 5, 3, 8], "not a list of polygons"),
        ([[1, 1, 5, 1e9, 3, 8]], "far outside"),
        ({"size": [WIDTH, HEIGHT], "counts": [240]}, "run lengths are for"),
        ({"size": [HEIGHT, WIDTH], "counts": [200]}, "cover 200 of 240"),
        ({"size": [HEIGHT, WIDTH], "counts": [250, -10]}, "not whole numbers"),
        ({"size": [HEIGHT, WIDTH], "counts": "0a"}, "cut off"),
        ({"size": [HEIGHT, WIDTH], "counts": "01~~ "}, "the character"),
    ],
)
def test_a_broken_outline_spoils_its_case_only(
    tmp_path: Path, segmentation: object, message: str
) -> None:
    export(tmp_path, {"a.png": [outline(segmentation)]})
    with pytest.raises(DataError, match=message) as caught:
        mask_of(tmp_path)
    assert "annotation 0 of a.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_neither_outline_nor_box_is_refused(tmp_path: Path) -> None:
    export(tmp_path, {"a.png": [{"category_id": 1}]})
    with pytest.raises(DataError, match="neither an outline nor a box"):
        mask_of(tmp_path)


def test_an_image_of_another_size_than_the_json_says_is_refused(tmp_path: Path) -> None:
    export(tmp_path, {"a.png": [outline(SQUARE)]})
    Image.new("L", (HEIGHT, WIDTH)).save(tmp_path / "a.png")
    dataset = open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"12x20 pixels; expected 20x12 as in .*json"):
        dataset.cases[0].mask.read()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("section", "record", "message"),
    [
        ("images", {"id": 0, "file_name": "a.png", "width": 1, "height": 1}, "two images have"),
        ("images", {"id": 5, "file_name": "b.png", "width": 1, "height": 1}, "1 of 2 images are"),
        ("images", {"id": 5, "file_name": "a.png", "width": 0, "height": 1}, "has the size"),
        ("images", {"id": 5, "width": 1, "height": 1}, "has no 'file_name'"),
        ("images", 7, "has no 'id'"),
        ("categories", {"id": 1, "name": "again"}, "two categories have the id 1"),
        ("annotations", {"id": 9, "image_id": 77, "category_id": 1}, "has the image_id 77"),
        ("annotations", {"id": 9, "image_id": 0, "category_id": 8}, "has the category_id 8"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, section: str, record: object, message: str
) -> None:
    document = export(tmp_path, {"a.png": [outline(SQUARE)]})
    document[section].append(record)
    write(tmp_path, document)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path)
    assert "_annotations.coco.json" in str(caught.value)


@pytest.mark.parametrize("text", ['{"images": [', '{"images": []}', '["images", {"images": 1}]'])
def test_what_only_looks_like_coco_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json: (is not JSON|has no list)"):
        open_dataset(tmp_path)


def test_two_jsons_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    for name in ("one.json", "two.json"):
        export(tmp_path, {"a.png": []}, name)
    with pytest.raises(DataError, match=r"several COCO files \(one.json, two.json\)"):
        open_dataset(tmp_path)


def test_an_export_without_images_is_no_data_set(tmp_path: Path) -> None:
    export(tmp_path, {})
    with pytest.raises(DataError, match="holds no case"):
        open_dataset(tmp_path)
