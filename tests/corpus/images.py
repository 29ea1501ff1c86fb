"""Rows of 2D images, their masks, and COCO exports."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from . import spoil
from .bench import CASE, Bench, Row
from .spoil import Spoil

IMAGE, MASK = "{folder}/data/images/1.png", "{folder}/data/masks/1.png"
JSON = "{folder}/data/train/_annotations.coco.json"
FLAT = ("--set", "data.size=[32,32]", "--set", "model.encoder=resnet18")
SET = (*FLAT, "--set", "model.pretrained=none", "--set", "train.epochs=1")

Command = Callable[[Bench], Sequence[object]]


def predict(bench: Bench) -> Sequence[object]:
    return ["predict", bench.flat, bench.folder / "data" / "images" / "1.png", "--out", bench.out]


def predict_all(bench: Bench) -> Sequence[object]:
    return ["predict", bench.flat, bench.folder / "data", "--out", bench.out]


def evaluate(bench: Bench) -> Sequence[object]:
    return ["evaluate", bench.flat, bench.folder / "data", "--out", bench.out, "--split", "all"]


def train(bench: Bench) -> Sequence[object]:
    return ["train", "unet-resnet34", bench.folder / "data", "--out", bench.out, *SET]


def score(bench: Bench) -> Sequence[object]:
    pairs = bench.root / "clean" / "slices" / "masks", bench.folder / "data" / "masks"
    return ["score", *pairs, "--out", bench.out]


def info(bench: Bench) -> Sequence[object]:
    return ["info", bench.folder / "data"]


VERBS: dict[str, Command] = {
    "predict": predict, "predict all": predict_all, "evaluate": evaluate, "train": train,
    "score": score, "info": info,
}  # fmt: skip


def spoiled(name: str, change: Spoil, verbs: str, file: str = "images/1.png") -> list[Row]:
    """Return a row for each verb: one file of a folder of pairs is spoiled."""

    def build(command: Command) -> Command:
        def make(bench: Bench) -> Sequence[object]:
            change(bench.data("slices") / file)
            return command(bench)

        return make

    return [Row(f"{name} ({verb})", build(VERBS[verb])) for verb in verbs.split()]


def black(path: Path) -> None:
    Image.new("L", (256, 256)).save(path)


def bigger(path: Path) -> None:
    with Image.open(path) as image:
        image.resize((300, 256)).save(path)


def grey(path: Path) -> None:
    Image.fromarray(np.eye(256, dtype=np.uint8) * 7).save(path)


def renamed(path: Path) -> None:
    path.rename(path.with_name("other.png"))


def twin(path: Path) -> None:
    with Image.open(path) as image:
        image.save(path.with_suffix(".bmp"))


def file_of(name: str, write: Spoil) -> Command:
    """Return a prediction of one file."""

    def build(bench: Bench) -> Sequence[object]:
        write(bench.folder / name)
        return ["predict", bench.flat, bench.folder / name, "--out", bench.out]

    return build


def cut_jpeg(path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    Image.fromarray(values).save(path)
    spoil.cut(path)


def animated(path: Path) -> None:
    frame = Image.new("L", (40, 40))
    frame.save(path, save_all=True, append_images=[frame, frame])


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a part of a PNG file."""
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def bomb(path: Path) -> None:
    """Leave a header alone, of 30000x30000 pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(99)))


def volume_to_flat(bench: Bench) -> Sequence[object]:
    bench.data("heads")
    return ["predict", bench.flat, bench.folder / "data" / CASE, "--out", bench.out]


def image_to_volumes(bench: Bench) -> Sequence[object]:
    bench.data("slices")
    return ["predict", bench.model, bench.folder / "data" / "images" / "1.png", "--out", bench.out]


def flat_recipe_of_volumes(bench: Bench) -> Sequence[object]:
    bench.data("slices")
    return ["train", "unet3d-binary", bench.folder / "data", "--out", bench.out]


def no_patient(bench: Bench) -> Sequence[object]:
    table = bench.data("slices") / "patients.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    return train(bench)


PAIRS: list[Row] = [
    *spoiled("truncated PNG", spoil.cut, verbs="predict train evaluate"),
    *spoiled("text named .png", spoil.text, verbs="predict evaluate"),
    *spoiled("black image", black, verbs="predict evaluate"),
    *spoiled("mask bigger than its image", bigger, verbs="evaluate", file="masks/1.png"),
    *spoiled("mask bigger than its truth", bigger, verbs="score", file="masks/1.png"),
    *spoiled("truncated PNG mask", spoil.cut, verbs="evaluate score", file="masks/1.png"),
    *spoiled("masks of two kinds", grey, verbs="train", file="masks/1.png"),
    *spoiled("a mask without an image", renamed, verbs="train info"),
    *spoiled("an image without a mask", renamed, verbs="score", file="masks/1.png"),
    *spoiled("two images of one name", twin, verbs="info"),
    Row("truncated JPEG (predict)", file_of("1.jpg", cut_jpeg)),
    Row("empty .jpg (predict)", file_of("1.jpg", spoil.empty)),
    Row("TIFF of three frames (predict)", file_of("1.tif", animated)),
    Row("PNG of 30000x30000 (predict)", file_of("1.png", bomb), memory=2**27),
    Row("a volume for a model of images (predict)", volume_to_flat),
    Row("an image for a model of volumes (predict)", image_to_volumes),
    Row("images for a recipe of volumes (train)", flat_recipe_of_volumes),
    Row("patients.csv without a case (train)", no_patient),
]
ROWS = tuple(PAIRS)
