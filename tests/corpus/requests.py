"""Rows of requests: names, settings, tables and folders that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .bench import Bench, Row

Command = Callable[[Bench], Sequence[object]]
PHANTOMS = "phantom:cases=4,spacing=6"


def asked(*arguments: object) -> Command:
    """Return a command that needs nothing; `MODEL` and `OUT` are filled in."""

    def build(bench: Bench) -> Sequence[object]:
        places: dict[object, object] = {"MODEL": bench.model, "NOWHERE": bench.folder / "nowhere"}
        words = [places.get(argument, argument) for argument in arguments]
        return words if arguments[0] == "info" else [*words, "--out", bench.out]

    return build


def setting(override: str) -> Command:
    return asked("train", "unet3d-binary", PHANTOMS, "--set", override)


def recipe(text: str) -> Command:
    """Return a training by a recipe in a file."""

    def build(bench: Bench) -> Sequence[object]:
        path = bench.folder / "my.yaml"
        path.write_text(text)
        return ["train", path, PHANTOMS, "--out", bench.out]

    return build


def layout(bench: Bench) -> Sequence[object]:
    return ["phantom", bench.out, "--layout", "nnunt"]


WORDS: list[Row] = [
    Row("unknown recipe (train)", asked("train", "unet3d-binry", PHANTOMS)),
    Row("a recipe that is not there (train)", asked("train", "no.yaml", PHANTOMS)),
    Row("a recipe that is no YAML (train)", recipe("data: [")),
    Row("an empty recipe (train)", recipe("")),
    Row("a recipe without sections (train)", recipe("name: x\nabout: y\n")),
    Row("unknown key (train)", setting("train.epoch=3")),
    Row("unknown section (train)", setting("training.epochs=3")),
    Row("wrong type (train)", setting("train.epochs=many")),
    Row("--set without a value (train)", setting("train.epochs")),
    Row("--set of nothing (train)", setting("train.epochs=")),
    Row("negative epochs (train)", setting("train.epochs=-1")),
    Row("a rate that is NaN (train)", setting("train.lr=.nan")),
    Row("a size of nothing (train)", setting("data.size=[0,24,24]")),
    Row("a size of two numbers (train)", setting("data.size=[24,24]")),
    Row("unknown channel (train)", setting("data.channels=[t1,dwi]")),
    Row("unknown loss (train)", setting("loss=dise")),
    Row("unknown loss argument (train)", setting("loss={tversky: {alfa: 1}}")),
    Row("unknown network (train)", setting("model.name=unet3")),
    Row("unknown network argument (train)", setting("model.width=3")),
    Row("a 2D network for volumes (train)", setting("model={name: unet}")),
    Row("unknown phantom key (train)", asked("train", "unet3d-binary", "phantom:case=4")),
    Row("too few patients (train)", asked("train", "unet3d-binary", "phantom:cases=2")),
    Row("unknown labels (train)",
        asked("train", "unet3d-binary", PHANTOMS, "--labels", "brats")),
    Row("unknown split (evaluate)",
        asked("evaluate", "MODEL", PHANTOMS, "--split", "testing")),
    Row("unknown device (predict)",
        asked("predict", "MODEL", PHANTOMS, "--device", "gpu")),
    Row("unknown engine (predict)",
        asked("predict", "MODEL", PHANTOMS, "--engine", "onnx")),
    Row("nothing to segment (predict)", asked("predict", "MODEL")),
    Row("no data there (train)", asked("train", "unet3d-binary", "NOWHERE")),
    Row("no data there (predict)", asked("predict", "MODEL", "NOWHERE")),
    Row("no data there (score)", asked("score", "NOWHERE", "NOWHERE")),
    Row("nothing there (info)", asked("info", "NOWHERE")),
    Row("unknown layout (phantom)", layout),
    Row("no model there (evaluate)", asked("evaluate", "NOWHERE", PHANTOMS)),
]  # fmt: skip


def empty_folder(*words: object) -> Command:
    def build(bench: Bench) -> Sequence[object]:
        (bench.folder / "data").mkdir()
        places: dict[object, object] = {"DATA": bench.folder / "data", "MODEL": bench.model}
        return [places.get(word, word) for word in words] + ["--out", bench.out]

    return build


def notes_only(bench: Bench) -> Sequence[object]:
    (bench.folder / "data").mkdir()
    (bench.folder / "data" / "notes.txt").write_text("scans are on the other disk\n")
    return ["predict", bench.model, bench.folder / "data", "--out", bench.out]


def dicom(bench: Bench) -> Sequence[object]:
    (bench.folder / "data").mkdir()
    (bench.folder / "data" / "IM0001.dcm").write_bytes(bytes(128) + b"DICM")
    return ["predict", bench.model, bench.folder / "data", "--out", bench.out]


def no_common_name(bench: Bench) -> Sequence[object]:
    bench.data("slices")
    truth = bench.root / "clean" / "heads"
    return ["score", truth, bench.folder / "data" / "masks", "--out", bench.out]


FOLDERS: list[Row] = [
    Row("empty folder (train)", empty_folder("train", "unet3d-binary", "DATA")),
    Row("empty folder (evaluate)", empty_folder("evaluate", "MODEL", "DATA")),
    Row("empty folder (predict)", empty_folder("predict", "MODEL", "DATA")),
    Row("empty folder (score)", empty_folder("score", "DATA", "DATA")),
    Row("empty folder as a model (predict)", empty_folder("predict", "DATA", PHANTOMS)),
    Row("nothing but notes (predict)", notes_only),
    Row("DICOM (predict)", dicom),
    Row("no name in common (score)", no_common_name),
]
ROWS = (*WORDS, *FOLDERS)
