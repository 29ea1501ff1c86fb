"""Volumes keep their place in the world, whatever is done to their axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform
from scipy.spatial.transform import Rotation

from glioscope.core.errors import DataError
from glioscope.core.volume import Grid, Volume, bounding_box, checked_affine

ORIENTATIONS = [
    "".join(codes)
    for order in itertools.permutations(["LR", "PA", "IS"])
    for codes in itertools.product(*order)
]


def oblique(angles=(10, -20, 5), spacing=(0.9, 1.1, 5.5), origin=(-31, 12, 7)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


def reoriented(volume: Volume, codes: str) -> Volume:
    """The same voxels in another axis order, made by nibabel rather than by us."""
    import nibabel as nib

    turn = ornt_transform(nib.io_orientation(volume.affine), axcodes2ornt(codes))
    array = np.stack([nib.apply_orientation(a, turn) for a in volume.array])
    affine = volume.affine @ inv_ornt_aff(turn, volume.array.shape[1:])
    return Volume(array, volume.names, affine)


def world_of(volume: Volume, value: float) -> np.ndarray:
    return volume.grid.world(np.argwhere(volume.array[0] == value))[0]


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_canonical_and_back_moves_no_voxel(codes: str) -> None:
    array = np.random.default_rng(0).permutation(5 * 6 * 7).reshape(1, 5, 6, 7).astype(np.float32)
    stored = reoriented(Volume(array, ("t1",), oblique()), codes)
    assert stored.orientation == codes
    straight = stored.canonical()
    assert straight.orientation == "RAS"
    for value in (0, 11, 209):
        np.testing.assert_allclose(world_of(straight, value), world_of(stored, value), atol=1e-9)
    back = straight.onto(stored.grid)
    np.testing.assert_array_equal(back.array, stored.array)


affines = st.builds(
    oblique,
    st.tuples(*[st.floats(-25, 25)] * 3),
    st.tuples(*[st.floats(0.3, 6)] * 3),
    st.tuples(*[st.floats(-200, 200)] * 3),
)


@given(
    affine=affines, codes=st.sampled_from(ORIENTATIONS), start=st.tuples(*[st.integers(-4, 4)] * 3)
)
@settings(deadline=None)
def test_crop_keeps_world_coordinates(affine, codes, start) -> None:
    array = np.zeros((1, 6, 5, 4), np.uint8)
    array[0, 3, 2, 1] = 1
    volume = reoriented(Volume(array, ("mask",), affine), codes)
    cropped = volume.crop(start, (9, 9, 9))
    if cropped.array.any():
        np.testing.assert_allclose(world_of(cropped, 1), world_of(volume, 1), atol=1e-6)
    whole = volume.crop((-5, -5, -5), (20, 20, 20))
    np.testing.assert_allclose(world_of(whole, 1), world_of(volume, 1), atol=1e-6)


@given(
    affine=affines, codes=st.sampled_from(ORIENTATIONS), spacing=st.tuples(*[st.floats(0.7, 2)] * 3)
)
@settings(deadline=None, max_examples=30)
def test_resampling_keeps_the_centre_of_a_blob(affine, codes, spacing) -> None:
    x, y, z = np.mgrid[:24, :24, :24]
    blob = np.exp(-((x - 11.0) ** 2 + (y - 12.5) ** 2 + (z - 10.0) ** 2) / 18).astype(np.float32)
    volume = reoriented(Volume(blob[None], ("p",), affine), codes)
    other = volume.resample(np.array(volume.spacing) * spacing)
    assert np.linalg.norm(centre(other) - centre(volume)) < 0.15 * max(volume.spacing)
    back = other.onto(volume.grid)
    assert np.linalg.norm(centre(back) - centre(volume)) < 0.15 * max(volume.spacing)


def centre(volume: Volume) -> np.ndarray:
    index = np.argwhere(volume.array[0] > 0.05)
    weight = volume.array[0][tuple(index.T)]
    return np.average(volume.grid.world(index), axis=0, weights=weight)


def test_onto_an_oblique_grid_agrees_with_nibabel() -> None:
    import nibabel as nib
    from nibabel.processing import resample_from_to

    rng = np.random.default_rng(1)
    array = rng.normal(size=(1, 20, 21, 9)).astype(np.float32)
    volume = Volume(array, ("t1",), oblique())
    grid = Grid((18, 19, 20), oblique((4, 8, -3), (0.8, 0.9, 2.2), (-30, 13, 8)))
    ours = volume.onto(grid).array[0]
    theirs = resample_from_to(
        nib.Nifti1Image(array[0], volume.affine), (grid.shape, grid.affine), order=1
    ).get_fdata()
    inside = np.abs(theirs) > 1e-6
    assert inside.mean() > 0.2
    np.testing.assert_allclose(ours[inside], theirs[inside], atol=1e-4)


def test_masks_are_never_interpolated_and_grow_nothing_outside() -> None:
    array = np.full((1, 4, 4, 4), 4, np.uint8)
    small = Volume(array, ("mask",), np.diag([2.0, 2, 2, 1]))
    grid = Grid(
        (30, 30, 30), np.array([[1, 0, 0, -9.5], [0, 1, 0, -9.5], [0, 0, 1, -9.5], [0, 0, 0, 1]])
    )
    moved = small.onto(grid)
    assert set(np.unique(moved.array)) == {0, 4}
    assert np.count_nonzero(moved.array) == 8**3


def test_resizing_an_image_keeps_its_unit_and_single_slice() -> None:
    image = Volume(np.ones((1, 64, 48, 1), np.float32), ("image",), unit="px")
    small = image.onto(image.grid.resized((16, 16, 1)))
    assert small.array.shape == (1, 16, 16, 1)
    np.testing.assert_allclose(small.array, 1, atol=1e-6)
    assert small.onto(image.grid).array.shape == image.array.shape
    with pytest.raises(ValueError, match="no place"):
        image.onto(Grid((4, 4, 4), np.eye(4)))


def test_a_tiny_shear_is_repaired_and_said_and_a_large_one_refused() -> None:
    sheared = oblique()
    sheared[:3, 0] += 0.002 * sheared[:3, 1]
    fixed, notes = checked_affine(sheared, "scan.nii")
    axes = fixed[:3, :3] / np.linalg.norm(fixed[:3, :3], axis=0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert "shear" in notes[0]
    assert checked_affine(oblique(), "scan.nii")[1] == ()
    sheared[:3, 0] += 0.2 * sheared[:3, 1]
    with pytest.raises(DataError, match=r"scan.nii: the affine is sheared"):
        checked_affine(sheared, "scan.nii")
    with pytest.raises(DataError, match="singular"):
        checked_affine(np.diag([1, 0, 1, 1]), "scan.nii")


def test_bounding_box() -> None:
    mask = np.zeros((5, 6, 7), bool)
    assert bounding_box(mask) == ((0, 0, 0), (5, 6, 7))
    mask[1:3, 2, 3:7] = True
    assert bounding_box(mask) == ((1, 2, 3), (2, 1, 4))
