"""Rows of models and runs that were changed, damaged or made to harm."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from . import spoil
from .bench import CASE, SET, Bench, Row

Change = Callable[[Path], object]
Command = Callable[[Bench], Sequence[object]]
WEIGHTS, PLAN, MODEL = "model.safetensors", "plan.json", "model.json"
DATA = "phantom:cases=6,seed=3,spacing=6"
"""What the model of the bench was trained on."""


def predict(bench: Bench, model: Path) -> Sequence[object]:
    return ["predict", model, bench.root / "clean" / "heads" / CASE, "--out", bench.out]


def info(bench: Bench, model: Path) -> Sequence[object]:
    return ["info", model]


def spoiled(name: str, change: Change, verbs: str = "predict") -> list[Row]:
    """Return a row for each verb: a copy of the model is spoiled."""
    commands = {"predict": predict, "info": info}

    def build(verb: str) -> Command:
        def make(bench: Bench) -> Sequence[object]:
            model = bench.copy(bench.model, "model")
            change(model)
            return commands[verb](bench, model)

        return make

    return [Row(f"{name} ({verb})", build(verb)) for verb in verbs.split()]


def flipped(name: str) -> Change:
    """Return a change of one byte in the middle of a file."""

    def change(model: Path) -> None:
        content = bytearray((model / name).read_bytes())
        content[len(content) // 2] ^= 1
        (model / name).write_bytes(content)

    return change


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Return a change of a json, with the hash that belongs to it."""

    def edit(model: Path) -> None:
        values = json.loads((model / name).read_text())
        change(values)
        (model / name).write_text(json.dumps(values))
        if name != MODEL:
            sign(model)

    return edit


def sign(model: Path) -> None:
    """Make the hashes in `model.json` those of the files, as somebody who means harm would."""
    values = json.loads((model / MODEL).read_text())
    for key, name in (("weights", WEIGHTS), ("plan", PLAN)):
        values["sha256"][key] = hashlib.sha256((model / name).read_bytes()).hexdigest()
    (model / MODEL).write_text(json.dumps(values))


def content(name: str, text: str) -> Change:
    return lambda model: (model / name).write_text(text)


class Trap:
    """A pickle that makes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def plant(path: Path, sprung: Path, *, by_torch: bool) -> None:
    """Put a pickle in place of a file."""
    if by_torch:
        torch.save({"state_dict": Trap(sprung)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(sprung)))


def trapped(*, by_torch: bool) -> Change:
    def change(model: Path) -> None:
        plant(model / WEIGHTS, model.parent / "sprung", by_torch=by_torch)
        sign(model)

    return change


def other_network(model: Path) -> None:
    weights = load_file(model / WEIGHTS)
    weights.pop(sorted(weights)[0])
    save_file(weights, model / WEIGHTS)
    sign(model)


def without(*keys: str) -> Callable[[dict[str, Any]], object]:
    def change(values: dict[str, Any]) -> None:
        for key in keys:
            del values[key]

    return change


MODELS: list[Row] = [
    *spoiled("one byte changed in the weights", flipped(WEIGHTS), verbs="predict info"),
    *spoiled("one byte changed in the plan", flipped(PLAN)),
    *spoiled("a model from a newer version", edited(MODEL, lambda v: v.update(format=99)),
             verbs="predict info"),
    *spoiled("a pickle in place of the weights, by torch", trapped(by_torch=True)),
    *spoiled("a pickle in place of the weights", trapped(by_torch=False)),
    *spoiled("weights of another network", other_network),
    *spoiled("weights are missing", lambda model: spoil.removed(model / WEIGHTS)),
    *spoiled("the plan is missing", lambda model: spoil.removed(model / PLAN)),
    *spoiled("model.json is no JSON", content(MODEL, "{"), verbs="predict info"),
    *spoiled("model.json is a list", content(MODEL, "[]")),
    *spoiled("model.json lacks keys", edited(MODEL, without("recipe", "labels"))),
    *spoiled("model.json with an unknown key", edited(MODEL, lambda v: v.update(x=1))),
    *spoiled("the plan lacks a key", edited(PLAN, without("targets"))),
    *spoiled("the plan names an unknown network", edited(PLAN, lambda v: v.update(network="vit"))),
]  # fmt: skip


def resumed(change: Change, *, epochs: int = 3, data: str = DATA) -> Command:
    """Return the resumption of a run that was spoiled."""

    def build(bench: Bench) -> Sequence[object]:
        run = bench.copy(bench.model, "run")
        change(run)
        more = ["--set", f"train.epochs={epochs}", "--resume"]
        return ["train", "unet3d-binary", data, "--out", run, *more]

    return build


def checkpoint(change: Change) -> Command:
    """Return the resumption of a run of which every last checkpoint was spoiled."""

    def everywhere(run: Path) -> None:
        for path in (run / "checkpoints").glob("*"):
            if path.name.startswith(("last", "previous", "epoch")):
                change(path)

    return resumed(everywhere)


def pickled(path: Path) -> None:
    plant(path, path.parents[2] / "sprung", by_torch=True)


def nothing(bench: Bench) -> Sequence[object]:
    return ["train", "unet3d-binary", DATA, "--out", bench.out, *SET, "--resume"]


def changed_setting(bench: Bench) -> Sequence[object]:
    run = bench.copy(bench.model, "run")
    more = ["--set", "train.lr=1", "--resume"]
    return ["train", "unet3d-binary", DATA, "--out", run, *more]


def another_recipe(bench: Bench) -> Sequence[object]:
    run = bench.copy(bench.model, "run")
    return ["train", "unet-resnet34", DATA, "--out", run, "--resume"]


RUNS: list[Row] = [
    Row("--resume of nothing (train)", nothing),
    Row("--resume with another setting (train)", changed_setting),
    Row("--resume with another recipe (train)", another_recipe),
    Row("--resume with other data (train)",
        resumed(lambda run: None, data="phantom:cases=6,spacing=6")),
    Row("--resume from a pickle (train)", checkpoint(pickled)),
    Row("--resume from a truncated checkpoint (train)", checkpoint(spoil.cut)),
    Row("--resume with run.json damaged (train)", resumed(content("run.json", "{"))),
    Row("--resume with run.json of another kind (train)",
        resumed(content("run.json", "{}"))),
    Row("--resume without splits.json (train)",
        resumed(lambda run: spoil.removed(run / "splits.json"))),
]  # fmt: skip
ROWS = (*MODELS, *RUNS)
