"""Print what is said of bad inputs, as in `table.md`: `python -m tests.corpus [WORDS]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from . import ROWS, table
from .bench import Bench, Impossible, make_bench
from .running import run


def _main(words: str) -> None:
    said = []
    with tempfile.TemporaryDirectory() as temporary:
        root = make_bench(Path(temporary))
        for number, row in enumerate(ROWS):
            if words in row.name:
                bench = Bench(root, root / str(number))
                bench.folder.mkdir()
                try:
                    said.append((row.name, run(row, bench).said))
                except Impossible as reason:
                    sys.stderr.write(f"{row.name}: {reason}\n")
    sys.stdout.write(table.written(said))


_main(" ".join(sys.argv[1:]))
