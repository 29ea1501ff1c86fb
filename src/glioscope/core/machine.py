"""What this machine has left: memory and disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_OWN_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""Limit and use of a Linux control group by version, and what of the use can be given up at once.

Linux documentation, admin-guide/cgroup-v2 and cgroup-v1/memory.
"""


def free_memory() -> int:
    """Return the bytes of memory that a process can still take.

    That is what the machine has free, within the limits of the container or of the batch system's
    job that the process runs in.
    """
    import psutil

    return max(0, min(int(psutil.virtual_memory().available), *_left_in_groups()))


def _left_in_groups() -> Iterator[int]:
    """Yield what is left in each control group that this process is in, where that has a limit."""
    yield sys.maxsize
    for group, version in _groups():
        limit, used, idle = _FILES[version]
        try:
            left = int((group / limit).read_text()) - int((group / used).read_text())
            kinds = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        yield left + int(kinds.get(idle, 0))


def _groups() -> Iterator[tuple[Path, int]]:
    """Yield the control groups of this process, inmost first, each with its version."""
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _GROUPS / "memory" if controllers else _GROUPS
        inmost = root / path.lstrip("/")
        for group in (inmost, *inmost.parents):
            yield group, 1 if controllers else 2
            if group == root:
                break


def free_disk(folder: Path) -> int:
    """Return the bytes that can still be written in a folder, which need not be there yet."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def in_bytes(size: float) -> str:
    """Return a size in words.

    >>> in_bytes(300), in_bytes(2.5e6), in_bytes(3.21e10)
    ('1 MB', '3 MB', '32.1 GB')
    >>> in_bytes(0)
    '0 MB'
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{abs(-(-size // 1e6)):.0f} MB"


def in_time(seconds: float) -> str:
    """Return a duration in words.

    >>> in_time(3), in_time(250), in_time(20000)
    ('3 s', '4 min', '5.6 h')
    """
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
