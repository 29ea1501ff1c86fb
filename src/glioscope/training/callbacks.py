"""What happens round the training loop: the log, the progress bar, and stopping in good order."""

from __future__ import annotations

import csv
import io
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, RichProgressBar
from torch.optim.swa_utils import update_bn

from ..core.files import write_text

_log = logging.getLogger("glioscope")
LOG = "log.csv"
_LONG_EPOCH = 100
"""Steps after which the statistics of BatchNorm have caught up with the weights."""
_ENOUGH_BATCHES = 32


class Stopped(Exception):
    """Training was asked to stop (Ctrl-C or SIGTERM); the running batch was finished."""


class EpochLog(Callback):
    """Append a line to `log.csv` after every epoch.

    Args:
        path: The file; on resume, lines of epochs that will run again are dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.started = path, 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Drop the lines of epochs that a resumed run has lost."""
        rows = read_log(self.path)
        kept = [row for row in rows if int(row["epoch"]) <= trainer.current_epoch]
        if trainer.is_global_zero and len(kept) < len(rows):
            self._write(kept)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Write the line of this epoch, the whole file anew: it is whole at any moment."""
        if not trainer.is_global_zero:
            return
        scores = {k: f"{float(v):.8f}" for k, v in sorted(trainer.callback_metrics.items())}
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        seconds = time.monotonic() - self.started
        epoch = {"epoch": str(trainer.current_epoch + 1), "lr": f"{rate:.3g}", **scores}
        self._write([*read_log(self.path), {**epoch, "seconds": f"{seconds:.1f}"}])
        shown = ", ".join(f"{k} {float(v):.4f}" for k, v in scores.items())
        number = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        seen = trainer.progress_bar_callback is not None  # then the bar shows it
        level = logging.DEBUG if seen else logging.INFO
        _log.log(level, "epoch %s: %s (%.0f s)", number, shown, seconds)

    def _write(self, rows: Sequence[Mapping[str, str]]) -> None:
        text = io.StringIO()
        if rows:
            writer = csv.DictWriter(text, rows[-1], restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        write_text(self.path, text.getvalue())


class StopInOrder(Callback):
    """End training after the running batch when a signal came.

    Args:
        weights: Where the weights of the best epoch are kept; without any yet, the present ones
            are put there.
    """

    def __init__(self, weights: Path) -> None:
        self.weights, self.asked = weights, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Take over the signals; Lightning has set its own by now."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._ask)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Stop if any process was asked to."""
        if trainer.world_size > 1:
            self.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        if self.asked:
            if not trainer.strategy.broadcast(self.weights.exists()):
                trainer.save_checkpoint(self.weights, weights_only=True)
            raise Stopped

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Do not wait for the rest of the validation, unless other processes take part in it."""
        if trainer.world_size == 1:
            self.on_train_batch_end(trainer)

    def _ask(self, number: int, frame: object) -> None:  # noqa: ARG002
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        _log.warning("stopping after this batch; a second Ctrl-C stops at once")


def pass_signals_on(trainer: Trainer) -> None:
    """Let the processes of a training decide what to do about Ctrl-C and SIGTERM."""

    def forward(number: int, frame: object) -> None:  # noqa: ARG001
        launcher: Any = trainer.strategy.launcher
        launcher.kill(signal.SIGTERM)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, forward)


class Patience(EarlyStopping):
    """Early stopping that a resumed run remembers: what had ended does not go on for an epoch."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """End at once if the patience was used up before the run was interrupted."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class FreshBatchNorm(Callback):
    """Recompute the statistics of BatchNorm before each validation of a short epoch.

    They lag behind the weights (momentum .1), and small batches make them noisy: without this, a
    network that has learned its task may score nothing until the end of a short training. While a
    part is frozen, its statistics and therefore all are left alone.
    """

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Run some training samples through the network (`torch.optim.swa_utils.update_bn`)."""
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        count = batches_for_statistics(int(trainer.num_training_batches))
        if count and not pl_module.frozen:
            some = islice(loader, count)
            with trainer.precision_plugin.forward_context():
                update_bn(some, pl_module.network, pl_module.device)  # type: ignore[arg-type]


def batches_for_statistics(steps: int) -> int:
    """Return how many batches are run for the statistics of BatchNorm after so many steps."""
    return min(steps, _ENOUGH_BATCHES) if steps < _LONG_EPOCH else 0


@contextmanager
def signals_restored() -> Iterator[None]:
    """Put the handlers of SIGINT and SIGTERM back when the block ends."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler)


class ProgressBar(RichProgressBar):
    """A bar on stderr that shows the validation Dice; epochs are counted as in `log.csv`."""

    def __init__(self) -> None:
        super().__init__(leave=True, console_kwargs={"stderr": True})

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"


def read_log(path: Path) -> list[dict[str, str]]:
    """Return the lines of a `log.csv`; none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
