"""`Labels`: which stored values mean what, and which overlapping regions they form.

The quarrel of 1/2/4 (BraTS 2017-2021), 1/2/3 (2023) and the cavity of 2024 is data here and
nowhere code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .errors import UndecidedLabels, UnknownName


@dataclass(frozen=True)
class Labels:
    """A label scheme.

    Attributes:
        name: Name of the scheme, as `--labels` takes it.
        values: Stored value of each class; 0 is background and not listed.
        regions: Classes that form each region; regions may overlap.
    """

    name: str
    values: Mapping[str, int]
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that can be measured: the regions, then the classes."""
        return (*self.regions, *(name for name in self.values if name not in self.regions))

    @property
    def outlines(self) -> tuple[str, ...]:
        """Names that together show all there is: the regions, then classes that are in none."""
        inside = {name for classes in self.regions.values() for name in classes}
        return (*self.regions, *(name for name in self.values if name not in inside))

    def classes(self, name: str) -> tuple[str, ...]:
        """Return the classes of a region, or the class itself.

        Raises:
            UnknownName: If there is no such region or class.
        """
        if name in self.regions:
            return self.regions[name]
        if name in self.values:
            return (name,)
        raise UnknownName("region", name, self.names)

    def mask(self, stored: NDArray[np.integer], name: str) -> NDArray[np.bool_]:
        """Return where a region or class lies in a label array of any shape."""
        return np.isin(stored, [self.values[c] for c in self.classes(name)])

    def unknown(self, stored: NDArray[np.integer]) -> list[int]:
        """Return the values of a label array that this scheme does not know."""
        present = np.unique(stored)
        return sorted({int(v) for v in present} - {0, *self.values.values()})

    def extends(self, other: Labels) -> bool:
        """Tell whether this scheme is `other` with more classes."""
        return self.values.items() > other.values.items()

    def understands(self, classes: Iterable[str]) -> bool:
        """Tell whether every one of the classes has a value here."""
        return set(classes) <= set(self.values)


_REGIONS = {
    "WT": ("necrosis", "oedema", "enhancing"),
    "TC": ("necrosis", "enhancing"),
    "ET": ("enhancing",),
}
SCHEMES: Mapping[str, Labels] = {
    scheme.name: scheme
    for scheme in (
        Labels("binary", {"tumour": 1}),
        Labels("brats2021", {"necrosis": 1, "oedema": 2, "enhancing": 4}, _REGIONS),
        Labels("brats2023", {"necrosis": 1, "oedema": 2, "enhancing": 3}, _REGIONS),
        Labels("brats2024", {"necrosis": 1, "oedema": 2, "enhancing": 3, "cavity": 4}, _REGIONS),
    )
}
"""BraTS 2017-2021, 2023 and 2024 (cavity: post-treatment), and plain binary masks."""

WHITE = 255
"""What a black and white mask stores as tumour; in no scheme a label."""

COLOURS: Mapping[str, str] = {
    "tumour": "#ffb000",
    "WT": "#ffb000",
    "TC": "#fe6100",
    "ET": "#dc267f",
    "necrosis": "#dc267f",
    "oedema": "#ffb000",
    "enhancing": "#648fff",
    "cavity": "#785ef0",
}
"""One colour per region and class on every picture (IBM's palette for colour-blind readers)."""


def scheme(name: str) -> Labels:
    """Return a known scheme.

    Raises:
        UnknownName: With the schemes there are.
    """
    if name not in SCHEMES:
        raise UnknownName("label scheme", name, SCHEMES)
    return SCHEMES[name]


def numbered(values: Iterable[int]) -> Labels:
    """Return the scheme of labels without a known meaning: `label_1`, `label_2`, ..."""
    return Labels("numbered", {f"label_{v}": v for v in sorted(set(values) - {0})})


def decide(values: Iterable[int], where: object, candidates: Iterable[str] = SCHEMES) -> Labels:
    """Choose the scheme of a whole data set from the union of its stored values.

    Args:
        values: Every value that occurs in any mask of the data set.
        where: The data set, for messages.
        candidates: Schemes that the layout or the names allow.

    Raises:
        UndecidedLabels: If several candidates fit with different meanings, or none of those named,
            or black and white masks are among them.
    """
    found = set(values) - {0}
    allowed = list(candidates)
    if WHITE in found:
        raise UndecidedLabels(
            str(where),
            f"label values {sorted(found)}, and 255 is white rather than a label",
            "labels, or 0 and 255 alone",
            "store the masks as 0 and 1",
        )
    fitting = [SCHEMES[n] for n in allowed if found <= set(SCHEMES[n].values.values())]
    if not fitting and set(allowed) == set(SCHEMES):
        return numbered(found)
    telling = [s for s in fitting if set(s.values.values()) == found]
    plain = [s for s in fitting if not any(s.extends(other) for other in fitting)]
    if (
        4 in found and 3 not in found
    ):  # 4 is the enhancing tumour: a cohort without any is the rarer case
        plain = [s for s in plain if s.name == "brats2021"] or plain
    for choice in (telling, plain):
        if len(choice) == 1:
            return choice[0]
    raise _undecided(str(where), found, allowed, len(fitting))


def strange(values: Iterable[int], candidates: Iterable[str]) -> set[int]:
    """Return the values that none of the schemes knows; none where any scheme may be meant."""
    allowed = list(candidates)
    if set(allowed) == set(SCHEMES):
        return set()
    return set(values) - {0}.union(*(SCHEMES[name].values.values() for name in allowed))


def _undecided(where: str, found: set[int], allowed: list[str], fitting: int) -> UndecidedLabels:
    remedy = f"say which with --labels ({', '.join(SCHEMES)})"
    if not found:
        found_there = "every mask is empty, so that their label scheme cannot be told"
        return UndecidedLabels(where, found_there, "tumour in at least one mask", remedy)
    unknown = strange(found, allowed)
    if unknown:
        known = {value for name in allowed for value in SCHEMES[name].values.values()}
        return UndecidedLabels(
            where,
            f"label values {sorted(unknown)} are in none of the schemes {', '.join(allowed)}",
            f"values of {sorted(known)}",
            f"{remedy}; then every mask that holds others is listed",
        )
    return UndecidedLabels(
        where,
        f"label values {sorted(found)} fit {fitting} of the schemes {', '.join(allowed)}",
        "exactly one",
        remedy,
    )
