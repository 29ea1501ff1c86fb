"""Run a row through the command line, and see what it said and left."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from glioscope.cli import main
from tests.rights import ordinary_rights

from .bench import Bench, Row
from .table import Said, with_places

_ROOT = Path(__file__).parents[2]
NEWS = re.compile(
    r".*: \d+ cases, format \w+, labels .*"
    r"|split (by patient|by case|as the folders say).*: train \d+ cases.*"
    r"|\d+ patients are in training and in validation or test"
    r"|no patients are known, so one may be on both sides; .*"
    r"|masks hold .*: binarised at \d+"
    r"|\d+ of \d+ images have no annotation: .*"
    r"|(\d+ cases: )?about .* of memory \(.* free\), .*"
    r"|epoch \d+/\d+: .*"
    r"|\w+: threshold [\d.]+, smallest [\d.]+"
)
"""What `train` says of its data and of its progress."""


@dataclass(frozen=True)
class Outcome:
    """What a row did.

    Attributes:
        said: Exit code, and the lines on stderr less the news, with names in place of paths.
        out: What stands on stdout.
        before: Hash of every file in the row's folder before, by path; None for folders.
        after: The same afterwards.
        taken: Bytes of memory that were taken at the highest.
    """

    said: Said
    out: str
    before: Mapping[str, str | None]
    after: Mapping[str, str | None]
    taken: int


def run(row: Row, bench: Bench) -> Outcome:
    """Build a row and run its command.

    Raises:
        Impossible: If this machine does not let it be built.
    """
    with bench.undo:
        arguments = [str(argument) for argument in row.build(bench)]
        before = _seen(bench.folder)
        start = peak(reset=True)
        if row.stdout is not None:
            code, out, err = _apart(arguments, row.stdout, ordinary=row.ordinary)
        else:
            with ordinary_rights() if row.ordinary else contextlib.nullcontext():
                code, out, err = _here(arguments)
        taken = peak() - start
        after = _seen(bench.folder)
    lines = [line for line in err.splitlines() if not NEWS.fullmatch(line)]
    return Outcome(Said(code, with_places(lines, bench)), out, before, after, taken)


def _here(arguments: list[str]) -> tuple[int, str, str]:
    out, err, given = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["glioscope", *arguments]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = given
    return code, out.getvalue(), err.getvalue()


_CHILD = """
import contextlib, sys
from glioscope.cli import main
from tests.rights import ordinary_rights
with ordinary_rights() if sys.argv.pop(1) == "True" else contextlib.nullcontext():
    main()
"""


def _apart(arguments: list[str], stdout: str, *, ordinary: bool) -> tuple[int, str, str]:
    command = [sys.executable, "-c", _CHILD, str(ordinary), *arguments]
    with Path(stdout).open("w") as stream:
        done = subprocess.run(
            command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False, cwd=_ROOT
        )
    return done.returncode, "", done.stderr


def _seen(folder: Path) -> dict[str, str | None]:
    """Return what a folder holds, links as what they point to."""
    return {str(path.relative_to(folder)): _hash(path) for path in sorted(folder.rglob("*"))}


def _hash(path: Path) -> str | None:
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def peak(*, reset: bool = False) -> int:
    """Return the most memory in bytes that this process held since the last reset (Linux)."""
    place = Path("/proc/self")
    if reset:
        (place / "clear_refs").write_text("5")
    status = (place / "status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0
