"""PRM800K (arXiv 2305.20050; openai/prm800k): people rated each step 1 (right), 0 (neutral) or -1 (wrong). A record's
`label.steps` hold for each place the `completions` that were shown, with their ratings, which one was chosen to go on
with, or the step that the labeller wrote instead (`human_completion`, not rated).

The chosen path is the record's own rollout. Where nothing was chosen it ends; in the second phase, where people rated
a whole solution that had been sampled before, it ends with that solution's own next step, which is the first error.
Every other rated completion is a rollout of its own, the path up to there and that step, unless `alternatives` is off.
A rating of 0 becomes the value 0.5, which `prm data curate --neutral` may turn into right, wrong or unknown.

All else of a record (who rated, when, the alternatives) is kept with the chosen path, so that writing it again gives
the same record; the alternatives' own rollouts are then left out. It cannot hold soft values, counts, sources, what
stood between the steps, outcomes or costs.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prm.labels import StepLabel
from prm.rollouts import StopReason
from prm.rows.label_policies import is_neutral

from .base import NotHeldError, Record, Row, Where, column, imported

NAME = "prm800k"
HUMAN = "human"
_VALUES = {1: 1.0, 0: 0.5, -1: 0.0, None: None}
_ANSWER = "# Answer"
_NO_FACTS = ("labeler", "timestamp", "generation")

Place = int | str  # of a completion within its step: an index, or HUMAN


@dataclass(frozen=True)
class Prm800kFormat:
    """Raw records of PRM800K."""

    alternatives: bool = True
    name: str = NAME
    columns: tuple[str, ...] = ("question", "label")

    def parse(self, row: Row, where: Where) -> list[Record]:
        question = column(row, "question", dict, "a mapping", where)
        steps = column(column(row, "label", dict, "a mapping", where), "steps", list, "a list", where)
        path = list(_path(steps, question.get("pre_generated_steps") or []))
        chosen = [_completion(steps[i], place) for i, place in enumerate(path)]
        answer = question.get("ground_truth_answer")

        def rollout(completions: list[dict[str, Any]], tail: str, extra: dict[str, Any]) -> Record:
            marks = [_label(completion, where) for completion in completions]
            answered = bool(completions) and _ANSWER in completions[-1]["text"]
            return imported(
                question.get("problem", ""),
                [completion["text"] for completion in completions],
                marks,
                where,
                source=NAME + tail,
                answer=answer.strip() if isinstance(answer, str) else "",
                stop_reason=StopReason.EOS if answered else StopReason.LENGTH,
                pred=completions[-1]["text"].rsplit(_ANSWER, 1)[1].strip() if answered else None,
                extra={NAME: extra},
            )

        records = [rollout(chosen, "", {"record": _skeleton(row, path)})]
        if self.alternatives:
            for i, j, other in _others(steps, path):
                place = {"alternative": {"step": i, "completion": j}}
                records.append(rollout([*chosen[:i], other], f":{i}.{j}", place))
        return records

    def render(self, record: Record) -> Row:
        extra = record.extra.get(NAME, {})
        if "alternative" in extra:
            raise NotHeldError("an alternative step, which the record of the chosen path holds")
        ratings = [_rating(label) for label in record.labels]
        skeleton = extra.get("record")
        if skeleton is not None:
            row: Row = copy.deepcopy(skeleton)
            row["question"]["problem"] = record.problem.problem
            for completion, step, rating in zip(_holes(row), record.rollout.steps, ratings, strict=False):
                completion["text"] = step
                completion.setdefault("rating", rating)
            return row
        completions = [
            {"text": step, "rating": rating, "flagged": False}
            for step, rating in zip(record.rollout.steps, ratings, strict=True)
        ]
        return _plain_record(record, completions)


def _path(steps: list[Any], sampled: list[str]) -> Iterator[Place]:
    """For each place of the path that was followed, which completion it went on with."""
    for index, step in enumerate(steps):
        completions = step.get("completions") or []
        if step.get("chosen_completion") is not None:
            yield step["chosen_completion"]
        elif step.get("human_completion") is not None:
            yield HUMAN
        else:
            if completions and index < len(sampled) and completions[0]["text"] == sampled[index]:
                yield 0
            return


def _others(steps: list[Any], path: list[Place]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The rated completions off the path: step, index and completion."""
    for i, step in enumerate(steps[: len(path) + 1]):
        for j, completion in enumerate(step.get("completions") or []):
            if (i >= len(path) or path[i] != j) and completion.get("rating") is not None:
                yield i, j, completion


def _completion(step: dict[str, Any], place: Place) -> dict[str, Any]:
    found: dict[str, Any] = step["human_completion"] if place == HUMAN else step["completions"][place]
    return found


def _label(completion: dict[str, Any], where: Where) -> StepLabel:
    rating = completion.get("rating")
    if rating is None:
        rating = completion.get("corrected_rating")
    if rating not in _VALUES or isinstance(rating, bool):
        raise where.error(f"the rating {rating!r}", "Ratings are -1, 0, 1 or null")
    return StepLabel(NAME, value=_VALUES[rating])


def _rating(label: StepLabel) -> int | None:
    if is_neutral(label):
        return 0
    return {1: 1, 0: -1, None: None}[label.hard]


def _skeleton(row: Row, path: list[Place]) -> Row:
    """The record without the texts and ratings that its rollout holds."""
    rest = copy.deepcopy(row)
    rest["question"].pop("problem", None)
    for step, place in zip(rest["label"]["steps"], path, strict=False):
        completion = _completion(step, place)
        del completion["text"]
        if place != HUMAN:  # a person's own step may have a second, corrected rating, and keeps both
            completion.pop("rating", None)
    return rest


def _holes(row: Row) -> Iterator[dict[str, Any]]:
    """The completions of the path, in order: those that lack their text."""
    for step in row["label"]["steps"]:
        for completion in [*(step.get("completions") or []), step.get("human_completion")]:
            if completion is not None and "text" not in completion:
                yield completion


def _plain_record(record: Record, completions: list[dict[str, Any]]) -> Row:
    found_error = bool(completions) and completions[-1]["rating"] == -1
    return {
        **dict.fromkeys(_NO_FACTS),
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {
            "problem": record.problem.problem,
            "ground_truth_answer": record.problem.answer or None,
        },
        "label": {
            "steps": [
                {"completions": [completion], "human_completion": None, "chosen_completion": 0}
                for completion in completions
            ],
            "total_time": None,
            "finish_reason": "found_error" if found_error else "solution",
        },
    }
