"""Networks by name, and the model folder (`trained.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ..core.registry import Registry

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelTraits:
    """What a network declares.

    Attributes:
        dims: 2 or 3.
        divisor: Input sizes must be multiples of this, given all arguments of the network.
        min_batch: Smallest batch it can be trained on.
        backbone: Attribute that holds the part which pretrained weights are for, if there is one.
    """

    dims: Literal[2, 3]
    divisor: Callable[[Mapping[str, Any]], int]
    min_batch: int = 1
    backbone: str | None = None


models: Registry[ModelTraits] = Registry("model", __name__, ModelTraits)
register = models.register


def check(name: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a network or arguments that do not exist.

    Raises:
        UnknownName: If there is no network of this name.
        RecipeError: If it does not take one of the arguments.
    """
    models[name].check_arguments(arguments, "model", reserved=("inputs", "outputs"))


def build(name: str, *, inputs: int, outputs: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network that maps (B, inputs, ...) to logits (B, outputs, ...).

    Raises:
        UnknownName: If there is no network of this name.
        RecipeError: If it does not take one of the arguments.
        ModelError: If pretrained weights are asked for and cannot be had.
    """
    check(name, arguments)
    network: nn.Module = models[name].function(inputs=inputs, outputs=outputs, **arguments)
    return network
