"""`prm data`: files of step-labelled solutions, from and to other projects' formats, chosen among, and put together.

prm data convert   rows of one format to rows of another
prm data curate    which labelled solutions to train on, and why not the others
prm data merge     the shards of one run to the file of the undivided run
prm data push      step labels to the Hugging Face Hub, with a card
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prm.config import parse_config, run_main
from prm.errors import ConfigError
from prm.spelling import hint

# Python reserves `from`: the options that people type for these fields.
_SPELLINGS = {"--from": "--from_format", "--to": "--to_format"}


def _convert(arguments: Sequence[str]) -> None:
    from .convert import ConvertConfig, convert_table, run_convert

    config = parse_config(ConvertConfig, arguments, prog="prm data convert")
    summary = run_convert(config)
    print(convert_table(summary))
    _say_written(config.output_path, summary)


def _curate(arguments: Sequence[str]) -> None:
    from .curate import CurateConfig, run_curate
    from .curate_summary import curate_table

    config = parse_config(CurateConfig, arguments, prog="prm data curate")
    summary = run_curate(config)
    print(curate_table(summary))
    _say_written(config.output_path, summary)


def _merge(arguments: Sequence[str]) -> None:
    from .merge import MergeConfig, merge_table, run_merge

    config = parse_config(MergeConfig, arguments, prog="prm data merge")
    report = run_merge(config)
    print(merge_table(report))
    _say_written(config.output_path, report)


def _push(arguments: Sequence[str]) -> None:
    from .push import DatasetPushConfig, push_labels

    config = parse_config(DatasetPushConfig, arguments, prog="prm data push")
    result = push_labels(config)
    if config.dry_run:
        print(result.card)
    print(result)


def _say_written(path: str, summary: dict[str, object]) -> None:
    print(f"{'already finished' if summary.get('repeated') else 'written'}: {path}")


COMMANDS: dict[str, tuple[Callable[[Sequence[str]], None], str]] = {
    "convert": (_convert, "rows of one format -> rows of another"),
    "curate": (_curate, "labelled solutions -> those worth training on, and why not the others"),
    "merge": (_merge, "the shards of one run -> the file of the undivided run"),
    "push": (_push, "a run's step labels -> a dataset on the Hugging Face Hub, with its card"),
}


def usage() -> str:
    """The text of `prm data --help`."""
    lines = [f"  {name:<8} {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: prm data COMMAND [--config recipe.yaml] [--key value ...]",
            "",
            "commands:",
            *lines,
            "",
            "`prm data COMMAND --help` lists every key of a command.",
        ]
    )


def main(arguments: list[str] | None = None) -> None:
    """Run one of the commands.

    Raises:
        ConfigError: an unknown one.
    """
    name, *rest = arguments or ["--help"]
    if name in {"-h", "--help"}:
        print(usage())
        return
    if name not in COMMANDS:
        raise ConfigError(f"unknown command 'data {name}'; {hint(name, COMMANDS)}")
    COMMANDS[name][0]([_spelled(argument) for argument in rest])


def _spelled(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return _SPELLINGS.get(name, name) + equals + value


if __name__ == "__main__":
    run_main(main)
