"""The table of lines, `table.md`: what is said of each bad input, and the exit code.

Places stand in braces; they are those of `places`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from glioscope.core.errors import one_line

from .bench import Bench

PATH = Path(__file__).with_name("table.md")
_HEAD = "| row | exit | lines |\n|---|---|---|\n"
_HASH = re.compile(r"\b[0-9a-f]{16}\b")
_SIZE = re.compile(r"about [\d.]+ [MG]B")
_BREAK, _BAR = "<br>", "\\|"


class Said(NamedTuple):
    """Exit code, and every line on stderr."""

    code: int
    lines: list[str]


def read() -> dict[str, Said]:
    """Return the table by the names of its rows."""
    table = {}
    for line in PATH.read_text(encoding="utf-8").removeprefix(_HEAD).splitlines():
        name, code, said = line.removeprefix("| ").removesuffix(" |").split(" | ", 2)
        lines = said.replace(_BAR, "|").split(_BREAK)
        table[name] = Said(int(code), [text for text in lines if text])
    return table


def written(rows: Iterable[tuple[str, Said]]) -> str:
    """Return a table in Markdown."""
    return _HEAD + "".join(
        f"| {name} | {said.code} | {_BREAK.join(said.lines).replace('|', _BAR)} |\n"
        for name, said in rows
    )


def with_places(lines: Iterable[str], bench: Bench) -> list[str]:
    """Return lines with names in place of paths, hashes and estimates."""
    lines = list(lines)
    for name, place in places(bench).items():
        lines = [line.replace(one_line(place), f"{{{name}}}") for line in lines]
    return [_SIZE.sub("about {size}", _HASH.sub("{hash}", line)) for line in lines]


def places(bench: Bench) -> Mapping[str, Path]:
    """Return the places by name; those inside of others come first."""
    data = bench.folder / "data"
    return {
        "scan": bench.scan(),
        "t1": bench.scan("t1n"),
        "mask": bench.scan("seg"),
        "case": bench.scan().parent,
        "images": data / "images",
        "masks": data / "masks",
        "json": data / "train" / "_annotations.coco.json",
        "data": data,
        "model": bench.folder / "model",
        "run": bench.folder / "run",
        "out": bench.out,
        "full": bench.folder / "full",
        "folder": bench.folder,
        "root": bench.root,
    }
