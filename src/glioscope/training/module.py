"""The training step and the validation of whole cases, as Lightning wants them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..core.config import TrainSection
from ..core.errors import GlioscopeError
from ..core.plan import Plan
from ..core.volume import Volume
from ..losses.mixing import Loss
from ..metrics.overlap import dice
from ..prediction.decode import targets_found
from ..prediction.engines import fast_format, mixed_precision, torch_engine
from ..prediction.window import activate, infer
from ..prepare.cache import Prepared
from .samples import Batch


class Diverged(GlioscopeError):
    """The loss is no longer a number."""

    def __init__(self, epoch: int) -> None:
        super().__init__(
            f"epoch {epoch}", "the validation loss is not finite", "a number",
            "lower the rate (train.lr), or train with --set train.precision=fp32",
        )  # fmt: skip
        self.epoch = epoch

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.epoch,)


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
        backbone: Attribute of the network that is frozen for `settings.freeze_epochs`, if any.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        plan: Plan,
        table: Tensor,
        settings: TrainSection,
        backbone: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network.to(memory_format=fast_format(plan.dims))
        self.loss, self.plan, self.settings = loss, plan, settings
        self.table = table
        self.backbone = backbone
        self.scores: list[CaseScore] = []
        self.plateau: Any = None
        self.saved_plateau: dict[str, Any] | None = None

    @property
    def frozen(self) -> bool:
        """Whether the backbone stays as it is in this epoch."""
        return self.backbone is not None and self.current_epoch < self.settings.freeze_epochs

    def train(self, mode: bool = True) -> Self:
        """Switch to training; a frozen backbone keeps its BatchNorm statistics."""
        super().train(mode)
        if self.backbone is not None and self.frozen:
            self.network.get_submodule(self.backbone).eval()
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the loss of a batch."""
        image = batch.image.contiguous(memory_format=fast_format(self.plan.dims))
        logits = self.network(image)
        loss = self.loss(logits, batch.target)
        size = len(batch.image)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
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
        if not np.isfinite(values["valid_loss"]):
            raise Diverged(self.current_epoch + 1)
        for name, value in values.items():
            exact = torch.tensor(value, dtype=torch.float64)
            self.log(name, exact, prog_bar=name == "valid_dice")

    def on_train_start(self) -> None:
        """Give a resumed plateau its memory back; its rate came with the optimizer."""
        if self.plateau is not None and self.saved_plateau is not None:
            self.plateau.load_state_dict(self.saved_plateau)

    def on_train_epoch_start(self) -> None:
        """Set rate and frozen part; both follow from the epoch alone, so resuming is exact."""
        if self.backbone is not None:
            self.network.get_submodule(self.backbone).requires_grad_(not self.frozen)
            self.train()
        rate = scheduled_rate(self.settings, self.current_epoch)
        if rate is not None:
            for group in self.trainer.optimizers[0].param_groups:
                group["lr"] = rate

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        """Let dropout depend on seed, step and process alone, so that resuming is exact."""
        place = [self.settings.seed, self.global_step, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

    def on_train_epoch_end(self) -> None:
        """Step the plateau here, before the checkpoint is written, so that both agree."""
        if self.plateau is not None:
            self.plateau.step(float(self.trainer.callback_metrics["valid_loss"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the recipe's optimizer; a plateau is kept here, not by Lightning.

        Lightning steps schedules after the checkpoint is written, and skips plateaus on resume.
        """
        optimizer = make_optimizer(self.network, self.settings)
        schedule = self.settings.schedule
        if schedule.name == "plateau":
            self.plateau = ReduceLROnPlateau(
                optimizer, factor=schedule.factor, patience=schedule.patience
            )
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the plateau's memory."""
        if self.plateau is not None:
            checkpoint["plateau"] = self.plateau.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the plateau's memory until there is an optimizer."""
        self.saved_plateau = checkpoint.get("plateau")

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


def scheduled_rate(settings: TrainSection, epoch: int) -> float | None:
    """Return the learning rate of an epoch (counted from 0); None if it does not follow the epoch.

    The formulas are those of `torch.optim.lr_scheduler.CosineAnnealingLR` (to a rate of 0) and
    `PolynomialLR`.
    """
    left = 1 - epoch / settings.epochs
    if settings.schedule.name == "cosine":
        return settings.lr * (1 - math.cos(math.pi * left)) / 2
    if settings.schedule.name == "poly":
        return float(settings.lr * left**settings.schedule.power)
    return None
