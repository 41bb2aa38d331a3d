"""Monte Carlo labels with a generator whose every completion is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from prm.data_gen.label_report import label_report, truth_report
from prm.data_gen.monte_carlo import MonteCarloLabeler
from prm.data_gen.prefixes import CompletionPool, Prefix, open_prefixes, sampled_prefixes

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.grading import ExactGrader
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout, StopReason
from prm.sampling_rules import Fixed
from prm.worlds.arithmetic import apply, parse_chain

PROBLEM = Problem("7a+5b-3c*2", "18", "p1", subject="arithmetic")
SAMPLING = SamplingParams(max_new_tokens=50)


class CarryOn:
    """Reads the last result of a started chain and carries on without a mistake; what it says at the end is chosen by
    the request's place among those for its prefix: `endings[i]`."""

    name, revision, num_parameters, context_length = "carry-on", "1", 100, 1000

    def __init__(self, endings: Sequence[str]) -> None:
        self.endings = endings
        self.asked: list[str] = []

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        return list(f"{problem}\n{prefix}".encode())

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: GenerationRequest) -> Completion:
        text = bytes(request.prompt_ids).decode()
        ending = self.endings[self.asked.count(text) % len(self.endings)]
        self.asked.append(text)
        problem, *steps = text.rstrip("\n").split("\n")
        value = int(steps[-1].split("=")[-1])
        for op, operand in parse_chain(problem).operations[len(steps) :]:
            value = apply(value, op, operand)
        reason = StopReason.LENGTH if ending == "cut" else StopReason.EOS
        answer = {"right": f"A: {value}", "wrong": f"A: {value + 1}", "cut": f"A: {value}", "none": "hm"}[ending]
        return Completion((1, 2), answer, reason, Cost(generated_tokens=2, prefilled_tokens=len(text)))


def rollout(
    *steps: str, outcome: Outcome | None, index: int = 0, reason: StopReason = StopReason.EOS, end: str = ""
) -> Rollout:
    gaps = ("", *("\n" for _ in steps[1:]), end)
    return Rollout(PROBLEM, steps, gaps, index, reason, "test", outcome=outcome)


RIGHT = rollout("a7+5=12", "b12-3=9", "c9*2=18", "A: 18", outcome=Outcome.CORRECT)
WRONG = rollout("a7+5=12", "b12-3=8", "c8*2=16", "A: 16", outcome=Outcome.WRONG, index=1)


def labeler(generator: CarryOn, n: int = 8) -> MonteCarloLabeler:
    return MonteCarloLabeler(CompletionPool(generator, ExactGrader(), SAMPLING), Fixed(n))


def label(rollouts: Sequence[Rollout], endings: Sequence[str] = ("right",), n: int = 4) -> list[LabelledRollout]:
    return labeler(CarryOn(endings), n).label(rollouts)


def counts(row: LabelledRollout) -> list[tuple[int, int, int]]:
    return [(item.n_correct, item.n_total, item.n_undecided) for item in row.labels]


def test_labels_are_the_truth_when_completions_make_no_mistake() -> None:
    right, wrong = label([RIGHT, WRONG])
    assert counts(right) == [(4, 4, 0)] * 4
    assert counts(wrong) == [(4, 4, 0), (0, 4, 0), (0, 4, 0), (0, 4, 0)]
    assert [item.hard for item in wrong.labels] == [1, 0, 0, 0]
    assert {item.source for item in wrong.labels} == {"monte_carlo"}
    report = truth_report([right, wrong])
    assert {name: report[name]["mean"] for name in report} == {
        "step_accuracy": 1.0,
        "wrong_precision": 1.0,
        "wrong_recall": 1.0,
        "wrong_base_rate": 3 / 8,
        "first_error_accuracy": 1.0,
    }


def test_more_rollouts_of_the_same_problems_do_not_narrow_the_intervals() -> None:
    first, *others = (
        replace(row, problem=replace(PROBLEM, unique_id=name)) for name in ("p1", "p2", "p3") for row in (RIGHT, WRONG)
    )
    short = replace(first, steps=("a7+5=12", "A: 17"), gaps=("", "\n", ""), outcome=Outcome.WRONG)
    rows = label([short, *others], ["right", "wrong"])
    once, often = truth_report(rows), truth_report(rows * 20)
    for name, estimate in once.items():
        assert often[name] == estimate | {"n": 20 * estimate["n"]}
    assert once["wrong_base_rate"]["low"] < once["wrong_base_rate"]["mean"] < once["wrong_base_rate"]["high"]
    alone = truth_report(rows[:2])["step_accuracy"]
    assert (alone["low"], alone["high"]) == (None, None)


def test_counts_keep_what_is_right_wrong_and_undecided_apart() -> None:
    [row] = label([RIGHT], ["right", "wrong", "cut", "none", "right"], n=5)
    assert counts(row)[:3] == [(2, 3, 2)] * 3
    assert row.labels[0].soft == pytest.approx(2 / 3)


def test_a_label_without_decided_completions_is_unknown() -> None:
    [row] = label([RIGHT], ["cut", "none"])
    assert counts(row) == [(0, 0, 4)] * 3 + [(4, 4, 0)]
    assert row.labels[0].hard is None
    assert truth_report([row])["first_error_accuracy"] is None


def test_equal_prefixes_are_completed_once_and_shared() -> None:
    generator = CarryOn(["right"])
    first, second = labeler(generator, 3).label([RIGHT, WRONG])
    assert len(sampled_prefixes([RIGHT, WRONG])) == 5  # 3 + 3, the first step shared
    assert len(generator.asked) == 5 * 3
    assert first.labels[0] == second.labels[0]
    assert first.cost.generated_tokens + second.cost.generated_tokens == 5 * 3 * 2
    assert first.cost.generated_tokens == 3 * 3 * 2  # the shared prefix is paid by its first rollout


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.CORRECT, StepLabel("monte_carlo", 4, 4)),
        (Outcome.WRONG, StepLabel("monte_carlo", 0, 4)),
        (Outcome.UNPARSABLE, StepLabel("monte_carlo", 0, 0, n_undecided=4)),
        (Outcome.TIMEOUT, StepLabel("monte_carlo", 0, 0, n_undecided=4)),
        (None, StepLabel("monte_carlo", 4, 4)),  # not graded yet: graded now
    ],
)
def test_the_last_step_of_a_finished_rollout_has_its_outcome(outcome: Outcome | None, expected: StepLabel) -> None:
    [row] = label([rollout("a7+5=12", "A: 18", outcome=outcome)])
    assert row.labels[-1] == expected


def test_the_last_step_of_a_truncated_rollout_is_completed() -> None:
    cut = rollout("a7+5=12", "b12-3=9", outcome=None, reason=StopReason.LENGTH, end="\n")
    assert [prefix.text for prefix in open_prefixes(cut)] == ["a7+5=12\n", "a7+5=12\nb12-3=9\n"]
    [row] = label([cut])
    assert counts(row) == [(4, 4, 0)] * 2


def test_prefixes_are_the_sampled_text_to_the_character() -> None:
    odd = Rollout(PROBLEM, ("a", "b", "c"), (" ", "\n\n", "\r\n", "\n"), 0, StopReason.EOS, "test")
    assert [prefix.text for prefix in open_prefixes(odd)] == [" a\n\n", " a\n\nb\r\n"]


def test_a_rollout_of_one_step_needs_no_completion() -> None:
    generator = CarryOn(["right"])
    [row] = labeler(generator).label([rollout("A: 18", outcome=Outcome.CORRECT)])
    assert (generator.asked, len(row.labels), row.cost) == ([], 1, Cost())


def test_greedy_completions_are_asked_once_only() -> None:
    with pytest.raises(ConfigError, match="temperature 0"):
        CompletionPool(CarryOn([]), ExactGrader(), SamplingParams(temperature=0)).grow({Prefix("1a+1", "2", ""): 2})


def test_the_report_counts_everything() -> None:
    monte_carlo = labeler(CarryOn(["right", "wrong", "cut", "none"]), 4)
    rows = monte_carlo.label([RIGHT, WRONG])
    report = label_report(rows, monte_carlo.pool.results, "exact/1")
    assert (report["step_labels"], report["distinct_prefixes"], report["shared_prefixes"]) == (8, 5, 1)
    assert (report["completions"], report["decided_by_rollout"]) == (20, 2)
    assert (report["truncated_share"], report["unparsable_share"], report["timeout_share"]) == (0.25, 0.25, 0)
    assert report["tokens_per_label"] == 5 * 4 * 2 / 8
    # The two share their first prefix; all others differ.
    assert report["distinct_labels"] == 7 and report["tokens_per_distinct_label"] == 5 * 4 * 2 / 7
    assert [entry["mean"] for entry in report["by_position"]] == [0.5, 0.25, 0.25, 0.5]
    assert report["by_position"][1] | {"mean": None} == {
        "position": 1,
        "labels": 2,
        "mean": None,
        "all_wrong": 0.5,
        "mixed": 0.5,
        "all_right": 0.0,
    }
