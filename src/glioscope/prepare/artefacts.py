"""What goes wrong in a scanner, drawn for each channel of a training sample by itself.

The artefacts of MRI are those of TorchIO (Perez-Garcia et al., 2021, "TorchIO: a Python library for
efficient loading, preprocessing, augmentation and patch-based sampling of medical images in deep
learning", Computer Methods and Programs in Biomedicine 208). Like there, the real part of what
k-space gives is taken. What changes planes of k-space along one axis alone needs a Fourier
transform along this axis only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..core.config import Augmentation
from .warp import Matrix, along, resample, rotation, sampling_grid, smooth


class Pose(NamedTuple):
    """Where the head lies: turned by a matrix (dims, dims), then shifted by voxels (dims,)."""

    matrix: Matrix
    shift: Matrix


def spoil(image: Tensor, settings: Augmentation, rng: np.random.Generator) -> Tensor:
    """Give each channel of an image (C, *S) its artefacts, by their chances."""
    channels = []
    for channel in image[:, None]:
        drawn = [draw for name, draw in _DRAWN.items() if rng.random() < getattr(settings, name)]
        channels.append(_scanned(channel, drawn, rng) if drawn else channel)
    return torch.cat(channels)


def low_resolution(image: Tensor, factors: Sequence[float]) -> Tensor:
    """Average an image (C, *S) over longer voxels and interpolate it back.

    As nnU-Net's SimulateLowResolution (Isensee et al., 2021), but that takes the nearest voxel,
    while a thick slice holds the mean of what lies in it.

    Args:
        image: The image.
        factors: For each axis, the share of voxels that is kept.
    """
    shape = image.shape[1:]
    small = [max(1, round(n * factor)) for n, factor in zip(shape, factors, strict=True)]
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    coarse = F.interpolate(image[None], small, mode="area")
    return F.interpolate(coarse, shape, mode=mode, align_corners=False)[0]


def bias_field(shape: Sequence[int], coefficients: Matrix) -> Tensor:
    """Return a field (*shape) of mean 1, the exponential of a polynomial.

    Van Leemput et al. (1999), "Automated model-based tissue classification of MR images".

    Args:
        shape: Voxels along each axis.
        coefficients: Of each product of powers of the coordinates, which run from -1 to 1.
    """
    order = coefficients.shape[0]
    bases = [np.vander(np.linspace(-1, 1, n), order, increasing=True) for n in shape]
    field = smooth(coefficients, bases).exp()
    return field / field.mean()


def motion(image: Tensor, poses: Sequence[Pose], times: Sequence[float], axis: int) -> Tensor:
    """Compose the k-space of an image (C, *S) of parts that were measured in different poses.

    Shaw et al. (2019), "MRI k-space motion artefact augmentation". The middle of k-space, which
    holds the shape of things, is that of the image as it is, so that its mask stays true.

    Args:
        image: The image.
        poses: The other poses, one fewer than parts.
        times: When the head moved, ascending, as shares of the planes of k-space.
        axis: Spatial axis whose planes are measured one after the other.
    """
    size = image.shape[1 + axis]
    planes = np.arange(size // 2 + 1)
    part = [np.searchsorted(times, (size // 2 + k) / size, "right") for k in (planes, -planes)]
    others = [p for p in range(len(times) + 1) if p != part[0][0]]
    spectrum = torch.fft.rfft(image, dim=1 + axis)
    change = torch.zeros_like(spectrum)
    for number, pose in zip(others, poses, strict=True):
        grid = sampling_grid(image.shape[1:], pose.matrix, pose.shift)
        moved = torch.fft.rfft(resample(image, grid, outside="border"), dim=1 + axis)
        share = np.mean([p == number for p in part], axis=0)  # of the planes k and -k
        change += (moved - spectrum) * _weights(share, axis, image.ndim)
    spoiled: Tensor = torch.fft.irfft(spectrum + change, size, dim=1 + axis)
    return spoiled


def ghosting(image: Tensor, count: int, first: int, intensity: float, axis: int) -> Tensor:
    """Weaken every `count`-th plane of k-space: faint copies at N / count voxels of an image.

    Args:
        image: The image (C, *S).
        count: Number of copies.
        first: The first plane that is weakened; the plane of frequency 0 never is.
        intensity: What the planes lose, from 0 to 1.
        axis: Spatial axis of the copies.
    """
    size = image.shape[1 + axis]
    planes = np.arange(size // 2 + 1)
    weak = np.mean([(k - first) % count == 0 for k in (planes, -planes)], axis=0)
    weak[0] = 0
    spectrum = torch.fft.rfft(image, dim=1 + axis)
    spectrum = spectrum * _weights(1 - intensity * weak, axis, image.ndim)
    spoiled: Tensor = torch.fft.irfft(spectrum, size, dim=1 + axis)
    return spoiled


def spikes(image: Tensor, places: NDArray[np.int64], intensity: float) -> Tensor:
    """Raise points of k-space: stripes through an image (C, *S), as of a herringbone.

    Args:
        image: The image, of values from 0 up, so that the highest point of its k-space is its sum.
        places: Frequency of each spike, in waves per image along each axis, (spikes, dims).
        intensity: Height of a spike as a share of this highest point.
    """
    axes = tuple(range(1, image.ndim))
    stripes = torch.zeros(image.shape[1:])
    for place in places:
        waves = torch.ones((), dtype=torch.complex64)
        for n, frequency in zip(image.shape[1:], place, strict=True):
            turns = torch.from_numpy(np.arange(n) * frequency % n / n).float()
            waves = waves[..., None] * torch.polar(torch.ones(n), 2 * torch.pi * turns)
        stripes += waves.real
    return image + image.mean(axes, keepdim=True) * intensity * stripes


def _scanned(channel: Tensor, drawn: Sequence[_Draw], rng: np.random.Generator) -> Tensor:
    """Undo the normalisation of a channel (1, *S), spoil it, and bring it back to its mean.

    Artefacts are those of a signal that is positive in the head and 0 in the air, while a
    normalised channel has any sign in the head and is exactly 0 where the head was cut out.
    """
    head = channel != 0
    if not head.any():
        return channel
    floor = channel.amin()
    signal = torch.where(head, channel - floor, 0)
    level = signal.mean(dtype=torch.float64)
    for draw in drawn:
        signal = torch.where(head, draw(signal, rng), 0)
    lost = (level - signal.mean(dtype=torch.float64)) * head.numel() / head.sum()
    return torch.where(head, signal + (lost + floor).float(), 0)


def _weights(planes: Matrix, axis: int, ndim: int) -> Tensor:
    """Return a weight for each plane of k-space along a spatial axis."""
    return torch.from_numpy(planes).float().reshape(along(1 + axis, ndim))


def _draw_low_resolution(image: Tensor, rng: np.random.Generator) -> Tensor:
    dims = image.ndim - 1
    chosen = rng.permutation(dims)[: rng.integers(1, dims + 1)]
    factors = np.ones(dims)
    factors[chosen] = 1 / rng.uniform(1.5, 3)
    return low_resolution(image, list(factors))


def _draw_bias_field(image: Tensor, rng: np.random.Generator) -> Tensor:
    dims = image.ndim - 1
    coefficients = rng.uniform(-0.5, 0.5, (4,) * dims)
    coefficients[np.indices((4,) * dims).sum(axis=0) > 3] = 0  # a polynomial of order 3
    return image * bias_field(image.shape[1:], coefficients)


def _draw_motion(image: Tensor, rng: np.random.Generator) -> Tensor:
    dims, count = image.ndim - 1, int(rng.integers(1, 4))
    turns = dims * (dims - 1) // 2
    poses = [
        Pose(rotation(rng.uniform(-0.12, 0.12, turns), dims), rng.uniform(-5, 5, dims))
        for _ in range(count)
    ]
    times = (np.arange(1, count + 1) + rng.uniform(-0.3, 0.3, count)) / (count + 1)
    return motion(image, poses, list(times), int(rng.integers(dims)))


def _draw_ghosting(image: Tensor, rng: np.random.Generator) -> Tensor:
    count = int(rng.integers(2, 7))
    first = int(rng.integers(count))
    axis = int(rng.integers(image.ndim - 1))
    return ghosting(image, count, first, float(rng.uniform(0.3, 0.8)), axis)


def _draw_spikes(image: Tensor, rng: np.random.Generator) -> Tensor:
    limit = np.array(image.shape[1:]) // 2
    places = rng.integers(-limit, limit + 1, (rng.integers(1, 4), len(limit)))
    return spikes(image, places, float(rng.uniform(0.1, 0.3)))


_Draw = Callable[[Tensor, np.random.Generator], Tensor]

_DRAWN: Mapping[str, _Draw] = {
    "lowres": _draw_low_resolution,
    "bias_field": _draw_bias_field,
    "motion": _draw_motion,
    "ghosting": _draw_ghosting,
    "spikes": _draw_spikes,
}
"""By the names of their chances, in the order in which they happen."""
