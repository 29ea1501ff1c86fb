"""Labels, cases, data sets and splits."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glioscope.core.case import Case
from glioscope.core.dataset import Dataset
from glioscope.core.errors import BadCase, CaseErrors, DataError, StorageError, UnknownName
from glioscope.core.files import read_json, replacing, write_json, write_text
from glioscope.core.labels import SCHEMES, Labels, decide, numbered, scheme
from glioscope.core.recipes import load_recipe
from glioscope.core.splits import make_splits, patients_on_both_sides, read_splits
from glioscope.core.volume import Volume
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset
from glioscope.prepare.planning import make_plan

BRATS2023 = ("brats2023", "brats2024")


@pytest.mark.parametrize(
    ("values", "candidates", "expected"),
    [
        ({0, 1}, SCHEMES, "binary"),
        ({1, 2, 4}, SCHEMES, "brats2021"),
        ({2, 4}, SCHEMES, "brats2021"),
        ({1, 2, 3}, SCHEMES, "brats2023"),
        ({1, 2, 3, 4}, SCHEMES, "brats2024"),
        ({1, 2}, ("brats2021",), "brats2021"),
        ({1, 2}, BRATS2023, "brats2023"),
        ({1, 2, 4}, BRATS2023, "brats2024"),
        ({1, 5}, SCHEMES, "numbered"),
    ],
)
def test_the_scheme_of_a_data_set(values, candidates, expected) -> None:
    assert decide(values, "data", candidates).name == expected


@pytest.mark.parametrize(
    ("values", "candidates"), [({1, 2}, SCHEMES), ({1, 3}, ("brats2021",)), (set(), SCHEMES)]
)
def test_what_cannot_be_decided_asks_for_labels(values, candidates) -> None:
    with pytest.raises(DataError, match="--labels"):
        decide(values, "data", candidates)


def test_regions_hold_the_right_values() -> None:
    stored = np.array([0, 1, 2, 3, 4])
    old, new, cavity = (SCHEMES[n] for n in ("brats2021", "brats2023", "brats2024"))
    np.testing.assert_array_equal(old.mask(stored, "ET"), stored == 4)
    np.testing.assert_array_equal(new.mask(stored, "ET"), stored == 3)
    np.testing.assert_array_equal(cavity.mask(stored, "WT"), np.isin(stored, [1, 2, 3]))
    assert old.unknown(stored) == [3]
    assert numbered({0, 7}).values == {"label_7": 7}
    with pytest.raises(UnknownName, match=r"did you mean brats2023\?"):
        scheme("brats_2023")


def dataset(patients: list[str], splits: list[str | None] | None = None) -> Dataset:
    source = open_dataset("phantom:cases=1").cases[0].mask
    cases = [
        Case(f"c{i:02d}", patient, Path("x"), {}, source, split=splits[i] if splits else None)
        for i, patient in enumerate(patients)
    ]
    return Dataset(Path("data"), "test", tuple(cases), SCHEMES["binary"], "names")


@pytest.mark.parametrize("seed", range(5))
def test_splits_keep_patients_together(seed: int) -> None:
    data = dataset([f"p{i // 3}" for i in range(60)])
    splits = make_splits(data, seed)
    assert patients_on_both_sides(splits, data.cases) == []
    assert sorted((*splits.train, *splits.valid, *splits.test)) == [c.id for c in data.cases]
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [42, 6, 12]
    assert splits == make_splits(data, seed)
    assert splits != make_splits(data, seed + 1)


def test_no_split_is_ever_empty() -> None:
    splits = make_splits(dataset(["a", "b", "c"]), 0)
    assert all((splits.train, splits.valid, splits.test))
    with pytest.raises(DataError, match="2 patients with masks; expected at least 3"):
        make_splits(dataset(["a", "b", "b"]), 0)


def test_the_layout_decides_and_what_it_lacks_is_drawn() -> None:
    layout = ["train"] * 7 + ["test"] * 3
    splits = make_splits(dataset([f"p{i}" for i in range(10)], layout), 0)
    assert splits.by == "layout"
    assert splits.test == ("c07", "c08", "c09")
    assert len(splits.valid) == 1
    assert not set(splits.valid) & set(splits.train)


def test_a_splits_file_is_checked(tmp_path: Path) -> None:
    data = dataset([f"p{i}" for i in range(5)])
    path = tmp_path / "splits.json"
    splits = make_splits(data, 0)
    write_json(path, splits.model_dump(mode="json"))
    assert read_splits(path, data) == splits
    for change, said in (
        ({"train": ["nobody"]}, "names case nobody"),
        ({"train": []}, "is empty"),
        ({"extra": 1}, "extra"),
        ({"valid": list(splits.train)}, "twice"),
    ):
        path.write_text(json.dumps({**splits.model_dump(mode="json"), **change}))
        with pytest.raises(DataError, match=said):
            read_splits(path, data)


def test_two_cases_of_one_name_are_refused() -> None:
    one = dataset(["a"])
    with pytest.raises(DataError, match="two cases are named c00"):
        Dataset(one.path, "test", one.cases * 2, one.labels)


def test_the_fingerprint_knows_the_files_but_not_the_folder(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    for number, name in enumerate(("t1", "seg", "flair")):
        volume = Volume(np.full((1, 3, 3, 3), number, np.uint8), ("image",))
        write_nifti(data / "P1" / f"P1_{name}.nii", volume)
    shutil.copytree(data, copy)
    first = open_dataset(data)
    assert first.fingerprint == open_dataset(copy).fingerprint
    write_nifti(copy / "P1" / "P1_t1.nii", Volume(np.zeros((1, 3, 3, 4), np.uint8), ("image",)))
    assert first.fingerprint != open_dataset(copy).fingerprint


def fail_while_writing(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("half")
        1 / 0  # noqa: B018


def fill_the_disk(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_text("x" * 100_000)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(path)
    assert path.read_text() == "old"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"a.txt: the disk is full; free some space"):
        fill_the_disk(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_errors_cross_processes_and_stay_on_one_line() -> None:
    error = DataError(Path("a\nb.nii"), "found", "expected", "do this")
    assert str(error) == "a\\nb.nii: found; expected expected; do this"
    bad = BadCase("c1", error)
    for one in (error, bad, CaseErrors([bad, error]), UnknownName("loss", "x", ["y"])):
        assert str(pickle.loads(pickle.dumps(one))) == str(one)
    assert str(CaseErrors([bad, error])).count("\n") == 1


def test_names_that_are_no_text_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"P\xff1")
    write_json(tmp_path / "a.json", {"case": name})
    assert read_json(tmp_path / "a.json") == {"case": name}
    write_text(tmp_path / "a.csv", name)
    assert (tmp_path / "a.csv").read_text() == "P\\udcff1"


def targets_of(regions: dict[str, list[int]]) -> list[tuple[str, str]]:
    values = {f"v{n}": n for n in sorted({n for inside in regions.values() for n in inside})}
    named = {name: tuple(f"v{n}" for n in inside) for name, inside in regions.items()}
    data = replace(dataset(["a"]), labels=Labels("own", values, named))
    recipe = load_recipe("unet3d-binary", ["data.targets=regions"])
    return [(target.name, target.paints) for target in make_plan(recipe, data, {}, 1).targets]


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (
            {"WT": [1, 2, 3], "non-enhancing": [1, 2], "ET": [3]},
            "the region WT holds nothing but the regions non-enhancing, ET",
        ),
        ({"A": [1, 2], "B": [2, 3]}, "the regions A and B cross"),
        ({"WT": [1, 2, 3, 4], "A": [1, 2], "B": [2, 3]}, "the regions A and B cross"),
    ],
)
def test_regions_that_cannot_be_painted_are_refused(regions, message) -> None:
    with pytest.raises(DataError, match=message) as caught:
        targets_of(regions)
    assert str(caught.value).endswith("train on classes: --set data.targets=classes")


def test_every_class_of_a_region_is_painted_by_some_target() -> None:
    nested = {"WT": [1, 2, 3, 4], "TC": [1, 2, 3], "ET": [3]}
    assert targets_of(nested) == [("WT", "v4"), ("TC", "v1"), ("ET", "v3"), ("v2", "v2")]
    assert targets_of({"A": [1, 2], "B": [3]}) == [("A", "v1"), ("B", "v3"), ("v2", "v2")]
