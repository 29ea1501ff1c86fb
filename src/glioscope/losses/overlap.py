"""Losses of overlap: soft Dice and Tversky."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from . import register
from .channels import Activation, channel_weights, probabilities, weighted_mean


@register()
def dice(
    logits: Tensor,
    target: Tensor,
    *,
    activation: Activation,
    weights: Sequence[float] | None = None,
    smooth: float = 1e-5,
) -> Tensor:
    """Return the soft Dice loss, 1 - (2 sum pt + smooth) / (sum p + sum t + smooth).

    It is taken for each sample and channel, then averaged, so that a small tumour counts as much
    as a large one; `smooth` makes it 0 where target and prediction are both empty. The background
    of a softmax is left out unless it is given a weight. Source: Milletari et al., V-Net, 3DV 2016.

    Args:
        logits: (B, C, ...), before the activation.
        target: (B, C, ...), zeros and ones.
        activation: What turns logits into probabilities.
        weights: Weight of each channel, of which the mean is taken; C of them.
        smooth: Voxels added to both sides of the fraction.

    Raises:
        RecipeError: If there is not one weight for each channel.
    """
    p, t = probabilities(logits, activation), target.float()
    chosen = None
    if weights is not None:
        chosen = channel_weights(weights, logits)
    elif activation == "softmax":
        p, t = p[:, 1:], t[:, 1:]
    space = tuple(range(2, p.ndim))
    overlap = 2 * (p * t).sum(space) + smooth
    return weighted_mean(1 - overlap / (p.sum(space) + t.sum(space) + smooth), chosen)


@register()
def tversky(
    logits: Tensor,
    target: Tensor,
    *,
    activation: Activation,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 1e-5,
) -> Tensor:
    """Return the Tversky loss, 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth).

    It is taken for each sample and channel, then averaged; the background of a softmax is left
    out. With the default weights a voxel missed costs more than one too many; with .5 and .5 it is
    the Dice loss. Source: Salehi et al., MLMI 2017, section 2.

    Args:
        logits: (B, C, ...), before the activation.
        target: (B, C, ...), zeros and ones.
        activation: What turns logits into probabilities.
        alpha: Weight of false positives.
        beta: Weight of false negatives.
        smooth: Voxels added to both sides of the fraction.
    """
    p, t = probabilities(logits, activation), target.float()
    if activation == "softmax":
        p, t = p[:, 1:], t[:, 1:]
    space = tuple(range(2, p.ndim))
    tp = (p * t).sum(space)
    fp, fn = p.sum(space) - tp, t.sum(space) - tp
    return (1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)).mean()
