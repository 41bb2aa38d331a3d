"""Gains over what costs less, at equal n and at equal FLOPs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from prm.eval.analysis.gains import Spending, gains, on_curve, references

from prm.stats.intervals import paired_difference


def by_name(found: Any) -> dict[tuple[str, str, str], Any]:
    return {(gain.key, gain.reference, gain.equal): gain for gain in found}


def test_a_method_is_measured_over_plain_sampling_the_vote_and_the_orm_by_problem(line: Any) -> None:
    rng = np.random.default_rng(0)
    accuracy = {name: rng.random(40) for name in ("one", "vote", "orm", "prm")}
    methods = [
        line("pass_at_n", 1, accuracy["one"]),
        line("pass_at_n", 4, np.ones(40)),
        line("majority", 4, accuracy["vote"], flops=4),
        line("best_of_n", 4, accuracy["orm"], flops=6, verifier="o", kind="orm"),
        line("best_of_n", 4, accuracy["prm"], flops=8, verifier="p"),
    ]
    found = by_name(gains(methods))
    for reference, other in (("pass@1", "one"), ("majority", "vote"), ("best_of_n/o", "orm")):
        gain = found["best_of_n/p@4", reference, "n"]
        assert gain.difference == paired_difference(accuracy["prm"], accuracy[other])
        assert gain.matched
    assert found["best_of_n/p@4", "majority", "n"].flops_ratio == 0.5
    assert not any(key == "pass_at_n@4" for key, _, _ in found)  # an oracle is no method
    assert not any(key == reference + "@4" for key, reference, _ in found)


def test_at_equal_flops_the_vote_spends_the_same_on_more_samples(line: Any) -> None:
    # Best-of-4 costs as much as eight samples, which lies half way between 4 and 16 on the logarithm.
    at_4, at_16 = np.array([0.2, 0.6, 0.4]), np.array([0.4, 0.6, 1.0])
    methods = [
        line("majority", 4, at_4, flops=4),
        line("majority", 16, at_16, flops=16),
        line("best_of_n", 4, [0.5, 0.7, 0.9], flops=8, verifier="p"),
    ]
    gain = by_name(gains(methods))["best_of_n/p@4", "majority", "flops"]
    assert gain.matched
    assert gain.reference_n == pytest.approx(8)
    half_way = (at_4 + at_16) / 2
    assert gain.difference.mean == pytest.approx(np.mean([0.5, 0.7, 0.9] - half_way))
    expected = paired_difference([0.5, 0.7, 0.9], half_way)  # all problems cost the same: the place does not move
    assert (gain.difference.low, gain.difference.high) == (
        pytest.approx(expected.low),
        pytest.approx(expected.high),
    )


def test_the_interval_at_equal_flops_takes_the_budget_of_each_resample(line: Any) -> None:
    rng = np.random.default_rng(1)
    count = 60  # enough to be resampled
    mine, cost = rng.random(count), 1 + 20 * rng.random(count)
    curve = {n: (np.sort(rng.random(count)), n * (0.5 + rng.random(count))) for n in (1, 4, 16)}
    lines = [line("majority", n, accuracy, flops=flops) for n, (accuracy, flops) in curve.items()]
    method = line("x", 4, mine, flops=cost, verifier="p")
    gain = Spending.of([*lines, method], seed=3).gain(method, references(lines)[0])
    assert gain is not None
    rows = np.random.default_rng(3).integers(0, count, size=(2000, count))
    by_hand = []
    for i in rows:
        xs = [math.log(flops[i].mean()) for _, flops in curve.values()]
        ys = [accuracy[i].mean() for accuracy, _ in curve.values()]
        by_hand.append(mine[i].mean() - np.interp(math.log(cost[i].mean()), xs, ys))
    assert [gain.difference.low, gain.difference.high] == pytest.approx(list(np.quantile(by_hand, [0.025, 0.975])))


@pytest.mark.parametrize(("flops", "n", "ratio"), [(64.0, 16, 0.25), (0.5, 1, 2.0)])
def test_beyond_its_curve_a_reference_stands_at_the_end_and_it_is_said(
    line: Any, flops: float, n: int, ratio: float
) -> None:
    votes = [line("majority", k, [0.1 * k / 4], flops=float(k)) for k in (1, 4, 16)]
    method = line("dvts", 16, [0.9], flops=flops, verifier="p")
    gain = Spending.of([*votes, method]).gain(method, references(votes)[0])
    assert gain is not None and not gain.matched
    assert (gain.reference_n, gain.flops_ratio) == (pytest.approx(n), pytest.approx(ratio))
    assert gain.difference.mean == pytest.approx(0.9 - 0.1 * n / 4)


@pytest.mark.parametrize(("flops", "matched"), [(16.1, True), (16.3, False), (1.005, True), (0.9, False)])
def test_what_differs_by_less_than_a_hundredth_is_the_same(line: Any, flops: float, matched: bool) -> None:
    votes = [line("majority", k, [0.1], flops=float(k)) for k in (1, 4, 16)]
    gain = Spending.of([*votes, line("dvts", 16, [0.9], flops=flops, verifier="p")]).gain(
        line("dvts", 16, [0.9], flops=flops, verifier="p"), references(votes)[0]
    )
    assert gain is not None and gain.matched is matched


def test_it_is_known_with_how_many_samples_the_vote_would_spend_as_much(line: Any) -> None:
    votes = [line("majority", k, [0.1], flops=20.0 + 10 * k) for k in (1, 4, 16)]  # a prompt, and each sample alike
    for spent, needed in ((260.0, 24), (450.0, 43), (180.0, 16)):
        gain = Spending.of([*votes, line("dvts", 16, [0.9], flops=spent, verifier="p")]).gain(
            line("dvts", 16, [0.9], flops=spent, verifier="p"), references(votes)[0]
        )
        assert gain is not None and gain.needed_n == pytest.approx(needed)
    assert all(math.isnan(gain.needed_n) for gain in gains([*votes, line("greedy", 1, [1.0])]) if gain.equal == "n")


def test_plain_sampling_is_right_as_often_at_any_cost(line: Any) -> None:
    methods = [line("pass_at_n", 1, [0.2, 0.4]), line("best_of_n", 4, [0.6, 0.6], flops=9, verifier="p")]
    gain = by_name(gains(methods))["best_of_n/p@4", "pass@1", "flops"]
    assert gain.matched and gain.difference.mean == pytest.approx(0.3)


def test_without_known_flops_there_is_no_gain_at_equal_flops(line: Any) -> None:
    methods = [
        line("majority", 1, [0.5, 0.5], flops=math.nan),
        line("majority", 4, [0.5, 0.5], flops=math.nan),
        line("best_of_n", 4, [0.6, 0.6], flops=math.nan, verifier="p"),
    ]
    found = gains(methods)
    assert {gain.equal for gain in found} == {"n"}
    assert all(math.isnan(gain.flops_ratio) for gain in found)


def test_controls_and_prms_are_no_references(line: Any) -> None:
    methods = [
        line("majority", 4, [0.5]),
        line("best_of_n", 4, [0.5], verifier="p"),
        line("best_of_n", 4, [0.5], verifier="shuffled", kind="orm", control=True),
        line("best_of_n", 4, [0.5], verifier="o", kind="orm"),
        line("weighted_best_of_n", 4, [0.5], verifier="o", kind="orm"),
    ]
    assert [one.name for one in references(methods)] == ["majority", "best_of_n/o", "weighted_best_of_n/o"]


def test_one_sample_is_no_choice_but_greedy_decoding_is_a_method(line: Any) -> None:
    methods = [
        line("pass_at_n", 1, [0.5]),
        line("majority", 1, [0.5]),
        line("best_of_n", 1, [0.5], verifier="p"),
        line("greedy", 1, [0.9]),
    ]
    assert {gain.key for gain in gains(methods)} == {"greedy@1"}


def test_a_curve_is_linear_in_the_logarithm_and_flat_outside() -> None:
    flops = np.array([[1.0, 10.0, 1000.0]])
    values = np.array([[0.0, 1.0, 3.0]])
    for at, expected in ((0.1, 0.0), (1, 0.0), (10**0.5, 0.5), (10, 1.0), (100, 2.0), (1000, 3.0), (1e6, 3.0)):
        assert on_curve(np.array([at]), flops, values)[0] == pytest.approx(expected)
