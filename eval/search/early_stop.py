"""Stopping early: samples are drawn until a window of them agrees (Li et al., arXiv 2401.10480), or until a verifier
accepts one."""

from __future__ import annotations

from prm.stats.sequential import first_above, vote_by_windows

from .base import Arena, Kinds, ProblemResult, at_stop

WINDOW = 4  # the paper takes 4 to 8
THRESHOLD = 0.9


class EarlyStop:
    """Early-stopping self-consistency: the vote of all samples up to the first window with one answer, at most n."""

    name = "early_stop"
    kinds: Kinds = frozenset()
    live = False
    fixed_n = None

    def __init__(self, window: int = WINDOW):
        self.window = window

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        results = []
        for pool in arena.samples():
            found = vote_by_windows(
                pool.classes,
                pool.correct,
                n,
                window=self.window,
                groups=pool.read_together,
                subsets=arena.subsets,
                seed=arena.seed,
            )
            results.append(ProblemResult(found.accuracy, at_stop(pool, found), found.samples))
        return results


class ThresholdStop:
    """The first sample whose aggregated score reaches a threshold, else the best of n."""

    name = "early_stop_threshold"
    kinds: Kinds = frozenset({"prm", "orm"})
    live = False
    fixed_n = None

    def __init__(self, threshold: float = THRESHOLD):
        self.threshold = threshold

    def evaluate(self, arena: Arena, n: int) -> list[ProblemResult]:
        results = []
        for pool in arena.samples():
            found = first_above(pool.scores, pool.correct, n, threshold=self.threshold, groups=pool.read_together)
            results.append(ProblemResult(found.accuracy, at_stop(pool, found), found.samples))
        return results
