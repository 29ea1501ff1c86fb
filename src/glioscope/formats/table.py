"""A `cases.csv` that names the files of every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from ..core.case import SEQUENCES, Case
from ..core.dataset import Dataset
from ..core.errors import DataError, did_you_mean
from ..core.labels import Labels
from . import register
from .cohort import decide_labels, read_rows, with_patients
from .image import ImageMask, source
from .pairs import mask_kind
from .paths import IMAGE_SUFFIXES, SCAN_SUFFIXES, is_image, is_scan, stem
from .scans import scan_mask
from .sequences import parse, patient_of

NAME = "cases.csv"
_SPLITS = ("train", "valid", "test")
_COLUMNS = ("case", "patient", "date", *SEQUENCES, "mask", "split")


@dataclass(frozen=True)
class _Row:
    """A line of the table: its cells, and the files that it names."""

    number: int
    cells: Mapping[str, str]
    files: Mapping[str, Path]


def _table(path: Path) -> Path:
    return path / NAME if path.is_dir() else path


def _claims(path: Path) -> bool:
    return _table(path).suffix.lower() == ".csv" and _table(path).is_file()


@register(claims=_claims, rank=10)
def table(path: Path, labels: Labels | None) -> Dataset:
    """Read a CSV file with a line for every case, or a folder that holds a `cases.csv`.

    Its columns are `case patient date t1 t1c t2 flair image mask split`; each may be absent, but
    every line names at least one scan. Paths are relative to the table, dates are ISO 8601
    (2024-05-31), splits are train, valid and test.

    Args:
        path: The table or its folder.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If a column is unknown, a file is missing or a cell has no meaning.
    """
    csv = _table(path)
    columns, cells = read_rows(csv)
    for column in columns:
        if column not in _COLUMNS:
            raise DataError(
                csv, f"column {column!r} is unknown", "", did_you_mean(column, _COLUMNS)
            )
    rows = [_checked(csv, number, row) for number, row in enumerate(cells, start=1)]
    flat = {is_image(file) for row in rows for file in row.files.values()}
    if len(flat) > 1:
        raise DataError(csv, "names 2D images and 3D scans", "one kind of file in a table")
    notes: tuple[str, ...] = ()
    threshold = None
    if True in flat:
        kind = mask_kind(csv, [row.files["mask"] for row in rows if "mask" in row.files], labels)
        labels, threshold, notes = kind.labels, kind.threshold, kind.notes
    cases = [_case(csv, row, threshold) for row in rows]
    known_by = NAME if "patient" in columns else None if True in flat else "case names"
    known, patients_from = with_patients(csv.parent, cases, known_by)
    return Dataset(csv, "table", known, decide_labels(csv, known, labels), patients_from, notes)


def _checked(csv: Path, number: int, cells: Mapping[str, str]) -> _Row:
    where = f"{csv}, case {cells.get('case') or f'in row {number}'}"
    files = {
        column: csv.parent / cells[column] for column in (*SEQUENCES, "mask") if cells.get(column)
    }
    if not files.keys() & SEQUENCES.keys():
        raise DataError(
            where, "names no scan", f"a file in one of {', '.join(SEQUENCES)}",
            "name one, or remove the line",
        )  # fmt: skip
    for column, file in files.items():
        if not (is_image(file) or is_scan(file)):
            known = " ".join((*SCAN_SUFFIXES, *IMAGE_SUFFIXES))
            raise DataError(where, f"its {column} is {file.name}", f"one of {known}")
        if not file.is_file():
            raise DataError(where, f"its {column} is missing ({file})", "a file", "check the path")
    if cells.get("split", "") not in ("", *_SPLITS):
        raise DataError(where, f"split {cells['split']!r}", f"one of {', '.join(_SPLITS)}")
    return _Row(number, cells, files)


def _case(csv: Path, row: _Row, threshold: int | None) -> Case:
    files = {name: file for name, file in row.files.items() if name != "mask"}
    case_id = row.cells.get("case") or _named_after(list(files.values()))
    patient, timepoint = patient_of(case_id)
    mask = row.files.get("mask")
    return Case(
        case_id,
        row.cells.get("patient") or patient,
        csv,
        {name: source(file) for name, file in files.items()},
        None if mask is None else ImageMask(mask, threshold) if is_image(mask) else scan_mask(mask),
        timepoint,
        _date(csv, case_id, row.cells.get("date", "")),
        row.cells.get("split") or None,
    )


def _named_after(files: Sequence[Path]) -> str:
    parsed = parse(files[0])
    return parsed[0] if parsed and parsed[0] else stem(files[0])


def _date(csv: Path, case_id: str, text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise DataError(
            f"{csv}, case {case_id}",
            f"date {text!r}",
            "a date such as 2024-05-31",
            "correct the table",
        ) from error
