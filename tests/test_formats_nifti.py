"""NIfTI files: voxels, places and types survive being read and written."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from glioscope.core.case import Source
from glioscope.core.errors import DataError
from glioscope.core.volume import Volume
from glioscope.formats.nifti import NiftiMask, NiftiSource, write_nifti

AFFINE = np.array([[-1, 0, 0, 90], [0, -1.5, 0, 126], [0, 0, 2, -72], [0, 0, 0, 1]], float)


def saved(path: Path, array: np.ndarray, affine: np.ndarray | None = AFFINE, **codes: int) -> Path:
    image = nib.Nifti1Image(array, affine)
    if "sform" in codes:
        image.set_sform(affine, codes["sform"])
    if "qform" in codes:
        image.set_qform(affine, codes["qform"])
    nib.save(image, path)
    return path


def ramp(dtype: type = np.int16, shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_a_scan_is_read_as_nibabel_reads_it(tmp_path: Path, name: str, dtype: type) -> None:
    path = saved(tmp_path / name, ramp(dtype))
    source = NiftiSource(path)
    volume = source.read()
    assert isinstance(source, Source)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], ramp())
    np.testing.assert_allclose(volume.affine, nib.load(path).affine)
    assert source.grid().matches(volume.grid)
    assert source.grid().orientation == "LPS"
    assert volume.unit == "mm"


def test_the_scaling_of_the_header_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), AFFINE)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "a.nii")
    read = NiftiSource(tmp_path / "a.nii").read().array[0]
    np.testing.assert_array_equal(read, nib.load(tmp_path / "a.nii").get_fdata())


def test_big_endian_nifti2_and_header_extensions_are_read(tmp_path: Path) -> None:
    big = nib.Nifti1Image(ramp(), AFFINE, nib.Nifti1Header(endianness=">"))
    big.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a long comment " * 60))
    nib.save(big, tmp_path / "big.nii")
    nib.save(nib.Nifti2Image(ramp(), AFFINE), tmp_path / "two.nii.gz")
    for name in ("big.nii", "two.nii.gz"):
        np.testing.assert_array_equal(NiftiSource(tmp_path / name).read().array[0], ramp())


def test_compression_is_told_by_the_first_bytes(tmp_path: Path) -> None:
    plain = saved(tmp_path / "a.nii", ramp())
    (tmp_path / "b.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("b.nii.gz", "c.nii"):
        np.testing.assert_array_equal(NiftiSource(tmp_path / name).read().array[0], ramp())


def test_the_sform_goes_before_the_qform_if_it_has_a_code(tmp_path: Path) -> None:
    image = nib.Nifti1Image(ramp(), None)
    image.set_qform(AFFINE, 1)
    moved = AFFINE.copy()
    moved[0, 3] = 7
    image.set_sform(moved, 0)
    nib.save(image, tmp_path / "q.nii")
    image.set_sform(moved, 2)
    nib.save(image, tmp_path / "s.nii")
    assert NiftiSource(tmp_path / "q.nii").grid().affine[0, 3] == 90
    assert NiftiSource(tmp_path / "s.nii").grid().affine[0, 3] == 7


def test_a_header_without_orientation_is_said(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", ramp(), AFFINE, sform=0, qform=0)
    assert "no orientation" in NiftiSource(path).read().notes[0]


def test_a_tiny_shear_is_repaired_and_said(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.004
    path = saved(tmp_path / "a.nii", ramp(), sheared)
    assert "shear" in NiftiSource(path).read().notes[0]


def test_a_single_frame_is_squeezed(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", ramp(shape=(4, 5, 6, 1)))
    assert NiftiSource(path).read().array.shape == (1, 4, 5, 6)
    flat = saved(tmp_path / "b.nii", ramp(shape=(4, 5)))
    assert NiftiSource(flat).grid().shape == (4, 5, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int32])
def test_masks_are_whole_numbers_however_they_are_stored(tmp_path: Path, dtype: type) -> None:
    values = ramp(np.uint8) % 5
    mask = NiftiMask(saved(tmp_path / "a.nii.gz", values.astype(dtype))).read()
    assert mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array[0], values)


def test_large_labels_become_int16(tmp_path: Path) -> None:
    mask = NiftiMask(saved(tmp_path / "a.nii.gz", ramp(np.int32) * 10)).read()
    assert mask.array.dtype == np.int16
    assert mask.array.max() == 1190


@pytest.mark.parametrize("name", ["out.nii", "out.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.bool_])
def test_what_is_written_is_what_is_read(tmp_path: Path, name: str, dtype: type) -> None:
    array = (ramp() % 2).astype(dtype)
    path = tmp_path / name
    write_nifti(path, Volume(array[None], ("mask",), AFFINE))
    image = nib.load(path)
    assert image.get_data_dtype() == (np.uint8 if dtype is np.bool_ else dtype)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    np.testing.assert_allclose(image.get_sform(), AFFINE)
    np.testing.assert_allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 1)
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith("gz")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_the_same_voxels_give_the_same_bytes(tmp_path: Path) -> None:
    volume = Volume(ramp()[None], ("a",), AFFINE)
    write_nifti(tmp_path / "a.nii.gz", volume)
    write_nifti(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_like_copies_the_place_to_the_bit(tmp_path: Path) -> None:
    sheared = AFFINE.copy()
    sheared[0, 1], sheared[1, 0] = 0.004, -0.0
    original = saved(tmp_path / "a.nii", ramp(), sheared, sform=2, qform=0)
    volume = NiftiSource(original).read()
    write_nifti(tmp_path / "out.nii.gz", volume, like=original)
    before, after = nib.load(original), nib.load(tmp_path / "out.nii.gz")
    assert before.affine.tobytes() == after.affine.tobytes()
    for name in ("sform_code", "qform_code", "quatern_b", "xyzt_units"):
        assert before.header[name] == after.header[name]
    np.testing.assert_array_equal(before.header["pixdim"][:4], after.header["pixdim"][:4])


def test_like_is_left_aside_on_another_grid(tmp_path: Path) -> None:
    original = saved(tmp_path / "a.nii", ramp())
    moved = AFFINE.copy()
    moved[:3, 3] += 10
    write_nifti(tmp_path / "out.nii", Volume(ramp()[None], ("a",), moved), like=original)
    np.testing.assert_allclose(nib.load(tmp_path / "out.nii").affine, moved)


def test_identity_is_name_and_size(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.nii", ramp(np.uint8))
    assert NiftiSource(path).identity == f"a.nii:{path.stat().st_size}" == "a.nii:472"


@pytest.mark.parametrize(("code", "unit"), [(1, "metres"), (3, "micrometres"), (12, "code 4")])
def test_lengths_that_are_not_mm_are_refused(tmp_path: Path, code: int, unit: str) -> None:
    image = nib.Nifti1Image(ramp(), AFFINE)
    for allowed in (0, 2, 8 | 2):  # unknown, mm, mm and seconds
        image.header["xyzt_units"] = allowed
        nib.save(image, tmp_path / "a.nii")
        assert NiftiSource(tmp_path / "a.nii").grid().spacing == (1, 1.5, 2)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii")
    for read in (NiftiSource(tmp_path / "a.nii").grid, NiftiMask(tmp_path / "a.nii").read):
        with pytest.raises(DataError, match=f"unit of length is {unit} .*; expected mm; scale"):
            read()
