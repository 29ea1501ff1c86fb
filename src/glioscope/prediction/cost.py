"""What a network costs on an input of some shape: counted without running it, then timed small.

The count runs the network on torch's `meta` device, where tensors have shapes and no voxels.
"""

from __future__ import annotations

import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ..core.machine import free_memory
from ..core.plan import Plan
from ..core.volume import Grid
from ..prepare.scan import planned_grid
from .engines import TorchEngine
from .window import passes

_WORKSPACE = {False: 1.4, True: 1.0}
"""Measured peak over counted peak (float32, mixed precision): benchmarks/preflight.py."""
_PROBE = 5e10
"""Floating-point operations of an input that is small enough to be run for its time."""
_PROBES, _PROBE_SECONDS = 5, 2.0
"""How often it is run at most, and when that is enough."""


def free_memory_on(device: torch.device) -> int:
    """Return the bytes that are free on the CPU or on a GPU, where torch keeps some for itself."""
    if device.type == "cpu":
        return free_memory()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


@dataclass(frozen=True)
class Cost:
    """What one pass takes.

    Attributes:
        flops: Floating-point operations.
        memory: Peak bytes, beside the weights.
    """

    flops: float
    memory: float


@dataclass(frozen=True)
class Forecast:
    """What it takes to segment some cases.

    Attributes:
        seconds: The network's time for all of them.
        memory: Peak bytes, beside the weights.
    """

    seconds: float
    memory: float


def cost_of(
    network: nn.Module, shape: Sequence[int], *, mixed: bool, training: bool = False
) -> Cost:
    """Count what a pass forward, in training forward and backward, takes.

    Args:
        network: Maps (B, C, *S) to logits.
        shape: (B, C, *S).
        mixed: Whether it runs in mixed precision.
        training: Whether the gradients of all weights are computed.
    """
    state = _state(network, torch.device("meta"))
    with FlopCounterMode(display=False) as counter, _Memory() as memory:
        _run(network, state, shape, training)
    return Cost(float(counter.get_total_flops()), memory.peak * _WORKSPACE[mixed])


def memory_for(engine: TorchEngine) -> Callable[[Sequence[int]], bool]:
    """Return what tells whether there is memory now for a pass of some shape (B, C, *S)."""

    @cache
    def needed(shape: tuple[int, ...]) -> float:
        return cost_of(engine.network, shape, mixed=engine.mixed is not None).memory

    return lambda shape: needed(tuple(shape)) <= free_memory_on(engine.device)


def forecast(engine: TorchEngine, plan: Plan, grids: Sequence[Grid], views: int = 1) -> Forecast:
    """Estimate what it takes to segment cases, by their grids.

    Args:
        engine: The network.
        plan: How scans become its input; cases are taken as large as their whole field of view.
        grids: Where their voxels lie.
        views: How many mirror images of each are averaged.
    """
    mixed, channels = engine.mixed is not None, len(plan.channels)
    sizes = Counter((g.shape, planned_grid(g.canonical(), plan).shape) for g in grids)
    seconds = memory = speed = 0.0
    costs: dict[tuple[int, ...], Cost] = {}
    for (stored, seen), number in sizes.items():
        shape, count = passes(plan, (channels, *seen))
        if shape not in costs:
            costs[shape] = cost_of(engine.network, shape, mixed=mixed)
        cost = costs[shape]
        speed = speed or seconds_per_flop(
            engine.network, shape, plan.divisor, engine.device, engine.mixed
        )
        seconds += number * count * views * cost.flops * speed
        arrays = 4 * (2 * channels * math.prod(stored) + 3 * plan.outputs * math.prod(seen))
        memory = max(memory, cost.memory + arrays)
    return Forecast(seconds, memory)


def seconds_per_flop(
    network: nn.Module,
    shape: Sequence[int],
    divisor: int,
    device: torch.device,
    mixed: torch.dtype | None,
    *,
    training: bool = False,
) -> float:
    """Time the network on an input that is small in space; its weights and statistics stay.

    Args:
        network: Maps (B, C, *S) to logits.
        shape: (B, C, *S) of the whole input.
        divisor: The network takes multiples of this.
        device: Where it runs.
        mixed: Type of mixed precision; None for float32 throughout.
        training: Whether the gradients of all weights are computed.
    """
    small = tuple(shape)
    while True:
        cost = cost_of(network, small, mixed=mixed is not None, training=training)
        halved = (*small[:2], *(max(2 * divisor, n // 2 // divisor * divisor) for n in small[2:]))
        if cost.flops < _PROBE or halved == small:
            break
        small = halved
    state = _state(network, device)
    fastest, ends = math.inf, time.perf_counter() + _PROBE_SECONDS
    own = [device] if device.type == "cuda" else []
    half = torch.autocast(device.type, mixed, enabled=mixed is not None)
    with torch.random.fork_rng(own), half:
        _run(network, state, small, training)  # the first pass also sets the libraries up
        for _ in range(_PROBES):  # other programs only ever make it slower
            started = time.perf_counter()
            _run(network, state, small, training)
            if device.type == "cuda":
                torch.cuda.synchronize()
            fastest = min(fastest, time.perf_counter() - started)
            if time.perf_counter() > ends:
                break
    return fastest / cost.flops


def _state(network: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Return the weights, and copies of the buffers, which a pass may change."""
    weights = {n: p.detach().to(device).requires_grad_() for n, p in network.named_parameters()}
    return weights | {n: b.detach().to(device, copy=True) for n, b in network.named_buffers()}


def _run(
    network: nn.Module, state: Mapping[str, Tensor], shape: Sequence[int], training: bool
) -> None:
    """Run the network on zeros with the given weights and buffers."""
    before = network.training
    some = next(iter(state.values()))
    try:
        network.train(training)
        with torch.set_grad_enabled(training):
            image = torch.zeros(tuple(shape), device=some.device)
            logits = functional_call(network, dict(state), (image,))
            if training:
                total = sum(leaf.float().sum() for leaf in tree_leaves(logits))
                weights = [value for value in state.values() if value.requires_grad]
                torch.autograd.grad(total, weights, allow_unused=True)
    finally:
        network.train(before)


class _Memory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows which storages are alive, and the most bytes they had at once."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return result

    def _follow(self, storage: Any) -> None:
        key = storage._cdata
        if key not in self.alive:
            self.alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self.alive.pop(key, 0)
