"""Outcomes that stand where a PRM expects step labels: refused where there is nothing else, else said."""

from __future__ import annotations

from pathlib import Path

import pytest

from prm.errors import DataError
from prm.jsonl import write_jsonl
from prm.labels import LabelledRollout, StepLabel
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason
from prm.rows.training_rows import load_rows, rows_from_columns

Marks = tuple[str, list[float | None]]

OUTCOMES: Marks = ("outcome", [None, None, 1.0])  # as `prm label --labeler implicit` makes them


def labelled(path: Path, *rows: Marks) -> Path:
    """A labels.jsonl with a row for each source and its labels."""
    made = []
    for index, (source, values) in enumerate(rows):
        steps, gaps = tuple("abcdef"[: len(values)]), ("",) * (len(values) + 1)
        solution = Rollout(Problem("p", "1", "id"), steps, gaps, index, StopReason.EOS, "m", outcome=Outcome.CORRECT)
        labels = tuple(StepLabel(source, value=value) for value in values)
        made.append(LabelledRollout(solution, labels).to_dict())
    write_jsonl(path, made)
    return path


def test_outcomes_alone_are_no_labels_for_a_prm(tmp_path: Path) -> None:
    path = labelled(tmp_path / "labels.jsonl", OUTCOMES, OUTCOMES, ("outcome", [1.0]))
    with pytest.raises(DataError, match=r"labels.jsonl: outcomes alone: no row has a label before its last.*\(orm\)"):
        load_rows(path)
    assert len(load_rows(path, kind="orm").rows) == 3
    as_columns = {"prompt": "p", "completions": ["a", "b"], "labels": [None, 1], "source": "outcome"}
    with pytest.raises(DataError, match="train_dataset: outcomes alone"):
        rows_from_columns([as_columns], name="train_dataset")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OUTCOMES, ("judge", [1.0, 0.0])], "the one label of 1 of 2 rows is the outcome, not a step's"),
        ([("judge", [None, 0.0])] * 2, "no row has a label before its last step"),  # perhaps prefixes, each judged
        ([("judge", [None, 0.0]), ("judge", [1.0, 0.0])], ""),
        ([("judge", [1.0]), ("outcome", [1.0])], ""),  # one step: it is the last one
    ],
)
def test_a_prm_is_told_of_rows_whose_last_label_stands_alone(
    rows: list[Marks], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(load_rows(labelled(tmp_path / "labels.jsonl", *rows)).rows) == 2
    assert message in caplog.text if message else not caplog.text
