"""Give up root's right to read and write whatever it likes, so that permissions hold in a test."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VERSION = 0x20080522  # of capabilities(7), with two words of 32 bits each
_OVERRIDE = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextmanager
def ordinary_rights() -> Iterator[None]:
    """Make permissions hold for this thread and for those that it starts.

    Another user would not do for root: Python's own library may lie in a home that only root reads.

    Raises:
        OSError: If root cannot give up its rights here.
    """
    if os.geteuid():
        yield
        return
    if not sys.platform.startswith("linux"):
        raise OSError("root has all rights here")
    header, rights = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    _call("capget", header, rights)
    before = rights[0]
    rights[0] = before & ~_OVERRIDE
    _call("capset", header, rights)
    try:
        yield
    finally:
        rights[0] = before
        _call("capset", header, rights)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name} failed")
