"""Rollouts and labelled rollouts as rows: back and forth, and what is said of a row that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prm.errors import DataError
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout, StopReason, read_rollouts

ROLLOUT = Rollout(
    problem=Problem("1+1", "2", "p1"),
    steps=("1+1=2", "A: 2"),
    gaps=("", "\n", "\n"),
    sample_index=3,
    stop_reason=StopReason.EOS,
    source="t",
    pred="2",
    outcome=Outcome.CORRECT,
    seed=7,
    cost=Cost(generated_tokens=9, flops=1.5),
)
LABELLED = LabelledRollout(
    ROLLOUT, (StepLabel("monte_carlo", 3, 4, 1), StepLabel("human", value=0.5)), Cost(prefilled_tokens=4)
)


def test_rows_are_read_as_they_were_written() -> None:
    assert Rollout.from_dict(json.loads(json.dumps(ROLLOUT.to_dict()))) == ROLLOUT
    assert LabelledRollout.from_dict(json.loads(json.dumps(LABELLED.to_dict()))) == LABELLED


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "ab"}, "'steps' is not a list of texts"),
        ({"steps": [1, 2]}, "'steps' is not a list of texts"),
        ({"gaps": "abc"}, "'gaps' is not a list of texts"),
        ({"gaps": [""]}, "2 steps need 3 gaps, got 1"),
        ({"pred": 2}, "'pred' is 2, neither a text nor null"),
        ({"stop_reason": "tired"}, "'tired' is not a valid StopReason"),
        ({"outcome": ["correct"]}, "not a valid Outcome"),
        ({"sample_index": None}, "int()"),
        ({"cost": {"foo": 1}}, "{'foo': 1} is not a cost"),
        ({"cost": {"flops": "many"}}, "is not a cost"),
        ({"cost": 3}, "3 is not a cost"),
    ],
)
def test_a_row_that_is_no_rollout_is_named_with_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROLLOUT.to_dict(), ROLLOUT.to_dict() | change)))
    with pytest.raises(DataError) as caught:
        list(read_rollouts(path))
    assert f"{path}, line 2: not a rollout: " in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_correct": "3"}, "n_correct='3'"),
        ({"n_correct": True}, "n_correct=True"),
        ({"n_correct": 5}, "n_correct=5, n_total=4"),
        ({"n_correct": -1}, "n_correct=-1"),
        ({"n_undecided": None}, "n_undecided=None"),
        ({"source": None}, "source=None"),
        ({"value": 1.5}, "value=1.5 is not between 0 and 1"),
        ({"value": "high"}, "value='high'"),
        ({"colour": "red"}, "is not a step label"),
    ],
)
def test_a_label_that_is_none_is_named_with_its_line(change: dict[str, Any], message: str) -> None:
    row = LABELLED.to_dict()
    row["labels"][0] |= change
    with pytest.raises(DataError, match=r"labels\.jsonl, line 4: the labels are not those of `prm label`") as caught:
        LabelledRollout.from_dict(row, path="labels.jsonl", line=4)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label_cost": {"foo": 1}}, "{'foo': 1} is not a cost"),
        ({"labels": 3}, "not iterable"),
        ({"labels": ["right", "wrong"]}, "'right' is not a step label"),
        ({"labels": []}, "0 labels for 2 steps"),
    ],
)
def test_a_row_that_is_no_labelled_rollout_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=r"labels\.jsonl, line 4: ") as caught:
        LabelledRollout.from_dict(LABELLED.to_dict() | change, path="labels.jsonl", line=4)
    assert message in str(caught.value)
