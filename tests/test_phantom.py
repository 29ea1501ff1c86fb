"""Phantoms: deterministic, plausible, and read back the same from every layout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from glioscope.core.case import Source
from glioscope.core.errors import DataError, StorageError, UnknownName
from glioscope.core.labels import SCHEMES
from glioscope.core.splits import make_splits
from glioscope.formats import formats
from glioscope.formats.brain import SURFACE, TISSUES, Brain, part, places_of
from glioscope.formats.head import CONTRAST, MODALITIES, Head, head_grid, make_head, make_slice
from glioscope.formats.opening import open_dataset
from glioscope.formats.phantom import LAYOUTS, PhantomSource, phantom, write_phantoms

SPACING = 4.0
VALUES = SCHEMES["brats2023"].values


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    return [make_head(0, index, SPACING) for index in range(10)]


@pytest.fixture(scope="module")
def fine() -> Head:
    """A head with an enhancing tumour at the spacing that is the default."""
    return make_head(0, 0)


def contrast(head: Head, channel: str, inside: np.ndarray, outside: np.ndarray) -> float:
    """Median inside over median outside."""
    image = head.volume.channel(channel)
    return float(np.median(image[inside]) / np.median(image[outside]))


@pytest.fixture(scope="module")
def healthy(fine: Head) -> dict[str, np.ndarray]:
    """Where `fine` is made of one healthy tissue."""
    brain = Brain(np.random.default_rng([0, 0]))
    places = places_of(fine.volume.grid)
    depth = brain.depth(places)
    mix = brain.tissues(brain.own(places), depth, fine.volume.spacing[0])
    there = fine.mask.array[0] == 0
    pure = {}
    for name in ("white", "grey", "fluid"):
        pure[name] = ((part(mix, name) > 0.9) & (depth > 0)).reshape(there.shape) & there
    return pure


def test_same_seed_and_index_give_the_same_head(heads: list[Head]) -> None:
    again = make_head(0, 3, SPACING)
    np.testing.assert_array_equal(again.volume.array, heads[3].volume.array)
    np.testing.assert_array_equal(again.mask.array, heads[3].mask.array)


@pytest.mark.parametrize(("seed", "index"), [(1, 3), (0, 4), (3, 0)])
def test_another_seed_or_index_gives_another_head(heads: list[Head], seed: int, index: int) -> None:
    other = make_head(seed, index, SPACING)
    assert (other.mask.array != heads[3].mask.array).any()
    assert (other.volume.array != heads[3].volume.array).any()


def test_another_spacing_samples_the_same_head(heads: list[Head], fine: Head) -> None:
    coarse = fine.mask.array[0, ::2, ::2, ::2].astype(bool)
    again = heads[0].mask.array[0].astype(bool)
    dice = 2 * (coarse & again).sum() / (coarse.sum() + again.sum())
    assert dice > 0.85  # the two grids are half a voxel apart


def test_volumes_are_what_a_scanner_would_write(heads: list[Head]) -> None:
    for head in heads:
        images = head.volume
        assert images.names == MODALITIES
        assert images.orientation == "RAS"
        assert images.spacing == (SPACING,) * 3
        assert images.array.dtype == np.float32
        assert head.mask.array.dtype == np.uint8
        assert head.mask.grid.matches(images.grid)
        np.testing.assert_array_equal(images.array, np.rint(images.array))
        assert 300 < images.array.max() < 32767


def test_the_head_is_the_same_in_all_sequences_and_zero_outside(heads: list[Head]) -> None:
    for head in heads:
        inside = head.volume.array > 0
        assert (inside == inside[0]).all()
        assert not inside[0][head.volume.grid.shape[0] // 2, 0].any()  # not cut off at the back
        assert 1.1 < inside[0].sum() * SPACING**3 / 1e6 < 2.0, "litres"
        assert inside[0][head.mask.array[0] > 0].all()


def test_scales_differ_between_sequences_and_cases(heads: list[Head]) -> None:
    medians = [np.median(image[image > 0]) for head in heads for image in head.volume.array]
    assert max(medians) / min(medians) > 5


def test_tumours_vary_in_size_place_and_kind(heads: list[Head]) -> None:
    whole = [np.count_nonzero(h.mask.array) * SPACING**3 / 1000 for h in heads]
    assert min(whole) > 5
    assert max(whole) < 125
    assert max(whole) > 3 * min(whole)
    present = [set(np.unique(h.mask.array).tolist()) - {0} for h in heads]
    assert all({VALUES["necrosis"], VALUES["oedema"]} <= p <= set(VALUES.values()) for p in present)
    enhancing = [VALUES["enhancing"] in p for p in present]
    assert any(enhancing)
    assert not all(enhancing)
    sides = [np.argwhere(h.mask.array[0])[:, 0].mean() > h.mask.array.shape[1] / 2 for h in heads]
    assert any(sides)
    assert not all(sides)


def test_the_rim_encloses_the_necrosis(fine: Head) -> None:
    from scipy import ndimage

    labels = fine.mask.array[0]
    necrosis = labels == VALUES["necrosis"]
    around = ndimage.binary_dilation(necrosis) & ~necrosis
    assert (labels[around] == VALUES["enhancing"]).mean() > 0.9


@pytest.mark.parametrize(
    ("channel", "brighter", "darker"),
    [
        ("t1", "white", "grey"),
        ("t1", "grey", "fluid"),
        ("t1c", "white", "grey"),
        ("t2", "grey", "white"),
        ("t2", "fluid", "grey"),
        ("flair", "grey", "white"),
        ("flair", "white", "fluid"),
    ],
)
def test_healthy_tissues_have_their_contrasts(
    fine: Head, healthy: dict[str, np.ndarray], channel: str, brighter: str, darker: str
) -> None:
    assert contrast(fine, channel, healthy[brighter], healthy[darker]) > 1.08


@pytest.mark.parametrize(
    ("channel", "label", "low", "high"),
    [
        ("flair", "oedema", 1.2, 2.5),
        ("t2", "oedema", 1.3, 3),
        ("t1", "oedema", 0.6, 0.98),
        ("t1c", "oedema", 0.6, 1.05),
        ("t1c", "enhancing", 1.3, 2.5),
        ("t1", "enhancing", 0.6, 1.0),
        ("t1c", "necrosis", 0.3, 0.8),
        ("t2", "necrosis", 1.8, 4),
    ],
)
def test_tumours_have_their_contrasts(
    fine: Head,
    healthy: dict[str, np.ndarray],
    channel: str,
    label: str,
    low: float,
    high: float,
) -> None:
    tumour = fine.mask.array[0] == VALUES[label]
    assert low < contrast(fine, channel, tumour, healthy["white"]) < high


def test_tumour_and_healthy_intensities_overlap(heads: list[Head]) -> None:
    for head in heads:
        flair, tumour = head.volume.channel("flair"), head.mask.array[0] > 0
        limit = np.percentile(flair[tumour], 20)
        assert (flair[~tumour] > limit).any()


def test_every_place_is_made_of_tissues_that_add_up_to_one() -> None:
    brain = Brain(np.random.default_rng(1))
    places = places_of(head_grid(6.0))
    depth = brain.depth(places)
    inside = depth > SURFACE
    mix = brain.tissues(brain.own(places[:, inside]), depth[inside], 6.0)
    assert CONTRAST.shape == (len(TISSUES), len(MODALITIES))
    np.testing.assert_allclose(mix.sum(0), 1, atol=1e-4)
    assert mix.min() >= 0


@pytest.mark.parametrize("patient", [0, 3])  # with an enhancing rim, and without
def test_slices_show_skull_and_a_tumour(patient: int) -> None:
    head = make_slice(0, patient)
    image, mask = head.volume.array[0, :, :, 0], head.mask.array[0, :, :, 0]
    assert (head.volume.unit, head.volume.names) == ("px", ("image",))
    assert image.shape == mask.shape == (256, 256)
    assert image.min() >= 0
    assert image.max() == 255
    assert set(np.unique(mask)) == {0, 1}
    assert 150 < mask.sum() < 10_000, "pixels"
    assert np.median(image[:8]) < 0.1 * np.median(image[100:156, 100:156])


def test_phantoms_open_as_a_data_set() -> None:
    dataset = open_dataset("phantom:cases=12,seed=3,spacing=8")
    assert (dataset.format, dataset.labels) == ("phantom", SCHEMES["brats2023"])
    assert dataset.cases[0].id == "BraTS-GLI-03000-000"
    assert dataset.cases[0].patient == "BraTS-GLI-03000"
    assert make_splits(dataset, 0).by == "patient"
    case = dataset.cases[11]
    volume = case.read(["flair", "t1"])
    assert volume.names == ("flair", "t1")
    mask = case.read_mask(SCHEMES["brats2023"], volume.grid)
    expected = make_head(3, 11, 8.0)
    np.testing.assert_array_equal(volume.array, expected.volume.array[[3, 0]])
    np.testing.assert_array_equal(mask.array, expected.mask.array)


def test_phantom_slices_open_as_a_data_set() -> None:
    dataset = open_dataset("phantom:cases=11,dims=2")
    assert dataset.labels == SCHEMES["binary"]
    assert [case.id for case in dataset.cases][:4] == ["1", "10", "11", "2"]
    per_patient = {
        c.patient: sum(o.patient == c.patient for o in dataset.cases) for c in dataset.cases
    }
    assert list(per_patient.values()).count(3) == 2
    first = {case.id: case for case in dataset.cases}
    one, two = first["1"].read(["image"]), first["2"].read(["image"])
    assert (one.array != two.array).any()
    assert one.grid.matches(first["1"].grid())
    assert first["1"].read_mask(SCHEMES["binary"], one.grid).array.any()


def test_sources_are_lazy_and_hand_out_copies() -> None:
    source = phantom(Path("phantom:cases=1,spacing=8"), None).cases[0].channels["t1"]
    assert isinstance(source, Source)
    assert isinstance(source, PhantomSource)
    assert source.grid().matches(make_head(0, 0, 8.0).volume.grid)
    first = source.read()
    kept = first.array.copy()
    first.array[:] = -1
    np.testing.assert_array_equal(source.read().array, kept)


def test_identities_and_fingerprints_tell_cohorts_apart() -> None:
    texts = ["", "seed=1", "spacing=3", "cases=9", "dims=2"]
    prints = {phantom(Path(f"phantom:{text}"), None).fingerprint for text in texts}
    assert len(prints) == len(texts)
    assert phantom(Path("phantom:"), None).fingerprint in prints


def test_only_its_prefix_is_claimed(tmp_path: Path) -> None:
    claims = formats["phantom"].traits.claims
    assert claims(Path("phantom:cases=8,seed=0"))
    assert not claims(tmp_path)
    assert not claims(Path("phantoms"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("case=3", "did you mean cases?"),
        ("cases=none", "cases=none; expected a number from 1 to 100000"),
        ("cases=0", "cases=0"),
        ("cases", "cases="),
        ("seed=-1", "seed=-1"),
        ("dims=4", "from 2 to 3"),
        ("spacing=nan", "spacing=nan"),
        ("spacing=0.01", "from 0.5 to 8"),
    ],
)
def test_bad_settings_are_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(DataError, match=r"^phantom:") as caught:
        open_dataset(f"phantom:{text}")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_labels_are_refused() -> None:
    with pytest.raises(DataError, match="brats2023"):
        open_dataset("phantom:cases=1", "brats2021")


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("layout", ["brats", "pairs", "coco"])
def test_every_layout_is_read_back_as_it_was_made(tmp_path: Path, layout: str) -> None:
    seen: list[tuple[int, int]] = []
    count = 2 if layout == "brats" else 6
    files = write_phantoms(
        tmp_path / "out", count, 5, layout, spacing=6.0, progress=lambda *at: seen.append(at)
    )
    assert seen == [(n, count) for n in range(1, count + 1)]
    assert files == sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
    made = phantom(Path(f"phantom:cases={count},seed=5,dims={LAYOUTS[layout][0]},spacing=6"), None)
    found = open_dataset(tmp_path / "out")
    assert (found.format, found.labels) == (layout, made.labels)
    assert [(c.id, c.patient) for c in found.cases] == [(c.id, c.patient) for c in made.cases]
    for case, original in zip(found.cases, made.cases, strict=True):
        names = list(original.channels)
        volume, expected = case.read(names), original.read(names)
        np.testing.assert_array_equal(volume.array, expected.array)
        assert volume.grid.matches(expected.grid)
        mask = case.read_mask(found.labels, volume.grid).array
        truth = original.read_mask(made.labels).array
        if layout == "coco":
            assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.97
        else:
            np.testing.assert_array_equal(mask, truth)


def test_coco_export_is_split_by_patient_and_has_an_unused_parent(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "out", 6, 0, "coco")
    dataset = open_dataset(tmp_path / "out")
    assert {case.split for case in dataset.cases} == {"train", "valid", "test"}
    splits_of = {
        c.patient: {o.split for o in dataset.cases if o.patient == c.patient} for c in dataset.cases
    }
    assert all(len(splits) == 1 for splits in splits_of.values())
    export = json.loads((tmp_path / "out" / "train" / "_annotations.coco.json").read_text())
    used = {annotation["category_id"] for annotation in export["annotations"]}
    assert used == {1}
    assert [category["id"] for category in export["categories"]] == [0, 1]
    for annotation in export["annotations"]:
        x, y, width, height = annotation["bbox"]
        assert 0 < annotation["area"] <= width * height
        assert 0 <= x < x + width <= 256
        assert 0 <= y < y + height <= 256


def test_nnunet_layout_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = write_phantoms(out, 2, 0, "nnunet", spacing=8.0)
    names = {str(path.relative_to(out)) for path in files}
    assert len(names) == 1 + 2 * 4 + 2
    assert {
        "imagesTr/BraTS-GLI-00001-000_0003.nii.gz",
        "labelsTr/BraTS-GLI-00001-000.nii.gz",
    } < names
    description = json.loads((out / "dataset.json").read_text())
    assert description["channel_names"] == dict(zip("0123", MODALITIES, strict=True))
    assert description["labels"] == {"background": 0, **VALUES}
    assert (description["numTraining"], description["file_ending"]) == (2, ".nii.gz")


def test_an_empty_folder_is_filled_and_any_other_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_phantoms(out, 2, 0, "pairs")
    with pytest.raises(DataError, match="not an empty folder"):
        write_phantoms(out, 2, 0, "pairs")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DataError, match="not an empty folder"):
        write_phantoms(file, 2, 0, "pairs")
    with pytest.raises(StorageError):
        write_phantoms(file / "below", 2, 0, "pairs")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((3, 0, "bratz"), UnknownName), ((0, 0, "brats"), DataError), ((2, 0, "coco"), DataError)],
)
def test_nothing_is_left_behind_by_a_refusal(
    tmp_path: Path, arguments: tuple[int, int, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        write_phantoms(tmp_path / "out", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_behind_by_an_interruption(tmp_path: Path) -> None:
    def stop(done: int, _all: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_phantoms(tmp_path / "out", 3, 0, "pairs", progress=stop)
    assert list(tmp_path.iterdir()) == []
