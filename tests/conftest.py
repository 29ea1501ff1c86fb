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


TINY = (
    "data.size=[24,24,24]",
    "model.widths=[8,16]",
    "train.epochs=2",
    "train.lr=0.01",
    "train.precision=fp32",
)
"""Settings of a training that takes seconds."""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small 3D model, trained on phantoms for a moment: it works, but not well."""
    from glioscope.api.training import train

    folder = tmp_path_factory.mktemp("model") / "RUN"
    train("unet3d-binary", "phantom:cases=6,seed=3,spacing=6", folder, overrides=TINY)
    return folder
