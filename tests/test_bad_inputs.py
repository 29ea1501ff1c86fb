"""Broken files: each is one line that names the file, what was found, and the way out."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from glioscope.core.case import Case, Source
from glioscope.core.errors import DataError, GlioscopeError, StorageError
from glioscope.core.labels import SCHEMES
from glioscope.core.volume import Volume
from glioscope.formats.image import ImageMask, ImageSource, read_mask, write_image
from glioscope.formats.nifti import NiftiMask, NiftiSource, write_nifti
from glioscope.formats.opening import open_dataset

NOISE = np.random.default_rng(0).integers(0, 2**15, (9, 9, 9), dtype=np.int16)


def whole(suffix: str, array: np.ndarray = NOISE) -> bytes:
    data: bytes = nib.Nifti1Image(array, np.eye(4)).to_bytes()
    return gzip.compress(data) if suffix.endswith("gz") else data


def promise(shape: tuple[int, int, int]) -> bytes:
    """A file whose header promises more voxels than follow."""
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.float64)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytes(header.binaryblock).ljust(400, b"\0")


def flipped(data: bytes) -> bytes:
    """The same file with one bit turned in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


def refusal(read: Callable[[], object], path: Path) -> str:
    """The message of the error that reading raises, checked for its form."""
    with pytest.raises(DataError) as caught:
        read()
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.count("; ") >= 1
    return message


def field(name: str, value: float) -> bytes:
    """A whole file with one field of its header replaced."""
    image = nib.Nifti1Image(NOISE.astype(np.float32), np.eye(4))
    data: bytes = image.to_bytes()
    header = nib.Nifti1Header(data[:348])
    header[name] = value
    if name == "scl_inter":
        header["scl_slope"] = 2
    return bytes(header.binaryblock) + data[348:]


BROKEN = {
    "offset_nan.nii": (field("vox_offset", np.nan), "its header is damaged"),
    "offset_low.nii": (field("vox_offset", -16), "its header is damaged"),
    "offset_high.nii": (field("vox_offset", 1e30), "cannot hold the voxels"),
    "intercept.nii": (field("scl_inter", np.inf), "damaged or cut off"),
    "sform_code.nii": (field("sform_code", 4096), "its header is damaged (its sform_code is 4096"),
    "slope.nii": (field("scl_slope", 1e38), "729 voxels are NaN or infinite"),
    "empty.nii": (b"", "the file is empty"),
    "empty.nii.gz": (b"", "the file is empty"),
    "text.nii": (b"these are not voxels\n" * 40, "is not NIfTI (it starts with b'these are no')"),
    "short.nii": (b"\x5c\x01\0\0", "is not NIfTI"),
    "text.nii.gz": (b"these are not voxels\n" * 40, "is not NIfTI"),
    "nothing.nii.gz": (gzip.compress(b""), "the file is empty"),
    "garbage.nii.gz": (gzip.compress(b"these are not voxels" * 40), "is not NIfTI"),
    "broken.nii.gz": (b"\x1f\x8b\x08\0" + bytes(range(200)), "damaged or cut off"),
    "cut.nii": (whole(".nii")[:-100], "cannot hold the voxels that its header promises (9x9x9)"),
    "cut.nii.gz": (whole(".gz")[:-300], "damaged or cut off"),
    "cut_at_the_end.nii.gz": (whole(".gz")[:-4], "damaged or cut off"),
    "cut_header.nii.gz": (whole(".gz")[:60], "damaged or cut off"),
    "packed_short.nii.gz": (gzip.compress(whole(".nii")[:-100]), "ends after 1710 of 1810 bytes"),
    "flipped.nii.gz": (flipped(whole(".gz")), "damaged or cut off"),
    "huge.nii": (promise((30000, 30000, 30000)), "cannot hold the voxels"),
    "huge.nii.gz": (gzip.compress(promise((30000, 30000, 30000))), "cannot hold the voxels"),
    "zero.nii": (promise((0, 9, 9)), "shape 0x9x9"),
    "frames.nii": (whole(".nii", np.zeros((3, 3, 3, 2), np.int16)), "shape 3x3x3x2"),
    "complex.nii": (whole(".nii", np.zeros((3, 3, 3), np.complex64)), "holds complex64 voxels"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("kind", [NiftiSource, NiftiMask])
def test_broken_nifti(tmp_path: Path, name: str, kind: Callable[[Path], Source]) -> None:
    content, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(kind(path).read, path)


def test_bad_voxels(tmp_path: Path) -> None:
    bad = NOISE.astype(np.float32)
    bad[0, 0, :3] = np.nan, np.inf, -np.inf
    path = tmp_path / "a.nii.gz"
    path.write_bytes(whole(".gz", bad))
    assert "3 of 729 voxels are NaN or infinite" in refusal(NiftiSource(path).read, path)
    assert "3 of 729 voxels are NaN or infinite" in refusal(NiftiMask(path).read, path)


def test_voxels_too_large_for_float32(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    path.write_bytes(whole(".nii", np.full((3, 3, 3), 1e200)))
    assert "27 of 27 voxels" in refusal(NiftiSource(path).read, path)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.5, "not whole numbers (such as 0.5)"), (-1, "label values from -1"), (40000, "to 40000")],
)
def test_bad_labels(tmp_path: Path, value: float, message: str) -> None:
    values = np.zeros((3, 3, 3), np.float32)
    values[1, 1, 1] = value
    path = tmp_path / "a.nii"
    path.write_bytes(whole(".nii", values))
    assert message in refusal(NiftiMask(path).read, path)


def test_unknown_labels(tmp_path: Path) -> None:
    path = tmp_path / "a_seg.nii"
    path.write_bytes(whole(".nii", np.full((3, 3, 3), 7, np.uint8)))
    case = Case("a", "a", tmp_path, mask=NiftiMask(path))
    message = refusal(lambda: case.read_mask(SCHEMES["brats2021"]), path)
    assert "label values [7] are not in the scheme brats2021" in message


@pytest.mark.parametrize(
    ("shear", "message"), [(0.3, "the affine is sheared"), (np.nan, "singular or not finite")]
)
def test_bad_affines(tmp_path: Path, shear: float, message: str) -> None:
    image = nib.Nifti1Image(NOISE, np.eye(4))
    affine = np.eye(4)
    affine[0, 1] = shear
    image.header["srow_x"] = affine[0]
    image.header["sform_code"] = 1
    path = tmp_path / "a.nii"
    header = bytes(image.header.binaryblock)
    path.write_bytes(header + image.to_bytes()[348:])
    assert message in refusal(NiftiSource(path).grid, path)


@pytest.mark.parametrize("kind", [NiftiSource, NiftiMask, ImageSource])
def test_missing_files(tmp_path: Path, kind: Callable[[Path], Source]) -> None:
    path = tmp_path / "absent.nii"
    for read in (kind(path).read, kind(path).grid, lambda: kind(path).identity):
        assert "there is no such file" in refusal(read, path)


@pytest.mark.parametrize("kind", [NiftiSource, ImageSource])
def test_a_folder_in_place_of_a_file(tmp_path: Path, kind: Callable[[Path], Source]) -> None:
    assert "cannot be read (Is a directory)" in refusal(kind(tmp_path).read, tmp_path)


def picture(path: Path) -> bytes:
    Image.fromarray(NOISE[0].astype(np.uint8)).resize((200, 200)).save(path)
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # pytest undoes our own filter
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_broken_images(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    data = picture(path)
    for content in (b"", b"these are not pixels", data[:20], data[: len(data) // 2]):
        path.write_bytes(content)
        assert "is no image that can be read" in refusal(ImageSource(path).read, path)
        assert "is no image that can be read" in refusal(ImageMask(path, 128).read, path)
        refusal(lambda: read_mask(path), path)


def test_several_images_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    frame = Image.new("L", (4, 4))
    frame.save(path, save_all=True, append_images=[frame])
    assert "it holds 2 images" in refusal(ImageSource(path).read, path)


def test_decompression_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    picture(path)
    monkeypatch.setattr("glioscope.formats.image._MOST_PIXELS", 30)
    assert "decompression bomb" in refusal(ImageSource(path).read, path)


def test_names_with_line_breaks_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.nii"
    with pytest.raises(DataError) as caught:
        NiftiSource(path).read()
    assert "a\\nb.nii" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_modalities_on_different_grids(tmp_path: Path) -> None:
    for name, shape, shift in (("t1", (5, 5, 5), 0), ("t2", (5, 5, 6), 0), ("flair", (5, 5, 5), 3)):
        affine = np.eye(4)
        affine[0, 3] = shift
        volume = Volume(np.zeros((1, *shape), np.uint8), ("image",), affine)
        write_nifti(tmp_path / "P1" / f"P1_{name}.nii.gz", volume)
    (case,) = open_dataset(tmp_path).cases
    with pytest.raises(DataError, match=r"P1_t2.*shape 5x5x6; expected 5x5x5 as in .*P1_t1"):
        case.read(["t1", "t2"])
    with pytest.raises(DataError, match=r"P1_flair.*voxels up to 3.0 mm away from those of"):
        case.read(["t1", "flair"])
    with pytest.raises(DataError, match="case P1 has no t1c"):
        case.read(["t1", "t1c"])


def test_writing_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a"
    with pytest.raises(StorageError, match="cannot be written"):
        write_nifti(path, Volume(np.zeros((1, 2, 2, 2), np.uint8), ("a",)))
    with pytest.raises(StorageError, match="cannot be written"):
        write_image(path, np.zeros((2, 2), np.uint8))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_like_something_that_is_no_nifti(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("text")
    volume = Volume(np.zeros((1, 2, 2, 2), np.uint8), ("a",))
    with pytest.raises(GlioscopeError, match="is not NIfTI"):
        write_nifti(tmp_path / "out.nii", volume, like=tmp_path / "a.nii")
    assert not (tmp_path / "out.nii").exists()
