"""Feed a reader of glioscope with broken files until it says something that is not our own error.

    pip install -e '.[fuzz]'
    python fuzz/fuzz.py nifti --minutes 30 [CORPUS]

Targets: nifti, coco, recipe, itk, image, splits. A file must give what it holds, or one line of our
own (`GlioscopeError`) that names it, within 5 seconds and 1 GB; a warning counts as a failure.
Inputs that reach new code are kept in the folder CORPUS (in the folder for temporary files, if none
is given) and used again by the next run; valid files are put there to start from. Statistics come
after every five minutes. What breaks a reader is kept beside CORPUS as `TARGET-crash-*`,
`TARGET-timeout-*` or `TARGET-oom-*`; give that file in place of CORPUS to run it alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["glioscope", "nibabel", "yaml"]):
    import mutators
    import numpy as np
    from seeds import CASES, SEEDS, pictures

    from glioscope.core.case import Case, Source
    from glioscope.core.dataset import Dataset
    from glioscope.core.errors import GlioscopeError
    from glioscope.core.files import digest
    from glioscope.core.labels import SCHEMES
    from glioscope.core.recipes import load_recipe
    from glioscope.core.splits import read_splits
    from glioscope.formats import formats
    from glioscope.formats.image import ImageMask, ImageSource, read_mask
    from glioscope.formats.itk import ItkMask, ItkSource
    from glioscope.formats.nifti import NiftiMask, NiftiSource
    from glioscope.formats.opening import open_dataset

    list(formats)  # imports every format

SECONDS, MEGABYTES, LONGEST = 5, 1024, 65536
STRETCH = 5.0
"""Minutes after which a fresh process goes on: with nibabel instrumented, atheris itself loses
about 2 KB each time a scan is read (without atheris the same calls lose nothing)."""


def nifti(data: bytes, folder: Path) -> None:
    """Read the place and the voxels of a scan, of a mask, and of the second of two frames."""
    path = folder / "scan.nii.gz"
    path.write_bytes(data)
    for source in (NiftiSource(path), NiftiMask(path), NiftiSource(path, (1, 2))):
        allowed(path, source.grid)
        allowed(path, lambda source=source: whole(source))


def itk(data: bytes, folder: Path) -> None:
    """Read a scan and a mask in NRRD or MetaImage."""
    path = folder / ("scan.nrrd" if data.startswith(b"NRRD") else "scan.mha")
    path.write_bytes(data)
    for source in (ItkSource(path), ItkMask(path)):
        allowed(path, source.grid)
        allowed(path, lambda source=source: whole(source))


def image(data: bytes, folder: Path) -> None:
    """Read a 2D image, and a mask by labels, by threshold and by looking."""
    path = folder / "image.png"
    path.write_bytes(data)
    for source in (ImageSource(path), ImageMask(path), ImageMask(path, 128)):
        allowed(path, lambda source=source: whole(source))
    allowed(path, lambda: read_mask(path))


def coco(data: bytes, folder: Path) -> None:
    """Open a COCO json beside two images, and draw every mask."""
    path = folder / "coco.json"
    path.write_bytes(data)
    dataset = allowed(path, lambda: open_dataset(path))
    for case in dataset.cases if dataset else ():
        allowed(folder, lambda case=case: digest(case.identity))
        allowed(folder, lambda case=case: whole(case.mask))


def recipe(data: bytes, folder: Path) -> None:
    """Load a recipe that must fit into JSON; what follows the first NUL byte are overrides."""
    path = folder / "recipe.yaml"
    text, *overrides = data.split(b"\0")
    path.write_bytes(text)
    options = [option.decode("utf-8", "replace") for option in overrides if option]
    loaded = allowed("", lambda: load_recipe(str(path), options))
    if loaded is not None:
        json.dumps(loaded.model_dump(mode="json"), allow_nan=False)


def splits(data: bytes, folder: Path) -> None:
    """Read a splits file."""
    path = folder / "splits.json"
    path.write_bytes(data)
    source = NiftiMask(path)
    cases = tuple(Case(name, name, folder, mask=source) for name in CASES)
    allowed(path, lambda: read_splits(path, Dataset(folder, "fuzz", cases, SCHEMES["binary"])))


TARGETS: dict[str, tuple[Callable[[bytes, Path], None], mutators.Mutator]] = {
    "nifti": (nifti, mutators.mutate_nifti),
    "coco": (coco, mutators.mutate_json),
    "recipe": (recipe, mutators.mutate_yaml),
    "itk": (itk, mutators.mutate_bytes),
    "image": (image, mutators.mutate_bytes),
    "splits": (splits, mutators.mutate_json),
}


def allowed(name: str | Path, read: Callable[[], Any]) -> Any:
    """Return what is read, or None after an error of ours that is one line and names the file."""
    try:
        return read()
    except GlioscopeError as error:
        if "\n" in str(error) or str(name) not in str(error):
            raise AssertionError(f"not one line that names {name}: {error!s}") from error
        return None


def whole(source: Source) -> None:
    """Read a source and check what every reader promises."""
    volume, grid = source.read(), source.grid()
    if volume.array.shape != (1, *grid.shape) or not volume.grid.matches(grid):
        raise AssertionError(f"{volume.grid} was promised as {grid}")
    if volume.array.dtype not in (np.float32, np.uint8, np.int16):
        raise AssertionError(f"voxels are {volume.array.dtype}")
    if not np.isfinite(volume.array).all() or not np.isfinite(volume.affine).all():
        raise AssertionError("something is not finite")


def fuzz(target: str, corpus: Path, minutes: float, scratch: Path) -> None:
    """Run one target until the time is over or it fails; libFuzzer ends the process."""
    run, mutator = TARGETS[target]
    pictures(scratch)
    warnings.simplefilter("error", append=True)  # after what the package itself silences
    logging.disable()
    options = {
        "timeout": SECONDS,
        "rss_limit_mb": MEGABYTES,
        "max_total_time": max(1, round(minutes * 60)),
        "max_len": LONGEST,
        "artifact_prefix": f"{corpus.parent}/{target}-",
        "print_final_stats": 1,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup(
        [sys.argv[0], *flags, str(corpus)],
        lambda data: run(data, scratch),
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def main() -> int:
    """Fuzz in processes of their own, clear up behind them, and return their exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("corpus", nargs="?", type=Path, help="folder, or one file to run alone")
    parser.add_argument("--minutes", type=float, default=30)
    chosen = parser.parse_intermixed_args()
    corpus = chosen.corpus or Path(tempfile.gettempdir(), "glioscope-fuzz", chosen.target)
    minutes = chosen.minutes
    if corpus.is_file():
        minutes = min(minutes, STRETCH)
    else:
        corpus.mkdir(parents=True, exist_ok=True)
        for seed in SEEDS[chosen.target]():
            (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    memory = Path("/dev/shm")
    code = 0
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        while minutes > 0 and code == 0:
            child = os.fork()
            if not child:
                fuzz(chosen.target, corpus, min(minutes, STRETCH), Path(scratch))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            minutes -= STRETCH
    return code


if __name__ == "__main__":
    sys.exit(main())
