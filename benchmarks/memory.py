"""Peak memory of preparing and training, for few and for many cases.

    python benchmarks/memory.py --cases 8 80

Phantoms are written as BraTS folders, so that every case is read, prepared and mapped from disk.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = [
    "data.size=null", "data.patch=[64,64,64]", "train.epochs=2", "train.precision=fp32",
    "train.device=cpu", "model.widths=[8,16,32]",
]  # fmt: skip


def peak_of(line: list[str]) -> tuple[float, float]:
    """Run a command; return the peak of its resident memory in MB, and its seconds of CPU."""
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(line)} ended with {status}")
    return usage.ru_maxrss / 1e3, usage.ru_utime


def main() -> None:
    """Print a line for each number of cases, and the ratio of the last to the first."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--cases", type=int, nargs="+", default=[8, 80])
    glioscope = [sys.executable, "-W", "ignore", "-m", "glioscope"]
    peaks = []
    with tempfile.TemporaryDirectory() as place:
        for number in parser.parse_args().cases:
            data, run = Path(place) / f"data{number}", Path(place) / f"run{number}"
            subprocess.run(
                [*glioscope, "phantom", str(data), "--cases", str(number)],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            settings = [part for value in SETTINGS for part in ("--set", value)]
            peak, seconds = peak_of(
                [*glioscope, "train", "unet3d-binary", str(data), "--out", str(run), *settings]
            )
            cached = sum(f.stat().st_size for f in (run / "cache").iterdir()) / 1e6
            print(
                f"{number:4} cases, {cached:6.0f} MB prepared: peak {peak:5.0f} MB,"
                f" {seconds:4.0f} s of CPU",
                flush=True,
            )
            peaks.append(peak)
    print(f"ratio {peaks[-1] / peaks[0]:.3f}")


if __name__ == "__main__":
    main()
