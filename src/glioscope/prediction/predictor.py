"""The predictor: one case in, its mask on its own grid out."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.case import Case
from ..core.errors import DataError
from ..core.labels import Labels
from ..core.plan import ZERO, Plan
from ..core.volume import Volume
from ..prepare.scan import prepare_image
from .decode import decode
from .window import Array, Forward, activate, infer


@dataclass(frozen=True)
class Segmentation:
    """What a model says about a case.

    Attributes:
        mask: Stored values of the plan's labels (1, X, Y, Z) on the case's own grid.
        probabilities: Of the plan's targets (T, X, Y, Z) on the same grid.
        prepared: The image as the network saw it.
        logits: What the network said of it (outputs, X, Y, Z).
        labels: The scheme of the mask.
    """

    mask: Volume
    probabilities: Volume
    prepared: Volume
    logits: Array
    labels: Labels

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repaired or assumed on the way."""
        return self.prepared.notes

    @property
    def sequences(self) -> tuple[str, ...]:
        """The channels that it was made from."""
        return tuple(name for name in self.prepared.names if name != ZERO)


@dataclass(frozen=True)
class Predictor:
    """A plan and a network.

    Attributes:
        plan: How scans become input and output becomes a mask.
        forward: The network.
    """

    plan: Plan
    forward: Forward

    def segment(self, case: Case) -> Segmentation:
        """Segment a case.

        Raises:
            DataError: If a channel is missing, unreadable or on another grid, or the network fails
                on it (out of memory, for one).
        """
        case = case.only(self.plan.sequences)
        image = prepare_image(case, self.plan)
        logits = self._infer(case, image)
        names = [target.name for target in self.plan.targets]
        probabilities = image.with_array(activate(logits, self.plan), names).onto(case.grid())
        return Segmentation(
            decode(probabilities, self.plan), probabilities, image, logits, self.plan.labels
        )

    def _infer(self, case: Case, image: Volume) -> Array:
        try:
            return infer(self.forward, image.array, self.plan)
        except (MemoryError, RuntimeError) as error:
            said = str(error).strip().split("\n", 1)[0] or type(error).__name__
            raise DataError(
                case.path, f"the network failed ({said})", "", "try --device cpu, or a smaller scan"
            ) from error
