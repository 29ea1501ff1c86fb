"""Changes that keep a file half valid, so that a fuzzer gets past the first check of a reader.

Each mutator has the signature of atheris: the bytes, the largest size allowed, a seed. Half of the
time it changes what the file says, else atheris changes its bytes.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Callable
from typing import Any

import atheris
import numpy as np
import yaml
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

Mutator = Callable[[bytes, int, int], bytes]

NUMBERS = (0, -1, 1, 2, 3, 7, 255, 2**15, 2**31, 2**63, -(2**63), 10**40, 1e-320, 1e308, 0.5)
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
TEXTS = ("", "0", "a.png", "../a.png", "/", ".", "\0", "\ud800", "a\nb", "auto", "zero", "x" * 300)
YAML_BITS = (
    *("&a ", "*a", "<<: ", "!!int ", "!!float ", "!!bool ", "!!timestamp ", "!!binary ", "!!set "),
    *("? ", ": ", "- ", "[", "]", "{", "}", "|\n ", ">\n ", "---\n", "...\n", "%YAML 1.1\n", "\t"),
    *(
        "0x" + "f" * 5000,
        "9" * 5000,
        "1:1:1",
        "1:" * 200 + "1.0",
        "2001-01-01",
        "0001-13-01",
        ".inf",
        "-.inf",
        ".nan",
    ),
    *("!!int ''", "!!float ''", "!!timestamp x", "!!bool x", "~", "\0", "=", "null", "5"),
)


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one value of a JSON document."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        return atheris.Mutate(data, max_size)
    try:
        return json.dumps(_changed(rng, json.loads(data))).encode()[:max_size]
    except (ValueError, RecursionError):
        return atheris.Mutate(data, max_size)


def mutate_yaml(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one value of a YAML document, or put a piece of YAML syntax into it."""
    rng = random.Random(seed)
    way = rng.random()
    if way < 0.4:
        return atheris.Mutate(data, max_size)
    text, *overrides = data.split(b"\0")
    if way < 0.7:
        changed = _with_syntax(rng, text)
    else:
        try:
            tree = _changed(rng, yaml.safe_load(text))
            changed = yaml.safe_dump(tree, sort_keys=False).encode("utf-8", "surrogatepass")
        except Exception:  # noqa: BLE001 - PyYAML knows no bounds, and this is not what is tested
            return atheris.Mutate(data, max_size)
    if overrides and rng.random() < 0.3:
        option = rng.randrange(len(overrides))
        overrides[option] = _with_syntax(rng, overrides[option])
    return b"\0".join([changed, *overrides])[:max_size]


def _with_syntax(rng: random.Random, text: bytes) -> bytes:
    """Put a piece of YAML syntax before a value, or anywhere."""
    values = [match.end() for match in re.finditer(rb"[:\[,=-] ?", text)]
    at = rng.choice(values) if values and rng.random() < 0.7 else rng.randrange(len(text) + 1)
    end = at
    if rng.random() < 0.5:
        rest = re.compile(rb"[^,\]}\n]*").match(text, at)
        end = rest.end() if rest else at
    return text[:at] + rng.choice(YAML_BITS).encode() + text[end:]


def mutate_nifti(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one field of the header, or the bytes inside of the compression."""
    rng = random.Random(seed)
    packed = data[:2] == b"\x1f\x8b"
    if packed and rng.random() < 0.1:
        return atheris.Mutate(data, max_size)
    try:
        plain = gzip.decompress(data) if packed else data
    except (OSError, EOFError, zlib.error):
        return atheris.Mutate(data, max_size)
    changed = _with_field(rng, plain) if rng.random() < 0.5 else atheris.Mutate(plain, max_size)
    if packed != (rng.random() < 0.05):
        changed = gzip.compress(changed, 1, mtime=0)
    return changed[:max_size]


def mutate_bytes(data: bytes, max_size: int, seed: int) -> bytes:  # noqa: ARG001
    """Leave it to atheris."""
    return atheris.Mutate(data, max_size)


def _with_field(rng: random.Random, plain: bytes) -> bytes:
    """Return a NIfTI file with one number of its header replaced."""
    two = 540 in (int.from_bytes(plain[:4], "little"), int.from_bytes(plain[:4], "big"))
    big = plain[:1] == b"\0"
    layout = (Nifti2Header if two else Nifti1Header)(endianness=">" if big else "<").structarr.dtype
    name = rng.choice(layout.names)
    kind, offset = layout.fields[name][:2]
    each = kind.base
    at = offset + each.itemsize * rng.randrange(max(1, kind.itemsize // each.itemsize))
    if each.kind == "S" or rng.random() < 0.3:
        new = rng.randbytes(each.itemsize)
    else:
        with np.errstate(all="ignore"):
            value = rng.choice((*NUMBERS, *NOT_FINITE) if each.kind == "f" else NUMBERS)
            limit = np.iinfo(each).max if each.kind in "iu" else None
            new = np.array(value if limit is None else int(value) % (limit + 1), each).tobytes()
    return plain[:at] + new + plain[at + each.itemsize :]


def _changed(rng: random.Random, tree: Any) -> Any:
    """Replace, remove or double one node of lists and mappings."""
    places: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        keys = (
            node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        )
        for key in keys:
            places.append((node, key))
            todo.append(node[key])
    if not places:
        return _value(rng, places)
    node, key = rng.choice(places)
    way = rng.randrange(6)
    if way == 0:
        del node[key]
    elif way == 1 and isinstance(node, list):
        node.insert(key, node[key])
    elif way == 1:
        node[rng.choice(TEXTS)] = node[key]
    else:
        node[key] = _value(rng, places)
    return tree


def _value(rng: random.Random, places: list[tuple[Any, Any]]) -> Any:
    way = rng.randrange(7)
    if way == 0 and places:
        node, key = rng.choice(places)
        return json.loads(json.dumps(node[key], default=str))  # a copy: no cycles
    if way == 1:
        value: Any = rng.choice(TEXTS)
        for _ in range(rng.choice((1, 3, 40, 900))):
            value = [value]
        return value
    simple = (
        *NUMBERS,
        *NOT_FINITE,
        *TEXTS,
        None,
        True,
        False,
        [],
        {},
        [[]],
        {"counts": [], "size": []},
    )
    return rng.choice(simple)
