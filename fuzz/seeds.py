"""Valid files of every kind that a fuzzer starts from; nothing here is taken from a patient."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image
from pycocotools import mask as runs

CASES = ("a", "b", "c", "d")
"""Names of the cases that the splits files speak of."""
_WIDTH, _HEIGHT = 20, 12
_TYPES = "u1 i1 i2 u2 i4 u4 i8 u8 f4 f8"
_TILTED = np.array([[0, -1.5, 0, 9], [1.2, 0, 0, -4], [0, 0, 3, 7], [0, 0, 0, 1]], np.float64)


def nifti() -> Iterator[bytes]:
    """Yield scans of every type of number, both versions and byte orders, packed and plain."""
    voxels = np.arange(60).reshape(3, 4, 5) % 5
    for code, kind in product(_TYPES.split(), (nib.Nifti1Image, nib.Nifti2Image)):
        for order in "<>":
            header = kind.header_class(endianness=order)
            header.set_data_dtype(code)
            yield kind(voxels.astype(code), _TILTED, header).to_bytes()
    scaled = nib.Nifti1Image(voxels.astype(np.int16), _TILTED)
    scaled.header.set_slope_inter(0.5, 3)
    scaled.set_qform(_TILTED, 2)
    yield gzip.compress(scaled.to_bytes())
    yield gzip.compress(nib.Nifti1Image(voxels.astype(np.uint8), _TILTED).to_bytes())
    yield gzip.compress(nib.Nifti2Image(voxels.astype(np.float32)[..., None], _TILTED).to_bytes())
    yield nib.Nifti1Image(voxels.astype(np.uint8) // 4 * 255, None).to_bytes()
    for count in (1, 2):
        frames = np.stack([voxels] * count, axis=-1).astype(np.int16)
        yield gzip.compress(nib.Nifti1Image(frames, _TILTED).to_bytes())


def pictures(folder: Path) -> None:
    """Write the images that the COCO files speak of."""
    for name in "ab":
        Image.new("L", (_WIDTH, _HEIGHT), 7).save(folder / f"{name}.png")


def coco() -> Iterator[bytes]:
    """Yield exports with polygons, run lengths of both kinds, boxes, and nothing."""
    blob = np.zeros((_HEIGHT, _WIDTH), np.uint8, order="F")
    blob[3:8, 10:17] = 1
    packed = runs.encode(blob)
    counts = {"size": [_HEIGHT, _WIDTH], "counts": [30, 4, _WIDTH * _HEIGHT - 34]}
    for outlines in (
        [[[2, 2, 8, 2, 8, 6, 2, 6]]],
        [[[2.5, 2, 8, 2.25, 8, 6], [1, 1, 3, 1, 3, 3, 1, 3]], [[-3, -3, 25, 4, 9, 14]]],
        [{"size": packed["size"], "counts": packed["counts"].decode()}, counts],
        [[], None],
        [],
    ):
        yield json.dumps(_export(outlines)).encode()


def _export(outlines: list[Any]) -> dict[str, Any]:
    annotations = [
        {"id": n, "image_id": 0, "category_id": n % 2 + 1, "bbox": [2, 2, 6, 4], "segmentation": s}
        for n, s in enumerate(outlines)
    ]
    images = [
        {"id": n, "file_name": f"{name}.png", "width": _WIDTH, "height": _HEIGHT}
        for n, name in enumerate("ab")
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(("Tumor", "0", "1"))]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def recipe() -> Iterator[bytes]:
    """Yield the recipes of the package, with and without values set on the command line."""
    for file in (resources.files("glioscope") / "recipes").iterdir():
        if file.name.endswith(".yaml"):
            yield file.read_bytes()
            yield file.read_bytes() + b"\0train.epochs=5\0loss={dice: 1, bce: {weight: 0.5}}"


def itk() -> Iterator[bytes]:
    """Yield NRRD and MetaImage files, packed and plain, of 2 to 4 axes."""
    import SimpleITK

    voxels = (np.arange(60).reshape(5, 4, 3) % 5).astype(np.int16)
    arrays = (voxels, voxels.astype(np.uint8), voxels.astype(np.float32), voxels[:1], voxels[None])
    with tempfile.TemporaryDirectory() as folder:
        for array, ending, packed in product(arrays, ("nrrd", "mha"), (False, True)):
            path = Path(folder) / f"a.{ending}"
            image = SimpleITK.GetImageFromArray(array, isVector=False)
            image.SetSpacing([1.5] * image.GetDimension())
            SimpleITK.WriteImage(image, str(path), packed)
            yield path.read_bytes()
        yield path.read_bytes().replace(b"TransformMatrix", b"Comment")


def image() -> Iterator[bytes]:
    """Yield grey, coloured, 16-bit and palette images in four formats."""
    shades = (np.arange(_WIDTH * _HEIGHT).reshape(_HEIGHT, _WIDTH) % 251).astype(np.uint8)
    for mode, kind in product(("1", "L", "LA", "P", "RGB", "RGBA"), ("PNG", "TIFF", "BMP", "JPEG")):
        if kind == "PNG" or mode in ("L", "RGB"):
            yield _saved(Image.fromarray(shades).convert(mode), kind)
    for deep in (
        shades.astype(np.uint16) * 257,
        shades.astype(np.float32),
        shades.astype(np.int32),
    ):
        yield _saved(Image.fromarray(deep), "TIFF")
    yield _saved(Image.fromarray(shades.astype(np.uint16) * 257), "PNG")
    yield _saved(Image.fromarray(shades), "TIFF", compression="tiff_lzw")


def _saved(picture: Image.Image, kind: str, **options: str) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def splits() -> Iterator[bytes]:
    """Yield a splits file of the cases above."""
    groups = {"train": ["a", "b"], "valid": ["c"], "test": ["d"]}
    yield json.dumps({"by": "patient", "seed": 0, **groups}).encode()


SEEDS: Mapping[str, Callable[[], Iterator[bytes]]] = {
    f.__name__: f for f in (nifti, coco, recipe, itk, image, splits)
}
