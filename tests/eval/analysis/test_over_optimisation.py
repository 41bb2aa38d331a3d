"""Where more samples stop helping, and what the chosen solutions look like: against every subset, by hand."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from prm.eval.analysis.evidence import Evidence
from prm.eval.analysis.over_optimisation import chosen_solutions, peaks
from prm.eval.search.base import UNCHOOSABLE


def curve(line: Any, means: dict[int, float], problems: int = 200, **names: Any) -> list[Any]:
    """Lines whose per-problem values scatter around the means."""
    noise = np.random.default_rng(0).normal(0, 0.05, (problems, len(means)))
    return [line("best_of_n", n, m + noise[:, k], **names) for k, (n, m) in enumerate(means.items())]


def test_a_peak_inside_is_found_with_its_interval_and_its_fall(line: Any) -> None:
    (peak,) = peaks(curve(line, {1: 0.4, 2: 0.5, 4: 0.6, 8: 0.5, 16: 0.45}, verifier="p"))
    assert (peak.method, peak.verifier, peak.ns) == ("best_of_n", "p", (1, 2, 4, 8, 16))
    assert (peak.n, peak.low, peak.high) == (4, 4, 4)
    assert peak.fall.mean == pytest.approx(0.15, abs=0.02)
    assert peak.is_inside


def test_a_rising_curve_has_its_peak_at_the_end_and_falls_by_nothing(line: Any) -> None:
    (peak,) = peaks(curve(line, {1: 0.4, 4: 0.5, 16: 0.6}, verifier="p"))
    assert (peak.n, peak.low, peak.high, peak.fall.mean) == (16, 16, 16, 0.0)
    assert not peak.is_inside


def test_a_flat_curve_has_its_peak_anywhere_and_its_fall_is_not_clear_of_zero(line: Any) -> None:
    falls = []
    for seed in range(20):
        values = (np.random.default_rng(seed).random((60, 4)) < 0.5).astype(float)
        methods = [line("majority", n, values[:, k]) for k, n in enumerate((1, 2, 4, 8))]
        (peak,) = peaks(methods, seed=seed)
        assert peak.low < peak.high
        falls.append(peak.is_inside)
    assert sum(falls) <= 2


def test_oracles_and_curves_of_two_points_have_no_peak(line: Any) -> None:
    methods = [line("pass_at_n", n, [0.5, 0.6]) for n in (1, 2, 4)]
    methods += [line("no_skill", n, [0.5, 0.6]) for n in (1, 2, 4)]
    methods += [line("majority", n, [0.5, 0.6]) for n in (1, 2)]
    assert peaks(methods) == ()


def test_what_is_chosen_among_n_is_the_mean_over_all_subsets(pool: Any) -> None:
    solutions = [("aa", "b"), ("aa", "b"), ("c", "c", "c"), ("dddd",), ("e", "f"), ()]
    scores = [0.4, 0.4, 0.9, 0.4, 0.7, UNCHOOSABLE]
    correct = [1, 1, 0, 0, 1, 0]
    found = chosen_solutions("p", [Evidence([pool(correct, scores, solutions)])], range(1, 7))
    for n, one in enumerate(found, start=1):
        rows: list[list[float]] = []
        for subset in combinations(range(6), n):
            top = [i for i in subset if scores[i] == max(scores[j] for j in subset)]
            shapes = [
                (
                    max(scores[i], 0.0),
                    correct[i],
                    len(solutions[i]),
                    sum(map(len, solutions[i])),
                    len(solutions[i]) - len(set(solutions[i])),
                )
                for i in top
            ]
            distinct = len({solutions[i] for i in subset})
            rows.append([*np.mean(shapes, axis=0), 1 - distinct / n])
        score, right, steps, characters, repeated, duplicates = np.mean(rows, axis=0)
        assert (one.method, one.verifier, one.n) == ("best_of_n", "p", n)
        assert one.score.mean == pytest.approx(score)
        assert one.accuracy.mean == pytest.approx(right)
        assert one.excess.mean == pytest.approx(score - right)
        assert one.steps.mean == pytest.approx(steps)
        assert one.step_length.mean == pytest.approx(characters / steps)
        assert one.repeated.mean == pytest.approx(repeated / steps)
        assert one.duplicates.mean == pytest.approx(duplicates)


def test_a_verifier_that_is_fooled_by_short_repetitive_solutions_shows_it(pool: Any) -> None:
    # Honest solutions have four long steps and fair scores; one in eight repeats a short one and scores higher.
    honest, trick = ("first do this", "and then do that", "so it comes to", "the answer is 1"), ("so", "so", "so")
    rng = np.random.default_rng(1)
    pools = []
    for _ in range(50):
        right = rng.random(16) < 0.7
        fooled = rng.random(16) < 1 / 8
        scores = np.where(fooled, 0.95, np.where(right, 0.8, 0.4)) + rng.normal(0, 0.01, 16)
        solutions = [trick if f else honest for f in fooled]
        pools.append(pool(right & ~fooled, scores, solutions))
    one, many = chosen_solutions("p", [Evidence(pools)], [1, 16])
    assert many.score.low > one.score.high
    assert many.accuracy.high < one.accuracy.low
    assert many.excess.low > one.excess.high
    assert many.step_length.high < one.step_length.low
    assert many.repeated.low > one.repeated.high


def test_what_was_never_seen_on_some_problems_is_not_impossible(pool: Any) -> None:
    pools = [pool([1, 0], [0.9, 0.1], [("a", "b"), ("c", "d")]) for _ in range(20)]
    (one,) = chosen_solutions("p", [Evidence(pools)], [1])
    assert (one.repeated.mean, one.repeated.low) == (0.0, 0.0) == (one.duplicates.mean, one.duplicates.low)
    assert one.repeated.high == one.duplicates.high > 0.1
    assert one.excess.low < one.excess.mean == 0.0 < one.excess.high


def test_live_searches_choose_among_all_they_finished(pool: Any) -> None:
    samples = [pool([1, 0], [0.9, 0.1], [("a",), ("b",)])]
    grown = [pool([0, 1, 1], [0.5, 0.8, UNCHOOSABLE], [("a",), ("b", "c"), ("b", "c")])]
    found = chosen_solutions("p", [Evidence(samples, grown={("dvts", 3): grown})], [1])
    assert [(one.method, one.n) for one in found] == [("best_of_n", 1), ("dvts", 3)]
    assert (found[1].accuracy.mean, found[1].steps.mean) == (1.0, 2.0)
    assert found[1].duplicates.mean == pytest.approx(1 / 3)


def test_repeated_runs_are_averaged_problem_by_problem(pool: Any) -> None:
    runs = [Evidence([pool([right], [0.5], [("a",)]), pool([1], [0.5], [("a",)])]) for right in (1, 0)]
    (found,) = chosen_solutions("p", runs, [1])
    assert found.accuracy.mean == pytest.approx(0.75)
    assert found.accuracy.n == 2


def test_where_no_solution_has_a_step_lengths_are_unknown(pool: Any) -> None:
    (found,) = chosen_solutions("p", [Evidence([pool([0], [UNCHOOSABLE], [()])])], [1])
    assert np.isnan(found.step_length.mean) and found.steps.mean == 0.0
