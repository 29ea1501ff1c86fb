"""Find the masks of two folders, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError
from ..formats.paths import is_image, is_nifti, mask_stem, stem, walk
from ..formats.sequences import MASK, parse, patient_of

_OTHER_OUTPUTS = {"probabilities", "previews"}
"""Folders that `predict` puts beside its masks."""
_NAMED = 5
"""So many extra predictions are named in a warning."""


@dataclass(frozen=True)
class Pair:
    """A mask of the truth and what was predicted for it.

    Attributes:
        case: Name of the case.
        truth: File of the truth.
        prediction: File of the prediction; None if there is none.
    """

    case: str
    truth: Path
    prediction: Path | None

    @property
    def patient(self) -> str:
        """The case's name less its time point."""
        return patient_of(self.case)[0]


def paired(truth: Path, prediction: Path) -> tuple[list[Pair], list[str]]:
    """Return the masks of two places paired by case, sorted, and a warning of extra predictions.

    Names match after image suffixes and a trailing `_seg -seg _mask -mask` are dropped, at any
    depth; scans beside the masks are passed over. Two files are a pair whatever their names.

    Args:
        truth: Folder or file.
        prediction: Folder or file.

    Raises:
        DataError: If a folder holds no mask or two of one case, or if no name matches.
    """
    if truth.is_file() and prediction.is_file():
        return [Pair(mask_stem(truth), truth, prediction)], []
    real, predicted = _masks(truth), _masks(prediction)
    if not real.keys() & predicted.keys():
        raise DataError(
            prediction,
            f"no mask is named like one of {truth} (such as {min(predicted)})",
            f"names such as {min(real)}",
            "rename the predictions after their cases",
        )
    pairs = [Pair(case, real[case], predicted.get(case)) for case in sorted(real)]
    extra = sorted(predicted.keys() - real.keys())
    if not extra:
        return pairs, []
    names = ", ".join(extra[:_NAMED]) + (", ..." if len(extra) > _NAMED else "")
    return pairs, [f"{len(extra)} predictions have no truth and were left out: {names}"]


def _masks(place: Path) -> dict[str, Path]:
    """Return the masks at a path, by case.

    Raises:
        DataError: If there is none, or two of one case.
    """
    found: dict[str, Path] = {}
    for file in _mask_files(place):
        other = found.setdefault(mask_stem(file), file)
        if other is not file:
            raise DataError(
                file,
                f"is the mask of the case {mask_stem(file)}, and so is {other}",
                "one mask for each case",
                "give the folder of the masks alone",
            )
    if not found:
        raise DataError(place, "holds no mask", "NIfTI files or images")
    return found


def _mask_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    files = []
    for folder, names in walk(place):
        if _OTHER_OUTPUTS.isdisjoint(folder.relative_to(place).parts):
            here = [folder / name for name in names if is_nifti(name) or is_image(name)]
            files += _less_scans(here)
    return files


def _less_scans(files: Sequence[Path]) -> list[Path]:
    """Drop what lies beside masks: NIfTI named by sequence, images where others end in `_mask`."""
    scans = {f for f in files if is_nifti(f) and (parse(f) or ("", MASK))[1] != MASK}
    marked = {f for f in files if is_image(f) and mask_stem(f) != stem(f)}
    plain = {f for f in files if is_image(f)} - marked if marked else set()
    dropped = scans | plain
    return [f for f in files if f not in dropped]
