"""nnU-Net's raw layout and the Decathlon: what `dataset.json` says is what is read."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from glioscope.core.case import Case
from glioscope.core.dataset import Dataset
from glioscope.core.errors import DataError
from glioscope.core.labels import SCHEMES
from glioscope.core.splits import make_splits
from glioscope.core.volume import Volume
from glioscope.formats.manifest import read_manifest
from glioscope.formats.nifti import NiftiSource, write_nifti
from glioscope.formats.opening import open_dataset
from glioscope.formats.phantom import write_phantoms

SHAPE = (4, 5, 6)
LABELS = (np.arange(120).reshape(SHAPE) % 4).astype(np.uint8)
BRAIN = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
MSD_LABELS = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
CLASSES = {"background": 0, "NCR": 1, "ED": 2, "ET": 3}
NESTED = {"background": 0, "whole_tumor": [1, 2, 3], "tumor_core": [2, 3], "enhancing_tumor": 3}


def scan(path: Path, value: float, shape: tuple[int, ...] = SHAPE) -> None:
    write_nifti(path, Volume(np.full((1, *shape), value, np.float32), ("a",)))


def describe(folder: Path, **changes: Any) -> Path:
    content = {
        "channel_names": {"0": "T1", "1": "T1-post"},
        "labels": CLASSES,
        "file_ending": ".nii.gz",
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(kept))
    return folder


def raw(folder: Path, **changes: Any) -> Path:
    """An nnU-Net folder of two cases; channel k of case n holds 10 n + k."""
    for n in (0, 1):
        for k in (0, 1):
            scan(folder / "imagesTr" / f"glioma_{n}_{k:04d}.nii.gz", 10 * n + k)
        write_nifti(folder / "labelsTr" / f"glioma_{n}.nii.gz", Volume(LABELS[None], ("m",)))
    return describe(folder, **changes)


def decathlon(folder: Path, **changes: Any) -> Path:
    """A task of one case with mask and one without; frame k of every voxel is k + 1."""
    frames = np.zeros((*SHAPE, 4), np.int16) + np.arange(1, 5, dtype=np.int16)
    for place in ("imagesTr/BRATS_001", "imagesTs/BRATS_002"):
        path = folder / f"{place}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(frames, np.diag([1, 1, 2, 1.0])), path)
    mask = Volume(LABELS[None], ("m",), np.diag([1, 1, 2, 1.0]))
    write_nifti(folder / "labelsTr" / "BRATS_001.nii.gz", mask)
    listed = {"image": "./imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}
    return describe(
        folder,
        **{
            "channel_names": None,
            "file_ending": None,
            "modality": BRAIN,
            "labels": MSD_LABELS,
            "training": [listed],
            "test": ["./imagesTs/BRATS_002.nii.gz"],
            **changes,
        },
    )


def values(case: Case) -> dict[str, float]:
    return {name: float(source.read().array.max()) for name, source in case.channels.items()}


def scheme(tmp_path: Path, labels: dict[str, Any]) -> tuple[dict[str, int], dict[str, set[str]]]:
    found = read_manifest(describe(tmp_path, labels=labels) / "dataset.json", "own").labels
    return dict(found.values), {name: {*parts} for name, parts in found.regions.items()}


@pytest.mark.parametrize("given", [".", "dataset.json"])
def test_cases_channels_and_masks_are_what_the_json_says(tmp_path: Path, given: str) -> None:
    dataset = open_dataset(raw(tmp_path / "D") / given)
    assert (dataset.format, dataset.labels, dataset.notes) == ("nnunet", SCHEMES["brats2023"], ())
    assert [case.id for case in dataset.cases] == ["glioma_0", "glioma_1"]
    assert values(dataset.cases[1]) == {"t1": 10, "t1c": 11}
    assert dataset.labels is not None
    mask = dataset.cases[0].read_mask(dataset.labels, dataset.cases[0].grid())
    np.testing.assert_array_equal(mask.array[0], LABELS)


def test_our_own_phantoms_are_read_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_phantoms(out, 2, 0, "nnunet", spacing=8.0)
    dataset = open_dataset(out)
    original = open_dataset("phantom:cases=2,seed=0,spacing=8")
    assert dataset.labels == original.labels
    assert dataset.labels is not None
    for case, made in zip(dataset.cases, original.cases, strict=True):
        assert (case.id, case.patient) == (made.id, made.patient)
        for name, source in made.channels.items():
            truth = np.rint(source.read().array)
            np.testing.assert_allclose(case.channels[name].read().array, truth, atol=1)
        truth_mask = made.read_mask(dataset.labels).array
        np.testing.assert_array_equal(case.read_mask(dataset.labels).array, truth_mask)


def test_images_ts_are_the_test_split(tmp_path: Path) -> None:
    folder = raw(tmp_path)
    for n in (2, 3, 4):
        scan(folder / "imagesTr" / f"glioma_{n}_0000.nii.gz", 0)
        write_nifti(folder / "labelsTr" / f"glioma_{n}.nii.gz", Volume(LABELS[None], ("m",)))
    scan(folder / "imagesTs" / "other_0000.nii.gz", 0)
    write_nifti(folder / "labelsTs" / "other.nii.gz", Volume(LABELS[None], ("m",)))
    dataset = open_dataset(folder)
    assert {case.id for case in dataset.cases if case.split == "test"} == {"other"}
    assert make_splits(dataset, seed=0).test == ("other",)


@pytest.mark.parametrize("layout", [raw, decathlon])
def test_a_folder_of_images_is_read_by_the_json_above_it(tmp_path: Path, layout) -> None:
    folder = layout(tmp_path)
    if layout is raw:
        scan(folder / "imagesTs" / "other_0000.nii.gz", 3)
        scan(folder / "imagesTs" / "other_0001.nii.gz", 4)
    whole = open_dataset(folder)
    for name, split in (("imagesTr", None), ("imagesTs", "test")):
        part = open_dataset(folder / name)
        assert [c.id for c in part.cases] == [c.id for c in whole.cases if c.split == split]
        assert part.labels == whole.labels
        assert values(part.cases[0]) == values(whole.only([part.cases[0].id]).cases[0])


def test_patients_come_from_the_table_or_the_names(tmp_path: Path) -> None:
    folder = raw(tmp_path)
    assert open_dataset(folder).patients_from == "case names"
    (folder / "patients.csv").write_text("case,patient\nglioma_0,P\nglioma_1,P\n")
    dataset = open_dataset(folder)
    assert {case.patient for case in dataset.cases} == {"P"}
    assert dataset.patients_from == "patients.csv"


def test_the_json_may_list_the_cases(tmp_path: Path) -> None:
    folder = raw(tmp_path / "D")
    for file in (folder / "imagesTr").iterdir():
        file.rename(folder / file.name)
    entry = {
        "images": ["glioma_1_0001.nii.gz", str(folder / "glioma_1_0000.nii.gz")],
        "label": "labelsTr/glioma_1.nii.gz",
    }
    dataset = open_dataset(describe(folder, dataset={"A": entry}))
    (case,) = dataset.cases
    assert (dataset.format, case.id, values(case)) == ("nnunet", "A", {"t1": 11, "t1c": 10})
    assert case.mask is not None
    describe(folder, dataset={"A": {"images": ["glioma_1_0001.nii.gz"]}})
    with pytest.raises(DataError, match="lists 1 images of case A; expected 2"):
        open_dataset(folder)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_endings(tmp_path: Path, ending: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "imagesTr").mkdir()
    image = sitk.GetImageFromArray(LABELS.T)
    sitk.WriteImage(image, str(tmp_path / "imagesTr" / f"a_0000{ending}"))
    (case,) = open_dataset(describe(tmp_path, file_ending=ending)).cases
    np.testing.assert_array_equal(case.channels["t1"].read().array[0], LABELS)


def test_coloured_images_are_one_channel_of_one_file(tmp_path: Path) -> None:
    for folder, name in (("imagesTr", "a_0000.png"), ("labelsTr", "a.png")):
        (tmp_path / folder).mkdir()
        array = np.zeros((6, 5, 3), np.uint8) if folder == "imagesTr" else LABELS[0]
        Image.fromarray(array).save(tmp_path / folder / name)
    colours = {"0": "R", "1": "G", "2": "B"}
    dataset = open_dataset(describe(tmp_path, channel_names=colours, file_ending=".png"))
    (case,) = dataset.cases
    assert [*case.channels] == ["image"]
    assert dataset.labels is not None
    np.testing.assert_array_equal(case.read_mask(dataset.labels).array[0, :, :, 0].T, LABELS[0])


def test_images_of_two_sequences_keep_their_names_where_one_is_lost(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    Image.fromarray(LABELS[0]).save(tmp_path / "imagesTr" / "a_0000.png")
    for channels, expected in (
        ({"0": "T1", "1": "FLAIR"}, ["t1"]),
        ({"0": "T1", "1": "FLAIR", "2": "T2"}, ["t1"]),
        ({"0": "FLAIR"}, ["image"]),
        ({"0": "Red", "1": "green", "2": "blue"}, ["image"]),
    ):
        folder = describe(tmp_path, channel_names=channels, file_ending=".png")
        assert [*open_dataset(folder).cases[0].channels] == expected


def test_the_first_version_is_read_as_well(tmp_path: Path) -> None:
    listed = [{"image": "./imagesTr/glioma_0.nii.gz", "label": "./labelsTr/glioma_0.nii.gz"}]
    folder = raw(
        tmp_path,
        channel_names=None,
        file_ending=None,
        modality={"0": "FLAIR", "1": "T2"},
        labels=MSD_LABELS,
        training=listed,
        numTraining=7,
    )
    dataset = open_dataset(folder)
    assert dataset.format == "nnunet"
    assert values(dataset.cases[0]) == {"flair": 0, "t2": 1}
    assert dataset.notes == ("dataset.json speaks of 7 training cases; 2 are there",)


def test_the_frames_of_the_decathlon_are_its_sequences(tmp_path: Path) -> None:
    dataset = open_dataset(decathlon(tmp_path))
    assert (dataset.format, [case.id for case in dataset.cases]) == (
        "msd",
        ["BRATS_001", "BRATS_002"],
    )
    first, second = dataset.cases
    assert values(first) == {"flair": 1, "t1": 2, "t1c": 3, "t2": 4}
    assert first.grid().spacing == (1, 1, 2)
    assert len({source.identity for source in first.channels.values()}) == 4
    assert (second.mask, second.split) == (None, "test")
    assert dataset.labels is not None
    assert dataset.labels.values == {"oedema": 1, "necrosis": 2, "enhancing": 3}
    stored = first.read_mask(dataset.labels, first.grid()).array[0]
    np.testing.assert_array_equal(dataset.labels.mask(stored, "TC"), LABELS >= 2)
    np.testing.assert_array_equal(dataset.labels.mask(stored, "WT"), LABELS >= 1)


def test_the_order_of_the_decathlon_is_that_of_the_numbers(tmp_path: Path) -> None:
    swapped = {"3": "FLAIR", "1": "T1w", "0": "t1gd", "2": "T2w"}
    first = open_dataset(decathlon(tmp_path, modality=swapped)).cases[0]
    assert values(first) == {"t1c": 1, "t1": 2, "t2": 3, "flair": 4}


def test_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    three = {key: BRAIN[key] for key in "012"}
    first = open_dataset(decathlon(tmp_path, modality=three)).cases[0]
    for read in (first.channels["t1"].read, first.grid):
        with pytest.raises(DataError, match="shape 4x5x6x4; expected 3 frames, as many as"):
            read()


def test_what_lies_on_a_frame_is_written_where_it_is(tmp_path: Path) -> None:
    first = open_dataset(decathlon(tmp_path)).cases[0]
    volume = first.channels["t1"].read()
    write_nifti(tmp_path / "out.nii.gz", volume, like=first.channels["t1"].path)
    image = nib.load(tmp_path / "out.nii.gz")
    assert image.shape == SHAPE
    np.testing.assert_array_equal(image.affine, nib.load(first.channels["t1"].path).affine)


def test_labels_of_the_user_win(tmp_path: Path) -> None:
    assert open_dataset(raw(tmp_path / "a"), "brats2024").labels == SCHEMES["brats2024"]
    assert open_dataset(decathlon(tmp_path / "b"), "brats2023").labels == SCHEMES["brats2023"]


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_one_frame_needs_the_memory_of_one(tmp_path: Path, ending: str) -> None:
    frames = np.random.default_rng(0).integers(0, 9, (80, 80, 80, 12), dtype=np.int16)
    path = tmp_path / f"a.{ending}"
    data = nib.Nifti1Image(frames, np.eye(4)).to_bytes()
    path.write_bytes(gzip.compress(data, 1) if ending.endswith("gz") else data)
    tracemalloc.start()
    read = NiftiSource(path, (11, 12)).read().array[0]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(read, frames[..., 11])
    frame = 80**3 * (2 + 4 + 1)  # stored, as float32, and whether it is finite
    assert peak < 1.5 * frame < 0.5 * frames.nbytes


def test_a_frame_of_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 9, (8, 8, 8, 4), dtype=np.int16)
    packed = gzip.compress(nib.Nifti1Image(frames, np.eye(4)).to_bytes())
    for content in (packed[:-4], packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:]):
        (tmp_path / "a.nii.gz").write_bytes(content)
        with pytest.raises(DataError, match="is damaged or cut off"):
            NiftiSource(tmp_path / "a.nii.gz", (0, 4)).read()


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        (CLASSES, "brats2023"),
        ({"background": 0, "necrotic": 1, "edema": 2, "enhancing tumor": 4}, "brats2021"),
        ({"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}, "brats2024"),
        ({"background": 0, "tumour": 1}, "binary"),
        ({"background": 0, "Whole Tumor": 1}, "binary"),
        ({"background": 0, "WT": [1, 2, 3], "TC": [1, 3], "ET": [3]}, "brats2023"),
    ],
)
def test_known_schemes_are_recognised(tmp_path: Path, labels: dict[str, Any], known: str) -> None:
    found = read_manifest(describe(tmp_path, labels=labels) / "dataset.json", "own").labels
    assert found is SCHEMES[known]


def test_what_values_mean_is_told_by_the_nest_of_regions(tmp_path: Path) -> None:
    meant, regions = scheme(tmp_path, NESTED)
    assert meant == {"oedema": 1, "necrosis": 2, "enhancing": 3}
    assert {name: {*parts} for name, parts in SCHEMES["brats2023"].regions.items()} == regions
    with_cavity = {**NESTED, "whole_tumor": [1, 2, 3, 4], "resection cavity": 4}
    meant, regions = scheme(tmp_path, with_cavity)
    assert meant == {"oedema": 1, "necrosis": 2, "enhancing": 3, "cavity": 4}
    assert regions["WT"] == {"oedema", "necrosis", "enhancing", "cavity"}


def test_a_meaning_that_cannot_be_told_is_not_made_up(tmp_path: Path) -> None:
    two = {"background": 0, "whole_tumor": [1, 2], "enhancing_tumor": 2}
    assert scheme(tmp_path, two) == (
        {"label_1": 1, "enhancing": 2},
        {"WT": {"label_1", "enhancing"}, "ET": {"enhancing"}},
    )
    crossing = {"background": 0, "whole_tumor": [1, 2], "tumor_core": [2, 3]}
    assert set(scheme(tmp_path, crossing)[0]) == {"oedema", "label_2", "label_3"}
    strange = {"background": 0, "Left ventricle (CSF)": 1, "both": [1, 7]}
    assert scheme(tmp_path, strange) == (
        {"left_ventricle_csf": 1, "label_7": 7},
        {"both": {"left_ventricle_csf", "label_7"}},
    )


def test_two_kinds_of_core_form_the_core_together(tmp_path: Path) -> None:
    meant, regions = scheme(tmp_path, {"background": 0, "NCR": 1, "NET": 2, "ED": 3, "ET": 4})
    assert meant == {"ncr": 1, "net": 2, "oedema": 3, "enhancing": 4}
    assert regions["TC"] == {"ncr", "net", "enhancing"}


T1_TWICE = {"0": "T1", "1": "T1w"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": T1_TWICE}, "channels 'T1' and 'T1w' are both t1; expected every"),
        ({"channel_names": {"0": "T1", "2": "T2"}}, "numbers its channels 0, 2; expected 0 to 1"),
        ({"channel_names": {"0": "T1"}}, "0001.nii.gz: is of channel 1; expected 0 to 0"),
        ({"labels": {"background": 0, "a": 1, "b": 1}}, "labels 'a' and 'b' are both 1"),
        ({"labels": {"background": 0, "a": "1"}}, "label 'a' is '1'; expected whole numbers"),
        ({"labels": {"background": 0, "a": 1.5}}, "label 'a' is 1.5; expected whole numbers"),
        ({"labels": {"background": 0, "a": True}}, "label 'a' is True; expected whole numbers"),
        (
            {"labels": {"background": 1, "a": 2}},
            "label 'background' is 1; expected background as 0",
        ),
        ({"labels": {"nothing": 0, "a": 2}}, "label 'nothing' is 0; expected background as 0"),
        ({"labels": {"background": 0, "a": [0, 1]}}, r"label 'a' is \[0, 1\]"),
        ({"labels": {"0": "background", "1": "a", "2": "a"}}, "gives two labels one name"),
        ({"labels": {"background": 0}}, "has no label besides background"),
        (
            {"labels": {"background": 0, "a": 1, "ignore": 2}},
            "its label 2 means voxels to be ignored",
        ),
        ({"labels": []}, "has no labels"),
        ({"channel_names": {}}, "has no channel_names"),
        ({"file_ending": ".nrrd"}, "file_ending .nrrd matches no file; glioma_0_0000.nii.gz is"),
        ({"file_ending": ".npy"}, "file_ending '.npy'; expected that of a scan"),
        (
            {"dataset": {"A": {"images": ["x.nii", "y.nii"]}}},
            "lists x.nii, and there is no such file",
        ),
        ({"dataset": ["A"]}, "dataset is no object"),
    ],
)
def test_contradictions_are_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(raw(tmp_path, **changes))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_contradictions_of_the_decathlon(tmp_path: Path) -> None:
    for changes, message in (
        (
            {"training": [{"image": "imagesTr/x.nii.gz"}]},
            "lists imagesTr/x.nii.gz, and there is no",
        ),
        ({"training": [7]}, "lists 7 in training"),
        ({"training": [{"label": "labelsTr/BRATS_001.nii.gz"}]}, "lists None as a file"),
        ({"test": "x"}, "test is str; expected a list of files"),
    ):
        with pytest.raises(DataError, match=message):
            open_dataset(decathlon(tmp_path, **changes))


def test_a_key_twice_and_text_that_is_no_json(tmp_path: Path) -> None:
    folder = raw(tmp_path)
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text.replace('"1": "T1-post"', '"0": "T1-post"'))
    with pytest.raises(DataError, match="names '0' twice"):
        open_dataset(folder)
    (folder / "dataset.json").write_text(text[:-5])
    with pytest.raises(DataError, match="is not JSON"):
        open_dataset(folder)


def test_a_mask_without_scans_and_a_case_without_mask(tmp_path: Path) -> None:
    folder = raw(tmp_path)
    (folder / "labelsTr" / "glioma_0.nii.gz").unlink()
    dataset: Dataset = open_dataset(folder)
    assert dataset.notes == ("1 training cases have no mask (such as glioma_0)",)
    write_nifti(folder / "labelsTr" / "x.nii.gz", Volume(LABELS[None], ("m",)))
    with pytest.raises(DataError, match=r"x.nii.gz: a mask without its scans in imagesTr"):
        open_dataset(folder)


def test_a_dataset_json_of_something_else_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text('{"name": "x"}')
    scan(tmp_path / "P1" / "P1_t1.nii.gz", 1)
    assert open_dataset(tmp_path).format == "brats"
