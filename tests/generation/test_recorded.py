"""Recorded solutions as rollouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prm.errors import DataError, MissingFileError
from prm.generation.recorded import read_recorded
from prm.rollouts import StopReason

PANEL = {
    "question": "How many?",
    "ground_truth": "3 - 1 = <<3-1=2>>2\nA: 2",
    "small": {"is_correct": False, "solution": "3 + 1 = <<3+1=4>>4\nA: 4"},
    "large": {"is_correct": True, "solution": "3 - 1 = <<3-1=2>>2\nA: 2"},
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_panel_gives_one_rollout_per_system(tmp_path: Path) -> None:
    small, large = read_recorded(write(tmp_path / "panel.jsonl", PANEL))
    assert (small.rollout.source, small.verdict) == ("small", False)
    assert (large.rollout.source, large.verdict) == ("large", True)
    assert small.rollout.steps == ("3 + 1 = <<3+1=4>>4", "A: 4")
    assert small.rollout.text == PANEL["small"]["solution"]
    assert small.rollout.problem.answer == "2"
    assert small.rollout.stop_reason is StopReason.EOS
    assert small.rollout.outcome is None  # the record's verdict does not enter


@pytest.mark.parametrize("column", ["completions", "solutions", "solution"])
def test_columns_of_samples(tmp_path: Path, column: str) -> None:
    texts = ["a\n\nb", "c"] if column != "solution" else "a\n\nb"
    path = write(tmp_path / "samples.jsonl", {"problem": "p", "answer": "2", column: texts, "scores": [[1], [0]]})
    samples = read_recorded(path, "separator:\n\n")
    assert [s.rollout.steps for s in samples] == [("a", "b"), ("c",)][: len(samples)]
    assert [s.rollout.sample_index for s in samples] == [0, 1][: len(samples)]
    assert {(s.rollout.source, s.verdict) for s in samples} == {(column, None)}
    assert len({s.rollout.key for s in samples}) == len(samples)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_solution_is_a_rollout_without_steps(tmp_path: Path, blank: str) -> None:
    path = write(tmp_path / "samples.jsonl", {"problem": "p", "answer": "2", "completions": ["A: 2", blank]})
    right, nothing = (sample.rollout for sample in read_recorded(path))
    assert right.steps == ("A: 2",)
    assert (nothing.steps, nothing.text, nothing.stop_reason) == ((), blank, StopReason.EOS)


def test_keys_and_limit_choose(tmp_path: Path) -> None:
    path = write(tmp_path / "panel.jsonl", PANEL, {**PANEL, "question": "Again?"})
    assert [s.rollout.source for s in read_recorded(path, keys=["large"], limit=1)] == ["large"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "q", "small": PANEL["small"]}, "no 'answer' or 'ground_truth'"),
        ({"question": "q", "answer": "1", "large": PANEL["large"]}, "no 'small' among the columns"),
        ({**PANEL, "question": "q", "small": {"solution": None}}, "solution 0 under 'small' is of type NoneType"),
        ({**PANEL, "question": "q", "small": 3}, "solution 0 under 'small' is of type int, not a text"),
        (PANEL, "the problem of line 1 again"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "bad.jsonl", PANEL, row)
    with pytest.raises(DataError, match=f"bad.jsonl, line 2: {message}"):
        read_recorded(path)


def test_files_without_solutions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no recorded solutions"):
        read_recorded(write(tmp_path / "empty.jsonl"))
    with pytest.raises(DataError, match="line 1: no recorded solution in a row with the columns"):
        read_recorded(write(tmp_path / "plain.jsonl", {"question": "q", "answer": "1"}))
    with pytest.raises(MissingFileError, match="no such file"):
        read_recorded(tmp_path / "absent.jsonl")


def test_the_recorded_gsm8k_solutions(data_dir: Path) -> None:
    samples = read_recorded(data_dir / "gsm8k_model_solutions.jsonl")
    assert len(samples) == 5276
    assert len({s.rollout.key for s in samples}) == 5276
    assert sum(s.verdict is True for s in samples) == 2001
    assert all(s.rollout.steps for s in samples)
