"""2D images and masks keep their size and meaning."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from glioscope.core.case import Source
from glioscope.core.errors import DataError
from glioscope.core.volume import Volume
from glioscope.formats.image import ImageMask, ImageSource, read_mask, write_image
from glioscope.formats.nifti import write_nifti
from glioscope.formats.opening import open_dataset

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # 3 rows, 4 columns


def saved(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "TIFF"])
def test_columns_come_first(tmp_path: Path, suffix: str) -> None:
    source = ImageSource(saved(tmp_path / f"a.{suffix}", GREY))
    volume = source.read()
    assert isinstance(source, Source)
    assert volume.array.shape == (1, 4, 3, 1)
    assert volume.array.dtype == np.float32
    assert volume.array[0, 3, 1, 0] == GREY[1, 3]
    assert (volume.unit, source.grid().unit) == ("px", "px")
    assert source.grid().matches(volume.grid)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA"])
def test_grey_in_colour_files_stays_as_it_is(tmp_path: Path, mode: str) -> None:
    volume = ImageSource(saved(tmp_path / "a.png", GREY, mode)).read()
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, GREY)
    assert volume.notes == ()


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 256 + 7
    volume = ImageSource(saved(tmp_path / "a.png", deep)).read()
    np.testing.assert_array_equal(volume.array[0, :, :, 0].T, deep)


def test_a_deep_image_with_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    deep = sitk.GetImageFromArray(np.zeros((3, 4, 3), np.uint16), isVector=True)
    sitk.WriteImage(deep, str(tmp_path / "a.png"))
    strange = tmp_path / os.fsdecode(b"x\xff.png")
    (tmp_path / "a.png").rename(strange)
    with pytest.raises(DataError, match=r"x\\udcff.png: its name is not UTF-8; .*; rename it"):
        ImageSource(strange).read()


def test_colours_become_luminance_and_it_is_said(tmp_path: Path) -> None:
    red = np.zeros((3, 4, 3), np.uint8)
    red[..., 0] = 200
    volume = ImageSource(saved(tmp_path / "a.png", red)).read()
    np.testing.assert_allclose(volume.array, 59.8, atol=0.01)
    assert "luminance" in volume.notes[0]


def test_an_exif_orientation_is_said_and_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=exif)
    volume = ImageSource(tmp_path / "a.jpg").read()
    assert volume.array.shape == (1, 4, 3, 1)
    assert "EXIF orientation 6" in volume.notes[0]


def test_a_threshold_makes_a_mask_binary(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", GREY)
    mask = ImageMask(path, 100)
    assert mask.read().array.dtype == np.uint8
    np.testing.assert_array_equal(mask.read().array[0, :, :, 0].T, GREY >= 100)
    assert mask.identity != ImageMask(path, 128).identity


def test_without_a_threshold_values_are_labels(tmp_path: Path) -> None:
    labels = (GREY // 20 % 5).astype(np.uint8)
    mask = ImageMask(saved(tmp_path / "a.png", labels), None).read()
    np.testing.assert_array_equal(mask.array[0, :, :, 0].T, labels)


def test_the_indices_of_a_coloured_palette_are_labels(tmp_path: Path) -> None:
    labels = (GREY // 20 % 3).astype(np.uint8)
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 255, 0, 0, 128, 128, 128])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").array[0, :, :, 0].T, labels)


@pytest.mark.parametrize("colour", [(255, 0, 0), (255, 255, 255), (0, 0, 255)])
def test_a_mask_in_any_colour_is_tumour(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    truth = GREY > 100
    path = saved(tmp_path / "a.png", (truth[..., None] * np.array(colour)).astype(np.uint8))
    np.testing.assert_array_equal(read_mask(path).array[0, :, :, 0].T, truth)


def test_read_mask_binarises_the_noise_of_jpeg(tmp_path: Path) -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[13:41, 6:35] = 255
    Image.fromarray(truth).save(tmp_path / "a.jpg", quality=60)
    assert len(np.unique(np.asarray(Image.open(tmp_path / "a.jpg")))) > 2
    Image.fromarray(truth // 255).save(tmp_path / "empty.jpg")
    assert not read_mask(tmp_path / "empty.jpg").array.any()
    np.testing.assert_array_equal(read_mask(tmp_path / "a.jpg").array[0, :, :, 0].T, truth > 0)


def test_read_mask_and_pairs_agree_on_what_is_half(tmp_path: Path) -> None:
    truth = GREY > 100
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        saved(tmp_path / folder / "a.png", (truth * 100).astype(np.uint8))
    mask = read_mask(tmp_path / "masks" / "a.png")
    assert mask.notes == ("mask images were binarised at 50",)
    (case,) = open_dataset(tmp_path).cases
    for array in (mask.array, case.mask.read().array):  # type: ignore[union-attr]
        np.testing.assert_array_equal(array[0, :, :, 0].T, truth)


def test_read_mask_reads_nifti_labels_as_they_are(tmp_path: Path) -> None:
    labels = (GREY // 20 % 5).astype(np.uint8)[None, :, :, None]
    write_nifti(tmp_path / "a.nii.gz", Volume(labels, ("mask",)))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.nii.gz").array, labels)


def test_a_written_mask_is_8_bit_grey_of_the_same_size(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", GREY.T)
    with Image.open(tmp_path / "a.png") as image:
        assert (image.mode, image.size) == ("L", (4, 3))
        np.testing.assert_array_equal(np.asarray(image), GREY)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match="8-bit"):
        write_image(tmp_path / "b.png", GREY.astype(float))
