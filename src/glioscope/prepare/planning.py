"""From a data set and a recipe to a `Plan`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from ..core.config import Recipe
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.labels import Labels
from ..core.plan import Plan, Target

Region = tuple[str, tuple[str, ...]]
"""Name of a region and its classes."""


def make_plan(recipe: Recipe, dataset: Dataset, arguments: Mapping[str, Any], divisor: int) -> Plan:
    """Derive the plan of a recipe for a data set.

    Args:
        recipe: The recipe.
        dataset: The data; its labels decide what `binary`, `classes` and `regions` are.
        arguments: All arguments of the network.
        divisor: The network takes multiples of this.

    Raises:
        DataError: If the data set has no labels, labels above 255, or no regions where the
            recipe needs them, or some that cannot be painted into one mask.
    """
    data, predict = recipe.data, recipe.predict
    known = dataset.known_labels()
    highest = max(known.values.values(), default=0)
    if highest > 255:
        raise DataError(dataset.path, f"label value {highest}", "at most 255", "number them anew")
    labels, targets = _targets(recipe, known, dataset)
    return Plan(
        dims=data.dims,
        channels=tuple(data.channels),
        crop=data.crop,
        spacing=tuple(data.spacing) if data.spacing else None,
        size=tuple(data.size) if data.size else None,
        normalise=data.normalise,
        mirror=tuple(range(data.dims) if data.mirror is None else data.mirror),
        window=tuple(data.patch) if data.patch else None,
        overlap=predict.overlap,
        divisor=divisor,
        activation="softmax" if data.targets == "classes" else "sigmoid",
        targets=tuple(
            target.model_copy(
                update={
                    "threshold": 0.5 if predict.threshold == "auto" else predict.threshold,
                    "smallest": 0.0 if predict.smallest == "auto" else predict.smallest,
                }
            )
            for target in targets
        ),
        labels=labels,
        network=recipe.model.name,
        arguments=dict(arguments),
    )


def _targets(recipe: Recipe, labels: Labels, dataset: Dataset) -> tuple[Labels, list[Target]]:
    """Return the scheme of the model's own masks, and its targets in painting order."""
    if recipe.data.targets == "binary":
        name = "WT" if "WT" in labels.regions else "tumour"
        classes = labels.regions.get("WT", tuple(labels.values))
        regions = {} if name == "tumour" else {name: ("tumour",)}
        scheme = Labels("binary", {"tumour": 1}, regions)
        return scheme, [Target(name=name, classes=classes, paints="tumour")]
    if recipe.data.targets == "classes":
        return labels, [Target(name=c, classes=(c,), paints=c) for c in labels.values]
    if not labels.regions:
        raise DataError(
            dataset.path,
            f"the label scheme {labels.name} has no regions",
            "WT, TC and ET",
            "train on classes: --set data.targets=classes",
        )
    nested = sorted(labels.regions.items(), key=lambda region: -len(region[1]))
    _refuse_crossing(nested, dataset)
    targets = [
        Target(name=n, classes=c, paints=_outermost(n, c, nested, dataset)) for n, c in nested
    ]
    painted = {target.paints for target in targets}
    return labels, targets + [
        Target(name=c, classes=(c,), paints=c) for c in labels.values if c not in painted
    ]


def _refuse_crossing(nested: Sequence[Region], dataset: Dataset) -> None:
    for (name, classes), (other, others) in combinations(nested, 2):
        shared = {*classes} & {*others}
        if shared and shared != {*others}:  # the other is not larger
            raise _unpaintable(dataset, f"the regions {name} and {other} cross")


def _outermost(
    name: str, classes: tuple[str, ...], nested: Sequence[Region], dataset: Dataset
) -> str:
    """Return the class of a region that lies in none of the smaller regions."""
    smaller = {other: parts for other, parts in nested if {*parts} < {*classes}}
    own = [c for c in classes if not any(c in parts for parts in smaller.values())]
    if not own:
        found = f"the region {name} holds nothing but the regions {', '.join(smaller)}"
        raise _unpaintable(dataset, found)
    return own[0]


def _unpaintable(dataset: Dataset, found: str) -> DataError:
    return DataError(
        dataset.path,
        found,
        "regions that nest, each with a class of its own",
        "train on classes: --set data.targets=classes",
    )
