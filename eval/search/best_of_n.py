"""Best-of-n (Cobbe et al., arXiv 2110.14168): of n samples, the one with the highest verifier score."""

from __future__ import annotations

from prm.stats.estimators import best_of_n

from .base import Arena, Kinds, ProblemResult, at_n


class BestOfN:
    """The answer of the sample with the highest aggregated score, over all subsets; ties are shared evenly."""

    name = "best_of_n"
    kinds: Kinds = frozenset({"prm", "orm"})
    live = False
    fixed_n = None

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        return [ProblemResult(best_of_n(pool.scores, pool.correct, n), at_n(pool, n)) for pool in arena.samples()]
