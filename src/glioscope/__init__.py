"""glioscope: brain-tumour MRI from a folder of scans to a measured tumour."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("glioscope")

_DOOR = {
    "evaluate": "evaluating",
    "info": "exploring",
    "load_model": "loading",
    "open_dataset": "exploring",
    "phantom": "exploring",
    "predict": "predicting",
    "recipes": "exploring",
    "score": "scoring",
    "train": "training",
}
"""Public name to its module in `glioscope.api`; imported at first use, so that starting is fast."""

__all__ = sorted(_DOOR)


def __getattr__(name: str) -> Any:
    if name not in _DOOR:
        raise AttributeError(f"module 'glioscope' has no attribute {name!r}")
    return getattr(import_module(f".api.{_DOOR[name]}", __name__), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
