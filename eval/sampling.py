"""Whole solutions: drawn from a generator or read from a file, then graded and grouped by answer.

Grading and grouping ask about distinct answers only, so that the cost does not grow with repeated samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prm.errors import DataError
from prm.generation.base import GenerationRequest, Generator, SamplingParams, request_seed
from prm.grading import Grader, Pair, extract_answer, group_answers
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout, StopReason, read_rollouts

from .sample_columns import has_sample_columns, read_sample_columns
from .steps import split_by

UNFINISHED = frozenset({StopReason.LENGTH, StopReason.ERROR})
"""Why a solution has no last word: what it says so far is no answer, and does not vote."""


@dataclass(frozen=True)
class GradedRollouts:
    """The rollouts of one problem with `pred` and `outcome` filled in, and the equivalence class of each answer (-1:
    no answer). All rollouts of a class have the same outcome."""

    problem: Problem
    rollouts: tuple[Rollout, ...]
    classes: tuple[int, ...]

    def verdicts(self) -> dict[str, Any]:
        """What grading added to the rollouts, as a row of the store."""
        return {
            "preds": [rollout.pred for rollout in self.rollouts],
            "outcomes": [rollout.outcome.value if rollout.outcome else None for rollout in self.rollouts],
            "classes": list(self.classes),
        }

    @classmethod
    def from_verdicts(cls, rollouts: Sequence[Rollout], row: Mapping[str, Any]) -> GradedRollouts:
        """Inverse of `verdicts`, given the rollouts."""
        judged = tuple(
            replace(rollout, pred=pred, outcome=Outcome(outcome))
            for rollout, pred, outcome in zip(rollouts, row["preds"], row["outcomes"], strict=True)
        )
        return cls(rollouts[0].problem, judged, tuple(row["classes"]))


def make_rollout(
    problem: Problem, text: str, stop_reason: StopReason, *, index: int, source: str, separator: str, cost: Cost
) -> Rollout:
    """A generated text as a rollout, split by the step separator."""
    split = split_by(text, separator)
    return Rollout(problem, split.steps, split.gaps, index, stop_reason, source, cost=cost)


def draw(
    problems: Sequence[Problem],
    generator: Generator,
    n: int,
    *,
    sampling: SamplingParams,
    base_seed: int,
    separator: str,
    progress: Callable[[int], None] | None = None,
    starts: Sequence[int] | None = None,
) -> list[list[Rollout]]:
    """Draw whole solutions of every problem in one call: those with the sample indices `starts[i]` to n of the i-th
    problem, by default all n. Its time is shared out; the peak of the caches, which all of them shared, is said of
    each, where the generator knows it (an attribute `peak_cache_bytes`)."""
    firsts = starts or [0] * len(problems)
    prompts = [tuple(generator.prompt_ids(problem.problem)) for problem in problems]
    requests = [
        GenerationRequest(prompt, request_seed(problem.problem, "", index, base_seed))
        for problem, prompt, first in zip(problems, prompts, firsts, strict=True)
        for index in range(first, n)
    ]
    started = time.perf_counter()
    completions = iter(generator.generate(requests, sampling, progress))
    seconds = (time.perf_counter() - started) / max(1, len(requests))
    peak = getattr(generator, "peak_cache_bytes", 0)

    def rollout(problem: Problem, index: int) -> Rollout:
        completion = next(completions)
        return make_rollout(
            problem,
            completion.text,
            completion.stop_reason,
            index=index,
            source=generator.name,
            separator=separator,
            cost=replace(completion.cost, seconds=seconds, cache_bytes=peak),
        )

    return [
        [rollout(problem, index) for index in range(first, n)] for problem, first in zip(problems, firsts, strict=True)
    ]


def read_recorded(path: str | Path) -> tuple[list[Problem], list[list[Rollout]]]:
    """The problems of a `rollouts.jsonl`, or of a file in search-and-learn's columns, in order of appearance, and the
    rollouts of each."""
    by_problem: dict[str, list[Rollout]] = {}
    for rollout in read_sample_columns(path) if has_sample_columns(path) else read_rollouts(path):
        by_problem.setdefault(rollout.problem.unique_id, []).append(rollout)
    problems = []
    for rollouts in by_problem.values():
        if any(rollout.problem != rollouts[0].problem for rollout in rollouts):
            raise DataError(
                f"two different problems share the unique_id {rollouts[0].problem.unique_id!r}",
                path=path,
                remedy="Give every problem an id of its own",
            )
        problems.append(rollouts[0].problem)
    return problems, list(by_problem.values())


def grade_rollouts(pools: Sequence[Sequence[Rollout]], grader: Grader) -> list[GradedRollouts]:
    """Fill in answers and verdicts where they are missing, and group the answers of each problem.

    An unfinished rollout has no answer, whatever its text contains. The verdict of a class is that of most of its
    distinct answers, for equivalent answers cannot be right and wrong at once; no majority makes it wrong.
    """
    answered = [[_with_answer(rollout) for rollout in pool] for pool in pools]
    asked: dict[Pair, None] = {
        (rollout.pred, rollout.problem.answer): None
        for pool in answered
        for rollout in pool
        if rollout.pred is not None and rollout.outcome is None
    }
    verdicts = dict(zip(asked, grader.grade_many(list(asked)), strict=True)) if asked else {}
    graded = []
    for pool in answered:
        judged = [replace(r, outcome=verdicts[(r.pred, r.problem.answer)]) if r.outcome is None else r for r in pool]
        graded.append(_grouped(judged, grader))
    return graded


def _with_answer(rollout: Rollout) -> Rollout:
    if rollout.stop_reason in UNFINISHED:
        return replace(rollout, pred=None, outcome=Outcome.UNPARSABLE)
    if rollout.outcome is not None and rollout.pred is not None:
        return rollout
    pred = rollout.pred if rollout.pred is not None else extract_answer(rollout.text)
    if pred is None:
        return replace(rollout, pred=None, outcome=Outcome.UNPARSABLE)
    return replace(rollout, pred=pred, outcome=None)


def _grouped(pool: Sequence[Rollout], grader: Grader) -> GradedRollouts:
    distinct = list(dict.fromkeys(rollout.pred for rollout in pool if rollout.pred is not None))
    label_of = dict(zip(distinct, group_answers(distinct, grader), strict=True)) if distinct else {}
    verdict_of = {rollout.pred: rollout.correct for rollout in pool}
    by_class: dict[int, list[bool]] = {}
    for answer in distinct:
        by_class.setdefault(label_of[answer], []).append(verdict_of[answer])
    right = {label for label, verdicts in by_class.items() if 2 * sum(verdicts) > len(verdicts)}
    classes = tuple(-1 if rollout.pred is None else label_of[rollout.pred] for rollout in pool)
    settled = tuple(_settled(r, label in right) for r, label in zip(pool, classes, strict=True))
    return GradedRollouts(pool[0].problem, settled, classes)


def _settled(rollout: Rollout, right: bool) -> Rollout:
    """The rollout with the verdict of its answer's class."""
    if rollout.correct == right:
        return rollout
    return replace(rollout, outcome=Outcome.CORRECT if right else Outcome.WRONG)
