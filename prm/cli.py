"""The console script `prm`: one subcommand per stage, each in a module of its own.

This file knows the stages by name only and imports the one that is called, so that `prm --help` is instant and `prm`
never depends on `data_gen` or `eval`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from prm.config import run_main
from prm.errors import ConfigError
from prm.spelling import hint

# subcommand -> (module with a `main(argv)`, what it does)
COMMANDS = {
    "quickstart": ("prm.quickstart", "the whole road on the embedded arithmetic world, in a few minutes on a CPU"),
    "rollout": ("prm.data_gen.rollout", "problems -> sampled, graded solutions (rollouts.jsonl)"),
    "label": ("prm.data_gen.label", "rollouts -> step labels (labels.jsonl)"),
    "data": ("prm.data_gen.data", "convert, curate and merge files of step-labelled solutions"),
    "status": ("prm.data_gen.status", "what a run has done, what is left, its rate and its cost"),
    "train": ("prm.train", "labels or rollouts -> a PRM or an ORM"),
    "eval": ("prm.eval.evaluate_search", "a generator and verifiers -> accuracy, gain and cost under search"),
    "bench": ("prm.eval.bench.run", "a verifier and benchmark files -> its numbers, next to the published ones"),
    "formats": ("prm.public.formats", "the published verifiers that are known, and how each is read"),
    "push": ("prm.hub", "a verifier directory -> the Hugging Face Hub, with its card"),
    "pretrain": ("prm.worlds.pretrain", "train the arithmetic world's generator or base model from scratch"),
}


def usage() -> str:
    """The text of `prm --help`."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, (_, what) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: prm COMMAND [--config recipe.yaml] [--key value ...]",
            "",
            "Train process and outcome reward models, and measure what they are worth under test-time search.",
            "",
            "commands:",
            *lines,
            "",
            "`prm COMMAND --help` lists every key of a command.",
        ]
    )


def dispatch(arguments: Sequence[str]) -> None:
    """Run one subcommand.

    Raises:
        ConfigError: an unknown subcommand.
    """
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(usage())
        return
    if arguments[0] == "--version":
        from prm import __version__

        print(__version__)
        return
    if arguments[0] not in COMMANDS:
        raise ConfigError(f"unknown command {arguments[0]!r}; {hint(arguments[0], COMMANDS)}")
    module = importlib.import_module(COMMANDS[arguments[0]][0])
    module.main(list(arguments[1:]))


def main() -> None:
    """Entry point of the console script."""
    run_main(dispatch)


if __name__ == "__main__":
    main()
