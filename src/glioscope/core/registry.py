"""Registries: a folder of functions, each known by its public name.

A package that holds a registry is the registry: every module put in its folder is imported at the
first look-up, and each function decorated with `register` is an entry, so that adding one touches
exactly one file.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .errors import RecipeError, UnknownName, did_you_mean

Traits = TypeVar("Traits")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[Traits]):
    """A registered function with its public name and what it declares about itself."""

    name: str
    function: Callable[..., Any]
    traits: Traits

    @property
    def summary(self) -> str:
        """First sentence of the function's docstring."""
        return (inspect.getdoc(self.function) or "").split("\n", 1)[0]

    def check_arguments(
        self, arguments: Mapping[str, Any], where: str, reserved: Iterable[str] = ()
    ) -> None:
        """Refuse arguments that the function does not take from a recipe, or not of this type.

        Args:
            arguments: The arguments given.
            where: Where they stand in the recipe.
            reserved: Parameters that the caller fills in itself.

        Raises:
            RecipeError: Naming the argument and what is wrong with it.
        """
        known = set(inspect.signature(self.function).parameters) - set(reserved)
        types = get_type_hints(self.function)
        for name, value in arguments.items():
            if name not in known:
                found = f"{self.name} takes no {name!r}"
                raise RecipeError(f"{where}.{name}", found, "", did_you_mean(name, known))
            try:
                TypeAdapter(types.get(name, Any)).validate_python(value)
            except ValidationError as error:
                wrong = error.errors()[0]["msg"]
                raise RecipeError(f"{where}.{name}", f"is {value!r}; {wrong}") from error

    def resolved(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with the function's defaults for those that are not given."""
        parameters = inspect.signature(self.function).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        return {**defaults, **arguments}


class Registry(Generic[Traits]):
    """Name the functions of a package.

    Args:
        kind: What the entries are ("model", "loss", ...), for messages.
        package: Dotted name of the package whose modules register entries.
        traits: Dataclass of what each entry declares, built from `register`'s keyword arguments.
    """

    def __init__(self, kind: str, package: str, traits: type[Traits]) -> None:
        self.kind, self._package, self._traits = kind, package, traits
        self._entries: dict[str, Entry[Traits]] = {}

    def register(self, **traits: object) -> Callable[[Function], Function]:
        """Return a decorator that registers a function under its name, `_` written `-`.

        Raises:
            ValueError: If another function already has this name.
        """

        def decorate(function: Function) -> Function:
            name = function.__name__.replace("_", "-")
            other = self._entries.get(name)
            if other is not None and other.function.__module__ != function.__module__:
                raise ValueError(
                    f"{self.kind} {name!r} is registered twice: "
                    f"in {other.function.__module__} and in {function.__module__}"
                )
            self._entries[name] = Entry(name, function, self._traits(**traits))
            return function

        return decorate

    def __getitem__(self, name: str) -> Entry[Traits]:
        self._discover()
        try:
            return self._entries[name]
        except KeyError:
            raise UnknownName(self.kind, name, self._entries) from None

    def __iter__(self) -> Iterator[str]:
        self._discover()
        return iter(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        self._discover()
        return name in self._entries

    def _discover(self) -> None:
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
