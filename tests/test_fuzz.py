"""Arbitrary damage to scans, COCO files and tables: what they hold, or one line that names them.

`fuzz/` runs the same readers for longer, guided by coverage.
"""

from __future__ import annotations

import gzip
import json
import struct
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glioscope.core.errors import DataError
from glioscope.core.files import digest
from glioscope.formats.image import ImageMask, ImageSource, read_mask
from glioscope.formats.itk import ItkSource
from glioscope.formats.nifti import NiftiMask, NiftiSource
from glioscope.formats.opening import open_dataset

from .damage import NUMBERS, VALUES, damaged, quick, tried, within_memory


@st.composite
def scans(draw: st.DrawFn) -> bytes:
    """A small NIfTI file: any version, byte order and type, header fields replaced, bytes cut."""
    kind = draw(st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]))
    order = draw(st.sampled_from("<>"))
    code = draw(st.sampled_from(["u1", "i2", "u2", "i4", "u8", "f4", "f8"]))
    header = kind.header_class(endianness=order)
    header.set_data_dtype(code)
    data = bytearray(
        kind(np.arange(60).reshape(3, 4, 5).astype(code), np.eye(4), header).to_bytes()
    )
    fields = header.structarr.dtype.fields
    for name in draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
        field, start = fields[name][:2]
        data[start : start + field.itemsize] = draw(field_of(field))
    for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=2)):
        data[at] ^= draw(st.integers(1, 255))
    if draw(st.booleans()):
        data = bytearray(gzip.compress(data, 1))
        for at in draw(st.lists(st.integers(0, len(data) - 1), max_size=1)):
            data[at] ^= draw(st.integers(1, 255))
    return bytes(data[: draw(st.none() | st.integers(0, len(data)))])


def field_of(field: np.dtype[Any]) -> st.SearchStrategy[bytes]:
    """Bytes of a header field: any, or a telling number in each of its places."""
    kind, count = field.base, field.itemsize // field.base.itemsize
    if kind.kind == "f":
        telling = [0, -1, 1, 0.5, 1e-30, 1e9, 1e30, np.nan, np.inf, -np.inf, np.finfo(kind).max]
    elif kind.kind in "iu":
        ends = np.iinfo(kind)
        telling = [0, 1, 2, 3, 4, 5, 7, 8, 16, 64, 100, 255, ends.max, ends.min]
        telling = [value for value in telling if ends.min <= value <= ends.max]
    else:
        return st.binary(min_size=field.itemsize, max_size=field.itemsize)
    numbers = st.lists(st.sampled_from(telling), min_size=count, max_size=count)
    chosen = numbers.map(
        lambda values: np.array(values, np.float64 if kind.kind == "f" else object)
    )
    return st.binary(min_size=field.itemsize, max_size=field.itemsize) | chosen.map(
        lambda values: values.astype(kind).tobytes()
    )


@quick
@given(scans())
def test_any_nifti(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(data)
    for source in (NiftiSource(path), NiftiMask(path)):
        grid = tried(source.grid, path.name, DataError)
        volume = tried(lambda source=source: within_memory(source.read), path.name, DataError)
        if volume is not None:
            assert volume.array.shape == (1, *grid.shape)
            assert volume.grid.matches(grid)
            assert np.isfinite(volume.array).all()
            assert np.isfinite(volume.affine).all()
            assert volume.array.dtype in (np.float32, np.uint8, np.int16)


def test_more_axes_than_nifti_has(tmp_path: Path) -> None:
    data = bytearray(nib.Nifti2Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)).to_bytes())
    data[16:24] = (2**63 - 1).to_bytes(8, "little")
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(DataError, match=r"its header is damaged \(it has -?\d+ axes"):
        NiftiSource(tmp_path / "a.nii").grid()


def test_an_image_of_floats_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((3, 4), np.nan, np.float32)).save(path)
    for read in (ImageSource(path).read, ImageMask(path, 1).read, lambda: read_mask(path)):
        with pytest.raises(DataError, match="12 of 12 voxels are NaN or infinite"):
            read()


def test_an_image_with_fewer_rows_than_it_promises(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("L", (20, 12), 7).save(path)
    rows = [struct.pack("<HHIL", 257, 4, 1, count) for count in (12, 2000)]
    assert rows[0] in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(*rows))
    with pytest.raises(DataError, match="its pixels end too early"):
        ImageSource(path).read()


def test_an_image_of_a_kind_that_nobody_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (3, 4)).save(path, "PCX")
    with pytest.raises(DataError, match="is no image that can be read"):
        ImageSource(path).read()


def test_a_metaimage_that_keeps_its_voxels_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    header = "ObjectType = Image\nNDims = 3\nDimSize = 1 1 1\nElementType = MET_UCHAR\n"
    path.write_text(header + "ElementDataFile = LOcAL\n\0")
    with pytest.raises(DataError, match="its voxels are in another file"):
        ItkSource(path).grid()


WIDTH, HEIGHT = 20, 12
SQUARE = [[2, 2, 8, 2, 8, 6, 2, 6]]
OUTLINES = [SQUARE, {"size": [HEIGHT, WIDTH], "counts": [30, 4, 206]}, None]
EXPORT = {
    "images": [
        {"id": n, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT}
        for n, name in enumerate("ab")
    ],
    "annotations": [
        {"id": n, "image_id": 0, "category_id": 1, "segmentation": outline, "bbox": [2, 2, 6, 4]}
        for n, outline in enumerate(OUTLINES)
    ],
    "categories": [{"id": 1, "name": "tumour"}],
}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the images of `EXPORT`."""
    folder = tmp_path_factory.mktemp("coco")
    for name in "ab":
        Image.new("L", (WIDTH, HEIGHT)).save(folder / f"{name}.png")
    return folder


def open_coco(folder: Path, content: bytes) -> None:
    """Open a json beside the images, and draw every mask."""
    path = folder / "a.json"
    path.write_bytes(content)
    dataset = tried(lambda: open_dataset(path), str(path), DataError)
    for case in dataset.cases if dataset else ():
        tried(lambda case=case: digest(case.identity), str(folder), DataError)
        volume = tried(case.mask.read, str(folder), DataError)
        if volume is not None:
            assert volume.array.shape == (1, *case.grid().shape)
            assert set(np.unique(volume.array)) <= {0, 1}


@quick
@given(damaged(EXPORT))
def test_any_coco_document(export: Path, document: Any) -> None:
    open_coco(export, json.dumps(document).encode())


@quick
@given(st.lists(st.lists(NUMBERS, max_size=10), max_size=3) | VALUES, VALUES)
def test_any_outline(export: Path, outline: Any, box: Any) -> None:
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": outline, "bbox": box}
    open_coco(export, json.dumps(EXPORT | {"annotations": [annotation]}).encode())


@quick
@given(st.text(st.characters(min_codepoint=40, max_codepoint=115), max_size=40))
def test_any_run_lengths(export: Path, counts: str) -> None:
    runs = {"size": [HEIGHT, WIDTH], "counts": counts}
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": runs}
    open_coco(export, json.dumps(EXPORT | {"annotations": [annotation]}).encode())


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def with_outline(outline: str) -> bytes:
    return json.dumps(EXPORT).replace(json.dumps(SQUARE), outline).encode()


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(EXPORT).encode("utf-16"),
        json.dumps(EXPORT).encode().replace(b"tumour", b"\xff\xfe"),
        *(with_outline(nested(depth)) for depth in (50, 900, 10**5)),
        *(with_outline(nested(depth)[1:-1].join("[]")) for depth in range(930, 1000, 3)),
        with_outline("9" * 5000),
        with_outline("[[1e999, 1, 2, 2, 3, 3]]"),
        with_outline(json.dumps({"size": [HEIGHT, WIDTH], "counts": "P" * 10**5})),
        json.dumps(EXPORT).encode().replace(b'"id": 1', b'"id": ' + nested(300).encode()),
        b'{"images": ' * 10**4,
    ],
)
def test_extreme_coco_documents(export: Path, content: bytes) -> None:
    start = time.perf_counter()
    within_memory(lambda: open_coco(export, content))
    assert time.perf_counter() - start < 5


def test_an_outline_that_would_cost_all_memory(tmp_path: Path) -> None:
    Image.new("L", (4000, 4000)).save(tmp_path / "a.png")
    image = {"id": 0, "file_name": "a.png", "width": 4000, "height": 4000}
    zigzag = [[0, 0, 4000, 4000] * 5000]
    annotation = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": zigzag}
    document = EXPORT | {"images": [image], "annotations": [annotation]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (case,) = open_dataset(tmp_path / "a.json").cases
    assert case.mask is not None
    with pytest.raises(DataError, match=r"its outline is 4e\+07 pixels long"):
        case.mask.read()


CELLS = st.one_of(
    st.sampled_from(
        ["a.png", "b.png", "/", "..", "2024-05-31", "train", "1", "", '"', "\0", "x" * 300]
    ),
    st.text(max_size=6),
)
HEADERS = st.sampled_from(["case", "patient", "date", "image", "mask", "split", "t1", "flair"])


@quick
@given(
    st.lists(HEADERS | CELLS, max_size=5),
    st.lists(st.lists(CELLS, max_size=6), max_size=3),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
)
def test_any_table(export: Path, columns: list[str], rows: list[list[str]], encoding: str) -> None:
    lines = [",".join(cells) for cells in (columns, *rows)]
    path = export / "cases.csv"
    path.write_bytes("\n".join(lines).encode(encoding, "replace"))
    dataset = tried(lambda: open_dataset(path), str(path), DataError)
    if dataset is not None:
        assert dataset.cases


NNUNET = {
    "channel_names": {"0": "T1", "1": "FLAIR"},
    "labels": {"background": 0, "whole tumor": [1, 2], "edema": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
    "dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"]}},
}
DECATHLON = {
    "modality": {"0": "T1", "1": "FLAIR"},
    "labels": {"0": "background", "1": "edema"},
    "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    "test": ["./imagesTs/b.nii.gz"],
}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in nnU-Net's raw layout, and a task of the Medical Segmentation Decathlon."""
    root = tmp_path_factory.mktemp("layouts")
    flat, frames = np.zeros((3, 4, 5), np.uint8), np.zeros((3, 4, 5, 2), np.uint8)
    files = {
        **dict.fromkeys(("nnunet/imagesTr/a_0000", "nnunet/imagesTr/a_0001"), flat),
        **dict.fromkeys(("msd/imagesTr/a", "msd/imagesTs/b"), frames),
        **dict.fromkeys(("nnunet/labelsTr/a", "msd/labelsTr/a"), flat),
    }
    for name, voxels in files.items():
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    return root


@quick
@given(st.data())
def test_any_dataset_json(layouts: Path, data: st.DataObject) -> None:
    name, document = data.draw(st.sampled_from([("nnunet", NNUNET), ("msd", DECATHLON)]))
    path = layouts / name / "dataset.json"
    path.write_text(json.dumps(data.draw(damaged(document))))
    dataset = tried(lambda: open_dataset(path), str(path.parent), DataError)
    for case in dataset.cases if dataset else ():
        tried(lambda case=case: case.read(list(case.channels)), str(layouts), DataError)
        if case.mask is not None and dataset.labels is not None:
            tried(lambda case=case: case.read_mask(dataset.labels), str(layouts), DataError)
