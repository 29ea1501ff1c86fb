"""The folder of a run: begun, gone on with after whatever ended it, or taken away again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from ..core.errors import DataError, StorageError
from ..core.files import (
    LogFile,
    is_leftover,
    read_json,
    remove_leftovers,
    storage_error,
    write_json,
)
from ..models.trained import Provenance
from ..training.callbacks import LOG
from ..training.checkpoints import CHECKPOINTS
from ..training.run import Run

_log = logging.getLogger("glioscope")
SPLITS = "splits.json"
_RUN, _SAID, _CACHE = "run.json", "train.log", "cache"
_EARLY = (SPLITS, _SAID, _CACHE, CHECKPOINTS, "tensorboard")
"""What a run may have written without its mark: before that, or while it was taken away."""


def is_begun(folder: Path, resume: bool) -> bool:
    """Tell whether a run is gone on with; a folder that holds anything else is refused.

    With `resume`, what was killed before it could write its settings starts anew.

    Raises:
        StorageError: If the folder is used and not to be resumed, or to be resumed and not there.
    """
    if resume and (folder / _RUN).is_file():
        return True
    held = [p.name for p in folder.iterdir() if not is_leftover(p)] if folder.is_dir() else []
    if resume and (folder.is_file() or not folder.exists() or {*held} - {*_EARLY}):
        raise StorageError(
            folder, "holds no run to resume", f"a folder with {_RUN}", "leave out --resume"
        )
    if not resume and (held or folder.is_file()):
        raise StorageError(
            folder,
            "is not empty",
            "an empty folder",
            "go on with --resume, or choose another --out",
        )
    if resume:
        _log.info("%s: nothing was begun there, so the training starts anew", folder)
    return False


def read_run(folder: Path) -> Provenance:
    """Return what a run was begun with.

    Raises:
        DataError: If it cannot be read.
    """
    path = folder / _RUN
    try:
        return Provenance.model_validate(read_json(path))
    except ValidationError as error:
        raise DataError(
            path, "is not of this version", "the run as it was written", "start a new run"
        ) from error


def write_run(run: Run) -> None:
    """Write what `--resume` goes by; its mark, `run.json`, comes last."""
    write_json(run.folder / SPLITS, run.splits.model_dump(mode="json"))
    write_json(run.folder / _RUN, run.provenance.model_dump(mode="json"))


@contextmanager
def claimed(folder: Path, begun: bool) -> Iterator[None]:
    """Make the run's folder, and take it away again if it fails before its first epoch is over.

    Ctrl-C takes nothing away: cases that were prepared are worth going on with.

    Raises:
        StorageError: If it cannot be made.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from error
    for place in (folder, folder / CHECKPOINTS, folder / _CACHE):
        remove_leftovers(place)
    try:
        yield
    except KeyboardInterrupt:
        _log.warning("stopped; go on later with --resume")
        raise
    except Exception:
        if not begun and not (folder / LOG).exists():
            _take_away(folder, made)
        raise


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Write what is said to `train.log` as well."""
    handler = LogFile(folder / _SAID)
    level = _log.level
    _log.addHandler(handler)
    _log.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        _log.setLevel(level)
        _log.removeHandler(handler)
        handler.close()


def _take_away(folder: Path, made: list[Path]) -> None:
    """Delete what the run wrote, its mark last, and the folders that were made for it."""
    for name in (*_EARLY, _RUN):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    with suppress(OSError):  # something else was put there meanwhile
        for place in made:
            place.rmdir()
