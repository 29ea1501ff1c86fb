"""The text at the head of NRRD and MetaImage files, checked line by line before ITK sees it.

Both formats may keep their voxels in another file, which a text that anyone can write then names:
that is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import DataError
from .paths import COPY, unreadable

_LONGEST = 1 << 16
"""So many bytes hold the text."""
_NRRD = re.compile(rb"(NRRD000\d\r?\n)((?:[^\r\n]+\r?\n)+)\r?\n")
_META = re.compile(rb"()((?:[^\r\n]*\r?\n)*?ElementDataFile *=[^\r\n]*\r?\n)")
_META_LINE = re.compile(r"([A-Za-z_]\w{0,99}) *= *([^\0]{0,2000})")
_NRRD_LINE = re.compile(r"([a-z][a-z ]{0,99}): ?([^\0]{0,2000})|#.*|[^=]+:=.*", re.IGNORECASE)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE](?:\+?\d{1,2}|-\d{1,3}))?"
_TRUE = ("T", "t", "1")
_SPACES = re.compile(
    "LPS|RAS|LAS|(left-posterior|right-anterior|left-anterior)-superior", re.IGNORECASE
)
"""Worlds of NRRD that ITK knows; it takes all others for the first without a word."""
_PER_AXIS = ("Offset", "Position", "Origin", "CenterOfRotation", "ElementSpacing", "ElementSize")
_PER_PAIR = ("TransformMatrix", "Rotation", "Orientation")
_MM = re.compile(r"mm|millimet(er|re)s?|\?+", re.IGNORECASE)
"""Units that are mm or not known."""
_SCALING = {"ElementToIntensityFunctionSlope": 1, "ElementToIntensityFunctionOffset": 0}


@dataclass(frozen=True)
class Text:
    """What the text before the voxels says.

    Attributes:
        reader: Name of ITK's reader.
        fields: Values by name; the names of NRRD in lower case and without spaces.
        start: Where the voxels begin.
        rest: How many bytes follow.
        packed: Whether they are compressed.
        oriented: Whether it says how the axes lie in the body.
    """

    reader: str
    fields: Mapping[str, str]
    start: int
    rest: int
    packed: bool
    oriented: bool


def read_text(path: Path) -> Text:
    """Return the text of a NRRD or MetaImage file.

    Raises:
        DataError: If it is neither, its voxels are elsewhere or stored in a way that is not read,
            or a line has no meaning.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LONGEST)
            size = file.seek(0, io.SEEK_END)
    except OSError as error:
        raise unreadable(path, error) from error
    if not start:
        raise DataError(path, "the file is empty", "a NRRD or MetaImage file", COPY)
    nrrd = _NRRD.match(start)
    found = nrrd or _META.match(start)
    if found is None:
        raise DataError(
            path,
            f"is neither NRRD nor MetaImage (it starts with {start[:12]!r})",
            "a .nrrd or .mha file",
            COPY,
        )
    fields = _fields(path, found[2].decode("latin-1"), _NRRD_LINE if nrrd else _META_LINE)
    if nrrd:
        fields = {name.lower().replace(" ", ""): value for name, value in fields.items()}
    _refuse_detached(path, fields)
    _check_nrrd(path, fields) if nrrd else _check_meta(path, fields)
    _refuse_units(path, fields)
    encoding = fields.get("encoding", "").lower() if nrrd else _meta_encoding(fields)
    if encoding not in ("raw", "gz", "gzip"):
        raise DataError(
            path, f"its voxels are stored as {encoding!r}", "raw or gzip", "convert it to .nii.gz"
        )
    return Text(
        "NrrdImageIO" if nrrd else "MetaImageIO",
        fields,
        found.end(),
        size - found.end(),
        encoding != "raw",
        _oriented(fields) if nrrd else bool(fields.keys() & {*_PER_PAIR}),
    )


def _fields(path: Path, text: str, line: re.Pattern[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for one in text.rstrip("\n").split("\n"):
        match = line.fullmatch(one.rstrip(" \t\r"))
        if match is None or (match[1] in fields):
            raise _damaged(path, f"the line {one[:40]!r}")
        if match[1]:  # else it is a comment
            fields[match[1]] = match[2].strip(" \t")
    return fields


def _meta_encoding(fields: Mapping[str, str]) -> str:
    if not fields.get("BinaryData", "T").startswith(_TRUE):
        return "text"
    return "gzip" if fields.get("CompressedData", "F").startswith(_TRUE) else "raw"


def _refuse_detached(path: Path, fields: Mapping[str, str]) -> None:
    inside = fields.get("ElementDataFile", "LOCAL") in ("LOCAL", "Local", "local")  # as ITK has it
    if not inside or fields.keys() & {"datafile", "lineskip", "byteskip", "HeaderSize"}:
        raise DataError(
            path,
            "its voxels are in another file, or do not follow its header",
            "header and voxels in one file",
            "convert it to .nii.gz",
        )


def _refuse_units(path: Path, fields: Mapping[str, str]) -> None:
    """Refuse lengths that are not mm and scaled intensities: ITK takes both as they stand."""
    for name in ("DistanceUnits", "spaceunits", "units"):
        for unit in re.findall(r'[^" ]+', fields.get(name, ""))[:3]:
            if not _MM.fullmatch(unit):
                remedy = "convert it to mm, or correct the unit if its lengths are mm already"
                raise DataError(path, f"its unit of length is {unit}", "mm", remedy)
    for name, neutral in _SCALING.items():
        if not re.fullmatch(_NUMBER, value := fields.get(name, str(neutral))):
            raise _damaged(path, f"{name} {value[:40]!r}")
        if float(value) != neutral:
            remedy = "store the scaled intensities, or convert it to .nii.gz"
            raise DataError(path, f"{name} is {value}", str(neutral), remedy)


def _oriented(fields: Mapping[str, str]) -> bool:
    """Tell whether a NRRD file has directions, and in a world that ITK knows."""
    known = _SPACES.fullmatch(fields.get("space", ""))
    return known is not None and "spacedirections" in fields


def _check_nrrd(path: Path, fields: Mapping[str, str]) -> None:
    for name, pattern in (("dimension", "[2-4]"), ("sizes", r"\d{1,9}(?: +\d{1,9}){1,3}")):
        if not re.fullmatch(pattern, fields.get(name, "")):
            raise _damaged(path, f"{name} {fields.get(name, '')[:40]!r}")


def _check_meta(path: Path, fields: Mapping[str, str]) -> None:
    """Refuse what MetaIO crashes on, or speaks of on stderr."""
    axes = fields.get("NDims", "")
    if not re.fullmatch("[2-4]", axes):
        raise _damaged(path, f"NDims {axes[:40]!r}")
    n = int(axes)
    wanted = {
        "ObjectType": "Image",
        "ElementType": "MET_[A-Z_]{1,20}",
        "ElementNumberOfChannels": r"\d{1,3}",
        "CompressedDataSize": r"\d{1,15}",
        "DimSize": _several(r"\d{1,9}", n),
        **dict.fromkeys(_PER_AXIS, _several(_NUMBER, n)),
        **dict.fromkeys(_PER_PAIR, _several(_NUMBER, n * n)),
    }
    names = list(fields)
    for name, pattern in wanted.items():
        if name in fields and not re.fullmatch(pattern, fields[name]):
            raise _damaged(path, f"{name} {fields[name][:40]!r}")
    late = {"DimSize", *_PER_AXIS, *_PER_PAIR} & {*names[: names.index("NDims")]}
    size = {"CompressedDataSize"} if _meta_encoding(fields) == "gzip" else set()
    missing = {"DimSize", "ElementType", *size} - {*names}
    if late or missing:
        raise _damaged(path, f"no {min(missing)}" if missing else f"{min(late)} before NDims")


def _several(pattern: str, count: int) -> str:
    return rf"{pattern}(?: +{pattern}){{{count - 1}}}"


def _damaged(path: Path, found: str) -> DataError:
    return DataError(path, f"its header is damaged ({found})", "a NRRD or MetaImage header", COPY)
