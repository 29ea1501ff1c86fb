"""Whole images through a network that sees windows. Padding and cropping happen only here."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.errors import ModelError
from ..core.plan import Plan

Array = NDArray[np.float32]
Forward = Callable[[Array], Array]
"""A network as a function: a batch (B, C, *S) to logits (B, outputs, *S)."""

SLICES_AT_ONCE = 8
_SMALLEST = 32
"""Side in voxels below which a window shows too little to be worth a try."""


def infer(forward: Forward, image: Array, plan: Plan, at_once: int = SLICES_AT_ONCE) -> Array:
    """Return the logits (outputs, X, Y, Z) of an image (C, X, Y, Z).

    A 2D network gets the axial slices. A plan with a window smaller than the image has it slide
    with a Gaussian weight (nnU-Net, Isensee et al., 2021: sigma is an eighth of the window).
    """
    if plan.dims == 3:
        volume: Array = _tiled(forward, image[None], plan)[0]
        return volume
    slices = np.moveaxis(image, -1, 0)
    parts = [_tiled(forward, slices[z : z + at_once], plan) for z in range(0, len(slices), at_once)]
    stacked: Array = np.ascontiguousarray(np.moveaxis(np.concatenate(parts), 0, -1))
    return stacked


def passes(
    plan: Plan, shape: Sequence[int], at_once: int = SLICES_AT_ONCE
) -> tuple[tuple[int, ...], int]:
    """Return the shape (B, C, *S) of one pass, and how many an image (C, X, Y, Z) takes."""
    channels, *space = shape
    seen = _seen(plan, space[: plan.dims])
    sizes = zip(space[: plan.dims], seen, strict=True)
    windows = math.prod(len(_starts(max(n, w), w, plan.overlap)) for n, w in sizes)
    slices = space[2] if plan.dims == 2 else 1
    batch = min(at_once, slices)
    return (batch, channels, *seen), windows * -(-slices // batch)


def ways_down(plan: Plan, shape: Sequence[int]) -> Iterator[tuple[Plan, int]]:
    """Yield plans, and how many slices go at once, that take less and less memory.

    First fewer slices of a 2D network, which change nothing; then windows of half the length along
    their longest axis, which show it less.

    Args:
        plan: The plan, which comes first.
        shape: Shape (C, X, Y, Z) of the image.
    """
    at_once = SLICES_AT_ONCE
    yield plan, at_once
    while plan.dims == 2 and at_once > 1:
        at_once //= 2
        yield plan, at_once
    window = _seen(plan, shape[1 : 1 + plan.dims])
    while True:
        longest = window.index(max(window))
        half = up_to_multiple(window[longest] // 2, plan.divisor)
        if half < _SMALLEST or half == window[longest]:
            return
        window[longest] = half
        yield plan.model_copy(update={"window": tuple(window)}), at_once


def activate(logits: Array, plan: Plan) -> Array:
    """Return the probabilities of the targets (targets, X, Y, Z), without the background."""
    from scipy.special import expit, softmax

    chances: Array = expit(logits) if plan.activation == "sigmoid" else softmax(logits, axis=0)[1:]
    return chances


def with_flips(forward: Forward, axes: Sequence[int]) -> Forward:
    """Return a forward that is the mean over all mirror images over some spatial axes.

    Raises:
        ModelError: If there are no such axes.
    """
    if not axes:
        raise ModelError("--flips", "the plan allows no mirror images", "", "leave out --flips")
    seen = [2 + axis for axis in axes]
    flips = [f for n in range(len(seen) + 1) for f in itertools.combinations(seen, n)]

    def mean(batch: Array) -> Array:
        total: Any = 0
        for flip in flips:
            total = total + np.flip(forward(np.ascontiguousarray(np.flip(batch, flip))), flip)
        return np.asarray(total / len(flips), np.float32)

    return mean


def _tiled(forward: Forward, batch: Array, plan: Plan) -> Array:
    shape = batch.shape[2:]
    seen = _seen(plan, shape)
    padded = _pad(batch, [max(n, w) for n, w in zip(shape, seen, strict=True)])
    if list(padded.shape[2:]) == seen:
        logits = forward(padded)
    else:
        logits = _slide(forward, padded, tuple(seen), plan.overlap)
    inside = tuple(slice(n) for n in shape)
    return logits[(slice(None), slice(None), *inside)]


def _seen(plan: Plan, shape: Sequence[int]) -> list[int]:
    """Return the spatial shape that the network sees at once."""
    return [up_to_multiple(n, plan.divisor) for n in plan.window or shape]


def _slide(forward: Forward, batch: Array, window: tuple[int, ...], overlap: float) -> Array:
    weight = _gaussian(window)
    total: Any = 0
    weights = np.zeros(batch.shape[2:], np.float32)
    starts = [_starts(n, w, overlap) for n, w in zip(batch.shape[2:], window, strict=True)]
    for start in itertools.product(*starts):
        place = tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))
        voxels = (slice(None), slice(None), *place)
        logits = forward(np.ascontiguousarray(batch[voxels]))
        if np.isscalar(total):
            total = np.zeros((*logits.shape[:2], *batch.shape[2:]), np.float32)
        total[voxels] += logits * weight
        weights[place] += weight
    return np.asarray(total / weights, np.float32)


def _starts(size: int, window: int, overlap: float) -> list[int]:
    """Return evenly spread window starts that cover an axis with at least the given overlap."""
    step = max(1, round(window * (1 - overlap)))
    count = 1 + -(-(size - window) // step)
    return [round(i * (size - window) / max(1, count - 1)) for i in range(count)]


@lru_cache(maxsize=4)
def _gaussian(window: tuple[int, ...]) -> Array:
    weight = np.ones(window)
    for axis, n in enumerate(window):
        x = (np.arange(n) - (n - 1) / 2) / (n / 8)
        bell = np.exp(-0.5 * x**2)
        weight = weight * bell.reshape([-1 if a == axis else 1 for a in range(len(window))])
    return np.maximum(weight, 1e-3).astype(np.float32)


def up_to_multiple(n: int, divisor: int) -> int:
    """Return the smallest multiple of the divisor that is at least `n`."""
    return -(-n // divisor) * divisor


def _pad(batch: Array, shape: Sequence[int]) -> Array:
    extra = [(0, target - n) for n, target in zip(batch.shape[2:], shape, strict=True)]
    if not any(after for _, after in extra):
        return batch
    return np.pad(batch, [(0, 0), (0, 0), *extra])
