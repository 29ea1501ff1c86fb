"""From a data set and a recipe to a `Plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.config import Recipe
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.labels import Labels
from ..core.plan import Plan, Target


def make_plan(recipe: Recipe, dataset: Dataset, arguments: Mapping[str, Any], divisor: int) -> Plan:
    """Derive the plan of a recipe for a data set.

    Args:
        recipe: The recipe.
        dataset: The data; its labels decide what `binary`, `classes` and `regions` are.
        arguments: All arguments of the network.
        divisor: The network takes multiples of this.

    Raises:
        DataError: If the data set has no labels, labels above 255, or no regions where the
            recipe needs them.
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
    targets = [Target(name=n, classes=c, paints=_outermost(c, nested)) for n, c in nested]
    return labels, targets + [
        Target(name=c, classes=(c,), paints=c)
        for c in labels.values
        if not any(c in classes for _, classes in nested)
    ]


def _outermost(classes: tuple[str, ...], nested: list[tuple[str, tuple[str, ...]]]) -> str:
    """Return the class of a region that lies in none of the smaller regions."""
    inner = {c for _, other in nested if set(other) < set(classes) for c in other}
    return next(c for c in classes if c not in inner)
