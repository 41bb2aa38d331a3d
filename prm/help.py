"""`--help` of every command: what the fields of its configs say of themselves, laid out for a terminal.

The command's own options come first, in the order of its config; those that it shares with other commands follow, each
group under the first sentence of the class that brings them; arguments of transformers and TRL come last. How values
are parsed is `prm.config`'s.
"""

from __future__ import annotations

import dataclasses
import enum
import shutil
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

MARGIN, WIDEST = 26, 110
MOST_CHOICES = 60
"""Characters of choices that stand in an option's first line; more of them are left to its help."""

KEYS = (
    "A recipe sets keys, --key value overrides them, and a dash may stand for an underscore. BOOL is true or "
    "false: --key alone is --key true, and --no_key is --key false. TEXT ... takes several values."
)
EVERYWHERE = (
    "Of every command:",
    f"{'  --config RECIPE.yaml':<{MARGIN}}A recipe of keys and values",
    f"{'  -h, --help':<{MARGIN}}Show this, with the recipe's values as defaults",
)
DEFAULT = Callable[[str], Any]
"""What a field's value is where it is not given."""


def help_text(kinds: Sequence[type], default: DEFAULT, prog: str, about: str = "") -> str:
    """The text of `prog --help`.

    Args:
        kinds: the config dataclasses of the command.
        about: what the command does.
    """
    width = min(WIDEST, shutil.get_terminal_size().columns)
    required = [field.name for kind in kinds for field in dataclasses.fields(kind) if _is_required(field, default)]
    needs = "".join(f" --{name} ..." for name in required)
    lines = [*_wrapped(f"usage: {prog}{needs} [--config RECIPE.yaml] [--key value ...]", width)]
    lines += ["", *_wrapped(f"{about[:1].upper()}{about[1:]}.", width), ""] if about else [""]
    lines += [*_wrapped(KEYS, width)]
    for title, options in _groups(kinds):
        lines += ["", f"{title}:"]
        for kind, field in options:
            lines += _option(field, get_type_hints(kind)[field.name], default, width)
    return "\n".join([*lines, "", *EVERYWHERE])


def _groups(kinds: Sequence[type]) -> list[tuple[str, list[tuple[type, dataclasses.Field[Any]]]]]:
    """The fields of each class that brings some, under its title: our own classes in the order of inheritance, from
    the command's down, then those of other libraries, the shorter ones first."""
    groups: dict[type, list[tuple[type, dataclasses.Field[Any]]]] = {}
    for kind in kinds:
        fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
        for owner in kind.__mro__:
            for name in vars(owner).get("__annotations__", {}):
                if name in fields:
                    groups.setdefault(owner, []).append((kind, fields.pop(name)))
    ranked = sorted(groups.items(), key=lambda group: len(group[1]) if _is_foreign(group[0]) else 0)
    return [(_title(owner), options) for owner, options in ranked]


def _is_foreign(owner: type) -> bool:
    return owner.__module__.partition(".")[0] in {"transformers", "trl"}


def _title(owner: type) -> str:
    if _is_foreign(owner):
        return f"{owner.__name__} of {owner.__module__.partition('.')[0]}"
    text = owner.__doc__ or ""
    if not text or text.startswith(f"{owner.__name__}("):  # what a dataclass without one is given
        return "Options"
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


def _option(field: dataclasses.Field[Any], kind: Any, default: DEFAULT, width: int) -> Iterator[str]:
    """An option with its help beside it, or below it where it is long."""
    negated = f", --no_{field.name}" if field.default is True else ""
    given = f"  --{field.name} {_value(field, kind)}{negated}".rstrip()
    lines = _wrapped(_told(field, kind, default), max(20, width - MARGIN))
    if len(given) > MARGIN - 2:
        yield given
        given = ""
    for line in lines:
        yield f"{given:<{MARGIN}}{line}".rstrip()
        given = ""


def _told(field: dataclasses.Field[Any], kind: Any, default: DEFAULT) -> str:
    """The field's help, with the value that it has by default; an empty one is not said."""
    text = " ".join(str(field.metadata.get("help", "")).split()).replace("%%", "%")  # argparse would have done so
    if text.endswith("."):
        text = text[:-1]
    choices = _choices(field, kind)
    if choices and len("|".join(choices)) > MOST_CHOICES:
        text += f": {', '.join(choices)}"
    if _is_required(field, default):
        return f"{text} (required)"
    value = _plain(default(field.name))
    return f"{text} (default: {value})" if value else text


def _is_required(field: dataclasses.Field[Any], default: DEFAULT) -> bool:
    missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return field.init and missing and default(field.name) is None


def _plain(value: Any) -> str:
    """A value as the command line takes it."""
    if value is None:
        return ""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(_plain, value))
    return str(value).replace("\n", "\\n")


def _value(field: dataclasses.Field[Any], kind: Any) -> str:
    """What follows the option: `INT`, `TEXT ...`, `a|b`."""
    inner = _inner(kind)
    if get_origin(inner) is list:
        inner, nargs = _inner(get_args(inner)[0]), field.metadata.get("nargs", "+")
    else:
        nargs = field.metadata.get("nargs", "")
    choices = _choices(field, kind)
    if choices and len("|".join(choices)) <= MOST_CHOICES:
        name = "|".join(choices)
    else:
        name = {int: "INT", float: "FLOAT", bool: "BOOL"}.get(inner, "TEXT")
    if isinstance(nargs, int):
        return " ".join([name] * nargs)
    return f"{name} ..." if nargs == "+" else name


def _choices(field: dataclasses.Field[Any], kind: Any) -> list[str]:
    inner = _inner(kind)
    if get_origin(inner) is Literal:
        return [str(one) for one in get_args(inner)]
    if isinstance(inner, type) and issubclass(inner, enum.Enum):
        return [str(one.value) for one in inner]
    return [str(one) for one in field.metadata.get("choices", ())]


def _inner(kind: Any) -> Any:
    """The first type of a union, without its `None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(one for one in get_args(kind) if one is not type(None))
    return kind


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]
