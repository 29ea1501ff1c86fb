"""Engines: a trained network as a function of numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .window import Array

if TYPE_CHECKING:
    import torch
    from torch import nn

_NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "alloc_failed")
"""How torch and its libraries put it."""


@dataclass(frozen=True, eq=False)
class TorchEngine:
    """A network as a function of numpy arrays (see `torch_engine`)."""

    network: nn.Module
    device: torch.device
    mixed: torch.dtype | None

    def __call__(self, batch: Array) -> Array:
        """Return the logits (B, outputs, *S) of a batch (B, C, *S)."""
        import torch

        order = fast_format(batch.ndim - 2)
        image = torch.from_numpy(batch).to(self.device).contiguous(memory_format=order)
        mixed = torch.autocast(self.device.type, self.mixed, enabled=self.mixed is not None)
        with torch.inference_mode(), mixed:
            logits = self.network(image)
        return np.asarray(logits.float().cpu().numpy(), np.float32)


def torch_engine(network: nn.Module, device: str, mixed: torch.dtype | None) -> TorchEngine:
    """Return a network as a function on its device.

    Args:
        network: Maps (B, C, *S) to logits (B, outputs, *S); it is moved and set to `eval`.
        device: Where it runs, for example `cpu` or `cuda:0`.
        mixed: Type of mixed precision; None for float32 throughout.
    """
    import torch

    target = torch.device(device)
    return TorchEngine(network.to(target).eval(), target, mixed)


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error of torch means that memory ran out, on the CPU or on a GPU."""
    return isinstance(error, MemoryError) or any(s in str(error).lower() for s in _NO_MEMORY)


def choose_device(device: str) -> str:
    """Return `device`, or for `auto` the GPU if there is one.

    Raises:
        ModelError: If the device is not there.
    """
    import torch

    from ..core.errors import ModelError

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"--device {device}", "is not there", "cpu or cuda", "leave it out"
        ) from error
    return device


def mixed_precision(precision: str, device: str) -> torch.dtype | None:
    """Return the type of mixed precision; None for float32 throughout.

    Args:
        precision: `auto` takes mixed precision where the device has it; `fp32`, `bf16` or `fp16`.
        device: Where it runs.
    """
    import torch

    kinds = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision in kinds and not (precision == "fp16" and device == "cpu"):
        return kinds[precision]
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    fast = any(getattr(torch.cpu, name, lambda: False)() for name in asked)
    return torch.bfloat16 if fast else None


def fast_format(dims: int) -> torch.memory_format:
    """Return the memory order in which convolutions over 2 or 3 dimensions are fastest."""
    import torch

    return torch.channels_last if dims == 2 else torch.channels_last_3d
