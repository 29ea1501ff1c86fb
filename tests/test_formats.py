"""The door to all formats, the contract of every one, and the real scans."""

from __future__ import annotations

import inspect
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glioscope.core.case import Source
from glioscope.core.errors import DataError, UnknownName
from glioscope.core.labels import SCHEMES
from glioscope.core.volume import Volume
from glioscope.formats import formats
from glioscope.formats.nifti import NiftiMask, NiftiSource, write_nifti
from glioscope.formats.opening import open_dataset, open_inputs
from glioscope.formats.paths import mask_stem


def scan(path: Path, value: int = 1) -> Path:
    write_nifti(path, Volume(np.full((1, 3, 3, 3), value, np.uint8), ("image",)))
    return path


@pytest.mark.parametrize("name", list(formats))
def test_every_format_keeps_the_contract(name: str, tmp_path: Path) -> None:
    entry = formats[name]
    assert list(inspect.signature(entry.function).parameters) == ["path", "labels"]
    assert entry.summary.endswith(".")
    for path in (tmp_path, tmp_path / "absent", Path("absent:")):
        assert not entry.traits.claims(path)


def test_a_missing_path_an_empty_folder_and_an_unknown_layout_are_told_apart(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataError, match=r"absent: there is no such file or folder"):
        open_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="the folder is empty"):
        open_dataset(str(tmp_path))
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="table, msd, nnunet, coco, brats, pairs, scans, images"):
        open_dataset(tmp_path)


def test_an_unknown_label_scheme_is_answered(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean brats2021"):
        open_dataset(tmp_path, "brats2O21")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    scan(tmp_path / "a_t1.nii")
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        open_dataset(tmp_path)


def test_inputs_of_every_kind_may_be_mixed(tmp_path: Path) -> None:
    folder = tmp_path / "BraTS2021_00001"
    scan(folder / "BraTS2021_00001_t1.nii")
    image = tmp_path / "slice.png"
    Image.new("L", (4, 3)).save(image)
    cohort = tmp_path / "cohort"
    for name in ("P1", "P2"):
        scan(cohort / name / f"{name}_flair.nii")
    files = {"t1c": scan(tmp_path / "Q_t1gd.nii"), "flair": scan(tmp_path / "Q_fl_flair.nii")}
    found = open_inputs([cohort, folder, str(image)], files)
    assert [case.id for case, _ in found] == ["P1", "P2", "BraTS2021_00001", "slice", "Q_t1gd"]
    assert [labels for _, labels in found] == [None, None, SCHEMES["brats2021"], None, None]
    assert set(found[-1][0].channels) == {"t1c", "flair"}


def test_scans_of_one_case_given_as_files_are_one_case(tmp_path: Path) -> None:
    name = "BraTS-GLI-00005-100"
    files = [scan(tmp_path / f"{name}-{s}.nii.gz") for s in ("t1n", "t2f", "seg")]
    other = scan(tmp_path / "other_t1.nii")
    found = open_inputs([*files, other], {})
    assert [(case.id, sorted(case.channels)) for case, _ in found] == [
        (name, ["flair", "t1"]),
        ("other", ["t1"]),
    ]
    assert found[0][1] == SCHEMES["brats2023"]
    assert found[0][0].mask is not None


def test_channels_given_one_by_one_are_named_after_their_common_prefix(tmp_path: Path) -> None:
    name = "BraTS-GLI-00005-100"
    files = {c: scan(tmp_path / f"{name}-{s}.nii.gz") for c, s in (("t1c", "t1c"), ("t2", "t2w"))}
    ((case, labels),) = open_inputs([], files, "brats2024")
    assert (case.id, case.patient, labels) == (name, "BraTS-GLI-00005", SCHEMES["brats2024"])
    plain = {"t1c": scan(tmp_path / "x.nii")}
    assert open_inputs([], plain)[0][0].id == "x"


def test_wrong_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean t1c"):
        open_inputs([], {"t1ce": tmp_path})
    with pytest.raises(DataError, match="no such file; expected the t1c scan"):
        open_inputs([], {"t1c": tmp_path / "absent.nii"})


@pytest.mark.parametrize("ending", ["", "_seg", "-seg", "_mask", "-mask", "_SEG"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".png", ".jpg"])
def test_mask_stem_drops_one_suffix_and_one_ending(ending: str, suffix: str) -> None:
    assert mask_stem(Path("a") / f"x.1_t1{ending}{suffix}") == "x.1_t1"


def test_real_brats_2021(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "brats2021")
    assert (dataset.format, len(dataset.cases)) == ("brats", 8)
    assert dataset.labels == SCHEMES["brats2021"]
    case = dataset.cases[0]
    assert set(case.channels) == {"t1", "t1c", "t2", "flair"}
    grid = case.require_common_grid(list(case.channels))
    assert (grid.shape, grid.orientation) == ((240, 240, 155), "LPS")
    mask = case.read_mask(SCHEMES["brats2021"], grid)
    assert set(np.unique(mask.array)) == {0, 1, 2, 4}


def test_real_brats_2023(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "brats2023")
    (case,) = dataset.cases
    assert (case.patient, case.timepoint, case.mask) == ("BraTS-MET-00110", "000", None)
    assert case.grid().orientation == "RAS"
    assert dataset.labels == SCHEMES["brats2023"]


def test_real_coco(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "coco")
    counts = Counter(case.split for case in dataset.cases)
    assert counts == {"train": 1502, "valid": 429, "test": 107}
    outlines = [len(c.mask.annotations) for c in dataset.cases if c.split == "train"]  # type: ignore[union-attr]
    assert Counter(outlines) == {1: 1500, 0: 1, 2: 1}
    case = next(c for c in dataset.cases if c.id.startswith("2256_jpg"))
    mask = case.read_mask(SCHEMES["binary"], case.grid())
    assert 0.9 < mask.array.sum() / 27421.875 < 1.1
    assert "1 of 2038 images have no annotation" in " ".join(dataset.notes)


def test_real_pairs(shared_data: Path) -> None:
    dataset = open_dataset(shared_data / "pairs")
    assert (dataset.format, len(dataset.cases)) == ("pairs", 2358)
    assert dataset.patients_from == "patients.csv"
    assert len({case.patient for case in dataset.cases}) == 171
    assert dataset.notes == ("masks hold 0 and 255: binarised at 128",)
    assert all(isinstance(case.mask, Source) for case in dataset.cases)


def test_real_mask_with_axes_of_its_own(shared_data: Path) -> None:
    folder = shared_data / "native" / "week056"
    image = NiftiSource(folder / "CT1.nii")
    mask = NiftiMask(folder / "ct1_seg_mask.nii").read()
    assert (image.grid().orientation, mask.orientation) == ("LIP", "LPS")
    assert image.grid().shape == (256, 256, 24)
    assert set(np.unique(mask.array)) == {0, 1, 3}
    assert not image.grid().matches(mask.grid)


def test_real_scans_that_were_never_prepared(shared_data: Path) -> None:
    (case,) = open_dataset(shared_data / "native" / "TCGA-FG-6692").cases
    assert case.id == "TCGA-FG-6692"
    assert set(case.channels) == {"t1", "t1c", "t2", "flair"}
    with pytest.raises(DataError, match="register and resample"):
        case.require_common_grid(["t1", "flair"])


def test_real_label_maps_stored_as_floats(shared_data: Path) -> None:
    path = shared_data / "longitudinal" / "UCSF-ALPTDG_100001" / "100001_time1_seg.nii.gz"
    mask = NiftiMask(path).read()
    assert mask.array.dtype == np.uint8
    assert mask.array.max() <= 4
