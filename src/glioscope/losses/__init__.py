"""Losses: functions of logits and targets, mixed by the weights of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.registry import Registry


@dataclass(frozen=True)
class LossTraits:
    """What a loss declares.

    Attributes:
        activations: The outputs it is defined for.
    """

    activations: tuple[str, ...] = ("sigmoid", "softmax")


losses: Registry[LossTraits] = Registry("loss", __name__, LossTraits)
register = losses.register
