"""What a training step sees. Every draw depends on (seed, epoch, number) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..core.case import Case
from ..core.config import DataSection, SliceRule
from ..core.errors import DataError
from ..core.plan import ZERO
from ..prediction.window import up_to_multiple
from ..prepare.augment import augment
from ..prepare.cache import Cache, Prepared
from ..prepare.scan import target_table


class Batch(NamedTuple):
    """Images (B, C, *S) and targets (B, outputs, *S)."""

    image: Tensor
    target: Tensor


class Draw(NamedTuple):
    """One sample: a case, in 2D one of its slices, and the place in the epoch it is drawn at."""

    epoch: int
    number: int
    case: int
    slice: int


class Draws(Sampler[Draw]):
    """Which samples an epoch holds, in which order.

    Args:
        slices: For each case, the slices to choose from; [-1] stands for the whole volume.
        per_case: How many slices of a case are drawn; None for all.
        samples: Length of an epoch; None for every sample once.
        seed: Seed of the order.
        share: Rank and number of the processes that share an epoch.
    """

    def __init__(
        self,
        slices: Sequence[NDArray[np.int64]],
        per_case: int | None,
        samples: int | None,
        seed: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.slices, self.per_case, self.seed, self.share = slices, per_case, seed, share
        once = sum(min(len(s), per_case or len(s)) for s in slices)
        self.length = -(-(samples or once) // share[1])
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        units = [
            (c, int(s)) for c, slices in enumerate(self.slices) for s in self._some(slices, rng)
        ]
        rank, world = self.share
        order = np.concatenate(
            [rng.permutation(len(units)) for _ in range(-(-self.length * world // len(units)))]
        )
        for number in range(rank, self.length * world, world):
            case, at = units[order[number]]
            yield Draw(self.epoch, number, case, at)

    def _some(self, slices: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        if self.per_case is None or len(slices) <= self.per_case:
            return slices
        return rng.choice(slices, self.per_case, replace=False)


class TrainingSamples(Dataset[Batch]):
    """Samples cut from prepared cases, augmented, with their targets.

    Args:
        cases: Training cases.
        cache: Where they lie prepared.
        data: What the network sees.
        seed: Seed of patches and augmentation.
    """

    def __init__(self, cases: Sequence[Case], cache: Cache, data: DataSection, seed: int) -> None:
        self.cases, self.cache, self.data, self.seed = cases, cache, data, seed
        self.table = torch.from_numpy(target_table(cache.plan, cache.labels))
        self.zeros = [i for i, name in enumerate(cache.plan.channels) if name == ZERO]

    def __getitem__(self, draw: Draw) -> Batch:
        """Return one sample, without the batch axis."""
        rng = np.random.default_rng([self.seed, draw.epoch, draw.number])
        prepared = self.cache.load(self.cases[draw.case])
        image, mask = self._cut(prepared, draw.slice, rng)
        moved, labels = augment(
            torch.from_numpy(image),
            torch.from_numpy(mask),
            self.data.augment,
            rng,
            self.cache.plan.mirror,
        )
        moved[self.zeros] = 0
        target = self.table[:, labels.long()]
        return Batch(moved.contiguous(), target)

    def _cut(
        self, prepared: Prepared, at: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return a patch (C, *S) and its mask (*S), padded to what the network takes."""
        image, mask, points = prepared.image, prepared.mask, prepared.points
        if self.cache.plan.dims == 2:
            image, mask = image[..., at], mask[..., at]
            points = points[points[:, 2] == at, :2]
        divisor = self.cache.plan.divisor
        shape = [up_to_multiple(n, divisor) for n in self.data.patch or mask.shape]
        start = self._start(mask.shape, shape, points, rng)
        place = tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))
        image, mask = np.array(image[(slice(None), *place)]), np.array(mask[place])
        pad = [(0, n - m) for n, m in zip(shape, mask.shape, strict=True)]
        return np.pad(image, [(0, 0), *pad]), np.pad(mask, pad)

    def _start(
        self,
        size: Sequence[int],
        shape: Sequence[int],
        points: NDArray[np.int32],
        rng: np.random.Generator,
    ) -> list[int]:
        """Draw the first voxel of a patch, centred on tumour with the recipe's chance."""
        room = [max(0, n - m) for n, m in zip(size, shape, strict=True)]
        if len(points) and rng.random() < self.data.foreground:
            centre = points[rng.integers(len(points))]
            return [
                int(np.clip(c - m // 2, 0, r)) for c, m, r in zip(centre, shape, room, strict=True)
            ]
        return [int(rng.integers(r + 1)) for r in room]


class WholeCases(Dataset[Prepared]):
    """Prepared cases, whole: what validation scores."""

    def __init__(self, cases: Sequence[Case], cache: Cache) -> None:
        self.cases, self.cache = cases, cache

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Prepared:
        """Return one case."""
        return self.cache.load(self.cases[index])


def training_slices(
    cases: Sequence[Case], cache: Cache, rule: SliceRule
) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Return the slices of each case that a 2D network is trained on, and what is to be said.

    Raises:
        DataError: If the rule leaves no slice at all.
    """
    if cache.plan.dims == 3:
        return [np.array([-1])] * len(cases), []
    chosen, short = [], 0
    for case in cases:
        mask = cache.load(case).mask
        stop = mask.shape[2] if rule.count is None else rule.start + rule.count
        slices = np.arange(rule.start, min(stop, mask.shape[2]))
        short += stop > mask.shape[2]
        if rule.tumour_only:
            slices = slices[np.asarray(mask.any(axis=(0, 1)))[slices]]
        chosen.append(slices)
    if not any(len(slices) for slices in chosen):
        raise DataError(
            str(cases[0].path.parent),
            f"no slice fits the rule {rule!r}",
            "at least one",
            "change data.slices with --set",
        )
    notes = [f"{short} of {len(cases)} cases have fewer slices than the rule asks for"]
    return chosen, notes if short else []
