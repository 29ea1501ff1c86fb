"""Metrics of one region in one case; each declares its direction, unit and rule for empty masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..core.registry import Registry


@dataclass(frozen=True)
class MetricTraits:
    """What a metric declares.

    Attributes:
        rule: What it gives where truth, prediction or both are empty.
        higher_is_better: Direction.
        worst: Value of a missing prediction.
        unit: Unit of the value; empty for a ratio.
    """

    rule: str
    higher_is_better: bool = True
    worst: float = 0.0
    unit: str = ""


class Score(NamedTuple):
    """A value, or None with the reason why there is none."""

    value: float | None
    reason: str = ""


metrics: Registry[MetricTraits] = Registry("metric", __name__, MetricTraits)
register = metrics.register
