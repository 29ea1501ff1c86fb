"""`predict`: segment new scans, each mask on its own scan's grid."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..core.case import Case
from ..core.errors import (
    CaseErrors,
    DataError,
    DiskFull,
    GlioscopeError,
    ModelError,
    StorageError,
)
from ..core.files import replacing
from ..core.labels import Labels, scheme
from ..core.progress import progress
from ..formats.image import write_image
from ..formats.nifti import write_nifti
from ..formats.opening import open_inputs
from ..formats.paths import is_image, stem
from ..models import trained
from ..prediction.predictor import Segmentation
from .loading import Outputs, check_room, engine_of, predictor_of
from .predictions import Prediction, merged, read_predictions, write_predictions

_log = logging.getLogger("glioscope")


class _Job(NamedTuple):
    case: Case
    labels: Labels
    mask: Path


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
    earlier = read_predictions(folder)
    engine = engine_of(loaded, device)
    predictor = predictor_of(loaded, engine, flips)
    todo = [job for job in jobs if not (skip_existing and job.mask.exists())]
    outputs = Outputs(folder, probabilities, preview)
    needs = check_room(engine, loaded.plan, [job.case for job in todo], outputs, flips)
    segment = partial(predictor.segment, ready=cache(partial(_log.info, "%s", needs)))
    done: list[Prediction] = []
    errors: list[GlioscopeError] = []
    try:
        with progress("segmenting", len(todo)) as advance:
            for job in todo:
                record = _attempt(loaded, segment, job, outputs, errors)
                done.append(record)
                advance()
    finally:
        if len(errors) < len(done) or len(todo) < len(jobs):
            write_predictions(folder, merged(folder, earlier, done))
    if errors and len(errors) == len(jobs):
        raise CaseErrors(errors)
    names = {job.case.id for job in jobs}
    return [record for record in merged(folder, earlier, done) if record.case in names]


def _jobs(
    model: trained.TrainedModel,
    cases: Sequence[tuple[Case, Labels | None]],
    labels: str | None,
    folder: Path,
) -> list[_Job]:
    """Return what is to be done; two inputs of one name are refused before any work."""
    jobs: dict[str, _Job] = {}
    for case, own in cases:
        mask = folder / _mask_name(case)
        name = stem(mask)
        if name in jobs:
            raise DataError(
                case.path, f"its mask would be named {name}, as that of {jobs[name].case.path}",
                "one name per case", "segment them into different folders",
            )  # fmt: skip
        jobs[name] = _Job(case, _output_labels(model, own, labels), mask)
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


def _attempt(
    model: trained.TrainedModel,
    segment: Callable[[Case], Segmentation],
    job: _Job,
    outputs: Outputs,
    errors: list[GlioscopeError],
) -> Prediction:
    """Segment a case and write its mask; what goes wrong is added to the errors."""
    started = time.monotonic()
    try:
        if errors and isinstance(errors[-1], DiskFull):
            full = errors[-1]  # there is no room for this one either
            raise DiskFull(job.mask, full.found, full.expected, full.remedy)
        result = segment(job.case)
        _write(job, result, outputs)
    except (DataError, StorageError) as error:
        errors.append(error)
        return _record(model, job, error=str(error))
    own, voxel = model.plan.labels, result.mask.grid.voxel_ml
    volumes = {}
    if voxel is not None:
        stored = result.mask.array
        volumes = {n: round(float(own.mask(stored, n).sum()) * voxel, 4) for n in own.outlines}
    return _record(
        model,
        job,
        seconds=round(time.monotonic() - started, 3),
        volume_ml=volumes,
        warnings=_warnings(model, job.case, result),
    )


def _warnings(model: trained.TrainedModel, case: Case, result: Segmentation) -> list[str]:
    warnings = list(result.notes)
    if not result.mask.array.any():
        warnings.append("no tumour was found")
    if case.id in model.provenance.trained_on:
        warnings.append("the model was trained or tuned on a case of this name")
    elif case.patient in model.provenance.patients:
        warnings.append("the model was trained or tuned on a patient of this name")
    return warnings


def _record(
    model: trained.TrainedModel, job: _Job, seconds: float = 0.0, **more: Any
) -> Prediction:
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


def _write(job: _Job, result: Segmentation, outputs: Outputs) -> None:
    """Write what was asked for; the mask comes last, so that it stands for the whole case."""
    if outputs.probabilities:
        _write_probabilities(job, result, outputs.folder / "probabilities")
    if outputs.preview:
        from ..report.figures import preview as picture

        image = job.case.read(result.sequences)
        with replacing(outputs.folder / "previews" / f"{stem(job.mask)}.png") as temporary:
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
