"""Folders of BraTS cases, as every year of the challenge and its copies in the wild name them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..core.case import Case
from ..core.dataset import Dataset
from ..core.errors import DataError
from ..core.labels import Labels
from . import register
from .cohort import decide_labels, with_patients
from .paths import SPLIT_FOLDERS, is_scan, split_of, walk
from .scans import scan_mask, scan_source
from .sequences import MASK, parse, patient_of, schemes_of

Found = tuple[str, str, Path]
"""What a file's name begins with, its channel or `mask`, and its path."""


def _claims(path: Path) -> bool:
    return path.is_dir() and any(
        channel != MASK
        for folder, names in walk(path)
        for _, channel, _ in named_scans(folder / name for name in names)
    )


@register(claims=_claims, rank=30)
def brats(path: Path, labels: Labels | None) -> Dataset:
    """Read folders of scans named by sequence, one folder a case, at any depth.

    File names end in a sequence (`t1 t1n t1w`, `t1c t1ce t1gd`, `t2 t2w`, `flair t2f`) or `seg`,
    after `_` or `-`, in any case. A case is named after its folder; after what its files' names
    begin with where one folder holds several cases, or where only those tell the BraTS year.

    Args:
        path: A folder of cases, also inside `train`, `valid` and `test`, or one case's folder.
        labels: The label scheme, if the user named it.

    Raises:
        DataError: If two files claim one channel of a case, or the label scheme is ambiguous.
    """
    found: list[Case] = []
    notes: list[str] = []
    passed_over: list[str] = []
    for folder, names in walk(path):
        scans = named_scans(folder / name for name in names)
        groups = grouped(folder, scans)
        _refuse_lone_masks(groups)
        for case_id, files in groups:
            found.append(make_case(case_id, files, folder, split_of(folder, path)))
            notes += _strays(case_id, files)
        used = {file.name for _, files in groups for _, _, file in files}
        passed_over += [name for name in names if is_scan(name) and name not in used]
    if passed_over:
        notes.append(
            f"{len(passed_over)} scan files were passed over, as their names end in no sequence"
            f" or they lie apart from the scans (such as {passed_over[0]})"
        )
    cases, patients_from = with_patients(path, found, "case names")
    scheme = decide_labels(path, cases, labels)
    return Dataset(path, "brats", cases, scheme, patients_from, tuple(notes))


def named_scans(files: Iterable[Path]) -> list[Found]:
    """Return the scan files whose names end in a sequence or `seg`."""
    parsed = [(parse(file), file) for file in files if is_scan(file)]
    return [(*name, file) for name, file in parsed if name is not None]


def make_case(case_id: str, scans: Sequence[Found], path: Path, split: str | None = None) -> Case:
    """Return the case that a few files form.

    Raises:
        DataError: If two of them claim one channel.
    """
    files: dict[str, Path] = {}
    for _, channel, file in scans:
        if channel in files:
            raise DataError(
                path,
                f"{files[channel].name} and {file.name} both claim to be the {channel}"
                f" of case {case_id}",
                "one file of each kind",
                "remove or rename one of them",
            )
        files[channel] = file
    mask = files.pop(MASK, None)
    patient, timepoint = patient_of(case_id)
    return Case(
        case_id,
        patient,
        path,
        {channel: scan_source(files[channel]) for channel in sorted(files)},
        scan_mask(mask) if mask else None,
        timepoint,
        split=split,
    )


def grouped(folder: Path, scans: Sequence[Found]) -> list[tuple[str, list[Found]]]:
    """Return the cases whose files lie directly in a folder, by name; none if all are masks."""
    prefixes = sorted({prefix for prefix, channel, _ in scans if channel != MASK})
    if not prefixes:
        return []  # masks alone are no case
    name = folder.resolve().name
    if len(prefixes) == 1:
        return [(prefixes[0] if _tells_more(prefixes[0], name) else name, list(scans))]
    if name in prefixes or _one_of_each(name, prefixes, scans):
        return [(name, list(scans))]
    groups: dict[str, list[Found]] = defaultdict(list)
    for scan in scans:
        groups[scan[0]].append(scan)
    return sorted(groups.items())


def _refuse_lone_masks(groups: Sequence[tuple[str, Sequence[Found]]]) -> None:
    for name, files in groups:
        if all(channel == MASK for _, channel, _ in files):
            raise DataError(
                files[0][2],
                "a mask without its scans",
                f"files named {name}_t1c, {name}_flair, ...",
                "add the scans, or remove the mask",
            )


def _tells_more(prefix: str, folder: str) -> bool:
    """Tell whether the files' names say more of their case than the name of their folder."""
    if not prefix:
        return False
    return folder.lower() in SPLIT_FOLDERS or len(schemes_of(prefix)) < len(schemes_of(folder))


def _one_of_each(name: str, prefixes: Sequence[str], scans: Sequence[Found]) -> bool:
    """Tell whether a folder holds one case whose files are each named after their own series."""
    channels = [channel for _, channel, _ in scans]
    return all(name in prefix for prefix in prefixes) and len({*channels}) == len(channels)


def _strays(case_id: str, scans: Sequence[Found]) -> list[str]:
    """Say which mask is named after another case than the scans beside it."""
    prefixes = {prefix for prefix, channel, _ in scans if channel != MASK}
    return [
        f"{file.name} was taken as the mask of {case_id}, whose folder it lies in"
        for prefix, channel, file in scans
        if channel == MASK and prefix not in prefixes
    ]
