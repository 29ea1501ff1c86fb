"""Rows of disks and permissions: what is full, locked, or may only be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .bench import CASE, SET, Bench, Row
from .scans import evaluate, predict, train

Command = Callable[[Bench], Sequence[object]]
PHANTOMS = "phantom:cases=6,seed=3,spacing=6"
WIDE = (*SET, "--set", "model.widths=[16,32,64]")
"""Settings of a training whose checkpoints are larger than 1 MB."""


def predicted(*options: str, room: int = 0) -> Command:
    """Return a prediction that finds room for nothing."""

    def build(bench: Bench) -> Sequence[object]:
        bench.seems_free()
        case = bench.data("heads") / CASE
        return ["predict", bench.model, case, "--out", bench.tmpfs(room) / "out", *options]

    return build


def masks(bench: Bench) -> Sequence[object]:
    bench.seems_free()
    return ["predict", bench.model, bench.data("heads"), "--out", bench.tmpfs(0) / "out"]


def no_room_for_masks(bench: Bench) -> Sequence[object]:
    return ["predict", bench.model, bench.data("heads"), "--out", bench.tmpfs(0) / "out"]


def tables(bench: Bench) -> Sequence[object]:
    masks = bench.data("heads")
    return ["score", masks, masks, "--out", bench.tmpfs(0) / "out"]


def phantoms(bench: Bench) -> Sequence[object]:
    return ["phantom", bench.tmpfs(10_000) / "out", "--cases", "3"]


def no_room_for_a_run(bench: Bench) -> Sequence[object]:
    return ["train", "unet3d-binary", PHANTOMS, "--out", bench.tmpfs(800_000) / "RUN", *WIDE]


def cache(bench: Bench) -> Sequence[object]:
    bench.seems_free()
    return ["train", "unet3d-binary", PHANTOMS, "--out", bench.tmpfs(40_000) / "RUN", *SET]


def shared_cache(bench: Bench) -> Sequence[object]:
    bench.seems_free()
    place = f"data.cache={bench.tmpfs(40_000) / 'cache'}"
    return ["train", "unet3d-binary", PHANTOMS, "--out", bench.out, *SET, "--set", place]


def run_folder(bench: Bench, room: int = 0) -> Sequence[object]:
    bench.seems_free()
    place = f"data.cache={bench.folder / 'cache'}"
    run = bench.tmpfs(room) / "RUN"
    return ["train", "unet3d-binary", PHANTOMS, "--out", run, *WIDE, "--set", place]


def checkpoint(bench: Bench) -> Sequence[object]:
    return run_folder(bench, 500_000)


def full_log(bench: Bench) -> Sequence[object]:
    """Resume a run whose log goes to a full disk: the training itself goes on."""
    run = bench.copy(bench.model, "run")
    (run / "train.log").unlink()
    (run / "train.log").symlink_to("/dev/full")
    more = ["--set", "train.epochs=2", "--resume"]
    return ["train", "unet3d-binary", PHANTOMS, "--out", run, *more]


def under_a_file(bench: Bench) -> Sequence[object]:
    return ["predict", bench.model, bench.data("heads") / CASE, "--out", "/dev/full/out"]


def recipes(bench: Bench) -> Sequence[object]:
    return ["recipes"]


def scan_info(bench: Bench) -> Sequence[object]:
    bench.data("heads")
    return ["info", bench.folder / "data"]


FULL: list[Row] = [
    Row("full disk: mask (predict)", predicted()),
    Row("full disk: preview (predict)", predicted("--preview")),
    Row("full disk: probabilities (predict)", predicted("--probabilities")),
    Row("full disk: masks of four cases (predict)", masks),
    Row("full disk: seen before (predict)", no_room_for_masks),
    Row("full disk: tables (score)", tables),
    Row("full disk: phantoms (phantom)", phantoms),
    Row("full disk: seen before (train)", no_room_for_a_run),
    Row("full disk: cache (train)", cache),
    Row("full disk: shared cache (train)", shared_cache),
    Row("full disk: the run's folder (train)", run_folder, kept=("cache",)),
    Row("full disk: checkpoint (train)", checkpoint, kept=("cache", "full")),
    Row("full disk: log of a resumed run (train)", full_log, kept=("run",)),
    Row("full disk: stdout is /dev/full (recipes)", recipes, stdout="/dev/full"),
    Row("full disk: stdout is /dev/full (info)", scan_info, stdout="/dev/full"),
    Row("--out under /dev/full (predict)", under_a_file),
]


def unreadable(command: Callable[[Bench], Sequence[object]], file: str) -> Command:
    """Return a command of which one scan or mask may not be read."""

    def build(bench: Bench) -> Sequence[object]:
        bench.data("heads")
        bench.locked(bench.scan(file), mode=0o000)
        return command(bench)

    return build


def locked_folder(bench: Bench) -> Sequence[object]:
    data = bench.data("heads")
    bench.locked(data / CASE, mode=0o000)
    return ["info", data]


def score(bench: Bench) -> Sequence[object]:
    return ["score", *[bench.folder / "data"] * 2, "--out", bench.out]


def readonly(command: Callable[[Bench], Sequence[object]]) -> Command:
    """Return a command on data that may only be read."""

    def build(bench: Bench) -> Sequence[object]:
        data = bench.data("heads")
        bench.locked(*data.rglob("*"), mode=0o444)
        bench.locked(data, *(path for path in data.iterdir()), mode=0o555)
        return command(bench)

    return build


def locked_out(command: Callable[[Bench], Sequence[object]]) -> Command:
    """Return a command whose results have no place that may be written."""

    def build(bench: Bench) -> Sequence[object]:
        bench.data("heads")
        bench.locked(bench.folder, mode=0o555)
        return command(bench)

    return build


LOCKED: list[Row] = [
    Row("unreadable scan (predict)", unreadable(predict, "t2w"), ordinary=True),
    Row("unreadable scan (train)", unreadable(train, "t2w"), ordinary=True),
    Row("unreadable mask (evaluate)", unreadable(evaluate, "seg"), ordinary=True),
    Row("unreadable mask (score)", unreadable(score, "seg"), ordinary=True),
    Row("unreadable folder (info)", locked_folder, ordinary=True, stdout="/dev/null"),
    Row("read-only data (predict)", readonly(predict), ordinary=True),
    Row("read-only data (evaluate)", readonly(evaluate), ordinary=True),
    Row("read-only data (score)", readonly(score), ordinary=True),
    Row("read-only data (train)", readonly(train), ordinary=True),
    Row("no right to write (predict)", locked_out(predict), ordinary=True),
    Row("no right to write (train)", locked_out(train), ordinary=True),
    Row("no right to write (score)", locked_out(score), ordinary=True),
]
ROWS = (*FULL, *LOCKED)
