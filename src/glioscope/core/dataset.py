"""`Dataset`: what `open_dataset(path)` returns, whatever layout it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .case import Case
from .errors import DataError
from .files import digest
from .labels import Labels


@dataclass(frozen=True)
class Dataset:
    """Cases that belong together, with one label scheme.

    Attributes:
        path: Where they were found.
        format: Name of the format that read them.
        cases: The cases, sorted by id.
        labels: The label scheme of every mask; None if no case has a mask and nothing names one.
        patients_from: How patients are known: `patients.csv`, `case names`, ... ; None if every
            case stands for itself.
        notes: What was assumed or repaired while reading, for the user to see.
    """

    path: Path
    format: str
    cases: tuple[Case, ...]
    labels: Labels | None
    patients_from: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        twice = [name for name, n in Counter(case.id for case in self.cases).items() if n > 1]
        if twice:
            paths = dict.fromkeys(str(c.path) for c in self.cases if c.id == twice[0])
            raise DataError(
                self.path,
                f"two cases are named {twice[0]} ({', '.join(paths)})",
                "unique names",
                "rename or remove one of them",
            )

    @property
    def fingerprint(self) -> str:
        """Hash of what the cases are made of; the same for a copy elsewhere."""
        return digest([case.identity for case in self.cases])

    def known_labels(self) -> Labels:
        """Return the label scheme of the masks.

        Raises:
            DataError: If no case has a mask.
        """
        if self.labels is None:
            raise self.no_masks()
        return self.labels

    def no_masks(self) -> DataError:
        """Return the error of a data set without any reference, where one is needed."""
        return DataError(
            self.path,
            "no case has a mask",
            "reference segmentations",
            "add them, named like their cases (see the section on data in the README)",
        )

    def with_masks(self) -> tuple[Case, ...]:
        """Return the cases that have a reference segmentation."""
        return tuple(case for case in self.cases if case.mask is not None)

    def only(self, ids: Sequence[str]) -> Dataset:
        """Return the data set less every case that is not named."""
        wanted = set(ids)
        return replace(self, cases=tuple(case for case in self.cases if case.id in wanted))
