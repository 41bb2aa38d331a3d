"""How a tree's places are shared among its branches."""

from __future__ import annotations

import math
import random

import pytest
from prm.eval.search.allotment import Allotment, KeepBest, Softmax


@pytest.mark.parametrize("allotment", [KeepBest(1), KeepBest(4), Softmax(0.2)])
def test_every_place_is_given_once(allotment: Allotment) -> None:
    rng = random.Random(0)
    for size in range(1, 40):
        shares = allotment.shares([rng.random() for _ in range(size)])
        assert len(shares) == sum(shares) == size
        assert min(shares) >= 0
    assert allotment.shares([]) == []


def test_the_best_of_every_four_share_the_places_evenly() -> None:
    assert KeepBest(4).shares([0.1, 0.9, 0.5, 0.2, 0.3, 0.8, 0.7, 0.4]) == [0, 4, 0, 0, 0, 4, 0, 0]
    # Seven places: two branches are kept, and the better one gets the odd place.
    assert KeepBest(4).shares([0.1, 0.8, 0.5, 0.2, 0.3, 0.9, 0.7]) == [0, 3, 0, 0, 0, 4, 0]


def test_rebase_shares_by_the_softmax_of_the_scores() -> None:
    scores = [0.9, 0.7, 0.5, 0.1]
    shares = Softmax(0.2).shares([*scores, *[-1.0] * 60])
    total = sum(math.exp(score / 0.2) for score in scores) + 60 * math.exp(-5)
    for share, score in zip(shares, scores, strict=False):
        assert abs(share - 64 * math.exp(score / 0.2) / total) < 1
    assert Softmax(0.2).shares([0.5] * 7) == [1] * 7  # sampling, where nothing tells the branches apart
    assert Softmax(1e-3).shares([0.2, 0.9, 0.3, 0.8]) == [0, 4, 0, 0]  # the cold limit keeps the best alone


def test_ties_are_broken_by_the_order_of_drawing_alone() -> None:
    assert KeepBest(2).shares([0.5, 0.5, 0.5, 0.5]) == [2, 2, 0, 0]
    assert Softmax(0.2).shares([0.3, 0.3, 0.3, 0.9]) == [0, 0, 0, 4]
