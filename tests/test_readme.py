"""What the papers say is true: examples run, commands exist, links lead somewhere."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
import yaml

import glioscope
from glioscope.cli import app
from glioscope.core.errors import DataError
from glioscope.core.labels import SCHEMES
from glioscope.core.recipes import load_recipe, recipe_names
from glioscope.evaluation.tables import Row, SummaryRow
from glioscope.formats.opening import open_dataset
from glioscope.formats.sequences import SUFFIXES
from glioscope.losses.mixing import build_loss
from glioscope.metrics import metrics
from glioscope.models import build, check

ROOT = Path(__file__).resolve().parents[1]
README, CONTRIBUTING = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
)
PAPERS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md")
COMMANDS = typer.main.get_command(app).commands
SPACING = (1.0, 1.0, 1.0)


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """The words of every `glioscope VERB ...` in the README."""
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("glioscope ")]


# --- the README -----------------------------------------------------------------------------------


def test_the_python_example_runs(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tiny_model.name == "RUN"
    monkeypatch.chdir(tiny_model.parent)
    (example,) = blocks(README, "python")
    exec(compile(example, "README.md", "exec"), {})
    name, volume, unit = capsys.readouterr().out.split()
    assert name.startswith("BraTS-GLI-")
    assert float(volume) >= 0
    assert unit == "ml"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_parses(words: list[str]) -> None:
    verb, *arguments = words[1:]
    COMMANDS[verb].make_context(verb, arguments)


def test_every_verb_is_shown_and_is_a_function() -> None:
    assert set(COMMANDS) == {words[1] for words in commands()}
    assert set(COMMANDS) <= set(glioscope.__all__)
    for name in glioscope.__all__:  # also once the rooms train, evaluate, predict are imported
        assert callable(getattr(glioscope, name)), name


def test_names_are_the_code_s_own() -> None:
    for kind in (Row, SummaryRow):
        assert f"`{','.join(kind.__dataclass_fields__)}`" in README
    for name in (*recipe_names(), *SCHEMES):
        assert f"`{name}`" in README
    for word in (*metrics, *SUFFIXES):
        assert word in README or word in ("fla", "segm")


def test_settings_that_are_named_exist() -> None:
    for override in re.findall(r"`?(?:--set )?((?:data|train|model)\.[a-z.]+=[^`\s]+)", README):
        if "DIR" not in override and "pretrained" not in override:
            load_recipe("unet3d-binary", [override])


# --- the guide to new entries ---------------------------------------------------------------------


def examples() -> dict[str, tuple[str, str]]:
    """Room of each example in CONTRIBUTING, with its file name and its text."""
    pattern = r"`src/glioscope/(\w+)/([\w.-]+)`\n\n```(?:python|yaml)\n(.*?)```"
    found = re.findall(pattern, CONTRIBUTING, flags=re.DOTALL)
    return {room: (name, text) for room, name, text in found}


@pytest.fixture
def added(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The registry of a room with the guide's example put beside its modules."""
    room: str = request.param
    name, text = examples()[room]
    package = import_module(f"glioscope.{room}")
    folder = tmp_path / "added"
    folder.mkdir()
    (folder / name).write_text(text, encoding="utf-8")
    assert not (ROOT / "src" / "glioscope" / room / name).exists()
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    registry = getattr(package, room)
    before = set(registry._entries)
    yield registry
    for new in set(registry._entries) - before:
        if registry._entries[new].function.__module__.endswith(Path(name).stem):
            del registry._entries[new]
    sys.modules.pop(f"glioscope.{room}.{Path(name).stem}", None)


@pytest.mark.parametrize("added", ["losses"], indirect=True)
def test_the_loss_of_the_guide(added) -> None:
    assert "log-cosh-dice" in added
    loss = build_loss({"log-cosh-dice": {"weight": 1.0, "smooth": 1.0}}, "sigmoid")
    target = (torch.arange(2 * 4**3).reshape(1, 2, 4, 4, 4) % 3 == 0).float()
    good, bad = (loss((target - 0.5) * height, target) for height in (30, -30))
    assert 0 <= good < bad


@pytest.mark.parametrize("added", ["metrics"], indirect=True)
def test_the_metric_of_the_guide(added) -> None:
    entry = added["f2"]
    truth = np.zeros((4, 4, 4), bool)
    assert entry.function(truth, truth, SPACING).value == 1
    truth[:2] = True
    assert entry.function(truth, truth, SPACING).value == 1
    assert entry.function(~truth, truth, SPACING).value == entry.traits.worst
    assert entry.summary.endswith(".")


@pytest.mark.parametrize("added", ["models"], indirect=True)
def test_the_model_of_the_guide(added) -> None:
    assert added["dilated"].traits.dims == 3
    network = build("dilated", inputs=2, outputs=3, arguments={"width": 4})
    assert network(torch.zeros(1, 2, 5, 6, 7)).shape == (1, 3, 5, 6, 7)


@pytest.mark.parametrize("added", ["formats"], indirect=True)
def test_the_format_of_the_guide(added, tmp_path: Path) -> None:
    assert "archives" in added
    data = tmp_path / "data"
    data.mkdir()
    voxels = np.arange(27).reshape(3, 3, 3)
    for name in ("a", "b"):
        np.savez(data / f"{name}.npz", flair=voxels, mask=voxels % 5, affine=np.diag([2, 2, 2, 1]))
    dataset = open_dataset(data, "brats2024")
    assert (dataset.format, len(dataset.cases)) == ("archives", 2)
    case = dataset.cases[0]
    assert case.read(["flair"]).spacing == (2, 2, 2)
    assert case.read_mask(SCHEMES["brats2024"], case.grid()).array.dtype == np.uint8
    (data / "b.npz").write_bytes(b"PK broken")
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(data)


def test_the_recipe_of_the_guide(tmp_path: Path) -> None:
    name, text = examples()["recipes"]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    recipe = load_recipe(str(path))
    assert f"{recipe.name}.yaml" == name
    assert name.removesuffix(".yaml") not in recipe_names()
    check(recipe.model.name, recipe.model.arguments)
    build_loss(recipe.loss, "sigmoid")


# --- all papers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", PAPERS)
def test_links_lead_somewhere(paper: str) -> None:
    path = ROOT / paper
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == glioscope.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {glioscope.__version__}" in changes


def test_the_picture_is_small() -> None:
    assert (ROOT / "docs" / "phantom.png").stat().st_size < 300_000


def test_the_drawing_of_the_house_knows_every_module() -> None:
    drawing = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "glioscope"
    for path in package.glob("*/*.py"):
        if path.stem != "__init__":
            row = next(line for line in drawing.splitlines() if f"| `{path.parent.name}/`" in line)
            assert f"`{path.stem}`" in row, path
