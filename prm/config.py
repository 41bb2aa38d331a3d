"""From the command line and a YAML recipe to config dataclasses.

`--config recipe.yaml` sets defaults, `--key value` overrides them, and an unknown key raises and suggests the nearest
(TRL's `TrlParser` does the reading). `embedded:generator` and `embedded:base` stand for the shipped models' paths.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from prm.errors import ConfigError, MissingFileError, PrmError
from prm.worlds.models import PREFIX, expand_embedded


def parse_config(classes: Any, arguments: Sequence[str], *, prog: str | None = None) -> Any:
    """Parse arguments into one config, or a tuple of them where `classes` is a sequence.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, a missing required key, or a broken recipe.
        SystemExit: after `--help`, with status 0.
    """
    from trl import TrlParser

    several = isinstance(classes, list | tuple)
    kinds = list(classes) if several else [classes]
    known = [field.name for kind in kinds for field in dataclasses.fields(kind) if field.init]
    arguments = _with_checked_recipe(list(arguments), known)
    parser = TrlParser(kinds, prog=prog)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            configs = parser.parse_args_and_config(args=arguments)
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


def _expand_embedded_models(config: Any) -> None:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name, None)
        if isinstance(value, str) and PREFIX in value:
            setattr(config, field.name, expand_embedded(value))
        elif isinstance(value, list):
            setattr(config, field.name, [expand_embedded(v) if isinstance(v, str) else v for v in value])


def _with_checked_recipe(arguments: list[str], known: list[str]) -> list[str]:
    """Check the recipe's keys before argparse sees them, for it would not say where an unknown one stands."""
    for index, argument in enumerate(arguments):
        if argument.startswith("--") and argument not in {"--config", "--help"}:
            _check_key(argument[2:].split("=")[0], known, "")
        if argument == "--config" and index + 1 < len(arguments):
            _check_recipe(Path(arguments[index + 1]), known)
        elif argument.startswith("--config="):
            _check_recipe(Path(argument.removeprefix("--config=")), known)
    return arguments


def _check_recipe(path: Path, known: list[str]) -> None:
    if not path.is_file():
        raise MissingFileError("no such recipe", path=path, remedy="Check the path after --config")
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(recipe, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values, not a {type(recipe).__name__}")
    for key in recipe:
        if key != "env":  # TrlParser's own key: environment variables
            _check_key(str(key), known, f"{path}: ")


def _check_key(key: str, known: list[str], where: str) -> None:
    name = key.replace("-", "_")
    if name in known or (name.startswith("no_") and name[3:] in known):
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else "run with --help to see the keys"
    raise ConfigError(f"{where}unknown key {key!r}; {hint}")


def _friendly(message: str, known: list[str]) -> str:
    message = message.split(": error: ", 1)[-1]
    missing = "the following arguments are required: "
    if message.startswith(missing):
        return f"missing {message.removeprefix(missing)}: give it on the command line or in the recipe"
    return message


def run_main(main: Callable[[list[str]], None]) -> None:
    """Call `main(argv)`; a user's mistake or a refusal by the system (a full disk, a permission) prints its one
    message and exits with 2, an interruption with 130."""
    try:
        main(sys.argv[1:])
    except PrmError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        remedy = "what was finished is kept, mend this and run the same command again to go on"
        print(f"error: {where}{error.strerror or error}; {remedy}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept, run the same command again to go on", file=sys.stderr)
        raise SystemExit(130) from None
