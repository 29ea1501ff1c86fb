"""The one place that writes: beside the target, synced, renamed; it speaks of full disks."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import DataError, DiskFull, StorageError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk."""
_SHORT_WRITE = "requested and"
"""NumPy's word for a full disk, `1024 requested and 12 written`: it gives no number."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\..")


def storage_error(path: Path, error: OSError) -> StorageError:
    """Translate an operating-system error of writing `path` into one line with a way out."""
    short = error.errno is None and _SHORT_WRITE in str(error)
    if short or error.errno in NO_SPACE:
        return DiskFull(path, "the disk is full", "", "free some space or choose another folder")
    file = next((place for place in path.parents if place.exists() and not place.is_dir()), None)
    if file is not None:
        return StorageError(
            path, f"cannot be written ({file} is no folder)", "a folder", "choose another one"
        )
    reason = error.strerror or str(error) or type(error).__name__
    return StorageError(
        path, f"cannot be written ({reason})", "", "choose a folder you may write to"
    )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; sync and rename it when the block ends well.

    The temporary name keeps the suffixes of `path`, for writers that go by them. When the block
    fails nothing is left behind, no new folder either, and an older `path` stays as it was.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    made: list[Path] = []
    try:
        made += [place for place in path.parents if not place.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        made.clear()
        _sync_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
        with suppress(OSError):  # another writer may have put something there meanwhile
            for place in made:
                place.rmdir()


def _sync_folder(folder: Path) -> None:
    """Let the new name outlast a power cut, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_leftover(path: Path) -> bool:
    """Tell whether a file is what `replacing` was writing when its process was killed."""
    return _TEMPORARY.match(path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left half-written in a folder, if it is there."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_leftover(path):
            path.unlink(missing_ok=True)


class LogFile(logging.FileHandler):
    """A log on disk with a time on every line; a full disk does not drown what it has to say."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the same lines are shown on the terminal."""

    def close(self) -> None:
        """Close the file, whether or not its last lines found room."""
        with suppress(OSError):
            super().close()


def write_text(path: Path, text: str) -> None:
    r"""Write `text` to `path` as UTF-8, whole or not at all.

    What UTF-8 cannot hold, such as bytes in the name of a file, is written as `\udcff`.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path` as readable JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: If the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            path, f"cannot be read ({error.strerror})", "a JSON file", "check the path"
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, too long a number
        said = "lists in lists without end" if isinstance(error, RecursionError) else error
        raise DataError(
            path, f"is not JSON ({said})", "a JSON file", "correct it, or fetch or write it again"
        ) from error


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as a hexadecimal string."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: object) -> str:
    """Return a short stable hash of anything JSON can express."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
