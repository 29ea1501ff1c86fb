"""The training step and the validation of whole cases, as Lightning wants them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import lr_scheduler

from ..core.config import TrainSection
from ..core.plan import Plan
from ..core.volume import Volume
from ..losses.mixing import Loss
from ..metrics.overlap import dice
from ..prediction.decode import targets_found
from ..prediction.engines import fast_format, mixed_precision, torch_engine
from ..prediction.window import activate, infer
from ..prepare.cache import Prepared
from .samples import Batch


class CaseScore(NamedTuple):
    """Validation of one case: the loss on the whole case, and the Dice of each target."""

    case: str
    loss: float
    dice: tuple[float, ...]


class Segmenter(LightningModule):
    """A network with its loss, optimizer and schedule.

    Args:
        network: Maps (B, C, *S) to logits (B, outputs, *S).
        loss: The loss of the recipe.
        plan: What input and output mean.
        table: Stored label value to outputs, shape (outputs, 256).
        settings: The recipe's `train` section.
    """

    def __init__(
        self, network: nn.Module, loss: Loss, plan: Plan, table: Tensor, settings: TrainSection
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=fast_format(plan.dims))
        self.loss, self.plan, self.settings = loss, plan, settings
        self.table = table
        self.scores: list[CaseScore] = []
        self.schedule: Any = None

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of a batch."""
        image = batch.image.contiguous(memory_format=fast_format(self.plan.dims))
        logits = self.network(image)
        loss = self.loss(logits, batch.target)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.image))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Give every process the same BatchNorm statistics: each saw other samples."""
        self.scores = []
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, case: Prepared, batch_idx: int) -> None:  # noqa: ARG002
        """Score one whole case on the grid the network works on."""
        mixed = mixed_precision(self.settings.precision, self.device.type)
        forward = torch_engine(self.network, str(self.device), mixed)
        logits = infer(forward, np.array(case.image), self.plan)
        self.scores.append(score_case(case, logits, self.plan, self.loss, self.table))

    def on_validation_epoch_end(self) -> None:
        """Gather the scores of all processes by case, then log their means."""
        scores = {score.case: score for score in self._gathered()}
        ordered = [scores[case] for case in sorted(scores)]
        dices = np.array([score.dice for score in ordered])
        values = {
            "valid_loss": float(np.mean([score.loss for score in ordered])),
            "valid_dice": float(dices.mean()),
        }
        if len(self.plan.targets) > 1:
            means = zip(self.plan.targets, dices.mean(axis=0), strict=True)
            values |= {f"valid_dice_{target.name}": float(mean) for target, mean in means}
        for name, value in values.items():
            exact = torch.tensor(value, dtype=torch.float64)
            self.log(name, exact, prog_bar=name == "valid_dice")

    def on_train_epoch_end(self) -> None:
        """Step the schedule here, before the checkpoint is written, so that both agree."""
        if isinstance(self.schedule, lr_scheduler.ReduceLROnPlateau):
            self.schedule.step(float(self.trainer.callback_metrics["valid_loss"]))
        elif self.schedule is not None:
            self.schedule.step()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the recipe's optimizer; its schedule is kept here."""
        optimizer = make_optimizer(self.network, self.settings)
        self.schedule = make_schedule(optimizer, self.settings)
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the schedule's state."""
        if self.schedule is not None:
            checkpoint["schedule"] = self.schedule.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the schedule's state; Lightning has made the optimizer by now."""
        if self.schedule is not None and "schedule" in checkpoint:
            self.schedule.load_state_dict(checkpoint["schedule"])

    def _gathered(self) -> list[CaseScore]:
        if self.trainer.world_size == 1:
            return self.scores
        parts: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(parts, self.scores)
        return [score for part in parts for score in part]


def score_case(
    case: Prepared, logits: np.ndarray, plan: Plan, loss: Loss, table: Tensor
) -> CaseScore:
    """Return loss and Dice of a prepared case, given its logits (outputs, X, Y, Z)."""
    target = table[:, torch.from_numpy(np.array(case.mask)).long()]
    with torch.inference_mode():
        value = float(loss(torch.from_numpy(logits)[None], target[None]))
    probabilities = Volume(
        activate(logits, plan),
        tuple(t.name for t in plan.targets),
        case.grid.affine,
        case.grid.unit,
    )
    truth = target.numpy()[-len(plan.targets) :] > 0
    pairs = zip(targets_found(probabilities.array, plan), truth, strict=True)
    dices = tuple(dice(p, t, case.grid.spacing).value or 0.0 for p, t in pairs)
    return CaseScore(case.id, value, dices)


def make_optimizer(network: nn.Module, settings: TrainSection) -> torch.optim.Optimizer:
    """Return the optimizer of a recipe over all parameters of the network."""
    parameters = network.parameters()
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, settings.lr, settings.momentum, weight_decay=settings.weight_decay,
            nesterov=settings.momentum > 0,
        )  # fmt: skip
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, settings.lr, weight_decay=settings.weight_decay)


def make_schedule(optimizer: torch.optim.Optimizer, settings: TrainSection) -> Any:
    """Return the learning-rate schedule of a recipe, stepped once per epoch; None for none."""
    schedule, epochs = settings.schedule, settings.epochs
    if schedule.name == "plateau":
        return lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=schedule.factor, patience=schedule.patience
        )
    if schedule.name == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    if schedule.name == "poly":
        return lr_scheduler.PolynomialLR(optimizer, epochs, schedule.power)
    return None
