"""What the labels of a `dataset.json` mean: told by names and nests, never made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glioscope.core.errors import DataError
from glioscope.core.labels import SCHEMES, Labels
from glioscope.core.volume import Volume
from glioscope.formats.manifest import Manifest, read_manifest
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset

BRATS = {"NCR": 1, "ED": 2, "ET": 3}
NESTED = {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}


def described(tmp_path: Path, labels: dict[str, Any], **more: Any) -> Path:
    content = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, **labels},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps({**content, **more}))
    return tmp_path / "dataset.json"


def manifest(tmp_path: Path, labels: dict[str, Any], **more: Any) -> Manifest:
    return read_manifest(described(tmp_path, labels, **more), "own")


def regions(labels: Labels) -> dict[str, set[str]]:
    return {name: {*parts} for name, parts in labels.regions.items()}


@pytest.mark.parametrize("cyst", ["CC", "cystic component", "Cyst", "cystic_components"])
def test_cysts_belong_to_the_core(tmp_path: Path, cyst: str) -> None:
    found = manifest(tmp_path, {"ET": 1, "NET": 2, cyst: 3, "ED": 4})
    assert found.labels.values == {"enhancing": 1, "necrosis": 2, "cyst": 3, "oedema": 4}
    assert regions(found.labels) == {
        "WT": {"enhancing", "necrosis", "cyst", "oedema"},
        "TC": {"enhancing", "necrosis", "cyst"},
        "ET": {"enhancing"},
    }
    assert found.notes == ()


def test_no_region_is_derived_beside_a_class_without_a_known_meaning(tmp_path: Path) -> None:
    found = manifest(tmp_path, {**BRATS, "haemorrhage": 4})
    assert [*found.labels.values] == ["necrosis", "oedema", "enhancing", "haemorrhage"]
    assert found.labels.regions == {}
    assert len(found.notes) == 1
    assert "whether haemorrhage belongs to the tumour, so that WT, TC, ET were" in found.notes[0]
    with_cavity = manifest(tmp_path, {**BRATS, "resection cavity": 4})
    assert (with_cavity.labels, with_cavity.notes) == (SCHEMES["brats2024"], ())
    listed = manifest(tmp_path, {**BRATS, "haemorrhage": 4, "WT": [1, 2, 3], "TC": [1, 3]})
    assert regions(listed.labels) == regions(SCHEMES["brats2023"])
    assert listed.notes == ()


def test_what_was_not_derived_is_said_of_the_data_set(tmp_path: Path) -> None:
    array = np.ones((1, 4, 4, 4), np.uint8)
    for name in ("imagesTr/a_0000", "labelsTr/a"):
        (tmp_path / name).parent.mkdir()
        write_nifti(tmp_path / f"{name}.nii.gz", Volume(array, ("a",)))
    described(tmp_path, {**BRATS, "haemorrhage": 4})
    (note,) = open_dataset(tmp_path).notes
    assert "haemorrhage" in note
    assert open_dataset(tmp_path, "brats2024").notes == ()


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ({"tumour": 1}, {"tumour": 1}),
        ({"edema": 1, "tumor": 2}, {"oedema": 1, "tumor": 2}),
        ({"edema": 1, "tumour": 2}, {"oedema": 1, "label_2": 2}),
        ({"edema": 1, "brain lesion": 2}, {"oedema": 1, "brain_lesion": 2}),
    ],
)
def test_tumour_is_all_of_it_only_if_there_is_nothing_else(
    tmp_path: Path, labels: dict[str, int], values: dict[str, int]
) -> None:
    found = manifest(tmp_path, labels)
    assert found.labels.values == values
    assert found.labels.regions == {}


@pytest.mark.parametrize(
    ("labels", "first", "second", "region"),
    [
        ({"WT": [1, 2, 3], "whole tumor": [1, 2]}, "WT", "whole tumor", "WT"),
        ({"whole tumor": [1, 2, 3], "complete": 3}, "whole tumor", "complete", "WT"),
        ({"ET": [2, 3], "WT": [1, 2, 3], "enhancing core": 3}, "ET", "enhancing core", "ET"),
        ({"WT": [1, 2, 3], "ET": 2, "enhancing": 3}, "ET", "enhancing", "ET"),
        ({"my part": [1, 2], "my-part": [2, 3]}, "my part", "my-part", "my_part"),
    ],
)
def test_two_names_of_one_region_are_refused(
    tmp_path: Path, labels: dict[str, Any], first: str, second: str, region: str
) -> None:
    with pytest.raises(DataError, match=f"labels '{first}' and '{second}' are both {region}"):
        manifest(tmp_path, labels)


@pytest.mark.parametrize("order", [None, [1, 2, 3]])
def test_an_order_of_painting_that_nests_is_taken(tmp_path: Path, order: object) -> None:
    found = manifest(tmp_path, NESTED, regions_class_order=order)
    assert found.labels.values == {"oedema": 1, "necrosis": 2, "enhancing": 3}
    assert manifest(tmp_path, BRATS, regions_class_order=[3, 2, 1]).labels == SCHEMES["brats2023"]


@pytest.mark.parametrize("order", [[3, 2, 1], [1, 3, 3], [1, 2], [1, 2, 4], "123", [[1], 2, 3]])
def test_an_order_of_painting_that_contradicts_the_regions_is_refused(
    tmp_path: Path, order: object
) -> None:
    with pytest.raises(DataError, match=r"regions_class_order .* contradicts its labels \[\[1, 2"):
        manifest(tmp_path, NESTED, regions_class_order=order)
    inside_out = dict(reversed(NESTED.items()))
    with pytest.raises(DataError, match="from the outside in"):
        manifest(tmp_path, inside_out, regions_class_order=[3, 2, 1])
