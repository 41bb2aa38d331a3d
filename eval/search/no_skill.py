"""The chance line of best-of-n: what a verifier without skill would reach, picking among the distinct solutions."""

from __future__ import annotations

from prm.stats.estimators import no_skill

from .base import Arena, Kinds, ProblemResult, at_n


class NoSkill:
    """A pick at random among the distinct solutions of n samples, over all subsets. Not plain sampling: a solution
    that is drawn seven times is still one candidate to a verifier, which gives equal texts one score."""

    name = "no_skill"
    kinds: Kinds = frozenset()
    live = False
    fixed_n = None

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        return [
            ProblemResult(
                no_skill(pool.solutions, pool.correct, n, subsets=arena.subsets, seed=arena.seed), at_n(pool, n)
            )
            for pool in arena.samples()
        ]
