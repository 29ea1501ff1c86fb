"""Interrupt trainings at random moments, resume each, and compare with one that ran through.

    python benchmarks/interruptions.py --signal KILL --times 20

Every schedule, early stopping and unfreezing take turns. A moment is drawn over the whole run, from
the creation of its folder to its last file. Two runs are equal if all weights and all values of
`log.csv` but the seconds are equal to the bit.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PHANTOMS_3D = "phantom:cases=6,seed=3,spacing=6"
COMMON = ["train.precision=fp32", "train.device=cpu", "train.lr=0.01"]
SMALL = [*COMMON, "data.size=[24,24,24]", "model.widths=[8,16]", "train.epochs=8"]
AUGMENTED = ["data.augment={flip: .5, rotate: .5, noise: .5, gamma: .5}"]
NO_PATIENCE = ["train.patience=null"]
KINDS = {
    "constant": [*SMALL, *NO_PATIENCE, *AUGMENTED],
    "cosine": [*SMALL, *NO_PATIENCE, "train.schedule.name=cosine"],
    "poly": [*SMALL, *NO_PATIENCE, *AUGMENTED, "train.schedule.name=poly"],
    "plateau": [*SMALL, *NO_PATIENCE, "train.schedule={name: plateau, patience: 0}"],
    "early-stopping": [*SMALL, "train.patience=2", "train.min_delta=0.05", "train.epochs=30"],
    "unfreezing": [
        *COMMON, *NO_PATIENCE, "data.size=[32,32]", "train.epochs=6", "train.batch=2",
        "train.freeze_epochs=3",
    ],
}  # fmt: skip


def command(kind: str, out: Path, work: Path, resume: bool) -> list[str]:
    """Return the command line of a training."""
    flat = kind == "unfreezing"
    recipe, data = (
        ("unet-resnet34", str(work / "pairs")) if flat else ("unet3d-binary", PHANTOMS_3D)
    )
    line = [sys.executable, "-m", "glioscope", "train", recipe, data, "--out", str(out)]
    if resume:
        return [*line, "--resume"]
    extra = [f"model.pretrained={work / 'encoder.safetensors'}"] if flat else []
    return [*line, *(part for value in [*KINDS[kind], *extra] for part in ("--set", value))]


def make_2d_material(work: Path) -> None:
    """Write image/mask pairs, and encoder weights that stand for pretrained ones."""
    import segmentation_models_pytorch as smp
    import torch
    from safetensors.torch import save_file

    from glioscope import phantom

    phantom(work / "pairs", 10, 0, "pairs")
    torch.manual_seed(0)
    encoder = smp.Unet("resnet34", encoder_weights=None).encoder
    save_file(encoder.state_dict(), work / "encoder.safetensors")


def run_through(line: list[str]) -> float:
    """Run a command; return the seconds from the creation of its folder to the end."""
    out = Path(line[line.index("--out") + 1])
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    begun = wait_for(out, process)
    said = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"{' '.join(line)} ended with {process.returncode}: {said}")
    return time.monotonic() - begun


def wait_for(folder: Path, process: subprocess.Popen[str]) -> float:
    """Wait until a run's folder is there."""
    while not folder.exists() and process.poll() is None:
        time.sleep(0.002)
    return time.monotonic()


def interrupted(line: list[str], number: int, seconds: float) -> str:
    """Run a command and send it a signal after its folder was made; say what came of it."""
    out = Path(line[line.index("--out") + 1])
    process = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True
    )
    wait_for(out, process)
    time.sleep(seconds)
    process.send_signal(number)
    process.wait()
    epochs = max(0, len(lines(out)))
    return f"exit {process.returncode:>3}, {epochs} epochs in the log"


def lines(run: Path) -> list[dict[str, str]]:
    """Return `log.csv` without its seconds."""
    path = run / "log.csv"
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return [{**row, "seconds": ""} for row in csv.DictReader(stream)]


def equal(one: Path, other: Path) -> bool:
    """Tell whether weights, plan and log of two runs are the same to the bit."""
    same = (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    plans = (one / "plan.json").read_bytes() == (other / "plan.json").read_bytes()
    return same and plans and lines(one) == lines(other)


def main() -> None:
    """Interrupt, resume, compare; end with 1 if any pair of runs differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--signal", choices=["KILL", "TERM"], default="KILL")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    moments = random.Random(options.seed)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    same = 0
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        make_2d_material(work)
        lasted: dict[str, float] = {}
        for turn in range(options.times):
            kind = list(KINDS)[turn % len(KINDS)]
            whole, part = work / f"{kind}-whole", work / f"{turn}-part"
            if kind not in lasted:
                lasted[kind] = run_through(command(kind, whole, work, resume=False))
            seconds = moments.uniform(0, lasted[kind])
            said = interrupted(command(kind, part, work, resume=False), number, seconds)
            run_through(command(kind, part, work, resume=True))
            good = equal(whole, part)
            same += good
            moment = f"{seconds:5.2f} of {lasted[kind]:5.2f} s"
            verdict = "equal" if good else "DIFFERENT"
            print(f"{turn:2} {kind:14} {moment}: {said}; {verdict}", flush=True)
    print(f"SIG{options.signal}: {same} of {options.times} bit-identical")
    sys.exit(same != options.times)


if __name__ == "__main__":
    main()
