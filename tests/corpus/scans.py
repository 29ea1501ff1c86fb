"""Rows of volumes: what may be wrong with the scans and masks of a case."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from . import spoil
from .bench import CASE, SET, Bench, Row
from .spoil import Spoil

SCAN = f"{{folder}}/data/{CASE}/{CASE}-t2w.nii.gz"
PLAIN = SCAN.removesuffix(".gz")
MASK = f"{{folder}}/data/{CASE}/{CASE}-seg.nii.gz"
DATA, HOME = "{folder}/data", f"{{folder}}/data/{CASE}"
AGAIN = "fetch the file again from its source"

Command = Callable[[Bench], Sequence[object]]


def predict(bench: Bench) -> Sequence[object]:
    return ["predict", bench.model, bench.folder / "data" / CASE, "--out", bench.out]


def predict_all(bench: Bench) -> Sequence[object]:
    return ["predict", bench.model, bench.folder / "data", "--out", bench.out]


def evaluate(bench: Bench) -> Sequence[object]:
    return ["evaluate", bench.model, bench.folder / "data", "--out", bench.out]


def train(bench: Bench) -> Sequence[object]:
    return ["train", "unet3d-binary", bench.folder / "data", "--out", bench.out, *SET]


def info(bench: Bench) -> Sequence[object]:
    return ["info", bench.folder / "data"]


def score(bench: Bench) -> Sequence[object]:
    """Score the masks against the clean ones."""
    truth = bench.root / "clean" / "heads"
    return ["score", truth, bench.folder / "data", "--out", bench.out]


ALL: dict[str, Command] = {"predict": predict, "evaluate": evaluate, "train": train}
MASKED: dict[str, Command] = {"evaluate": evaluate, "train": train, "score": score}


def spoiled(
    name: str, change: Spoil, verbs: str = "predict evaluate train", file: str = "t2w"
) -> list[Row]:
    """Return a row for each verb: one file of one of four cases is spoiled."""

    def build(command: Command) -> Callable[[Bench], Sequence[object]]:
        def make(bench: Bench) -> Sequence[object]:
            bench.data("heads")
            change(bench.scan(file))
            return command(bench)

        return make

    commands = {**ALL, "score": score, "info": info, "predict all": predict_all}
    return [Row(f"{name} ({verb})", build(commands[verb])) for verb in verbs.split()]


def twice(path: Path) -> None:
    shutil.copy(path, path.with_name(f"{CASE}-t2.nii.gz"))


CHANNELS: list[Row] = [
    *spoiled("missing modality", spoil.removed),
    *spoiled("a folder named like a scan", spoil.directory, verbs="predict"),
    *spoiled("two files that claim one modality", twice, verbs="predict train info"),
    *spoiled("modality of another shape", spoil.smaller),
    *spoiled("same shape, another affine", spoil.shifted, verbs="predict evaluate"),
]
FILES: list[Row] = [
    *spoiled("truncated .nii.gz", spoil.cut),
    *spoiled("text named .nii.gz", spoil.text, verbs="predict evaluate"),
    *spoiled("text named .nii", spoil.unpacked(spoil.text), verbs="predict"),
    *spoiled("empty .nii.gz", spoil.empty, verbs="predict evaluate"),
    *spoiled("empty .nii", spoil.unpacked(spoil.empty), verbs="predict"),
    *spoiled("truncated .nii", spoil.unpacked(spoil.cut), verbs="predict"),
    *spoiled("gzip of garbage", spoil.packed_garbage, verbs="predict evaluate"),
]
VOXELS: list[Row] = [
    *spoiled("NaN", spoil.with_value(float("nan"))),
    *spoiled("infinity", spoil.with_value(float("-inf")), verbs="predict evaluate"),
    *spoiled("all zero", spoil.constant(0)),
    *spoiled("constant", spoil.constant(7), verbs="predict evaluate"),
    *spoiled("4D with two frames", spoil.frames, verbs="predict evaluate"),
    *spoiled("singular affine", spoil.singular, verbs="predict evaluate"),
    *spoiled("sheared affine", spoil.sheared, verbs="predict evaluate"),
]
MASKS: list[Row] = [
    *spoiled("truncated mask", spoil.cut, file="seg", verbs="evaluate train score"),
    *spoiled(
        "mask with unknown labels",
        spoil.voxels(lambda a: a * 3),
        file="seg",
        verbs="evaluate train",
    ),
    *spoiled("mask with unknown labels", spoil.voxels(lambda a: a * 3), file="seg", verbs="score"),
    *spoiled(
        "mask with fractions", spoil.with_value(0.5), file="seg", verbs="evaluate train score"
    ),
    *spoiled("mask with negative values", spoil.with_value(-1), file="seg", verbs="train"),
    *spoiled("mask of another size", spoil.smaller, file="seg", verbs="evaluate train"),
    *spoiled("mask of another size", spoil.smaller, file="seg", verbs="score"),
    *spoiled("mask with another affine", spoil.shifted, file="seg", verbs="evaluate"),
    *spoiled("mask with another affine", spoil.shifted, file="seg", verbs="score"),
]


def huge(suffix: str) -> Row:
    def build(bench: Bench) -> Sequence[object]:
        bench.data("heads")
        spoil.promise(bench.scan())
        if suffix == ".nii":
            bench.scan().write_bytes(gzip.decompress(bench.scan().read_bytes()))
            bench.scan().rename(bench.scan().with_suffix(""))
        return predict(bench)

    return Row(f"header of 30000^3 voxels, {suffix} (predict)", build, memory=2**26)


def no_masks(bench: Bench) -> Sequence[object]:
    for path in bench.data("heads").rglob("*-seg.nii.gz"):
        path.unlink()
    return train(bench)


def no_tumour(bench: Bench) -> Sequence[object]:
    for path in bench.data("heads").rglob("*-seg.nii.gz"):
        spoil.constant(0)(path)
    return train(bench)


def nameless_no_tumour(bench: Bench) -> Sequence[object]:
    """Empty masks of cases whose names tell no label scheme."""
    for number, folder in enumerate(sorted(bench.data("heads").iterdir())):
        for path in folder.iterdir():
            path.rename(path.with_name(path.name.replace(folder.name, f"p{number}")))
        for path in folder.glob("*-seg.nii.gz"):
            spoil.constant(0)(path)
        folder.rename(folder.with_name(f"p{number}"))
    return train(bench)


def some_cases(bench: Bench) -> Sequence[object]:
    """Spoil one of four cases, predict all."""
    bench.data("heads")
    spoil.cut(bench.scan())
    return predict_all(bench)


def two_cases(command: Command) -> Callable[[Bench], Sequence[object]]:
    def build(bench: Bench) -> Sequence[object]:
        bench.data("heads")
        spoil.cut(bench.scan())
        other = bench.folder / "data" / "BraTS-GLI-09001-000" / "BraTS-GLI-09001-000-seg.nii.gz"
        spoil.text(other)
        return command(bench)

    return build


def lone_mask(bench: Bench) -> Sequence[object]:
    """Leave two patients in one folder, of one of whom there is the mask alone."""
    bench.data("heads")
    for name, channel in (("p1", "t1n"), ("p1", "t2w"), ("p2", "t2w"), ("p3", "seg")):
        shutil.copy(bench.scan(channel), bench.folder / "data" / f"{name}_{channel}.nii.gz")
    return info(bench)


def mask_as_scan(bench: Bench) -> Sequence[object]:
    bench.data("heads")
    return ["predict", bench.model, bench.scan("seg"), "--out", bench.out]


def one_channel(bench: Bench) -> Sequence[object]:
    bench.data("heads")
    return ["predict", bench.model, "--flair", bench.scan("t2f"), "--out", bench.out]


def no_such_scan(bench: Bench) -> Sequence[object]:
    path = bench.folder / "t1.nii.gz"
    return ["predict", bench.model, "--t1", path, "--out", bench.out]


CASES: list[Row] = [
    Row("no case has a mask (train)", no_masks),
    Row("all masks empty (train)", no_tumour),
    Row("all masks empty, labels unknown (train)", nameless_no_tumour),
    Row("one bad case of four (predict)", some_cases),
    Row("two bad cases of four (evaluate)", two_cases(evaluate)),
    Row("two bad cases of four (train)", two_cases(train)),
    Row("a mask without its scans (info)", lone_mask),
    Row("a mask in place of a scan (predict)", mask_as_scan),
    Row("one of three channels given (predict)", one_channel),
    Row("a scan that is not there (predict)", no_such_scan),
]
ROWS = (*CHANNELS, *FILES, huge(".nii"), huge(".nii.gz"), *VOXELS, *MASKS, *CASES)
