"""What is wrong with cases that were evaluated, in words and pictures for the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ..core.errors import BadCase
from ..core.labels import Labels
from ..core.plan import Plan
from ..core.volume import Volume
from ..prediction.predictor import Segmentation
from ..report.canvas import Picture
from ..report.problems import Album, Finding, Kind, Problem
from ..report.stills import disagreement, readable, reference
from .pairing import Pair, masks_of
from .running import Outcome, Subject
from .scoring import ScoreResult, shared_names, with_tumour
from .tables import Row


class Sides(NamedTuple):
    """The label schemes of prediction and reference, and the regions to compare them in."""

    ours: Labels
    theirs: Labels
    regions: Sequence[str]


def sides(ours: Labels, theirs: Labels) -> Sides:
    """Return two schemes with the regions that both know, classes where there are none."""
    shared = shared_names(ours, theirs)
    mine, other = with_tumour(ours, theirs), with_tumour(theirs, ours)
    regions = [name for name in shared if name in {*mine.outlines, *other.regions}]
    return Sides(mine, other, regions or shared)


def remarks(rows: Iterable[Row], regions: Sequence[str]) -> list[Finding]:
    """Return what is wrong with the scores of a case, the worst first.

    Args:
        rows: The scores. Sensitivity has no value where the reference is empty; where nothing
            overlaps, specificity is 1, or has no value, only if the prediction is empty.
        regions: The regions to look at.
    """
    value = {(row.region, row.metric): row.value for row in rows}
    zero = [name for name in regions if value.get((name, "dice")) == 0]
    real = [name for name in regions if value.get((name, "sensitivity")) is not None]
    lost = [n for n in zero if n in real and value.get((n, "specificity")) in (1, None)]
    false = [name for name in zero if name not in real]
    apart = [name for name in zero if name not in {*lost, *false}]
    found = []
    if lost:
        text = f"No {_listed(lost)} was found, although the reference has some."
        if lost == real:
            text = "No tumour was found, although the reference has one."
        found.append(Finding(Kind.NOT_FOUND, text))
    if false:
        text = f"{_listed(false)} was found, although the reference has none."
        if not real:
            text = "Tumour was found, although the reference is empty."
        found.append(Finding(Kind.FALSE, text))
    if apart:
        text = f"Dice 0 in {_listed(apart)}: what was found does not touch the reference."
        found.append(Finding(Kind.ELSEWHERE, text))
    return found


def noted(notes: Iterable[str], warnings: Sequence[str] = ()) -> list[Finding]:
    """Return what was repaired or assumed when files were read, with the warnings of it."""
    return [
        Finding(
            Kind.NOTE,
            f"{note[:1].upper()}{note[1:]}.",
            warning=next((w for w in warnings if w.startswith(note)), ""),
        )
        for note in dict.fromkeys(notes)
    ]


def mean_dice(rows: Iterable[Row], regions: Sequence[str]) -> float | None:
    """Return the mean Dice of a case over the regions that have a value."""
    values = [
        row.value
        for row in rows
        if row.metric == "dice" and row.region in regions and row.value is not None
    ]
    return float(np.mean(values)) if values else None


def refused(bad: BadCase, kind: Kind) -> Finding:
    """Return what to say of a case that could not be used, and the warning of it."""
    said, text = {
        Kind.LEFT_OUT: ("is left out", "Its reference cannot be used."),
        Kind.FAILED: ("counts as missed", "The model gave no mask for it."),
    }[kind]
    return Finding(kind, text, bad, f"{bad.case} {said}: {bad}")


class Watch:
    """Looks at every case of an evaluation while its masks are in memory.

    Args:
        plan: The model's.
        labels: The scheme of the references.
        seen: What was seen in training, by case.
    """

    def __init__(self, plan: Plan, labels: Labels, seen: Mapping[str, Finding]) -> None:
        self._plan, self._labels, self._seen = plan, labels, seen
        self._sides = sides(plan.labels, labels)
        self._album = Album()
        self._found: list[Problem] = []

    def look(
        self, subject: Subject, truth: Volume, result: Segmentation, rows: Sequence[Row]
    ) -> None:
        """Note what is wrong with a scored case, and draw it if it is among the worst."""
        case, regions = subject.case, self._sides.regions
        seen = [self._seen[case.id]] if case.id in self._seen else []
        findings = [*remarks(rows, regions), *seen, *noted((*result.notes, *truth.notes))]
        if not findings:
            return
        problem = _problem(subject, findings, mean_dice(rows, regions))

        def draw() -> Picture:
            masks = (truth, self._sides.theirs), (result.mask, self._sides.ours)
            return disagreement(case.id, case.read(result.sequences), *masks, regions)

        self._album.offer(problem, draw)
        self._found.append(problem)

    def problems(self, subjects: Sequence[Subject], outcome: Outcome) -> list[Problem]:
        """Return the problems of all cases, of which the worst have pictures."""
        known = {subject.case.id: subject for subject in subjects}
        refusals = [refused(bad, Kind.LEFT_OUT) for bad in outcome.left_out]
        refusals += [refused(bad, Kind.FAILED) for bad in outcome.missed]
        broken = []
        for bad, finding in zip((*outcome.left_out, *outcome.missed), refusals, strict=True):
            subject = known[bad.case]
            broken.append(_problem(subject, [finding], None))
            draw = partial(readable, subject.case, self._plan.sequences)
            self._album.offer(broken[-1], draw)
        return self._album.illustrate([*broken, *self._found])


def problems_of(result: ScoreResult) -> list[Problem]:
    """Return the problems of masks that were scored, of which the worst have pictures."""
    regions = sides(result.labels, result.labels).regions
    rows: dict[str, list[Row]] = {}
    for row in result.rows:
        rows.setdefault(row.case, []).append(row)
    album, problems = Album(), []
    for pair in result.cases:
        notes = noted(result.notes[pair.case], result.warnings)
        if pair.prediction is None:
            missing = Finding(Kind.MISSING, "No prediction has the name of this case.")
            problem = Problem(pair.case, pair.patient, "", [missing, *notes])
        else:
            findings = [*remarks(rows[pair.case], regions), *notes]
            dice = mean_dice(rows[pair.case], regions)
            problem = Problem(pair.case, pair.patient, "", findings, dice)
        if problem.findings:
            album.offer(problem, partial(_drawn, pair, result.labels, regions))
            problems.append(problem)
    return album.illustrate(problems)


def _drawn(pair: Pair, labels: Labels, regions: Sequence[str]) -> Picture:
    truth, prediction = masks_of(pair, labels)
    if prediction is None:
        return reference(pair.case, truth, labels)
    return disagreement(pair.case, None, (truth, labels), (prediction, labels), regions)


def _problem(subject: Subject, findings: Sequence[Finding], dice: float | None) -> Problem:
    return Problem(subject.case.id, subject.case.patient, subject.split, findings, dice)


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> _listed(["WT", "TC", "ET"])
    'WT, TC and ET'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
