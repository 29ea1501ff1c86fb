"""`dataset.json` of nnU-Net (v1 and v2) and of the Medical Segmentation Decathlon.

Its labels are classes (a name for a value) or regions (a name for several values). What a value
means is told by its name, else by the nest of regions that it lies in: of the whole tumour alone
it is oedema, of the core too necrosis, of the enhancing tumour too that. Regions that the
file does not name are derived if the meaning of every value is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import DataError
from ..core.files import read_json
from ..core.labels import SCHEMES, Labels
from .terms import channel_of, class_of, plain, region_of

NAME = "dataset.json"
IMAGES = ("imagesTr", "imagesTs")
_NEST = {"WT": "oedema", "TC": "necrosis", "ET": "enhancing"}
"""Regions from the outside in, each with the class that lies in it and in no region further in."""
_REGIONS = SCHEMES["brats2023"].regions
_CYSTIC = ("WT", "TC")
"""Regions that cysts belong to (BraTS-PEDs, arXiv:2404.15009)."""


@dataclass(frozen=True)
class Manifest:
    """What a `dataset.json` says.

    Attributes:
        path: The file.
        channels: Our names of the sequences, in the order of their numbers.
        labels: What the values of the masks mean.
        content: All of it.
        notes: What could not be told.
    """

    path: Path
    channels: tuple[str, ...]
    labels: Labels
    content: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def root(self) -> Path:
        """The folder that paths are relative to."""
        return self.path.parent


def manifest_path(path: Path) -> Path:
    """Return the `dataset.json` of a folder or of its folder of images; a file as it is."""
    if not path.is_dir():
        return path
    beside = path.parent / NAME
    return beside if path.name in IMAGES and not (path / NAME).exists() else path / NAME


def read_manifest(path: Path, scheme: str) -> Manifest:
    """Read a `dataset.json`.

    Args:
        path: The file.
        scheme: Name of the label scheme, if it is none of those that are known.

    Raises:
        DataError: If it is not JSON, or contradicts itself.
    """
    read_json(path)  # says what is wrong with a file that is not JSON
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_once)
    except ValueError as error:
        raise DataError(path, str(error), "every key once", "correct the file") from error
    if not isinstance(content, dict):
        raise DataError(path, "is no JSON object", '{"channel_names": ..., "labels": ...}')
    channels = _channels(path, content.get("channel_names", content.get("modality")))
    labels, notes = _labels(path, content, scheme)
    return Manifest(path, channels, labels, content, notes)


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"names {key!r} twice")
        found[key] = value
    return found


def _channels(path: Path, names: object) -> tuple[str, ...]:
    if not isinstance(names, dict) or not names:
        raise DataError(path, "has no channel_names", '{"0": "T1", "1": "T1ce", ...}')
    numbers = [str(number) for number in range(len(names))]
    if {*names} != {*numbers}:
        found = ", ".join(map(str, names))
        raise DataError(path, f"numbers its channels {found}", f"0 to {numbers[-1]}")
    known: dict[str, str] = {}
    for number in numbers:
        name = str(names[number])
        ours = channel_of(name) or ("image" if len(numbers) == 1 else plain(name))
        if not ours or ours in known:
            twice = f"channels {known.get(ours)!r} and {name!r} are both {ours or 'without a name'}"
            raise DataError(path, twice, "every sequence once", "correct channel_names")
        known[ours] = name
    return tuple(known)


def _labels(path: Path, content: Mapping[str, Any], scheme: str) -> tuple[Labels, tuple[str, ...]]:
    """Return what the values mean, and notes."""
    single, several = _values(path, content.get("labels"))
    nest = _by_region(path, single, several) if several else {}
    _refuse_order(path, content.get("regions_class_order"), content["labels"], several)
    names = {value: name for name, value in single.items()}
    alone = len(single) == 1 and not several
    meant = {
        value: _class_of(names.get(value, ""), alone) or _nested(value, nest)
        for value in sorted({*names, *(v for values in several.values() for v in values)})
    }
    classes = _named(meant, names)
    regions = {
        region: _those(classes, values)
        for region, values in nest.items()
        if len(values) > 1 or region == "ET"
    }
    derived = {name: parts for name, parts in _derived(meant).items() if name not in regions}
    strange = [classes[value] for value, meaning in meant.items() if meaning is None]
    notes: tuple[str, ...] = ()
    if derived and strange:
        notes = (
            f"{NAME} does not say whether {', '.join(strange)} belongs to the tumour, so that"
            f" {', '.join(derived)} were not derived: name them there as lists of values",
        )
    else:
        regions |= {name: _those(classes, values) for name, values in derived.items()}
    order = [*(r for r in _REGIONS if r in regions), *(r for r in regions if r not in _REGIONS)]
    found = Labels(
        scheme,
        {name: value for value, name in classes.items()},
        {region: regions[region] for region in order},
    )
    return next((known for known in SCHEMES.values() if _agree(known, found)), found), notes


def _by_region(
    path: Path, single: Mapping[str, int], several: Mapping[str, Sequence[int]]
) -> dict[str, Sequence[int]]:
    """Return the values of every region, by our name of it if there is one."""
    found: dict[str, Sequence[int]] = {}
    known: dict[str, str] = {}
    for name, values in (*several.items(), *((name, [value]) for name, value in single.items())):
        region = region_of(name) or (plain(name) if name in several else None)
        if region is not None:
            _refuse_twice(path, name, region, known)
            known[name], found[region] = region, values
    return found


def _refuse_order(
    path: Path, order: object, given: Mapping[str, Any], several: Mapping[str, Sequence[int]]
) -> None:
    """Refuse an order of painting in which a label paints what it is not, or what a later one is.

    nnU-Net paints label after label, each with its value of `regions_class_order`.
    """
    if order is None or not several:
        return
    labels = [value if isinstance(value, list) else [value] for value in given.values()]
    labels = [values for values in labels if values != [0]]
    if isinstance(order, list) and len(order) == len(labels):
        later = [[v for values in labels[k + 1 :] for v in values] for k in range(len(labels))]
        fits = zip(order, labels, later, strict=True)
        if all(value in values and value not in after for value, values, after in fits):
            return
    raise DataError(
        path,
        f"its regions_class_order {order} contradicts its labels {labels}",
        "for each label a value of its own that is in no later one",
        "write the labels from the outside in, or remove regions_class_order",
    )


def _class_of(name: str, alone: bool) -> str | None:
    """Return our class; any tumour is one only if it is all there is, and WT is that then."""
    if alone and region_of(name) == "WT":
        return "tumour"
    found = class_of(name)
    return found if alone or found != "tumour" else None


def _derived(meant: Mapping[int, str | None]) -> dict[str, list[int]]:
    """Return the values of each of our regions whose classes are all there."""
    found = {}
    for region, parts in _REGIONS.items():
        inside = {*parts, "cyst"} if region in _CYSTIC else {*parts}
        if {*parts} <= {*meant.values()}:
            found[region] = [value for value, meaning in meant.items() if meaning in inside]
    return found


def _values(path: Path, given: object) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Return the labels of one value and those of several by name, less the background."""
    if not isinstance(given, dict) or not given:
        raise DataError(path, "has no labels", '{"background": 0, "tumor": 1, ...}')
    if all(key.isdecimal() for key in given):  # as nnU-Net's first version, and MSD
        if len({str(name) for name in given.values()}) < len(given):
            raise DataError(path, "gives two labels one name", "every name once")
        given = {str(name): int(key) for key, name in given.items()}
    single: dict[str, int] = {}
    several: dict[str, list[int]] = {}
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        lowest = 0 if value == 0 else 1
        if not values or not all(type(v) is int and lowest <= v <= 255 for v in values):
            raise DataError(path, f"label {name!r} is {value!r}", "whole numbers from 0 to 255")
        if name.lower() == "ignore":
            raise DataError(
                path, f"its label {value} means voxels to be ignored", "masks that are complete",
                "leave out the cases that have it",
            )  # fmt: skip
        if (name.lower() == "background") != (value == 0):
            raise DataError(path, f"label {name!r} is {value!r}", "background as 0, and only that")
        if isinstance(value, list) and len(value) > 1:
            several[name] = values
        elif value != 0:
            _refuse_twice(path, name, values[0], single)
            single[name] = values[0]
    if not single and not several:
        raise DataError(path, "has no label besides background", "at least one")
    return single, several


def _refuse_twice(path: Path, name: str, value: object, known: Mapping[str, object]) -> None:
    for other, taken in known.items():
        if taken == value:
            raise DataError(path, f"labels {other!r} and {name!r} are both {value}", "one each")


def _nested(value: int, nest: Mapping[str, Sequence[int]]) -> str | None:
    """Return the class of a value by the regions that it lies in; None if they do not tell."""
    inside = [value in nest[region] for region in _NEST if region in nest]
    if not any(inside) or sorted(inside, reverse=True) != inside:
        return None
    depth = sum(inside)
    regions = [region for region in _NEST if region in nest]
    deepest = regions[depth - 1]
    further = [region for region in _NEST if [*_NEST].index(region) > [*_NEST].index(deepest)]
    told = deepest == "ET" or further[0] in nest
    return _NEST[deepest] if told else None


def _named(meant: Mapping[int, str | None], names: Mapping[int, str]) -> dict[int, str]:
    """Return a name for every value: its class if no other has it, else as the file says."""
    meanings = list(meant.values())
    found: dict[int, str] = {}
    for value, meaning in meant.items():
        own = plain(names.get(value, "")) or f"label_{value}"
        name = meaning if meaning and meanings.count(meaning) == 1 else own
        taken = name in found.values() or (name == "tumour" and meaning is None)  # our word for all
        found[value] = f"label_{value}" if taken else name
    return found


def _those(classes: Mapping[int, str], values: Sequence[int]) -> tuple[str, ...]:
    return tuple(classes[value] for value in sorted(values))


def _agree(one: Labels, other: Labels) -> bool:
    regions = [{name: {*parts} for name, parts in x.regions.items()} for x in (one, other)]
    return one.values == other.values and regions[0] == regions[1]
