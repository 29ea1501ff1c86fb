"""What the names of scans say: sequence, case, patient, time point and label convention.

Names as the BraTS challenges of 2017 to 2024 and their copies in the wild write them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..core.labels import SCHEMES
from .paths import stem

MASK = "mask"
SUFFIXES: Mapping[str, str] = {
    **dict.fromkeys(("t1", "t1n", "t1w"), "t1"),
    **dict.fromkeys(("t1c", "t1ce", "t1gd"), "t1c"),
    **dict.fromkeys(("t2", "t2w"), "t2"),
    **dict.fromkeys(("flair", "t2f", "fla"), "flair"),
    **dict.fromkeys(("seg", "segm"), MASK),
}
"""Channel (or `mask`) by the last part of a file's name, in lower case."""

_LAST = re.compile(r"(?:(?P<prefix>.+)[_-])?(?P<suffix>[^_-]+)", re.DOTALL)
_EXAMINATION = re.compile(r"(?P<patient>brats-[a-z-]+-\d+)-(?P<timepoint>\d+)", re.IGNORECASE)
_CONVENTIONS: Mapping[re.Pattern[str], tuple[str, ...]] = {
    re.compile(r"brats(20)?(17|18|19|20|21)(?!\d)", re.IGNORECASE): ("brats2021",),
    re.compile(r"brats-[a-z-]+-\d", re.IGNORECASE): ("brats2023", "brats2024"),
}
"""Label schemes that the beginning of a case's name allows."""


def parse(path: Path | str) -> tuple[str, str] | None:
    """Return what a scan's name begins with, and its channel or `mask`; None if it names none.

    >>> parse("BraTS-GLI-00005-100-t2f.nii.gz"), parse("W39_1998.09.19_Segm.nii"), parse("T1Gd.nii")
    (('BraTS-GLI-00005-100', 'flair'), ('W39_1998.09.19', 'mask'), ('', 't1c'))
    """
    match = _LAST.fullmatch(stem(path))
    channel = SUFFIXES.get(match["suffix"].lower()) if match else None
    return (match["prefix"] or "", channel) if match and channel else None


def patient_of(case_id: str) -> tuple[str, str | None]:
    """Return the patient and the time point that a case's name holds.

    >>> patient_of("BraTS-GLI-00005-100"), patient_of("BraTS2021_00006")
    (('BraTS-GLI-00005', '100'), ('BraTS2021_00006', None))
    """
    match = _EXAMINATION.fullmatch(case_id)
    return (match["patient"], match["timepoint"]) if match else (case_id, None)


def schemes_of(case_id: str) -> tuple[str, ...]:
    """Return the label schemes that a case's name allows: by its year, or all of them.

    >>> schemes_of("Brats18_CBICA_AAB_1"), schemes_of("BraTS-MET-00110-000")
    (('brats2021',), ('brats2023', 'brats2024'))
    """
    for pattern, names in _CONVENTIONS.items():
        if pattern.match(case_id):
            return names
    return tuple(SCHEMES)
