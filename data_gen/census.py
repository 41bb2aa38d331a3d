"""What curation knows of each solution: hashes and counts in arrays, some 60 bytes, never its text.

Two passes over the files need no more: the first takes this census, the rules of `data_gen.screening` decide on it
alone, and the second pass writes. So 445,000 solutions (Math-Shepherd's size) are curated in the memory of a few.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from prm.problems import equality_form
from prm.rollouts import GROWN, Outcome

from .formats.base import Record

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_OUTCOMES = {Outcome.CORRECT: 1, Outcome.WRONG: 0}
UNDECIDED = -1


class Reason(IntEnum):
    """Why a solution is not kept; the first that holds, in this order."""

    KEPT = 0
    NO_STEPS = 1
    BLANK_STEP = 2
    CONTAMINATED = 3
    NO_LABEL = 4
    EXACT_DUPLICATE = 5
    WHITESPACE_DUPLICATE = 6
    NO_OUTCOME = 7
    TOO_HARD = 8
    TOO_EASY = 9
    OVER_PROBLEM_LIMIT = 10
    BALANCE = 11

    @property
    def text(self) -> str:
        return _TEXTS[self]


_TEXTS = {
    Reason.KEPT: "kept",
    Reason.NO_STEPS: "no steps",
    Reason.BLANK_STEP: "a blank step",
    Reason.CONTAMINATED: "a test problem",
    Reason.NO_LABEL: "no step with a known label",
    Reason.EXACT_DUPLICATE: "an exact duplicate",
    Reason.WHITESPACE_DUPLICATE: "a duplicate but for whitespace",
    Reason.NO_OUTCOME: "no decided outcome among the problem's solutions",
    Reason.TOO_HARD: "the problem is solved too rarely",
    Reason.TOO_EASY: "the problem is solved too often",
    Reason.OVER_PROBLEM_LIMIT: "more solutions of the problem than wanted",
    Reason.BALANCE: "surplus of its class",
}

_COLUMNS = {
    "input": "H",  # which file
    "line": "Q",
    "problem": "Q",  # hash of the problem
    "exact": "Q",  # hash of the problem and the steps
    "squeezed": "Q",  # the same, whitespace aside
    "outcome": "b",
    "grown": "B",  # whether a tree search drew it from a prefix
    "right": "I",  # steps by hard label, under the policies
    "wrong": "I",
    "unknown": "I",
    "source": "I",  # what made the labels
    "reason": "B",
    "detail": "q",  # of a reason: the first of duplicates, the number of a hit
}


@dataclass
class Census:
    """One entry per solution in every column, in the order of the files."""

    columns: dict[str, array[int]]
    sources: dict[str, int]
    hits: dict[str, int]

    @classmethod
    def empty(cls) -> Census:
        return cls({name: array(code) for name, code in _COLUMNS.items()}, {}, {})

    def __len__(self) -> int:
        return len(self.columns["line"])

    def add(self, record: Record, place: tuple[int, int], reason: Reason, hit: str | None) -> None:
        """Count a solution.

        Args:
            place: the number of its file, and its line.
            reason: why it is out already, or `KEPT`.
            hit: for a test problem, the sentence that says which.
        """
        hard = [label.hard for label in record.labels]
        sources = "+".join(sorted({label.source for label in record.labels}))
        problem = equality_form(record.problem.problem)
        squeezed = [" ".join(step.split()) for step in record.rollout.steps]
        outcome = record.rollout.outcome
        values = {
            "input": place[0],
            "line": place[1],
            "problem": _hash([problem]),
            "exact": _hash([record.problem.problem, *record.rollout.steps]),
            "squeezed": _hash([problem, *squeezed]),
            "outcome": UNDECIDED if outcome is None else _OUTCOMES.get(outcome, UNDECIDED),
            "grown": record.rollout.source.endswith(GROWN),
            "right": hard.count(1),
            "wrong": hard.count(0),
            "unknown": hard.count(None),
            "source": self.sources.setdefault(sources, len(self.sources)),
            "reason": reason,
            "detail": -1 if hit is None else self.hits.setdefault(hit, len(self.hits)),
        }
        for name, value in values.items():
            self.columns[name].append(value)

    def __getitem__(self, name: str) -> npt.NDArray[np.generic]:
        """A column as an array that shares its memory: writing to it writes the census."""
        return np.frombuffer(self.columns[name], dtype=self.columns[name].typecode)


def _hash(texts: Sequence[str]) -> int:
    """64 bits of texts in order. Among 445,000 the chance that any two meet is 5 in a billion."""
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return int.from_bytes(digest.digest(), "little")


def mixed(values: Hashes, seed: int) -> Hashes:
    """Hashes mixed anew with a seed (splitmix64's finaliser): the order of random choices, and the split."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(((seed + 1) * 0x9E3779B97F4A7C15) % 2**64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
