"""Bills: the formula, what n of M samples cost, what is unknown stays unknown, and nothing is lost on the way to a
file and back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from prm.eval.cost import Bill, Prices, SampleBills, bill_of, mean_bill, without_prompt

from prm.errors import ConfigError
from prm.rollouts import Cost


def test_a_bill_survives_a_file_with_and_without_its_zeros() -> None:
    bill = Bill(generated_tokens=3.5, generator_flops=70, seconds=0.25)
    for zeros in (True, False):
        values = json.loads(json.dumps(bill.to_dict(zeros=zeros)))
        assert Bill.from_dict(values) == bill
        assert values["flops"] == 70
    assert "verifier_tokens" not in bill.to_dict(zeros=False)


def test_unknown_flops_are_null_in_a_file_and_not_nothing() -> None:
    values = Bill(generated_tokens=3, generator_flops=math.nan).to_dict(zeros=False)
    assert values == {"generated_tokens": 3, "generator_flops": None, "flops": None}
    assert math.isnan(Bill.from_dict(values).flops)


def test_flops_count_parameters_by_token_and_attention_by_pair_of_tokens() -> None:
    # One layer with 2 heads of width 3: 4 * 1 * 2 * 3 = 24 FLOPs for each pair.
    cost = Cost(generated_tokens=2, prefilled_tokens=3, attended_tokens=1 + 2 + 3 + 4 + 5, verifier_tokens=7)
    cost = replace(cost, verifier_attended_tokens=28)
    bill = bill_of(
        cost, generator_parameters=100, verifier_parameters=10, generator_attention=24, verifier_attention=8
    )
    assert bill.generator_flops == 2 * 100 * 5 + 24 * 15
    assert bill.verifier_flops == 2 * 10 * 7 + 8 * 28


def test_lookahead_and_pruned_tokens_are_kept_and_the_cache_is_a_peak_not_a_sum() -> None:
    costs = [
        Cost(generated_tokens=9, lookahead_tokens=4, pruned_tokens=2, cache_bytes=800),
        Cost(generated_tokens=1, lookahead_tokens=0, pruned_tokens=1, cache_bytes=300),
    ]
    bills = [bill_of(cost, generator_parameters=1, verifier_parameters=1) for cost in costs]
    bill = mean_bill(bills)
    assert (bill.generated_tokens, bill.lookahead_tokens, bill.pruned_tokens) == (5, 2, 1.5)
    assert bill.cache_bytes == bill.scaled(0.1).cache_bytes == 800


@pytest.mark.parametrize("readings", [1, 2, 8])
def test_a_few_of_many_samples_read_their_prompt_as_often_as_they_would_alone(readings: int) -> None:
    # Eight samples of 5 tokens from a prompt of 30, which was read so often; the others found it cached.
    total, prompt = 8, 30
    cost = Cost(
        generated_tokens=5 * total, prefilled_tokens=readings * prompt, cached_tokens=(total - readings) * prompt
    )
    whole = replace(bill_of(cost, generator_parameters=7, verifier_parameters=0), seconds=4.0)
    for n in (1, 2, 4, 8):
        bill = whole.of_some(n, total)
        read = max(1.0, readings * n / total)
        assert bill.generated_tokens == 5 * n
        assert bill.prefilled_tokens == pytest.approx(read * prompt)
        assert bill.cached_tokens == pytest.approx((n - read) * prompt)
        assert bill.generator_flops == pytest.approx(2 * 7 * (5 * n + read * prompt))
        assert bill.seconds == 4.0 * n / total
    assert whole.of_some(total, total) == whole


def test_samples_whose_engine_counts_no_prompt_are_shared_out_evenly() -> None:
    whole = Bill(generated_tokens=40, generator_flops=math.nan)
    part = whole.of_some(2, 8)
    assert (part.generated_tokens, part.prefilled_tokens, part.cached_tokens) == (10, 0, 0)
    assert math.isnan(part.generator_flops)
    assert math.isnan(Bill(generator_flops=math.nan).of_some(2, 8).generator_flops)
    assert Bill(generator_flops=80).of_some(2, 8).generator_flops == 20


def test_a_samples_own_cost_is_the_same_whoever_read_its_prompt() -> None:
    # Three prompt tokens and two generated ones, which attend to 4 and 5 tokens.
    reader = Cost(generated_tokens=2, prefilled_tokens=3, attended_tokens=1 + 2 + 3 + 4 + 5, flops=50.0)
    half = replace(reader, prefilled_tokens=1, cached_tokens=2, attended_tokens=3 + 4 + 5, flops=30.0)
    follower = replace(reader, prefilled_tokens=0, cached_tokens=3, attended_tokens=4 + 5, flops=20.0)
    own = Cost(generated_tokens=2, attended_tokens=9, flops=20.0)
    assert [without_prompt(cost) for cost in (reader, half, follower)] == [own] * 3
    assert without_prompt(Cost(generated_tokens=2, prefilled_tokens=3)) == Cost(generated_tokens=2)  # nothing counted
    assert without_prompt(Cost(flops=7.0)) == Cost(flops=7.0)


def test_samples_drawn_by_chance_cost_each_its_own_and_what_is_unknown_stays_so() -> None:
    costs = [Cost(generated_tokens=10, prefilled_tokens=30, seconds=1.0, flops=80.0), Cost(generated_tokens=100)]
    rollouts = [SimpleNamespace(cost=cost) for cost in costs]
    priced = SampleBills.priced(rollouts, generator_parameters=3)
    bill = priced.drawn([1.0, 0.5])
    assert (bill.generated_tokens, bill.generator_flops, bill.seconds) == (60, 2 * 3 * 60, 1.0)
    recorded = SampleBills.recorded(rollouts)
    assert recorded.flops[0] == 80 * 10 / 40
    assert math.isnan(recorded.drawn([1.0, 0.5]).generator_flops)
    assert recorded.drawn([1.0, 0.5]).generated_tokens == 60


def test_money_is_tokens_by_their_prices_and_hours_of_the_machine() -> None:
    bill = Bill(generated_tokens=2e6, prefilled_tokens=1e6, cached_tokens=4e6, verifier_tokens=3e6, seconds=1800)
    prices = Prices(generated=10, prefilled=2, cached=0.5, verifier=1)
    assert prices.of(bill) == pytest.approx(20 + 2 + 2 + 3)
    assert Prices(hour=4).of(bill) == pytest.approx(2)
    assert Prices(generated=10, hour=4).of(bill) == pytest.approx(22)


def test_money_is_unknown_without_prices_and_where_tokens_have_none() -> None:
    bill = Bill(generated_tokens=1e6, verifier_tokens=1)
    assert math.isnan(Prices().of(bill))
    assert math.isnan(Prices(generated=10).of(bill))  # what the verifier read costs something nobody said
    assert Prices(generated=10, verifier=0).of(bill) == 10
    assert Prices(generated=10).of(replace(bill, verifier_tokens=0)) == 10


def test_it_is_known_which_price_is_missing() -> None:
    bill = Bill(generated_tokens=1e6, prefilled_tokens=3, verifier_tokens=1)
    assert Prices(generated=10).missing(bill) == ("prefilled", "verifier")
    assert Prices(generated=10, prefilled=0, verifier=0).missing(bill) == ()  # no cached tokens, no price for them
    assert Prices(generated=10, hour=1).missing(bill) == Prices().missing(bill) == ()


def test_a_price_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match="price_cached must be an amount of money, not -1"):
        Prices(cached=-1)
