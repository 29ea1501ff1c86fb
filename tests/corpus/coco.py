"""Rows of COCO exports: what may be wrong with their json."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from .bench import Bench, Row
from .images import VERBS, Command, train

Change = Callable[[dict[str, Any]], object]


def exported(name: str, change: Change, verbs: str = "train") -> list[Row]:
    """Return a row for each verb: the json of the training images is spoiled."""

    def build(command: Command) -> Command:
        def make(bench: Bench) -> Sequence[object]:
            path = bench.data("export") / "train" / "_annotations.coco.json"
            document = json.loads(path.read_text())
            change(document)
            path.write_text(json.dumps(document))
            return command(bench)

        return make

    return [Row(f"COCO: {name} ({verb})", build(VERBS[verb])) for verb in verbs.split()]


def outline(*points: object) -> Change:
    """Return a change that gives the first annotation one polygon."""

    def change(document: dict[str, Any]) -> None:
        document["annotations"][0]["segmentation"] = [list(points)]

    return change


def field(section: str, key: str, value: object) -> Change:
    """Return a change of one field of the first record of a section."""

    def change(document: dict[str, Any]) -> None:
        document[section][0][key] = value

    return change


def without(section: str, key: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        del document[section][0][key]

    return change


def again(section: str) -> Change:
    def change(document: dict[str, Any]) -> None:
        document[section].append(document[section][0])

    return change


def as_text(text: str) -> Command:
    def build(bench: Bench) -> Sequence[object]:
        (bench.data("export") / "train" / "_annotations.coco.json").write_text(text)
        return train(bench)

    return build


def no_outlines(bench: Bench) -> Sequence[object]:
    for path in bench.data("export").rglob("*.json"):
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "annotations": []}))
    return train(bench)


DEEP = '{"images": ' + "[" * 100_000 + "]" * 100_000 + "}"
COCO: list[Row] = [
    *exported("missing image", field("images", "file_name", "x.png"), verbs="train info"),
    *exported("odd number of coordinates", outline(1, 1, 9, 1, 9, 9, 1), verbs="evaluate"),
    *exported("two points", outline(1, 1, 9, 9), verbs="train evaluate"),
    *exported("a coordinate that is NaN", outline(1, 1, 9, float("nan"), 9, 9), verbs="evaluate"),
    *exported("coordinates that are strings", outline(*"119199"), verbs="evaluate"),
    *exported("coordinates far outside", outline(1, 1, 1e9, 1, 9, 9), verbs="evaluate"),
    *exported("category ids twice", again("categories")),
    *exported("image ids twice", again("images")),
    *exported("annotation of an unknown image", field("annotations", "image_id", 99)),
    *exported("annotation of an unknown category", field("annotations", "category_id", 99)),
    *exported("image of another size", field("images", "width", 300), verbs="evaluate"),
    *exported("image without a width", without("images", "width")),
    *exported("no annotations section", lambda document: document.pop("annotations")),
    *exported("images named by a number", field("images", "file_name", 7)),
    Row("COCO: not JSON (train)", as_text('{"images": [1, 2')),
    Row("COCO: huge nesting (train)", as_text(DEEP)),
    Row("COCO: no image has an annotation (train)", no_outlines),
]  # fmt: skip
ROWS = tuple(COCO)
