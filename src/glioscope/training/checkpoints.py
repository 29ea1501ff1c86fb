"""Checkpoints without pickle: one safetensors file, its structure as JSON in the header."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..core.errors import ModelError
from ..core.files import replacing

_log = logging.getLogger("glioscope")
CHECKPOINTS, BEST = "checkpoints", "best.ckpt"
_EPOCHS = "epoch-*.ckpt"
_KEPT = 2
"""Checkpoints of epochs that are kept: the newest, and the one before should that be damaged."""
_KINDS = {"tuple": tuple, "list": list}


class SafeCheckpoint(CheckpointIO):
    """Lightning's way to disk: written beside, synced and renamed; reading runs no code."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: object = None,  # noqa: ARG002
    ) -> None:
        """Write nested dicts, lists, tuples, tensors and plain values."""
        tensors: dict[str, torch.Tensor] = {}
        structure = json.dumps(_pack(checkpoint, tensors))
        metadata = {"structure": structure, "sha256": _digest(structure, tensors)}
        content = save(tensors, metadata)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(content)  # safetensors' own writer has no word for a full disk

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: object = None,  # noqa: ARG002
        weights_only: object = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Read what `save_checkpoint` wrote.

        Raises:
            ModelError: If the file is not whole.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["sha256"] != _digest(metadata["structure"], tensors):
                raise ValueError("its checksum is wrong")
            checkpoint = _unpack(json.loads(metadata["structure"]), tensors)
            if not isinstance(checkpoint, dict):
                raise TypeError(f"it holds a {type(checkpoint).__name__}")
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ModelError(
                path,
                f"cannot be read ({type(error).__name__}: {error})",
                "a whole checkpoint",
                "go on from a whole one with --resume, or train anew",
            ) from error
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run that is whole; None if no epoch was finished.

    Raises:
        ModelError: If there are checkpoints, and every one is damaged.
    """
    damaged: list[ModelError] = []
    for path in sorted(folder.glob(_EPOCHS), reverse=True):
        try:
            SafeCheckpoint().load_checkpoint(path)
        except ModelError as error:
            _log.warning("%s", error)
            damaged.append(error)
            continue
        return path
    if damaged:
        raise ModelError(folder, "every checkpoint is damaged", "a whole one", "train anew")
    return None


def epochs_saved(folder: Path) -> int:
    """Return the number of the newest epoch that has a checkpoint; 0 if none has."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob(_EPOCHS)), default=0)


class KeepBestAndLast(Checkpoint):
    """Write a checkpoint after every epoch, and the weights of the best one.

    Args:
        folder: Where they go.
        monitor: The logged value that decides.
        sign: 1 if higher is better, -1 if lower is.
    """

    def __init__(self, folder: Path, monitor: str, sign: int) -> None:
        super().__init__()
        self.folder, self.monitor, self.sign = folder, monitor, sign
        self.best: float | None = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Save; the best one first, so that the epoch's own knows of it."""
        score = float(trainer.callback_metrics[self.monitor])
        if self.best is None or self.sign * (score - self.best) > 0:
            self.best = score
            trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        trainer.save_checkpoint(self.folder / f"epoch-{trainer.current_epoch + 1:05}.ckpt")
        if trainer.is_global_zero:
            for path in sorted(self.folder.glob(_EPOCHS))[:-_KEPT]:
                path.unlink()

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the interrupted run knew."""
        self.best = state_dict["best"]


def _digest(structure: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return `value` as JSON, its tensors put aside under numbered names."""
    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_pack(k, tensors), _pack(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(v, tensors) for v in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")


def _unpack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_unpack(k, tensors): _unpack(v, tensors) for k, v in content}
    return _KINDS[kind](_unpack(v, tensors) for v in content)
