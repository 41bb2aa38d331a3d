"""A Markdown page as tests see it: its code, its commands and its tables.

By convention a guide's `bash` blocks are run by its test, line by line, and its `console` blocks (servers, GPUs, the
Hub) are not. `tests/test_pages.py` checks the options of both.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prm.cli import dispatch

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Page:
    """One page of the repository, by its path in it: `Page("docs/labels.md")`."""

    path: str

    @property
    def text(self) -> str:
        return (ROOT / self.path).read_text(encoding="utf-8")

    def blocks(self, *languages: str) -> list[str]:
        """The fenced blocks of some languages, in order."""
        found = re.finditer(r"^```(\w+)\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)
        return [match[2] for match in found if match[1] in languages]

    def commands(self) -> list[list[str]]:
        """The command lines of the `bash` blocks, as words."""
        lines = "".join(self.blocks("bash")).replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    def rows(self, header: str) -> list[list[str]]:
        """The cells of the table whose first column is headed so, below its header."""
        lines = self.text.splitlines()
        start = next(index for index, line in enumerate(lines) if line.startswith(f"| {header} |"))
        end = next((index for index in range(start, len(lines)) if not lines[index].startswith("|")), len(lines))
        return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start + 2 : end]]


def run(command: list[str]) -> None:
    """Run one `prm` command in this process, in the current folder; `*` in its words is expanded as a shell does."""
    assert command[0] == "prm", f"not a command of prm: {shlex.join(command)}"
    words = [
        found for word in command[1:] for found in (sorted(map(str, Path().glob(word))) if "*" in word else [word])
    ]
    try:
        dispatch(words)
    except BaseException as error:
        error.add_note(f"by: {shlex.join(command)}")
        raise


def run_all(commands: Iterable[list[str]], instead: Mapping[str, str]) -> None:
    """Run commands in order, made small: `instead` maps words, or words in a row, to what stands in their place.

    Of an option that is given twice the last one holds, so that more of them may follow a recipe's name. Everything
    in `instead` must be found, so that it cannot outlive what it replaces.
    """
    found: set[str] = set()
    for command in commands:
        line = shlex.join(command)
        for old, new in instead.items():
            if old in line:
                found.add(old)
                line = line.replace(old, new)
        run(shlex.split(line))
    assert found == set(instead), f"in no command: {set(instead) - found}"
