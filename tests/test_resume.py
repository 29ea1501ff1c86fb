"""A run that was interrupted at any moment goes on as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from glioscope.api.training import train
from glioscope.core.errors import ModelError, RecipeError, StorageError
from glioscope.models import build
from glioscope.models.trained import load_model
from glioscope.training.callbacks import read_log
from glioscope.training.checkpoints import SafeCheckpoint, newest_checkpoint
from glioscope.training.module import Segmenter
from tests.conftest import TINY

PHANTOM = "phantom:cases=6,seed=3,spacing=6"
FOUR = (*TINY, "train.epochs=4", "train.patience=null")


class Killed(BaseException):
    """Stands for the power that goes out."""


@contextmanager
def dying_in(epoch: int) -> Iterator[None]:
    """Let a training end in the first step of an epoch (counted from 0) without a goodbye."""
    start = Segmenter.training_step

    def step(self, batch, batch_idx):
        if self.current_epoch == epoch:
            raise Killed
        return start(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "training_step", step)
        with pytest.raises(Killed):
            yield


def run(folder: Path, overrides: tuple[str, ...] = (), **more) -> None:
    recipe, data = more.pop("recipe", "unet3d-binary"), more.pop("data", PHANTOM)
    train(recipe, data, folder, overrides=overrides, **more)


def require_equal(one: Path, other: Path) -> None:
    """The same weights and the same log, to the bit."""
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert (one / "plan.json").read_bytes() == (other / "plan.json").read_bytes()
    logs = [[{**row, "seconds": ""} for row in read_log(f / "log.csv")] for f in (one, other)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("schedule", ["none", "plateau", "cosine", "poly"])
def test_every_schedule_goes_on_where_it_stopped(tmp_path: Path, schedule: str) -> None:
    settings = (*FOUR, f"train.schedule={{name: {schedule}, patience: 0}}")
    whole, part = tmp_path / "whole", tmp_path / "part"
    run(whole, settings)
    with dying_in(2):
        run(part, settings)
    assert not (part / "model.json").exists()
    run(part, resume=True)
    assert len(read_log(part / "log.csv")) == 4
    require_equal(whole, part)


def test_dropout_goes_on_where_it_stopped(tmp_path: Path, monkeypatch) -> None:
    def with_dropout(*_: object, **__: object) -> nn.Module:
        arguments = {"widths": [8, 16]}
        unet = build("unet3d", inputs=3, outputs=1, arguments=arguments)
        return nn.Sequential(nn.Dropout(0.4), unet)

    monkeypatch.setattr("glioscope.training.run.build", with_dropout)
    monkeypatch.setattr("glioscope.training.run.empty_network", with_dropout)
    run(tmp_path / "whole", FOUR)
    torch.manual_seed(99)
    with dying_in(2):
        run(tmp_path / "part", FOUR)
    torch.manual_seed(7)
    run(tmp_path / "part", resume=True)
    require_equal(tmp_path / "whole", tmp_path / "part")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A folder of image/mask pairs, and encoder weights that stand for pretrained ones."""
    from glioscope.formats.phantom import write_phantoms

    folder = tmp_path_factory.mktemp("pretrained")
    write_phantoms(folder / "pairs", 8, 0, "pairs")
    arguments = {"encoder": ENCODER}
    encoder = build("unet", inputs=3, outputs=1, arguments=arguments).get_submodule("encoder")
    save_file(encoder.state_dict(), folder / "encoder.safetensors")
    return folder


ENCODER = "mobilenet_v2"
FLAT = (
    "data.size=[32,32]", "train.batch=2", "train.precision=fp32", "train.patience=null",
    "train.epochs=3", "train.freeze_epochs=2",
)  # fmt: skip


def run_2d(material: Path, weights: str, folder: Path, **more) -> None:
    model = f"model={{name: unet, encoder: {ENCODER}, pretrained: {weights}}}"
    overrides = () if more.get("resume") else (*FLAT, model)
    run(folder, overrides, recipe="unet-resnet34", data=material / "pairs", **more)


def test_unfreezing_goes_on_where_it_stopped(pretrained: Path, tmp_path: Path) -> None:
    weights = shutil.copy(pretrained / "encoder.safetensors", tmp_path)
    run_2d(pretrained, weights, tmp_path / "whole")
    for epoch in (1, 2):
        part = tmp_path / f"part{epoch}"
        weights = shutil.copy(pretrained / "encoder.safetensors", tmp_path)
        with dying_in(epoch):
            run_2d(pretrained, weights, part)
        Path(weights).unlink()  # with a checkpoint there is no need of it
        run_2d(pretrained, weights, part, resume=True)
        require_equal(tmp_path / "whole", part)


def test_a_frozen_backbone_stays_as_it_is_and_then_learns(pretrained: Path, tmp_path: Path) -> None:
    run_2d(pretrained, str(pretrained / "encoder.safetensors"), tmp_path / "run")
    before = load_file(pretrained / "encoder.safetensors")
    first = "features.0.0.weight"  # adapted to one channel
    states = {}
    for path in (tmp_path / "run" / "checkpoints").glob("epoch-*.ckpt"):
        state = SafeCheckpoint().load_checkpoint(path)["state_dict"]
        names = before.keys() - {first}
        states[path.stem] = [torch.equal(state[f"network.encoder.{n}"], before[n]) for n in names]
    assert all(states["epoch-00002"])  # weights and statistics
    assert sum(states["epoch-00003"]) < len(states["epoch-00003"]) / 4  # some get no gradient


def test_random_weights_are_never_frozen_and_that_is_said(
    pretrained: Path, tmp_path: Path, caplog
) -> None:
    with dying_in(0):
        run_2d(pretrained, "none", tmp_path / "run")
    assert "nothing is frozen" in caplog.text
    with pytest.raises(RecipeError, match="unet3d has no pretrained part"):
        run(tmp_path / "other", (*TINY, "train.freeze_epochs=1"))


def test_what_had_stopped_early_does_not_go_on(tmp_path: Path) -> None:
    settings = (*TINY, "train.epochs=9", "train.patience=1", "train.min_delta=1.0")
    whole, part = tmp_path / "whole", tmp_path / "part"
    run(whole, settings)
    assert len(read_log(whole / "log.csv")) == 2
    shutil.copytree(whole, part)
    for name in ("model.json", "model.safetensors", "plan.json"):  # killed before they were written
        (part / name).unlink()
    run(part, resume=True)
    require_equal(whole, part)


MOMENTS = {
    "in a step": ("glioscope.training.module.Segmenter.training_step", 8),
    "in the middle of a checkpoint": ("pathlib.Path.write_bytes", 4),
    "between two checkpoints": ("lightning.pytorch.Trainer.save_checkpoint", 4),
    "while thresholds are chosen": ("glioscope.training.run.tuned", 1),
}
"""Function, and the how-manieth call of it in which the process dies."""

DIE = """
import os, pkgutil, signal, sys
name, times = {function!r}, {times}
place, attribute = name.rsplit(".", 1)
import glioscope.training.run
holder = pkgutil.resolve_name(place)
start = getattr(holder, attribute)
calls = []
def dying(*args, **kwargs):
    calls.append(1)
    if len(calls) == times:
        if attribute == "write_bytes":
            start(args[0], b"half a checkpoint")
        os.kill(os.getpid(), signal.SIGKILL)
    return start(*args, **kwargs)
setattr(holder, attribute, dying)
from glioscope.api.training import train
train("unet3d-binary", {data!r}, {folder!r}, overrides={settings!r})
"""


@pytest.fixture(scope="module")
def ran_through(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("through") / "run"
    run(folder, FOUR)
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_process_loses_at_most_its_epoch(
    tmp_path: Path, ran_through: Path, moment: str
) -> None:
    function, times = MOMENTS[moment]
    code = DIE.format(
        function=function, times=times, data=PHANTOM, folder=str(tmp_path / "run"),
        settings=list(FOUR),
    )  # fmt: skip
    threads = str(torch.get_num_threads())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads},
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    epochs = len(read_log(tmp_path / "run" / "log.csv"))
    newest = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert newest is not None
    assert int(newest.stem.rpartition("-")[2]) >= epochs - 1
    run(tmp_path / "run", resume=True)
    require_equal(ran_through, tmp_path / "run")
    assert not list((tmp_path / "run").rglob(".*"))


def test_the_newest_whole_checkpoint_is_taken(tmp_path: Path, ran_through: Path, caplog) -> None:
    part = tmp_path / "run"
    with dying_in(3):
        run(part, FOUR)
    two, three = sorted((part / "checkpoints").glob("epoch-*.ckpt"))
    data = bytearray(three.read_bytes())
    data[-100] ^= 1  # a bit of a weight: safetensors alone would not notice
    three.write_bytes(data)
    assert newest_checkpoint(part / "checkpoints") == two
    run(part, resume=True)
    require_equal(ran_through, part)
    assert "its checksum is wrong" in caplog.text


def test_without_a_whole_checkpoint_nothing_is_overwritten(tmp_path: Path) -> None:
    part = tmp_path / "run"
    with dying_in(2):
        run(part, FOUR)
    for path in (part / "checkpoints").glob("epoch-*.ckpt"):
        path.write_bytes(path.read_bytes()[:1000])
    before = {p: p.stat().st_mtime_ns for p in part.rglob("*") if p.is_file()}
    with pytest.raises(ModelError, match="every checkpoint is damaged; expected a whole one"):
        run(part, resume=True)
    assert before == {p: p.stat().st_mtime_ns for p in part.rglob("*") if p.is_file()}


def test_a_run_killed_before_it_began_starts_anew(tmp_path: Path, ran_through: Path) -> None:
    part = tmp_path / "run"
    part.mkdir()
    (part / "splits.json").write_text("{}")
    (part / ".0123abcd.run.json").write_text("{")
    run(part, FOUR, resume=True)
    require_equal(ran_through, part)
    assert not (part / ".0123abcd.run.json").exists()
    with pytest.raises(StorageError, match="holds no run to resume"):
        run(tmp_path / "nowhere", resume=True)


def test_what_a_user_put_into_a_folder_stays_there(tmp_path: Path) -> None:
    (tmp_path / "splits.json").write_text('{"mine": 1}')
    with pytest.raises(StorageError, match="is not empty"):
        run(tmp_path, FOUR)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(StorageError, match="holds no run to resume"):
        run(tmp_path, FOUR, resume=True)
    assert (tmp_path / "splits.json").read_text() == '{"mine": 1}'


def test_a_stop_while_preparing_loses_nothing(tmp_path: Path, ran_through: Path) -> None:
    part = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glioscope.api.training.fit", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(part, FOUR)
    assert len(list((part / "cache").glob("*.json"))) == 5
    run(part, resume=True)
    require_equal(ran_through, part)


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_failure_takes_only_its_own_away(tmp_path: Path, monkeypatch) -> None:
    """A cache beside the run stays, and does not hide what went wrong."""

    def failing(*_: object) -> None:
        raise StorageError("somewhere", "went wrong")

    monkeypatch.setattr("glioscope.api.training.fit", failing)
    with pytest.raises(StorageError, match="went wrong"):
        run(tmp_path / "new" / "run", (*FOUR, f"data.cache={tmp_path}/new/cache"))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["cache"]


def test_lines_of_lost_epochs_go_before_the_first_step(tmp_path: Path) -> None:
    part = tmp_path / "run"
    with dying_in(3):
        run(part, FOUR)
    sorted((part / "checkpoints").glob("epoch-*.ckpt"))[-1].unlink()  # as if killed before it
    with dying_in(2):
        run(part, resume=True)
    assert [row["epoch"] for row in read_log(part / "log.csv")] == ["1", "2"]


def test_a_run_killed_while_preparing_can_be_resumed(
    tmp_path: Path, ran_through: Path, monkeypatch
) -> None:
    part = tmp_path / "run"
    code = DIE.format(
        function="glioscope.prepare.cache.prepare_image", times=3, data=PHANTOM, folder=str(part),
        settings=list(FOUR),
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False)
    assert done.returncode == -9
    with pytest.raises(StorageError, match="go on with --resume"):
        run(part, FOUR)
    run(part, resume=True)
    require_equal(ran_through, part)


def test_a_model_of_a_resumed_run_is_whole(ran_through: Path) -> None:
    assert load_model(ran_through).network() is not None
    kept = sorted(p.name for p in (ran_through / "checkpoints").iterdir())
    assert kept == ["best.ckpt", "epoch-00003.ckpt", "epoch-00004.ckpt"]
