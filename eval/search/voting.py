"""One choice among all the candidates there are, with ties told apart by nothing: every tied winner is returned.

What a method reaches on average over subsets of n samples is `prm.stats.estimators`'s business.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from .base import Candidates

Choice = Literal["best", "weighted"]


def highest(scores: Sequence[float]) -> list[int]:
    """Indices of the candidates with the highest score."""
    top = max(scores, default=0.0)
    return [index for index, score in enumerate(scores) if score == top]


def heaviest(classes: Sequence[int], weights: Sequence[float]) -> list[int]:
    """Answer classes with the largest summed weight; non-voters (class -1) are left out. Unit weights make it the
    majority vote, verifier scores the weighted vote."""
    parts: defaultdict[int, list[float]] = defaultdict(list)
    for label, weight in zip(classes, weights, strict=True):
        if label >= 0:
            parts[label].append(weight)
    sums = {label: math.fsum(weights) for label, weights in parts.items()}
    top = max(sums.values(), default=0.0)
    return [label for label, total in sums.items() if total == top]


def decide(candidates: Candidates, choice: Choice) -> float:
    """The chance that the final answer is right, ties shared evenly; 0 where no candidate finished with an answer.

    `best` takes the candidate with the highest score, `weighted` the answer with the largest summed score.
    """
    if choice == "best":
        winners = highest(candidates.scores)
    else:
        labels = set(heaviest(candidates.classes, candidates.weights))
        # One member stands for its class: they are equivalent, and graded alike.
        first = {label: index for index, label in reversed(list(enumerate(candidates.classes)))}
        winners = [first[label] for label in labels]
    return sum(candidates.correct[index] for index in winners) / len(winners) if winners else 0.0
