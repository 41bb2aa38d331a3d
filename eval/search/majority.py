"""Majority voting, or self-consistency (Wang et al., arXiv 2203.11171): the baseline that a verifier has to beat."""

from __future__ import annotations

from prm.stats.estimators import majority_at_n

from .base import Arena, Kinds, ProblemResult, at_n


class Majority:
    """The most frequent answer among n samples, over all subsets; unfinished samples do not vote."""

    name = "majority"
    kinds: Kinds = frozenset()
    live = False
    fixed_n = None

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        return [ProblemResult(majority_at_n(pool.classes, pool.correct, n), at_n(pool, n)) for pool in arena.samples()]
