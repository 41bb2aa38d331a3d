"""Regret, efficiency, the choice of the best line, and the problems a claim needs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from prm.eval.analysis.sample_sizes import DIFFERENCES, sample_sizes
from prm.eval.analysis.seeds import seed_spreads
from prm.eval.analysis.selection import selections
from prm.eval.analysis.worth import efficiency, worths

from prm.stats.sample_size import problems_needed


def test_regret_and_efficiency_measure_a_method_against_a_perfect_choice(line: Any) -> None:
    methods = [
        line("pass_at_n", 1, [0.2, 0.4, 0.0]),
        line("pass_at_n", 4, [0.6, 1.0, 0.2]),
        line("majority", 4, [0.2, 0.8, 0.0]),
        line("best_of_n", 4, [0.6, 1.0, 0.2], verifier="p"),
        line("no_skill", 4, [0.1, 0.1, 0.1]),
        line("greedy", 1, [1, 0, 0]),
    ]
    found = {one.key: one for one in worths(methods)}
    assert found.keys() == {"majority@4", "best_of_n/p@4"}
    vote, best = found["majority@4"], found["best_of_n/p@4"]
    assert vote.regret.mean == pytest.approx(0.8 / 3)
    assert vote.efficiency.mean == pytest.approx(0.4 / 1.2)
    assert (best.regret.mean, best.efficiency.mean) == (0.0, pytest.approx(1.0))
    # It misses nothing on three problems, which says little about others.
    assert best.regret.high > 0.5
    assert best.efficiency.low == pytest.approx(1 - best.regret.high / 0.4)


def test_the_interval_of_an_efficiency_is_that_of_the_ratio_resampled() -> None:
    rng = np.random.default_rng(0)
    one = 0.5 * rng.random(50)
    many = one + 0.5 * rng.random(50)
    method = one + rng.random(50) * (many - one)
    found = efficiency(method, one, many, seed=1)
    rows = np.random.default_rng(1).integers(0, 50, size=(2000, 50))
    by_hand = [(method[i] - one[i]).mean() / (many[i] - one[i]).mean() for i in rows]
    assert found is not None
    assert [found.low, found.high] == pytest.approx(list(np.quantile(by_hand, [0.025, 0.975])))


def test_where_samples_leave_nothing_to_gain_there_is_no_efficiency() -> None:
    assert efficiency([0.5, 1.0], [1.0, 1.0], [1.0, 1.0]) is None
    found = efficiency([1.0, 0.5], [1.0, 0.0], [1.0, 1.0])  # resamples of the first problem alone are left out
    assert found is not None and found.mean == 0.5 and found.low < 0.5 < found.high


def test_the_best_line_is_judged_on_problems_it_was_not_chosen_on(line: Any) -> None:
    rng = np.random.default_rng(2)
    truth = (rng.random((60, 6)) < 0.5).astype(float)
    methods = [line(f"m{k}", 4, truth[:, k], verifier="p") for k in range(4)]
    methods += [line("m0", 2, truth[:, 4], verifier="p"), line("m1", 4, np.ones(60), verifier="c", control=True)]
    methods += [line("m1", 4, np.ones(60), verifier="o", kind="orm")]
    base = line("majority", 4, truth[:, 5])
    at_n, anywhere = selections(methods, base)
    assert (at_n.among, anywhere.among) == ("n", "all")
    assert at_n.keys == ("m0/p@4", "m1/p@4", "m2/p@4", "m3/p@4")
    assert anywhere.keys == (*at_n.keys, "m0/p@2")
    best = max(truth[:, k].mean() for k in range(4))
    assert at_n.apparent.mean == pytest.approx(best - truth[:, 5].mean())
    assert at_n.honest.mean < at_n.apparent.mean
    assert sum(at_n.shares) == pytest.approx(1)
    assert selections([base], base) == ()


def test_sample_sizes_come_from_the_paired_deviation(line: Any) -> None:
    rng = np.random.default_rng(3)
    vote, best = rng.random(80), rng.random(80)
    base = line("majority", 4, vote)
    methods = [base, line("pass_at_n", 4, np.ones(80)), line("best_of_n", 4, best, verifier="p")]
    methods += [line("best_of_n", 2, best, verifier="p")]
    (found,) = sample_sizes(methods, base)
    deviation = (best - vote).std(ddof=1)
    assert (found.key, found.reference) == ("best_of_n/p@4", "majority@4")
    assert found.deviation == pytest.approx(deviation)
    assert found.needed == tuple(problems_needed(size, deviation) for size in DIFFERENCES)
    assert found.needed == tuple(sorted(found.needed, reverse=True))
    assert problems_needed(found.seen, deviation) == pytest.approx(80, abs=1)


def test_one_problem_shows_nothing(line: Any) -> None:
    base = line("majority", 4, [0.5])
    (found,) = sample_sizes([base, line("best_of_n", 4, [0.9], verifier="p")], base)
    assert math.isnan(found.deviation) and found.needed == (None, None, None)


def test_the_spread_between_runs_is_theirs_and_a_single_run_has_none() -> None:
    (found,) = seed_spreads({"majority@4": [0.5, 0.7, 0.6], "greedy@1": [0.4]})
    assert (found.key, found.mean, found.deviation) == ("majority@4", pytest.approx(0.6), pytest.approx(0.1))


def test_rounding_is_no_efficiency() -> None:
    at_one = [0.1 + 0.02 * (place % 40) for place in range(80)]
    found = efficiency([value + 4e-16 for value in at_one], at_one, [1.0] * 80)
    assert found is not None and (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
