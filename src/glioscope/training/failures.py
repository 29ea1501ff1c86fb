"""What ends a training before its time, as one line that says how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ..core.errors import DiskFull, GlioscopeError, ModelError, one_line
from ..core.files import storage_error
from ..prediction.engines import out_of_memory
from .callbacks import LOG, Stopped
from .checkpoints import CHECKPOINTS, epochs_saved
from .module import Diverged

_KILLED = "a process was killed, perhaps for want of memory"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Explain a full disk, too little memory, and what happened in another process of a training.

    Args:
        folder: The run.

    Raises:
        DiskFull: If the disk was full; it says how many epochs are safe.
        ModelError: If memory ran out, or a process was killed.
        Stopped, Diverged: If that is what happened in another process.
    """
    try:
        yield
    except DiskFull as error:
        raise _no_room(folder, error) from error
    except ProcessRaisedException as error:
        raise _raised_elsewhere(folder, error) from error
    except ProcessExitedException as error:
        raise _no_memory(folder, error, _KILLED) from error
    except OSError as error:
        full = storage_error(folder, error)
        if not isinstance(full, DiskFull):
            raise
        raise _no_room(folder, full) from error
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise _no_memory(folder, error, _KILLED) from error
        if not out_of_memory(error):
            raise
        raise _no_memory(folder, error, "memory ran out") from error


def _no_room(folder: Path, error: DiskFull) -> DiskFull:
    if not (folder / LOG).exists():
        return error  # nothing is kept of this run
    epochs = epochs_saved(folder / CHECKPOINTS)
    remedy = f"free some space, then go on with --resume ({epochs} epochs are safe)"
    return DiskFull(error.where, error.found, "", remedy)


def _no_memory(folder: Path, error: Exception, found: str) -> ModelError:
    said = str(error).strip().split("\n", 1)[0] or type(error).__name__
    remedy = "lower train.batch, data.patch, train.workers or train.devices"
    epochs = epochs_saved(folder / CHECKPOINTS)
    if epochs:
        remedy = (
            f"go on with --resume and fewer train.workers or train.devices ({epochs} epochs are"
            " safe), or start a new run with a smaller train.batch or data.patch"
        )
    return ModelError(folder, f"{found} ({said})", "", remedy)


def _raised_elsewhere(folder: Path, error: ProcessRaisedException) -> Exception:
    """Return the error of another process, of which only the text came here."""
    kind, _, said = str(error).strip().splitlines()[-1].partition(": ")
    if kind.endswith(Stopped.__name__):
        return Stopped()
    if kind.endswith(Diverged.__name__):
        return Diverged(int(said.removeprefix("epoch ").partition(":")[0]))
    if kind.endswith(DiskFull.__name__):
        where, _, found = said.partition(": ")
        return _no_room(folder, DiskFull(where, found.partition("; ")[0]))
    if kind.startswith("glioscope."):
        return GlioscopeError(folder, one_line(said))
    return RuntimeError(f"{kind}: {said}")
