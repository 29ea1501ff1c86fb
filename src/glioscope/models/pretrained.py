"""Pretrained weights: from a local safetensors file, or from the hub."""

from __future__ import annotations

from pathlib import Path
from urllib.request import urlopen

from torch import nn

from ..core.errors import ModelError

_FILE = "model.safetensors"
_SECONDS = 5
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
    shapes, others = ({n: w.shape for n, w in one.items()} for one in (own, state))
    wrong = [name for name in {**own, **state} if shapes.get(name) != others.get(name)]
    if wrong:
        raise ModelError(
            path,
            f"{len(wrong)} tensors do not fit this network ({wrong[0]}, ...)",
            "weights of this network",
            _REMEDY,
        )
    module.load_state_dict(state)


def require_download(repository: str, revision: str, weights: str) -> None:
    """Refuse at once, in one line, weights that are not in the hub's cache and cannot be fetched.

    Args:
        repository: Name on the Hugging Face hub.
        revision: Its commit.
        weights: What the weights are, for the message.

    Raises:
        ModelError: If the hub cannot be reached.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, _FILE, revision=revision), str):
        return
    try:
        if constants.HF_HUB_OFFLINE:
            raise OSError("HF_HUB_OFFLINE is set")
        with urlopen(constants.ENDPOINT, timeout=_SECONDS):
            pass
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise ModelError(
            weights, f"the weights cannot be downloaded ({reason})", constants.ENDPOINT, _REMEDY
        ) from error
