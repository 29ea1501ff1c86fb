"""The folder is the registry: one new file is one new entry."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import glioscope.formats
import glioscope.losses
import glioscope.metrics
import glioscope.models
from glioscope.core.errors import RecipeError, UnknownName
from glioscope.core.registry import Registry
from glioscope.formats import formats
from glioscope.losses import losses
from glioscope.metrics import metrics
from glioscope.models import models

MODULES = {
    glioscope.losses: """
from glioscope.losses import register

@register()
def squared_error(logits, target, *, activation):
    '''Return the mean squared error.'''
    return ((logits.sigmoid() - target) ** 2).mean()
""",
    glioscope.metrics: """
from glioscope.metrics import Score, register

@register(rule="no rule is needed")
def agreement(prediction, truth, spacing):
    '''Return the share of equal voxels.'''
    return Score(float((prediction == truth).mean()))
""",
    glioscope.models: """
from torch import nn
from glioscope.models import register

@register(dims=3, divisor=lambda _: 1)
def one_convolution(*, inputs, outputs, kernel=3):
    '''One convolution.'''
    return nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2)
""",
    glioscope.formats: """
import numpy as np
from dataclasses import dataclass
from pathlib import Path
from glioscope.core.case import Case
from glioscope.core.dataset import Dataset
from glioscope.core.labels import SCHEMES
from glioscope.core.volume import Volume
from glioscope.formats import register

@dataclass(frozen=True)
class Array:
    path: Path
    name: str
    identity = "array"

    def grid(self):
        return self.read().grid

    def read(self):
        stored = np.load(self.path / f"{self.name}.npy")
        return Volume(stored[None], (self.name,))

@register(claims=lambda path: (path / "arrays.txt").exists(), rank=1)
def arrays(path, labels):
    '''NumPy arrays, one folder a case.'''
    cases = [
        Case(f.name, f.name, f, {n: Array(f, n) for n in ("t1", "t2", "flair")}, Array(f, "mask"))
        for f in sorted(path.iterdir()) if f.is_dir()
    ]
    return Dataset(path, "arrays", tuple(cases), SCHEMES["binary"])
""",
}


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module for each registry, in folders beside the package's own."""
    for package, source in MODULES.items():
        folder = tmp_path / package.__name__
        folder.mkdir()
        (folder / "added_by_test.py").write_text(source)
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    yield
    for package in MODULES:
        sys.modules.pop(f"{package.__name__}.added_by_test", None)
    for registry, name in (
        (losses, "squared-error"),
        (metrics, "agreement"),
        (models, "one-convolution"),
        (formats, "arrays"),
    ):
        registry._entries.pop(name, None)


def test_new_modules_are_picked_up_by_a_whole_training(plugins, tmp_path: Path) -> None:
    from glioscope.api.evaluating import evaluate
    from glioscope.api.training import train

    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    for index in range(4):
        folder = data / f"case{index}"
        folder.mkdir(parents=True)
        mask = np.zeros((8, 8, 8), np.uint8)
        mask[2:5, 2:5, 2:5] = 1
        np.save(folder / "mask.npy", mask)
        for name in ("t1", "t2", "flair"):
            image = rng.normal(10, 1, mask.shape) + 10 * mask
            np.save(folder / f"{name}.npy", image.astype(np.float32))
    (data / "arrays.txt").touch()
    overrides = [
        "model={name: one-convolution, kernel: 1}",
        "loss=squared-error",
        "data.size=[8,8,8]",
        "train.epochs=1",
    ]
    model = train("unet3d-binary", data, tmp_path / "run", overrides=overrides)
    assert model.provenance.data["format"] == "arrays"
    assert model.plan.network == "one-convolution"
    evaluation = evaluate(tmp_path / "run", data, tmp_path / "scores")
    assert evaluation.mean("tumour", "agreement") is not None
    assert evaluation.mean("all", "loss") is not None


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match=r"loss: 'dise' is unknown; did you mean dice\?"):
        losses["dise"]


def test_two_functions_of_one_name_are_an_error() -> None:
    registry: Registry = Registry("thing", "glioscope.losses", dict)

    def thing() -> None: ...

    registry.register()(thing)
    other = type(thing)(thing.__code__, {}, "thing")
    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="registered twice"):
        registry.register()(other)


def test_arguments_that_a_network_does_not_take_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"model.width: .* did you mean widths\?"):
        glioscope.models.check("unet3d", {"width": 3})
    with pytest.raises(RecipeError, match="takes no 'inputs'"):
        glioscope.models.check("unet3d", {"inputs": 3})
