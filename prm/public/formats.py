"""`prm formats`: the published verifiers that are known, and how each is read."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from prm.public.entries import PUBLIC_FORMATS
from prm.public.entry import PublicFormat
from prm.public.rule import rule_lines


@dataclass
class FormatsConfig:
    """Nothing to set."""


_NAMELESS = ("by its format only: no name on the Hub is known",)


def describe(entry: PublicFormat) -> str:
    """One entry as text."""
    lines = [
        f"{entry.name}  ({entry.kind.upper()}, {entry.verified})",
        *(f"  {checkpoint}" for checkpoint in entry.checkpoints or _NAMELESS),
        *(f"  {line}" for line in rule_lines(entry)),
        f"  source: {entry.source}",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """The subcommand `prm formats`."""
    from prm.config import parse_config

    parse_config(FormatsConfig, sys.argv[1:] if arguments is None else arguments, prog="prm formats")
    print("\n\n".join(describe(entry) for entry in PUBLIC_FORMATS))


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
