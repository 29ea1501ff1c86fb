"""Arbitrary documents, arbitrary damage to valid ones, and what reading them may end in."""

from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from glioscope.core.errors import GlioscopeError

MEGABYTES = 50
quick = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31, 2**63, 10**40, -(2**63), 1e-320, 1e308, float("inf"), float("nan")]),
    st.floats(),
)
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["a.png", "../a.png", "/", "\0", "\ud800"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=6,
)
"""What JSON can say, and the NaN and Infinity that Python's reader takes for JSON."""


def tried(read: Callable[[], Any], name: str, *kinds: type[GlioscopeError]) -> Any:
    """What is read, or None after an error of these kinds, one line that names the file."""
    try:
        return read()
    except kinds as error:
        message = str(error)
    assert "\n" not in message
    assert name in message
    return None


def within_memory(read: Callable[[], Any]) -> Any:
    """What is read, if that takes no more memory than a small file may."""
    tracemalloc.start()
    try:
        return read()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEGABYTES * 2**20


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """A document of lists and mappings with some of its nodes replaced, removed or doubled."""
    tree = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(nodes(tree))
        if not places:
            break
        parent, key = draw(st.sampled_from(places))
        way = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if way == "remove":
            del parent[key]
        elif way == "double" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(parent[key]))
        elif way == "double":
            parent[draw(TEXTS)] = copy.deepcopy(parent[key])
        else:
            parent[key] = draw(VALUES)
    return tree


def nodes(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every node of lists and mappings, as what holds it and its key there."""
    inside = list(tree.items() if isinstance(tree, dict) else enumerate(tree))
    for key, child in inside:
        yield tree, key
        if isinstance(child, dict | list):
            yield from nodes(child)
