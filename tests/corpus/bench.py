"""What rows are made of: clean data sets and models that a row copies and spoils."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from glioscope.api.training import train
from glioscope.formats.phantom import write_phantoms
from tests.conftest import TINY

CASE = "BraTS-GLI-09000-000"
"""First of the four heads in `Bench.heads`."""
SET = tuple(part for override in TINY for part in ("--set", override))


class Impossible(Exception):
    """This machine does not let the row be built."""


@dataclass(frozen=True)
class Bench:
    """Where a row is built and run.

    Attributes:
        root: Folder of everything, with `clean` data sets, a `model` of volumes and a `flat` one.
        folder: Folder of the row; what it holds may be spoiled.
        undo: What is to be undone when the row was run.
    """

    root: Path
    folder: Path
    undo: ExitStack = field(default_factory=ExitStack)

    @property
    def model(self) -> Path:
        """A trained model of volumes, of t1, t2 and flair; not to be spoiled."""
        return self.root / "model"

    @property
    def flat(self) -> Path:
        """A trained model of 2D images; not to be spoiled."""
        return self.root / "flat"

    @property
    def out(self) -> Path:
        """Where the row's command writes."""
        return self.folder / "out"

    def data(self, kind: str) -> Path:
        """Return a copy of the clean `heads`, `slices` or `export`."""
        return self.copy(self.root / "clean" / kind, "data")

    def copy(self, source: Path, name: str) -> Path:
        """Return a copy of a clean folder that may be spoiled."""
        return Path(shutil.copytree(source, self.folder / name))

    def scan(self, channel: str = "t2w") -> Path:
        """Return a scan of `CASE`, or its mask `seg`, in the copied heads."""
        return self.folder / "data" / CASE / f"{CASE}-{channel}.nii.gz"

    def tmpfs(self, free: int) -> Path:
        """Mount a disk of 1 MB, and fill it up to `free` bytes.

        Raises:
            Impossible: If mounting is not allowed.
        """
        place = self.folder / "full"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
        try:
            done = subprocess.run(mount, capture_output=True, text=True, check=False)
        except OSError as error:
            raise Impossible(f"no tmpfs can be mounted here ({error})") from error
        if done.returncode:
            raise Impossible(f"no tmpfs can be mounted here ({done.stderr.strip()})")
        self.undo.callback(subprocess.run, ["umount", str(place)], check=True)
        with (place / "ballast").open("wb") as ballast:
            ballast.write(bytes(2**20 - free))
        return place

    def seems_free(self) -> None:
        """Let every disk seem empty to who looks first, as if it were filled a moment later."""
        room = SimpleNamespace(total=2**50, used=0, free=2**50)
        self.undo.enter_context(mock.patch("shutil.disk_usage", return_value=room))

    def locked(self, *paths: Path, mode: int) -> None:
        """Change permissions until the row was run."""
        for path in paths:
            self.undo.callback(path.chmod, path.stat().st_mode)
            path.chmod(mode)


Builder = Callable[[Bench], Sequence[object]]
"""Makes the bad input and returns the arguments of the command line."""


@dataclass(frozen=True)
class Row:
    """A bad input; `table.md` has the exit code and the lines that belong to it.

    Attributes:
        name: What is wrong, and the verb that meets it.
        build: Makes it, and returns the command.
        ordinary: Run with the rights of an ordinary user, for whom permissions hold.
        kept: What the command may change in the row's folder though it is not `out`.
        memory: At most so many bytes may be taken while it runs.
        stdout: Where the results go, in a process of its own; None for here.
    """

    name: str
    build: Builder
    ordinary: bool = False
    kept: tuple[str, ...] = ()
    memory: int | None = None
    stdout: str | None = None


def make_bench(root: Path, model: Path | None = None) -> Path:
    """Fill the root of all benches, readable by everybody.

    Args:
        root: An empty folder.
        model: A tiny model of volumes, if there is one already.
    """
    root.chmod(0o755)
    clean = root / "clean"
    write_phantoms(clean / "heads", 4, 9, "brats", spacing=6)
    write_phantoms(clean / "slices", 8, 0, "pairs")
    write_phantoms(clean / "export", 8, 0, "coco")
    if model is None:
        train("unet3d-binary", "phantom:cases=6,seed=3,spacing=6", root / "model", overrides=TINY)
    else:
        shutil.copytree(model, root / "model")
    small = ("data.size=[32,32]", "model.encoder=resnet18", "model.pretrained=none")
    once = ("train.epochs=1", "train.precision=fp32", "train.batch=4")
    train("unet-resnet34", clean / "export", root / "flat", overrides=(*small, *once))
    return root
