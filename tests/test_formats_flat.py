"""Pairs of images and masks, tables of cases, and what lies about without a layout."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glioscope.core.errors import DataError
from glioscope.core.labels import SCHEMES
from glioscope.core.volume import Volume
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset, open_inputs

TRUTH = np.zeros((24, 32), np.uint8)
TRUTH[5:17, 7:22] = 1


def picture(path: Path, array: np.ndarray = TRUTH, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def scan(path: Path, value: int = 7) -> Path:
    write_nifti(path, Volume(np.full((1, 3, 3, 3), value, np.uint8), ("image",)))
    return path


def mask_of(root: Path, case_id: str, labels: str | None = None) -> np.ndarray:
    dataset = open_dataset(root, labels)
    case = next(c for c in dataset.cases if c.id == case_id)
    assert dataset.labels is not None
    return case.read_mask(dataset.labels, case.grid()).array[0, :, :, 0].T


@pytest.mark.parametrize("images", ["images", "image", "Imgs", "img"])
@pytest.mark.parametrize("masks", ["masks", "mask", "labels", "Segmentations", "annotations"])
def test_two_folders(tmp_path: Path, images: str, masks: str) -> None:
    picture(tmp_path / images / "7.jpg")
    picture(tmp_path / masks / "7.png")
    dataset = open_dataset(tmp_path)
    assert (dataset.format, dataset.patients_from) == ("pairs", None)
    assert [(c.id, c.patient, c.split) for c in dataset.cases] == [("7", "7", None)]
    np.testing.assert_array_equal(mask_of(tmp_path, "7"), TRUTH)


@pytest.mark.parametrize("ending", ["_mask", "-mask", "_seg", "-seg", "_Mask"])
def test_side_by_side(tmp_path: Path, ending: str) -> None:
    picture(tmp_path / "7.png")
    picture(tmp_path / f"7{ending}.png")
    picture(tmp_path / "8.png")
    dataset = open_dataset(tmp_path)
    assert [(c.id, c.mask is None) for c in dataset.cases] == [("7", False), ("8", True)]
    assert open_dataset(tmp_path).format == "pairs"


def test_pairs_in_split_folders(tmp_path: Path) -> None:
    for split, name in (("train", "1"), ("val", "2"), ("test", "3")):
        picture(tmp_path / split / "images" / f"{name}.png")
        picture(tmp_path / split / "masks" / f"{name}_mask.png")
    assert [c.split for c in open_dataset(tmp_path).cases] == ["train", "valid", "test"]


@pytest.mark.parametrize(
    ("stored", "suffix", "note"),
    [
        (TRUTH, "png", None),
        (TRUTH * 255, "png", "masks hold 0 and 255: binarised at 128"),
        (TRUTH * 255, "bmp", "masks hold 0 and 255: binarised at 128"),
        (TRUTH.astype(bool), "png", "masks hold 0 and 255: binarised at 128"),
        (TRUTH * 2, "png", "masks hold 0 and 2: binarised at 1"),
        (np.stack([TRUTH * 255] * 3, -1), "png", "masks hold 0 and 255: binarised at 128"),
        (TRUTH[..., None] * np.uint8([200, 0, 0]), "png", "0 and 200: binarised at 100"),
        (TRUTH.astype(np.uint16) * 65535, "png", "0 and 65535: binarised at 32768"),
        (TRUTH * 255, "jpg", "values from 0 to 255 (JPEG): binarised at 128"),
    ],
)
def test_masks_of_every_kind_are_binarised_and_it_is_said(
    tmp_path: Path, stored: np.ndarray, suffix: str, note: str | None
) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / f"a.{suffix}", stored)
    picture(tmp_path / "images" / "empty.png")
    picture(tmp_path / "masks" / f"empty.{suffix}", np.zeros_like(stored))
    dataset = open_dataset(tmp_path)
    assert dataset.labels == SCHEMES["binary"]
    assert [note in n for n in dataset.notes] == [True] * (note is not None)  # type: ignore[operator]
    np.testing.assert_array_equal(mask_of(tmp_path, "a"), TRUTH)
    assert not mask_of(tmp_path, "empty").any()


def test_small_values_are_labels(tmp_path: Path) -> None:
    for name, value in (("a", 2), ("b", 4), ("c", 1)):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "masks" / f"{name}.png", TRUTH * np.uint8(value))
    dataset = open_dataset(tmp_path)
    assert dataset.labels == SCHEMES["brats2021"]
    np.testing.assert_array_equal(mask_of(tmp_path, "b"), TRUTH * 4)
    np.testing.assert_array_equal(mask_of(tmp_path, "b", "brats2024"), TRUTH * 4)
    np.testing.assert_array_equal(mask_of(tmp_path, "b", "binary"), TRUTH)


def test_labels_that_black_and_white_cannot_be_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / "a.png", TRUTH * 255)
    with pytest.raises(DataError, match="expected values of brats2021"):
        open_dataset(tmp_path, "brats2021")


def test_masks_of_two_kinds_are_refused(tmp_path: Path) -> None:
    for name, value in (("a", 255), ("b", 1)):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "masks" / f"{name}.png", TRUTH * np.uint8(value))
    with pytest.raises(DataError, match=r"b\.png: its values end at 1"):
        open_dataset(tmp_path)


def test_jpeg_masks_of_0_and_1_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / "a.jpg", TRUTH)
    with pytest.raises(DataError, match="cannot be told from noise"):
        open_dataset(tmp_path)


def test_patients_csv_groups(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "masks" / f"{name}.png")
    table = tmp_path / "patients.csv"
    table.write_text("id,class,patient\n1,glioma,p\n2,glioma,p\n3.png,glioma,q\n")
    dataset = open_dataset(tmp_path)
    assert [c.patient for c in dataset.cases] == ["p", "p", "q"]
    assert dataset.patients_from == "patients.csv"
    table.write_text("id,patient\n1,p\n2,\n")
    with pytest.raises(DataError, match=r"2 of 3 cases have no patient \(such as 2\)"):
        open_dataset(tmp_path)
    table.write_text("id,patient\n1,p\n2,p\n3,p\n1.png,q\n")
    with pytest.raises(DataError, match=r"1 belongs to p and to q; expected one patient"):
        open_dataset(tmp_path)
    table.write_text("name,patient\n1,p\n")
    with pytest.raises(DataError, match="expected patient and one of id"):
        open_dataset(tmp_path)


def test_a_mask_without_image_and_two_of_one_name_are_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png")
    picture(tmp_path / "masks" / "1.png")
    picture(tmp_path / "masks" / "2.png")
    with pytest.raises(DataError, match=r"1 masks have no image \(such as 2.png\)"):
        open_dataset(tmp_path)
    picture(tmp_path / "images" / "2.png")
    picture(tmp_path / "images" / "2.bmp")
    with pytest.raises(DataError, match=r"has the same name as 2\.(bmp|png)"):
        open_dataset(tmp_path)


def test_bad_masks_do_not_stop_a_prediction(tmp_path: Path) -> None:
    for name in ("1", "2"):
        picture(tmp_path / "images" / f"{name}.png")
        picture(tmp_path / "masks" / f"{name}.jpg", TRUTH * 0)
    for _ in range(2):
        with pytest.raises(DataError, match=r"JPEG masks hold|masks have no image"):
            open_dataset(tmp_path)
        found = open_inputs([tmp_path], {})
        assert [(c.id, c.mask) for c, _ in found] == [("1", None), ("2", None)]
        picture(tmp_path / "masks" / "3.png")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "1.png", TRUTH.T)
    picture(tmp_path / "masks" / "1.png", TRUTH)
    with pytest.raises(DataError, match="shape 32x24; expected 24x32 as in"):
        mask_of(tmp_path, "1")


def test_a_table_names_everything(tmp_path: Path) -> None:
    for name in ("a_t1", "a_x", "b_x"):
        scan(tmp_path / f"{name}.nii.gz")
    scan(tmp_path / "m.nii", 4)
    (tmp_path / "cases.csv").write_text(
        "case,patient,date,t1,t1c,mask,split\n"
        "A,anna,2024-05-31,a_t1.nii.gz,a_x.nii.gz,m.nii,train\n"
        "B,bert,,,b_x.nii.gz,,test\n"
    )
    for path in (tmp_path, tmp_path / "cases.csv"):
        dataset = open_dataset(path)
        assert (dataset.format, dataset.patients_from) == ("table", "cases.csv")
        assert dataset.labels == SCHEMES["brats2021"]
        first, second = dataset.cases
        assert (first.id, first.patient, first.split) == ("A", "anna", "train")
        assert first.date == date(2024, 5, 31)
        assert list(first.channels) == ["t1", "t1c"]
        assert first.mask is not None
        assert (second.date, second.mask, second.split) == (None, None, "test")


def test_a_table_of_images_alone(tmp_path: Path) -> None:
    picture(tmp_path / "x" / "1.png")
    picture(tmp_path / "y.png", TRUTH * 255)
    (tmp_path / "some.csv").write_text("\ufeffimage,mask\nx/1.png,y.png\n", encoding="utf-8")
    dataset = open_dataset(tmp_path / "some.csv")
    assert [(c.id, c.patient) for c in dataset.cases] == [("1", "1")]
    assert "binarised at 128" in dataset.notes[0]
    np.testing.assert_array_equal(mask_of(tmp_path / "some.csv", "1"), TRUTH)


def test_a_table_without_case_names_takes_them_from_the_files(tmp_path: Path) -> None:
    scan(tmp_path / "BraTS-GLI-00005-100-t1c.nii.gz")
    (tmp_path / "cases.csv").write_text("t1c\nBraTS-GLI-00005-100-t1c.nii.gz\n")
    (only,) = open_dataset(tmp_path).cases
    assert (only.id, only.patient) == ("BraTS-GLI-00005-100", "BraTS-GLI-00005")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,t1ce\nA,a.nii\n", "column 't1ce' is unknown; did you mean t1c"),
        ("case,t1\nA,\n", "case A: names no scan"),
        ("case,t1\nA,no.nii\n", "its t1 is missing"),
        ("case,t1\nA,a.txt\n", "its t1 is a.txt"),
        ("case,t1,split\nA,a.nii,training\n", "split 'training'; expected one of train"),
        ("case,t1,date\nA,a.nii,31.5.2024\n", "date '31.5.2024'"),
        ("case,t1\nA,a.nii,x\n", "line 2 has 3 cells"),
        ("case,t1\nA,a.nii\nA,a.nii\n", "two cases are named A"),
        ("t1,image\na.nii,\n,a.png\n", "names 2D images and 3D scans"),
        ("", "no header"),
        ("case,t1\n", "holds no case"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    scan(tmp_path / "a.nii")
    picture(tmp_path / "a.png")
    (tmp_path / "a.txt").touch()
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_single_scan_tells_its_sequence(tmp_path: Path) -> None:
    (one,) = open_dataset(scan(tmp_path / "BraTS-GLI-00005-100-t2f.nii.gz")).cases
    assert (one.id, one.patient) == ("BraTS-GLI-00005-100", "BraTS-GLI-00005")
    assert list(one.channels) == ["flair"]
    (other,) = open_dataset(scan(tmp_path / "head.nii")).cases
    assert (other.id, list(other.channels)) == ("head", ["image"])
    with pytest.raises(DataError, match="is a mask by its name"):
        open_dataset(scan(tmp_path / "P1_seg.nii"))


def test_images_without_masks(tmp_path: Path) -> None:
    for name in ("b.x.png", "a.jpg"):
        picture(tmp_path / name)
    dataset = open_dataset(tmp_path)
    assert (dataset.format, dataset.labels) == ("images", None)
    assert [c.id for c in dataset.cases] == ["a", "b.x"]
    (one,) = open_dataset(tmp_path / "a.jpg").cases
    assert one.id == "a"
