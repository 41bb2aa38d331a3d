"""Consensus of two labelers, and outcomes passed through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.consensus import ConsensusLabeler, RecordedLabels, disagreement
from prm.data_gen.implicit import ImplicitLabeler
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.labelers import Workbench
from prm.data_gen.prefixes import CompletionPool

from prm.errors import ConfigError, DataError
from prm.generation.base import SamplingParams
from prm.grading import ExactGrader
from prm.jsonl import read_jsonl, write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout, StopReason
from prm.worlds.solver import ChainSolver

PROBLEM = Problem("7a+5b-3", "9", "p1", subject="arithmetic")
STEPS = ("a7+5=12", "b12-3=8", "A: 8")
WRONG = Rollout(PROBLEM, STEPS, ("", "\n", "\n", ""), 0, StopReason.EOS, "t", "8", Outcome.WRONG)


def marks(*values: float | None) -> tuple[StepLabel, ...]:
    return tuple(StepLabel("judge", value=value) for value in values)


class Says:
    """Says of every rollout what it was told to say, at a cost."""

    def __init__(self, *verdicts: tuple[StepLabel, ...]):
        self.verdicts = verdicts

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        return [LabelledRollout(r, v, Cost(generated_tokens=5)) for r, v in zip(rollouts, self.verdicts, strict=True)]


def test_rollouts_are_kept_where_the_first_wrong_step_is_the_same() -> None:
    one, two = replace(WRONG, sample_index=1), replace(WRONG, sample_index=2)
    first = Says(marks(1, 0, 0), marks(1, 0, 0), marks(1, 1, 1))
    second = Says(marks(1, 0, 1), marks(1, None, 0), marks(1, 1, 0))
    labeler = ConsensusLabeler(first, second)
    [kept] = labeler.label([WRONG, one, two])
    assert (kept.rollout, kept.labels) == (WRONG, marks(1, 0, 0))
    assert kept.cost.generated_tokens == 10
    assert [(row.rollout, row.reason) for row in labeler.rejected] == [
        (one, "undecided by the second"),
        (two, "one finds no wrong step"),
    ]
    assert labeler.rejected[0].to_dict()["verdicts"][1][1]["n_total"] == 0
    assert labeler.summary() == {
        "kept": 1,
        "rejected": {"one finds no wrong step": 1, "undecided by the second": 1},
    }


def test_different_places_are_no_consensus() -> None:
    assert disagreement(marks(1, 0, 0), marks(0, 0, 0)) == "different first wrong steps"
    assert disagreement(marks(1, 1, 1), marks(1, 1, 1)) == ""
    assert disagreement(marks(None, 0, 0), marks(None, 0, 0)) == "undecided by the first and the second"


def test_recorded_labels_are_those_of_the_very_rollouts(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    write_jsonl(path, [LabelledRollout(WRONG, marks(1, 0, 0)).to_dict()])
    [row] = RecordedLabels(path).label([WRONG])
    assert row.labels == marks(1, 0, 0)
    with pytest.raises(DataError, match="no labels of the rollout p1/t/7"):
        RecordedLabels(path).label([replace(WRONG, sample_index=7)])
    with pytest.raises(DataError, match="the labels of other steps under the rollout p1/t/0"):
        RecordedLabels(path).label([replace(WRONG, steps=("x", *STEPS[1:]))])


def test_the_command_writes_both_verdicts_and_what_was_left_out(tmp_path: Path) -> None:
    rows = [WRONG, replace(WRONG, sample_index=1)]
    write_jsonl(tmp_path / "rollouts.jsonl", (row.to_dict() for row in rows))

    def write(name: str, verdicts: list[tuple[StepLabel, ...]]) -> None:
        labelled = [LabelledRollout(r, v).to_dict() for r, v in zip(rows, verdicts, strict=True)]
        write_jsonl(tmp_path / name / "labels.jsonl", labelled)

    write("a", [marks(1, 0, 0)] * 2)
    write("b", [marks(1, 0, 1), marks(0, 0, 0)])
    config = LabelConfig(
        rollouts_path=str(tmp_path / "rollouts.jsonl"),
        labeler="consensus",
        output_dir=str(tmp_path / "out"),
        consensus_of=[str(tmp_path / name / "labels.jsonl") for name in "ab"],
    )
    summary = run_label(config)
    [(_, kept)] = read_jsonl(summary.path)
    assert [label.get("value") for label in kept["verdicts"]["b/labels.jsonl"]] == [1, 0, 1]
    assert [label.get("value") for label in kept["verdicts"]["a/labels.jsonl"]] == [1, 0, 0]
    [(_, rejected)] = read_jsonl(tmp_path / "out" / "label_rejected.jsonl")
    assert (rejected["reason"], rejected["sample_index"]) == ("different first wrong steps", 1)
    assert summary.report["consensus"]["kept"] == 1
    assert run_label(config).repeated
    write("a", [marks(0, 0, 0)] * 2)  # another labeler's labels under the same name
    with pytest.raises(ConfigError, match="holds a finished run with consensus_hashes"):
        run_label(config)


@pytest.mark.parametrize("names", [["first_error", "first_error"], ["implicit", "first_error"], ["monte_carlo"]])
def test_a_consensus_that_says_nothing_is_refused_before_anything_is_spent(names: list[str], tmp_path: Path) -> None:
    config = LabelConfig(
        rollouts_path="r.jsonl", labeler="consensus", consensus_of=names, output_dir=str(tmp_path / "out")
    )
    with pytest.raises(ConfigError, match="consensus_of"):
        config.check()


def test_two_labelers_by_continuation_do_not_see_the_same_samples(sampled_rollouts: Any) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.2), problems=10, n=4)
    solver, grader, sampling = ChainSolver(0.2), ExactGrader(), SamplingParams()
    pool, other = (CompletionPool(solver, grader, sampling, seed=seed) for seed in (0, 2**31))
    two = ["monte_carlo", "first_error"]
    config = LabelConfig(rollouts_path="", output_dir="", labeler="consensus", consensus_of=two)
    bench = Workbench(config, None, ExactGrader(), lambda count: None, rollouts)  # type: ignore[arg-type]
    bench.__dict__["generator"] = ChainSolver(0.2)
    labeler = bench.labeler("consensus")
    labeler.label(rollouts)
    first, second = bench.pools
    shared = [prefix for prefix in second.results if second[prefix].n_asked > 2]
    assert shared
    for made, seed_pool in ((first, pool), (second, other)):
        seed_pool.grow({prefix: made[prefix].n_asked for prefix in shared})
        assert [made[prefix].outcomes for prefix in shared] == [seed_pool[prefix].outcomes for prefix in shared]
    assert any(first[prefix].outcomes[:3] != second[prefix].outcomes[:3] for prefix in shared)
    assert sum(result.n_asked for result in bench.results.values()) == sum(
        result.n_asked for made in bench.pools for result in made.results.values()
    )


def test_outcomes_are_passed_through_without_step_labels() -> None:
    cut = replace(WRONG, stop_reason=StopReason.LENGTH, outcome=None)
    right = replace(WRONG, outcome=Outcome.CORRECT)
    rows = ImplicitLabeler(ExactGrader()).label([WRONG, right, cut, replace(WRONG, outcome=Outcome.UNPARSABLE)])
    assert [[label.hard for label in row.labels] for row in rows] == [
        [None, None, 0],
        [None, None, 1],
        [None, None, None],
        [None, None, None],
    ]
    assert {label.source for row in rows for label in row.labels} == {"outcome"}
