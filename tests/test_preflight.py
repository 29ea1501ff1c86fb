"""What a work will take is said before it starts; where memory is short, windows get smaller."""

from __future__ import annotations

import errno
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from glioscope.api.predicting import predict
from glioscope.api.training import train
from glioscope.core import machine
from glioscope.core.errors import DataError, DiskFull, GlioscopeError, ModelError, StorageError
from glioscope.core.plan import Plan
from glioscope.formats.opening import open_dataset
from glioscope.models import build
from glioscope.models.trained import load_model
from glioscope.prediction.cost import cost_of, forecast, memory_for, seconds_per_flop
from glioscope.prediction.engines import torch_engine
from glioscope.prediction.predictor import Predictor
from glioscope.prediction.window import infer, passes, ways_down
from glioscope.training.callbacks import Stopped
from glioscope.training.failures import explained
from glioscope.training.module import Diverged
from tests.conftest import TINY

PHANTOM = "phantom:cases=6,seed=3,spacing=6"


def test_the_cost_of_one_convolution_is_known() -> None:
    layer = nn.Conv2d(2, 8, 3, padding=1, bias=False)
    cost = cost_of(layer, (3, 2, 16, 16), mixed=True)
    assert cost.flops == 2 * 3 * 8 * 2 * 9 * 16 * 16
    assert cost.memory == 4 * 3 * (2 + 8) * 16 * 16  # its input and its output
    step = cost_of(layer, (3, 2, 16, 16), mixed=True, training=True)
    assert step.flops == 2 * cost.flops  # the image itself needs no gradient
    assert step.memory > cost.memory
    deep = nn.Sequential(*[nn.Conv2d(2, 2, 1) for _ in range(9)])
    alive = cost_of(deep, (1, 2, 32, 32), mixed=True).memory
    assert alive <= 4 * 3 * 2 * 32 * 32  # what is not needed any more does not count


def test_counting_and_timing_leave_the_network_as_it_is() -> None:
    network = build("unet3d", inputs=2, outputs=1, arguments={"widths": [4, 8]}).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    shape, device = (1, 2, 16, 16, 16), torch.device("cpu")
    assert seconds_per_flop(network, shape, 2, device, None, training=True) > 0
    assert cost_of(network, shape, mixed=False, training=True).flops > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
    assert network.training
    assert all(p.grad is None for p in network.parameters())


def test_what_a_training_takes_is_said_and_right(tmp_path: Path, caplog) -> None:
    train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=TINY)
    (said,) = re.findall(r"about (\d+) MB of memory .*, (\d+) MB of disk", caplog.text)
    cache, checkpoints = (
        sum(f.stat().st_size for f in (tmp_path / "run" / name).iterdir())
        for name in ("cache", "checkpoints")
    )
    assert cache + checkpoints <= int(said[1]) * 1e6 <= 3 * (cache + checkpoints) + 2e6


def test_too_little_disk_is_said_before_work_starts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("glioscope.training.preflight.free_disk", lambda folder: 10_000)
    with pytest.raises(StorageError, match=r"1 MB of disk are free; expected about \d+ MB; free"):
        train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=TINY)
    assert not (tmp_path / "run").exists()


def test_too_little_memory_is_said_before_work_starts(tmp_path: Path, monkeypatch, caplog) -> None:
    place = "glioscope.training.preflight.free_memory_on"
    monkeypatch.setattr(place, lambda device: 100_000)
    with pytest.raises(ModelError, match=r"1 MB of memory are free; expected about .* lower data"):
        train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=TINY)
    assert not (tmp_path / "run").exists()
    (needed,) = re.findall(r"about (\d+) MB of memory", caplog.text)
    monkeypatch.setattr(place, lambda device: int(0.9e6 * int(needed)))  # this might just do
    train("unet3d-binary", PHANTOM, tmp_path / "run", overrides=(*TINY, "train.epochs=1"))
    assert "memory may not suffice" in caplog.text


def test_prediction_says_what_it_takes(
    tmp_path: Path, tiny_model: Path, monkeypatch, caplog
) -> None:
    scan = write_scan(tmp_path)
    caplog.set_level("INFO", "glioscope")
    predict(tiny_model, [scan], tmp_path / "out")
    assert re.search(r"1 cases: about \d+ s in the network, \d+ MB of memory", caplog.text)
    monkeypatch.setattr("glioscope.api.loading.free_disk", lambda folder: 10)
    with pytest.raises(StorageError, match="choose another --out"):
        predict(tiny_model, [scan], tmp_path / "other")
    assert not (tmp_path / "other").exists()


def write_scan(folder: Path) -> Path:
    from glioscope.formats.phantom import write_phantoms

    write_phantoms(folder / "data", 1, 0, "brats")
    return next((folder / "data").iterdir())


@pytest.fixture(scope="module")
def wide(tiny_model: Path) -> tuple[Plan, nn.Module]:
    """A plan whose window is the whole head, 64 voxels wide, and its network."""
    model = load_model(tiny_model)
    return model.plan.model_copy(update={"size": (64, 64, 64)}), model.network()


def test_where_memory_is_short_windows_get_smaller(wide: tuple[Plan, nn.Module]) -> None:
    plan, network = wide
    engine = torch_engine(network, "cpu", None)
    case = open_dataset(PHANTOM).cases[0]
    asked: list[tuple[int, ...]] = []

    def fits(shape) -> bool:
        asked.append(tuple(shape[2:]))
        return bool(np.prod(shape[2:]) <= 32 * 32 * 64)

    short = Predictor(plan, engine, fits).segment(case)
    assert asked == [(64, 64, 64), (32, 64, 64), (32, 32, 64)]
    assert short.notes[-1] == "memory was short: windows of 32x32x64 in place of 64x64x64"
    windows = plan.model_copy(update={"window": (32, 32, 64)})
    same = Predictor(windows, engine).segment(case)
    assert same.notes == short.notes[:-1]
    np.testing.assert_array_equal(same.mask.array, short.mask.array)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] can't allocate memory: 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
)
def test_a_network_that_runs_out_of_memory_is_tried_again(wide, error: Exception) -> None:
    plan, network = wide
    engine = torch_engine(network, "cpu", None)

    def forward(batch):
        if batch[0, 0].size > 32**3:
            raise error
        return engine(batch)

    case = open_dataset(PHANTOM).cases[0]
    assert "windows of 32x32x32" in Predictor(plan, forward).segment(case).notes[-1]

    def never(batch):
        raise error

    with pytest.raises(DataError, match="memory"):
        Predictor(plan, never).segment(case)


def test_another_failure_of_the_network_is_not_taken_for_it(wide) -> None:
    calls = []

    def broken(batch):
        calls.append(batch.shape)
        raise RuntimeError("weights are on another device")

    with pytest.raises(DataError, match="weights are on another device"):
        Predictor(wide[0], broken).segment(open_dataset(PHANTOM).cases[0])
    assert len(calls) == 1


@pytest.mark.parametrize("dims", [2, 3])
def test_passes_are_those_that_are_made(wide, dims: int) -> None:
    update = {"dims": dims, "window": (16, 24, 16)[:dims], "size": None, "divisor": 8}
    plan = wide[0].model_copy(update=update)
    for shape in ((3, 40, 30, 17), (3, 10, 24, 9)):
        seen = []

        def forward(batch, seen=seen):
            seen.append(batch.shape)
            return np.zeros((len(batch), 1, *batch.shape[2:]), np.float32)

        infer(forward, np.zeros(shape, np.float32), plan)
        one, count = passes(plan, shape)
        assert seen[0] == one
        assert len(seen) == count


def test_windows_shrink_to_an_end(wide) -> None:
    shape = (3, 200, 100, 60)
    sides = [passes(plan, shape)[0][2:] for plan, _ in ways_down(wide[0], shape)]
    assert sides[:3] == [(200, 100, 60), (100, 100, 60), (50, 100, 60)]
    assert all(np.prod(b) < np.prod(a) for a, b in pairwise(sides))
    assert min(sides[-1]) >= 32


def test_a_2d_network_sees_fewer_slices_before_it_sees_less_of_them(wide) -> None:
    plan = wide[0].model_copy(update={"dims": 2, "size": None, "divisor": 16})
    shape = (3, 64, 64, 20)
    seen = [passes(way, shape, at_once)[0] for way, at_once in ways_down(plan, shape)]
    assert [batch for batch, *_ in seen] == [8, 4, 2, 1, 1, 1]
    assert [tuple(space) for _, _, *space in seen] == [(64, 64)] * 4 + [(32, 64), (32, 32)]
    torch.manual_seed(0)
    engine = torch_engine(build("unet", inputs=3, outputs=1, arguments={}), "cpu", None)
    image = np.random.default_rng(0).normal(size=(3, 64, 64, 5)).astype(np.float32)
    whole, single = (infer(engine, image, plan, at_once) for at_once in (8, 1))
    np.testing.assert_allclose(single, whole, atol=1e-2)  # of logits up to 10


def test_memory_at_hand_decides(wide, monkeypatch) -> None:
    engine = torch_engine(wide[1], "cpu", None)
    needed = cost_of(wide[1], (1, 3, 24, 24, 24), mixed=False).memory
    for free, enough in ((needed + 1, True), (needed - 1, False)):
        monkeypatch.setattr("glioscope.prediction.cost.free_memory", lambda free=free: free)
        assert memory_for(engine)((1, 3, 24, 24, 24)) is enough


def test_more_cases_take_longer_and_no_more_memory(wide) -> None:
    engine = torch_engine(wide[1], "cpu", None)
    grid = open_dataset(PHANTOM).cases[0].grid()
    one, four = (forecast(engine, wide[0], [grid] * n) for n in (1, 4))
    assert four.seconds > one.seconds
    assert four.memory == one.memory


@pytest.mark.parametrize("line", ["0::/job/step", "4:cpu,memory:/job/step"])
def test_a_job_counts_and_not_the_machine_round_it(tmp_path: Path, monkeypatch, line: str) -> None:
    v1 = "memory" in line
    root = tmp_path / "memory" if v1 else tmp_path
    limit, used, idle = machine._FILES[1 if v1 else 2]
    (root / "job" / "step").mkdir(parents=True)
    (tmp_path / "own").write_text(f"1:name=systemd:/other\n{line}\n")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    whole = machine.free_memory()
    for group, most in ((root / "job", "1000"), (root / "job" / "step", "max")):
        (group / limit).write_text(f"{most}\n")
        (group / used).write_text("600\n")
        (group / "memory.stat").write_text(f"anon 400\n{idle} 150\n")
    assert machine.free_memory() == 550 < whole  # files that are mapped can be given up
    (root / "job" / "step" / limit).write_text("500\n")
    assert machine.free_memory() == 50
    (tmp_path / "own").unlink()
    assert machine.free_memory() > 1000


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert machine.free_disk(tmp_path / "not" / "yet" / "there") > 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "memory ran out (MemoryError); lower train.batch"),
        (torch.OutOfMemoryError("CUDA out of memory."), "memory ran out (CUDA out of memory.)"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), "was killed"),
        (ProcessExitedException("process 1 ended with SIGKILL", 1, 1, 9), "ended with SIGKILL"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    ],
)
def test_what_ends_a_training_is_one_line(tmp_path: Path, error: Exception, said: str) -> None:
    with pytest.raises(GlioscopeError, match=re.escape(said)) as caught, explained(tmp_path):
        raise error
    assert str(tmp_path) in str(caught.value)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch-00007.ckpt").touch()
    (tmp_path / "log.csv").touch()
    with (
        pytest.raises(GlioscopeError, match=r"--resume .*\(7 epochs are safe"),
        explained(tmp_path),
    ):
        raise error
    with pytest.raises(RuntimeError, match="sizes do not match"), explained(tmp_path):
        raise RuntimeError("sizes do not match")


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ("glioscope.training.module.Diverged: epoch 4: the validation loss is ...", Diverged),
        ("glioscope.core.errors.DiskFull: x/e.ckpt: the disk is full; free some space", DiskFull),
        ("glioscope.training.callbacks.Stopped", Stopped),
        ("glioscope.core.errors.DataError: a.nii: is damaged", GlioscopeError),
        ("ValueError: what else there is", RuntimeError),
    ],
)
def test_errors_of_other_processes_keep_their_kind(tmp_path: Path, last: str, kind: type) -> None:
    (tmp_path / "log.csv").touch()
    with pytest.raises(kind) as caught, explained(tmp_path):
        raise ProcessRaisedException(f"-- Process 1 terminated\nTraceback ...\n{last}\n", 1, 9)
    if kind is DiskFull:
        assert "go on with --resume" in str(caught.value)
    if kind is Diverged:
        assert caught.value.epoch == 4
