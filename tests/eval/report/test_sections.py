"""Sections made from findings that are written down here: policies, the exchange, the bill with its money."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prm.eval.cost import Bill, Prices
from prm.eval.difficulty import Measure
from prm.eval.exchange import Side, exchange
from prm.eval.policy_finding import BinLine, BudgetFinding, PolicyFinding
from prm.eval.report.bill import bill_section
from prm.eval.report.exchange import exchange_section
from prm.eval.report.money import unpriced_sentence
from prm.eval.report.pictures import accuracy_choices
from prm.eval.report.policy import policy_section
from prm.eval.report.terminal import terminal_table
from prm.eval.report.wording import points_text
from prm.eval.results import MethodResult, method_result
from prm.eval.search.base import ProblemResult

from prm.report.formatting import as_columns, format_rows, to_csv
from prm.report.page import Figure, Section, render_report
from prm.stats.intervals import Estimate

HALF = Estimate(0.5, 0.4, 0.6, 20)
GAIN = Estimate(0.1, 0.05, 0.15, 20)


def line(method: str, n: int, right: int, bill: Bill, verifier: str = "", **more: Any) -> MethodResult:
    """A method that is right on the first `right` of 20 problems."""
    results = [ProblemResult(float(index < right), bill) for index in range(20)]
    return method_result(results, method=method, n=n, verifier=verifier, **more)


METHODS = [
    line("pass_at_n", 1, 6, Bill(generated_tokens=10, generator_flops=10.0, seconds=1)),
    line("majority", 1, 6, Bill(generated_tokens=10, generator_flops=10.0, seconds=1)),
    line("majority", 4, 8, Bill(generated_tokens=40, generator_flops=40.0, seconds=2)),
    line("best_of_n", 1, 6, Bill(generated_tokens=10, verifier_tokens=9, generator_flops=10.0, seconds=1), "prm"),
    line("best_of_n", 4, 12, Bill(generated_tokens=40, verifier_tokens=36, generator_flops=80.0, seconds=3), "prm"),
    line(
        "lookahead", 4, 14,
        Bill(generated_tokens=60, lookahead_tokens=20, pruned_tokens=11, verifier_tokens=36, generator_flops=90.0,
             cache_bytes=2_500_000, seconds=4),
        "prm",
    ),
]  # fmt: skip


def tables(section: Section) -> dict[str, str]:
    return {table.csv_name: to_csv(table.headers, table.rows) for table in section.tables}


def labels(section: Section) -> list[str]:
    """What the pictures say to a screen reader."""
    figures = [one for one in section.figures if isinstance(one, Figure)]
    return [figure.svg.split('aria-label="')[1].split('"')[0] for figure in figures]


@pytest.fixture
def finding() -> PolicyFinding:
    budgets = tuple(
        BudgetFinding(n, flops, flops * 0.9, ("majority@4", "beam_search@4"), HALF, GAIN, GAIN, "best_of_n@4")
        for n, flops in ((1, 20.0), (4, 80.0))
    )
    return PolicyFinding(
        name="compute_optimal_scores",
        verifier="prm",
        file="policy-prm-scores.json",
        measure=Measure("scores", 4),
        binning="quantile",
        edges=(0.61,),
        bin_problems=(10, 10),
        bin_pass_at_1=(0.8, 0.2),
        estimation=Bill(generator_flops=7.0),
        folds=5,
        problems=20,
        seed=0,
        budgets=budgets,
        methods=(BinLine("majority", 4, (0.9, 0.1), (40.0, 40.0)),),
    )


def test_a_policy_is_shown_beside_best_of_n_with_the_choice_of_every_bin(finding: PolicyFinding) -> None:
    section = policy_section([finding], METHODS)
    curve, gains = labels(section)
    assert "compute-optimal, held out, best-of-n" in curve
    assert "budget of best-of-4, over best-of-n +10.0 [+5.0, +15.0]" in gains
    found = tables(section)
    assert "4,80.0,72.0,majority @ 4,beam search @ 4" in found["compute_optimal_scores_prm.csv"]
    assert "best-of-n @ 4" in found["compute_optimal_scores_prm_gains.csv"]
    assert "pass@1,,0.8,0.2" in found["compute_optimal_scores_prm_bins.csv"]
    assert "7 FLOPs" in section.tables[0].caption and "0.61" in section.tables[-1].caption
    assert "held out" in section.text


def test_the_exchange_has_its_budgets_and_what_they_gain() -> None:
    big = Bill(generated_tokens=10, generator_flops=30.0)
    large = Side("large", 300, (line("pass_at_n", 1, 10, big), line("greedy", 1, 11, big)))
    found = exchange(Side("small", 100, tuple(METHODS)), large)
    section = exchange_section(found)
    curve, gains = labels(section)
    assert "small with search" in curve and "large, sampled once" in curve and "large, greedy" in curve
    assert "R = 0.16, over greedy" in gains
    rows = tables(section)["exchange.csv"].splitlines()
    assert len(rows) == 1 + 4 and rows[1].startswith("inference alone,3.0,30.0")
    assert "lookahead search, prm @ 4" in rows[-1]
    assert "3 times the parameters" in section.text and "50.0% of the 20 problems" in section.text


def test_the_terminal_says_the_exchange_in_a_sentence() -> None:
    large = Side("large", 300, (line("pass_at_n", 1, 10, Bill(generated_tokens=10, generator_flops=30.0)),))
    found = exchange(Side("small", 100, tuple(METHODS)), large)
    result = SimpleNamespace(
        methods=METHODS, analysis=None, ns=[1, 4], seeds=[0], problems=[None] * 20, best=None, notes=[], exchange=found
    )
    config = SimpleNamespace(baseline="majority", panel=False, prices=Prices)
    said = terminal_table(cast(Any, config), cast(Any, result)).splitlines()[-1]
    start = (
        "small with search minus large sampled once (50.0%) at equal FLOPs, points, methods chosen on other problems: "
    )
    assert said.startswith(f"{start}inference alone {points_text(found.lines[0].over_sampled)}; R=22 ")
    assert said.endswith(f"; R=0.16 {points_text(found.lines[-1].over_sampled)}")


def test_the_bill_shows_what_was_spent_and_money_where_prices_are_known() -> None:
    result = cast(Any, SimpleNamespace(methods=METHODS, analysis=None))
    tokens, costs = bill_section(result).tables
    assert [getattr(header, "name", header) for header in tokens.headers] == [
        "method", "verifier", "generated tokens", "lookahead tokens", "pruned tokens", "verifier tokens",
    ]  # fmt: skip
    assert list(tokens.rows[-1]) == ["lookahead search @ 4", "prm", 60, 20, 11, 36]
    assert "money" not in to_csv(costs.headers, costs.rows)
    result.analysis = SimpleNamespace(money={one.key: 0.00012 for one in METHODS})
    money = bill_section(result).tables[1]
    assert to_csv(money.headers, money.rows).splitlines()[0].endswith('"money per 1,000 problems"')
    assert [str(row[-1]) for row in format_rows(as_columns(money.headers), money.rows)[0]] == ["0.12"] * len(
        money.rows
    )
    assert "2500000" in to_csv(money.headers, money.rows)


def test_money_stands_in_the_table_of_methods_and_a_missing_price_is_named() -> None:
    analysis = SimpleNamespace(money={"best_of_n/prm@4": 0.000836, "lookahead/prm@4": math.nan}, gains=())
    result = SimpleNamespace(
        methods=METHODS, analysis=analysis, ns=[1, 4], seeds=[0], problems=[None] * 20, best=None, notes=[],
        exchange=None,
    )  # fmt: skip
    config = SimpleNamespace(
        baseline="majority", panel=False, rollouts=None, output_dir="x", prices=lambda: Prices(generated=2)
    )
    shown = terminal_table(cast(Any, config), cast(Any, result))
    rows = [row.split() for row in shown.splitlines()]
    assert next(row for row in rows if row[:1] == ["best-of-n"])[-1] == "0.836"
    assert next(row for row in rows if row[:1] == ["lookahead"])[-1] == "–"
    missing = "is unknown for methods that spend tokens without a price: give --price_verifier (0 for what is free)"
    assert f"money {missing}" in shown
    said = unpriced_sentence(cast(Any, config), cast(Any, result))
    assert f"Money {missing}." in bill_section(cast(Any, result), said).text
    config.prices = lambda: Prices(generated=2, verifier=0)
    assert "unknown" not in terminal_table(cast(Any, config), cast(Any, result))


def test_accuracy_against_money_where_prices_are_known() -> None:
    analysis = SimpleNamespace(money={one.key: one.bill.generated_tokens / 100 for one in METHODS})
    (choice,) = accuracy_choices(cast(Any, SimpleNamespace(methods=METHODS, analysis=analysis)))
    assert [name for name, _ in choice.options] == ["n", "tokens", "FLOPs", "seconds", "money"]
    (choice,) = accuracy_choices(cast(Any, SimpleNamespace(methods=METHODS, analysis=None)))
    assert [name for name, _ in choice.options] == ["n", "tokens", "FLOPs", "seconds"]


def test_many_curves_get_a_picture_for_each_verifier() -> None:
    bill = Bill(generated_tokens=10, generator_flops=10.0, seconds=1)
    guided = [
        line(f"method_{number}", n, 5, bill, verifier)
        for verifier in ("a", "b") for number in range(6) for n in (1, 4)
    ]  # fmt: skip
    choices = accuracy_choices(cast(Any, SimpleNamespace(methods=[*METHODS[:3], *guided], analysis=None)))
    titles = [choice.options[0][1].svg.split('aria-label="')[1].split(":")[0] for choice in choices]
    assert titles == ["Accuracy against n, a", "Accuracy against n, b"]


def test_a_section_is_fit_for_the_page(finding: PolicyFinding) -> None:
    page = render_report("t", "", "", [policy_section([finding], METHODS)], {})
    assert page.count("<svg") == 2 and "Every method in every bin" in page
