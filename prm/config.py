"""From the command line and a YAML recipe to config dataclasses.

`--config recipe.yaml` sets defaults (`prm.recipe` reads it), `--key value` overrides them, and an unknown key raises
and suggests the nearest. `embedded:generator` and `embedded:base` stand for the shipped models' paths.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import select
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, PrmError
from prm.help import help_text
from prm.plain_warnings import plain_warnings
from prm.recipe import ENVIRONMENT, fit_recipe, read_recipe
from prm.spelling import hint
from prm.worlds.models import PREFIX, expand_embedded


def parse_config(
    classes: Any, arguments: Sequence[str], *, prog: str | None = None, defaults: Mapping[str, Any] | None = None
) -> Any:
    """Parse arguments into one config, or a tuple of them where `classes` is a sequence.

    Args:
        defaults: values in the place of the fields' own defaults; a recipe goes before them.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, a missing required key, or a broken recipe.
        SystemExit: after `--help`, with status 0.
    """
    from trl import TrlParser

    several = isinstance(classes, list | tuple)
    kinds = list(classes) if several else [classes]
    known = [field.name for kind in kinds for field in dataclasses.fields(kind) if field.init]
    path, arguments = take_option(arguments, "--config", "one recipe: --config recipe.yaml")
    _check_options(arguments, known)
    parser = TrlParser(kinds, prog=prog)
    _let_lists_be_empty(parser, kinds)
    if defaults:
        parser.set_defaults_with_config(**defaults)
    if path is not None:
        parser.set_defaults_with_config(**_checked_recipe(Path(path), kinds, known))
    if {"-h", "--help"} & set(arguments):
        print(help_text(kinds, parser.get_default, parser.prog, _about(parser.prog)))
        raise SystemExit(0)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            configs = parser.parse_args_into_dataclasses(args=arguments, look_for_args_file=False)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ConfigError(_friendly(complaint.getvalue().strip().splitlines()[-1], known)) from None
    except (ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(_friendly(str(error), known)) from error
    for config in configs:
        _expand_embedded_models(config)
    return configs if several else configs[0]


def _let_lists_be_empty(parser: ArgumentParser, kinds: Sequence[type]) -> None:
    """Where a list is empty by default, the option alone empties what a recipe says."""
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    empty = {field.name for field in fields if field.default_factory is list}
    for action in parser._actions:
        if action.dest in empty and action.nargs == "+":
            action.nargs = "*"


def _about(prog: str) -> str:
    """What a command of `prm` does; empty for what is none."""
    from prm.cli import COMMANDS

    _, about = COMMANDS.get(prog.removeprefix("prm "), ("", ""))
    return about


def _expand_embedded_models(config: Any) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name, None)
        if isinstance(value, str) and PREFIX in value:
            setattr(config, field.name, expand_embedded(value))
        elif isinstance(value, list):
            setattr(config, field.name, [expand_embedded(v) if isinstance(v, str) else v for v in value])


def take_option(arguments: Sequence[str], option: str, takes: str) -> tuple[str | None, list[str]]:
    """The value of an option that is no field of a config, and the other arguments.

    Args:
        takes: what it takes, for the message.

    Raises:
        ConfigError: it is there twice, or without a value.
    """
    values, others, given = [], [], iter(arguments)
    for argument in given:
        if argument == option:
            values.append(next(given, ""))
        elif argument.startswith(f"{option}="):
            values.append(argument.removeprefix(f"{option}="))
        else:
            others.append(argument)
    if len(values) > 1 or any(not value or value.startswith("--") for value in values):
        raise ConfigError(f"{option} takes {takes}")
    return (values[0] if values else None), others


def _check_options(arguments: Sequence[str], known: list[str]) -> None:
    """Check options before argparse sees them, for it would not say what is near an unknown one."""
    for argument in arguments:
        if argument.startswith("--") and argument != "--help":
            name = argument[2:].split("=")[0].replace("-", "_")
            if not (name.startswith("no_") and name[3:] in known):
                check_key(argument[2:].split("=")[0], known, "")


def _checked_recipe(path: Path, kinds: list[type], known: list[str]) -> dict[str, Any]:
    """A recipe's values as the configs want them; its environment variables are set."""
    recipe = read_recipe(path)
    variables = recipe.pop(ENVIRONMENT, None) or {}
    if not isinstance(variables, dict):
        raise ConfigError(f"{path}: {ENVIRONMENT} is a mapping of variables to values")
    for key in recipe:
        check_key(key, known, f"{path}: ")
    os.environ.update({str(name): str(value) for name, value in variables.items()})
    return fit_recipe(recipe, kinds, path)


def check_key(key: str, known: list[str], where: str, *, otherwise: str = "run with --help to see the keys") -> None:
    """Refuse an unknown key, dashes taken for underscores.

    Args:
        where: what stands before the message.
        otherwise: what to say where no known key is near.

    Raises:
        ConfigError: it is unknown; the nearest is named.
    """
    name = key.replace("-", "_")
    if name in known:
        return
    raise ConfigError(f"{where}unknown key {key!r}; {hint(name, known, otherwise)}")


def _friendly(message: str, known: list[str]) -> str:
    message = message.split(": error: ", 1)[-1]
    missing = "the following arguments are required: "
    if message.startswith(missing):
        return f"missing {message.removeprefix(missing)}: give it on the command line or in the recipe"
    return message


def run_main(main: Callable[[list[str]], None]) -> None:
    """Call `main(argv)`; a user's mistake or a refusal by the system (a full disk, a permission) prints its one
    message and exits with 2, an interruption with 130. Warnings are one line each."""
    try:
        with plain_warnings():
            main(sys.argv[1:])
    except PrmError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_left():
            raise SystemExit(141) from None
        where = f"{error.filename}: " if error.filename else ""
        remedy = "what was finished is kept, mend this and run the same command again to go on"
        print(f"error: {where}{error.strerror or error}; {remedy}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None


def _reader_left() -> bool:
    """Whether standard output is closed at its other end, as by `| head`; what is still to be written is dropped."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)
    if not any(event & select.POLLERR for _, event in watch.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
