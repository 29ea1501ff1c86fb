"""The Lightning trainer of a recipe: device, precision, processes, callbacks, and its silence."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from ..core.config import TrainSection
from ..core.files import LogFile
from ..prediction.engines import mixed_precision
from .callbacks import LOG, EpochLog, FreshBatchNorm, Patience, ProgressBar, StopInOrder
from .checkpoints import BEST, CHECKPOINTS, KeepBestAndLast, SafeCheckpoint

_FOREIGN = (
    r".*does not have many workers.*",
    r".*recommended to use `self.log.*sync_dist.*",
    r".*number of training batches .* is smaller than the logging interval.*",
    r".*Starting from v1\.9\.0, `tensorboardX`.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*`torch.jit.*` is deprecated.*",
)
"""Warnings of the libraries beneath that ask nothing of our users."""


_CHATTER = ("lightning.pytorch", "lightning.fabric", "huggingface_hub")


def make_trainer(folder: Path, train: TrainSection, device: str) -> Trainer:
    """Return the trainer of a run.

    Args:
        folder: The run.
        train: The recipe's `train` section.
        device: `cpu` or `cuda`.
    """
    return Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=train.devices,
        strategy=_strategy(train, device),
        precision=_precision(train.precision, device),
        max_epochs=train.epochs,
        callbacks=_callbacks(folder, train),
        logger=TensorBoardLogger(str(folder), name="tensorboard", version=""),
        plugins=[SafeCheckpoint()],
        default_root_dir=str(folder),
        num_sanity_val_steps=0,
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False,
    )


def _callbacks(folder: Path, train: TrainSection) -> list[Callback]:
    checkpoints = folder / CHECKPOINTS
    monitor, sign = f"valid_{train.monitor}", 1 if train.monitor == "dice" else -1
    callbacks: list[Callback] = [
        EpochLog(folder / LOG),
        StopInOrder(checkpoints / BEST),
        FreshBatchNorm(),
        KeepBestAndLast(checkpoints, monitor, sign),
    ]
    if train.patience is not None:
        mode = "max" if sign > 0 else "min"
        callbacks.insert(
            0,
            Patience(
                monitor, train.min_delta, train.patience, mode=mode, check_on_train_epoch_end=True
            ),
        )
    if sys.stderr.isatty():
        callbacks.append(ProgressBar())
    if train.devices > 1:
        callbacks.insert(0, SpawnedProcess(folder / "train.log"))
    return callbacks


def _strategy(train: TrainSection, device: str) -> Any:
    if train.devices == 1:
        return "auto"
    return _QuietProcesses(
        start_method="spawn",
        process_group_backend="nccl" if device == "cuda" else "gloo",
        find_unused_parameters=train.freeze_epochs > 0,
    )


class _QuietProcesses(DDPStrategy):
    """Spawned processes begin with the libraries' advertisements."""

    def setup_environment(self) -> None:
        """Silence them before the processes find each other."""
        _silence()
        super().setup_environment()


def _precision(precision: str, device: str) -> Any:
    names = {"torch.bfloat16": "bf16-mixed", "torch.float16": "16-mixed"}
    return names.get(str(mixed_precision(precision, device)), "32-true")


class SpawnedProcess(Callback):
    """Give a spawned process our log, which it begins without.

    Args:
        path: The run's `train.log`, which the first process goes on with.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Nothing is put back: the process ends with the training."""
        if trainer.is_global_zero:
            ours = logging.getLogger("glioscope")
            ours.handlers = [logging.StreamHandler(), LogFile(self.path)]
            ours.setLevel(logging.INFO)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' advertisements; nothing of ours is hidden."""
    loggers = [logging.getLogger(name) for name in _CHATTER]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            _silence()
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _silence() -> None:
    for name in _CHATTER:
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in _FOREIGN:
        warnings.filterwarnings("ignore", message)
