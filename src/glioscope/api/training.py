"""`train`: from a recipe and a data set to a model folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.config import HARDWARE, Recipe
from ..core.dataset import Dataset
from ..core.errors import CaseErrors, DataError, RecipeError
from ..core.recipes import load_recipe, parse_override, validated
from ..core.splits import NAMES, Splits, make_splits, patients_on_both_sides, read_splits
from ..formats.cohort import PATIENTS
from ..formats.opening import open_dataset
from ..losses.mixing import build_loss
from ..models import check, models
from ..models.trained import Provenance, TrainedModel, versions
from ..prepare.planning import make_plan
from ..training.checkpoints import CHECKPOINTS, newest_checkpoint
from ..training.preflight import check_room
from ..training.run import Run, fit, make_network, prepare
from .runs import SPLITS, claimed, is_begun, logged, read_run, write_run

_log = logging.getLogger("glioscope")


def train(  # noqa: PLR0913 - one argument per option of the verb
    recipe: str,
    data: str | Path,
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    splits: str | Path | None = None,
    labels: str | None = None,
    resume: bool = False,
    skip_bad: bool = False,
) -> TrainedModel:
    """Train a recipe on a data set.

    Args:
        recipe: Name of a recipe, or a YAML file.
        data: A folder, a file or `phantom:...`.
        out: Folder of the run; it becomes the model. It must be empty, unless resumed.
        overrides: Values such as `train.epochs=5`.
        splits: A splits file, in place of those of the layout or of the seed.
        labels: The data's label scheme, where it cannot be told.
        resume: Go on with the run in `out`, with its own settings; only `train.epochs` and
            hardware settings may be given anew.
        skip_bad: Go on without the cases that cannot be used.

    Raises:
        GlioscopeError: One line for whatever is wrong; nothing is left behind then.
    """
    folder = Path(out)
    begun = is_begun(folder, resume)
    if begun:
        if labels or splits:
            raise RecipeError("--labels, --splits", "cannot change when a run is resumed")
        saved = read_run(folder)
        settings = _resumed(saved.recipe, recipe, overrides)
        dataset = open_dataset(data, saved.scheme)
        _same_data(folder, saved, dataset)
        chosen = read_splits(folder / SPLITS, dataset)
    else:
        settings = load_recipe(recipe, overrides)
        _check(settings)
        dataset = open_dataset(data, labels)
        chosen = (
            read_splits(Path(splits), dataset)
            if splits is not None
            else make_splits(dataset, settings.train.seed)
        )
    entry = models[settings.model.name]
    arguments = entry.resolved(settings.model.arguments)
    plan = make_plan(settings, dataset, arguments, entry.traits.divisor(arguments))
    checkpoint = newest_checkpoint(folder / CHECKPOINTS) if begun else None
    network = make_network(settings, plan, pretrained=checkpoint is None)
    provenance = _provenance(settings, dataset, chosen, saved.skipped if begun else ())
    run = Run(folder, settings, dataset, chosen, plan, provenance, checkpoint)
    with claimed(folder, begun):
        write_run(run)  # from here on a killed run can be resumed
        with logged(folder):
            _say(dataset)
            _say_splits(chosen, dataset)
            check_room(run, network)
            run = _prepared(run, skip_bad)
            _refuse_no_tumour(run)
            write_run(run)
            return fit(run, network)


def _check(recipe: Recipe) -> None:
    """Refuse unknown networks and losses before any data is read."""
    check(recipe.model.name, recipe.model.arguments)
    build_loss(recipe.loss, "softmax" if recipe.data.targets == "classes" else "sigmoid")


def _refuse_no_tumour(run: Run) -> None:
    """Refuse training cases of which no mask holds anything: there is nothing to learn."""
    if not any(len(run.cache.load(case).points) for case in run.cases("train")):
        raise DataError(
            run.dataset.path, "every mask of the training cases is empty",
            "tumour in at least one", "check the masks, or the splits",
        )  # fmt: skip


def _prepared(run: Run, skip_bad: bool) -> Run:
    """Prepare the cases; leave out the bad ones if the user said so.

    Raises:
        CaseErrors: With every bad case, if they are not to be skipped.
    """
    problems = prepare(run)
    if not problems:
        return run
    if not skip_bad:
        raise CaseErrors(problems)
    bad = {problem.case for problem in problems}
    left = {
        name: tuple(case for case in getattr(run.splits, name) if case not in bad) for name in NAMES
    }
    if not left["train"] or not left["valid"]:
        raise CaseErrors(problems)
    for problem in problems:
        _log.warning("%s", problem)
    splits = run.splits.model_copy(update=left)
    skipped = tuple(f"{problem.case}: {problem}" for problem in problems)
    before = run.provenance.skipped
    provenance = _provenance(run.recipe, run.dataset, splits, (*before, *skipped))
    return replace(run, splits=splits, provenance=provenance)


def _provenance(
    recipe: Recipe, dataset: Dataset, splits: Splits, skipped: tuple[str, ...]
) -> Provenance:
    used = [*splits.train, *splits.valid]
    patients = {case.id: case.patient for case in dataset.cases}
    return Provenance(
        recipe=recipe,
        labels=dataset.known_labels(),
        data={
            "path": str(dataset.path),
            "format": dataset.format,
            "fingerprint": dataset.fingerprint,
        },
        metrics={},
        versions=versions(),
        trained_on=tuple(used),
        patients=tuple(sorted({patients[case] for case in used})),
        skipped=skipped,
    )


def _resumed(saved: Recipe, name: str, overrides: Sequence[str]) -> Recipe:
    """Return the recipe of a run, with the few values that may change."""
    if name != saved.name and load_recipe(name).name != saved.name:
        raise RecipeError(
            name, "is another recipe", f"{saved.name}, as the run was begun",
            "give that one, or start a new run",
        )  # fmt: skip
    values = saved.model_dump(mode="json")
    allowed = sorted({"epochs", *HARDWARE})
    for override in overrides:
        key, value = parse_override(override)
        section, _, setting = key.partition(".")
        if section != "train" or setting not in allowed:
            raise RecipeError(
                f"--set {key}", "cannot change when a run is resumed",
                f"train.{', train.'.join(allowed)}", "start a new run for it",
            )  # fmt: skip
        values["train"][setting] = value
    return validated(values, name)


def _same_data(folder: Path, saved: Provenance, dataset: Dataset) -> None:
    before = saved.data["fingerprint"]
    if dataset.fingerprint != before:
        raise DataError(
            dataset.path, f"its fingerprint is {dataset.fingerprint}", f"{before} as in {folder}",
            "resume with the same data",
        )  # fmt: skip


def _say(dataset: Dataset) -> None:
    labels = dataset.labels
    scheme = "no masks"
    if labels:
        values = ", ".join(f"{value} {name}" for name, value in labels.values.items())
        scheme = f"labels {labels.name} ({values})"
    _log.info(
        "%s: %d cases, format %s, %s", dataset.path, len(dataset.cases), dataset.format, scheme
    )
    for note in dataset.notes:
        _log.info("%s", note)


def _say_splits(splits: Splits, dataset: Dataset) -> None:
    patient = {case.id: case.patient for case in dataset.cases}
    sizes = []
    for name in NAMES:
        cases = getattr(splits, name)
        people = f" of {len({patient[case] for case in cases})} patients"
        sizes.append(f"{name} {len(cases)} cases" + (people if dataset.patients_from else ""))
    how = {
        "patient": f"split by patient (known from {dataset.patients_from})",
        "layout": "split as the folders say",
    }.get(splits.by, "split by case")
    _log.info("%s: %s", how, ", ".join(sizes))
    if not dataset.patients_from:
        _log.warning(
            "no patients are known, so one may be on both sides; a %s beside the data tells",
            PATIENTS,
        )
    shared = patients_on_both_sides(splits, dataset.cases)
    if shared:
        _log.warning("%d patients are in training and in validation or test", len(shared))
