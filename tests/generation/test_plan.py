"""Batches: complete, bounded, and of equal lengths where that costs little."""

from __future__ import annotations

import random

from prm.generation.base import GenerationRequest
from prm.generation.plan import plan_batches


def requests(lengths: list[int]) -> list[GenerationRequest]:
    return [GenerationRequest(tuple(range(length)), seed) for seed, length in enumerate(lengths)]


def test_every_request_is_in_one_batch_within_the_limits() -> None:
    rng = random.Random(0)
    asked = requests([rng.randrange(1, 60) for _ in range(500)])
    batches = plan_batches(asked, 20, batch_tokens=800, max_batch_rows=16)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    for batch in batches:
        longest = max(len(asked[index].prompt_ids) for index in batch)
        assert len(batch) <= 16
        assert len(batch) * (longest + 20) <= 800


def test_a_request_beyond_the_limit_runs_alone() -> None:
    assert plan_batches(requests([500, 600]), 20, batch_tokens=100, max_batch_rows=8) == [[0], [1]]


def test_identical_prompts_stand_side_by_side() -> None:
    asked = [GenerationRequest((a, 1), seed) for seed, a in enumerate([3, 4, 3, 4])]
    assert plan_batches(asked, 5, batch_tokens=1000, max_batch_rows=2) == [[0, 2], [1, 3]]


def test_a_batch_at_least_half_full_ends_where_prompts_get_longer() -> None:
    assert plan_batches(requests([3, 3, 4, 5]), 5, batch_tokens=1000, max_batch_rows=4) == [[0, 1], [2, 3]]
    assert plan_batches(requests([3, 4, 4, 4]), 5, batch_tokens=1000, max_batch_rows=4) == [[0, 1, 2, 3]]
