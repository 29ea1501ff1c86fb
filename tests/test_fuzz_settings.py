"""Arbitrary recipes, splits, checkpoints and model folders: what they say, or one line of ours."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from glioscope.core.case import Case, Source
from glioscope.core.config import Recipe
from glioscope.core.dataset import Dataset
from glioscope.core.errors import DataError, ModelError, RecipeError
from glioscope.core.files import sha256
from glioscope.core.labels import SCHEMES
from glioscope.core.plan import Plan, Target
from glioscope.core.recipes import load_recipe, recipe_names
from glioscope.core.splits import Splits, read_splits
from glioscope.formats.nifti import NiftiMask
from glioscope.models.trained import (
    MODEL,
    PLAN,
    WEIGHTS,
    Provenance,
    TrainedModel,
    load_model,
    save_model,
)
from glioscope.training.checkpoints import SafeCheckpoint, _digest

from .damage import TEXTS, VALUES, damaged, quick, tried, within_memory

RECIPES = [load_recipe(name).model_dump(mode="json") for name in recipe_names()]
SYNTAX = st.one_of(
    st.sampled_from(("&a ", "*a", "<<: ", "? ", ": ", "- ", "[", "]", "{", "}", "|\n ", "---\n")),
    st.sampled_from(("!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set ", "''")),
    st.sampled_from(("1:1:1", "1:" * 200 + "1.0", "0x" + "f" * 5000, "2001-01-01", "2001-99-01")),
    st.sampled_from(
        (".inf", ".nan", "~", "1e4", "\t", "\n", "  ", "a: ", "data:\n  ", "train:\n  ")
    ),
)
YAML = st.lists(SYNTAX | TEXTS, max_size=12).map("".join)


def savable(recipe: Recipe | None) -> None:
    if recipe is not None:
        json.dumps(recipe.model_dump(mode="json"), allow_nan=False)


@quick
@given(YAML)
def test_any_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    savable(tried(lambda: load_recipe(str(path)), str(path), RecipeError))


@quick
@given(st.sampled_from(RECIPES).flatmap(damaged))
def test_any_recipe(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(json.dumps(document))
    savable(tried(lambda: load_recipe(str(path)), str(path), RecipeError))


KEYS = st.one_of(
    TEXTS,
    st.sampled_from(("train", "train.lr", "train.schedule", "train.schedule.name", "data.size")),
    st.sampled_from(("model", "model.name", "model.x", "loss", "loss.dice", "loss.dice.weight")),
)


@quick
@given(st.lists(st.tuples(KEYS, YAML | VALUES.map(json.dumps)), max_size=3))
def test_any_override(settings: list[tuple[str, str]]) -> None:
    overrides = [f"{key}={value}" for key, value in settings]
    savable(tried(lambda: load_recipe("unet3d-binary", overrides), "", RecipeError))


LAUGHS = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("text", [LAUGHS, "a: &a [*a]", "a: &a {<<: *a}", "a: &a 1\nb: *a"])
def test_aliases_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    start = time.perf_counter()
    for name, overrides in ((str(tmp_path / "a.yaml"), []), ("unet3d-binary", [f"model.x={text}"])):
        with pytest.raises(RecipeError, match=r"is not YAML \(aliases such as \*a are not read"):
            within_memory(lambda name=name, overrides=overrides: load_recipe(name, overrides))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize(
    "value",
    [
        *("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "1:" * 200 + "1.0", "2020-01-01"),
        *("0x" + "f" * 5000, ".inf", "-.inf", ".nan", "!!set {a}", "!!binary eA==", "[" * 5000),
        r'{"\ud800": 1}',
    ],
)
def test_values_that_no_recipe_can_hold(value: str) -> None:
    with pytest.raises(RecipeError, match=r"is not YAML|cannot be saved"):
        load_recipe("unet3d-binary", [f"model.x={value}"])


IDS = ("a", "b", "c", "d")
SPLITS = {"by": "patient", "seed": 0, "train": ["a", "b"], "valid": ["c"], "test": ["d"]}


@quick
@given(damaged(SPLITS) | VALUES)
def test_any_splits(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(document))
    mask: Source = NiftiMask(path)
    cases = tuple(Case(name, name, tmp_path, mask=mask) for name in IDS)
    dataset = Dataset(tmp_path, "test", cases, SCHEMES["binary"])
    splits = tried(lambda: read_splits(path, dataset), str(path), DataError)
    if splits is not None:
        assert isinstance(splits, Splits)
        assert {*splits.train, *splits.valid, *splits.test} <= {*IDS}


STATE = {"state_dict": {"a": torch.arange(6.0).reshape(2, 3)}, "epoch": 3, "rest": [(1, None), "x"]}


@quick
@given(st.data())
def test_any_damaged_checkpoint(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a.ckpt"
    SafeCheckpoint().save_checkpoint(STATE, path)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3)):
        content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
    found = tried(lambda: SafeCheckpoint().load_checkpoint(path), str(path), ModelError)
    assert found is None or repr(found) == repr(STATE)


@quick
@given(VALUES | damaged({"dict": [["a", {"tensor": "0"}], ["b", {"list": [1, {"tuple": [2]}]}]]}))
def test_any_structure_of_a_checkpoint(tmp_path: Path, structure: Any) -> None:
    """A checksum that fits is no proof of a checkpoint of ours."""
    tensors, text = {"0": torch.ones(2)}, json.dumps(structure)
    path = tmp_path / "a.ckpt"
    metadata = {"structure": text, "sha256": _digest(text, tensors)}
    save_file(tensors, path, metadata=metadata)
    found = tried(lambda: SafeCheckpoint().load_checkpoint(path), str(path), ModelError)
    assert found is None or isinstance(found, dict)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a model without a training behind it."""
    labels = SCHEMES["binary"]
    plan = Plan(
        dims=3,
        channels=("t1",),
        crop="head",
        spacing=None,
        size=(8, 8, 8),
        normalise="zscore",
        window=None,
        overlap=0.5,
        divisor=2,
        activation="sigmoid",
        targets=(Target(name="tumour", classes=("tumour",), paints="tumour"),),
        labels=labels,
        network="unet3d",
        arguments={"widths": [2, 4]},
    )
    provenance = Provenance(
        recipe=load_recipe("unet3d-binary"), labels=labels, data={}, metrics={}, versions={}
    )
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, {"a": torch.ones(1)}, plan, provenance)
    return folder


@quick
@given(st.data())
def test_any_model_folder(model: Path, data: st.DataObject) -> None:
    texts = {name: (model / name).read_text() for name in (MODEL, PLAN)}
    name = data.draw(st.sampled_from([MODEL, PLAN]))
    try:
        write(model / name, data.draw(damaged(json.loads(texts[name]))))
        if name == PLAN:
            values = json.loads(texts[MODEL])
            values["sha256"] = {"weights": sha256(model / WEIGHTS), "plan": sha256(model / PLAN)}
            write(model / MODEL, values)
        found = tried(lambda: load_model(model), str(model), ModelError)
        assert found is None or isinstance(found, TrainedModel)
    finally:
        for name, text in texts.items():
            (model / name).write_text(text)


def write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))
