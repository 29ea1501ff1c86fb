"""`predictions.json`: what was made of each case in a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.errors import DataError, StorageError
from ..core.files import read_json, write_json

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


def read_predictions(folder: Path) -> list[Prediction]:
    """Return what earlier calls into the same folder have listed.

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


def merged(
    folder: Path, earlier: Sequence[Prediction], done: Sequence[Prediction]
) -> list[Prediction]:
    """Return earlier records whose masks are there and that were not made anew, then the new."""
    new = {record.case for record in done}
    kept = [
        r for r in earlier if r.case not in new and r.mask and (folder / Path(r.mask).name).exists()
    ]
    return [*kept, *done]


def write_predictions(folder: Path, records: Sequence[Prediction]) -> None:
    """Write the list; if there is no room for it the masks still stand, so that is only said."""
    try:
        write_json(folder / _LIST, [asdict(record) for record in records])
    except StorageError as error:
        _log.warning("%s", error)
