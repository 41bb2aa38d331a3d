"""Weighted best-of-n (Li et al., arXiv 2206.02336): a vote in which a sample's weight is its verifier score."""

from __future__ import annotations

from prm.stats.estimators import weighted_best_of_n

from .base import Arena, Kinds, ProblemResult, at_n


class WeightedBestOfN:
    """The answer with the largest summed score among n samples: exact for few subsets, else over `arena.subsets`
    random ones, the same for every verifier."""

    name = "weighted_best_of_n"
    kinds: Kinds = frozenset({"prm", "orm"})
    live = False
    fixed_n = None

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        return [
            ProblemResult(
                weighted_best_of_n(
                    pool.weights, pool.classes, pool.correct, n, subsets=arena.subsets, seed=arena.seed
                ),
                at_n(pool, n),
            )
            for pool in arena.samples()
        ]
