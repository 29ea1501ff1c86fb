"""Formats: each looks at a path and says whether it is its own (`claims`), then reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..core.registry import Registry


@dataclass(frozen=True)
class FormatTraits:
    """What a format declares.

    Attributes:
        claims: Tells, from names and first bytes alone, whether a path is of this format.
        rank: Formats are asked in this order; the most telling layouts come first.
    """

    claims: Callable[[Path], bool]
    rank: int = 50


formats: Registry[FormatTraits] = Registry("format", __name__, FormatTraits)
register = formats.register
