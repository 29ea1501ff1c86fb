"""Synthetic heads as a data set, `phantom:cases=8,seed=0`, made when they are read."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..core.case import Case
from ..core.dataset import Dataset
from ..core.errors import DataError, StorageError, UnknownName, did_you_mean
from ..core.files import storage_error
from ..core.labels import SCHEMES, Labels
from ..core.volume import Grid, Volume
from . import register
from .brain import head_grid
from .head import MODALITIES, Head, make_head, make_slice, slice_grid
from .layouts import LAYOUTS

_PREFIX = "phantom:"
_OFFSETS = (0.0, 0.35, -0.35)  # of a patient's slices, as shares of the core's radius
_PEOPLE = 1000
"""Names that a seed has to itself."""
_EXAMPLE = "such as phantom:cases=8,seed=0"


@dataclass(frozen=True)
class Settings:
    """What a phantom cohort is made of.

    Attributes:
        cases: Number of heads, or of slices.
        seed: Seed of the cohort.
        dims: 3 for heads with four sequences, 2 for slices through them.
        spacing: Edge of the voxels in mm; slices have pixels.
    """

    cases: int = 8
    seed: int = 0
    dims: int = 3
    spacing: float = 2.0


_LIMITS: Mapping[str, tuple[float, float]] = {
    "cases": (1, 100_000),
    "seed": (0, 2**32 - 1),
    "dims": (2, 3),
    "spacing": (0.5, 8),
}


@dataclass(frozen=True)
class PhantomSource:
    """A channel or the mask of a phantom, made when it is read.

    Attributes:
        path: The cohort and the case, as it is named on the command line.
        name: Channel name, or `mask`.
        index: Number of the case in its cohort.
        settings: The cohort.
    """

    path: Path
    name: str
    index: int
    settings: Settings

    @property
    def identity(self) -> str:
        """Everything that it is made from."""
        s = self.settings
        return f"phantom:{s.dims}d,seed={s.seed},index={self.index},spacing={s.spacing}"

    def grid(self) -> Grid:
        """Return the grid of all heads, or slices, of the cohort."""
        return head_grid(self.settings.spacing) if self.settings.dims == 3 else slice_grid()

    def read(self) -> Volume:
        """Make the examination and return this part of it: float32 images, a uint8 mask."""
        head = _made(self.index, self.settings)
        if self.name == "mask":
            return head.mask.with_array(head.mask.array.copy())
        channel = head.volume.channel(self.name)[None].copy()
        return head.volume.with_array(channel, (self.name,))


@lru_cache(maxsize=2)
def _made(index: int, settings: Settings) -> Head:
    """Make an examination once for its four channels and its mask."""
    if settings.dims == 3:
        return make_head(settings.seed, index, settings.spacing)
    patient, number = _patient_of_slice(index)
    return make_slice(settings.seed, patient, _OFFSETS[number])


@register(claims=lambda path: str(path).startswith(_PREFIX), rank=0)
def phantom(path: Path, labels: Labels | None) -> Dataset:
    """Make synthetic heads with gliomas; nothing is read from disk.

    Args:
        path: `phantom:` and any of `cases=8`, `seed=0`, `dims=3`, `spacing=2.0`, with commas
            between them. With `dims=2` the cases are slices, two or three of a patient.
        labels: The label scheme, if the user named it; phantoms have one of their own.

    Raises:
        DataError: If a key is unknown, its value is out of range, or `labels` is another scheme.
    """
    settings = parse(path)
    own = SCHEMES["brats2023" if settings.dims == 3 else "binary"]
    if labels is not None and labels != own:
        raise DataError(path, f"phantoms are not labelled as {labels.name}", own.name)
    cases = [_case(path, index, settings) for index in range(settings.cases)]
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    return Dataset(path, "phantom", ordered, own, "phantom")


def parse(path: Path) -> Settings:
    """Return what `phantom:key=value,...` asks for.

    >>> parse(Path("phantom:cases=3,dims=2"))
    Settings(cases=3, seed=0, dims=2, spacing=2.0)

    Raises:
        DataError: If a key is unknown or a value is out of range.
    """
    chosen: dict[str, int | float] = {}
    for part in filter(None, str(path).removeprefix(_PREFIX).split(",")):
        key, _, text = part.partition("=")
        if key not in _LIMITS:
            raise DataError(path, f"{key!r} is unknown", _EXAMPLE, did_you_mean(key, _LIMITS))
        chosen[key] = _number(path, key, text)
    return Settings(**chosen)  # type: ignore[arg-type]  # whole numbers where they must be


def write_phantoms(
    out: Path,
    cases: int,
    seed: int,
    layout: str,
    spacing: float = 2.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write a phantom cohort as a folder that other programs know, whole or not at all.

    Args:
        out: The folder; it must not exist or be empty.
        cases: Number of heads, or of slices in the layouts `coco` and `pairs`.
        seed: Seed of the cohort.
        layout: `brats`, `nnunet`, `coco` or `pairs`.
        spacing: Edge of the voxels in mm; slices have pixels.
        progress: Called with the number of cases that are written, and of all.

    Returns:
        Every file that was written, sorted.

    Raises:
        UnknownName: If there is no such layout.
        DataError: If `out` holds something, or a number is out of range.
        StorageError: If the folder cannot be written.
    """
    if layout not in LAYOUTS:
        raise UnknownName("layout", layout, LAYOUTS)
    dims, write = LAYOUTS[layout]
    cohort = f"{_PREFIX}cases={cases},seed={seed},dims={dims},spacing={spacing}"
    dataset = phantom(Path(cohort), None)
    target = out.resolve()
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise DataError(
                out, "is not an empty folder", "a new or empty one", "choose another folder"
            )
        temporary.mkdir(parents=True)
        write(temporary, dataset, progress or (lambda _done, _all: None))
        temporary.replace(target)
    except StorageError as error:  # it names a file that was not to stay
        raise StorageError(out, error.found, error.expected, error.remedy) from error
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _number(path: Path, key: str, text: str) -> int | float:
    low, high = _LIMITS[key]
    try:
        value = float(text) if key == "spacing" else int(text)
    except ValueError:
        value = -1
    if not low <= value <= high:
        raise DataError(path, f"{key}={text}", f"a number from {low:g} to {high:g}", _EXAMPLE)
    return value


def _case(path: Path, index: int, settings: Settings) -> Case:
    number = index if settings.dims == 3 else _patient_of_slice(index)[0]
    # cohorts of other seeds hold other people, so they have other names
    patient = f"BraTS-GLI-{(number + _PEOPLE * settings.seed) % 10**5:05d}"
    case_id = f"{patient}-000" if settings.dims == 3 else str(index + 1 + _PEOPLE * settings.seed)
    names = MODALITIES if settings.dims == 3 else ("image",)
    place = path / case_id
    return Case(
        case_id,
        patient,
        place,
        {name: PhantomSource(place, name, index, settings) for name in names},
        PhantomSource(place, "mask", index, settings),
        timepoint="000" if settings.dims == 3 else None,
    )


def _patient_of_slice(index: int) -> tuple[int, int]:
    """Return the patient of a slice and its number there: two slices, three, two, three, ...

    >>> [_patient_of_slice(i) for i in range(6)]
    [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]
    """
    pair, place = divmod(index, 5)
    return (2 * pair, place) if place < 2 else (2 * pair + 1, place - 2)
