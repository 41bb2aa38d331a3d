"""When to stop completing a prefix, and what its counts are worth after such a stop.

A rule looks at the completions that could be graded (truncated and unparsable ones decide nothing). Its `spec` is
stored with every label, because the rule decides what the counts mean: after `first_success` the share of right
completions is biased (capped at 8, its mean is .69 where the truth is .5), after `interval` it is biased a little, and
the unbiased value is computed from the rule itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from prm.errors import ConfigError, DataError
from prm.stats.intervals import wilson

FIXED_RULE = "fixed"  # every prefix gets the same number of completions: both views are unbiased
FIRST_SUCCESS_RULE = "first_success"
INTERVAL_RULE = "interval"
RULES = (FIXED_RULE, FIRST_SUCCESS_RULE, INTERVAL_RULE)

_ASKED_AT_MOST = 2  # times `max_n`, where truncated completions decide nothing


class SamplingRule(Protocol):
    """Decides how many completions a prefix gets.

    `spec` is what labels store; `max_n` the completions after which it asks for no more, if all can be graded.
    """

    @property
    def spec(self) -> str: ...

    @property
    def max_n(self) -> int: ...

    def more(self, n_correct: int, n_total: int, n_asked: int) -> int:
        """Completions to draw now, after `n_correct` of `n_total` graded ones of `n_asked`; 0 when it is enough."""
        ...


@dataclass(frozen=True)
class Fixed:
    """`n` completions of every prefix (Math-Shepherd, arXiv 2312.08935)."""

    n: int = 8
    spec = FIXED_RULE

    @property
    def max_n(self) -> int:
        return self.n

    def more(self, n_correct: int, n_total: int, n_asked: int) -> int:
        return max(0, self.n - n_asked)


@dataclass(frozen=True)
class FirstSuccess:
    """Up to `n` completions, until one is right: the hard label of `Fixed(n)`, at (1 - (1-p)^n) / p completions
    instead of n. They are drawn in rounds that double (1, 1, 2, 4, ...), so that a call stays a large batch."""

    n: int = 8
    spec = FIRST_SUCCESS_RULE

    @property
    def max_n(self) -> int:
        return self.n

    def more(self, n_correct: int, n_total: int, n_asked: int) -> int:
        return 0 if n_correct else min(max(1, n_asked), self.n - n_asked)


@dataclass(frozen=True)
class Interval:
    """Completions until the share of right ones is known well enough.

    Attributes:
        max_error: stop once Wilson's interval reaches no further than this from its middle.
        max_zero: where no completion was right, stop only once the interval's upper end is at most this: a "0" needs
            more evidence than a "1", for at n = 8 a prefix that succeeds one time in ten is called wrong in 43 of 100.
        min_n, max_n: completions before the first look, and after which to stop anyway. Looks lie at growing distances
            (half as many again), and only there may the sampling stop.
        confidence: of the interval.
    """

    max_error: float = 0.15
    max_zero: float = 0.2
    min_n: int = 4
    max_n: int = 64
    confidence: float = 0.9

    def __post_init__(self) -> None:
        if not (0 < self.max_error < 1 and 0 < self.max_zero <= 1 and 0 < self.confidence < 1):
            raise ConfigError("max_error, max_zero and confidence must lie between 0 and 1")
        if not 1 <= self.min_n <= self.max_n:
            raise ConfigError(f"min_n={self.min_n} and max_n={self.max_n}: need 1 <= min_n <= max_n")

    @property
    def spec(self) -> str:
        values = (self.max_error, self.max_zero, self.min_n, self.max_n, self.confidence)
        return f"{INTERVAL_RULE}:{','.join(f'{value:g}' for value in values)}"

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of graded completions at which the sampling may stop."""
        looks = [self.min_n]
        while looks[-1] < self.max_n:
            looks.append(min(self.max_n, looks[-1] + max(2, looks[-1] // 2)))
        return tuple(looks)

    def enough(self, n_correct: int, n_total: int) -> bool:
        """Whether a look at these counts ends the sampling."""
        if n_total >= self.max_n:
            return True
        bar = wilson(n_correct, n_total, confidence=self.confidence)
        if not n_correct and bar.high > self.max_zero:
            return False
        return (bar.high - bar.low) / 2 <= self.max_error

    def more(self, n_correct: int, n_total: int, n_asked: int) -> int:
        looks = self.looks
        if n_asked >= _ASKED_AT_MOST * self.max_n or (n_total in looks and self.enough(n_correct, n_total)):
            return 0
        following = next(look for look in looks if look > n_total)
        return min(following - n_total, _ASKED_AT_MOST * self.max_n - n_asked)

    def value(self, n_correct: int, n_total: int) -> float:
        """The unbiased estimate of the chance of success (Girshick, Mosteller, Savage 1946): of all sequences that
        lead to these counts without a stop before, the share that begins with a success.

        Raises:
            DataError: counts at which the rule cannot have arrived.
        """
        begun, paths = _paths(self)
        if not 1 <= n_total <= self.max_n or not paths[n_total][n_correct]:
            raise DataError(
                f"{n_correct} of {n_total} completions cannot be right under the rule {self.spec!r}",
                remedy="The counts or the rule were changed since they were written; label again",
            )
        return float(begun[n_total][n_correct] / paths[n_total][n_correct])


@lru_cache(maxsize=16)
def _paths(rule: Interval) -> tuple[list[list[int]], list[list[int]]]:
    """For each number of completions and of successes among them, the sequences that get there without a stop before:
    those that begin with a success, and all."""
    return _count_paths(rule, begins=[0, 1]), _count_paths(rule, begins=[1, 1])


def _count_paths(rule: Interval, begins: list[int]) -> list[list[int]]:
    table = [[1], begins]
    for n in range(1, rule.max_n):
        look = n in rule.looks
        alive = [0 if look and rule.enough(c, n) else ways for c, ways in enumerate(table[n])]
        table.append([sum(alive[max(0, c - 1) : c + 1]) for c in range(n + 2)])
    return table


def interval_from_spec(spec: str) -> Interval | None:
    """The interval rule behind a label's `rule`, `None` where it is another rule's."""
    name, _, values = spec.partition(":")
    if name != INTERVAL_RULE:
        return None
    try:
        error, zero, least, most, confidence = map(float, values.split(","))
        return Interval(error, zero, int(least), int(most), confidence)
    except (ValueError, ConfigError):
        return None
