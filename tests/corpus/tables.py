"""Rows of tables, splits and folders that contradict, and of names that are strange and right."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from .bench import CASE, SET, Bench, Row
from .requests import PHANTOMS, Command, asked


def one_name(bench: Bench) -> Sequence[object]:
    one, other = bench.data("heads"), bench.copy(bench.root / "clean" / "heads", "more")
    return ["predict", bench.model, one / CASE, other / CASE, "--out", bench.out]


def one_image_name(bench: Bench) -> Sequence[object]:
    images = bench.data("slices") / "images"
    (images / "1.png").with_suffix(".bmp").write_bytes((images / "2.png").read_bytes())
    files = images / "1.png", images / "1.bmp"
    return ["predict", bench.flat, *files, "--out", bench.out]


def splits(text: str) -> Command:
    """Return a training with a splits file."""

    def build(bench: Bench) -> Sequence[object]:
        path = bench.folder / "splits.json"
        path.write_text(text)
        return ["train", "unet3d-binary", PHANTOMS, "--out", bench.out, "--splits", path]

    return build


def splits_of(train: Sequence[str], valid: Sequence[str]) -> Command:
    groups = {"train": train, "valid": valid, "test": []}
    return splits(json.dumps({"by": "patient", "seed": 0, **groups}))


def table(*rows: Sequence[str]) -> Command:
    """Return a look at a `cases.csv`."""

    def build(bench: Bench) -> Sequence[object]:
        bench.data("heads")
        path = bench.folder / "data" / "cases.csv"
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows(rows)
        return ["info", path]

    return build


def used_run(bench: Bench) -> Sequence[object]:
    bench.out.mkdir()
    (bench.out / "notes.txt").write_text("keep this\n")
    return ["train", "unet3d-binary", PHANTOMS, "--out", bench.out, *SET]


def run_is_a_file(bench: Bench) -> Sequence[object]:
    bench.out.write_text("keep this\n")
    return ["train", "unet3d-binary", PHANTOMS, "--out", bench.out, *SET]


def out_is_a_file(bench: Bench) -> Sequence[object]:
    bench.data("heads")
    bench.out.write_text("keep this\n")
    return ["predict", bench.model, bench.folder / "data" / CASE, "--out", bench.out]


def used_phantom(bench: Bench) -> Sequence[object]:
    bench.out.mkdir()
    (bench.out / "notes.txt").write_text("keep this\n")
    return ["phantom", bench.out]


def damaged_list(bench: Bench) -> Sequence[object]:
    bench.data("heads")
    bench.out.mkdir()
    (bench.out / "predictions.json").write_text('[{"case"')
    return ["predict", bench.model, bench.folder / "data" / CASE, "--out", bench.out]


T1 = f"{CASE}/{CASE}-t1n.nii.gz"
TABLES: list[Row] = [
    Row("two inputs of one name (predict)", one_name),
    Row("two images of one name (predict)", one_image_name),
    Row("splits of unknown cases (train)", splits_of(["a"], ["b"])),
    Row("splits that name a case twice (train)",
        splits_of(["BraTS-GLI-00000-000"], ["BraTS-GLI-00000-000"])),
    Row("splits without validation (train)", splits_of(["BraTS-GLI-00000-000"], [])),
    Row("splits that are a list (train)", splits("[]")),
    Row("splits that are no JSON (train)", splits("train: [a]")),
    Row("splits that are not there (train)",
        asked("train", "unet3d-binary", PHANTOMS, "--splits", "NOWHERE")),
    Row("cases.csv with a missing file (info)",
        table(["case", "t1"], ["p1", T1], ["p2", "gone.nii.gz"])),
    Row("cases.csv with an unknown column (info)", table(["case", "t1n"], ["p1", T1])),
    Row("cases.csv with a case twice (info)",
        table(["case", "t1"], ["p1", T1], ["p1", T1])),
    Row("cases.csv with a ragged line (info)", table(["case", "t1"], ["p1", T1, "x"])),
    Row("cases.csv without scans (info)", table(["case", "t1"], ["p1", ""])),
    Row("cases.csv with a bad date (info)",
        table(["case", "t1", "date"], ["p1", T1, "31.5.2024"])),
    Row("cases.csv without lines (info)", table(["case", "t1"])),
    Row("RUN is not empty (train)", used_run),
    Row("RUN is a file (train)", run_is_a_file),
    Row("--out is a file (predict)", out_is_a_file),
    Row("OUT is not empty (phantom)", used_phantom),
    Row("predictions.json is damaged (predict)", damaged_list),
]  # fmt: skip

STRANGE = ("with a space", "mit Ümläuten 脳", "two\nlines", "a;b,c 'd' \"e\"", "[x] {y} %s")
"""Names of folders that are unusual and right."""


def strange(name: str, *, broken: bool) -> Command:
    """Return a prediction of a case in a folder of a strange name, into another."""

    def build(bench: Bench) -> Sequence[object]:
        folder = bench.copy(bench.root / "clean" / "heads" / CASE, f"{name}/{name}")
        for path in sorted(folder.iterdir()):
            path.rename(path.with_name(path.name.replace(CASE, name)))
        if broken:
            (folder / f"{name}-t2w.nii.gz").write_bytes(b"")
        return ["predict", bench.model, folder, "--out", bench.out / name, "--preview"]

    return build


def strange_everywhere(bench: Bench) -> Sequence[object]:
    """Return an evaluation whose model, data and results have strange names."""
    name = "two\nlines ä"
    model = bench.copy(bench.model, name)
    data = Path(bench.copy(bench.root / "clean" / "heads", f"data {name}"))
    return ["evaluate", model, data, "--out", bench.out / name]


def strange_run(bench: Bench) -> Sequence[object]:
    name = "two\nlines ä"
    data = bench.copy(bench.root / "clean" / "heads", f"data {name}")
    return ["train", "unet3d-binary", data, "--out", bench.out / name, *SET]


NAMES: list[Row] = [
    *(Row(f"folder named {name!r} (predict)", strange(name, broken=False)) for name in STRANGE),
    *(Row(f"empty scan in {name!r} (predict)", strange(name, broken=True))
      for name in STRANGE),
    Row("a newline in every name (evaluate)", strange_everywhere),
    Row("a newline in every name (train)", strange_run),
]  # fmt: skip
ROWS = (*TABLES, *NAMES)
