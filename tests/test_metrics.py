"""Metrics against MONAI, against brute force, and every registered one against its own rule."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

import glioscope.metrics
from glioscope.metrics import Score, metrics
from glioscope.metrics.overlap import confusion
from glioscope.metrics.statistics import bootstrap_interval, summarise

SPACING = (1.0, 1.0, 1.0)
RATIOS = ("accuracy", "dice", "iou", "precision", "sensitivity", "specificity")


def score(name: str, prediction: np.ndarray, truth: np.ndarray) -> Score:
    return metrics[name].function(prediction, truth, SPACING)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def ball(centre: tuple[int, int, int], radius: float = 4) -> np.ndarray:
    grid = np.indices((16, 16, 16))
    return ((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) <= radius**2


@st.composite
def two_masks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=3, max_dims=3, max_side=4))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


# --- the contract of every metric -----------------------------------------------------------------


def test_the_ratios_are_there() -> None:
    assert set(RATIOS) <= set(metrics)


@pytest.mark.parametrize("name", list(metrics))
def test_a_metric_says_what_it_is(name: str) -> None:
    entry = metrics[name]
    assert entry.summary.endswith(".")
    assert entry.traits.rule
    assert np.isfinite(entry.traits.worst)
    assert entry.name == entry.name.lower()


@pytest.mark.parametrize("name", list(metrics))
def test_perfect_beats_shifted_beats_worst(name: str) -> None:
    traits = metrics[name].traits
    sign = 1 if traits.higher_is_better else -1
    truth = ball((7, 7, 7))
    perfect, shifted, elsewhere = (
        score(name, ball(centre), truth).value for centre in ((7, 7, 7), (9, 7, 7), (4, 4, 11))
    )
    assert perfect is not None
    assert shifted is not None
    assert elsewhere is not None
    assert sign * perfect > sign * shifted > sign * elsewhere >= sign * traits.worst


@pytest.mark.parametrize("name", list(metrics))
@pytest.mark.parametrize(("empty_prediction", "empty_truth"), [(0, 1), (1, 0), (1, 1)])
def test_empty_masks_give_a_value_or_a_reason(
    name: str, empty_prediction: int, empty_truth: int
) -> None:
    nothing, something = np.zeros((16, 16, 16), bool), ball((7, 7, 7))
    value, reason = score(
        name, nothing if empty_prediction else something, nothing if empty_truth else something
    )
    assert (value is None) == bool(reason)
    assert value is None or np.isfinite(value)


def test_a_metric_in_a_new_module_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added_for_test.py").write_text(
        "from glioscope.metrics import Score, register\n"
        "@register(rule='always 1')\n"
        "def always_one(prediction, truth, spacing):\n"
        '    """Return 1."""\n'
        "    return Score(1.0)\n"
    )
    monkeypatch.setattr(glioscope.metrics, "__path__", [*glioscope.metrics.__path__, str(tmp_path)])
    try:
        assert "always-one" in list(metrics)
        assert metrics["always-one"].function(None, None, SPACING).value == 1
    finally:
        sys.modules.pop("glioscope.metrics.added_for_test", None)
        metrics._entries.pop("always-one", None)


# --- the six ratios -------------------------------------------------------------------------------


def brute(name: str, prediction: np.ndarray, truth: np.ndarray) -> float | None:
    """The textbook's fractions over voxel loops; None where they are 0 / 0."""
    tp = fp = fn = tn = 0
    for p, t in zip(prediction.flat, truth.flat, strict=True):
        tp, fp, fn, tn = tp + (p and t), fp + (p and not t), fn + (t and not p), tn + (not p | t)
    over, under = {
        "accuracy": (tp + tn, tp + tn + fp + fn),
        "dice": (2 * tp, 2 * tp + fp + fn),
        "iou": (tp, tp + fp + fn),
        "precision": (tp, tp + fp),
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
    }[name]
    if under:
        return over / under
    if name in ("dice", "iou"):
        return 1.0
    return 0.0 if name == "precision" and fn else None


@given(two_masks())
@settings(max_examples=100, deadline=None)
def test_ratios_are_the_fractions_of_the_textbook(masks: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = masks
    for name in RATIOS:
        value, reason = score(name, prediction, truth)
        assert value == pytest.approx(brute(name, prediction, truth), abs=1e-12)
        assert (value is None) == bool(reason)
        assert value is None or 0 <= value <= 1


@given(two_masks())
@settings(max_examples=50, deadline=None)
def test_laws_of_the_ratios(masks: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, truth = masks
    assert sum(confusion(prediction, truth)) == truth.size
    dice, iou = score("dice", prediction, truth).value, score("iou", prediction, truth).value
    assert dice is not None
    assert dice == pytest.approx(2 * iou / (1 + iou))
    assert score("dice", truth, prediction).value == dice
    assert score("specificity", prediction, truth).value == pytest.approx(
        score("sensitivity", ~prediction, ~truth).value
    )


def test_the_rules_for_empty_masks() -> None:
    nothing, everything = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    some = nothing.copy()
    some[0] = True
    for name in ("dice", "iou"):
        assert score(name, nothing, nothing).value == 1
        assert score(name, nothing, some).value == score(name, some, nothing).value == 0
    assert score("sensitivity", some, nothing) == (None, "the truth is empty")
    assert score("precision", nothing, nothing) == (None, "truth and prediction are empty")
    assert score("precision", nothing, some).value == 0
    assert score("specificity", some, everything) == (None, "the truth fills the image")
    assert score("accuracy", nothing, nothing).value == 1


@pytest.mark.parametrize(
    ("name", "of_monai"),
    [
        ("sensitivity", "sensitivity"),
        ("specificity", "specificity"),
        ("precision", "precision"),
        ("accuracy", "accuracy"),
        ("dice", "f1 score"),
        ("iou", "threat score"),
    ],
)
def test_ratios_agree_with_monais_confusion_matrix(
    name: str, of_monai: str, rng: np.random.Generator
) -> None:
    import torch
    from monai.metrics import compute_confusion_matrix_metric, get_confusion_matrix

    for share in (0.02, 0.3, 0.9):
        masks = rng.random((2, 12, 11, 10)) < share
        prediction, truth = (torch.tensor(m[None, None]) for m in masks)
        table = get_confusion_matrix(prediction.int(), truth.int())
        expected = float(compute_confusion_matrix_metric(of_monai, table))
        assert score(name, *masks).value == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("name", "of_monai"), [("dice", "DiceMetric"), ("iou", "MeanIoU")])
def test_dice_and_iou_agree_with_monai(name: str, of_monai: str, rng: np.random.Generator) -> None:
    import monai.metrics
    import torch

    metric = getattr(monai.metrics, of_monai)(ignore_empty=False, reduction="none")
    nothing = np.zeros((9, 8, 7), bool)
    some = rng.random((2, 9, 8, 7)) < 0.4
    for prediction, truth in [some, (nothing, some[0]), (some[0], nothing), (nothing, nothing)]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI warns of empty masks
            expected = metric(*(torch.tensor(m[None, None]).int() for m in (prediction, truth)))
        assert score(name, prediction, truth).value == pytest.approx(float(expected), abs=1e-6)


def test_confusion_refuses_what_it_cannot_count() -> None:
    mask = np.ones((2, 2, 2), bool)
    with pytest.raises(ValueError, match="shapes"):
        confusion(mask, mask[:1])
    with pytest.raises(ValueError, match="boolean"):
        confusion(mask.astype(np.uint8), mask)


# --- statistics -----------------------------------------------------------------------------------


def test_the_interval_of_independent_cases_is_scipys(rng: np.random.Generator) -> None:
    values = rng.normal(0.8, 0.1, 60)
    low, high = bootstrap_interval(values, [str(i) for i in range(60)], rng, resamples=20000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method="percentile", rng=rng
    ).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_an_interval_knows_that_cases_of_a_patient_are_kin(rng: np.random.Generator) -> None:
    values = np.repeat(rng.random(10), 30)  # 10 patients, 30 identical slices each
    patients = np.repeat([f"p{i}" for i in range(10)], 30)
    by_patient = np.ptp(bootstrap_interval(values, patients, np.random.default_rng(1)))
    by_case = np.ptp(
        bootstrap_interval(values, [str(i) for i in range(300)], np.random.default_rng(1))
    )
    assert by_patient > 4 * by_case


def test_the_fast_mean_is_the_mean() -> None:
    values, patients = [0.1, 0.9, 0.4, 0.7, 0.3], ["a", "b", "a", "c", "b"]
    fast, slow = (
        bootstrap_interval(values, patients, np.random.default_rng(3), statistic, resamples=500)
        for statistic in (np.mean, lambda v: v.mean())
    )
    assert fast == pytest.approx(slow)


def test_other_statistics_and_levels(rng: np.random.Generator) -> None:
    values, patients = rng.random(50), [str(i) for i in range(50)]
    wide = bootstrap_interval(values, patients, np.random.default_rng(0), np.median, resamples=500)
    narrow = bootstrap_interval(
        values, patients, np.random.default_rng(0), np.median, level=0.5, resamples=500
    )
    assert wide[0] <= narrow[0] <= np.median(values) <= narrow[1] <= wide[1]


@pytest.mark.parametrize("patients", [[], ["a"], ["a", "a"]])
def test_one_patient_has_no_interval(patients: list[str], rng: np.random.Generator) -> None:
    assert bootstrap_interval([0.5] * len(patients), patients, rng) is None


def test_summaries(rng: np.random.Generator) -> None:
    summary = summarise([0.2, 0.4, 0.6, 1.0], ["a", "b", "c", "d"], rng)
    assert (summary.mean, summary.median, summary.q25, summary.q75) == pytest.approx(
        (0.55, 0.5, 0.35, 0.7)
    )
    assert 0.2 <= summary.ci_low < 0.55 < summary.ci_high <= 1
    assert summary.n == 4
    assert summarise([], [], rng).n == 0
    assert summarise([], [], rng).mean is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20))
@settings(max_examples=30, deadline=None)
def test_an_interval_stays_within_the_values(values: list[float]) -> None:
    patients = [str(i % 7) for i in range(len(values))]
    low, high = bootstrap_interval(values, patients, np.random.default_rng(0), resamples=200)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
