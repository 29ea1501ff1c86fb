"""The predictor: one case in, its mask on its own grid out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..core.case import Case
from ..core.errors import DataError
from ..core.labels import Labels
from ..core.plan import ZERO, Plan
from ..core.volume import Volume
from ..prepare.scan import prepare_image
from .decode import decode
from .engines import out_of_memory
from .window import Array, Forward, activate, infer, passes, ways_down


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
        fits: Tells whether there is memory for a pass of some shape (B, C, *S).
    """

    plan: Plan
    forward: Forward
    fits: Callable[[Sequence[int]], bool] = lambda _: True

    def segment(self, case: Case, ready: Callable[[], None] = lambda: None) -> Segmentation:
        """Segment a case; where memory is short, in smaller windows, which is noted.

        Args:
            case: The case.
            ready: Called when the case was read and found good, before the network runs.

        Raises:
            DataError: If a channel is missing, unreadable or on another grid, or the network fails
                on it (out of memory on the smallest windows, for one).
        """
        try:
            return self._segment(case.only(self.plan.sequences), ready)
        except MemoryError as error:
            raise DataError(
                case.path, "there is not enough memory for it", "", "close other programs"
            ) from error
        except RuntimeError as error:
            said = str(error).strip().split("\n", 1)[0] or type(error).__name__
            raise DataError(
                case.path, f"the network failed ({said})", "", "try --device cpu, or a smaller scan"
            ) from error

    def _segment(self, case: Case, ready: Callable[[], None]) -> Segmentation:
        image = prepare_image(case, self.plan)
        ready()
        logits, plan = self._infer(image)
        if plan is not self.plan:
            used, wanted = (passes(p, image.array.shape)[0][2:] for p in (plan, self.plan))
            note = f"memory was short: windows of {_times(used)} in place of {_times(wanted)}"
            image = replace(image, notes=(*image.notes, note))
        names = [target.name for target in self.plan.targets]
        probabilities = image.with_array(activate(logits, self.plan), names).onto(case.grid())
        return Segmentation(
            decode(probabilities, self.plan), probabilities, image, logits, self.plan.labels
        )

    def _infer(self, image: Volume) -> tuple[Array, Plan]:
        """Return the logits, and the plan with the window that there was memory for."""
        shape = image.array.shape
        *ways, last = ways_down(self.plan, shape)
        for plan, at_once in ways:
            try:
                if self.fits(passes(plan, shape, at_once)[0]):
                    return infer(self.forward, image.array, plan, at_once), plan
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
        plan, at_once = last
        return infer(self.forward, image.array, plan, at_once), plan


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
