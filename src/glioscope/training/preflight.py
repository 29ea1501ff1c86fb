"""What a training will take, said before it starts: memory, disk and time."""

from __future__ import annotations

import logging
import math
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..core.errors import DataError, ModelError, StorageError
from ..core.machine import existing, free_disk, in_bytes, in_time
from ..prediction.cost import cost_of, free_memory_on, seconds_per_flop
from ..prediction.engines import choose_device, mixed_precision
from ..prediction.window import passes, up_to_multiple
from ..prepare.cache import Prepared
from .callbacks import batches_for_statistics
from .run import Run

_log = logging.getLogger("glioscope")
_CERTAIN = 1.25
"""An estimate this many times what is free cannot be off by so much: the work is refused."""
_STATES = {"adam": 2, "adamw": 2, "sgd": 1}
"""Numbers that an optimizer remembers for every weight."""
_FULL, _WEIGHTS = 3, 4
"""Files of weights and optimizer, and of weights alone, that may lie on disk at one moment."""


@dataclass(frozen=True)
class Needs:
    """What a training takes.

    Attributes:
        memory: Bytes at its peak, on the device that trains, beside what is taken already.
        disk: Bytes by folder.
        epoch: Seconds of an epoch.
    """

    memory: float
    disk: dict[Path, float]
    epoch: float


def check_room(run: Run, network: nn.Module) -> None:
    """Say what a training will take, and refuse one for which there is too little.

    The first case that can be used is prepared to know how large cases are.

    Raises:
        StorageError: If a disk has too little room.
        ModelError: If there is clearly too little memory.
    """
    sample = _first_prepared(run)
    if sample is None:
        return  # every case is bad, which is said next
    needs = estimate(run, network, sample)
    free = free_memory_on(torch.device(choose_device(run.recipe.train.device)))
    room = {folder: free_disk(folder) for folder in needs.disk}
    epochs = run.recipe.train.epochs
    _log.info(
        "about %s of memory (%s free), %s of disk (%s free), %s an epoch, at most %s in all",
        in_bytes(needs.memory), in_bytes(free),
        in_bytes(sum(needs.disk.values())), in_bytes(min(room.values())),
        in_time(needs.epoch), in_time(needs.epoch * epochs),
    )  # fmt: skip
    for folder, size in needs.disk.items():
        if size > room[folder]:
            raise StorageError(
                folder, f"{in_bytes(room[folder])} of disk are free", f"about {in_bytes(size)}",
                "free some space, or choose another folder (--out, --set data.cache=DIR)",
            )  # fmt: skip
    if needs.memory > free * _CERTAIN:
        raise ModelError(
            run.recipe.name, f"{in_bytes(free)} of memory are free",
            f"about {in_bytes(needs.memory)}", "lower data.patch, data.size or train.batch",
        )  # fmt: skip
    if needs.memory > free:
        _log.warning("memory may not suffice: lower data.patch, data.size or train.batch if so")


def estimate(run: Run, network: nn.Module, sample: Prepared) -> Needs:
    """Return what a training takes, if all its cases are like the sample."""
    plan, train = run.plan, run.recipe.train
    device = torch.device(choose_device(train.device))
    mixed = mixed_precision(train.precision, device.type)
    size = sample.mask.shape[: plan.dims]
    patch = [up_to_multiple(n, plan.divisor) for n in run.recipe.data.patch or size]
    batch = (train.batch, len(plan.channels), *patch)
    step = cost_of(network, batch, mixed=mixed is not None, training=True)
    weights = 4 * sum(p.numel() for p in network.parameters())
    states = _STATES[train.optimizer] * weights
    whole = sample.mask.size * 4 * (len(plan.channels) + 3 * plan.outputs)
    window, count = passes(plan, (len(plan.channels), *sample.mask.shape))
    validation = cost_of(network, window, mixed=mixed is not None)
    speed = seconds_per_flop(network, batch, plan.divisor, device, mixed, training=True)
    steps = math.ceil(_samples(run, sample) / (train.batch * train.devices))
    cases = math.ceil(len(run.splits.valid) / train.devices)
    forward = batches_for_statistics(steps) * step.flops / 3  # two thirds of a step go backward
    flops = steps * step.flops + forward + cases * count * validation.flops
    if device.type == "cpu":  # where all processes share the memory, and the weights are there
        memory = max(step.memory, validation.memory + whole) + states
        memory *= train.devices
    else:
        memory = max(step.memory, validation.memory) + states + weights
    return Needs(memory, _disk(run, sample, weights, states), flops * speed)


def _disk(run: Run, sample: Prepared, weights: float, states: float) -> dict[Path, float]:
    """Return bytes by folder; folders on one disk are added up."""
    per_case = 4 * sample.image.size + sample.mask.size + 12 * len(sample.points)
    todo = run.cache.missing(run.cases("train", "valid"))
    needs: dict[int, float] = defaultdict(float)
    folders: dict[int, Path] = {}
    there = sum(path.stat().st_size for path in run.best.parent.glob("*.ckpt"))
    files = _FULL * (weights + states) + _WEIGHTS * weights
    both = (
        (run.folder, max(0.0, files - there)),
        (run.cache.folder, per_case * len(todo)),
    )
    for folder, size in both:
        disk = os.stat(existing(folder)).st_dev
        folders.setdefault(disk, folder)
        needs[disk] += size
    return {folders[disk]: size for disk, size in needs.items()}


def _first_prepared(run: Run) -> Prepared | None:
    for case in run.cases("train", "valid"):
        with suppress(DataError):
            return run.cache.load(case)
    return None


def _samples(run: Run, sample: Prepared) -> int:
    """Return about how many samples an epoch has."""
    train, rule = run.recipe.train, run.recipe.data.slices
    if train.samples:
        return train.samples
    slices = 1
    if run.plan.dims == 2:
        tumour = sample.mask.any(axis=(0, 1)).sum() if rule.tumour_only else sample.mask.shape[2]
        slices = min(n for n in (int(tumour), rule.count, rule.per_case) if n is not None)
    return len(run.splits.train) * slices
