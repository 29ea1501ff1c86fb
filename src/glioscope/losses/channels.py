"""What the losses share: probabilities in full precision, and weights of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..core.errors import RecipeError

Activation = Literal["sigmoid", "softmax"]


def probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """Return the probabilities (B, C, ...) of logits (B, C, ...) in float32, under autocast too."""
    logits = logits.float()
    return logits.softmax(dim=1) if activation == "softmax" else logits.sigmoid()


def channel_weights(weights: Sequence[float], like: Tensor) -> Tensor:
    """Return the weights of the channels of a (B, C, ...) tensor, shape (C,).

    Raises:
        RecipeError: If there is not one weight for each channel, or they do not weigh anything.
    """
    usable = isinstance(weights, Sequence) and len(weights) == like.shape[1]
    if not usable or min(weights) < 0 or not 0 < sum(weights) < float("inf"):
        raise RecipeError(
            "loss",
            f"weights {weights}",
            f"{like.shape[1]} positive numbers, one for each output of the network",
            "a softmax has the background first",
        )
    return torch.tensor(weights, dtype=torch.float32, device=like.device)


def weighted_mean(terms: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean of (B, C) over samples and channels, channels weighted by (C,)."""
    return terms.mean() if weights is None else (terms.mean(dim=0) * weights).sum() / weights.sum()
