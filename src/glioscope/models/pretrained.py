"""Pretrained weights: from a local safetensors file, or from where the library keeps them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..core.errors import ModelError

_REMEDY = "go on with --set model.pretrained=none, or give the path of a .safetensors file"


def load_file(module: nn.Module, path: Path) -> None:
    """Load the weights of `module` from a safetensors file.

    Raises:
        ModelError: If the file is missing, of another kind, or made for another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load

    if path.suffix != ".safetensors":
        raise ModelError(
            path, "is not a .safetensors file", "weights that cannot run code", _REMEDY
        )
    try:
        state = load(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            path, f"cannot be read ({error})", "safetensors weights", _REMEDY
        ) from error
    own = module.state_dict()
    wrong = [name for name in own if name not in state or state[name].shape != own[name].shape]
    if wrong:
        raise ModelError(
            path,
            f"has no fitting weights for {len(wrong)} of {len(own)} tensors ({wrong[0]}, ...)",
            "weights of this network",
            _REMEDY,
        )
    module.load_state_dict({name: state[name] for name in own})


def unavailable(weights: str, error: Exception) -> ModelError:
    """Say that weights cannot be downloaded."""
    reason = f"{type(error).__name__}"
    return ModelError(weights, f"the weights cannot be downloaded ({reason})", "a network", _REMEDY)
