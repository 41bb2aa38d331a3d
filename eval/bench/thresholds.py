"""At which thresholds a solution is judged right, and how a threshold is chosen: fixed, fitted, or cross-fitted.

A solution without an error is accepted by every threshold up to its lowest score; one whose first error is step e is
hit by those above the score of e and up to the lowest score before it. So each is one interval (low, high], and no
more of its scores is needed. Fitting is `prm.stats.thresholds`'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from prm.stats.thresholds import NO_STEP, fit_first_error_threshold

from .resample import Draw, IntArray
from .rows import NO_ERROR

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Solutions:
    """N solutions, each with the thresholds (low, high] at which it is judged right.

    Attributes:
        low_N, high_N: infinite where any threshold on that side will do; low above high where none does.
        wrong_N: whether it has an error.
        problems: text of each one's problem.
    """

    low_N: FloatArray
    high_N: FloatArray
    wrong_N: NDArray[np.bool_]
    problems: tuple[str, ...]

    @classmethod
    def of(cls, scores: Sequence[Sequence[float] | None], labels: Sequence[int], problems: Sequence[str]) -> Solutions:
        """From step scores and the index of the first wrong step. One without scores counts as "no error found"."""
        ends = np.array([_ends(one, label) for one, label in zip(scores, labels, strict=True)], dtype=float)
        wrong = np.array([label != NO_ERROR for label in labels], dtype=bool)
        return cls(ends[:, 0], ends[:, 1], wrong, tuple(problems))

    def hits(self, rows: IntArray, thresholds: FloatArray) -> NDArray[np.bool_]:
        """Whether each of the rows is judged right at its threshold."""
        found: NDArray[np.bool_] = (self.low_N[rows] < thresholds) & (thresholds <= self.high_N[rows])
        return found

    def fit(self, rows: IntArray) -> float:
        """The threshold of the highest first-error F1 on some rows; nan where wrong or right solutions are missing."""
        low, high, wrong = self.low_N[rows], self.high_N[rows], self.wrong_N[rows]
        # The same interval as a solution of two steps: the lowest score before the error, and the error's own; where
        # the first step is the error, of that one alone.
        at_once = wrong & (high == math.inf)
        first = np.where(at_once, low, np.clip(high, 0, 1))
        second = np.clip(low, 0, 1)
        hard = np.stack([np.where(at_once, 0.0, 1.0), np.where(wrong & ~at_once, 0.0, NO_STEP)], axis=1)
        fitted = fit_first_error_threshold(np.stack([first, second], axis=1), hard)
        return fitted.value if fitted else math.nan


class Choice(Protocol):
    """How the threshold of each row is chosen."""

    def words(self, thresholds: FloatArray) -> str:
        """For a table and a card, with the thresholds that were chosen."""
        ...

    def thresholds(self, rows: IntArray, draw: Draw) -> FloatArray:
        """One for each row, nan where none could be fitted."""
        ...


@dataclass(frozen=True)
class Fixed:
    """The verifier's own, or a given one."""

    value: float

    def words(self, thresholds: FloatArray) -> str:
        return f"fixed at {self.value:.3f}"

    def thresholds(self, rows: IntArray, draw: Draw) -> FloatArray:
        return np.full(len(rows), self.value)


@dataclass(frozen=True)
class FittedOn:
    """Fitted on other solutions, which a resample draws anew too."""

    data: Solutions

    def words(self, thresholds: FloatArray) -> str:
        return f"{_written(thresholds)}, fitted on {len(self.data.problems)} other solutions"

    def thresholds(self, rows: IntArray, draw: Draw) -> FloatArray:
        n = len(self.data.problems)
        seen = np.arange(n) if draw is None else draw.integers(0, n, size=n)
        return np.full(len(rows), self.data.fit(seen))


@dataclass(frozen=True)
class CrossFitted:
    """Each part of the problems with the threshold fitted on the others; the solutions of a problem are one part."""

    data: Solutions
    part_N: IntArray

    @classmethod
    def of(cls, data: Solutions, parts: int, seed: int) -> CrossFitted:
        """Share problems out at random; fewer problems than parts leave parts empty."""
        names, index = np.unique(np.array(data.problems), return_inverse=True)
        part = np.random.default_rng(seed).permutation(len(names)) % parts
        return cls(data, part[index])

    def words(self, thresholds: FloatArray) -> str:
        parts = [float(thresholds[self.part_N == part][0]) for part in np.unique(self.part_N)]
        return f"cross-fitted in {len(parts)} parts: {_written(parts)}"

    def thresholds(self, rows: IntArray, draw: Draw) -> FloatArray:
        part = self.part_N[rows]
        found = np.empty(len(rows))
        for one in np.unique(part):
            found[part == one] = self.data.fit(rows[part != one])
        return found


def _written(thresholds: Sequence[float] | FloatArray) -> str:
    """The distinct ones, from low to high; one that could not be fitted is undefined."""
    return ", ".join(f"{one:.3f}" if not math.isnan(one) else "undefined" for one in np.unique(thresholds))


def _ends(scores: Sequence[float] | None, label: int) -> tuple[float, float]:
    if scores is None:
        return (-math.inf, math.inf) if label == NO_ERROR else (math.inf, -math.inf)
    if label == NO_ERROR:
        return -math.inf, min(scores)
    return scores[label], min(scores[:label], default=math.inf)
