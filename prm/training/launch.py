"""`prm train` with accelerate's own arguments: hand them to `accelerate launch`, as `trl sft` does.

    prm train --config prm.yaml --accelerate_config zero2 --num_processes 4

is `accelerate launch --config_file recipes/accelerate/zero2.yaml --num_processes 4 -m prm.train --config prm.yaml`.
"""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from prm.errors import ConfigError

RECIPES_PACKAGE = "prm.recipes"
_OWN_FLAG = "--accelerate_config"


def split_launch_arguments(arguments: Sequence[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """Split into `(accelerate's arguments, the script's)`.

    Args:
        known: the script's own keys, which win where accelerate has a flag of the same name.

    Raises:
        ConfigError: a flag of accelerate's without its value, or an unknown `--accelerate_config`.
    """
    flags = {_flag(argument) for argument in arguments if argument.startswith("--")}
    if all(flag in known for flag in flags):
        return [], list(arguments)
    from accelerate.commands.launch import launch_command_parser

    actions = launch_command_parser()._option_string_actions
    launch: list[str] = []
    script: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name = _flag(argument)
        is_flag = argument.startswith("--") and name not in known
        if is_flag and name == _OWN_FLAG[2:]:
            launch += ["--config_file", str(accelerate_config(_value(argument, rest)))]
        elif is_flag and f"--{name}" in actions:
            takes_value = actions[f"--{name}"].nargs != 0
            launch += [f"--{name}", _value(argument, rest)] if takes_value else [argument]
        else:
            script.append(argument)
    return launch, script


def accelerate_config(name: str) -> Path:
    """A file, or one of the configurations shipped in `recipes/accelerate` by its name.

    Raises:
        ConfigError: neither.
    """
    if Path(name).is_file():
        return Path(name)
    spec = importlib.util.find_spec(RECIPES_PACKAGE)
    folders = [Path(folder) / "accelerate" for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted(path.stem for folder in folders for path in folder.glob("*.yaml"))
    raise ConfigError(f"accelerate_config {name!r} is neither a file nor one of {', '.join(known)}")


def launch(launch_arguments: Sequence[str], script_arguments: Sequence[str]) -> None:
    """Run `accelerate launch ... -m prm.train ...`.

    Raises:
        SystemExit: a process failed; with 2 where it was a user's mistake, which that process has explained.
    """
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = [*launch_arguments, "--module", "prm.train", *script_arguments]
    try:
        launch_command(launch_command_parser().parse_args(arguments))
    except subprocess.CalledProcessError as error:
        raise SystemExit(2 if error.returncode == 2 else 1) from None
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        raise SystemExit(2 if 2 in codes else 1) from None


def _flag(argument: str) -> str:
    return argument.removeprefix("--").split("=")[0].replace("-", "_")


def _value(argument: str, rest: object) -> str:
    if "=" in argument:
        return argument.split("=", 1)[1]
    value = next(rest, None)  # type: ignore[call-overload]
    if value is None:
        raise ConfigError(f"{argument} needs a value")
    return str(value)
