"""Recipes from YAML: read strictly, every unknown key answered with "did you mean"."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .config import Recipe
from .errors import RecipeError, UnknownName, did_you_mean, one_line

_YAML, _CORRECT = "YAML, such as epochs: 5", "correct it"
_EXAMPLES = "see the recipes that come with glioscope"


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    return sorted(
        p.name.removesuffix(".yaml") for p in _folder().iterdir() if p.name.endswith(".yaml")
    )


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """Load a recipe by name, or from a YAML file, with `key=value` overrides.

    Args:
        name: Name of a recipe of the package, or path of a `.yaml` file.
        overrides: Values such as `train.epochs=5`; the value is read as YAML.

    Raises:
        UnknownName: If there is no such recipe.
        RecipeError: If the file or a value is not valid.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or one_line(error)
            raise RecipeError(
                name, f"cannot be read ({said})", "a recipe in YAML",
                f"check the path, or take one of {', '.join(recipe_names())}",
            ) from error  # fmt: skip
    elif name in recipe_names():
        text = (_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise UnknownName("recipe", name, recipe_names())
    values = _parse(text, name)
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"holds {_shown(values)}"
        raise RecipeError(name, found, "sections data, model, loss, train, predict", _EXAMPLES)
    for override in overrides:
        _set(values, override)
    return validated(values, name)


def validated(values: dict[str, Any], where: str) -> Recipe:
    """Check the values of a recipe.

    Raises:
        RecipeError: One line with every key that is wrong.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = dict.fromkeys(_explain(item) for item in error.errors())
        raise RecipeError(
            where, "; ".join(problems), "", "correct the recipe, or --set KEY=VALUE"
        ) from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2's idea of a number: `1e-4` is one, though YAML 1.1 wants `1.0e-4`.

    Aliases are refused: a few of them, one inside the other, stand for billions of values.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node, which is none that another place shares.

        Raises:
            ComposerError: If it is an alias.
        """
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f"aliases such as *{event.anchor} are not read", event.start_mark
            )
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _folder() -> Any:
    return resources.files("glioscope") / "recipes"


def _parse(text: str, where: str) -> Any:
    """Return what YAML says, if JSON can say it too: a recipe is saved as JSON with its model.

    PyYAML answers a wrong value behind a tag, such as `!!int ""`, with errors of every kind.
    """
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        place = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RecipeError(
            where, f"is not YAML ({error.problem}{place})", _YAML, _CORRECT
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(where, f"is not YAML ({one_line(error)})", _YAML, _CORRECT) from error
    except (LookupError, AttributeError, TypeError, ArithmeticError) as error:
        found = "is not YAML (a value does not fit its tag)"
        raise RecipeError(where, found, _YAML, _CORRECT) from error
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise RecipeError(
            where, f"holds a value that cannot be saved ({one_line(error)})",
            "numbers, texts, lists and sections", _CORRECT,
        ) from error  # fmt: skip
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def parse_override(override: str) -> tuple[str, Any]:
    """Return key and value of `key=value`; the value is read as YAML.

    Raises:
        RecipeError: If it is not of this form.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"--set {override}", "no value", "key=value, for example train.epochs=5")
    return key, _parse(text, f"--set {override}")


def _set(values: dict[str, Any], override: str) -> None:
    key, value = parse_override(override)
    *path, last = key.split(".")
    place = values
    for part in path:
        if not isinstance(place.get(part), dict):
            place[part] = {}
        place = place[part]
    place[last] = value


def _explain(item: Any) -> str:
    """Say in the user's words what pydantic found wrong."""
    path = [str(part) for part in item["loc"]]
    if item["type"] == "extra_forbidden":
        return f"{'.'.join(path)} is unknown, {did_you_mean(path[-1], _keys(path[:-1]))}"
    if item["type"] == "missing":
        return f"{'.'.join(path)} is missing"
    message = str(item["msg"]).removeprefix("Value error, ")
    where = ".".join(path)
    if not where:
        return message
    found = "" if isinstance(item["input"], dict) else f" (found {_shown(item['input'])})"
    return f"{where}: {message[0].lower()}{message[1:]}{found}"


def _keys(path: Iterable[str]) -> Iterator[str]:
    section: Any = Recipe
    for part in path:
        section = section.model_fields[part].annotation
    yield from section.model_fields
