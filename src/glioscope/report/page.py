"""The report: one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from . import plots
from .canvas import Picture
from .figures import colour_of
from .problems import PICTURES, Kind, Problem, Section, section

_MEANINGS = {"WT": "whole tumour", "TC": "tumour core", "ET": "enhancing tumour"}


@dataclass(frozen=True, eq=False)
class Report:
    """What a report shows; whatever is empty is left out.

    Attributes:
        title: What was evaluated.
        subtitle: On what, when.
        summary_rows: Rows of `summary.csv`, as mappings or objects: `region, metric, mean, median,
            q25, q75, ci_low, ci_high, n, failed, unit, rule`.
        cases: `metrics.csv`: `case, patient, split, region, metric, value, unit, rule, reason`.
        pictures: Scans with contours of truth and prediction.
        curves_svg: Learning curves, made by `plots.learning_curves`.
        size_svg: Dice against size, made by `plots.score_against_size`.
        settings: Everything that was set, nested as one likes.
        problems: Cases with problems.
        warnings: What the reader must know before believing a number.
        notes: How to read the numbers.
    """

    title: str
    subtitle: str
    summary_rows: Sequence[Any] = ()
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: Sequence[Picture] = ()
    curves_svg: str | None = None
    size_svg: str | None = None
    problems: Sequence[Problem] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


def render(report: Report) -> str:
    """Return the report as one HTML page without scripts, fonts or pictures from elsewhere.

    Everything a user can name is escaped; a content security policy allows the page's own script
    by its hash and nothing from the network.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["sha256"] = _source_hash
    template = resources.files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    rows = [_summary(row) for row in report.summary_rows]
    names = list(dict.fromkeys(row["metric"] for row in rows))
    metric = "dice" if "dice" in names or not names else names[0]
    summary = sorted(rows, key=lambda row: (row["metric"] != metric, names.index(row["metric"])))
    troubled = section(report.problems)
    spread = len(plots.measured(report.cases)) > 0
    return environment.from_string(template).render(
        report=report,
        summary=summary,
        headline=_headline(summary, metric),
        headline_metric=plots.metric_name(metric),
        facts=_facts(report.cases, summary, metric, troubled),
        distribution=Markup(plots.distribution(report.cases)) if spread else "",
        curves=Markup(report.curves_svg or ""),
        size=Markup(report.size_svg or ""),
        table=_case_table(report.cases, metric),
        problems=troubled,
        anchors=troubled.anchors,
        most_pictures=PICTURES,
        settings=_sections(report.settings),
    )


# --- headline and summary ------------------------------------------------------------------------


def _summary(row: object) -> dict[str, Any]:
    """Return a row of the summary as texts for the page, and numbers for its bars."""
    get: Callable[[str], Any] = (
        row.__getitem__ if isinstance(row, Mapping) else partial(getattr, row)
    )
    unit = _text(get("unit"))
    shown: dict[str, Any] = {n: _text(get(n)) for n in ("region", "metric", "rule")}
    numbers = {n: _number(get(n)) for n in ("mean", "median", "q25", "q75", "ci_low", "ci_high")}
    shown |= {name: _shown(value, unit) for name, value in numbers.items()}
    shown |= {n: f"{_number(get(n)) or 0:.0f}" for n in ("n", "failed")}
    places = [numbers[n] for n in ("mean", "ci_low", "ci_high")]
    known = [p for p in places if p is not None and 0 <= p <= 1 and not unit]
    return shown | {
        "name": _titled(shown["metric"], unit),
        "meaning": _MEANINGS.get(shown["region"], ""),
        "colour": colour_of(shown["region"]),
        "bar": [round(100 * p, 2) for p in known] if len(known) == len(places) else None,
    }


def _headline(summary: Sequence[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
    """Return the rows that stand on top of the page; the mean of a single region is no news."""
    rows = [r for r in summary if r["metric"] == metric and r["region"] not in plots.NOT_REGIONS]
    regions = [row for row in rows if row["region"] != "mean"]
    return regions if len(regions) == 1 else rows


class _Fact(NamedTuple):
    name: str
    value: str
    anchor: str = ""  # where the page says more
    bad: bool = False


def _facts(
    cases: pd.DataFrame, summary: Sequence[Mapping[str, Any]], metric: str, problems: Section
) -> list[_Fact]:
    """Return what was counted, in words and numbers."""
    splits = [s for s in map(_text, cases["split"].unique()) if s]
    patients = {p for p in map(_text, cases["patient"].unique()) if p}
    failed = max((int(r["failed"]) for r in summary if r["metric"] == metric), default=0)
    first = problems.first(Kind.FAILED, Kind.MISSING)
    mild = [kind for kind in Kind if kind.mild]
    wrong = [kind for kind in Kind if not kind.mild]
    facts = [_Fact("cases", str(cases["case"].nunique()))]
    if patients - {*map(_text, cases["case"])}:
        facts.append(_Fact("patients", str(len(patients))))
    if splits:
        facts.append(_Fact("split", ", ".join(splits)))
    facts.append(_Fact("failed", str(failed), first, failed > 0))
    named = {"left out": [Kind.LEFT_OUT], "with problems": wrong, "with remarks": mild}
    for name, kinds in named.items():
        if count := problems.count(*kinds):
            bad = name == "left out"
            facts.append(_Fact(name, str(count), problems.first(*kinds), bad))
    return facts


# --- the table of all cases ----------------------------------------------------------------------


class _Cell(NamedTuple):
    text: str
    key: str  # what it is sorted by; empty ones go last
    note: int = 0  # number of its footnote


class _Column(NamedTuple):
    metric: str
    region: str
    starts: bool  # whether it is the first of its metric


@dataclass(frozen=True)
class _Table:
    leading: list[str]
    groups: list[tuple[str, int]]
    columns: list[_Column]
    rows: list[list[_Cell]]
    notes: list[str]


def _case_table(cases: pd.DataFrame, headline: str) -> _Table:
    """Lay `metrics.csv` out with one row per case, the lowest scores first."""
    columns = _columns(cases, headline)
    leading = ["case", *(n for n in ("patient", "split") if _tells(cases, n))]
    reasons = [r for r in map(_text, cases["reason"].unique()) if r]
    scored = []
    for _, rows in cases.groupby("case"):
        cells = {
            (row.metric, row.region): _cell(row.value, _text(row.unit), _text(row.reason), reasons)
            for row in rows.itertuples()
        }
        texts = [_text(rows[name].iloc[0]) for name in leading]
        line = [_Cell(text, text) for text in texts]
        line += [cells.get((c.metric, c.region), _Cell("", "")) for c in columns]
        counted = (rows["metric"] == headline) & ~rows["region"].isin(plots.NOT_REGIONS)
        values = map(_number, rows.loc[counted, "value"])
        known = [v for v in values if v is not None]
        scored.append((sum(known) / len(known) if known else math.inf, line))
    lines = [line for _, line in sorted(scored, key=lambda item: item[0])]
    units = dict(zip(cases["metric"], map(_text, cases["unit"]), strict=True))
    groups = [
        (_titled(metric, units[metric]), len(list(group)))
        for metric, group in itertools.groupby(columns, key=lambda c: c.metric)
    ]
    return _Table(leading, groups, columns, lines, reasons)


def _columns(cases: pd.DataFrame, headline: str) -> list[_Column]:
    """Return every pair of metric and region, the headline's first, else as they come."""
    pairs = dict.fromkeys(zip(cases["metric"], cases["region"], strict=True))
    metrics = sorted(dict.fromkeys(m for m, _ in pairs), key=lambda m: m != headline)
    return [
        _Column(metric, region, place == 0)
        for metric in metrics
        for place, region in enumerate(r for m, r in pairs if m == metric)
    ]


def _cell(value: object, unit: str, reason: str, reasons: Sequence[str]) -> _Cell:
    number = _number(value)
    note = reasons.index(reason) + 1 if reason else 0
    return _Cell(_shown(number, unit), "" if number is None else repr(number), note)


def _tells(cases: pd.DataFrame, column: str) -> bool:
    """Tell whether a column holds more than the case's name or nothing."""
    texts = cases[column].map(_text)
    return bool((texts != "").any() and (texts != cases["case"].map(_text)).any())


# --- small things --------------------------------------------------------------------------------


def _sections(settings: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return nested settings as titled lists of dotted keys and values."""
    plain = {k: v for k, v in settings.items() if not isinstance(v, Mapping)}
    nested = [(str(k), _leaves(v)) for k, v in settings.items() if isinstance(v, Mapping)]
    return ([("", _leaves(plain))] if plain else []) + nested


def _leaves(value: object, key: str = "") -> list[tuple[str, str]]:
    prefix = f"{key}." if key else ""
    if isinstance(value, Mapping) and value:
        return [leaf for k, v in value.items() for leaf in _leaves(v, f"{prefix}{k}")]
    if isinstance(value, list | tuple):
        if any(isinstance(v, Mapping) for v in value):
            return [leaf for i, v in enumerate(value) for leaf in _leaves(v, f"{prefix}{i + 1}")]
        return [(key, ", ".join(map(str, value)) or "none")]
    return [(key, "none" if value is None or value == {} else str(value))]


def _titled(metric: str, unit: str) -> str:
    return plots.metric_name(metric) + (f" ({unit})" if unit else "")


def _number(value: Any) -> float | None:
    """Return a finite number, or None for an empty cell however it is written."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _shown(number: float | None, unit: str) -> str:
    if number is None:
        return "—"
    return f"{number:.2f}" if unit else f"{number:.3f}"


def _source_hash(script: str) -> str:
    """Return how a content security policy names a script (CSP level 3, `hash-source`)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
