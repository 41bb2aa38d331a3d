"""Nested frozen dataclasses as JSON values and back. What is unknown is nan in a record and null in JSON."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

RecordT = TypeVar("RecordT")


def to_plain(value: Any) -> Any:
    """A record as dictionaries, lists, texts, numbers and nulls."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def from_plain(kind: type[RecordT], values: Mapping[str, Any]) -> RecordT:
    """Inverse of `to_plain`, given the class of the record; its fields are dataclasses, tuples, dictionaries with
    text keys, optional ones of these, texts and numbers."""
    hints = _hints(typing.cast(typing.Hashable, kind))
    return kind(**{name: _read(hints[name], value) for name, value in values.items()})


@cache
def _hints(kind: typing.Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _read(hint: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        known = [one for one in arguments if one is not types.NoneType]
        return None if value is None else _read(known[0], value)
    if is_dataclass(hint):
        return from_plain(typing.cast(type[Any], hint), value)
    if origin is tuple:
        return tuple(_read(arguments[0], item) for item in value)
    if origin is dict:
        return {key: _read(arguments[1], item) for key, item in value.items()}
    return math.nan if hint is float and value is None else value
