"""`label_report.html`: it shows what the report holds, stands alone, and is made anew only where it must be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.consensus import ConsensusLabeler
from prm.data_gen.first_error import FirstErrorLabeler
from prm.data_gen.label_page import label_page, page_is_fresh, write_label_page
from prm.data_gen.label_report import consensus_report, label_report, label_table
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.prefixes import CompletionPool

from prm.generation.base import SamplingParams
from prm.grading import ExactGrader
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Rollout, StopReason
from prm.sampling_rules import Fixed
from prm.worlds.solver import ChainSolver


@pytest.fixture(scope="module")
def report(sampled_rollouts: Callable[..., list[Rollout]]) -> dict[str, Any]:
    solver = ChainSolver(slip=0.2)
    pool = CompletionPool(solver, ExactGrader(), SamplingParams())
    labeler = ConsensusLabeler(MonteCarloLabeler(pool, Fixed(4)), FirstErrorLabeler(pool))
    rows = labeler.label(sampled_rollouts(solver, problems=12))
    found = label_report(rows, pool.results, "exact/1") | consensus_report(labeler, ("mc", "<search>"))
    settings = {"labeler": "consensus", "n": 4, "seed": 3, "stop": ["\n\n"], "prompt_template": "{problem}\n"}
    return found | {"labeler": "consensus", "settings": settings, "data_hash": "abcd"}


def test_every_part_of_the_report_is_on_the_page(report: dict[str, Any]) -> None:
    page = label_page(report)
    for title in ("Values by step", "What it cost", "Against the truth", "Where two labelers agree", "Settings"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 3  # values, completions, calibration
    accuracy = report["truth"]["step_accuracy"]
    assert f"{accuracy['mean']:.1%} [{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]" in page
    assert f"{report['cost']['prefilled_tokens']:,}" in page
    assert "first: mc; second: &lt;search&gt;" in page and "<search>" not in page
    assert "abcd" in page and "seed 3" in page and "&#39;{problem}\\n&#39;" in page
    assert "http" not in page.replace("http://www.w3.org/", "")  # asks nobody for anything
    assert label_page(report) == page


def test_how_searches_ended_is_on_the_page_and_in_the_terminal(report: dict[str, Any]) -> None:
    found = report | {"first_error": {"searches": 40, "below_confidence": 7, "nothing_decided": 2}}
    assert "ended less sure than asked for" in label_page(found)
    assert "searches: 40, of which 7 ended less sure than asked for, 2 of these" in label_table(found)
    without = {name: value for name, value in report.items() if name != "first_error"}
    assert "less sure" not in label_page(without) + label_table(without)


def test_what_labels_were_chosen_from_is_on_the_page(report: dict[str, Any]) -> None:
    made = {"command": "curate", "inputs": ["a.jsonl"], "solutions": 12, "left_out": {"an exact duplicate": 3}}
    page = label_page(report | {"made_from": made})
    assert "Where they are from" in page and "an exact duplicate" in page and "12 solutions in a.jsonl" in page


def test_what_is_not_known_is_not_on_the_page() -> None:
    problem = Problem("What is 1+1?", "2", "p")
    rollout = Rollout(problem, ("1+1=2", "2"), ("", "\n", ""), 0, StopReason.EOS, "t")
    report = label_report([LabelledRollout(rollout, (StepLabel("judge"),) * 2)], {}, "exact/1")
    page = label_page(report | {"judge": {"votes": {"decided": 0, "unparsable": 2}}})
    assert "none: no completion decided it." in page
    assert "<td>unparsable</td>" in page and "100.0%" in page
    assert "Against the truth" not in page and "Where two labelers" not in page and "<svg" not in page


def test_the_page_is_fresh_while_it_is_not_older_than_its_report(report: dict[str, Any], tmp_path: Path) -> None:
    assert not page_is_fresh(tmp_path)
    (tmp_path / "label_report.json").write_text("{}")
    page = write_label_page(tmp_path, report)
    assert page_is_fresh(tmp_path)
    os.utime(page, (0, 0))
    assert not page_is_fresh(tmp_path)


@pytest.mark.parametrize(
    ("labeler", "said"),
    [
        ("monte_carlo", "share of right answers among the completions"),
        ("first_error", "chance that no step so far is wrong"),
        ("judge", "share of the judge&#39;s votes"),
        ("implicit", "whether the solution&#39;s answer is right"),
        ("recorded.jsonl", "from 0, wrong, to 1, right"),
    ],
)
def test_what_a_value_is_goes_by_the_labeler(report: dict[str, Any], labeler: str, said: str) -> None:
    alone = {name: value for name, value in report.items() if name != "agreement"} | {"labeler": labeler}
    both = report | {"agreement": report["agreement"] | {"labelers": [labeler, "judge"]}}
    for page in (label_page(alone), label_page(both)):
        assert said in page and "completion right" not in page
        assert ("among the completions" in page) == (labeler == "monte_carlo")


def test_labels_from_files_bring_their_bill_and_no_completions(report: dict[str, Any]) -> None:
    nothing = {"completions": 0, "distinct_prefixes": 0, "completions_per_prefix": {}}
    page = label_page(report | nothing)
    assert "No prefix was completed here; the tokens are those of the labels it was given." in page
    assert "completed once" not in page and "0 completions" not in page
    assert "completed once" in label_page(report)
    judged = label_page(report | nothing | {"judge": {"votes": {"decided": 3}}, "decided_by_rollout": 0})
    assert "the tokens are those of the judge&#39;s votes.</p>" in judged
