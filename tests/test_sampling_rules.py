"""Stopping rules: what they ask for, and that the values after them are unbiased, by enumeration."""

from __future__ import annotations

import itertools
import math

import pytest

from prm.errors import ConfigError, DataError
from prm.labels import StepLabel
from prm.sampling_rules import (
    FirstSuccess,
    Fixed,
    Interval,
    SamplingRule,
    interval_from_spec,
)

SMALL = Interval(max_error=0.3, max_zero=0.4, min_n=2, max_n=9, confidence=0.8)


def stopped(rule: SamplingRule, sequence: tuple[int, ...]) -> tuple[int, int]:
    """Right ones and all at the end of the sampling, where `sequence` is what completions would show."""
    asked = 0
    while more := rule.more(sum(sequence[:asked]), asked, asked):
        asked += more
    return sum(sequence[:asked]), asked


@pytest.mark.parametrize("chance", [0.05, 0.3, 0.5, 0.9, 1.0])
def test_the_value_after_an_interval_is_unbiased_and_the_plain_share_is_not(chance: float) -> None:
    value = share = 0.0
    for sequence in itertools.product((0, 1), repeat=SMALL.max_n):
        weight = math.prod(chance if one else 1 - chance for one in sequence)
        right, total = stopped(SMALL, sequence)
        value += weight * SMALL.value(right, total)
        share += weight * right / total
    assert value == pytest.approx(chance, abs=1e-12)
    if 0.2 < chance < 0.95:
        assert abs(share - chance) > 1e-3


@pytest.mark.parametrize("sequence", [(0, 0, 0, 1, 1, 0, 1, 0), (1,) * 8, (0,) * 8, (0, 1, 0, 0, 0, 0, 0, 0)])
def test_first_success_gives_the_hard_label_of_as_many_fixed_completions(sequence: tuple[int, ...]) -> None:
    fixed, early = stopped(Fixed(8), sequence), stopped(FirstSuccess(8), sequence)
    assert fixed == (sum(sequence), 8)
    assert (early[0] > 0) == (fixed[0] > 0)
    assert early[1] <= 8 and (early[1] == 1) == (sequence[0] == 1)


def test_a_zero_needs_more_completions_than_a_one() -> None:
    rule = Interval()
    assert stopped(rule, (1,) * rule.max_n)[1] < stopped(rule, (0,) * rule.max_n)[1]


def test_truncated_completions_decide_nothing_and_are_bounded() -> None:
    rule = Interval(max_n=8)
    asked = 0
    while more := rule.more(0, 0, asked):
        asked += more
    assert asked == 16
    assert rule.more(4, 4, 9) == rule.more(4, 4, 4)  # five undecided ones change nothing


def test_a_label_knows_what_its_rule_makes_of_its_counts() -> None:
    assert StepLabel("monte_carlo", 3, 4).soft == 0.75
    right, total = stopped(SMALL, (1, 0, 1, 1, 1, 0, 1, 1, 1))
    assert StepLabel("monte_carlo", right, total, rule=SMALL.spec).soft == SMALL.value(right, total)
    with pytest.raises(DataError, match="9 of 9 completions cannot be right under the rule"):
        _ = StepLabel("monte_carlo", 9, 9, rule=SMALL.spec).soft
    assert interval_from_spec(SMALL.spec) == SMALL
    with pytest.raises(DataError, match="'first_success' is biased"):
        _ = StepLabel("monte_carlo", 1, 3, rule="first_success").soft
    with pytest.raises(DataError, match="'interval:nonsense' is biased"):
        _ = StepLabel("monte_carlo", 1, 3, rule="interval:nonsense").soft


def test_a_posterior_wins_over_the_counts_it_was_drawn_from() -> None:
    label = StepLabel("first_error", 1, 6, rule="posterior", value=0.2)
    assert (label.hard, label.soft) == (0, 0.2)
    assert StepLabel.from_dict(label.to_dict()) == label


@pytest.mark.parametrize("values", [{"max_error": 0.0}, {"confidence": 1.0}, {"min_n": 9, "max_n": 8}])
def test_impossible_intervals_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Interval(**values)  # type: ignore[arg-type]
