"""Length and position bias: planted ones are found, and the truth is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from prm.eval.analysis.bias import bias
from prm.eval.analysis.evidence import Evidence
from prm.eval.search.base import UNCHOOSABLE


def evidence(pool: Any, score_of: Any, step_score: Any = None, problems: int = 80, seed: int = 0) -> Evidence:
    """Problems with twelve different solutions each, right ones longer; `score_of(right, steps, rng)`."""
    rng = np.random.default_rng(seed)
    pools, scored = [], []
    for _ in range(problems):
        right = rng.random(12) < 0.5
        counts = rng.integers(2, 6, 12) + 2 * right
        solutions = [tuple(f"step {i} of {k}" for i in range(count)) for k, count in enumerate(counts)]
        pools.append(pool(right, [score_of(r, c, rng) for r, c in zip(right, counts, strict=True)], solutions))
        scored.append(
            [[step_score(r, place, rng) for place in range(c)] for r, c in zip(right, counts, strict=True)]
            if step_score
            else [None] * 12
        )
    return Evidence(pools, scored)


def test_scores_that_follow_the_truth_alone_have_no_length_bias(pool: Any) -> None:
    # Right solutions are longer here, so that scores go with length; among those alike right they do not.
    def score(right: Any, steps: int, rng: Any) -> float:
        return float(0.2 + 0.5 * right + 0.2 * rng.random())

    found = [bias("p", [evidence(pool, score, problems=30, seed=seed)]).steps for seed in range(20)]
    assert abs(np.mean([one.mean for one in found if one])) < 0.04
    assert sum(one.clear_of() for one in found if one) <= 3


def test_scores_that_follow_the_length_are_found_out(pool: Any) -> None:
    found = bias("p", [evidence(pool, lambda right, steps, rng: 0.3 * right + 0.06 * steps + 0.1 * rng.random())])
    assert found.steps is not None and found.steps.low > 0.6
    assert found.characters is not None and found.characters.low > 0.6
    assert found.position is None and found.places == ()  # an ORM scores no steps


def test_step_scores_that_rise_along_right_solutions_are_found_out(pool: Any) -> None:
    def flat(right: Any, place: int, rng: Any) -> float:
        return 0.6 * right + 0.2 * rng.random()

    def rising(right: Any, place: int, rng: Any) -> float:
        return min(0.5 + 0.05 * place + 0.1 * rng.random(), 1.0)

    def score(right: Any, steps: int, rng: Any) -> float:
        return float(rng.random())

    fair = bias("p", [evidence(pool, score, flat)])
    assert fair.position is not None and not fair.position.clear_of()
    biased = bias("p", [evidence(pool, score, rising)])
    assert biased.position is not None and biased.position.low > 0.7
    assert biased.places[0].score_of_right < biased.places[3].score_of_right


def test_places_have_the_means_of_distinct_solutions(pool: Any) -> None:
    pools = [pool([1, 1, 0, 0], [0.5, 0.5, 0.4, UNCHOOSABLE], [("a", "b"), ("a", "b"), ("c",), ("d",)])]
    found = bias("p", [Evidence(pools, [[[0.9, 0.8], [0.9, 0.8], [0.3], None]])])
    first, second = found.places
    assert (first.place, first.right, first.wrong) == (1, 1, 1)
    assert (first.score_of_right, first.score_of_wrong) == (0.9, 0.3)
    assert (second.right, second.wrong, second.score_of_right) == (1, 0, 0.8)
    assert np.isnan(second.score_of_wrong)


def test_where_nothing_varies_there_is_no_bias_to_speak_of(pool: Any) -> None:
    found = bias("p", [Evidence([pool([1, 0], [0.5, 0.5], [("a",), ("b",)])], [[[0.5], [0.5]]])])
    assert (found.steps, found.characters, found.position) == (None, None, None)
    nothing = bias("p", [Evidence([pool([0], [UNCHOOSABLE], [()])], [[None]])])
    assert (nothing.steps, nothing.places) == (None, ())


def test_repeated_runs_of_one_problem_are_one_problem(pool: Any) -> None:
    one = evidence(pool, lambda right, steps, rng: 0.06 * steps + 0.4 * rng.random())
    once, twice = bias("p", [one]), bias("p", [one, one])
    assert once.steps is not None and twice.steps is not None
    assert twice.steps.mean == pytest.approx(once.steps.mean, abs=0.01)
    assert (twice.steps.high - twice.steps.low) > 0.9 * (once.steps.high - once.steps.low)
    assert twice.steps.n == once.steps.n == 80


def test_problems_of_a_cluster_are_drawn_together(pool: Any) -> None:
    one = evidence(pool, lambda right, steps, rng: 0.06 * steps + 0.4 * rng.random(), problems=20)
    copies = Evidence(list(one.samples) * 4, list(one.step_scores) * 4)
    clustered = bias("p", [copies], clusters=[f"c{i % 20}" for i in range(80)])
    assert clustered.steps is not None
    alone, naive = bias("p", [one]).steps, bias("p", [copies]).steps
    assert alone is not None and naive is not None
    width = clustered.steps.high - clustered.steps.low
    assert width > 1.5 * (naive.high - naive.low)
