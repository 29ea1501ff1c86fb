"""Every bad input of the corpus: the exit code, the whole line, and nothing left behind."""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.corpus import ROWS, table
from tests.corpus.bench import Bench, Impossible, Row, make_bench
from tests.corpus.models import Trap
from tests.corpus.running import Outcome, peak, run
from tests.rights import ordinary_rights

TEMPORARY = re.compile(r"(^|/)\.[0-9a-f]{8}\.")
FOREIGN = re.compile(r"Traceback|unexpected \w+: |Errno|<class|0x[0-9a-f]{6}")
"""What no line for a user holds."""


@pytest.fixture(scope="session")
def bench_root(tiny_model: Path) -> Iterator[Path]:
    """Clean data and models, where every user may read them."""
    root = Path(tempfile.mkdtemp(prefix="corpus-"))
    yield make_bench(root, tiny_model)
    shutil.rmtree(root)


@pytest.fixture
def bench(bench_root: Path) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(dir=bench_root))
    yield Bench(bench_root, folder)
    shutil.rmtree(folder)


def test_every_row_stands_in_the_table_once() -> None:
    assert [row.name for row in ROWS] == list(table.read())


def test_the_instruments_work(bench: Bench) -> None:
    """A planted pickle goes off, permissions hold, and memory that is taken is seen."""
    sprung, locked = bench.folder / "sprung", bench.folder / "locked"
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()
    locked.write_text("")
    bench.locked(locked, mode=0o000)
    with ordinary_rights(), pytest.raises(PermissionError):
        locked.read_text()
    start = peak(reset=True)
    np.ones(2**24)
    assert peak() - start >= 2**26


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row, bench: Bench) -> None:
    try:
        outcome = run(row, bench)
    except Impossible as reason:
        pytest.skip(str(reason))
    assert outcome.said == table.read()[row.name]
    assert (outcome.out == "") == (outcome.said.code == 2 or row.stdout is not None)
    assert not [path for path in outcome.after if TEMPORARY.search(path)]
    _assert_left(row, outcome)
    if row.memory is not None:
        assert outcome.taken < row.memory


def _assert_left(row: Row, outcome: Outcome) -> None:
    """Check that inputs are as they were, and that a command that failed left nothing."""
    places = {*outcome.before, *outcome.after}
    changed = {p for p in places if outcome.before.get(p, "-") != outcome.after.get(p, "-")}
    allowed = row.kept if outcome.said.code == 2 else ("out", *row.kept)
    assert not {path for path in changed if path.split("/")[0] not in allowed}


@pytest.mark.parametrize(("name", "said"), list(table.read().items()))
def test_lines_help(name: str, said: table.Said) -> None:
    """A line names where, what was found, and what was expected or what to do."""
    assert bool(said.lines) == (said.code > 0)
    for line in said.lines:
        assert not FOREIGN.search(line)
        where, _, found = line.partition(": ")
        assert where
        assert "; " in found or said.code == 1
