"""What this machine has left: memory and disk."""

from __future__ import annotations

import shutil
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_LIMITS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""Files of a container's limit and use, in version 2 and 1 of Linux control groups."""


def free_memory() -> int:
    """Return the bytes of memory that a process can still take, within its container's limit."""
    import psutil

    free = int(psutil.virtual_memory().available)
    for limit, used in _LIMITS:
        try:
            left = int((_CGROUPS / limit).read_text()) - int((_CGROUPS / used).read_text())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        free = min(free, left)
    return max(0, free)


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
