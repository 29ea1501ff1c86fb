"""One training, from an open data set to a model folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import seed_everything
from torch import Tensor, nn

from ..core.case import Case
from ..core.config import Recipe
from ..core.dataset import Dataset
from ..core.errors import (
    BadCase,
    RecipeError,
)
from ..core.plan import Plan
from ..core.progress import progress
from ..core.splits import Splits
from ..losses.mixing import build_loss
from ..models import build, models
from ..models.trained import Provenance, TrainedModel, empty_network, save_model
from ..prediction.engines import choose_device, mixed_precision, torch_engine
from ..prepare.cache import Cache, Prepared
from ..prepare.scan import target_table
from .callbacks import LOG, Stopped, pass_signals_on, read_log, signals_restored
from .checkpoints import BEST, CHECKPOINTS, SafeCheckpoint
from .data import CaseData
from .failures import explained
from .module import Diverged, Segmenter
from .samples import training_slices
from .trainer import make_trainer, quiet
from .tuning import tuned

_log = logging.getLogger("glioscope")


@dataclass(frozen=True)
class Run:
    """Everything that a training needs.

    Attributes:
        folder: Where the model goes.
        recipe: The resolved recipe.
        dataset: The data, less bad cases.
        splits: Who is used for what.
        plan: How scans become input.
        provenance: What will stand in `model.json`.
        checkpoint: The checkpoint to go on from, if the run is resumed after its first epoch.
    """

    folder: Path
    recipe: Recipe
    dataset: Dataset
    splits: Splits
    plan: Plan
    provenance: Provenance
    checkpoint: Path | None

    @property
    def best(self) -> Path:
        """Weights of the best epoch."""
        return self.folder / CHECKPOINTS / BEST

    @property
    def cache(self) -> Cache:
        """Prepared cases."""
        given = self.recipe.data.cache
        folder = Path(given) if given else self.folder / "cache"
        return Cache(folder, self.plan, self.dataset.known_labels())

    def cases(self, *names: str) -> list[Case]:
        """Return the cases of the named splits."""
        wanted = {case for name in names for case in getattr(self.splits, name)}
        return [case for case in self.dataset.cases if case.id in wanted]


def make_network(recipe: Recipe, plan: Plan, *, pretrained: bool = True) -> nn.Module:
    """Build the network of a recipe with the weights that its seed draws.

    Args:
        recipe: The recipe.
        plan: Its plan.
        pretrained: Whether pretrained weights are loaded, if the recipe has any.

    Raises:
        RecipeError: If the network cannot be trained as the recipe says.
        ModelError: If pretrained weights cannot be had.
    """
    traits = models[recipe.model.name].traits
    train, data = recipe.train, recipe.data
    if traits.dims != data.dims:
        raise RecipeError(
            "model.name", f"{recipe.model.name} is a {traits.dims}D network", f"{data.dims}D",
            f"set data.dims={traits.dims}, or another network",
        )  # fmt: skip
    if train.batch > 1 and not (data.size or data.patch):
        raise RecipeError(
            "train.batch", f"is {train.batch} on images of different sizes", "1",
            "or one shape for all: data.size or data.patch",
        )  # fmt: skip
    found = torch.cuda.device_count()
    if choose_device(train.device) == "cuda" and train.devices > found:
        raise RecipeError("train.devices", f"is {train.devices}", f"at most {found} (GPUs here)")
    if train.batch < traits.min_batch:
        raise RecipeError("train.batch", f"is {train.batch}", f"at least {traits.min_batch}")
    if train.freeze_epochs and traits.backbone is None:
        raise RecipeError(
            "train.freeze_epochs", f"{recipe.model.name} has no pretrained part", "0"
        )  # fmt: skip
    with quiet():
        seed_everything(train.seed, verbose=False)
        if not pretrained:
            return empty_network(plan)
        return build(
            plan.network, inputs=len(plan.channels), outputs=plan.outputs, arguments=plan.arguments
        )


def prepare(run: Run) -> list[BadCase]:
    """Prepare all training and validation cases, and return the bad ones.

    Raises:
        StorageError: If the cache cannot be written.
    """
    cases = run.cases("train", "valid")
    with progress("preparing", len(cases)) as advance:
        return run.cache.fill(cases, advance)


def fit(run: Run, network: nn.Module) -> TrainedModel:
    """Train, choose thresholds on validation, and write the model folder.

    A training that is stopped by Ctrl-C or SIGTERM still leaves its best model.

    Raises:
        RecipeError: If the loss is not defined for the targets.
        StorageError: If something cannot be written; the epochs that were finished are kept.
        ModelError: If memory ran out.
    """
    train = run.recipe.train
    table = torch.from_numpy(target_table(run.plan, run.cache.labels))
    data = _data(run)
    device = choose_device(train.device)
    loss = build_loss(run.recipe.loss, run.plan.activation)
    module = Segmenter(network, loss, run.plan, table, train, _frozen_part(run))
    if run.checkpoint is None:
        run.best.unlink(missing_ok=True)
    with quiet(), signals_restored():
        trainer = make_trainer(run.folder, train, device)
        if train.devices > 1:
            pass_signals_on(trainer)
        try:
            with explained(run.folder):
                trainer.fit(module, data, ckpt_path=run.checkpoint)
        except Stopped:
            _log.warning("stopped; go on later with --resume")
        except Diverged as error:
            if not run.best.exists():
                raise
            _log.warning("%s; the best epoch before is kept", error)
    with explained(run.folder):
        return _export(run, network, table, device)


def _frozen_part(run: Run) -> str | None:
    """Return the attribute of the network that is frozen at first; random weights never are."""
    if run.recipe.train.freeze_epochs == 0:
        return None
    if run.plan.arguments.get("pretrained", "none") == "none":
        _log.warning("nothing is frozen (train.freeze_epochs), as the weights are random")
        return None
    return models[run.plan.network].traits.backbone


def _data(run: Run) -> CaseData:
    train = run.cases("train")
    slices, notes = training_slices(train, run.cache, run.recipe.data.slices)
    for note in notes:
        _log.warning(note)
    kept = [(case, s) for case, s in zip(train, slices, strict=True) if len(s)]
    min_batch = models[run.plan.network].traits.min_batch
    return CaseData(
        [case for case, _ in kept],
        run.cases("valid"),
        [s for _, s in kept],
        run.cache,
        run.recipe,
        min_batch,
    )


def _export(run: Run, network: nn.Module, table: Tensor, device: str) -> TrainedModel:
    """Write the model of the best epoch, with thresholds chosen on validation."""
    checkpoint = SafeCheckpoint().load_checkpoint(run.best)
    weights = {
        name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()
    }
    network.load_state_dict(weights)
    train, predict = run.recipe.train, run.recipe.predict
    provenance = run.provenance.model_copy(update={"metrics": _best_scores(run)})
    save_model(run.folder, weights, run.plan, provenance)  # whole, whatever happens from here on
    forward = torch_engine(network, device, mixed_precision(train.precision, device))
    plan = run.plan
    fixed = (predict.threshold != "auto", predict.smallest != "auto")
    if not all(fixed):
        valid = run.cases("valid")
        with progress("choosing thresholds", len(valid)) as advance:
            plan = tuned(plan, _advancing(run.cache, valid, advance), forward, table.numpy(), fixed)
    for target in plan.targets:
        _log.info(
            "%s: threshold %.2f, smallest %.3g", target.name, target.threshold, target.smallest
        )
    return save_model(run.folder, weights, plan, provenance)


def _advancing(
    cache: Cache, cases: Sequence[Case], advance: Callable[[], None]
) -> Iterator[Prepared]:
    for case in cases:
        yield cache.load(case)
        advance()


def _best_scores(run: Run) -> dict[str, float]:
    """Return the line of `log.csv` that belongs to the saved weights."""
    rows = read_log(run.folder / LOG)
    if not rows:
        return {}
    monitor = run.recipe.train.monitor
    choose = max if monitor == "dice" else min
    best = choose(rows, key=lambda row: float(row[f"valid_{monitor}"]))
    scores = {name: float(value) for name, value in best.items() if value}
    return {name: value for name, value in scores.items() if math.isfinite(value)}
