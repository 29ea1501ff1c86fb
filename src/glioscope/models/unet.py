"""2D U-Net with an encoder of segmentation_models_pytorch."""

from __future__ import annotations

import warnings
from pathlib import Path

from torch import nn

from ..core.errors import ModelError, UnknownName
from . import register
from .pretrained import load_file, require_download


@register(dims=2, divisor=lambda _: 32, backbone="encoder")
def unet(
    *, inputs: int, outputs: int, encoder: str = "resnet34", pretrained: str = "none"
) -> nn.Module:
    """2D U-Net (Ronneberger et al., 2015) with a residual or other encoder.

    Args:
        inputs: Channels of the input; a pretrained first convolution is adapted to them.
        outputs: Channels of the output.
        encoder: Name of the encoder in segmentation_models_pytorch.
        pretrained: `none`, `imagenet`, or a .safetensors file of encoder weights for RGB images.

    Raises:
        UnknownName: If the library has no such encoder.
        ModelError: If the weights cannot be had.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\..* is deprecated")  # while it is imported
        import segmentation_models_pytorch as smp

    known = smp.encoders.get_encoder_names()
    if encoder not in known:
        raise UnknownName("encoder", encoder, known)
    local = pretrained not in ("none", "imagenet")
    if pretrained == "imagenet":
        _require_imagenet(encoder)
    network = smp.Unet(
        encoder,
        encoder_weights="imagenet" if pretrained == "imagenet" else None,
        in_channels=3 if local else inputs,
        classes=outputs,
    )
    if local:
        load_file(network.encoder, Path(pretrained))
        if inputs != 3:
            network.encoder.set_in_channels(inputs)
    module: nn.Module = network
    return module


def _require_imagenet(encoder: str) -> None:
    from segmentation_models_pytorch.encoders import encoders

    source = encoders[encoder]["pretrained_settings"].get("imagenet")
    weights = f"ImageNet weights of {encoder}"
    if source is None:
        raise ModelError(weights, "there are none", "", "--set model.pretrained=none")
    require_download(source["repo_id"], source["revision"], weights)
