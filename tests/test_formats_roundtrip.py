"""Reading a scan and writing it back moves no voxel and changes no value, however it is stored."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glioscope.core.errors import DataError
from glioscope.core.volume import Volume
from glioscope.formats.image import ImageMask, ImageSource
from glioscope.formats.nifti import NiftiSource, write_nifti
from glioscope.formats.scans import scan_mask, scan_source

from .test_volume import ORIENTATIONS, affines, reoriented

DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
NIFTI = ("nii", "nii.gz", "nifti2", "sform", "qform")
ITK = ("nrrd", "mha", "packed.nrrd", "packed.mha")


@dataclass(frozen=True)
class Stored:
    """How a scan is stored: the layout, the type of its voxels, its scaling, its place."""

    layout: str
    dtype: np.dtype
    slope: float
    inter: float
    affine: np.ndarray
    codes: str
    shape: tuple[int, int, int]
    seed: int

    @property
    def scaled(self) -> bool:
        return self.layout in NIFTI and (self.slope, self.inter) != (1, 0)

    def values(self, highest: int | None = None) -> np.ndarray:
        """Voxels as they are stored: of the whole range of the type, or from 0 to `highest`."""
        rng = np.random.default_rng(self.seed)
        if highest is not None:
            return rng.integers(0, highest, self.shape, endpoint=True).astype(self.dtype)
        if self.dtype.kind == "f":
            return rng.normal(0, 1000, self.shape).astype(self.dtype)
        ends, native = np.iinfo(self.dtype), self.dtype.newbyteorder("=")
        return rng.integers(ends.min, ends.max, self.shape, native.type, True).astype(self.dtype)

    def placed(self) -> np.ndarray:
        """The affine, with axes that point as `codes` says."""
        straight = Volume(np.zeros((1, *self.shape), np.uint8), ("a",), self.affine)
        return reoriented(straight, self.codes).affine


def cases(layouts: tuple[str, ...]) -> st.SearchStrategy[Stored]:
    types = st.builds(
        lambda name, order: np.dtype(name).newbyteorder(order),
        st.sampled_from(DTYPES),
        st.sampled_from("<>"),
    )
    return st.builds(
        Stored,
        st.sampled_from(layouts),
        types,
        st.sampled_from([1.0, 0.5, -2.0, 0.001, 37.25]),
        st.sampled_from([0.0, -1024.0, 3.5]),
        affines,
        st.sampled_from(ORIENTATIONS),
        st.tuples(*[st.integers(1, 4)] * 3),
        st.integers(0, 2**32 - 1),
    )


def saved(folder: Path, how: Stored, values: np.ndarray) -> Path:
    return (saved_by_itk if how.layout in ITK else saved_as_nifti)(folder, how, values)


def saved_as_nifti(folder: Path, how: Stored, values: np.ndarray) -> Path:
    kind = nib.Nifti2Header if how.layout == "nifti2" else nib.Nifti1Header
    header = kind(endianness=">" if values.dtype.byteorder == ">" else "<")
    header.set_data_dtype(values.dtype)
    header.set_data_shape(values.shape)
    header.set_slope_inter(how.slope, how.inter)
    header.set_data_offset(header.single_vox_offset)
    header.set_sform(how.placed(), code=0 if how.layout == "qform" else 2)
    header.set_qform(how.placed(), code=0 if how.layout == "sform" else 1)
    data = header.binaryblock.ljust(header.single_vox_offset, b"\0") + values.tobytes("F")
    path = folder / f"a.{'nii.gz' if how.layout == 'nii.gz' else 'nii'}"
    path.write_bytes(gzip.compress(data, 1) if how.layout == "nii.gz" else data)
    return path


def saved_by_itk(folder: Path, how: Stored, values: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(values.T.astype(values.dtype.newbyteorder("=")))
    affine = np.diag([-1.0, -1, 1, 1]) @ how.placed()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    path = folder / f"a.{how.layout}"
    sitk.WriteImage(image, str(path), how.layout.startswith("packed"))
    return path


def world(affine: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Coordinates of every voxel."""
    return np.stack(np.indices(shape), -1) @ affine[:3, :3].T + affine[:3, 3]


def judged(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values and places of the voxels as the format's own library reads them."""
    if path.name.endswith((".nii", ".nii.gz")):
        image = nib.load(path)
        return image.get_fdata(), world(image.affine, image.shape)
    image = sitk.ReadImage(str(path))
    places = [image.TransformIndexToPhysicalPoint(i) for i in np.ndindex(image.GetSize())]
    points = np.reshape(places, (*image.GetSize(), 3)) * (-1, -1, 1)
    return sitk.GetArrayFromImage(image).T.astype(np.float64), points


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)  # a thousand times: most of the time otherwise
        yield tmp_path_factory.mktemp("roundtrip")


@given(how=cases((*NIFTI, *ITK)))
@settings(max_examples=1000, deadline=None)
def test_a_scan_is_read_and_written_back(folder: Path, how: Stored) -> None:
    values = how.values()
    path = saved(folder, how, values)
    volume = scan_source(path).read()
    truth, places = judged(path)
    np.testing.assert_allclose(places, world(how.placed(), how.shape), atol=0.05)
    np.testing.assert_allclose(world(volume.affine, how.shape), places, atol=1e-6)
    assert scan_source(path).grid().matches(volume.grid)
    scale = max(abs(truth).max(), abs(values.astype(float)).max() * abs(how.slope), 1e-30)
    np.testing.assert_allclose(volume.array[0] / scale, truth / scale, atol=3e-7)
    if not how.scaled:
        np.testing.assert_array_equal(volume.array[0], values.astype(np.float32))
    back = folder / "back.nii.gz"
    write_nifti(back, volume, like=path)
    again, where = judged(back)
    np.testing.assert_array_equal(again, volume.array[0])
    np.testing.assert_allclose(where, places, atol=1e-4)


@given(how=cases((*NIFTI, *ITK)))
@settings(max_examples=150, deadline=None)
def test_a_mask_is_read_and_written_back(folder: Path, how: Stored) -> None:
    values = how.values(highest=4)
    path = saved(folder, replace(how, slope=1.0, inter=0.0), values)
    mask = scan_mask(path).read()
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array[0], values)
    back = folder / "mask.nii.gz"
    write_nifti(back, mask, like=path)
    again, where = judged(back)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_allclose(where, judged(path)[1], atol=1e-4)


def with_header(path: Path, **fields: object) -> Path:
    """A NIfTI file of 24 voxels with some fields of its header replaced."""
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    header = nib.Nifti1Header(image.to_bytes()[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + image.to_bytes()[348:])
    return path


def test_sform_and_qform_in_conflict_are_said(tmp_path: Path) -> None:
    path = with_header(tmp_path / "a.nii", qform_code=1, sform_code=2, qoffset_x=3.5)
    volume = NiftiSource(path).read()
    assert volume.notes == ("sform and qform lie up to 3.50 mm apart; the sform was taken",)
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    for fields in ({"qoffset_x": 0.04}, {"qoffset_x": 3.5, "qform_code": 0}):
        path = with_header(tmp_path / "a.nii", **{"qform_code": 1, "sform_code": 2, **fields})
        assert NiftiSource(path).read().notes == ()
    path = with_header(tmp_path / "a.nii", qform_code=1, sform_code=2, quatern_b=9)
    assert "its qform is damaged" in NiftiSource(path).read().notes[0]


@pytest.mark.parametrize(
    ("fields", "shape"),
    [
        ({"dim": [4, 2, 3, 4, 1, 0, 0, 0]}, (2, 3, 4)),
        ({"dim": [4, 2, 3, 4, 0, 0, 0, 0]}, (2, 3, 4)),
        ({"dim": [5, 2, 3, 4, 1, 1, 0, 0]}, (2, 3, 4)),
        ({"dim": [2, 6, 4, 0, 0, 0, 0, 0]}, (6, 4, 1)),
        ({"dim": [0] * 8}, None),
        ({"dim": [1, 24, 0, 0, 0, 0, 0, 0]}, None),
        ({"dim": [3, 2, 3, 0, 1, 1, 1, 1]}, None),
        ({"dim": [3, -2, -3, 4, 1, 1, 1, 1]}, None),
        ({"dim": [5, 2, 3, 4, -1, -1, 1, 1]}, None),
        ({"sform_code": 1, "srow_x": [np.inf, 0, 0, 0]}, None),
        ({"sform_code": 1, "srow_x": [1e38, 0, 0, 0]}, None),
        ({"sform_code": 1, "srow_x": [1, 0, 0, 1e30]}, None),
        ({"sform_code": 0, "qform_code": 1, "quatern_b": np.nan}, None),
        ({"sform_code": 0, "qform_code": 0, "pixdim": [1, np.inf, 1, 1, 1, 1, 1, 1]}, None),
    ],
)
def test_odd_headers_are_read_or_refused(
    tmp_path: Path, fields: dict[str, object], shape: tuple[int, ...] | None
) -> None:
    source = NiftiSource(with_header(tmp_path / "a.nii", **fields))
    if shape is None:
        with pytest.raises(DataError, match=r"a.nii: .*; expected"):
            source.read()
    else:
        assert source.read().array.shape == (1, *shape)


def deep_png(path: Path, pixels: np.ndarray, kind: int) -> None:
    """A PNG of 16 bits, which PIL does not write with colours (PNG 3rd edition, section 11)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", *pixels.shape[1::-1], 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


DEEP = np.random.default_rng(0).integers(0, 2**16, (5, 7), dtype=np.uint16)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "f4"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
def test_a_tiff_keeps_its_whole_range(tmp_path: Path, dtype: str, compression: str | None) -> None:
    stored = (DEEP // (257 if dtype == "u1" else 1)).astype(dtype)
    if compression and dtype == ">u2":
        stored = stored.astype("u2")
    Image.fromarray(stored).save(tmp_path / "a.tif", compression=compression)
    volume = ImageSource(tmp_path / "a.tif").read()
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, stored.astype(np.float32))
    assert volume.notes == ()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tiff_of_another_writer_keeps_its_whole_range(
    tmp_path: Path, dtype: str, packed: bool
) -> None:
    scale = {"u4": 65537, "i4": 32768, "f4": 0.1}.get(dtype, 1)
    shift = 2 ** (8 * np.dtype(dtype).itemsize - 1) if dtype[0] == "i" else 0
    levels = DEEP // (257 if dtype[1] == "1" else 1)
    stored = (levels.astype(np.float64) * scale - shift).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(stored), str(tmp_path / "a.tif"), packed)
    volume = ImageSource(tmp_path / "a.tif").read()
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, stored.astype(np.float32))


def test_colours_of_sixteen_bits_are_not_squeezed(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    deep_png(path, np.stack([DEEP] * 3, -1), 2)
    volume = ImageSource(path).read()
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, DEEP)
    assert volume.notes == ()
    deep_png(path, np.stack([DEEP, DEEP // 2, DEEP // 3, DEEP], -1), 6)
    volume = ImageSource(path).read()
    luminance = DEEP * 0.299 + DEEP // 2 * 0.587 + DEEP // 3 * 0.114
    np.testing.assert_allclose(volume.array[0, :, :, 0].T, luminance, rtol=1e-6)
    assert "luminance" in volume.notes[0]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="is no image that can be read"):
        ImageSource(path).read()
    deep_png(path, np.stack([DEEP, DEEP], -1), 4)
    with pytest.raises(DataError, match="16-bit RGBA is not read"):
        ImageSource(path).read()


def test_masks_of_sixteen_bits_and_in_other_colours(tmp_path: Path) -> None:
    truth = DEEP > 30000
    Image.fromarray(truth * np.uint16(65535)).save(tmp_path / "a.png")
    mask = ImageMask(tmp_path / "a.png", 32768).read()
    np.testing.assert_array_equal(mask.array[0, :, :, 0].T, truth)
    Image.fromarray(truth * np.uint16(300)).save(tmp_path / "b.tif", compression="tiff_lzw")
    labels = ImageMask(tmp_path / "b.tif").read()
    assert (labels.array.dtype, labels.array.max()) == (np.int16, 300)
    for mode, name in (("1", "c.png"), ("LA", "c.png"), ("P", "c.png"), ("CMYK", "c.tif")):
        Image.fromarray(truth * np.uint8(255)).convert(mode).save(tmp_path / name)
        mask = ImageMask(tmp_path / name, 128).read()
        np.testing.assert_array_equal(mask.array[0, :, :, 0].T, truth)
