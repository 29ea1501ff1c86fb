"""`Plan`: what was derived from a data set for one recipe, saved once and never recomputed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from .labels import Labels

ZERO = "zero"
"""Channel name of a constant zero channel."""


class Target(BaseModel):
    """One output of the network.

    Attributes:
        name: Region or class, as metrics name it.
        classes: Classes of the label scheme that it is the union of.
        paints: Class that a voxel gets where this target is found and no later one is.
        threshold: Probability from which a voxel belongs to it (sigmoid outputs).
        smallest: Islands smaller than this are dropped: ml in volumes, pixels in 2D images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    classes: tuple[str, ...]
    paints: str
    threshold: float = 0.5
    smallest: float = 0.0


class Plan(BaseModel):
    """How scans become network input, and network output becomes a mask.

    Attributes:
        dims: 2 (slices) or 3 (volumes).
        channels: Channel names in network order; `zero` is a constant zero channel.
        crop: `head` crops to the voxels that are not zero, `none` keeps the field of view.
        spacing: Voxel size in mm that volumes are resampled to; None keeps it.
        size: Shape that images are resized to; None keeps it.
        normalise: Name of the normalisation.
        mirror: Spatial axes over which a mirror image could be a scan (0 left to right, 1 back to
            front, 2 feet to head).
        window: Shape that the network sees at once; None for the whole image.
        overlap: Share of a window that its neighbour covers again.
        divisor: The network takes multiples of this.
        activation: `sigmoid` (targets may overlap) or `softmax` (background is output 0).
        targets: Outputs of the network, in its order; later ones paint over earlier ones.
        labels: The scheme of the masks that this model writes by default.
        network: Registered name of the network.
        arguments: The network's own keyword arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dims: Literal[2, 3]
    channels: tuple[str, ...]
    crop: Literal["head", "none"]
    spacing: tuple[float, ...] | None
    size: tuple[int, ...] | None
    normalise: str
    window: tuple[int, ...] | None
    overlap: float
    divisor: int
    activation: Literal["sigmoid", "softmax"]
    targets: tuple[Target, ...]
    labels: Labels
    network: str
    arguments: dict[str, Any]
    mirror: tuple[int, ...] = Field(default_factory=lambda plan: tuple(range(plan["dims"])))

    @property
    def sequences(self) -> tuple[str, ...]:
        """Channels that a case must have."""
        return tuple(name for name in self.channels if name != ZERO)

    @property
    def outputs(self) -> int:
        """Number of output channels of the network."""
        return len(self.targets) + (self.activation == "softmax")
