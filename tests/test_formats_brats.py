"""BraTS folders of every year, told by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from glioscope.core.errors import DataError, UndecidedLabels
from glioscope.core.labels import SCHEMES
from glioscope.core.volume import Volume
from glioscope.formats.brats import brats
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset

ALL = {"t1", "t1c", "t2", "flair"}
YEARS = {
    2018: ("Brats18_CBICA_AAB_1", "_", "t1 t1ce t2 flair", ".nii.gz", "brats2021"),
    2020: ("BraTS20_Training_001", "_", "t1 t1ce t2 flair", ".nii", "brats2021"),
    2021: ("BraTS2021_00006", "_", "t1 t1ce t2 flair", ".nii.gz", "brats2021"),
    2023: ("BraTS-GLI-00005-100", "-", "t1n t1c t2w t2f", ".nii.gz", "brats2023"),
    2024: ("BraTS-MET-00110-000", "-", "t1n t1c t2w t2f", ".nii.gz", "brats2024"),
}


def scan(path: Path, values: tuple[int, ...] = (7,), dtype: type = np.int16) -> Path:
    array = np.zeros((1, 3, 3, 3), dtype)
    array.flat[: len(values)] = values
    write_nifti(path, Volume(array, ("image",)))
    return path


def case(
    folder: Path,
    sequences: str = "t1n t1c t2w t2f",
    separator: str = "-",
    suffix: str = ".nii.gz",
    mask: tuple[int, ...] | None = None,
) -> Path:
    for sequence in sequences.split():
        scan(folder / f"{folder.name}{separator}{sequence}{suffix}")
    if mask is not None:
        scan(folder / f"{folder.name}{separator}seg{suffix}", mask, np.uint8)
    return folder


@pytest.mark.parametrize("year", YEARS)
def test_every_year_is_known(tmp_path: Path, year: int) -> None:
    name, separator, sequences, suffix, scheme = YEARS[year]
    values = sorted(SCHEMES[scheme].values.values())
    case(tmp_path / "deep" / "down" / name, sequences, separator, suffix, tuple(values))
    dataset = open_dataset(tmp_path)
    assert dataset.format == "brats"
    assert dataset.labels == SCHEMES[scheme]
    assert dataset.cases[0].grid().unit == "mm"
    (only,) = dataset.cases
    assert only.id == name
    assert set(only.channels) == ALL
    assert only.read_mask(dataset.labels, only.grid()).array.max() == values[-1]
    assert only.split is None


@pytest.mark.parametrize(
    ("suffix", "channel"),
    [
        *(("t1", "t1"), ("t1n", "t1"), ("t1w", "t1"), ("T1w", "t1")),
        *(("t1c", "t1c"), ("t1ce", "t1c"), ("t1gd", "t1c"), ("T1Gd", "t1c")),
        *(("t2", "t2"), ("t2w", "t2"), ("t2W", "t2")),
        *(("flair", "flair"), ("t2f", "flair"), ("FLAIR", "flair")),
    ],
)
@pytest.mark.parametrize("separator", ["_", "-"])
def test_every_suffix_is_known(tmp_path: Path, suffix: str, channel: str, separator: str) -> None:
    case(tmp_path / "P1", suffix, separator)
    assert list(open_dataset(tmp_path).cases[0].channels) == [channel]


def test_a_case_folder_is_a_data_set_of_one(tmp_path: Path) -> None:
    folder = case(tmp_path / "BraTS-GLI-00005-100")
    (only,) = open_dataset(folder).cases
    assert (only.id, only.patient, only.timepoint) == (folder.name, "BraTS-GLI-00005", "100")


def test_time_points_of_one_patient_belong_together(tmp_path: Path) -> None:
    for name in ("BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00006-000"):
        case(tmp_path / name)
    dataset = open_dataset(tmp_path)
    assert [c.patient for c in dataset.cases] == ["BraTS-GLI-00005"] * 2 + ["BraTS-GLI-00006"]
    assert dataset.patients_from == "case names"


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "val", "testing")])
def test_split_folders_are_heard(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        case(tmp_path / name / f"P{number}")
    assert [c.split for c in open_dataset(tmp_path).cases] == ["train", "valid", "test"]


def test_validation_data_are_cases_to_predict_and_no_split(tmp_path: Path) -> None:
    case(tmp_path / "MICCAI_BraTS2020_ValidationData" / "BraTS20_Validation_001", "t1", "_")
    (only,) = open_dataset(tmp_path).cases
    assert only.mask is None
    assert only.split is None


def test_the_stray_mask_of_2020_is_taken_and_said(tmp_path: Path) -> None:
    folder = case(tmp_path / "BraTS20_Training_355", "t1 t1ce t2 flair", "_", ".nii")
    scan(folder / "W39_1998.09.19_Segm.nii", (1, 2, 4), np.uint8)
    dataset = open_dataset(tmp_path)
    assert dataset.cases[0].mask is not None
    assert dataset.cases[0].mask.path.name == "W39_1998.09.19_Segm.nii"
    assert "W39_1998.09.19_Segm.nii" in dataset.notes[0]


def test_file_names_go_before_a_folder_that_tells_less(tmp_path: Path) -> None:
    name = "BraTS-GLI-00005-100"
    for sequence in ("t1n", "t1c"):
        scan(tmp_path / "new" / f"{name}-{sequence}.nii.gz")
    dataset = open_dataset(tmp_path)
    (only,) = dataset.cases
    assert (only.id, only.patient, only.timepoint) == (name, "BraTS-GLI-00005", "100")
    assert dataset.labels == SCHEMES["brats2023"]


def test_several_cases_may_lie_in_one_split_folder(tmp_path: Path) -> None:
    for name in ("A_t1", "A_flair", "B_t1"):
        scan(tmp_path / "train" / f"{name}.nii")
    cases = open_dataset(tmp_path).cases
    assert [(c.id, c.split) for c in cases] == [("A", "train"), ("B", "train")]


def test_black_and_white_masks_are_binary(tmp_path: Path) -> None:
    case(tmp_path / "P1", "t1c", mask=(255,))
    dataset = open_dataset(tmp_path)
    (only,) = dataset.cases
    assert dataset.labels == SCHEMES["binary"]
    mask = only.read_mask(dataset.labels)
    assert set(np.unique(mask.array)) == {0, 1}
    assert mask.notes == ("masks of 0 and 255 were read as 0 and 1",)
    case(tmp_path / "P2", "t1c", mask=(1, 255))
    with pytest.raises(UndecidedLabels, match="store the masks as 0 and 1"):
        open_dataset(tmp_path)


def test_several_cases_in_one_folder_are_told_by_their_files(tmp_path: Path) -> None:
    for name in ("A_1", "B_2"):
        for sequence in ("t1", "flair"):
            scan(tmp_path / f"{name}_{sequence}.nii.gz")
    scan(tmp_path / "A_1_seg.nii.gz", (1,), np.uint8)
    dataset = open_dataset(tmp_path)
    assert [c.id for c in dataset.cases] == ["A_1", "B_2"]
    assert [c.mask is None for c in dataset.cases] == [False, True]


def test_series_of_one_examination_may_have_names_of_their_own(tmp_path: Path) -> None:
    for name in ("3D_P7_x_t1.nii", "ax_P7_5_t1c.nii", "P7_fla.nii"):
        scan(tmp_path / "P7" / name)
    (only,) = open_dataset(tmp_path).cases
    assert only.id == "P7"
    assert set(only.channels) == {"t1", "t1c", "flair"}


def test_files_may_be_named_by_the_sequence_alone(tmp_path: Path) -> None:
    for name in ("T1.nii", "T1Gd.nii", "seg.nii"):
        scan(tmp_path / "P7" / name, (1,))
    (only,) = open_dataset(tmp_path).cases
    assert (only.id, set(only.channels)) == ("P7", {"t1", "t1c"})
    assert only.mask is not None


def test_a_single_case_in_a_split_folder_keeps_its_name(tmp_path: Path) -> None:
    scan(tmp_path / "train" / "P1_t1.nii")
    (only,) = open_dataset(tmp_path).cases
    assert (only.id, only.split) == ("P1", "train")


def test_hidden_files_are_not_there_and_other_scans_are_said(tmp_path: Path) -> None:
    folder = case(tmp_path / "P1", "t1")
    (folder / "._P1-t1.nii.gz").write_bytes(b"")
    (tmp_path / "__MACOSX").mkdir()
    scan(tmp_path / "__MACOSX" / "P2_t1.nii")
    scan(folder / "brain.nii")
    dataset = open_dataset(tmp_path)
    assert [c.id for c in dataset.cases] == ["P1"]
    assert "1 scan files were passed over" in dataset.notes[0]
    assert "brain.nii" in dataset.notes[0]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    case(tmp_path / "P1", "t1")
    (tmp_path / "P1" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert len(open_dataset(tmp_path).cases) == 1


@pytest.mark.parametrize(
    ("values", "scheme"),
    [
        *(((1, 2, 4), "brats2021"), ((1, 2, 3), "brats2023"), ((1, 2, 3, 4), "brats2024")),
        *(((1,), "binary"), ((2, 4), "brats2021"), ((1, 9), "numbered")),
    ],
)
def test_without_a_year_the_union_of_values_decides(
    tmp_path: Path, values: tuple[int, ...], scheme: str
) -> None:
    for number, value in enumerate(values):
        case(tmp_path / f"P{number}", "t1c", mask=(value,))
    labels = open_dataset(tmp_path).labels
    assert labels is not None
    assert labels.name == scheme


def test_values_that_fit_several_schemes_ask_for_one(tmp_path: Path) -> None:
    case(tmp_path / "P1", mask=(1, 2))
    with pytest.raises(DataError, match="--labels"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "brats2023").labels == SCHEMES["brats2023"]


@pytest.mark.parametrize(
    ("values", "scheme"), [((), "brats2023"), ((1, 2), "brats2023"), ((4,), "brats2024")]
)
def test_names_of_2023_and_2024_leave_the_cavity_open(
    tmp_path: Path, values: tuple[int, ...], scheme: str
) -> None:
    case(tmp_path / "BraTS-GLI-00001-000", mask=values)
    assert open_dataset(tmp_path).labels == SCHEMES[scheme]


def test_names_decide_without_reading_a_mask(tmp_path: Path) -> None:
    folder = case(tmp_path / "BraTS20_Training_001", "t1", "_")
    (folder / "BraTS20_Training_001_seg.nii").write_text("not read")
    assert open_dataset(tmp_path).labels == SCHEMES["brats2021"]


def test_without_masks_only_names_can_tell(tmp_path: Path) -> None:
    case(tmp_path / "a" / "P1")
    case(tmp_path / "b" / "BraTS-MEN-00001-000")
    assert open_dataset(tmp_path / "a").labels is None
    assert open_dataset(tmp_path / "b").labels == SCHEMES["brats2023"]


def test_a_broken_mask_does_not_hide_the_others(tmp_path: Path) -> None:
    case(tmp_path / "P1", "t1c", mask=(1, 2, 4))
    case(tmp_path / "P2", "t1c", mask=(1,))
    (tmp_path / "P2" / "P2-seg.nii.gz").write_bytes(b"")
    assert open_dataset(tmp_path).labels == SCHEMES["brats2021"]
    (tmp_path / "P1" / "P1-seg.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"P1-seg.nii.gz: the file is empty"):
        open_dataset(tmp_path)


def test_years_of_different_labels_are_not_mixed(tmp_path: Path) -> None:
    case(tmp_path / "BraTS-GLI-00001-000")
    case(tmp_path / "BraTS2021_00001")
    with pytest.raises(DataError, match="different label conventions"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, "brats2023").cases) == 2


@pytest.mark.parametrize("twin", ["P1-t1.nii", "P1-t1n.nii.gz", "copy_t1.nii.gz"])
def test_two_files_for_one_channel_are_refused(tmp_path: Path, twin: str) -> None:
    case(tmp_path / "P1", "t1 t2", "-")
    scan(tmp_path / "P1" / twin)
    with pytest.raises(DataError, match="both claim to be the t1 of case P1"):
        open_dataset(tmp_path)


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    case(tmp_path / "a" / "P1")
    case(tmp_path / "b" / "P1")
    with pytest.raises(DataError, match="two cases are named P1"):
        open_dataset(tmp_path)


def test_a_mask_among_the_scans_of_others_is_refused(tmp_path: Path) -> None:
    for name in ("A_t1.nii", "B_t1.nii", "C_seg.nii"):
        scan(tmp_path / name)
    with pytest.raises(DataError, match=r"C_seg.nii: a mask without its scans"):
        open_dataset(tmp_path)


def test_patients_csv_goes_before_the_names(tmp_path: Path) -> None:
    for name in ("P1", "P2"):
        case(tmp_path / name)
    (tmp_path / "patients.csv").write_text("case,patient\nP1,anna\nP2,anna\n")
    dataset = open_dataset(tmp_path)
    assert {c.patient for c in dataset.cases} == {"anna"}
    assert dataset.patients_from == "patients.csv"


def test_a_thousand_cases_are_listed_without_reading_one(tmp_path: Path) -> None:
    for number in range(1000):
        folder = tmp_path / f"BraTS2021_{number:05}"
        folder.mkdir()
        for suffix in ("t1", "t1ce", "t2", "flair", "seg"):
            (folder / f"{folder.name}_{suffix}.nii.gz").touch()
    dataset = brats(tmp_path, None)
    assert len(dataset.cases) == 1000
    assert dataset.cases[7].id == "BraTS2021_00007"
