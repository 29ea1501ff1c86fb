"""Fixtures of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans for development; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GLIOSCOPE_DATA", default))
    if not folder.is_dir():
        pytest.skip("real scans are not here (set GLIOSCOPE_DATA to their folder)")
    return folder
