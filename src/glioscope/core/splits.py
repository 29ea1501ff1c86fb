"""Train, validation and test: by the layout where it has them, else by patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from .case import Case
from .dataset import Dataset
from .errors import DataError, one_line
from .files import read_json

NAMES = ("train", "valid", "test")
_SHARES = {"valid": 0.1, "test": 0.2}
_REMEDY = "correct the file, or leave out --splits"


class Splits(BaseModel):
    """Which case is used for what.

    Attributes:
        by: `layout`, `patient`, or `case` where no patient is known.
        seed: What the division was drawn from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str
    seed: int
    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]

    def of(self, case_id: str) -> str | None:
        """Return the split that holds a case."""
        return next((name for name in NAMES if case_id in getattr(self, name)), None)


def make_splits(dataset: Dataset, seed: int) -> Splits:
    """Divide the cases that have masks: as the layout says, else 70/10/20 by patient.

    A layout that lacks one of the three has it drawn, by patient, from its training cases.

    Raises:
        DataError: If there are too few patients for three groups that are not empty.
    """
    cases = dataset.with_masks()
    if not cases:
        raise dataset.no_masks()
    groups: dict[str, list[Case]] = {name: [c for c in cases if c.split == name] for name in NAMES}
    laid_out = any(groups.values())
    groups["train"] += [c for c in cases if c.split not in NAMES]
    absent = [name for name in ("test", "valid") if not groups[name]]
    drawn = _draw(groups["train"], absent, seed, dataset.path)
    for name, patients in drawn.items():
        groups[name] = [c for c in groups["train"] if c.patient in patients]
        groups["train"] = [c for c in groups["train"] if c.patient not in patients]
    by = "layout" if laid_out else "patient" if dataset.patients_from else "case"
    return Splits(by=by, seed=seed, **{name: tuple(c.id for c in groups[name]) for name in NAMES})


def read_splits(path: Path, dataset: Dataset) -> Splits:
    """Read a splits file and check it against the data.

    Raises:
        DataError: If it is not a splits file, names a case that is not there or one twice, or
            leaves the training or validation cases empty.
    """
    try:
        splits = Splits.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            path,
            f"{place or 'its content'}: {one_line(first['msg'])}",
            '{"by": "patient", "seed": 0, "train": [...], "valid": [...], "test": [...]}',
            _REMEDY,
        ) from error
    named = [*splits.train, *splits.valid, *splits.test]
    known = {case.id for case in dataset.with_masks()}
    unknown = [case_id for case_id in named if case_id not in known]
    if unknown:
        found = f"names case {unknown[0]} ({len(unknown)} of its {len(named)} cases are unknown)"
        raise DataError(path, found, f"cases of {dataset.path} with a mask", _REMEDY)
    twice = [case_id for case_id, count in Counter(named).items() if count > 1]
    if twice:
        raise DataError(path, f"names {twice[0]} twice", "every case in one split only", _REMEDY)
    if not splits.train or not splits.valid:
        raise DataError(path, "train or valid is empty", "at least one case in each", _REMEDY)
    return splits


def patients_on_both_sides(splits: Splits, cases: Iterable[Case]) -> list[str]:
    """Return the patients that occur in training and also in validation or test."""
    patient = {case.id: case.patient for case in cases}
    train = {patient[i] for i in splits.train}
    return sorted(train & {patient[i] for i in (*splits.valid, *splits.test)})


def _draw(
    cases: Sequence[Case], names: Sequence[str], seed: int, path: Path
) -> dict[str, set[str]]:
    """Draw the patients of each named split, at least one each and one left for training."""
    patients = sorted({case.patient for case in cases})
    if not names:
        return {}
    if len(patients) <= len(names):
        raise DataError(
            path,
            f"{len(patients)} patients with masks",
            f"at least {len(names) + 1} to split",
            "add cases, or divide them yourself with --splits FILE",
        )
    order = list(np.random.default_rng(seed).permutation(patients))
    drawn = {}
    for name in names:
        count = max(1, round(_SHARES[name] * len(patients)))
        drawn[name], order = {str(p) for p in order[:count]}, order[count:]
    return drawn
