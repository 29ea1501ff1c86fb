"""Counted against measured: memory and time of one pass, forward and with gradients.

    python benchmarks/preflight.py

Each line is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings

NETWORKS = {
    "unet3d": ({"inputs": 4, "outputs": 1}, (1, 4, 96, 96, 96), 16),
    "unet": ({"inputs": 1, "outputs": 1}, (8, 1, 256, 256), 32),
}


def measure(name: str, precision: str, task: str) -> None:
    """Print what one network takes, as it is counted and as it is."""
    warnings.simplefilter("ignore")
    import torch

    from glioscope.models import build
    from glioscope.prediction.cost import cost_of, seconds_per_flop
    from glioscope.prediction.engines import fast_format

    channels, shape, divisor = NETWORKS[name]
    mixed = torch.bfloat16 if precision == "bf16" else None
    training = task == "train"
    network = build(name, **channels, arguments={}).train(training)
    network = network.to(memory_format=fast_format(len(shape) - 2))
    cpu = torch.device("cpu")
    cost = cost_of(network, shape, mixed=mixed is not None, training=training)
    before = peak()
    for _ in range(2):
        started = time.perf_counter()
        with torch.set_grad_enabled(training), torch.autocast("cpu", mixed, enabled=bool(mixed)):
            logits = network(torch.randn(shape))
        if training:
            logits.float().sum().backward()
        seconds = time.perf_counter() - started
    grown = peak() - before
    speed = seconds_per_flop(network, shape, divisor, cpu, mixed, training=training)
    print(
        f"{name:7} {precision} {task:7}: memory {grown:5.0f} MB, {cost.memory / 1e6:5.0f} counted;"
        f" time {seconds:5.2f} s, {speed * cost.flops:5.2f} estimated",
        flush=True,
    )


def peak() -> float:
    """Return the peak of this process's resident memory in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> None:
    """Measure one network, or every one in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("one", nargs="*", help="NETWORK fp32|bf16 train|predict")
    one = parser.parse_args().one
    if one:
        measure(*one)
        return
    for name in NETWORKS:
        for precision in ("fp32", "bf16"):
            for task in ("train", "predict"):
                subprocess.run([sys.executable, __file__, name, precision, task], check=True)


if __name__ == "__main__":
    main()
