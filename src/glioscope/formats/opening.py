"""The door: from a path to a data set, whatever layout it is in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..core.case import SEQUENCES, Case
from ..core.dataset import Dataset
from ..core.errors import DataError, UndecidedLabels, UnknownName
from ..core.labels import Labels, scheme
from ..core.registry import Entry
from . import FormatTraits, formats
from .brats import make_case, named_scans
from .cohort import names_tell
from .image import source
from .pairs import images_alone
from .paths import listing, stem, unreadable
from .sequences import parse, patient_of


def open_dataset(path: str | Path, labels: str | None = None) -> Dataset:
    """Read a data set; its format is found by looking, the most telling layouts first.

    Args:
        path: A folder, a file, or `phantom:cases=8,seed=0`.
        labels: Name of the label scheme, where it cannot be told or is told wrongly.

    Raises:
        DataError: If there is nothing, or nothing that any format knows.
        UnknownName: If there is no such label scheme.
    """
    place = Path(path)
    chosen = None if labels is None else scheme(labels)
    try:
        entry = _format_of(place)
        if entry is None:
            raise _nothing_known(place)
        dataset: Dataset = entry.function(place, chosen)
    except OSError as error:  # a folder above that may not be entered
        raise unreadable(place, error) from error
    if not dataset.cases:
        raise DataError(
            place, f"is laid out as {entry.name} and holds no case", "at least one",
            "add a case, or check the path",
        )  # fmt: skip
    return dataset


def open_inputs(
    paths: Sequence[str | Path], files: Mapping[str, Path], labels: str | None = None
) -> list[tuple[Case, Labels | None]]:
    """Read what is to be segmented, in the order given.

    Args:
        paths: Folders of cases or of images, case folders and files, mixed. Scans of one folder
            whose names differ only in the sequence form one case.
        files: Channels of one more case, given one by one, by channel name.
        labels: Name of the label scheme, where the user gave one.

    Returns:
        Every case with the label scheme of the data set it belongs to, if that is known.

    Raises:
        DataError: If a path holds no case.
        UnknownName: If there is no such channel or label scheme.
    """
    chosen = None if labels is None else scheme(labels)
    groups: dict[tuple[Path, str], list[Path]] = defaultdict(list)
    for number, path in enumerate(map(Path, paths)):
        named = named_scans([path]) if path.is_file() else []
        groups[(path.parent, f"scans {named[0][0]}") if named else (path, str(number))].append(path)
    found: list[tuple[Case, Labels | None]] = []
    for members in groups.values():
        if len(members) > 1:
            scans = named_scans(members)
            case = make_case(scans[0][0] or members[0].resolve().parent.name, scans, members[0])
            found.append((case, chosen or names_tell(case.id)))
        else:
            dataset = _scans(members[0], labels)
            found += [(case, dataset.labels) for case in dataset.cases]
    if files:
        case = _given(files)
        found.append((case, chosen or names_tell(case.id)))
    return found


def _scans(path: Path, labels: str | None) -> Dataset:
    """Read a data set of which only the scans are needed: doubts about its masks do not matter."""
    try:
        return open_dataset(path, labels)
    except UndecidedLabels:
        return replace(open_dataset(path, "binary"), labels=None)
    except DataError:
        entry = _format_of(path)
        if entry is None or entry.name != "pairs":
            raise
        return images_alone(path)


def _given(files: Mapping[str, Path]) -> Case:
    """Return the case whose channels were given one by one."""
    for channel, path in files.items():
        if channel not in SEQUENCES:
            raise UnknownName("channel", channel, SEQUENCES)
        if not path.is_file():
            raise DataError(path, "there is no such file", f"the {channel} scan", "check the path")
    first = next(iter(files.values()))
    prefixes = {(parse(path) or ("",))[0] for path in files.values()}
    name = prefixes.pop() if len(prefixes) == 1 else ""
    patient, timepoint = patient_of(name or stem(first))
    channels = {channel: source(path) for channel, path in files.items()}
    return Case(name or stem(first), patient, first, channels, None, timepoint)


def _format_of(path: Path) -> Entry[FormatTraits] | None:
    return next((entry for entry in _by_rank() if entry.traits.claims(path)), None)


def _by_rank() -> list[Entry[FormatTraits]]:
    return sorted((formats[name] for name in formats), key=lambda e: (e.traits.rank, e.name))


def _is_dicom(path: Path) -> bool:
    """Tell DICOM by the word after its preamble."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _nothing_known(path: Path) -> DataError:
    if not path.exists():
        return DataError(path, "there is no such file or folder", "data", "check the path")
    if path.is_dir() and not listing(path):
        return DataError(path, "the folder is empty", "data", "check the path")
    dicom = [e.name for e in listing(path) if _is_dicom(Path(e.path))] if path.is_dir() else []
    if dicom:
        return DataError(
            path,
            f"holds DICOM files (such as {dicom[0]})",
            "NIfTI or another layout that glioscope knows",
            "convert them with dcm2niix",
        )
    known = ", ".join(entry.name for entry in _by_rank())
    return DataError(
        path,
        "no format knows what is there",
        f"one of the layouts {known}",
        "see the section on data in the README, or name the files in a cases.csv",
    )
