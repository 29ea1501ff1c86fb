"""What there is: recipes, data, models; and phantoms to try things on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..core.errors import DataError
from ..core.plan import ZERO
from ..core.progress import progress
from ..core.recipes import load_recipe, recipe_names
from ..formats.opening import open_dataset

__all__ = ["info", "open_dataset", "phantom", "recipes"]


def recipes() -> list[dict[str, Any]]:
    """Return what each recipe is: name, dims, network, input, targets and reported numbers."""
    listed = []
    for recipe in map(load_recipe, recipe_names()):
        encoder = recipe.model.arguments.get("encoder")
        listed.append(
            {
                "name": recipe.name,
                "dims": recipe.data.dims,
                "network": recipe.model.name + (f" ({encoder})" if encoder else ""),
                "input": [name for name in recipe.data.channels if name != ZERO],
                "targets": recipe.data.targets,
                "reported": recipe.reported,
                "about": recipe.about,
            }
        )
    return listed


def phantom(out: str | Path, cases: int = 8, seed: int = 0, layout: str = "brats") -> list[Path]:
    """Write synthetic heads with tumours.

    Args:
        out: A folder that does not exist yet or is empty.
        cases: How many.
        seed: The same seed gives the same heads.
        layout: `brats` and `nnunet` are 3D, `coco` and `pairs` are 2D.

    Returns:
        The files written.

    Raises:
        DataError: If the folder is not empty.
        UnknownName: If there is no such layout.
    """
    from ..formats.phantom import write_phantoms

    with progress("phantoms", cases) as advance:
        return write_phantoms(Path(out), cases, seed, layout, progress=lambda *_: advance())


def info(path: str | Path) -> dict[str, Any]:
    """Say what a model, case or data folder is.

    Raises:
        DataError: If it is none of these.
        ModelError: If it is a model that was changed or cannot be read.
    """
    from ..models.trained import is_model, load_model

    folder = Path(path)
    if not is_model(folder):
        return _dataset_info(folder)
    model = load_model(folder)
    plan, provenance = model.plan, model.provenance
    return {
        "kind": "model",
        "path": str(folder),
        "recipe": provenance.recipe.name,
        "about": provenance.recipe.about,
        "input": list(plan.channels),
        "output": [target.name for target in plan.targets],
        "values": dict(plan.labels.values),
        "thresholds": {target.name: target.threshold for target in plan.targets},
        "smallest": {target.name: target.smallest for target in plan.targets},
        "trained_on": len(provenance.trained_on),
        "validation": provenance.metrics,
        "sha256": model.sha256,
        "versions": provenance.versions,
    }


def _dataset_info(path: Path) -> dict[str, Any]:
    dataset = open_dataset(path)
    first = dataset.cases[0]
    try:
        grid = first.grid()
        geometry = {
            "shape": list(grid.shape),
            "spacing": [round(s, 4) for s in grid.spacing],
            "unit": grid.unit,
            "orientation": grid.orientation if grid.unit == "mm" else None,
        }
    except DataError as error:
        geometry = {"error": str(error)}
    channels = Counter(name for case in dataset.cases for name in case.channels)
    return {
        "kind": "data",
        "path": str(path),
        "format": dataset.format,
        "cases": len(dataset.cases),
        "patients": len({case.patient for case in dataset.cases}),
        "patients_from": dataset.patients_from,
        "with_mask": len(dataset.with_masks()),
        "channels": dict(channels),
        "labels": dataset.labels.name if dataset.labels else None,
        "values": dict(dataset.labels.values) if dataset.labels else {},
        "splits": dict(Counter(case.split for case in dataset.cases if case.split)),
        "first_case": {"id": first.id, **geometry},
        "notes": list(dataset.notes),
    }
