"""The loss of a recipe: a weighted sum of registered losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from ..core.errors import RecipeError
from ..core.registry import Entry
from . import LossTraits, losses
from .channels import Activation

Arguments = Mapping[str, float | list[float]]
_FROM_TRAINING = ("logits", "target", "activation")


@dataclass(frozen=True)
class Term:
    """One registered loss with its weight in the sum and its own arguments."""

    entry: Entry[LossTraits]
    weight: float
    arguments: Arguments


@dataclass(frozen=True)
class Loss:
    """A weighted sum of losses of logits (B, C, ...) and a target (B, C, ...) of zeros and ones.

    Attributes:
        terms: What is summed.
        activation: What turns logits into probabilities.
    """

    terms: tuple[Term, ...]
    activation: Activation

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a float32 scalar."""
        values = [
            term.weight
            * term.entry.function(logits, target, activation=self.activation, **term.arguments)
            for term in self.terms
        ]
        return cast(Tensor, sum(values[1:], values[0]))


def build_loss(terms: Mapping[str, float | Arguments], activation: str) -> Loss:
    """Build the loss of a recipe.

    Args:
        terms: For each registered loss its weight, or a mapping of `weight` (1 if left out) and
            the loss's own arguments.
        activation: `sigmoid` or `softmax`.

    Raises:
        UnknownName: If there is no loss of this name.
        RecipeError: If there is no term, or one is not defined for the activation, has a weight
            that is not positive or an argument that the loss does not take.
    """
    if not terms:
        raise RecipeError("loss", "is empty", f"one or more of {', '.join(losses)}")
    built = tuple(_term(name, value, activation) for name, value in terms.items())
    return Loss(built, cast(Activation, activation))


def _term(name: str, value: float | Arguments, activation: str) -> Term:
    entry, where = losses[name], f"loss.{name}"
    if activation not in entry.traits.activations:
        usable = [other for other in losses if activation in losses[other].traits.activations]
        raise RecipeError(
            where,
            f"is not defined for {activation} outputs",
            f"one of {', '.join(usable)}",
            f"or other targets: it takes {' or '.join(entry.traits.activations)}",
        )
    arguments = dict(value) if isinstance(value, Mapping) else {"weight": value}
    weight = arguments.pop("weight", 1.0)
    if not isinstance(weight, int | float) or not 0 < weight < float("inf"):
        raise RecipeError(f"{where}.weight", f"is {weight}", "a positive number")
    entry.check_arguments(arguments, where, reserved=_FROM_TRAINING)
    return Term(entry, weight, arguments)
