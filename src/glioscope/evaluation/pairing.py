"""Find the masks of two folders, and which belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core.case import require_same_grid
from ..core.errors import DataError
from ..core.labels import SCHEMES, Labels
from ..core.volume import Volume
from ..formats.brats import grouped, named_scans
from ..formats.cohort import patients_in
from ..formats.image import read_mask
from ..formats.paths import is_image, is_scan, mask_stem, stem, walk
from ..formats.sequences import MASK, parse, patient_of

_OTHER_OUTPUTS = {"probabilities", "previews"}
"""Folders that `predict` puts beside its masks."""
_NAMED = 5
"""So many extra predictions are named in a warning."""
_BINARY = SCHEMES["binary"]


@dataclass(frozen=True)
class Pair:
    """A mask of the truth and what was predicted for it.

    Attributes:
        case: Name of the case.
        patient: Who it belongs to.
        truth: File of the truth.
        prediction: File of the prediction; None if there is none.
    """

    case: str
    patient: str
    truth: Path
    prediction: Path | None


def paired(truth: Path, prediction: Path) -> tuple[list[Pair], list[str]]:
    """Return the masks of two places paired by case, sorted, and a warning of extra predictions.

    Names match after image suffixes and a trailing `_seg -seg _mask -mask` are dropped, at any
    depth. Scans beside the masks are passed over; a mask beside its scans, and one named `seg`
    alone, also goes by the name of its case. Two files are a pair whatever their names. Patients
    are those of a `patients.csv` in the truth, else the cases' names less their time points.

    Args:
        truth: Folder or file.
        prediction: Folder or file.

    Raises:
        DataError: If a folder holds no mask or two of one case, if no name matches, or if
            `patients.csv` cannot be understood.
    """
    if truth.is_file() and prediction.is_file():
        case = _own_name(truth, truth)
        return [Pair(case, patient_of(case)[0], truth, prediction)], []
    real, predicted = _masks(truth), _masks(prediction)
    found = _matched(real, predicted)
    if not found:
        raise DataError(
            prediction,
            f"no mask is named like one of {truth} (such as {min(predicted)})",
            f"names such as {min(real)}",
            "rename the predictions after their cases",
        )
    patients = patients_in(truth)
    pairs = [
        Pair(
            case,
            patients.get(case) or patients.get(stem(file)) or patient_of(case)[0],
            file,
            found.get(case),
        )
        for case, file in sorted(real.items())
    ]
    extra = sorted(case for case, file in predicted.items() if file not in found.values())
    if not extra:
        return pairs, []
    names = ", ".join(extra[:_NAMED]) + (", ..." if len(extra) > _NAMED else "")
    return pairs, [f"{len(extra)} predictions have no truth and were left out: {names}"]


def aligned(pair: Pair) -> tuple[Volume, Volume | None]:
    """Return both masks as stored (1, X, Y, Z), the prediction turned onto the grid of the truth.

    Raises:
        DataError: If a mask cannot be read, or they lie on different grids.
    """
    truth = read_mask(pair.truth)
    if pair.prediction is None:
        return truth, None
    prediction = read_mask(pair.prediction)
    straight = truth.grid.canonical()
    require_same_grid(pair.prediction, prediction.grid.canonical(), pair.truth, straight)
    return truth, prediction.onto(truth.grid)


def masks_of(pair: Pair, labels: Labels) -> tuple[Volume, Volume | None]:
    """Return truth and prediction as stored label values (1, X, Y, Z) on the grid of the truth.

    Raises:
        DataError: If a mask cannot be read, lies on another grid or holds unknown labels.
    """
    truth, prediction = aligned(pair)
    if labels == _BINARY:
        return _black_and_white(truth), prediction and _black_and_white(prediction)
    for path, volume in ((pair.truth, truth), (pair.prediction, prediction)):
        if volume is not None:
            _refuse_unknown(path, volume.array, labels)
    return truth, prediction


def _masks(place: Path) -> dict[str, Path]:
    """Return the masks at a path, by case.

    Raises:
        DataError: If there is none, or two of one case.
    """
    found: dict[str, Path] = {}
    for case, file in _named_masks(place):
        other = found.setdefault(case, file)
        if other is not file:
            raise DataError(
                file,
                f"is the mask of the case {case}, and so is {other}",
                "one mask for each case",
                "give the folder of the masks alone",
            )
    if not found:
        raise DataError(place, "holds no mask", "scans or images", "check the path")
    return found


def _matched(real: Mapping[str, Path], predicted: Mapping[str, Path]) -> dict[str, Path]:
    """Return the prediction of each case: by the name of the case, else of the file."""
    ours, theirs = _by_file(real), _by_file(predicted)
    shared = [name for name in ours if name in theirs and theirs[name] not in real]
    by_file = {ours[name]: predicted[theirs[name]] for name in shared}
    return {
        case: predicted.get(case) or by_file[case]
        for case in real
        if case in predicted or case in by_file
    }


def _by_file(masks: Mapping[str, Path]) -> dict[str, str]:
    """Return the cases by their files' own names, where a file has one and no other has it."""
    names = {case: mask_stem(file) for case, file in masks.items() if not _is_nameless(file)}
    count = Counter(names.values())
    return {name: case for case, name in names.items() if count[name] == 1}


def _named_masks(place: Path) -> list[tuple[str, Path]]:
    """Return the masks at a path, each with the name of its case."""
    if place.is_file():
        return [(_own_name(place, place), place)]
    if not place.exists():
        raise DataError(place, "there is no such file or folder", "masks", "check the path")
    found = []
    for folder, names in walk(place):
        if _OTHER_OUTPUTS.isdisjoint(folder.relative_to(place).parts):
            here = [folder / name for name in names if is_scan(name) or is_image(name)]
            cases = _cases_of(folder, here)
            masks = _less_scans(here)
            found += [(cases.get(file) or _own_name(file, place), file) for file in masks]
    return found


def _cases_of(folder: Path, files: Sequence[Path]) -> dict[Path, str]:
    """Return the case of each 3D mask that lies beside its scans, unless another does too."""
    found = {}
    for case, scans in grouped(folder, named_scans(files)):
        masks = [file for _, channel, file in scans if channel == MASK]
        if len(masks) == 1:
            found[masks[0]] = case
    return found


def _own_name(file: Path, place: Path) -> str:
    """Return the case that a file's name tells, or that of its folder inside of `place`."""
    if _is_nameless(file) and file.parent != place:
        return file.resolve().parent.name
    return mask_stem(file)


def _is_nameless(file: Path) -> bool:
    return is_scan(file) and parse(file) == ("", MASK)


def _less_scans(files: Sequence[Path]) -> list[Path]:
    """Drop what lies beside masks: scans named by sequence, images X where there is X_mask."""
    scans = {f for f in files if is_scan(f) and (parse(f) or ("", MASK))[1] != MASK}
    marked = {mask_stem(f) for f in files if is_image(f) and mask_stem(f) != stem(f)}
    plain = {f for f in files if is_image(f) and stem(f) in marked}
    dropped = scans | plain
    return [f for f in files if f not in dropped]


def _black_and_white(mask: Volume) -> Volume:
    return mask.with_array((mask.array > 0).astype(np.uint8))


def _refuse_unknown(path: Path | None, stored: NDArray[np.integer], labels: Labels) -> None:
    unknown = labels.unknown(stored)
    if unknown:
        raise DataError(
            str(path),
            f"label values {unknown} are not in the scheme {labels.name}",
            ", ".join(["0", *(f"{value} {name}" for name, value in labels.values.items())]),
            "name the scheme of all masks with --labels",
        )
