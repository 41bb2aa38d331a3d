"""Batches: complete, bounded, and of equal lengths where that costs little."""

from __future__ import annotations

import random

from prm.generation.base import GenerationRequest
from prm.generation.plan import plan_batches, slots_that_fit


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


def nested(problem: int, count: int, samples: int = 2) -> list[GenerationRequest]:
    """`samples` requests for each of `count` prefixes of one rollout, the first of 100 tokens."""
    prompts = [(problem,) * 100 + (7,) * 10 * step for step in range(count)]
    return [GenerationRequest(prompt, seed) for prompt in prompts for seed in range(samples)]


def test_prefixes_of_one_rollout_are_answered_together() -> None:
    asked = [*nested(1, 4), *nested(2, 4), *nested(3, 4)]
    random.Random(0).shuffle(asked)
    batches = plan_batches(asked, 20, batch_tokens=10_000, max_batch_rows=8)
    assert sorted(index for batch in batches for index in batch) == list(range(24))
    assert [{asked[i].prompt_ids[0] for i in batch} for batch in batches] == [{1}, {2}, {3}]
    lengths = [[len(asked[i].prompt_ids) for i in batch] for batch in batches]
    assert lengths == [[100, 100, 110, 110, 120, 120, 130, 130]] * 3


def test_a_full_batch_is_cut_between_problems() -> None:
    asked = [*nested(1, 3), *nested(2, 4)]
    batches = plan_batches(asked, 20, batch_tokens=10_000, max_batch_rows=9)
    assert [{asked[i].prompt_ids[0] for i in batch} for batch in batches] == [{1}, {2}]


def test_sharing_keeps_the_limits() -> None:
    rng = random.Random(0)
    asked = [request for problem in range(30) for request in nested(problem, rng.randrange(1, 8))]
    batches = plan_batches(asked, 20, batch_tokens=1500, max_batch_rows=8)
    assert sorted(index for batch in batches for index in batch) == list(range(len(asked)))
    for batch in batches:
        longest = max(len(asked[index].prompt_ids) for index in batch)
        assert len(batch) <= slots_that_fit(longest + 20, 1500, 8)


def test_prompts_that_share_little_are_sorted_by_length() -> None:
    asked = [*requests([40, 30, 20, 40]), *requests([20, 30])]
    assert plan_batches(asked, 20, batch_tokens=10_000, max_batch_rows=2) == [[2, 4], [1, 5], [0, 3]]


def test_without_sharing_long_prompts_are_sorted_by_length() -> None:
    asked = [*nested(1, 2), *nested(2, 2)]
    batches = plan_batches(asked, 20, batch_tokens=10_000, max_batch_rows=4, share=False)
    assert [{len(asked[i].prompt_ids) for i in batch} for batch in batches] == [{100}, {110}]


def test_a_planned_batch_is_one_batch_when_planned_again() -> None:
    """As the ledger asks: batch by batch, each planned by itself."""
    short, long = requests([i % 9 + 1 for i in range(200)]), [r for p in range(20) for r in nested(p, 5)]
    for asked in (short, long):
        for rows_per_slot in (1, 4):
            limits = {"batch_tokens": 3000, "max_batch_rows": 7, "rows_per_slot": rows_per_slot}
            for batch in plan_batches(asked, 20, **limits):
                assert len(batch) <= 7 * rows_per_slot
                again = plan_batches([asked[i] for i in batch], 20, **limits)
                assert again == [list(range(len(batch)))]
