"""Scans and masks of 3D by the names of their files: NIfTI, or what ITK reads."""

from __future__ import annotations

from pathlib import Path

from ..core.case import Source
from .itk import ItkMask, ItkSource
from .nifti import NiftiMask, NiftiSource
from .paths import is_itk


def scan_source(path: Path) -> Source:
    """Return a 3D scan by the suffix of its name; what has none of ours is taken as NIfTI."""
    return ItkSource(path) if is_itk(path) else NiftiSource(path)


def scan_mask(path: Path) -> Source:
    """Return a 3D label map by the suffix of its name; what has none of ours is taken as NIfTI."""
    return ItkMask(path) if is_itk(path) else NiftiMask(path)
