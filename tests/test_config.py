"""Recipes are read strictly, and say what is wrong in one line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glioscope.core.errors import GlioscopeError, RecipeError, UnknownName
from glioscope.core.recipes import load_recipe, recipe_names
from glioscope.losses.mixing import build_loss
from glioscope.models import check


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.about
    check(recipe.model.name, recipe.model.arguments)
    build_loss(recipe.loss, "softmax" if recipe.data.targets == "classes" else "sigmoid")


def test_the_published_settings() -> None:
    volume = load_recipe("unet3d-binary")
    assert volume.data.channels == ["t1", "t2", "flair"]
    assert volume.data.size == [128, 128, 128]
    assert volume.data.targets == "binary"
    assert volume.data.augment.flip > 0
    assert volume.model.arguments == {"widths": [16, 32, 64, 128, 256]}
    assert (volume.train.optimizer, volume.train.lr, volume.train.batch) == ("adam", 1e-4, 1)
    assert (volume.train.epochs, volume.train.patience, volume.train.min_delta) == (35, 5, 1e-4)
    assert volume.train.monitor == "dice"
    assert volume.predict.threshold == 0.5
    slices = load_recipe("unet-resnet34")
    assert slices.model.arguments == {"encoder": "resnet34", "pretrained": "imagenet"}
    assert slices.loss == {"bce": 1}
    assert slices.data.size == [256, 256]
    assert (slices.train.optimizer, slices.train.lr, slices.train.batch) == ("adam", 1e-3, 8)
    assert slices.train.monitor == "loss"


def test_overrides() -> None:
    recipe = load_recipe(
        "unet3d-binary",
        [
            "train.epochs=5",
            "loss=dice+bce",
            "data.augment.noise=0.2",
            "train.patience=null",
            "train.lr=1e-4",
        ],
    )
    assert recipe.train.epochs == 5
    assert recipe.loss == {"dice": 1, "bce": 1}
    assert recipe.data.augment.noise == 0.2
    assert recipe.train.patience is None
    assert recipe.train.lr == 1e-4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.epoch=5", r"train.epoch is unknown, did you mean epochs\?"),
        ("trian.epochs=5", r"trian is unknown, did you mean train\?"),
        ("train.epochs=many", r"train.epochs: .*integer \(found 'many'\)"),
        ("train.epochs=0", r"train.epochs: .*greater than or equal to 1"),
        ("train.lr=-1", r"train.lr"),
        ("data.size=[64,64]", r"size \[64, 64\] needs 3 numbers"),
        ("data.spacing=[1,1,1]", r"size and spacing both fix the grid"),
        ("data.patch=[256,256,256]", r"patch .* is larger than size"),
        ("data.targets=all", r"data.targets"),
        ("data.normalise=zscor", r"data.normalise"),
        ("train.seed=-1", r"train.seed"),
        ("train.epochs", r"--set train.epochs: no value"),
        ("train.epochs=[", r"--set .*: is not YAML"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe("unet3d-binary", [override])
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"did you mean unet3d-binary\?"):
        load_recipe("unet3d-binry")


@pytest.mark.parametrize("text", ["", "- a\n- b", "name: x", "{", "\x00", "a: &a [*a]"])
def test_a_wrong_file_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_override_ever_escapes_the_error_tree(key: str, value: str) -> None:
    with suppress(GlioscopeError):
        load_recipe("unet-resnet34", [f"{key}={value}"])
