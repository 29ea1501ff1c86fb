"""Losses of single voxels: binary and categorical cross-entropy."""

# ruff: noqa: ARG001 - all losses are called alike

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from . import register
from .channels import Activation, channel_weights, weighted_mean


@register(activations=("sigmoid",))
def bce(
    logits: Tensor,
    target: Tensor,
    *,
    activation: Activation,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the binary cross-entropy, averaged over voxels and channels.

    Args:
        logits: (B, C, ...), before the sigmoid.
        target: (B, C, ...), zeros and ones.
        activation: Always `sigmoid`.
        weights: Weight of each channel, of which the mean is taken; C of them.

    Raises:
        RecipeError: If there is not one weight for each channel.
    """
    voxels = functional.binary_cross_entropy_with_logits(
        logits.float(), target.float(), reduction="none"
    )
    chosen = None if weights is None else channel_weights(weights, logits)
    return weighted_mean(voxels.flatten(2).mean(dim=2), chosen)


@register(activations=("softmax",))
def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    activation: Activation,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the categorical cross-entropy, averaged over voxels.

    Args:
        logits: (B, C, ...), before the softmax; channel 0 is background.
        target: (B, C, ...), one of the channels 1 in each voxel.
        activation: Always `softmax`.
        weights: Weight of the voxels of each channel, of which the mean is taken; C of them.

    Raises:
        RecipeError: If there is not one weight for each channel.
    """
    logits, target = logits.float(), target.float()
    if weights is None:
        return functional.cross_entropy(logits, target)
    chosen = channel_weights(weights, logits)
    total = functional.cross_entropy(logits, target, weight=chosen, reduction="sum")
    mass = (target.flatten(2).sum(dim=(0, 2)) * chosen).sum()
    return total / mass.clamp(min=1e-5)  # a patch may hold classes of weight 0 only
