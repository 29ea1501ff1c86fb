"""NRRD and MetaImage files are as good as NIfTI everywhere, and damaged ones are refused."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from glioscope.core.case import Source
from glioscope.core.errors import DataError
from glioscope.core.volume import Grid
from glioscope.evaluation.scoring import score_folders
from glioscope.formats.image import read_mask
from glioscope.formats.itk import ItkMask, ItkSource
from glioscope.formats.opening import open_dataset, open_inputs
from glioscope.formats.paths import mask_stem, stem

from .test_volume import oblique

ENDINGS = ("nrrd", "mha")
VALUES = np.random.default_rng(0).integers(0, 1000, (7, 6, 5), dtype=np.int16)
LABELS = (VALUES % 4).astype(np.uint8)
AFFINE = oblique()


def saved(path: Path, array: np.ndarray = VALUES, packed: bool = False) -> Path:
    image = sitk.GetImageFromArray(array.T)
    affine = np.diag([-1.0, -1, 1, 1]) @ AFFINE
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if array.ndim == 3:
        image.SetSpacing(spacing.tolist())
        image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
        image.SetOrigin(affine[:3, 3].tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), packed)
    return path


def refusal(path: Path) -> str:
    for kind in (ItkSource, ItkMask):
        with pytest.raises(DataError) as caught:
            kind(path).read()
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert message.count("; ") >= 1
    return message


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_scan_lies_where_itk_says(tmp_path: Path, ending: str, packed: bool) -> None:
    source = ItkSource(saved(tmp_path / f"a.{ending}", packed=packed))
    volume = source.read()
    assert isinstance(source, Source)
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], VALUES)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)
    assert volume.notes == ()
    assert source.grid().matches(Grid(VALUES.shape, AFFINE))
    assert source.identity == f"a.{ending}:{source.path.stat().st_size}"


@pytest.mark.parametrize("ending", ENDINGS)
def test_masks_are_whole_numbers_however_they_are_stored(tmp_path: Path, ending: str) -> None:
    for dtype in (np.uint8, np.int16, np.uint32, np.float32):
        mask = ItkMask(saved(tmp_path / f"a.{ending}", LABELS.astype(dtype))).read()
        assert mask.array.dtype == np.uint8
        np.testing.assert_array_equal(mask.array[0], LABELS)
    white = ItkMask(saved(tmp_path / f"b.{ending}", (LABELS > 1) * np.uint8(255))).read()
    assert white.notes == ("masks of 0 and 255 were read as 0 and 1",)
    np.testing.assert_array_equal(white.array[0], LABELS > 1)
    path = saved(tmp_path / f"c.{ending}", LABELS / 2)
    with pytest.raises(DataError, match="not whole numbers"):
        ItkMask(path).read()


def test_nan_is_refused_and_a_missing_orientation_said(tmp_path: Path) -> None:
    bad = VALUES.astype(np.float32)
    bad[0, 0, :2] = np.nan, np.inf
    assert "2 of 210 voxels are NaN or infinite" in refusal(saved(tmp_path / "a.mha", bad))
    whole = saved(tmp_path / "b.mha").read_bytes()
    lines = [line for line in whole.split(b"\n") if not line.startswith(b"TransformMatrix")]
    (tmp_path / "b.mha").write_bytes(b"\n".join(lines))
    assert "no orientation" in ItkSource(tmp_path / "b.mha").read().notes[0]


def changed(path: Path, old: bytes, new: bytes) -> Path:
    content = saved(path).read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


def test_lengths_in_mm_and_scaling_by_one_are_read(tmp_path: Path) -> None:
    more = b"DistanceUnits = mm\nElementToIntensityFunctionSlope = 1.0\n"
    more += b"ElementToIntensityFunctionOffset = 0e0\n"
    unknown = b"DistanceUnits = ?\n"
    for new in (more, unknown):
        path = changed(tmp_path / "a.mha", b"NDims = 3\n", b"NDims = 3\n" + new)
        np.testing.assert_array_equal(ItkSource(path).read().array[0], VALUES)
    for units in (b'"mm" "mm" "mm"', b'"" "" ""', b'"millimeter" "MM" "???"'):
        new = b"encoding: raw\nspace units: " + units
        path = changed(tmp_path / "a.nrrd", b"encoding: raw", new)
        assert ItkSource(path).read().notes == ()


SPACE = b"space: left-posterior-superior"


@pytest.mark.parametrize(
    ("space", "turned", "told"),
    [
        (b"space: LPS", (1, 1, 1), True),
        (b"space: right-anterior-superior", (-1, -1, 1), True),
        (b"space: ras", (-1, -1, 1), True),
        (b"space: Left-Anterior-Superior", (1, -1, 1), True),
        (b"space: scanner-xyz", (1, 1, 1), False),
        (b"space: 3D-right-handed", (1, 1, 1), False),
        (b"space dimension: 3", (1, 1, 1), False),
    ],
)
def test_a_world_that_is_not_that_of_the_body_is_said(
    tmp_path: Path, space: bytes, turned: tuple[int, int, int], told: bool
) -> None:
    volume = ItkSource(changed(tmp_path / "a.nrrd", SPACE, space)).read()
    np.testing.assert_allclose(volume.affine, np.diag([*turned, 1]) @ AFFINE, atol=1e-4)
    assert ("no orientation" in "".join(volume.notes)) == (not told)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path / f"a.{ending}")
    strange = path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff." + ending.encode()))
    for read in (ItkSource(strange).grid, ItkSource(strange).read, ItkMask(strange).read):
        with pytest.raises(DataError, match=r"its name is not UTF-8; .*; rename it"):
            read()


def test_several_frames_are_refused_and_one_is_read(tmp_path: Path) -> None:
    (path := tmp_path / "a.mha").touch()
    sitk.WriteImage(sitk.Image([4, 5, 6, 1], sitk.sitkInt16), str(path))
    assert ItkSource(path).read().array.shape == (1, 4, 5, 6)
    sitk.WriteImage(sitk.Image([4, 5, 6, 2], sitk.sitkInt16), str(path))
    assert "shape 4x5x6x2; expected one 3D scan" in refusal(path)
    sitk.WriteImage(sitk.Image([4, 5, 6], sitk.sitkVectorUInt8, 3), str(path))
    assert "with 3 values each" in refusal(path)
    flat = saved(tmp_path / "b.nrrd", VALUES[:, :, 0])
    assert ItkSource(flat).grid().shape == (7, 6, 1)


def turned(data: bytes) -> bytes:
    """The same file with one bit turned in the middle of its voxels."""
    middle = len(data) - 100
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize("ending", ENDINGS)
def test_damaged_files(tmp_path: Path, ending: str, capfd: pytest.CaptureFixture[str]) -> None:
    plain = saved(tmp_path / f"plain.{ending}").read_bytes()
    packed = saved(tmp_path / f"packed.{ending}", packed=True).read_bytes()
    sizes = (b"sizes: 7 6 5", b"DimSize = 7 6 5")
    huge = plain
    for size in sizes:
        huge = huge.replace(size, size.replace(b"7 6 5", b"30000 30000 30000"))
    for content, message in (
        (b"", "the file is empty"),
        (b"these are not voxels\n" * 40, "is neither NRRD nor MetaImage (it starts with b'these"),
        (plain[:60], "is neither NRRD nor MetaImage"),
        (plain[:-10], "cannot hold the voxels that it promises (7x6x5)"),
        (huge, "cannot hold the voxels that it promises (30000x30000x30000)"),
        (packed[:-4], "is damaged or cut off"),
        (packed[:-90], "is damaged or cut off"),
        (turned(packed), "is damaged or cut off (Error -3 while decompressing"),
    ):
        (tmp_path / f"a.{ending}").write_bytes(content)
        assert message in refusal(tmp_path / f"a.{ending}")
    (tmp_path / f"a.{ending}").unlink()
    assert "there is no such file" in refusal(tmp_path / f"a.{ending}")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ending", "old", "new", "message"),
    [
        ("mha", b"= LOCAL", b"= /etc/passwd", "its voxels are in another file"),
        (
            "mha",
            b"NDims = 3",
            b"NDims = 99999999999",
            "its header is damaged (NDims '99999999999')",
        ),
        ("mha", b"NDims = 3\n", b"", "its header is damaged (NDims '')"),
        ("mha", b"DimSize = 7 6 5\n", b"", "its header is damaged (no DimSize)"),
        ("mha", b"DimSize = 7 6", b"DimSize = 7", "its header is damaged (DimSize '7 5')"),
        ("mha", b"Offset = ", b"Offset = nan ", "its header is damaged (Offset 'nan"),
        ("mha", b"BinaryData = True", b"BinaryData = False", "its voxels are stored as 'text'"),
        ("mha", b"CompressedData = False", b"CompressedData = True", "(no CompressedDataSize)"),
        ("mha", b"MET_SHORT", b"MET_STRING", "holds voxels of"),
        (
            "mha",
            b"NDims = 3\n",
            b"NDims = 3\nDistanceUnits = cm\n",
            "unit of length is cm; expec",
        ),
        (
            "mha",
            b"NDims = 3\n",
            b"NDims = 3\nElementToIntensityFunctionSlope = 2\n",
            "ElementToIntensityFunctionSlope is 2; expected 1",
        ),
        (
            "mha",
            b"NDims = 3\n",
            b"NDims = 3\nElementToIntensityFunctionOffset = x\n",
            "its header is damaged (ElementToIntensityFunctionOffset 'x')",
        ),
        (
            "nrrd",
            b"encoding: raw",
            b'encoding: raw\nspace units: "mm" "um" "mm"',
            "its unit of length is um; expected mm",
        ),
        ("nrrd", b"encoding: raw", b'encoding: raw\nunits: "m" "m" "m"', "length is m; expected"),
        ("nrrd", b"encoding: raw", b"encoding: ascii", "its voxels are stored as 'ascii'"),
        ("nrrd", b"encoding: raw", b"encoding: raw\ndata file: -", "are in another file"),
        ("nrrd", b"encoding: raw", b"encoding: raw\nline skip: 1", "do not follow its header"),
        ("nrrd", b"dimension: 3", b"dimension: 3\ndimension: 3", "the line 'dimension: 3'"),
        ("nrrd", b"sizes: 7 6 5", b"sizes: 7 6", "sizes"),
        ("nrrd", b"type: short", b"type: block", "is damaged or cut off"),
    ],
)
def test_headers_that_itk_should_not_see(
    tmp_path: Path,
    ending: str,
    old: bytes,
    new: bytes,
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = saved(tmp_path / f"a.{ending}")
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    assert message in refusal(path)
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("headers")
    return folder, {e: saved(folder / f"a.{e}", packed=True).read_bytes() for e in ENDINGS}


@given(ending=st.sampled_from(ENDINGS), data=st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_stands_in_a_header_is_read_or_refused(headers, ending, data) -> None:
    folder, contents = headers
    content = contents[ending]
    last = content.index(b"\n\n") if ending == "nrrd" else content.index(b"LOCAL") + 6
    start = data.draw(st.integers(0, last))
    length = data.draw(st.integers(0, 12))
    words = st.sampled_from([b"0", b"-1", b"99999999999", b"nan", b"\n", b" ", b"1e308", b"4"])
    new = data.draw(words | st.binary(max_size=4))
    path = folder / f"b.{ending}"
    path.write_bytes(content[:start] + new + content[start + length :])
    with suppress(DataError):
        assert ItkSource(path).read().array.size


def test_names_lose_their_suffix() -> None:
    assert stem("P1.2_t1.nrrd") == "P1.2_t1"
    assert mask_stem("P1_seg.MHA") == "P1"


@pytest.mark.parametrize("ending", ENDINGS)
def test_they_stand_wherever_nifti_does(tmp_path: Path, ending: str) -> None:
    for name in ("t1", "t1c", "seg"):
        array = LABELS if name == "seg" else VALUES
        saved(tmp_path / "data" / "P1" / f"P1_{name}.{ending}", array)
    (tmp_path / "data" / "P1" / f"notes.{ending}").touch()
    dataset = open_dataset(tmp_path / "data")
    (case,) = dataset.cases
    assert (dataset.format, case.id, sorted(case.channels)) == ("brats", "P1", ["t1", "t1c"])
    assert "1 scan files were passed over" in dataset.notes[0]
    assert dataset.labels is not None
    mask = case.read_mask(dataset.labels, case.grid())
    np.testing.assert_array_equal(mask.array[0], LABELS)
    table = tmp_path / "cases.csv"
    table.write_text(f"case,t1,mask\nA,data/P1/P1_t1.{ending},data/P1/P1_seg.{ending}\n")
    (listed,) = open_dataset(table).cases
    np.testing.assert_array_equal(listed.read(["t1"]).array[0], VALUES)
    alone = tmp_path / "data" / "P1" / f"P1_t1.{ending}"
    ((single, _),) = open_inputs([alone], {})
    assert (single.id, [*single.channels]) == ("P1", ["t1"])
    ((given_, _),) = open_inputs([], {"t1c": alone})
    np.testing.assert_array_equal(given_.read(["t1c"]).array[0], VALUES)
    np.testing.assert_array_equal(
        read_mask(saved(tmp_path / f"m.{ending}", LABELS)).array[0], LABELS
    )


def test_two_files_of_one_channel_are_refused(tmp_path: Path) -> None:
    for ending in ENDINGS:
        saved(tmp_path / "P1" / f"P1_t1.{ending}")
    with pytest.raises(DataError, match=r"P1_t1.mha and P1_t1.nrrd both claim to be the t1"):
        open_dataset(tmp_path)


def test_a_prediction_is_written_as_nifti_on_the_grid_of_the_scan(
    tiny_model: Path, tmp_path: Path
) -> None:
    from glioscope.api.predicting import predict

    folder = tmp_path / "in" / "P1"
    head = open_dataset("phantom:cases=1,seed=5,spacing=6").cases[0]
    for name, source in head.channels.items():
        array = source.read().array[0].astype(np.int16)
        saved(folder / f"P1_{name}.nrrd", array)
    (record,) = predict(tiny_model, [tmp_path / "in"], tmp_path / "out")
    assert record.error is None
    image = nib.load(tmp_path / "out" / "P1.nii.gz")
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-4)
    assert image.shape == head.grid().shape


def test_a_score_pairs_them_with_nifti(tmp_path: Path) -> None:
    saved(tmp_path / "truth" / "P1_seg.mha", LABELS)
    saved(tmp_path / "truth" / "P2_seg.nrrd", LABELS)
    for name in ("P1", "P2"):
        saved(tmp_path / "predicted" / f"{name}.nii.gz", LABELS)
    found = score_folders(tmp_path / "truth", tmp_path / "predicted", None)
    assert sorted(pair.case for pair in found.cases) == ["P1", "P2"]
