"""What a recipe says: one class for each section, every setting with its range and meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Sizes = Annotated[list[Count], Field(min_length=2, max_length=3)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SliceRule(_Section):
    """Which axial slices of a volume a 2D network is trained on.

    Attributes:
        start: First slice of the scan, counted from the feet.
        count: How many slices from there on; None for all.
        tumour_only: Only slices in which the mask is not empty.
        per_case: How many slices of a case are drawn each epoch; None for all.
    """

    start: Annotated[int, Field(ge=0)] = 0
    count: Count | None = None
    tumour_only: bool = False
    per_case: Count | None = None


class Augmentation(_Section):
    """Chance of each random change of a training sample.

    Channels are scans of their own: from `lowres` to `spikes`, the chance is that of each channel.

    Attributes:
        flip: Chance of a mirror image, for each axis of `data.mirror` by itself.
        rotate: Chance of a rotation by up to `degrees`.
        degrees: Largest rotation angle.
        scale: Chance of a zoom by a factor of .7 to 1.4.
        elastic: Chance of a smooth deformation without folds.
        lowres: Chance of voxels that are up to 3 times as long, along some of the axes.
        bias_field: Chance of a smooth shading, as of an uneven receiving coil.
        motion: Chance of head movements during the scan.
        ghosting: Chance of faint copies of the head along an axis.
        spikes: Chance of stripes, as of an electric spark during the scan.
        gamma: Chance of a gamma curve of exponent .7 to 1.5.
        brightness: Chance of an intensity factor of .75 to 1.25.
        contrast: Chance of a contrast factor of .75 to 1.25.
        noise: Chance of Gaussian noise of a standard deviation of up to .1.
        blur: Chance of a Gaussian blur of a sigma of .5 to 1 voxel.
    """

    flip: Share = 0.5
    rotate: Share = 0.0
    degrees: Annotated[float, Field(ge=0, le=180)] = 15.0
    scale: Share = 0.0
    elastic: Share = 0.0
    lowres: Share = 0.0
    bias_field: Share = 0.0
    motion: Share = 0.0
    ghosting: Share = 0.0
    spikes: Share = 0.0
    gamma: Share = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    noise: Share = 0.0
    blur: Share = 0.0


class DataSection(_Section):
    """What the network sees.

    Attributes:
        dims: 2 for slices, 3 for volumes.
        channels: Channel names in network order; `zero` is a constant zero channel.
        targets: `binary` (all tumour as one), `classes` (one of each) or `regions` (WT, TC, ET).
        crop: `head` crops volumes to the voxels that are not zero.
        size: Shape that the image is resized to.
        spacing: Voxel size in mm that volumes are resampled to, in place of `size`.
        patch: Shape of the training patches; None trains on whole images.
        foreground: Share of patches that are centred on tumour.
        slices: Which slices of volumes a 2D network is trained on.
        normalise: Name of the normalisation.
        mirror: Axes over which a mirror image could be a scan: 0 left to right, 1 back to front,
            2 feet to head; null for all of them. Training and `--flips` mirror no others.
        augment: Random changes of training samples.
        cache: Folder for prepared cases; None puts it into the run.
    """

    dims: Literal[2, 3]
    channels: Annotated[list[str], Field(min_length=1)]
    targets: Literal["binary", "classes", "regions"]
    crop: Literal["head", "none"] = "head"
    size: Sizes | None = None
    spacing: Annotated[list[Positive], Field(min_length=3, max_length=3)] | None = None
    patch: Sizes | None = None
    foreground: Share = 0.33
    slices: SliceRule = SliceRule()
    normalise: Literal["zscore", "zscore-slice", "unit-slice", "percentile"] = "zscore"
    mirror: list[Annotated[int, Field(ge=0)]] | None = None
    augment: Augmentation = Augmentation()
    cache: str | None = None

    @model_validator(mode="after")
    def _shapes_fit(self) -> DataSection:
        if self.size and self.spacing:
            raise ValueError("size and spacing both fix the grid: set one of them to null")
        if set(self.channels) <= {"zero"}:
            raise ValueError(f"channels {self.channels} name no sequence")
        axes = self.mirror or []
        if len(set(axes)) < len(axes) or any(axis >= self.dims for axis in axes):
            raise ValueError(f"mirror {axes} needs different axes below {self.dims}")
        if self.spacing and (self.slices.start or self.slices.count):
            raise ValueError("slices are counted in the scan as it is: leave spacing out")
        for name in ("size", "patch"):
            shape = getattr(self, name)
            if shape and len(shape) != self.dims:
                raise ValueError(f"{name} {shape} needs {self.dims} numbers")
        if (
            self.size
            and self.patch
            and any(p > s for p, s in zip(self.patch, self.size, strict=True))
        ):
            raise ValueError(f"patch {self.patch} is larger than size {self.size}")
        return self


class ModelSection(BaseModel):
    """The network by its registered name, and its own keyword arguments."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the network."""
        return dict(self.model_extra or {})


class Schedule(_Section):
    """How the learning rate goes down.

    Attributes:
        name: `plateau` waits for the validation loss, `cosine` and `poly` follow the epochs.
        factor: Factor at each plateau.
        patience: Epochs without improvement before a plateau is one.
        power: Exponent of `poly`.
    """

    name: Literal["none", "plateau", "cosine", "poly"] = "none"
    factor: Share = 0.1
    patience: Annotated[int, Field(ge=0)] = 3
    power: Positive = 0.9


class TrainSection(_Section):
    """How it is trained.

    Attributes:
        epochs: Passes over the training cases.
        batch: Samples per step and device.
        optimizer: `adam`, `adamw` or `sgd`.
        lr: Learning rate at the start.
        weight_decay: Weight decay of the optimizer.
        momentum: Momentum of `sgd`.
        schedule: How the learning rate goes down.
        monitor: What the best epoch has: the highest `dice` or the lowest `loss` on validation.
        patience: Epochs without improvement after which training stops; None never stops it.
        min_delta: Smallest change of the monitored value that is an improvement.
        samples: Samples drawn per epoch; None takes every case or slice once.
        freeze_epochs: Epochs in which the pretrained part of the network stays as it is.
        seed: Seed of weights, order, patches and augmentation, and of the splits.
        precision: `auto` takes mixed precision where the device has it.
        devices: Number of devices, or of processes on the CPU.
        device: `auto`, `cpu` or `cuda`.
        workers: Processes that prepare samples; 0 does it in the training process.
    """

    epochs: Count = 35
    batch: Count = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    momentum: Share = 0.99
    schedule: Schedule = Schedule()
    monitor: Literal["dice", "loss"] = "dice"
    patience: Count | None = 5
    min_delta: Annotated[float, Field(ge=0)] = 1e-4
    samples: Count | None = None
    freeze_epochs: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    devices: Count = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 0


HARDWARE = frozenset({"precision", "devices", "device", "workers"})
"""Settings of `train` that may change when a run is resumed, beside `epochs`."""


class PredictSection(_Section):
    """How masks are made.

    Attributes:
        overlap: Share of a window that its neighbour covers again.
        threshold: Probability from which a voxel is tumour; `auto` chooses it on validation.
        smallest: Smallest island that is kept, in ml (pixels in 2D images); `auto` chooses it on
            validation.
    """

    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    threshold: Share | Literal["auto"] = "auto"
    smallest: Annotated[float, Field(ge=0)] | Literal["auto"] = "auto"


class Recipe(_Section):
    """A named system: everything needed to train it again.

    Attributes:
        name: Name on the command line.
        about: What it is, in one sentence.
        reported: What its authors published.
        data: What the network sees.
        model: The network.
        loss: Weight of each registered loss, or a mapping of `weight` and its arguments.
        train: How it is trained.
        predict: How masks are made.
    """

    name: str
    about: str
    reported: str = ""
    data: DataSection
    model: ModelSection
    loss: dict[str, float | dict[str, float | list[float]]]
    train: TrainSection = TrainSection()
    predict: PredictSection = PredictSection()

    @field_validator("loss", mode="before")
    @classmethod
    def _one_loss_by_name(cls, value: object) -> object:
        return {name.strip(): 1.0 for name in value.split("+")} if isinstance(value, str) else value
