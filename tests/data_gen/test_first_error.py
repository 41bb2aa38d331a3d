"""The search for the first wrong step, against the truth and against completing every prefix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from prm.data_gen.first_error import Belief, FirstErrorLabeler, FirstErrorRule, pass_rates
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.prefixes import CompletionPool

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.grading import ExactGrader
from prm.labels import LabelledRollout, first_wrong
from prm.rollouts import Outcome, Rollout, StopReason
from prm.sampling_rules import Fixed
from prm.worlds.arithmetic import first_error
from prm.worlds.solver import ChainSolver

Sample = Callable[..., list[Rollout]]


def pool(slip: float = 0.1) -> CompletionPool:
    return CompletionPool(ChainSolver(slip), ExactGrader(), SamplingParams())


def accuracy(rows: Sequence[LabelledRollout]) -> float:
    found = [first_wrong(row.labels) == first_error(row.rollout.problem.problem, row.rollout.steps) for row in rows]
    return sum(found) / len(found)


def tokens(rows: Sequence[LabelledRollout]) -> int:
    return sum(row.cost.generated_tokens for row in rows)


@pytest.mark.parametrize(("operations", "slip", "share"), [(5, 0.1, 1 / 2), (14, 0.05, 1 / 4)])
def test_wrong_steps_are_found_as_well_as_by_completing_every_prefix_for_less(
    sampled_rollouts: Sample, operations: int, slip: float, share: float
) -> None:
    rollouts = sampled_rollouts(ChainSolver(slip), problems=40, operations=operations)
    wrong = [rollout for rollout in rollouts if rollout.outcome is Outcome.WRONG]
    assert len(wrong) > 40
    everything = MonteCarloLabeler(pool(slip), Fixed(8)).label(wrong)
    labeler = FirstErrorLabeler(pool(slip))
    found = [row for row in labeler.label(rollouts) if row.rollout.outcome is Outcome.WRONG]
    assert accuracy(found) >= accuracy(everything)
    assert tokens(found) <= share * tokens(everything)


def test_a_generator_without_mistakes_leaves_no_doubt(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.1), operations=6)
    rows = FirstErrorLabeler(pool(0.0), FirstErrorRule(confidence=0.98, min_worth=0.0)).label(rollouts)
    right_answers = [row for row in rows if row.rollout.correct]
    assert len(right_answers) < len(rows) / 1.3
    assert accuracy([row for row in rows if not row.rollout.correct]) == 1
    for row in rows:
        values = [label.value for label in row.labels]
        assert values == sorted(values, reverse=True)  # a prefix is right while every step so far is
        assert {label.rule for label in row.labels} == {"assumed" if row.rollout.correct else "posterior"}


def test_right_answers_are_believed_or_searched(sampled_rollouts: Sample) -> None:
    # The second step is wrong and the third makes good for it: the answer is right, the solution is not.
    [base] = sampled_rollouts(ChainSolver(0.0), problems=1, n=1, operations=4)
    steps = list(base.steps)
    head, value = steps[1].split("=")
    off = str(int(value) + 1)
    steps[1] = f"{head}={off}"
    steps[2] = steps[2].replace(f"c{value}", f"c{off}", 1)
    lucky = replace(base, steps=tuple(steps))
    believed = FirstErrorLabeler(pool()).label([lucky])[0]
    assert first_wrong(believed.labels) == -1 and believed.cost.generated_tokens == 0
    checked = FirstErrorRule(confidence=0.95, verify_correct=True)
    searched = FirstErrorLabeler(pool(0.05), checked).label([lucky, base])
    assert [first_wrong(row.labels) for row in searched] == [1, -1]


def test_what_is_truncated_or_unparsable_has_unknown_labels(sampled_rollouts: Sample) -> None:
    [rollout] = sampled_rollouts(ChainSolver(0.0), problems=1, n=1)
    cut = replace(rollout, stop_reason=StopReason.LENGTH, outcome=None, pred=None)
    vague = replace(rollout, outcome=Outcome.UNPARSABLE)
    for row in FirstErrorLabeler(pool()).label([cut, vague]):
        assert [label.hard for label in row.labels] == [None] * len(rollout.steps)


class Rambler(ChainSolver):
    """Never gets to an answer."""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        return [replace(one, stop_reason=StopReason.LENGTH) for one in super().generate(requests, sampling, progress)]


@pytest.mark.parametrize("verify", [False, True])
def test_where_no_completion_decided_anything_the_steps_stay_unknown(sampled_rollouts: Sample, verify: bool) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.1), problems=6, operations=5)
    undecided = CompletionPool(Rambler(0.1), ExactGrader(), SamplingParams())
    labeler = FirstErrorLabeler(undecided, FirstErrorRule(verify_correct=verify))
    rows = [row for row in labeler.label(rollouts) if verify or not row.rollout.correct]
    for row in rows:
        *before, last = row.labels
        assert {(label.value, label.n_total, label.rule) for label in before} == {(None, 0, "fixed")}
        assert sum(label.n_undecided for label in before) > 0
        assert last.hard == (None if row.rollout.correct else 0)  # a wrong answer is the solution's own evidence
    n = len(rows)
    assert n > 4 and labeler.summary() == {"searches": n, "below_confidence": n, "nothing_decided": n}


def test_what_is_likely_before_any_completion_is_asked_about_all_the_same(sampled_rollouts: Sample) -> None:
    wrong = [row for row in sampled_rollouts(ChainSolver(0.3), operations=2) if row.outcome is Outcome.WRONG]
    rates = {row.problem.unique_id: 0.001 for row in wrong}
    prior = Belief.of(len(wrong[0].steps), 0.001).prior
    assert prior.max() > 0.85
    rows = FirstErrorLabeler(pool(), FirstErrorRule(min_worth=0.0), rates).label(wrong)
    assert all(row.labels[0].n_total for row in rows)


def test_searches_that_end_below_the_confidence_are_counted(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.1), operations=6)
    few = FirstErrorLabeler(pool(), FirstErrorRule(confidence=0.99, max_n=1))
    many = FirstErrorLabeler(pool(0.0), FirstErrorRule(confidence=0.6, min_worth=0.0))
    few.label(rollouts)
    many.label(rollouts)
    wrong = sum(rollout.outcome is Outcome.WRONG for rollout in rollouts)
    assert few.summary()["searches"] == wrong and few.summary()["below_confidence"] > 0
    assert many.summary() == {"searches": wrong, "below_confidence": 0, "nothing_decided": 0}


def test_every_place_weighs_as_the_chances_of_all_prefixes_say() -> None:
    belief = Belief.of(4, 0.5)
    assert belief.prior.sum() == pytest.approx(1)
    nothing = belief.places(np.zeros((3, 2)))
    assert nothing == pytest.approx(belief.prior)
    # Many successes behind step 2 and many failures behind step 3: the third step is wrong.
    counts = np.array([[0, 0], [9, 0], [0, 9]], dtype=float)
    assert belief.places(counts).argmax() == 2 and belief.places(counts)[2] > 0.95
    # One failure says little where the problem is hard and much where it is easy.
    failed = np.array([[0, 0], [0, 1], [0, 0]], dtype=float)
    hard, easy = (Belief.of(4, rate) for rate in (0.1, 0.9))
    assert easy.places(failed)[:2].sum() - easy.prior[:2].sum() > hard.places(failed)[:2].sum() - hard.prior[:2].sum()


def test_a_pass_rate_is_drawn_towards_all_problems(sampled_rollouts: Sample) -> None:
    rollouts = sampled_rollouts(ChainSolver(0.1), problems=6)
    solved = [Outcome.CORRECT if r.problem == rollouts[0].problem else Outcome.WRONG for r in rollouts]
    rates = pass_rates(rollouts, solved)
    first = rates.pop(rollouts[0].problem.unique_id)
    assert 0 < max(rates.values()) < 0.2 < first < 1


def test_impossible_rules_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"0\.5 <= confidence < 1"):
        FirstErrorRule(confidence=1.0)
