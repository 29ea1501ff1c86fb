"""The loaders of a training: each process takes its share of the samples and of the cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ..core.case import Case
from ..core.config import Recipe
from ..prepare.cache import Cache, Prepared
from .samples import Batch, Draws, TrainingSamples, WholeCases


class CaseData(LightningDataModule):
    """Training samples and validation cases.

    Args:
        train: Training cases.
        valid: Validation cases.
        slices: For each training case, the slices to choose from (see `training_slices`).
        cache: Where the cases lie prepared.
        recipe: The recipe.
        min_batch: Smallest batch that the network can be trained on.
    """

    def __init__(
        self,
        train: Sequence[Case],
        valid: Sequence[Case],
        slices: Sequence[NDArray[np.int64]],
        cache: Cache,
        recipe: Recipe,
        min_batch: int,
    ) -> None:
        super().__init__()
        self.train, self.valid, self.slices = list(train), list(valid), list(slices)
        self.cache, self.recipe, self.min_batch = cache, recipe, min_batch

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return this process's share of an epoch; a last batch that is too small is dropped."""
        data, train = self.recipe.data, self.recipe.train
        draws = Draws(self.slices, data.slices.per_case, train.samples, train.seed, self._share())
        return DataLoader(
            TrainingSamples(self.train, self.cache, data, train.seed),
            batch_size=train.batch,
            sampler=draws,
            num_workers=train.workers,
            drop_last=0 < len(draws) % train.batch < self.min_batch,
        )

    def val_dataloader(self) -> DataLoader[Prepared]:
        """Return this process's share of the cases; at least one, as all must take part."""
        rank, world = self._share()
        share = self.valid[rank::world] or self.valid[:1]
        return DataLoader(WholeCases(share, self.cache), batch_size=None)

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Any:
        """Move training batches; whole cases stay on disk until they are read."""
        if isinstance(batch, Prepared):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    def _share(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
