"""Random changes of training samples: each does what its name says, and moves no mask by itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from glioscope.api.exploring import open_dataset
from glioscope.api.loading import engine_of, predictor_of
from glioscope.core.config import Augmentation
from glioscope.core.errors import ModelError, RecipeError
from glioscope.core.plan import Plan
from glioscope.core.recipes import load_recipe
from glioscope.prediction.window import with_flips
from glioscope.prepare.artefacts import Pose, bias_field, ghosting, low_resolution, motion, spikes
from glioscope.prepare.augment import _blur, _control_points, augment
from glioscope.prepare.cache import Cache
from glioscope.prepare.planning import make_plan
from glioscope.prepare.warp import displacement, resample, rotation, sampling_grid, splines
from glioscope.training.samples import Draw, TrainingSamples

ARTEFACTS = ("lowres", "bias_field", "motion", "ghosting", "spikes")
SPATIAL = ("rotate", "scale", "elastic")
SHAPES = ((32, 40), (20, 24, 18))
TINY = ["data.channels=[t1,flair]", "data.size=null", "data.augment.flip=1", "data.foreground=0"]

seeds = st.integers(0, 10_000)


def only(**chances: float) -> Augmentation:
    return Augmentation(flip=0, **chances)


def head(shape: tuple[int, ...], channels: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """A z-scored head with texture and a tumour of classes 1 and 4; exactly 0 outside."""
    rng = np.random.default_rng(7)
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = (place**2).sum(0) < 0.8
    away = ((place - 0.2) ** 2).sum(0)
    mask = np.where(away < 0.16, np.where(away < 0.05, 4, 1), 0).astype(np.uint8)
    signal = 5 + rng.normal(size=(channels, *shape)) + 2 * (mask > 0)
    signal = (signal - signal[:, inside].mean()) / signal[:, inside].std()
    return torch.from_numpy(np.where(inside, signal, 0).astype(np.float32)), torch.from_numpy(mask)


def changed(shape: tuple[int, ...], seed: int, chances: Augmentation):
    image, mask = head(shape)
    return augment(image, mask, chances, np.random.default_rng(seed))


def dice(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ARTEFACTS + SPATIAL)
def test_a_change_keeps_the_form_and_comes_from_its_generator(name, shape) -> None:
    image, mask = head(shape)
    before, kept = (image.clone(), mask.clone()), []
    for seed in range(5):
        torch.manual_seed(seed)
        moved, labels = augment(image, mask, only(**{name: 1}), np.random.default_rng(seed))
        torch.manual_seed(99)
        again, same = changed(shape, seed, only(**{name: 1}))
        other, _ = changed(shape, seed + 50, only(**{name: 1}))
        assert (moved.shape, moved.dtype) == (image.shape, torch.float32)
        assert (labels.shape, labels.dtype) == (mask.shape, torch.uint8)
        assert moved.isfinite().all()
        assert torch.equal(moved, again)
        assert torch.equal(labels, same)
        assert not torch.equal(moved, image)
        assert not torch.equal(moved, other)
        assert set(labels.unique().tolist()) <= {0, 1, 4}
        kept.append(torch.equal(labels, mask))
    assert all(kept) if name in ARTEFACTS else not all(kept)
    assert torch.equal(before[0], image)
    assert torch.equal(before[1], mask)


@pytest.mark.parametrize("shape", SHAPES)
def test_without_chances_nothing_changes(shape) -> None:
    image, mask = head(shape)
    for seed in range(5):
        moved, labels = changed(shape, seed, only())
        assert torch.equal(moved, image)
        assert torch.equal(labels, mask)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(ARTEFACTS), st.sampled_from(SHAPES), seeds)
def test_an_artefact_keeps_the_mean_and_what_was_cut_out(name, shape, seed) -> None:
    image, _ = head(shape)
    spoiled, _ = changed(shape, seed, only(**{name: 1}))
    assert (spoiled[image == 0] == 0).all()
    for before, after in zip(image, spoiled, strict=True):
        assert float((after - before)[before != 0].mean()) == pytest.approx(0, abs=1e-4)
        assert not torch.equal(before, after)


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(ARTEFACTS), seeds)
def test_an_artefact_leaves_the_tumour_where_it_is(name, seed) -> None:
    image, mask = head((64, 64))
    smooth = F.avg_pool2d(image, 5, 1, 2)
    spoiled, _ = augment(smooth, mask, only(**{name: 1}), np.random.default_rng(seed))
    both = torch.stack([smooth[0], spoiled[0]])[:, smooth[0] != 0]
    assert float(torch.corrcoef(both)[0, 1]) > 0.4
    assert float(spoiled[0][mask > 0].mean()) > float(spoiled[0].mean())


def test_channels_are_scans_of_their_own() -> None:
    image, mask = head((16, 16), channels=3)
    image[1] = 0
    patterns = set()
    for seed in range(20):
        spoiled, _ = augment(image, mask, only(ghosting=0.5), np.random.default_rng(seed))
        same = [torch.equal(a, b) for a, b in zip(image, spoiled, strict=True)]
        assert same[1]  # a constant zero channel stays one
        patterns.add((same[0], same[2]))
    assert patterns == {(a, b) for a in (True, False) for b in (True, False)}


@pytest.mark.parametrize("shape", [(64, 64), (32, 36, 32)])
@pytest.mark.parametrize("names", [("elastic",), ("rotate",), ("scale",), SPATIAL])
def test_image_and_mask_move_together(names, shape) -> None:
    place = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    mask = torch.from_numpy(((place - 0.15) ** 2 < 0.3).all(0).astype(np.uint8)) * 4
    image = mask[None].float()
    chances = only(degrees=40, **dict.fromkeys(names, 1))
    overlaps = []
    for seed in range(4):
        moved, labels = augment(image, mask, chances, np.random.default_rng(seed))
        assert dice(moved[0] > 2, labels == 4) > 0.97
        overlaps.append(dice(mask == 4, labels == 4))
    assert min(overlaps) < 0.999


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([(40, 30), (24, 20, 22)]), seeds)
def test_deformations_have_no_folds(shape, seed) -> None:
    rng = np.random.default_rng(seed)
    dims = len(shape)
    assert abs(_control_points(dims, rng)).max() < 1 / 2.48
    worst = rng.choice([-0.4, 0.4], (dims, *[8] * dims))
    assert volumes(worst, shape).min() > 0


def test_stronger_deformations_have_folds() -> None:
    worst = np.random.default_rng(0).choice([-1.5, 1.5], (2, 8, 8))
    assert volumes(worst, (40, 30)).min() < 0


def volumes(control: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the Jacobian determinant of a deformation at each voxel."""
    field = displacement(control, shape).double().numpy()
    slopes = np.stack([np.stack(np.gradient(part)) for part in field])
    return np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(len(shape)))


@pytest.mark.parametrize(("size", "points"), [(9, 8), (96, 8), (20, 5)])
def test_splines_are_those_of_scipy(size, points) -> None:
    from scipy.interpolate import BSpline

    place = np.linspace(1, points - 2, size)
    expected = [
        BSpline.basis_element(np.arange(p - 2, p + 3), extrapolate=False)(place)
        for p in range(points)
    ]
    ours = splines(size, points)
    np.testing.assert_allclose(ours, np.nan_to_num(expected).T, atol=1e-12)
    np.testing.assert_allclose(ours.sum(1), 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_grid_is_that_of_torch(shape) -> None:
    dims = len(shape)
    matrix = rotation(np.linspace(0.2, 0.5, dims * (dims - 1) // 2), dims) * 1.2
    shift = np.arange(dims) + 1.0
    size = np.array(shape)
    theta = np.zeros((1, dims, dims + 1), np.float32)
    theta[0, :, :dims] = (matrix * size[None] / size[:, None])[::-1, ::-1]
    theta[0, :, dims] = (shift * 2 / size)[::-1]
    expected = F.affine_grid(torch.from_numpy(theta), [1, 1, *shape], align_corners=False)
    torch.testing.assert_close(sampling_grid(shape, matrix, shift), expected, atol=1e-5, rtol=0)
    constant = torch.from_numpy(np.linalg.solve(matrix, shift)).float()
    field = constant.reshape(dims, *[1] * dims).expand(dims, *shape)
    torch.testing.assert_close(
        sampling_grid(shape, matrix, field=field), expected, atol=1e-5, rtol=0
    )


def test_a_quarter_turn_and_a_shift_move_voxels() -> None:
    image = torch.rand(1, 6, 6, 6)
    for axis, plane in enumerate([(0, 1), (0, 2), (1, 2)]):
        quarter = rotation(np.eye(3)[axis] * np.pi / 2, 3)
        turned = resample(image, sampling_grid((6, 6, 6), quarter))
        expected = torch.rot90(image, -1, [1 + a for a in plane])
        torch.testing.assert_close(turned, expected, atol=1e-4, rtol=0)
    shifted = resample(image, sampling_grid((6, 6, 6), np.eye(3), np.array([2.0, 0, -1])))
    torch.testing.assert_close(shifted[:, :4, :, 1:], image[:, 2:, :, :5], atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_bias_field_is_positive_and_smooth(shape) -> None:
    coefficients = np.random.default_rng(1).uniform(-0.5, 0.5, [4] * len(shape))
    field = bias_field(shape, coefficients).numpy()
    grid = (
        np.polynomial.polynomial.polygrid2d
        if len(shape) == 2
        else (np.polynomial.polynomial.polygrid3d)
    )
    expected = np.exp(grid(*[np.linspace(-1, 1, n) for n in shape], coefficients))
    np.testing.assert_allclose(field, expected / expected.mean(), rtol=1e-4)
    assert field.min() > 0
    assert field.mean() == pytest.approx(1, abs=1e-5)
    flat = bias_field(shape, coefficients * 0).numpy()
    np.testing.assert_array_equal(flat, 1)


def test_bias_fields_span_those_of_monai() -> None:
    from monai.transforms import RandBiasField

    shape, rng = (12, 10, 14), np.random.default_rng(2)
    weights = rng.uniform(-0.3, 0.3, 20)
    log = RandBiasField(degree=3)._generate_random_field(shape, 3, weights)
    legendre = np.zeros((4, 4, 4))
    powers = [(i, j, k) for i in range(4) for j in range(4 - i) for k in range(4 - i - j)]
    for power, weight in zip(powers, weights, strict=True):
        legendre[power] = weight
    convert = np.zeros((4, 4))
    for n in range(4):
        convert[: n + 1, n] = np.polynomial.legendre.leg2poly(np.eye(4)[n])[: n + 1]
    ours = np.einsum("ijk,ai,bj,ck->abc", legendre, convert, convert, convert)
    expected = np.exp(log) / np.exp(log).mean()
    np.testing.assert_allclose(bias_field(shape, ours).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_low_resolution_loses_detail_but_not_the_mean(shape) -> None:
    image = torch.from_numpy(np.random.default_rng(3).normal(5, 1, (2, *shape))).float()
    factors = [0.5] + [1.0] * (len(shape) - 1)
    coarse = low_resolution(image, factors)
    assert float(coarse.mean()) == pytest.approx(float(image.mean()), abs=0.03)

    def power(x: torch.Tensor, axis: int) -> float:
        lines = torch.fft.rfft(x - x.mean(), dim=axis).abs().square().movedim(axis, 0)
        return float(lines[len(lines) // 2 :].sum())

    assert power(coarse, 1) < 0.15 * power(image, 1)
    plain = torch.arange(float(shape[1])).reshape(1, 1, -1, *[1] * (len(shape) - 2))
    plain = plain.expand(2, *shape)
    torch.testing.assert_close(low_resolution(plain, factors), plain)
    assert torch.equal(low_resolution(image, [1.0] * len(shape)), image)


@pytest.mark.parametrize("shape", [(48, 5), (5, 48), (5, 6, 48), (48, 3, 4)])
@pytest.mark.parametrize(("count", "first"), [(2, 1), (4, 0), (4, 1), (6, 4)])
def test_ghosts_stand_at_their_period(shape, count, first) -> None:
    axis = int(np.argmax(shape))
    image = torch.zeros(2, *shape)
    line = image.movedim(1 + axis, 0)
    line[7, 0] = 1
    ghosts = ghosting(image, count, first, 0.6, axis)
    there = ghosts.movedim(1 + axis, 0)
    background = 0.6 / 48 if first % count == 0 else 0.0  # frequency 0 is never weakened
    expected = torch.zeros_like(there)
    expected[:, 0] = background
    for j in range(count):
        ghost = -0.6 / count * np.cos(2 * np.pi * first * j / count)
        expected[(7 + j * 48 // count) % 48, 0] += ghost + (j == 0)
    torch.testing.assert_close(there, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(ghosts.mean(), image.mean())
    torch.testing.assert_close(ghosting(image, count, first, 0, axis), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(32, 41), (20, 24, 17)])
def test_a_head_that_keeps_still_has_no_artefact(shape) -> None:
    image, _ = head(shape)
    dims = len(shape)
    still = Pose(np.eye(dims), np.zeros(dims))
    for axis in range(dims):
        for times in ([0.3], [0.2, 0.7], [0.1, 0.6, 0.8]):
            kept = motion(image, [still] * len(times), times, axis)
            torch.testing.assert_close(kept, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(32, 41), (20, 24, 17)])
def test_planes_of_k_space_come_from_their_pose(shape) -> None:
    image, _ = head(shape)
    for axis in range(len(shape)):
        dim, size = 1 + axis, shape[axis]
        pose = Pose(rotation(np.full(len(shape) * (len(shape) - 1) // 2, 0.1), len(shape)),
                    np.full(len(shape), 1.5))  # fmt: skip
        spectrum = torch.fft.rfft(motion(image, [pose, pose], [0.25, 0.76], axis), dim=dim)
        moved = resample(image, sampling_grid(shape, *pose), outside="border")
        middle, edge = size // 8, size // 2 - size // 8
        parts = ((image, slice(0, middle)), (moved, slice(edge, size // 2)))
        for source, planes in parts:
            expected = torch.fft.rfft(source, dim=dim).movedim(dim, 0)[planes]
            torch.testing.assert_close(
                spectrum.movedim(dim, 0)[planes], expected, atol=1e-3, rtol=0
            )


@pytest.mark.parametrize("shape", SHAPES)
def test_spikes_raise_points_of_k_space(shape) -> None:
    image = torch.from_numpy(np.random.default_rng(4).uniform(0, 5, (2, *shape))).float()
    place = np.array([5, -3, 2][: len(shape)])
    axes = tuple(range(1, image.ndim))
    before = torch.fft.fftn(image, dim=axes)
    after = torch.fft.fftn(spikes(image, place[None], 0.4), dim=axes)
    top = before.abs().amax(axes)
    rise = after - before
    for sign in (1, -1):  # the real part of one spike is half of it and half of its twin
        at = (slice(None), *(int(k) for k in sign * place))
        torch.testing.assert_close(rise[at].real, 0.2 * top, rtol=1e-3, atol=1)
        rise[at] = 0
    assert float(rise.abs().max()) < 1e-3 * float(top.max())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_spike_is_that_of_monai(shape) -> None:
    """MONAI sets the magnitude of a point: in a constant image this is the same as adding."""
    from monai.transforms import KSpaceSpikeNoise

    image = torch.full((1, *shape), 2.0)
    place = np.array([3, 4, -5][: len(shape)])
    height = float(np.log(0.25 * 2 * np.prod(shape)))
    at = tuple(int(n // 2 + k) for n, k in zip(shape, place, strict=True))
    expected = torch.as_tensor(np.asarray(KSpaceSpikeNoise(at, height)(image)))
    ours = spikes(image, place[None], 0.25)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mirror", [(), (0,), (1, 2), None])
def test_samples_are_mirrored_only_where_it_is_allowed(mirror) -> None:
    image, mask = torch.rand(1, 3, 4, 5), torch.zeros(3, 4, 5, dtype=torch.uint8)
    mask[0, 1, 2] = 3
    axes = range(3) if mirror is None else mirror
    moved, labels = augment(image, mask, Augmentation(flip=1), np.random.default_rng(0), mirror)
    assert torch.equal(moved, image.flip([1 + a for a in axes]))
    assert torch.equal(labels, mask.flip(list(axes)))


def test_training_mirrors_what_the_plan_allows(tmp_path: Path) -> None:
    dataset = open_dataset("phantom:cases=1,seed=3,spacing=6")
    for mirror in ([], [1], None):
        recipe = load_recipe("unet3d-binary", [*TINY, f"data.mirror={mirror or 'null'}"])
        if mirror == []:
            recipe = load_recipe("unet3d-binary", [*TINY, "data.mirror=[]"])
        cache = Cache(tmp_path, make_plan(recipe, dataset, {}, 1), dataset.labels)
        whole = cache.load(dataset.cases[0]).image
        sample = TrainingSamples(dataset.cases, cache, recipe.data, 0)[Draw(0, 0, 0, -1)]
        axes = [0, 1, 2] if mirror is None else mirror
        np.testing.assert_array_equal(sample.image, np.flip(whole, [1 + a for a in axes]))


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_prediction_mirrors_what_the_plan_allows(axes) -> None:
    batch = np.random.default_rng(0).normal(size=(1, 1, 3, 4, 5)).astype(np.float32)
    views = []

    def forward(view: np.ndarray) -> np.ndarray:
        views.append(view)
        return view

    np.testing.assert_allclose(with_flips(forward, axes)(batch), batch, atol=1e-6)
    assert len({view.tobytes() for view in views}) == len(views) == 2 ** len(axes)
    for kept in {0, 1, 2} - set(axes):
        others = tuple(a for a in range(5) if a != 2 + kept)
        for view in views:
            np.testing.assert_allclose(view.sum(others), batch.sum(others), rtol=1e-4)


def test_flips_without_an_axis_are_refused() -> None:
    recipe = load_recipe("unet3d-binary", ["data.mirror=[]"])
    plan = make_plan(recipe, open_dataset("phantom:cases=1,spacing=6"), {}, 1)
    model = SimpleNamespace(
        plan=plan, network=torch.nn.Identity, provenance=SimpleNamespace(recipe=recipe)
    )
    engine = engine_of(model, "cpu")
    assert predictor_of(model, engine).plan.mirror == ()
    with pytest.raises(ModelError, match="--flips: the plan allows no mirror images; leave out"):
        predictor_of(model, engine, flips=True)


def test_the_plan_knows_what_may_be_mirrored() -> None:
    dataset = open_dataset("phantom:cases=1,spacing=6")
    for name, every in (("unet3d-binary", (0, 1, 2)), ("unet-resnet34", (0, 1))):
        assert make_plan(load_recipe(name), dataset, {}, 1).mirror == every
        plan = make_plan(load_recipe(name, ["data.mirror=[0]"]), dataset, {}, 1)
        assert plan.mirror == (0,)
        assert Plan.model_validate_json(plan.model_dump_json()).mirror == (0,)
        older = plan.model_dump(mode="json", exclude={"mirror"})
        assert Plan.model_validate(older).mirror == every


@pytest.mark.parametrize("mirror", ["[0,0]", "[2]", "[-1]", "[a]", "1"])
def test_axes_that_are_not_there_are_refused(mirror) -> None:
    with pytest.raises(RecipeError, match="mirror"):
        load_recipe("unet-resnet34", [f"data.mirror={mirror}"])


@pytest.mark.parametrize("shape", SHAPES)
def test_blur_is_that_of_scipy(shape) -> None:
    from scipy.ndimage import gaussian_filter

    image, _ = head(shape)
    expected = [gaussian_filter(channel, 0.8, radius=3, mode="constant") for channel in image]
    np.testing.assert_allclose(_blur(image, 0.8), np.stack(expected), atol=1e-5)
