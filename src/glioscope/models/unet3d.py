"""The 3D U-Net of Çiçek et al. (2016) in the plain form that most BraTS repositories share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from . import register


class DoubleConv(nn.Sequential):
    """(Conv3d, BatchNorm3d, ReLU) twice: (B, C, X, Y, Z) -> (B, `width`, X, Y, Z)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(*self._block(inputs, width), *self._block(width, width))

    @staticmethod
    def _block(inputs: int, width: int) -> tuple[nn.Module, ...]:
        convolution = nn.Conv3d(inputs, width, kernel_size=3, padding=1, bias=False)
        return convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True)


class UNet3d(nn.Module):
    """Encoder, decoder and head: (B, inputs, X, Y, Z) -> logits (B, outputs, X, Y, Z).

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        widths: Channels of each level, from the full resolution down.
    """

    def __init__(self, inputs: int, outputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise([inputs, *widths]))
        self.pool = nn.MaxPool3d(2)
        steps = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(nn.ConvTranspose3d(a, b, kernel_size=2, stride=2) for a, b in steps)
        self.merge = nn.ModuleList(DoubleConv(2 * b, b) for _, b in steps)
        self.head = nn.Conv3d(widths[0], outputs, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for a batch whose sizes are multiples of 2^(levels - 1)."""
        levels = [self.down[0](x)]
        for block in self.down[1:]:
            levels.append(block(self.pool(levels[-1])))
        x = levels.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([levels.pop(), up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


@register(dims=3, divisor=lambda arguments: 2 ** (len(arguments["widths"]) - 1))
def unet3d(*, inputs: int, outputs: int, widths: Sequence[int] = (16, 32, 64, 128, 256)) -> UNet3d:
    """3D U-Net: double convolutions, max pooling down, transposed convolutions up.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        widths: Channels of each level.
    """
    return UNet3d(inputs, outputs, widths)
