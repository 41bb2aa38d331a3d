"""How the places of a tree are shared among its branches: which are continued, and how many times.

A tree of n places that holds n scored branches gives every place to one of them; a branch without a place is pruned.
That is all in which beam search, DVTS and REBASE differ once they are drawn and scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Allotment(Protocol):
    """A frozen dataclass: its fields are part of the sample store's key."""

    def shares(self, scores: Sequence[float]) -> list[int]:
        """Children of each branch, in order; they sum to the number of branches. Equal scores come in the order the
        branches were drawn in, which is random."""
        ...


@dataclass(frozen=True)
class KeepBest:
    """The best of every `beam_width` branches are kept, and share the places evenly, the better ones first (Snell et
    al., arXiv 2408.03314, section 5.2)."""

    beam_width: int

    def shares(self, scores: Sequence[float]) -> list[int]:
        kept = math.ceil(len(scores) / self.beam_width)
        base, extra = divmod(len(scores), kept) if kept else (0, 0)
        counts = [0] * len(scores)
        for rank, index in enumerate(_ranked(scores)[:kept]):
            counts[index] = base + (rank < extra)
        return counts


@dataclass(frozen=True)
class Softmax:
    """Places in proportion to exp(score / temperature) (REBASE, Wu et al., arXiv 2408.00724, section 3.2). The paper
    rounds each share; here the largest remainders are rounded up, so that the shares sum to the places there are."""

    temperature: float

    def shares(self, scores: Sequence[float]) -> list[int]:
        top = max(scores, default=0.0)
        weights = [math.exp((score - top) / self.temperature) for score in scores]
        total = math.fsum(weights)
        quotas = [len(scores) * weight / total for weight in weights]
        counts = [math.floor(quota) for quota in quotas]
        # Rounded, so that equal scores have equal remainders and come in the order they were drawn in.
        remainders = [round(quota - count, 9) for quota, count in zip(quotas, counts, strict=True)]
        for index in _ranked(remainders)[: len(scores) - sum(counts)]:
            counts[index] += 1
        return counts


def _ranked(values: Sequence[float]) -> list[int]:
    """Indices, the largest value first; equal ones in order."""
    return sorted(range(len(values)), key=lambda index: -values[index])
