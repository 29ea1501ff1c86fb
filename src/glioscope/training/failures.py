"""What ends a training before its time, as one line that says how to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from ..core.errors import GlioscopeError, ModelError, StorageError, one_line
from ..core.files import NO_SPACE, storage_error
from ..prediction.engines import out_of_memory
from .callbacks import LOG, Stopped
from .checkpoints import CHECKPOINTS, epochs_saved

_SMALLER = "lower train.batch, data.patch, train.workers or train.devices"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Explain a full disk, too little memory, and what happened in another process of a training.

    Args:
        folder: The run.

    Raises:
        StorageError: If the disk was full; it says how many epochs are safe.
        ModelError: If memory ran out, or a process was killed.
        Stopped: If the processes were asked to stop.
    """
    try:
        yield
    except StorageError as error:
        raise _no_room(folder, error) from error
    except ProcessRaisedException as error:
        raise _raised_elsewhere(folder, error) from error
    except ProcessExitedException as error:
        raise _killed(folder, error) from error
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise _no_room(folder, storage_error(folder, error)) from error
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise _killed(folder, error) from error
        if not out_of_memory(error):
            raise
        raise ModelError(folder, f"memory ran out ({_said(error)})", "", _SMALLER) from error


def _no_room(folder: Path, error: StorageError) -> StorageError:
    if not (folder / LOG).exists():
        return error  # nothing is kept of this run
    epochs = epochs_saved(folder / CHECKPOINTS)
    remedy = f"free some space, then go on with --resume ({epochs} epochs are safe)"
    return StorageError(error.where, error.found, "", remedy)


def _killed(folder: Path, error: Exception) -> ModelError:
    found = f"a process was killed, perhaps for want of memory ({_said(error)})"
    return ModelError(folder, found, "", _SMALLER)


def _said(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__


def _raised_elsewhere(folder: Path, error: ProcessRaisedException) -> Exception:
    """Return the error of another process, of which only the text came here."""
    kind, _, said = str(error).strip().splitlines()[-1].partition(": ")
    if kind.endswith(Stopped.__name__):
        return Stopped()
    if kind.startswith("glioscope."):
        return GlioscopeError(folder, one_line(said))
    return RuntimeError(f"{kind}: {said}")
