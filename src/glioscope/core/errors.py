"""One error tree: what a user can cause or mend is a `GlioscopeError` that reads as one line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def one_line(text: object) -> str:
    """Return `text` on a single printable line (newlines in file names included)."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


class GlioscopeError(Exception):
    """Say where something is wrong, what was found, what was expected, and the way out.

    Args:
        where: The file, case, option or recipe key that is at fault.
        found: What stands there.
        expected: What should stand there.
        remedy: What the user can do about it.
    """

    def __init__(self, where: str | Path, found: str, expected: str = "", remedy: str = "") -> None:
        self.where, self.found, self.expected, self.remedy = where, found, expected, remedy
        parts = [f"{where}: {found}"]
        if expected:
            parts.append(f"expected {expected}")
        if remedy:
            parts.append(remedy)
        super().__init__(one_line("; ".join(parts)))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.where, self.found, self.expected, self.remedy)


class DataError(GlioscopeError):
    """A file or a case cannot be used as it is."""


class UndecidedLabels(DataError):
    """The label scheme of a data set cannot be told."""


class RecipeError(GlioscopeError):
    """A recipe, or a value set on the command line, is not valid."""


class ModelError(GlioscopeError):
    """A model folder, its weights or its network cannot be used."""


class StorageError(GlioscopeError):
    """Something could not be written."""


class DiskFull(StorageError):
    """There is no room for a file, nor for those after it."""


class UnknownName(GlioscopeError):
    """A name is not among those that exist.

    Args:
        kind: What is named ("recipe", "loss", ...).
        name: The name given.
        known: All names that exist.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        super().__init__(kind, f"{name!r} is unknown", "", did_you_mean(name, self.known))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.kind, self.name, self.known)


class BadCase(GlioscopeError):
    """A case that cannot be used, with the error that says why.

    Attributes:
        case: Id of the case.
        error: What is wrong with it.
    """

    def __init__(self, case: str, error: GlioscopeError) -> None:
        self.case, self.error = case, error
        super().__init__(error.where, error.found, error.expected, error.remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.case, self.error)


class CaseErrors(GlioscopeError):
    """Several cases are bad; every one is listed, a line each.

    Args:
        errors: The errors, in the order of the cases.
    """

    def __init__(self, errors: Sequence[GlioscopeError]) -> None:
        self.errors = tuple(errors)
        Exception.__init__(self, "\n".join(str(error) for error in errors))

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errors,)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest the nearest of the `known` names, and list them all.

    >>> did_you_mean("dise", ["dice", "bce"])
    'did you mean dice? available: bce, dice'
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return (f"did you mean {near[0]}? " if near else "") + "available: " + ", ".join(names)
