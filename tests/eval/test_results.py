"""Lines of the table: what is kept of every problem comes back from the files of a run."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from prm.eval.cost import Bill
from prm.eval.results import MethodResult, against_controls, best_prm_method, method_result, method_title
from prm.eval.search.base import ProblemResult
from prm.eval.search.strategies import STRATEGIES

from prm.stats.intervals import bootstrap_mean, paired_difference
from prm.stats.selection import gain_of_the_chosen


def test_every_method_has_the_title_that_its_paper_gives_it() -> None:
    names = [strategy.name for variants in STRATEGIES.values() for strategy in variants]
    assert {name: method_title(name) for name in [*names, "no_skill", "compute_optimal_scores", "alone: a_b"]} == {
        "greedy": "greedy",
        "pass_at_n": "pass@n (oracle)",
        "majority": "majority",
        "best_of_n": "best-of-n",
        "weighted_best_of_n": "weighted best-of-n",
        "beam_search": "beam search",
        "beam_search_weighted": "beam search weighted",
        "dvts": "DVTS",
        "dvts_weighted": "DVTS weighted",
        "lookahead": "lookahead search",
        "lookahead_weighted": "lookahead search weighted",
        "rebase": "REBASE",
        "rebase_weighted": "REBASE weighted",
        "adaptive_consistency": "adaptive consistency",
        "adaptive_consistency_weighted": "adaptive consistency weighted",
        "early_stop": "early stopping",
        "early_stop_threshold": "early stopping at a score",
        "no_skill": "no skill (chance)",
        "compute_optimal_scores": "compute-optimal",
        "alone: a_b": "alone: a_b",
    }


def test_a_line_keeps_accuracy_and_bill_of_every_problem_and_is_read_back() -> None:
    results = [ProblemResult(i / 4, Bill(generated_tokens=i, generator_flops=10.0 * i)) for i in range(5)]
    line = method_result(results, method="best_of_n", verifier="prm", kind="prm", n=4)
    assert line.per_problem == (0, 0.25, 0.5, 0.75, 1)
    assert [bill.flops for bill in line.bills] == [0, 10, 20, 30, 40]
    assert line.bill.flops == pytest.approx(20)
    rows = [
        {"best_of_n/prm@4": accuracy, "bills": {"best_of_n/prm@4": bill.to_dict(zeros=False)}}
        for accuracy, bill in zip(line.per_problem, line.bills, strict=True)
    ]
    stored = json.loads(json.dumps([line.to_dict(), rows]))
    assert MethodResult.from_dict(*stored) == line
    assert line.samples is None


def test_a_line_of_a_method_that_stops_early_says_how_many_solutions_it_drew() -> None:
    results = [ProblemResult(1.0, Bill(), samples=drawn) for drawn in (3.0, 4.5)]
    line = method_result(results, method="early_stop", n=8)
    assert line.samples == 3.75
    rows = [{line.key: 1.0, "bills": {line.key: {}}}] * 2
    assert MethodResult.from_dict(json.loads(json.dumps(line.to_dict())), rows) == line


def line(method: str, values: list[float], *, control: bool = False, **options: Any) -> MethodResult:
    results = [ProblemResult(value, Bill()) for value in values]
    return method_result(results, method=method, verifier="p", kind="prm", n=4, control=control, **options)


def test_problems_of_a_cluster_share_every_error_bar() -> None:
    rng = np.random.default_rng(0)
    values, others, base = ([float(v) for v in np.repeat(rng.random(10), 4)] for _ in range(3))
    names = [f"c{i // 4}" for i in range(40)]
    clustered = line("a", values, baseline=base, clusters=names)
    assert clustered.accuracy == bootstrap_mean(values, clusters=names)
    assert clustered.gain == paired_difference(values, base, clusters=names)
    assert clustered.accuracy.low < line("a", values).accuracy.low
    methods = [clustered, line("a", others, control=True)]
    (row,) = against_controls(methods, 4, clusters=names)
    assert row["difference"] == vars(paired_difference(values, others, clusters=names))
    best = best_prm_method(methods, base, 4, clusters=names)
    assert best is not None and best.gain == paired_difference(values, base, clusters=names)


def test_what_is_one_method_by_construction_has_no_difference_and_what_agrees_by_chance_has_one() -> None:
    values = [1.0, 0.5, 1.0 - 1e-16]
    results = [ProblemResult(value, Bill()) for value in values]
    alone, many = (method_result(results, method="best_of_n", n=n, baseline=[1.0, 0.5, 1.0]) for n in (1, 4))
    assert alone.gain is None
    assert many.gain is not None and many.gain.low < 0 < many.gain.high
    greedy = method_result(results, method="greedy", n=1, baseline=[1.0, 0.5, 0.0])
    assert greedy.gain is not None and greedy.gain.mean > 0
    assert not against_controls([one_sample("a"), one_sample("a", control=True)], 1)


def one_sample(method: str, **options: Any) -> MethodResult:
    return method_result([ProblemResult(0.5, Bill())], method=method, verifier="p", kind="prm", n=1, **options)


def test_the_best_method_has_its_gain_on_problems_it_was_not_chosen_on() -> None:
    outcomes = (np.random.default_rng(1).random((40, 6)) < 0.5).astype(float)
    methods = [line(f"m{k}", outcomes[:, k].tolist()) for k in range(5)]
    best = best_prm_method(methods, outcomes[:, 5].tolist(), 4)
    expected = gain_of_the_chosen(outcomes[:, :5], outcomes[:, 5])
    assert best is not None
    assert (best.key, best.gain, best.held_out_gain) == (
        f"m{expected.best}/p@4",
        expected.apparent,
        expected.honest,
    )
    assert best.held_out_gain.mean < best.gain.mean
    assert best_prm_method(methods, outcomes[:, 5].tolist(), 8) is None
