"""`predict`: segment new scans, each mask on its own scan's grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.case import Case
from ..core.errors import (
    CaseErrors,
    DataError,
    GlioscopeError,
    ModelError,
    StorageError,
    one_line,
)
from ..core.files import read_json, replacing, write_json
from ..core.labels import Labels, scheme
from ..core.progress import progress
from ..formats.image import write_image
from ..formats.nifti import write_nifti
from ..formats.opening import open_inputs
from ..formats.paths import is_image, stem
from ..models import trained
from ..prediction.engines import choose_device, mixed_precision, torch_engine
from ..prediction.predictor import Predictor, Segmentation
from ..prediction.window import with_flips

_log = logging.getLogger("glioscope")
_LIST = "predictions.json"


@dataclass(frozen=True)
class Prediction:
    """A line of `predictions.json`.

    Attributes:
        case: Case id.
        inputs: Files it was made from.
        mask: The mask file; None if there is an error.
        labels: Name of the label scheme of the mask.
        values: Stored value of each class.
        model_sha256: Hash of the model's weights.
        engine: What ran the network.
        seconds: How long the case took.
        volume_ml: Volume of each region and class in ml; empty where the spacing is unknown.
        warnings: What the reader of the mask must know.
        error: Why there is no mask; None if there is one.
    """

    case: str
    inputs: list[str]
    mask: str | None
    labels: str
    values: dict[str, int]
    model_sha256: str
    engine: str
    seconds: float
    volume_ml: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None


class _Job(NamedTuple):
    case: Case
    labels: Labels
    mask: Path


def load_model(folder: str | Path, device: str = "auto", *, flips: bool = False) -> Predictor:
    """Load a trained model, ready to segment cases.

    Args:
        folder: The model folder.
        device: `auto`, `cpu` or `cuda`.
        flips: Take the mean over all mirror images.

    Raises:
        ModelError: If the folder is not a model, was changed, or the device is not there.
    """
    return predictor_of(trained.load_model(Path(folder)), device, flips)


def predict(  # noqa: PLR0913 - one argument per option of the verb
    model: str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    files: Mapping[str, Path] | None = None,
    labels: str | None = None,
    device: str = "auto",
    flips: bool = False,
    probabilities: bool = False,
    preview: bool = False,
    skip_existing: bool = False,
) -> list[Prediction]:
    """Segment scans; what fails is recorded and the others are finished.

    Args:
        model: The model folder.
        inputs: Case folders, folders of cases or of images, and files, mixed.
        out: Folder of the masks.
        files: Channels of one more case, by channel name.
        labels: Label scheme of the masks; by default that of the input's own data set, else the
            model's.
        device: `auto`, `cpu` or `cuda`.
        flips: Take the mean over all mirror images.
        probabilities: Write the probabilities of each target too.
        preview: Write a picture of each mask on its scan too.
        skip_existing: Leave out cases whose mask is there.

    Returns:
        One record per case, as `predictions.json` lists them.

    Raises:
        GlioscopeError: If nothing could be done; nothing was written then.
    """
    loaded = trained.load_model(Path(model))
    folder = Path(out)
    jobs = _jobs(loaded, open_inputs(inputs, files or {}, labels), labels, folder)
    earlier = _earlier(folder)
    predictor = predictor_of(loaded, device, flips)
    todo = [job for job in jobs if not (skip_existing and job.mask.exists())]
    done: list[Prediction] = []
    errors: list[GlioscopeError] = []
    try:
        with progress("segmenting", len(todo)) as advance:
            for job in todo:
                try:
                    record, result = _segment(loaded, predictor, job)
                    _write(job, result, folder, probabilities, preview)
                except (DataError, StorageError) as error:
                    errors.append(error)
                    record = _record(loaded, job, 0.0, error=str(error))
                done.append(record)
                advance()
                if errors and isinstance(errors[-1], StorageError):
                    break  # the next one would not find more room
        if errors and len(errors) == len(done) and len(todo) == len(jobs):
            raise CaseErrors(errors)
    finally:
        if len(errors) < len(done):
            everything = _merged(earlier, done)
            write_json(folder / _LIST, [asdict(record) for record in everything])
    names = {job.case.id for job in jobs}
    return [record for record in _merged(earlier, done) if record.case in names]


def predictor_of(model: trained.TrainedModel, device: str, flips: bool = False) -> Predictor:
    """Return the predictor of a model that was read, on a device."""
    place = choose_device(device)
    mixed = mixed_precision(model.provenance.recipe.train.precision, place)
    forward = torch_engine(model.network(), place, mixed)
    return Predictor(model.plan, with_flips(forward, model.plan.dims) if flips else forward)


def _jobs(
    model: trained.TrainedModel,
    cases: Sequence[tuple[Case, Labels | None]],
    labels: str | None,
    folder: Path,
) -> list[_Job]:
    """Return what is to be done; two inputs of one name are refused before any work."""
    jobs: dict[Path, _Job] = {}
    for case, own in cases:
        mask = folder / _mask_name(case)
        if mask in jobs:
            raise DataError(
                case.path, f"its mask would be {mask.name}, as that of {jobs[mask].case.path}",
                "one name per case", "segment them into different folders",
            )  # fmt: skip
        jobs[mask] = _Job(case, _output_labels(model, own, labels), mask)
    return list(jobs.values())


def _mask_name(case: Case) -> str:
    first = case.inputs[0]
    if is_image(first):
        return f"{first.stem}.png"
    return f"{case.id}.nii" if first.name.lower().endswith(".nii") else f"{case.id}.nii.gz"


def _output_labels(model: trained.TrainedModel, own: Labels | None, chosen: str | None) -> Labels:
    ours = model.plan.labels
    if chosen is None:
        return own if own is not None and own.understands(ours.values) else ours
    wanted = scheme(chosen)
    if not wanted.understands(ours.values):
        raise ModelError(
            f"--labels {chosen}", f"has not all classes of the model ({', '.join(ours.values)})",
            "a scheme that has", "leave it out",
        )  # fmt: skip
    return wanted


def _segment(
    model: trained.TrainedModel, predictor: Predictor, job: _Job
) -> tuple[Prediction, Segmentation]:
    started = time.monotonic()
    try:
        result = predictor.segment(job.case)
    except (MemoryError, RuntimeError) as error:
        said = one_line(str(error).split("\n", 1)[0]) or type(error).__name__
        raise DataError(
            job.case.path, f"the network failed ({said})", "", "try --device cpu, or a smaller scan"
        ) from error
    voxel = result.mask.grid.voxel_ml
    own = model.plan.labels
    volumes = {}
    if voxel is not None:
        stored = result.mask.array
        volumes = {n: round(float(own.mask(stored, n).sum()) * voxel, 4) for n in own.outlines}
    warnings = list(result.notes)
    if not result.mask.array.any():
        warnings.append("no tumour was found")
    trained_on = set(model.provenance.trained_on)
    if job.case.id in trained_on:
        warnings.append("the model was trained on a case of this name")
    seconds = round(time.monotonic() - started, 3)
    record = _record(model, job, seconds, volume_ml=volumes, warnings=warnings)
    return record, result


def _record(model: trained.TrainedModel, job: _Job, seconds: float, **more: Any) -> Prediction:
    used = [job.case.channels[n] for n in model.plan.sequences if n in job.case.channels]
    stored = _stored(job)
    return Prediction(
        case=job.case.id,
        inputs=[str(source.path) for source in used],
        mask=None if more.get("error") else str(job.mask),
        labels=job.labels.name,
        values={name: stored[name] for name in model.plan.labels.values},
        model_sha256=model.sha256,
        engine="torch",
        seconds=seconds,
        **more,
    )


def _write(
    job: _Job, result: Segmentation, folder: Path, probabilities: bool, preview: bool
) -> None:
    """Write what was asked for; the mask comes last, so that it stands for the whole case."""
    if probabilities:
        _write_probabilities(job, result, folder / "probabilities")
    if preview:
        from ..report.figures import preview as picture

        image = job.case.read(result.sequences)
        with replacing(folder / "previews" / f"{job.case.id}.png") as temporary:
            temporary.write_bytes(picture(image, result.mask, result.labels))
    table = np.zeros(256, np.uint8)
    stored = _stored(job)
    for name, value in result.labels.values.items():
        table[value] = stored[name]
    mask = result.mask.with_array(table[result.mask.array])
    if mask.unit == "mm":
        write_nifti(job.mask, mask, like=_like(job, result))
    else:
        write_image(job.mask, mask.array[0, :, :, 0])


def _stored(job: _Job) -> Mapping[str, int]:
    """Return the value of each class in the mask's file: 255 in a black and white image."""
    values = job.labels.values
    black_and_white = job.mask.suffix == ".png" and set(values.values()) == {1}
    return dict.fromkeys(values, 255) if black_and_white else values


def _like(job: _Job, result: Segmentation) -> Path | None:
    """Return the scan whose header a mask takes over; none for what is not a file."""
    path = job.case.channels[result.sequences[0]].path
    return path if path.is_file() else None


def _write_probabilities(job: _Job, result: Segmentation, folder: Path) -> None:
    name, probabilities = stem(job.mask), result.probabilities
    for target in probabilities.names:
        one = probabilities.with_array(probabilities.channel(target)[None], (target,))
        if one.unit == "mm":
            write_nifti(folder / f"{name}_{target}.nii.gz", one, like=_like(job, result))
        else:
            grey = np.round(one.array[0, :, :, 0] * 255).astype(np.uint8)
            write_image(folder / f"{name}_{target}.png", grey)


def _earlier(folder: Path) -> list[Prediction]:
    """Return what an earlier call into the same folder has listed.

    Raises:
        DataError: If the list cannot be read.
    """
    path = folder / _LIST
    if not path.exists():
        return []
    try:
        return [Prediction(**record) for record in read_json(path)]
    except TypeError as error:
        raise DataError(
            path, "is not a list of predictions", "the file as it was written", "remove it"
        ) from error


def _merged(earlier: Sequence[Prediction], done: Sequence[Prediction]) -> list[Prediction]:
    """Return the earlier records whose masks are there and not made anew, then the new ones."""
    new = {record.case for record in done}
    kept = [r for r in earlier if r.case not in new and r.mask and Path(r.mask).exists()]
    return [*kept, *done]
