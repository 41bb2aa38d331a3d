"""Answers of whole solutions: what counts as one, and that equal answers are graded alike and once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from prm.eval.sampling import GradedRollouts, draw, grade_rollouts, make_rollout, read_recorded

from prm.errors import DataError
from prm.generation.base import SamplingParams
from prm.grading import ExactGrader, Pair
from prm.jsonl import write_jsonl
from prm.rollouts import Cost, Outcome, Rollout, StopReason


def rollout(world: SimpleNamespace, text: str, reason: StopReason = StopReason.EOS, index: int = 0) -> Rollout:
    problem = world.problem(answer="5")
    return make_rollout(problem, text, reason, index=index, source="g", separator="\n", cost=Cost())


def test_length_is_not_end_of_text(world: SimpleNamespace) -> None:
    pool = [rollout(world, "2+3=5\nA: 5", StopReason.LENGTH), rollout(world, "2+3=5\nA: 5")]
    (graded,) = grade_rollouts([pool], ExactGrader())
    assert graded.classes == (-1, 0)
    assert [r.pred for r in graded.rollouts] == [None, "5"]
    assert [r.correct for r in graded.rollouts] == [False, True]


def test_a_solution_without_an_answer_does_not_vote(world: SimpleNamespace) -> None:
    (graded,) = grade_rollouts([[rollout(world, "no idea"), rollout(world, "")]], ExactGrader())
    assert graded.classes == (-1, -1)
    assert {r.outcome for r in graded.rollouts} == {Outcome.UNPARSABLE}


def test_a_trailing_separator_makes_no_phantom_step(world: SimpleNamespace) -> None:
    made = rollout(world, "a\nb\n\n")
    assert made.steps == ("a", "b")
    assert made.text == "a\nb\n\n"


class Fickle(ExactGrader):
    """Grades by spelling, except that it takes 5.0 for wrong although it votes with 5; counts what it is asked."""

    asked: list[Pair]

    def __init__(self) -> None:
        self.asked = []

    def grade_many(self, pairs: Sequence[Pair]) -> list[Outcome]:
        self.asked += pairs
        return [Outcome.CORRECT if answer == reference else Outcome.WRONG for answer, reference in pairs]


def test_equivalent_answers_share_one_verdict_and_each_is_asked_once(world: SimpleNamespace) -> None:
    texts = ["A: 5", "A: 5", "A: 5.0", "A: 6", "A: 6"]
    grader = Fickle()
    (graded,) = grade_rollouts([[rollout(world, text) for text in texts]], grader)
    assert graded.classes == (0, 0, 0, 1, 1)
    # One verdict right, one wrong: no majority among the distinct answers, so the class is wrong.
    assert [r.correct for r in graded.rollouts] == [False] * 5
    assert grader.asked.count(("5", "5")) == 1 and grader.asked.count(("6", "5")) == 1


def test_a_recorded_verdict_is_kept(world: SimpleNamespace) -> None:
    recorded = replace(rollout(world, "A: 7"), pred="7", outcome=Outcome.CORRECT)
    (graded,) = grade_rollouts([[recorded]], ExactGrader())
    assert graded.rollouts == (recorded,)


def test_verdicts_survive_the_store(world: SimpleNamespace) -> None:
    pool = [rollout(world, "A: 5"), rollout(world, "A: 6"), rollout(world, "?")]
    (graded,) = grade_rollouts([pool], ExactGrader())
    assert GradedRollouts.from_verdicts(pool, graded.verdicts()) == graded


def test_samples_differ_and_more_of_them_repeat_none(world: SimpleNamespace) -> None:
    problems = world.problems(2)
    options = {"sampling": SamplingParams(max_new_tokens=99), "base_seed": 0, "separator": "\n"}
    few = draw(problems, world.Generator(world.careless), 4, **options)
    many = draw(problems, world.Generator(world.careless), 8, **options)
    assert [[r.text for r in pool] for pool in few] == [[r.text for r in pool][:4] for pool in many]
    assert len({r.text for r in many[0]}) > 1


def test_every_sample_says_what_the_caches_of_its_call_held(world: SimpleNamespace) -> None:
    options = {"sampling": SamplingParams(max_new_tokens=99), "base_seed": 0, "separator": "\n"}
    generator = world.Generator(world.careless)
    assert {one.cost.cache_bytes for pool in draw(world.problems(2), generator, 3, **options) for one in pool} == {0}
    generator.peak_cache_bytes = 700
    pool, _ = draw(world.problems(2), generator, 3, **options)
    assert sum((one.cost for one in pool), Cost()).cache_bytes == 700  # one peak, not one for each


def test_recorded_rollouts_are_grouped_by_problem(world: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    write_jsonl(path, (row.to_dict() for row in [rollout(world, f"A: {i}", index=i) for i in range(3)]))
    problems, pools = read_recorded(path)
    assert [p.unique_id for p in problems] == ["p"]
    assert [r.sample_index for r in pools[0]] == [0, 1, 2]
    other = replace(rollout(world, "A: 1"), problem=replace(world.problem(), answer="other"))
    write_jsonl(path, (row.to_dict() for row in [rollout(world, "A: 1"), other]))
    with pytest.raises(DataError, match="two different problems share the unique_id"):
        read_recorded(path)
