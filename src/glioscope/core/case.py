"""`Case`: one examination of one patient, its channels by name as lazy sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from .errors import DataError
from .labels import Labels
from .volume import Grid, Volume

SEQUENCES: Mapping[str, str] = {
    "t1": "T1-weighted, before contrast",
    "t1c": "T1-weighted, after contrast",
    "t2": "T2-weighted",
    "flair": "T2-weighted with the fluid suppressed",
    "image": "a 2D slice of unnamed sequence",
}
"""Channel names that every format and command uses."""


@runtime_checkable
class Source(Protocol):
    """A channel or a mask that is read when asked for."""

    @property
    def path(self) -> Path:
        """Return the file, for messages."""
        ...

    @property
    def identity(self) -> str:
        """Return name and size of the file, or what else tells two versions apart."""
        ...

    def grid(self) -> Grid:
        """Return where the voxels lie, from the header alone."""
        ...

    def read(self) -> Volume:
        """Return one channel (1, X, Y, Z): float32 for images, uint8 or int16 for masks."""
        ...


@dataclass(frozen=True)
class Case:
    """One examination.

    Attributes:
        id: Name of the case, unique in its data set.
        patient: Who was examined; splits and intervals go by patient.
        path: Folder or file the case came from, for messages.
        channels: Sources by channel name.
        mask: The reference segmentation, if there is one.
        timepoint: Which examination of the patient this is, as the data set names it.
        date: When it was made, if known.
        split: `train`, `valid` or `test` where the layout says so.
    """

    id: str
    patient: str
    path: Path
    channels: Mapping[str, Source] = field(default_factory=dict)
    mask: Source | None = None
    timepoint: str | None = None
    date: date | None = None
    split: str | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files of the channels."""
        return tuple(source.path for source in self.channels.values())

    @property
    def identity(self) -> list[str]:
        """Everything that tells this case from another version of itself."""
        masks = [f"mask={self.mask.identity}"] if self.mask else []
        return [self.id, *sorted(f"{n}={s.identity}" for n, s in self.channels.items()), *masks]

    def grid(self) -> Grid:
        """Return the grid of the first channel; all channels that are used share it."""
        return next(iter(self.channels.values())).grid()

    def only(self, names: Sequence[str]) -> Case:
        """Return the case less every channel that is not named, in the order of the names.

        Raises:
            DataError: If a channel is missing.
        """
        self.require(names)
        return replace(self, channels={name: self.channels[name] for name in names})

    def require(self, names: Sequence[str]) -> None:
        """Refuse a case that lacks one of the channels.

        Raises:
            DataError: Naming the channels that are missing and those there are.
        """
        missing = [name for name in names if name not in self.channels]
        if missing:
            raise DataError(
                self.path,
                f"case {self.id} has no {', '.join(missing)} (only {', '.join(self.channels)})",
                " ".join(names),
                "add the missing file, or take a recipe or a model that does without it",
            )

    def require_common_grid(self, names: Sequence[str]) -> Grid:
        """Return the grid that the named channels share.

        Raises:
            DataError: Naming two files whose shapes or affines differ.
        """
        self.require(names)
        first = self.channels[names[0]]
        grid = first.grid()
        for name in names[1:]:
            require_same_grid(
                self.channels[name].path, self.channels[name].grid(), first.path, grid
            )
        return grid

    def read(self, names: Sequence[str]) -> Volume:
        """Return the named channels as one float32 volume (C, X, Y, Z) in file axes.

        Raises:
            DataError: If a channel is missing, unreadable or on another grid.
        """
        self.require_common_grid(names)
        volumes = [self.channels[name].read() for name in names]
        return Volume(
            np.concatenate([v.array for v in volumes], dtype=np.float32),
            tuple(names),
            volumes[0].affine,
            volumes[0].unit,
            tuple(dict.fromkeys(note for v in volumes for note in v.notes)),
        )

    def read_mask(self, labels: Labels, grid: Grid | None = None) -> Volume:
        """Return the reference segmentation (1, X, Y, Z) as stored label values.

        Args:
            labels: The data set's scheme; a value that it does not know is refused.
            grid: The grid that the mask must lie on (that of the channels).

        Raises:
            DataError: If there is no mask, it has unknown values or lies on another grid.
        """
        if self.mask is None:
            raise DataError(
                self.path,
                f"case {self.id} has no mask",
                "a reference segmentation",
                "add one, or leave the case out",
            )
        if grid is not None:
            image = next((source.path for source in self.channels.values()), self.path)
            require_same_grid(self.mask.path, self.mask.grid(), image, grid)
        volume = self.mask.read()
        unknown = labels.unknown(volume.array)
        if unknown:
            known = ", ".join(f"{v} {n}" for n, v in labels.values.items())
            raise DataError(
                self.mask.path,
                f"label values {unknown} are not in the scheme {labels.name}",
                f"0, {known}",
                "correct the mask, or name its scheme with --labels",
            )
        return volume


def require_same_grid(path: Path, grid: Grid, other_path: Path, other: Grid) -> None:
    """Refuse two files that do not lie on one grid.

    Raises:
        DataError: Naming both files and what differs.
    """
    remedy = "register and resample them onto one grid"
    if {grid.unit, other.unit} == {"px"}:
        remedy = "export image and mask in one size"
    if grid.shape != other.shape:
        raise DataError(
            path, f"shape {_times(grid)}", f"{_times(other)} as in {other_path}", remedy
        )
    if not grid.matches(other):
        apart = float(np.linalg.norm(grid.corners - other.corners, axis=1).max())
        raise DataError(
            path,
            f"its affine puts voxels up to {apart:.1f} {grid.unit} away from those of {other_path}",
            "one affine",
            remedy,
        )


def _times(grid: Grid) -> str:
    shape = grid.shape if grid.unit == "mm" else grid.shape[:2]
    return "x".join(map(str, shape))
