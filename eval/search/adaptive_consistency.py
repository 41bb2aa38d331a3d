"""Adaptive consistency (Aggarwal et al., arXiv 2305.11860): samples are drawn one by one until the posterior of the
two largest answer classes says that the majority will stay."""

from __future__ import annotations

from prm.stats.sequential import vote_until_sure

from .base import Arena, Kinds, ProblemResult, at_stop

CONFIDENCE = 0.95  # the paper's


class AdaptiveConsistency:
    """The vote of as many samples as it takes to be sure, at most n; replayed over random orders of the shared
    samples, so that it costs no sample of its own.

    With `weighted` a sample votes with its verifier score, in the posterior and in the vote.
    """

    live = False
    fixed_n = None

    def __init__(self, *, weighted: bool = False, confidence: float = CONFIDENCE):
        self.weighted, self.confidence = weighted, confidence
        self.kinds: Kinds = frozenset({"prm", "orm"}) if weighted else frozenset()
        self.name = "adaptive_consistency_weighted" if weighted else "adaptive_consistency"

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        results = []
        for pool in arena.samples():
            found = vote_until_sure(
                pool.classes,
                pool.correct,
                n,
                confidence=self.confidence,
                weights=pool.weights if self.weighted else None,
                groups=pool.read_together,
                subsets=arena.subsets,
                seed=arena.seed,
            )
            results.append(ProblemResult(found.accuracy, at_stop(pool, found), found.samples))
        return results
