"""`metrics.csv`, `summary.csv` and `summary.json`: the columns that others rely on.

Values are plain decimals; where there is none the field is empty and the reason stands beside it.
Columns are only ever added on the right.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from ..core.files import write_json, write_text
from ..core.labels import SCHEMES
from ..metrics.statistics import summarise

BACKGROUND = "background"
ALL = "all"
"""Region of what is measured on whole cases, such as the loss."""
MEAN = "mean"
"""Mean over the regions; over the classes in data that form no regions."""
MEAN_CLASSES = "mean_classes"
"""Mean over the classes, in data that form regions too."""
MEAN_WITH_BACKGROUND = "mean_with_background"
"""Mean over the classes and the background, as some authors report it."""
NO_PREDICTION = "no prediction"
_REGIONS = frozenset(region for scheme in SCHEMES.values() for region in scheme.regions)
_DIGITS = 10


@dataclass(frozen=True)
class Row:
    """A line of `metrics.csv`: one metric of one region in one case.

    Attributes:
        case: Case.
        patient: Who it belongs to.
        split: `train`, `valid`, `test`, or empty where nothing was split.
        region: Region, class, `background`, or `all` for what is measured on the whole case.
        metric: Registered name of the metric.
        value: The value, None if there is none.
        unit: Unit of the value; empty for a ratio.
        rule: The metric's rule for empty masks.
        reason: Why there is no value, or why it stands in for one.
    """

    case: str
    patient: str
    split: str
    region: str
    metric: str
    value: float | None
    unit: str = ""
    rule: str = ""
    reason: str = ""


@dataclass(frozen=True)
class SummaryRow:
    """A line of `summary.csv`: the distribution of one metric of one region over the cases.

    Attributes:
        region: Region, or one of the means over regions.
        metric: Registered name of the metric.
        mean: Mean over the cases that have a value.
        median: Median.
        q25: Lower quartile.
        q75: Upper quartile.
        ci_low: Lower end of the 95 % bootstrap interval of the mean, by patient.
        ci_high: Upper end of it; None with fewer than two patients.
        n: Number of cases that have a value.
        failed: Number of cases without a value or without a prediction.
        unit: Unit of the values; empty for ratios.
        rule: The metric's rule for empty masks.
    """

    region: str
    metric: str
    mean: float | None
    median: float | None
    q25: float | None
    q75: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    failed: int
    unit: str
    rule: str


def write_metrics(path: Path, rows: Sequence[Row]) -> None:
    """Write `metrics.csv`.

    Raises:
        ValueError: If a (case, region, metric) stands twice, or a value is missing without reason
            or not finite.
        StorageError: If the file cannot be written.
    """
    seen: set[tuple[str, str, str]] = set()
    for row in rows:
        key = (row.case, row.region, row.metric)
        if key in seen:
            raise ValueError(f"two rows hold {key}")
        if row.value is None and not row.reason:
            raise ValueError(f"{key} has neither a value nor a reason")
        seen.add(key)
    _write_csv(path, Row, rows)


def summarise_rows(rows: Sequence[Row], seed: int = 0) -> list[SummaryRow]:
    """Summarise every metric of every region over the cases, then the means over regions.

    A mean over regions is taken within each case first, over the regions that have a value there.
    It leaves the background out; where the background has a score, a row of its own includes it.

    Args:
        rows: Scores; regions and metrics keep the order in which they come up.
        seed: Seed of the bootstrap, the same for every row.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.region, row.metric), []).append(row)
    for metric in dict.fromkeys(row.metric for row in rows):
        named = [region for region, other in groups if other == metric]
        for mean, regions in _means(named).items():
            parts = [row for region in regions for row in groups[region, metric]]
            groups[mean, metric] = _mean_rows(mean, regions, parts)
    return [_summary(group, seed) for group in groups.values()]


def write_summary(
    folder: Path, rows: Sequence[SummaryRow], extra: Mapping[str, object] | None = None
) -> None:
    """Write `summary.csv` and `summary.json`.

    Args:
        folder: Where to.
        rows: The lines of the table; in JSON a list under `summary`.
        extra: What else stands in the JSON, by key.

    Raises:
        StorageError: If a file cannot be written.
    """
    _write_csv(folder / "summary.csv", SummaryRow, rows)
    write_json(folder / "summary.json", {**(extra or {}), "summary": [asdict(row) for row in rows]})


def decimal(value: float) -> str:
    """Return a number as a plain decimal of at most ten significant digits.

    Raises:
        ValueError: If it is not finite.

    Example:
        >>> decimal(2 / 3), decimal(1.0), decimal(2.5e-7)
        ('0.6666666667', '1', '0.00000025')
    """
    if not np.isfinite(value):
        raise ValueError(f"{value} has no place in a table")
    return np.format_float_positional(value + 0.0, _DIGITS, fractional=False, trim="-")


def _write_csv(path: Path, kind: type, rows: Iterable[Row | SummaryRow]) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(field.name for field in fields(kind))
    writer.writerows([_field(value) for value in astuple(row)] for row in rows)
    write_text(path, stream.getvalue())


def _field(value: object) -> str:
    if value is None:
        return ""
    return decimal(float(value)) if isinstance(value, float | np.floating) else str(value)


def _means(named: Sequence[str]) -> dict[str, list[str]]:
    """Return which of the regions with a score each mean is taken over."""
    regions = [name for name in named if name in _REGIONS]
    classes = [name for name in named if name not in {*regions, BACKGROUND, ALL}]
    means = {MEAN: regions or classes}
    if regions:
        means[MEAN_CLASSES] = classes
    if BACKGROUND in named:
        means[MEAN_WITH_BACKGROUND] = [BACKGROUND, *(classes or regions)]
    return {name: parts for name, parts in means.items() if parts}


def _mean_rows(mean: str, regions: Sequence[str], rows: Iterable[Row]) -> list[Row]:
    """Return one row per case: the mean over those of its regions that have a value."""
    cases: dict[str, list[Row]] = {}
    for row in rows:
        cases.setdefault(row.case, []).append(row)
    merged = []
    for parts in cases.values():
        values = [part.value for part in parts if part.value is not None]
        stand_in = next((p.reason for p in parts if p.reason and p.value is not None), "")
        merged.append(
            replace(
                parts[0],
                region=mean,
                value=float(np.mean(values)) if values else None,
                rule=f"mean of {', '.join(regions)} in each case; {parts[0].rule}".rstrip("; "),
                reason=stand_in or ("" if values else "no region has a value"),
            )
        )
    return merged


def _summary(rows: Sequence[Row], seed: int) -> SummaryRow:
    scored = [row for row in rows if row.value is not None]
    values = [row.value for row in scored if row.value is not None]
    summary = summarise(values, [row.patient for row in scored], np.random.default_rng(seed))
    return SummaryRow(
        rows[0].region,
        rows[0].metric,
        **asdict(summary),
        failed=sum(bool(row.reason) for row in rows),
        unit=rows[0].unit,
        rule=rows[0].rule,
    )
