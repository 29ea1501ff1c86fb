"""What is decided once for a whole data set: its patients and its label scheme."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.case import Case, Source
from ..core.errors import DataError, UndecidedLabels
from ..core.labels import SCHEMES, Labels, decide, strange
from .paths import stem, unreadable
from .sequences import schemes_of

Mask = TypeVar("Mask")
PATIENTS = "patients.csv"
_KEYS = ("id", "case", "image", "file")


def decide_labels(path: Path, cases: Sequence[Case], labels: Labels | None) -> Labels | None:
    """Return the scheme of all masks: as told, else by the cases' names, else by their values.

    Masks are read only where the names leave a choice.

    Args:
        path: The data set, for messages.
        cases: All cases.
        labels: The scheme that the user named, if any.

    Raises:
        DataError: If names contradict each other, or the values fit several schemes or none.
    """
    if labels is not None:
        return labels
    allowed = [name for name in SCHEMES if all(name in schemes_of(case.id) for case in cases)]
    if not allowed:
        raise UndecidedLabels(
            path,
            "its cases are named after years with different label conventions",
            "one convention",
            f"keep them in folders of their own, or say which with --labels ({', '.join(SCHEMES)})",
        )
    if len(allowed) == 1:
        return SCHEMES[allowed[0]]
    masks = [case.mask for case in cases if case.mask is not None]
    if masks:
        try:
            held = stored_values(masks)
        except DataError as error:
            raise UndecidedLabels(error.where, error.found, error.expected, error.remedy) from error
        unknown = strange(held, allowed)
        return decide(held, held[min(unknown)] if unknown else path, allowed)
    return None if len(allowed) == len(SCHEMES) else SCHEMES[allowed[0]]


def names_tell(case_id: str) -> Labels | None:
    """Return the scheme of a case by its name alone; None if the name leaves every one open."""
    allowed = schemes_of(case_id)
    return None if len(allowed) == len(SCHEMES) else SCHEMES[allowed[0]]


def stored_values(masks: Sequence[Source]) -> dict[int, Path]:
    """Return every value that occurs in any of the masks, with the first file that holds it.

    Raises:
        DataError: If none of them can be read.
    """
    first: dict[int, Path] = {}
    for mask, values in surveyed(masks, _voxels):
        for value in values:
            first.setdefault(value, mask.path)
    return first


def surveyed(
    masks: Sequence[Mask], read: Callable[[Mask], NDArray[Any]]
) -> list[tuple[Mask, set[int]]]:
    """Return the masks with the values that occur in each, read beside each other.

    A mask that cannot be read is passed over: whoever uses its case will say what is wrong.

    Args:
        masks: Whatever `read` takes.
        read: Returns the values of a mask as an array.

    Raises:
        DataError: If none of them can be read.
    """

    def values(mask: Mask) -> set[int] | DataError:
        try:
            return {int(value) for value in np.unique(read(mask))}
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        found = list(zip(masks, pool.map(values, masks), strict=True))
    known = [(mask, values) for mask, values in found if not isinstance(values, DataError)]
    for _, error in found:
        if not known and isinstance(error, DataError):
            raise error
    return known


def _voxels(mask: Source) -> NDArray[Any]:
    return mask.read().array


def with_patients(
    root: Path, cases: Sequence[Case], otherwise: str | None
) -> tuple[tuple[Case, ...], str | None]:
    """Return the cases, sorted by id, with the patients that `patients.csv` in `root` names.

    Args:
        root: The folder that may hold `patients.csv`, as `patients_in` reads it.
        cases: The cases, with the patients that are known without the table.
        otherwise: How those are known.

    Returns:
        The cases, and how the patients are known.

    Raises:
        DataError: If the table lacks a column or a case, or contradicts itself.
    """
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    path = root / PATIENTS
    if not path.is_file():
        return ordered, otherwise
    patients = patients_in(root)
    named = [patients.get(case.id) or patients.get(stem(case.inputs[0])) for case in ordered]
    missing = [case.id for case, patient in zip(ordered, named, strict=True) if not patient]
    if missing:
        raise DataError(
            path,
            f"{len(missing)} of {len(ordered)} cases have no patient (such as {missing[0]})",
            "a line for every case",
            "complete the table, or remove it",
        )
    known = zip(ordered, named, strict=True)
    return tuple(replace(case, patient=patient or case.id) for case, patient in known), PATIENTS


def patients_in(root: Path) -> dict[str, str]:
    """Return the patient of each case or file that `patients.csv` in `root` names.

    The table has a column `patient` and one of `id`, `case`, `image` or `file`: names of cases or
    of their files, with or without suffix. Lines without a patient are passed over.

    Args:
        root: The folder.

    Returns:
        Patients by name less its image suffix; none if there is no table.

    Raises:
        DataError: If the table lacks a column, or gives one case two patients.
    """
    path = root / PATIENTS
    if not path.is_file():
        return {}
    columns, rows = read_rows(path)
    key = next((name for name in _KEYS if name in columns), None)
    if key is None or "patient" not in columns:
        raise DataError(
            path, f"columns {', '.join(columns)}", f"patient and one of {', '.join(_KEYS)}"
        )
    patients: dict[str, str] = {}
    for row in rows:
        name, patient = stem(row[key]), row["patient"]
        if patient and patients.setdefault(name, patient) != patient:
            raise DataError(
                path,
                f"{name} belongs to {patients[name]} and to {patient}",
                "one patient for each case",
                "correct the table",
            )
    return patients


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the column names and the rows of a CSV file, every cell stripped.

    Raises:
        DataError: If the file cannot be read or a row has more cells than there are columns.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except OSError as error:
        raise unreadable(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not a CSV file ({error})", "comma-separated UTF-8") from error
    if not lines or not any(lines[0]):
        raise DataError(path, "has no header line", "names of columns in the first line")
    columns = lines[0]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if len(line) > len(columns):
            raise DataError(
                path, f"line {number} has {len(line)} cells",
                f"{len(columns)} as in the first line", "correct the table",
            )  # fmt: skip
        if any(line):
            rows.append(dict(zip(columns, [*line, *[""] * len(columns)], strict=False)))
    return columns, rows
