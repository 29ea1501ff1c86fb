"""Losses against torch and MONAI; every registered one against what a loss must do."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

import glioscope.losses
from glioscope.core.errors import RecipeError, UnknownName
from glioscope.losses import losses
from glioscope.losses.mixing import build_loss

USES = [(name, kind) for name in losses for kind in losses[name].traits.activations]
SHAPES = [(2, 3, 8, 6), (2, 3, 6, 5, 4), (1, 2, 4, 4)]


def target_of(shape: tuple[int, ...], activation: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if activation == "sigmoid":
        return (torch.rand(shape, generator=generator) < 0.4).float()
    classes = torch.randint(shape[1], (shape[0], *shape[2:]), generator=generator)
    return functional.one_hot(classes, shape[1]).movedim(-1, 1).float()


def logits_of(shape: tuple[int, ...], seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def empty_target(shape: tuple[int, ...], activation: str) -> torch.Tensor:
    target = torch.zeros(shape)
    if activation == "softmax":
        target[:, 0] = 1
    return target


# --- the contract of every loss -------------------------------------------------------------------


@pytest.mark.parametrize(("name", "activation"), USES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_loss_is_finite_positive_and_has_a_gradient(
    name: str, activation: str, shape: tuple[int, ...]
) -> None:
    logits = logits_of(shape).requires_grad_()
    loss = build_loss({name: 1.0}, activation)(logits, target_of(shape, activation))
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.item() > 0
    loss.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "activation"), USES)
def test_perfect_is_best_and_wrong_is_worst(name: str, activation: str) -> None:
    target = target_of(SHAPES[1], activation)
    loss = build_loss({name: 1.0}, activation)
    certain = 20 * (2 * target - 1)
    perfect, unsure, wrong = (loss(factor * certain, target).item() for factor in (1, 0, -1))
    assert 0 <= perfect < 1e-3 < unsure < wrong


@pytest.mark.parametrize(("name", "activation"), USES)
@pytest.mark.parametrize("height", [-30.0, 0.0, 30.0])
def test_an_empty_target_is_no_trouble(name: str, activation: str, height: float) -> None:
    shape = SHAPES[0]
    logits = torch.full(shape, height).requires_grad_()
    loss = build_loss({name: 1.0}, activation)(logits, empty_target(shape, activation))
    loss.backward()
    assert loss.isfinite()
    assert loss.item() >= 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("name", "activation"), USES)
def test_an_all_zero_target_is_finite(name: str, activation: str) -> None:
    assert build_loss({name: 1.0}, activation)(logits_of(SHAPES[0]), torch.zeros(SHAPES[0])) >= 0


@pytest.mark.parametrize(("name", "activation"), USES)
def test_half_precision_is_computed_in_full(name: str, activation: str) -> None:
    shape = (1, 2, 64, 64)
    target = target_of(shape, activation)
    logits = logits_of(shape).bfloat16()
    loss = build_loss({name: 1.0}, activation)
    expected = loss(logits.float(), target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(logits, target.to(torch.uint8))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("name", "activation"), USES)
def test_a_loss_survives_pickling(name: str, activation: str) -> None:
    loss = build_loss({name: 2.0}, activation)
    sample = logits_of(SHAPES[0]), target_of(SHAPES[0], activation)
    assert pickle.loads(pickle.dumps(loss))(*sample) == loss(*sample)


def test_a_loss_in_a_new_module_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added_for_test.py").write_text(
        "from glioscope.losses import register\n"
        "@register(activations=('sigmoid',))\n"
        "def absolute_error(logits, target, *, activation, power=1):\n"
        '    """Return the absolute error."""\n'
        "    return ((logits.sigmoid() - target).abs() ** power).mean()\n"
    )
    monkeypatch.setattr(glioscope.losses, "__path__", [*glioscope.losses.__path__, str(tmp_path)])
    try:
        loss = build_loss({"absolute-error": {"power": 2.0}}, "sigmoid")
        assert loss(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item() == 0.25
    finally:
        sys.modules.pop("glioscope.losses.added_for_test", None)
        losses._entries.pop("absolute-error", None)


# --- each against a library -----------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_dice_is_monais(activation: str, shape: tuple[int, ...]) -> None:
    from monai.losses import DiceLoss

    logits, target = logits_of(shape), target_of(shape, activation)
    monai = DiceLoss(
        include_background=activation == "sigmoid",
        **{activation: True},
        smooth_nr=1e-5,
        smooth_dr=1e-5,
    )
    found = build_loss({"dice": 1.0}, activation)(logits, target)
    torch.testing.assert_close(found, monai(logits, target), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_tversky_is_monais(activation: str, shape: tuple[int, ...]) -> None:
    from monai.losses import TverskyLoss

    logits, target = logits_of(shape), target_of(shape, activation)
    monai = TverskyLoss(
        include_background=activation == "sigmoid", **{activation: True}, alpha=0.3, beta=0.7
    )
    found = build_loss({"tversky": 1.0}, activation)(logits, target)
    torch.testing.assert_close(found, monai(logits, target), atol=1e-5, rtol=1e-5)


def test_tversky_of_halves_is_dice() -> None:
    sample = logits_of(SHAPES[1]), target_of(SHAPES[1], "sigmoid")
    halves = build_loss({"tversky": {"alpha": 0.5, "beta": 0.5}}, "sigmoid")
    torch.testing.assert_close(halves(*sample), build_loss({"dice": 1.0}, "sigmoid")(*sample))


def test_tversky_punishes_a_miss_more() -> None:
    target = torch.zeros(1, 1, 4, 4)
    target[..., :2, :] = 1
    loss = build_loss({"tversky": 1.0}, "sigmoid")
    miss, surplus = target.clone(), target.clone()
    miss[..., 0, :] = 0
    surplus[..., 2, :] = 1
    assert loss(40 * miss - 20, target) > loss(40 * surplus - 20, target)


@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropies_are_torchs(shape: tuple[int, ...]) -> None:
    logits = logits_of(shape)
    target = target_of(shape, "sigmoid")
    expected = torch.nn.BCEWithLogitsLoss()(logits, target)
    torch.testing.assert_close(build_loss({"bce": 1.0}, "sigmoid")(logits, target), expected)
    target = target_of(shape, "softmax")
    weights = [0.1, 0.5, 0.4][: shape[1]]
    for arguments, weight in [({}, None), ({"weights": weights}, torch.tensor(weights))]:
        expected = functional.cross_entropy(logits, target.argmax(1), weight=weight)
        found = build_loss({"cross-entropy": arguments}, "softmax")(logits, target)
        torch.testing.assert_close(found, expected)


# --- weights of channels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "activation"), [("dice", "sigmoid"), ("dice", "softmax"), ("bce", "sigmoid")]
)
def test_equal_weights_change_nothing_but_the_background(name: str, activation: str) -> None:
    sample = logits_of(SHAPES[0]), target_of(SHAPES[0], activation)
    weights = [0.0 if activation == "softmax" else 3.0, 3.0, 3.0]
    weighted = build_loss({name: {"weights": weights}}, activation)
    torch.testing.assert_close(weighted(*sample), build_loss({name: 1.0}, activation)(*sample))


@pytest.mark.parametrize(("name", "activation"), [("dice", "softmax"), ("bce", "sigmoid")])
def test_a_weight_picks_its_channel(name: str, activation: str) -> None:
    logits, target = logits_of(SHAPES[0]), target_of(SHAPES[0], activation)
    loss = build_loss({name: {"weights": [0, 0, 1]}}, activation)
    better = logits.clone()
    better[:, 2] = 20 * (2 * target[:, 2] - 1)
    assert loss(better, target) < loss(logits, target)
    sideways = logits.clone()
    if activation == "sigmoid":
        sideways[:, :2] += 1
        assert loss(sideways, target) == loss(logits, target)


def test_a_patch_of_weightless_classes_costs_nothing() -> None:
    loss = build_loss({"cross-entropy": {"weights": [0.0, 1.0, 1.0]}}, "softmax")
    assert loss(logits_of(SHAPES[0]), empty_target(SHAPES[0], "softmax")).item() == 0


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.0] * 3, [1.0, -1.0, 1.0]])
@pytest.mark.parametrize("name", ["dice", "cross-entropy"])
def test_weights_that_do_not_fit_are_refused(name: str, weights: object) -> None:
    loss = build_loss({name: {"weights": weights}}, "softmax")
    with pytest.raises(RecipeError, match="3 positive numbers"):
        loss(logits_of(SHAPES[0]), target_of(SHAPES[0], "softmax"))


# --- mixing ---------------------------------------------------------------------------------------


def test_a_mixture_is_the_weighted_sum() -> None:
    sample = logits_of(SHAPES[0]), target_of(SHAPES[0], "sigmoid")
    parts = [build_loss({name: 1.0}, "sigmoid")(*sample) for name in ("dice", "bce")]
    mixed = build_loss({"dice": 0.5, "bce": {"weight": 2.0}}, "sigmoid")(*sample)
    torch.testing.assert_close(mixed, 0.5 * parts[0] + 2 * parts[1])


@pytest.mark.parametrize(
    ("terms", "activation", "message"),
    [
        ({}, "sigmoid", "one or more of bce, cross-entropy, dice, tversky"),
        ({"bce": 1.0}, "softmax", "expected one of cross-entropy, dice, tversky"),
        ({"cross-entropy": 1.0}, "sigmoid", "expected one of bce, dice, tversky"),
        ({"dice": {"smoth": 1.0}}, "sigmoid", r"loss.dice.smoth: .* did you mean smooth\?"),
        ({"dice": {"weights": 2.0}}, "sigmoid", r"loss.dice.weights: is 2.0"),
        ({"dice": {"activation": 1.0}}, "sigmoid", "loss.dice.activation: dice takes no"),
        ({"dice": {"smooth": [1.0]}}, "sigmoid", r"loss.dice.smooth: is \[1.0\]; .*valid number"),
        ({"dice": 0.0}, "sigmoid", "loss.dice.weight: is 0.0; expected a positive"),
        ({"dice": {"weight": [1.0]}}, "sigmoid", "expected a positive"),
        ({"dice": float("nan")}, "sigmoid", "expected a positive"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(
    terms: dict, activation: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        build_loss(terms, activation)


def test_an_unknown_loss_has_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean dice"):
        build_loss({"dise": 1.0}, "sigmoid")
