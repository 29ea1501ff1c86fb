"""Cases with problems: what is wrong with each, and what it did to the numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

from ..core.errors import GlioscopeError, one_line
from .canvas import Picture

PICTURES = 12
"""So many pictures are shown of cases with problems."""
OPEN = 20
"""So many cases that were only remarked on are shown open; more are folded."""
_LOG = logging.getLogger(__name__)


class Kind(IntEnum):
    """What can be wrong with a case, worst first."""

    LEFT_OUT = 0
    FAILED = 1
    MISSING = 2
    NOT_FOUND = 3
    FALSE = 4
    ELSEWHERE = 5
    SEEN = 6
    NOTE = 7

    @property
    def title(self) -> str:
        """The kind in a few words."""
        return _TITLES[self]

    @property
    def grave(self) -> bool:
        """Whether the case has no score of its own."""
        return self <= Kind.MISSING

    @property
    def mild(self) -> bool:
        """Whether there is something to know, but nothing wrong with the score."""
        return self >= Kind.SEEN


_TITLES: Mapping[Kind, str] = {
    Kind.LEFT_OUT: "left out",
    Kind.FAILED: "could not be segmented",
    Kind.MISSING: "no prediction",
    Kind.NOT_FOUND: "tumour not found",
    Kind.FALSE: "tumour found where there is none",
    Kind.ELSEWHERE: "Dice 0",
    Kind.SEEN: "seen in training",
    Kind.NOTE: "repaired or assumed",
}
_WORST = "Counted as missed: it takes the worst value of every metric (Dice 0) in all means."


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that is wrong with a case.

    Attributes:
        kind: What kind of thing.
        text: What it is, in a sentence.
        error: What was said of it where a file or the case was refused.
        warning: The warning of the report that it stands behind.
    """

    kind: Kind
    text: str
    error: GlioscopeError | None = None
    warning: str = ""

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The error in its parts, those that it has."""
        if self.error is None:
            return []
        error = self.error
        told = (error.where, error.found, error.expected, error.remedy)
        named = zip(("Where", "Found", "Expected", "Way out"), map(one_line, told), strict=True)
        return [(name, text) for name, text in named if text]


@dataclass(frozen=True, eq=False)
class Problem:
    """A case with a problem.

    Attributes:
        case: Name of the case.
        patient: Who it belongs to.
        split: Its split, or empty.
        findings: What is wrong with it, at least one thing.
        dice: Its mean Dice, if it was scored.
        picture: What can be seen of it, if that was drawn.
    """

    case: str
    patient: str
    split: str
    findings: Sequence[Finding]
    dice: float | None = None
    picture: Picture | None = None

    @property
    def kind(self) -> Kind:
        """The worst of what is wrong."""
        return min(finding.kind for finding in self.findings)

    @property
    def titles(self) -> list[str]:
        """Every kind of thing that is wrong, in a few words, the worst first."""
        return [kind.title for kind in sorted({finding.kind for finding in self.findings})]

    @property
    def rank(self) -> tuple[int, float]:
        """What problems are sorted by, the worst first."""
        return self.kind, 1.0 if self.dice is None else self.dice

    @property
    def effect(self) -> str:
        """What it did to the numbers, in a sentence."""
        if self.kind is Kind.LEFT_OUT:
            return "Left out: it has no scores, and is part of no mean."
        if self.kind.grave:
            return _WORST
        scored = "" if self.dice is None else f": mean Dice {self.dice:.3f}"
        return f"Scored as any other case{scored}."


class Album:
    """The pictures of the worst problems; each is drawn when it is offered, or never.

    Args:
        limit: So many pictures are kept.
    """

    def __init__(self, limit: int = PICTURES) -> None:
        self._limit = limit
        self._kept: dict[str, tuple[tuple[int, float], Picture]] = {}

    def offer(self, problem: Problem, draw: Callable[[], Picture]) -> None:
        """Draw and keep a picture, unless as many of worse problems are there.

        A picture that cannot be drawn is left out: nothing that is wrong with a case may cost
        the report.
        """
        full = len(self._kept) >= self._limit
        mildest = max(self._kept, key=lambda case: self._kept[case][0]) if full else ""
        if full and self._kept[mildest][0] <= problem.rank:
            return
        try:
            picture = draw()
        except Exception:  # noqa: BLE001 - a broken case may break its picture in any way
            _LOG.info("no picture of %s", problem.case, exc_info=True)
            return
        self._kept.pop(mildest, None)
        self._kept[problem.case] = (problem.rank, picture)

    def illustrate(self, problems: Sequence[Problem]) -> list[Problem]:
        """Return the problems with the pictures that were kept."""
        pictures = {case: picture for case, (_, picture) in self._kept.items()}
        return [replace(problem, picture=pictures.get(problem.case)) for problem in problems]


class Block(NamedTuple):
    """A problem on the page, with the address that links go to."""

    anchor: str
    problem: Problem


class Group(NamedTuple):
    """The problems of a kind, and the address of each."""

    kind: Kind
    anchors: list[str]


@dataclass(frozen=True)
class Section:
    """The problems on the page.

    Attributes:
        blocks: Those shown open, the worst first.
        folded: Mild ones behind them, without pictures, if there are many.
        groups: The kinds there are.
    """

    blocks: list[Block]
    folded: list[Block]
    groups: list[Group]

    @property
    def anchors(self) -> dict[str, str]:
        """Where each case with a problem stands."""
        return {b.problem.case: b.anchor for b in self.blocks + self.folded}

    def count(self, *kinds: Kind) -> int:
        """Return how many cases have one of these as the worst of what is wrong."""
        return sum(len(group.anchors) for group in self.groups if group.kind in kinds)

    def first(self, *kinds: Kind) -> str:
        """Return where the first problem of these kinds stands; empty if there is none."""
        return next((group.anchors[0] for group in self.groups if group.kind in kinds), "")

    def behind(self, warning: str) -> list[Block]:
        """Return the problems that a warning stands for."""
        every = self.blocks + self.folded
        return [b for b in every if warning in (f.warning for f in b.problem.findings)]


def section(problems: Sequence[Problem]) -> Section:
    """Lay problems out for the page, the worst first."""
    ordered = sorted(problems, key=lambda problem: (*problem.rank, problem.case))
    blocks = [Block(f"problem-{i}", problem) for i, problem in enumerate(ordered, 1)]
    mild = [block for block in blocks if block.problem.kind.mild]
    folded = mild if len(mild) > OPEN else []
    hidden = [Block(anchor, replace(problem, picture=None)) for anchor, problem in folded]
    groups = []
    for kind in Kind:
        alike = [block.anchor for block in blocks if block.problem.kind is kind]
        groups += [Group(kind, alike)] if alike else []
    return Section(blocks[: len(blocks) - len(folded)], hidden, groups)
