"""Problems that are also in a test set, found as GPT-3's authors did (arXiv 2005.14165, appendix C).

Two problems are equal when their texts are, letter case and whitespace aside. They overlap when they share a run of
`ngram` words, case and punctuation aside: 13, the longest that GPT-3 used. A test problem with fewer words than that
is such a run as a whole, down to 8 words (the shortest that GPT-3 used, below which runs meet by chance); shorter ones
are compared for equality alone. Only problems are compared, for solutions quote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from prm.errors import ConfigError, DataError
from prm.problems import PROBLEM_COLUMNS, dataset_label, equality_form

from .row_files import check_readable, read_rows

SHORTEST_NGRAM = 8
_WORD = re.compile(r"\w+")
_REMEMBERED = 4096  # problems whose verdict is kept: the rollouts of one problem stand near each other


@dataclass(frozen=True)
class Hit:
    """What a problem meets: the test set, the row in it, and the length of the shared run; 0 where they are equal."""

    test_set: str
    line: int
    ngram: int = 0

    @property
    def reason(self) -> str:
        what = f"shares {self.ngram} words in a row with" if self.ngram else "is equal to"
        return f"the problem {what} a test problem: {self.test_set}, line {self.line}"


@dataclass
class _Index:
    equal: dict[str, Hit] = field(default_factory=dict)
    runs: dict[int, dict[str, Hit]] = field(default_factory=dict)  # by their number of words


class Decontaminator:
    """Finds the problems of test sets again.

    Args:
        test_sets: each a path, or the name of a dataset on the Hub, with `:column` behind it where the problem stands
            in neither `problem` nor `question`.
        ngram: words in a row that must not be shared; 0 compares for equality alone.

    Raises:
        ConfigError: an `ngram` that is too short.
        DataError: a test set that cannot be read, or lacks its column.
    """

    def __init__(self, test_sets: Sequence[str], ngram: int = 13):
        check_ngram(ngram)
        self.ngram = ngram
        self._index = _Index()
        for spec in test_sets:
            self._add(spec)
        self.find = lru_cache(maxsize=_REMEMBERED)(self._find)

    def _add(self, spec: str) -> None:
        path, column = split_spec(spec)
        name, index = dataset_label(path), self._index
        for line, row in read_rows(path, split="test"):
            text = _problem(row, column, path, line)
            index.equal.setdefault(equality_form(text), Hit(name, line))
            words = _words(text)
            size = min(self.ngram, len(words))
            if size >= SHORTEST_NGRAM:
                runs = index.runs.setdefault(size, {})
                for run in _runs(words, size):
                    runs.setdefault(run, Hit(name, line, size))

    def _find(self, problem: str) -> Hit | None:
        """The first test problem that is equal, or else overlaps; `find` is this with a memory."""
        if hit := self._index.equal.get(equality_form(problem)):
            return hit
        words = _words(problem)
        for size in sorted(self._index.runs, reverse=True):
            runs = self._index.runs[size]
            for run in _runs(words, size):
                if hit := runs.get(run):
                    return hit
        return None


def check_ngram(ngram: int) -> None:
    """Refuse runs so short that they meet by chance.

    Raises:
        ConfigError: see its message.
    """
    if ngram and ngram < SHORTEST_NGRAM:
        raise ConfigError(f"ngram {ngram} is too short: runs of fewer than {SHORTEST_NGRAM} words meet by chance")


def split_spec(spec: str) -> tuple[str, str]:
    """The path or name, and the column where one is given, of `path[:column]`.

    Raises:
        DataError: no such file.
    """
    head, colon, tail = spec.rpartition(":")
    if colon and head and tail and not Path(spec).exists() and "/" not in tail:
        check_readable(head)
        return head, tail
    check_readable(spec)
    return spec, ""


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _runs(words: Sequence[str], size: int) -> Iterator[str]:
    return (" ".join(words[at : at + size]) for at in range(len(words) - size + 1))


def _problem(row: dict[str, object], column: str, path: str, line: int) -> str:
    for name in [column] if column else [*PROBLEM_COLUMNS, "prompt"]:
        value = row.get(name)
        if isinstance(value, str) and value.strip():
            return value
    what = f"no text in {column!r}" if column else "no problem, question or prompt"
    raise DataError(
        f"{what} in a row with the columns {sorted(row)}",
        path=path,
        line=line,
        remedy="Name the column: --decontaminate path:column",
    )
