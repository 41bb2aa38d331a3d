"""Search with a small model against a larger one at equal FLOPs: the paper's exchange, chosen held out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prm.eval.allocation import split_folds
from prm.eval.cost import Bill
from prm.eval.exchange import RATIOS, Exchange, Side, exchange, exchange_multiple, read_side
from prm.eval.results import MethodResult, method_result
from prm.eval.search.base import ProblemResult

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import write_jsonl
from prm.problems import Problem

PROBLEMS = 300


def line(method: str, n: int, chance: float, flops: float, verifier: str = "", **more: Any) -> MethodResult:
    right = np.random.default_rng([n, len(method)]).random(PROBLEMS) < chance
    results = [ProblemResult(float(value), Bill(generator_flops=flops)) for value in right]
    return method_result(results, method=method, n=n, verifier=verifier, **more)


@pytest.fixture
def small() -> Side:
    return Side(
        "small",
        100,
        (
            line("pass_at_n", 1, 0.3, 10.0),
            line("pass_at_n", 16, 1.0, 160.0),
            line("no_skill", 16, 1.0, 160.0),
            line("majority", 4, 0.4, 40.0),
            line("beam_search", 4, 0.6, 70.0, "prm"),
            line("dvts", 16, 0.8, 200.0, "prm"),
            line("dvts", 16, 1.0, 200.0, "magic", control=True),
            line("best_of_n", 16, 1.0, float("nan"), "prm"),
        ),
    )


@pytest.fixture
def large() -> Side:
    return Side("large", 300, (line("pass_at_n", 1, 0.7, 30.0), line("greedy", 1, 0.75, 30.0)))


def test_the_exchange_is_that_of_equal_totals() -> None:
    for m, ratio in ((14.0, 0.16), (14.0, 0.79), (2.4, 22.0)):
        # Per sample of the small model: 2 N for inference and 6 N / (R tokens per pretraining token) for training.
        inference, training = 2.0, 6.0 / ratio
        extra = exchange_multiple(m, ratio)
        assert training + extra * inference == pytest.approx(m * (training + inference))
    assert exchange_multiple(14.0, None) == 14.0
    assert exchange_multiple(14.0, 0.16) == pytest.approx(257.75)
    with pytest.raises(ConfigError, match="has 1 times the parameters"):
        exchange_multiple(1.0, 22.0)
    with pytest.raises(ConfigError, match="R must be positive"):
        exchange_multiple(2.0, 0.0)


def test_each_ratio_buys_the_best_method_within_its_budget(small: Side, large: Side) -> None:
    found = exchange(small, large)
    assert found.m == 3.0
    assert [entry.ratio for entry in found.lines] == [None, *sorted(RATIOS, reverse=True)]
    # 3, 3.3, 10.6 and 40.5 samples: voting over four costs 4 of them.
    assert [entry.method for entry in found.lines] == [
        "pass_at_n@1",
        "pass_at_n@1",
        "beam_search/prm@4",
        "dvts/prm@16",
    ]
    assert [entry.spent for entry in found.lines] == [10.0, 10.0, 70.0, 200.0]
    assert found.lines[-1].flops == pytest.approx(10 * (3 + 6 / 0.16))
    assert found.lines[0].over_sampled.high < 0 < found.lines[-1].over_sampled.low
    assert found.lines[-1].over_greedy.mean == pytest.approx(found.lines[-1].accuracy.mean - found.greedy.mean)


def test_neither_oracles_nor_controls_nor_unknown_costs_are_on_the_curve(small: Side, large: Side) -> None:
    found = exchange(small, large)
    assert [point.method for point in found.curve] == [
        "pass_at_n@1",
        "majority@4",
        "beam_search/prm@4",
        "dvts/prm@16",
    ]
    assert [point.multiple for point in found.curve] == [1.0, 4.0, 7.0, 20.0]


def test_the_choice_is_made_on_other_problems(large: Side) -> None:
    # Each method is right on one fold alone, for which the others do not choose it.
    first, second, *_ = split_folds(PROBLEMS, 5, seed=0)
    lucky = []
    for n, fold in ((2, first), (3, second)):
        results = [ProblemResult(float(row in fold), Bill(generator_flops=15.0)) for row in range(PROBLEMS)]
        lucky.append(method_result(results, method="majority", n=n))
    once = method_result([ProblemResult(0.0, Bill(generator_flops=10.0))] * PROBLEMS, method="pass_at_n", n=1)
    found = exchange(Side("small", 100, (once, *lucky)), large)
    assert lucky[0].accuracy.mean == lucky[1].accuracy.mean == 0.2
    assert found.lines[0].accuracy.mean == 0.0


def test_a_finding_is_read_back_from_json_as_it_was_written(small: Side, large: Side) -> None:
    for other in (large, Side("large", 300, large.methods[:1])):
        found = exchange(small, other)
        assert Exchange.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


def write_run(folder: Path, side: Side, problems: list[Problem], generator: bool = True) -> None:
    summary = {
        "generator": {"name": side.name, "num_parameters": side.num_parameters} if generator else None,
        "methods": [one.to_dict() for one in side.methods],
    }
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps(summary))
    write_jsonl(folder / "samples.jsonl", (problem.to_dict() for problem in problems))
    write_jsonl(
        folder / "per_problem.jsonl",
        (
            {
                **{one.key: one.per_problem[row] for one in side.methods},
                "bills": {one.key: one.bills[row].to_dict(zeros=False) for one in side.methods},
            }
            for row in range(len(problems))
        ),
    )


def test_the_other_run_is_read_in_this_runs_order_of_problems(large: Side, tmp_path: Path) -> None:
    problems = [Problem(f"{row}+1", str(row + 1), f"p{row}") for row in range(PROBLEMS)]
    write_run(tmp_path, large, problems)
    found = read_side(tmp_path, problems[::-1])
    assert (found.name, found.num_parameters) == ("large", 300)
    assert found.methods[0].per_problem == large.methods[0].per_problem[::-1]
    assert found.methods[0].accuracy == large.methods[0].accuracy


def test_a_run_that_cannot_be_compared_is_refused_with_the_reason(large: Side, tmp_path: Path) -> None:
    problems = [Problem(f"{row}+1", str(row + 1), f"p{row}") for row in range(PROBLEMS)]
    with pytest.raises(MissingFileError, match="no finished run"):
        read_side(tmp_path / "nothing", problems)
    write_run(tmp_path, large, problems)
    with pytest.raises(ConfigError, match="300 problems and this run 299, of which 299 are the same"):
        read_side(tmp_path, problems[1:])
    changed = [replace(problems[0], answer="7"), *problems[1:]]
    with pytest.raises(ConfigError, match="of which 299 are the same"):
        read_side(tmp_path, changed)
    write_run(tmp_path, large, problems, generator=False)
    with pytest.raises(ConfigError, match="its samples were recorded"):
        read_side(tmp_path, problems)
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError, match="not a run of this version"):
        read_side(tmp_path, problems)
