"""`score` masks against reference masks, and write what was measured; needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from ..core.files import write_text
from ..core.labels import scheme
from ..evaluation.problems import problems_of
from ..evaluation.scoring import score_folders
from ..evaluation.tables import Row, SummaryRow, summarise_rows, write_metrics, write_summary
from ..report.page import Report, render


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        folder: Where the tables and the report lie.
        rows: The lines of `metrics.csv`.
        summary: The lines of `summary.csv`.
        warnings: What the reader must know before believing a number.
        failed: How many cases could not be scored.
    """

    folder: Path
    rows: tuple[Row, ...]
    summary: tuple[SummaryRow, ...]
    warnings: tuple[str, ...]
    failed: int = 0

    def mean(self, region: str, metric: str) -> float | None:
        """Return the mean of a metric in a region."""
        found = [s.mean for s in self.summary if (s.region, s.metric) == (region, metric)]
        return found[0] if found else None


def score(
    truth: str | Path, prediction: str | Path, out: str | Path, *, labels: str | None = None
) -> Evaluation:
    """Score masks against reference masks of the same names; needs no model.

    Args:
        truth: Folder (nested or not) or file of the reference masks, 3D masks or images.
        prediction: The same of the masks to score.
        out: Folder for `metrics.csv`, `summary.csv`, `summary.json` and `report.html`.
        labels: The label scheme, where it cannot be told.

    Raises:
        GlioscopeError: If nothing can be scored, or masks that belong together differ in grid.
    """
    result = score_folders(Path(truth), Path(prediction), scheme(labels) if labels else None)
    report = Report(
        title=f"{Path(prediction).name} against {Path(truth).name}",
        subtitle=f"{len(result.cases)} cases, labels {result.labels.name}",
        warnings=result.warnings,
        problems=problems_of(result),
    )
    facts = {"truth": str(truth), "prediction": str(prediction), "labels": result.labels.name}
    failed = sum(pair.prediction is None for pair in result.cases)
    return write_evaluation(Path(out), result.rows, report, facts, failed)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return `metrics.csv` as a table."""
    return pd.DataFrame([asdict(row) for row in rows])


def write_evaluation(
    folder: Path, rows: Sequence[Row], report: Report, facts: Mapping[str, object], failed: int
) -> Evaluation:
    """Write `metrics.csv`, `summary.csv`, `summary.json` and `report.html`.

    Args:
        folder: Where to.
        rows: All scores.
        report: What the page says beside them.
        facts: What `summary.json` says beside them.
        failed: How many cases could not be scored.

    Raises:
        StorageError: If a file cannot be written.
    """
    summary = summarise_rows(rows)
    page = render(replace(report, summary_rows=summary, cases=table_of(rows)))
    write_metrics(folder / "metrics.csv", rows)
    write_summary(folder, summary, {**facts, "warnings": list(report.warnings)})
    write_text(folder / "report.html", page)
    return Evaluation(folder, tuple(rows), tuple(summary), tuple(report.warnings), failed)
