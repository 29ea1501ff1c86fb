"""Prepared cases on disk: written once, then mapped, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.case import Case
from ..core.errors import BadCase, DataError
from ..core.files import digest, read_json, replacing, write_json
from ..core.labels import Labels
from ..core.plan import Plan
from ..core.volume import Grid
from .scan import prepare_image, prepare_mask

_VERSION = 2
"""Counts up when cases are prepared differently, so that older ones are not taken."""
_POINTS = 10_000
"""Foreground voxels remembered per case, from which patch centres are drawn."""
_PREPARED_BY = ("channels", "crop", "spacing", "size", "normalise", "dims")
"""Settings of the plan that change what a prepared case holds."""


@dataclass(frozen=True)
class Prepared:
    """A case as the network sees it, mapped from disk.

    Attributes:
        id: The case.
        patient: Its patient.
        image: float32 (C, X, Y, Z).
        mask: Stored label values, uint8 (X, Y, Z).
        points: Some foreground voxels, int32 (N, 3); N = 0 without tumour.
        grid: Where the voxels lie.
    """

    id: str
    patient: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    points: NDArray[np.int32]
    grid: Grid


@dataclass(frozen=True)
class Cache:
    """A folder of prepared cases; each is named by the hash of the case and of the plan.

    Attributes:
        folder: Where they lie; several runs may share it.
        plan: How cases are prepared.
        labels: The scheme of their masks.
    """

    folder: Path
    plan: Plan
    labels: Labels

    def fill(
        self, cases: Sequence[Case], advance: Callable[[], None] = lambda: None, threads: int = 2
    ) -> list[BadCase]:
        """Prepare every case that is not there yet, and return what is wrong with the others.

        Raises:
            StorageError: If the folder cannot be written.
        """

        def attempt(case: Case) -> BadCase | None:
            try:
                self._prepared(case)
            except DataError as error:
                return BadCase(case.id, error)
            finally:
                advance()
            return None

        with ThreadPoolExecutor(threads) as pool:
            return [problem for problem in pool.map(attempt, cases) if problem]

    def missing(self, cases: Sequence[Case]) -> list[Case]:
        """Return the cases that are not prepared yet."""
        return [case for case in cases if not self._is_there(case)]

    def load(self, case: Case) -> Prepared:
        """Map a prepared case; it is prepared first if it is not there.

        Raises:
            DataError: If the case is bad.
            StorageError: If the folder cannot be written.
        """
        stem = self._prepared(case)
        place = read_json(stem.with_suffix(".json"))
        return Prepared(
            case.id,
            case.patient,
            _mapped(stem, "image"),
            _mapped(stem, "mask"),
            np.load(f"{stem}.points.npy"),
            Grid(tuple(place["shape"]), np.array(place["affine"]), place["unit"]),
        )

    def _is_there(self, case: Case) -> bool:
        try:
            stem = self._stem(case.only(self.plan.sequences))
        except DataError:
            return False
        return stem.with_suffix(".json").exists()

    def _prepared(self, case: Case) -> Path:
        """Return the stem of the case's files; the last one written is its `.json`."""
        case = case.only(self.plan.sequences)
        stem = self._stem(case)
        if not stem.with_suffix(".json").exists():
            self._prepare(case, stem)
        return stem

    def _stem(self, case: Case) -> Path:
        sources = [*case.channels.values(), *([case.mask] if case.mask else [])]
        changed = [s.path.stat().st_mtime_ns if s.path.exists() else 0 for s in sources]
        settings = self.plan.model_dump(mode="json", include=set(_PREPARED_BY))
        place, labels = str(case.path.resolve()), dict(self.labels.values)
        return self.folder / digest([_VERSION, case.identity, place, changed, settings, labels])

    def _prepare(self, case: Case, stem: Path) -> None:
        image = prepare_image(case, self.plan)
        mask = prepare_mask(case, self.labels, image.grid)
        points = np.argwhere(mask).astype(np.int32)
        if len(points) > _POINTS:
            points = points[:: len(points) // _POINTS]
        # a slice of a mapped file must not touch every page of it
        order = np.asfortranarray if self.plan.dims == 2 else np.ascontiguousarray
        for name, array in (("image", image.array), ("mask", mask), ("points", points)):
            with replacing(Path(f"{stem}.{name}.npy")) as temporary, temporary.open("wb") as stream:
                np.save(stream, order(array))
        place = {"case": case.id, "shape": image.grid.shape, "unit": image.unit}
        write_json(stem.with_suffix(".json"), {**place, "affine": image.affine.tolist()})


def _mapped(stem: Path, name: str) -> NDArray[Any]:
    array: NDArray[Any] = np.load(f"{stem}.{name}.npy", mmap_mode="r")
    return array
