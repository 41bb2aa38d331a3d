"""pass@n: what a perfect verifier would reach with n samples. An oracle, no method: it reads the reference answer."""

from __future__ import annotations

from prm.stats.estimators import pass_at_n

from .base import Arena, Kinds, ProblemResult, at_n


class PassAtN:
    """The chance that one of n samples is right, over all subsets of n samples; at n = 1 plain sampling."""

    name = "pass_at_n"
    kinds: Kinds = frozenset()
    live = False
    fixed_n = None

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        return [ProblemResult(pass_at_n(pool.correct, n), at_n(pool, n)) for pool in arena.samples()]
