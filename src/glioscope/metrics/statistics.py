"""Summaries of scores: quartiles, and intervals that know that cases of one patient are kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray[np.floating]], Any]


@dataclass(frozen=True)
class Summary:
    """The distribution of one score over cases; None where there are too few of them.

    Attributes:
        mean: Mean over the cases.
        median: Median.
        q25: Lower quartile.
        q75: Upper quartile.
        ci_low: Lower end of the 95 % interval of the mean, by patient.
        ci_high: Upper end of it.
        n: Number of cases.
    """

    mean: float | None
    median: float | None
    q25: float | None
    q75: float | None
    ci_low: float | None
    ci_high: float | None
    n: int


def bootstrap_interval(
    values: ArrayLike,
    patients: Sequence[str],
    rng: np.random.Generator,
    statistic: Statistic = np.mean,
    level: float = 0.95,
    resamples: int = 2000,
) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of a statistic, drawing whole patients.

    Cases of one patient are not independent, so patients are drawn with replacement and bring all
    their cases along (cluster bootstrap; Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, sections 3.8 and 5.3).

    Args:
        values: One value per case, shape (N,).
        patients: Patient of each case.
        rng: Where the draws come from.
        statistic: Maps values (M,) to a number.
        level: Coverage.
        resamples: Number of draws.

    Returns:
        Both ends, or None if there are fewer than two patients.
    """
    scores = np.asarray(values, dtype=np.float64)
    names, member = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) < 2:
        return None
    draws = rng.integers(len(names), size=(resamples, len(names)))
    if statistic is np.mean:
        sums, counts = np.bincount(member, scores), np.bincount(member)
        estimates = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    else:
        groups = [scores[member == i] for i in range(len(names))]
        estimates = np.array([statistic(np.concatenate([groups[i] for i in d])) for d in draws])
    tail = (1 - level) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return float(low), float(high)


def summarise(values: ArrayLike, patients: Sequence[str], rng: np.random.Generator) -> Summary:
    """Return mean, quartiles and the 95 % interval of the mean.

    Args:
        values: One value per case, shape (N,).
        patients: Patient of each case.
        rng: Where the draws of the interval come from.

    Example:
        >>> summarise([0.5, 0.75, 1.0], ["a", "a", "a"], np.random.default_rng(0))
        Summary(mean=0.75, median=0.75, q25=0.625, q75=0.875, ci_low=None, ci_high=None, n=3)
    """
    scores = np.asarray(values, dtype=np.float64)
    if not scores.size:
        return Summary(None, None, None, None, None, None, 0)
    q25, median, q75 = (float(q) for q in np.quantile(scores, [0.25, 0.5, 0.75]))
    low, high = bootstrap_interval(scores, patients, rng) or (None, None)
    return Summary(float(scores.mean()), median, q25, q75, low, high, scores.size)
