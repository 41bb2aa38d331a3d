"""YAML recipes, read strictly: known keys, each once, and every value of its field's type.

A recipe's values become the parser's defaults, which argparse takes as they are; so what `--key value` would refuse is
refused here. A lone value stands for a list of one, and a number written as text (YAML reads `1e-4` as such) for the
number. Fields of other than plain types (dicts, transformers' enumerations) are left to their config class.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from prm.errors import ConfigError, MissingFileError

ENVIRONMENT = "env"
"""A recipe's own key: environment variables."""
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}


class _Misfit(Exception):
    """A value that is not of its field's type."""


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The keys and values of a recipe, dashes in keys as underscores.

    Raises:
        MissingFileError: no such file.
        ConfigError: not a YAML mapping, or a key that is there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such recipe", path=path, remedy="Check the path after --config")
    try:
        with path.open(encoding="utf-8") as stream:
            recipe = yaml.load(stream, _StrictLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    recipe = {} if recipe is None else recipe
    if not isinstance(recipe, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values, not a {type(recipe).__name__}")
    return {str(key).replace("-", "_"): value for key, value in recipe.items()}


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise ConfigError(f"{self.name}, line {key.start_mark.line + 1}: {name!r} is there twice; keep one")
            seen.add(name)
        return super().construct_mapping(node, deep)


def fit_recipe(recipe: Mapping[str, Any], classes: Sequence[type], path: str | Path) -> dict[str, Any]:
    """The recipe's values as the fields of the config classes want them; its keys are fields of them.

    Raises:
        ConfigError: a value of another type or choice, with file, key, what is expected and what is there.
    """
    hints = {name: hint for cls in classes for name, hint in typing.get_type_hints(cls).items()}
    fields = {field.name: field for cls in classes for field in dataclasses.fields(cls)}
    fitted = {}
    for key, value in recipe.items():
        choices = fields[key].metadata.get("choices")
        expected = f"one of {', '.join(map(str, choices))}" if choices else _describe(hints[key])
        try:
            fitted[key] = _fit(value, hints[key])
        except _Misfit:
            raise _refusal(path, key, expected, value) from None
        if choices and fitted[key] not in choices:
            raise _refusal(path, key, expected, value)
    return fitted


def _refusal(path: str | Path, key: str, expected: str, value: Any) -> ConfigError:
    found = json.dumps(value, ensure_ascii=False, default=str)
    quote = "; put it in quotes" if "text" in expected and isinstance(value, bool | int | float) else ""
    return ConfigError(f"{path}: {key} must be {expected}, not {found}{quote}")


def _fit(value: Any, hint: Any) -> Any:
    kind: Any = typing.get_origin(hint) or hint
    if kind in (typing.Union, types.UnionType):
        return _fit_union(value, typing.get_args(hint))
    if kind is typing.Literal:
        return _checked(value, value in typing.get_args(hint))
    if kind is list:
        items = value if isinstance(value, list) else [value]
        return [_fit(item, (typing.get_args(hint) or (Any,))[0]) for item in items]
    if kind in (int, float):
        return _fit_number(value, kind)
    return _checked(value, isinstance(value, kind)) if kind in _NAMES else value


def _fit_union(value: Any, members: Sequence[Any]) -> Any:
    if not all(_is_plain(member) for member in members):
        # YAML reads a bare `no` as false, and `eval_strategy: no` means the word.
        words = {item.value for member in members if _is_enum(member) for item in member}
        return "no" if value is False and "no" in words else value
    for member in sorted(members, key=_is_list):
        try:
            return _fit(value, member)
        except _Misfit:
            continue
    raise _Misfit


def _fit_number(value: Any, kind: type) -> Any:
    if isinstance(value, str):
        try:
            return kind(value)
        except ValueError:
            raise _Misfit from None
    fits = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return kind(_checked(value, fits))


def _checked(value: Any, fits: bool) -> Any:
    if not fits:
        raise _Misfit
    return value


def _is_plain(hint: Any) -> bool:
    if _is_list(hint):
        return all(_is_plain(item) for item in typing.get_args(hint))
    return hint in _NAMES or typing.get_origin(hint) is typing.Literal


def _is_list(hint: Any) -> bool:
    kind: Any = typing.get_origin(hint)
    return kind is list


def _is_enum(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Enum)


def _describe(hint: Any) -> str:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return " or ".join(_describe(member) for member in inner)
    if kind is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if kind is list:
        return f"a list of {_describe(inner[0]) if inner else 'values'}"
    return _NAMES.get(hint, str(hint))
