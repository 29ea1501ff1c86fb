"""From a model folder to something that segments, and what that will take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..core.case import Case
from ..core.errors import DataError, StorageError
from ..core.machine import free_disk, in_bytes, in_time
from ..core.plan import Plan
from ..models import trained
from ..prediction.engines import TorchEngine, choose_device, mixed_precision, torch_engine
from ..prediction.predictor import Predictor
from ..prediction.window import with_flips

_MASK, _PROBABILITY = 0.02, 1.5
"""Bytes on disk for a voxel of a compressed mask, and of a compressed probability."""


class Outputs(NamedTuple):
    """Where the masks go, and what is written beside them."""

    folder: Path
    probabilities: bool
    preview: bool


def load_model(folder: str | Path, device: str = "auto", *, flips: bool = False) -> Predictor:
    """Load a trained model, ready to segment cases.

    Args:
        folder: The model folder.
        device: `auto`, `cpu` or `cuda`.
        flips: Take the mean over all mirror images.

    Raises:
        ModelError: If the folder is not a model, was changed, or the device is not there.
    """
    model = trained.load_model(Path(folder))
    return predictor_of(model, engine_of(model, device), flips)


def engine_of(model: trained.TrainedModel, device: str) -> TorchEngine:
    """Return the network of a model that was read, on a device."""
    place = choose_device(device)
    mixed = mixed_precision(model.provenance.recipe.train.precision, place)
    return torch_engine(model.network(), place, mixed)


def predictor_of(
    model: trained.TrainedModel, engine: TorchEngine, flips: bool = False
) -> Predictor:
    """Return the predictor of a model; it goes to smaller windows where memory is short."""
    from ..prediction.cost import memory_for

    forward = with_flips(engine, model.plan.mirror) if flips else engine
    return Predictor(model.plan, forward, memory_for(engine))


def check_room(
    engine: TorchEngine, plan: Plan, cases: Sequence[Case], outputs: Outputs, flips: bool
) -> str:
    """Return in words what the work will take; refuse it if its results have no room.

    Raises:
        StorageError: If the disk has too little room.
    """
    from ..prediction.cost import forecast, free_memory_on

    grids = []
    for case in cases:
        with suppress(DataError):  # said when the case's turn comes
            grids.append(case.only(plan.sequences).grid())
    if not grids:
        return "nothing to do"
    needs = forecast(engine, plan, grids, 2 ** len(plan.mirror) if flips else 1)
    voxels = sum(math.prod(grid.shape) for grid in grids)
    disk = voxels * (_MASK + _PROBABILITY * len(plan.targets) * outputs.probabilities)
    free = free_disk(outputs.folder)
    if disk > free:
        raise StorageError(
            outputs.folder, f"{in_bytes(free)} of disk are free", f"about {in_bytes(disk)}",
            "free some space, or choose another --out",
        )  # fmt: skip
    return (
        f"{len(grids)} cases: about {in_time(needs.seconds)} in the network,"
        f" {in_bytes(needs.memory)} of memory"
        f" ({in_bytes(free_memory_on(engine.device))} free),"
        f" {in_bytes(disk)} of disk ({in_bytes(free)} free)"
    )
