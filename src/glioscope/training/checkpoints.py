"""Checkpoints without pickle: one safetensors file, its structure as JSON in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..core.errors import ModelError
from ..core.files import replacing

CHECKPOINTS, BEST, LAST = "checkpoints", "best.ckpt", "last.ckpt"
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
        structure = _pack(checkpoint, tensors)
        with replacing(Path(path)) as temporary:
            save_file(tensors, temporary, metadata={"structure": json.dumps(structure)})

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
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                structure = json.loads(file.metadata()["structure"])
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                path,
                f"cannot be read ({type(error).__name__})",
                "a whole checkpoint",
                "delete it to go on from the one before, or train anew",
            ) from error
        checkpoint: dict[str, Any] = _unpack(structure, tensors)
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


class KeepBestAndLast(Checkpoint):
    """Write the last checkpoint after every epoch, and the weights of the best one.

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
        """Save; the best one first, so that the last one knows of it."""
        score = float(trainer.callback_metrics[self.monitor])
        if self.best is None or self.sign * (score - self.best) > 0:
            self.best = score
            trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        trainer.save_checkpoint(self.folder / LAST)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what the interrupted run knew."""
        self.best = state_dict["best"]


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
