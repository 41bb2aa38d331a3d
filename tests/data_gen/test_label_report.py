"""The figures of a label report: each on labels so few that it can be counted by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prm.data_gen.agreement import LabelledTwice, agreement_report, cohens_kappa, place_of
from prm.data_gen.consensus import ConsensusLabeler
from prm.data_gen.first_error import FirstErrorLabeler
from prm.data_gen.label_page import _lead, label_page
from prm.data_gen.label_quality import calibration_report, soft_value, truth_report
from prm.data_gen.label_report import consensus_report, label_report, label_table, values_by_position
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.prefixes import CompletionPool
from prm.data_gen.truth import arithmetic_truth, first_error_in, read_truth

from prm.cards.dataset_card import dataset_card
from prm.errors import DataError, MissingFileError
from prm.generation.base import SamplingParams
from prm.grading import ExactGrader
from prm.jsonl import dumps, write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.report.label_parts import truth_table
from prm.rollouts import Cost, Outcome, Rollout, StopReason
from prm.sampling_rules import FirstSuccess, Fixed
from prm.worlds.solver import ChainSolver

PROBLEM = Problem("7a+5b-3", "9", "p1", subject="arithmetic")
STEPS = ("a7+5=12", "b12-3=8", "A: 8")  # the second is wrong
ROLLOUT = Rollout(PROBLEM, STEPS, ("", "\n", "\n", ""), 0, StopReason.EOS, "t", "8", Outcome.WRONG)


def marks(*values: float | None) -> tuple[StepLabel, ...]:
    return tuple(StepLabel("judge", value=value) for value in values)


def twice(first: tuple[StepLabel, ...], second: tuple[StepLabel, ...], problem: str = "p1") -> LabelledTwice:
    return LabelledTwice(replace(ROLLOUT, problem=replace(PROBLEM, unique_id=problem)), first, second)


def test_values_fall_into_bins_whose_ends_stand_alone() -> None:
    rows = [LabelledRollout(ROLLOUT, marks(0, 0.25, None)), LabelledRollout(ROLLOUT, marks(1, 0.999, 0.01))]
    found = values_by_position(rows)
    assert found["bins"] == ["0", "0 to 0.25", "0.25 to 0.5", "0.5 to 0.75", "0.75 to 1", "1"]
    assert found["counts"] == [[1, 0, 0, 0, 0, 1], [0, 0, 1, 0, 1, 0], [0, 1, 0, 0, 0, 0]]


def test_rules_completions_and_cost_are_counted(sampled_rollouts: Callable[..., list[Rollout]]) -> None:
    solver = ChainSolver(slip=0.2, unfinished=0.1)
    rollouts = sampled_rollouts(ChainSolver(slip=0.2), problems=6, n=2)
    pool = CompletionPool(solver, ExactGrader(), SamplingParams())
    rows = MonteCarloLabeler(pool, FirstSuccess(4)).label(rollouts)
    report = label_report(rows, pool.results, "exact/1", rejected_cost=Cost(7, 5, 3))
    asked = [result.n_asked for result in pool.results.values()]
    assert report["completions_per_prefix"] == {str(n): asked.count(n) for n in sorted(set(asked))}
    assert len(report["completions_per_prefix"]) > 1
    assert report["rules"] == {"first_success": report["step_labels"] - 12, "fixed": 12}
    cost = sum((result.cost for result in pool.results.values()), Cost(7, 5, 3))
    assert report["cost"]["prefilled_tokens"] == cost.prefilled_tokens
    assert "seconds" not in report["cost"].keys() | report["rejected_cost"].keys()  # no labeler measures it
    assert report["cost_per_label"]["cached_tokens"] == cost.cached_tokens / report["step_labels"]
    assert 0 < report["truncated_share"] < 0.5
    assert "first_success" in label_table(report) and json.loads(dumps(report)) == report


def test_labels_that_no_completion_made_have_no_rule() -> None:
    report = label_report([LabelledRollout(ROLLOUT, marks(1, 0, None))], {}, "exact/1")
    assert report["rules"] == {"none": 3} and report["sources"] == {"judge": 3}
    assert report["completions_per_prefix"] == {} and report["truncated_share"] is None


def test_copies_of_a_prefix_are_one_distinct_label_and_unknown_ones_none() -> None:
    other = replace(ROLLOUT, steps=("a7+5=12", "b12-3=9", "A: 9"), sample_index=1, outcome=Outcome.CORRECT)
    elsewhere = replace(ROLLOUT, problem=replace(PROBLEM, problem="7a+6b-3", unique_id="p2"))
    rows = [
        LabelledRollout(ROLLOUT, marks(1, 0, 0), Cost(60, 30)),
        LabelledRollout(replace(ROLLOUT, sample_index=2), marks(1, 0, 0)),
        LabelledRollout(other, marks(1, None, 1)),
        LabelledRollout(elsewhere, marks(1, None, None)),
    ]
    report = label_report(rows, {}, "exact/1")
    assert (report["step_labels"], report["distinct_labels"]) == (12, 5)
    assert report["tokens_per_label"] == pytest.approx(60 / 9) and report["tokens_per_distinct_label"] == 12
    assert report["cost_per_distinct_label"]["prefilled_tokens"] == 6
    said = "12 step labels, 9 of them known at 6.7 generated tokens each; they are of 5 distinct prefixes, 12.0 each"
    assert said in label_table(report) and said in _lead(report)
    rows = [LabelledRollout(ROLLOUT, marks(None, None, None), Cost(60))]
    nothing = label_report(rows, {}, "exact/1")
    assert (nothing["distinct_labels"], nothing["tokens_per_distinct_label"]) == (0, None)
    assert "3 step labels, 0 of them known\n" in label_table(nothing) and nothing["tokens_per_label"] is None
    assert "unknown: 3\n" in label_table(nothing) and "none is decided" in _lead(nothing)


def test_figures_are_of_what_is_known_and_say_of_how_much() -> None:
    rows = [
        LabelledRollout(ROLLOUT, marks(1, 0, None), Cost(60)),
        LabelledRollout(replace(ROLLOUT, sample_index=1), marks(None, None, None), Cost(30)),
    ]
    report = label_report(rows, {}, "exact/1") | {"settings": {}, "labeler": "judge"}
    assert (report["known_labels"], report["unknown_labels"], report["hard_correct_share"]) == (2, 4, 0.5)
    assert (report["tokens_per_label"], report["cost_per_label"]["generated_tokens"]) == (45, 45)
    lead = "6 step labels, 2 of them known at 45.0 generated tokens each; they are of 2 distinct prefixes, 45.0 each; "
    lead += "50.0% of the known labels say right. Of 2 that could be checked, 100.0% agree with the truth; "
    lead += "the first wrong step "
    assert _lead(report) == lead + "is found in 100.0% of 1 rollouts, and not decided in 1 others."
    table = label_table(report)
    assert "right: 50.0% of the 2 known labels; unknown: 4" in table
    assert "step accuracy: 1.000 of 2 steps" in table and "first error accuracy: 1.000 of 1 rollouts" in table
    truth = truth_table(report)
    assert truth is not None and [row[-1] for row in truth.rows][::4] == ["2 steps", "1 rollouts"]
    card = dataset_card(report, "user/labels")
    assert "45.0 generated tokens per known label" in card and "50.0% of the 2 known" in card
    assert "**Labels that agree with the truth:** 1 of the 2 checked" in card and "| 1 rollouts |" in card
    nothing = label_report(rows[1:], {}, "exact/1") | {"settings": {}, "labeler": "judge"}
    assert "no label is known" in dataset_card(nothing, "user/labels") and "none is decided" in label_page(nothing)


def test_calibration_is_measured_on_soft_values_alone() -> None:
    labels = (StepLabel("mc", 3, 4), StepLabel("mc", 1, 4), StepLabel("mc", 2, 4, rule="first_success"))
    assert [soft_value(label) for label in labels] == [0.75, 0.25, None]
    found = calibration_report([LabelledRollout(ROLLOUT, labels)])
    assert found is not None
    # Truly the first step is right and the second wrong: distances of .25 each.
    assert found["brier"]["mean"] == pytest.approx(0.0625) and found["brier"]["low"] is None
    assert found["ece"] == {"mean": 0.25, "low": None, "high": None, "n": 2}
    assert [(row["predicted"], row["observed"]) for row in found["reliability"]] == [(0.25, 0.0), (0.75, 1.0)]
    assert calibration_report([LabelledRollout(ROLLOUT, labels[2:] * 3)]) is None


def test_a_judges_last_step_is_calibrated_and_the_outcome_passed_through_is_not() -> None:
    found = calibration_report([LabelledRollout(ROLLOUT, marks(0.75, 0.25, 0.5))])
    assert found is not None and found["ece"]["n"] == 3
    assert found["brier"]["mean"] == pytest.approx((0.25**2 + 0.25**2 + 0.5**2) / 3)
    counted = (*marks(0.75, 0.25), StepLabel("mc", 0, 1))  # the rollout's own outcome, as Monte Carlo labels have it
    found = calibration_report([LabelledRollout(ROLLOUT, counted)])
    assert found is not None and found["ece"]["n"] == 2
    passed = (*marks(None, None), StepLabel("outcome", value=0.0))
    assert calibration_report([LabelledRollout(ROLLOUT, passed)]) is None


def test_calibration_has_intervals_over_problems() -> None:
    rows = [
        LabelledRollout(replace(ROLLOUT, problem=replace(PROBLEM, unique_id=str(i))), marks(0.9, 0.1 * (i % 3), 0))
        for i in range(12)
    ]
    found = calibration_report(rows)
    assert found is not None
    for name in ("ece", "brier"):
        assert found[name]["low"] < found[name]["mean"] < found[name]["high"]


def test_what_two_labelers_say_of_the_first_wrong_step_is_told_apart() -> None:
    cases = {
        "same_step": (marks(1, 0, 0), marks(1, 0, 1)),
        "both_none": (marks(1, 1, 1), marks(1, 1, 1)),
        "second_earlier": (marks(1, 1, 0), marks(1, 0, 0)),
        "second_later": (marks(0, 1, 0), marks(1, 0, 0)),
        "only_first": (marks(0, 1, 0), marks(1, 1, 1)),
        "only_second": (marks(1, 1, 1), marks(1, 1, 0)),
        "undecided": (marks(None, 1, 0), marks(1, 1, 0)),
    }
    assert {place: place_of(twice(*verdicts)) for place, verdicts in cases.items()} == {name: name for name in cases}
    report = agreement_report([twice(*verdicts, problem=place) for place, verdicts in cases.items()], ("a", "b"))
    assert report["first_wrong_step"] == dict.fromkeys(cases, 1)
    assert (report["same_first_wrong_step"]["mean"], report["same_first_wrong_step"]["n"]) == (2 / 6, 6)
    assert sum(map(sum, report["steps"])) == 20  # all but the one that is unknown


def test_kappa_is_cohens() -> None:
    # The textbook table: both yes 20, first alone 5, second alone 10, both no 15; kappa .4.
    first = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    second = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    assert cohens_kappa(first, second) == pytest.approx(0.4)
    assert np.isnan(cohens_kappa(np.ones(4, dtype=int), np.ones(4, dtype=int)))
    assert agreement_report([twice(marks(1, 1, 1), marks(1, 1, 1))], ("a", "b"))["kappa"] is None
    pairs = [twice(marks(1, i % 2, 0), marks(1, i % 3 > 0, 0), str(i)) for i in range(12)]
    found = agreement_report(pairs, ("a", "b"))["kappa"]
    assert found["low"] < found["mean"] < found["high"] < 1


def test_a_consensus_reports_the_agreement_on_all_it_was_given_and_bills_all_it_spent(
    sampled_rollouts: Callable[..., list[Rollout]],
) -> None:
    solver = ChainSolver(slip=0.2)
    rollouts = sampled_rollouts(solver, problems=12)
    pool = CompletionPool(solver, ExactGrader(), SamplingParams())
    labeler = ConsensusLabeler(MonteCarloLabeler(pool, Fixed(4)), FirstErrorLabeler(pool))
    rows = labeler.label(rollouts)
    report = consensus_report(labeler, ("monte_carlo", "first_error"))
    assert labeler.rejected and report["agreement"]["rollouts"] == len(rollouts)
    places = report["agreement"]["first_wrong_step"]
    assert places["same_step"] + places["both_none"] == report["consensus"]["kept"] == len(rows)
    spent = sum((result.cost for result in pool.results.values()), Cost())
    billed = sum((row.cost for row in [*rows, *labeler.rejected]), Cost())  # shared completions once
    assert billed == spent
    assert "kappa of steps" in label_table(label_report(rows, pool.results, "exact/1") | report)


def test_judged_solutions_are_found_by_problem_and_steps(tmp_path: Path) -> None:
    row = {"problem": " 7a+5b-3\n", "steps": list(STEPS), "label": 0, "final_answer_correct": False}
    path = tmp_path / "processbench.json"
    path.write_text(json.dumps([{**row, "id": "x", "generator": "g"}]))
    truth_of = read_truth(path)
    assert truth_of(ROLLOUT) == (False, None, None)  # the file is believed, not the world
    other = replace(ROLLOUT, steps=(STEPS[0], "b12-3=9", "A: 9"))
    assert truth_of(other) == arithmetic_truth(other) == (True, True, True)
    assert truth_of(replace(other, problem=replace(PROBLEM, subject=""))) is None

    labels = tmp_path / "labels.jsonl"
    write_jsonl(labels, [LabelledRollout(ROLLOUT, marks(1, 0, 1)).to_dict()])
    assert read_truth(labels)(ROLLOUT) == (True, False, None)
    report = truth_report([LabelledRollout(ROLLOUT, marks(1, 1, 0))], read_truth(labels))
    assert (report["step_accuracy"]["mean"], report["step_accuracy"]["n"]) == (0.5, 2)
    assert report["first_error_accuracy"]["mean"] == 0


@pytest.mark.parametrize(
    ("truth", "first"), [((True, False, None), 1), ((True, True), -1), ((None, False), None), ((), -1)]
)
def test_the_first_error_of_a_truth(truth: tuple[bool | None, ...], first: int | None) -> None:
    assert first_error_in(truth) == first


def test_a_file_that_judges_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such file"):
        read_truth(tmp_path / "absent.json")
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "x"}\n')
    with pytest.raises(DataError, match=r"rows.jsonl, line 1: a row with the columns \['question'\]"):
        read_truth(path)
    write_jsonl(path, [LabelledRollout(ROLLOUT, marks(None, None, None)).to_dict()])
    with pytest.raises(DataError, match="no solution in it is judged"):
        read_truth(path)


def test_processbench_itself_is_a_truth(data_dir: Path) -> None:
    path = data_dir / "processbench" / "gsm8k.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    truth_of = read_truth(path)
    for row in rows[:50]:
        steps = tuple(row["steps"])
        gaps = ("", *["\n\n"] * (len(steps) - 1), "")
        rollout = Rollout(Problem(row["problem"], "1", "x"), steps, gaps, 0, StopReason.EOS, "t")
        truth = truth_of(rollout)
        assert truth is not None and first_error_in(truth) == row["label"]
