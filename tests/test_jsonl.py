"""One reader of rows for every stage: JSON lines or one array, and what is said of a file that is neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prm.errors import DataError, MissingFileError
from prm.generation.recorded import read_recorded
from prm.jsonl import read_jsonl
from prm.problems import load_problems
from prm.rows.training_rows import load_rows

ROWS = [{"a": 1, "b": "é"}, {"a": None}]


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
@pytest.mark.parametrize(
    "content",
    [
        "\n".join(map(json.dumps, ROWS)),
        json.dumps(ROWS),
        "\n \n" + json.dumps(ROWS, indent=2, ensure_ascii=False) + "\n",
        "\ufeff" + json.dumps(ROWS),
        "\ufeff" + "\r\n".join(map(json.dumps, ROWS)) + "\r\n",
    ],
)
def test_lines_and_an_array_give_the_same_rows(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_bytes(content.encode())
    assert list(read_jsonl(tmp_path / name)) == [(1, ROWS[0]), (2, ROWS[1])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": \n', "line 3: not valid JSON"),
        (b'{"a": 1}\n[1]\n', "line 2: a JSON list, not an object"),
        (b'[{"a": 1}, 3]', "row 2: a JSON int, not an object"),
        (b'[{"a": 1},\n{"a": 2}', "line 2: not valid JSON"),
        (b'{"a": 1}\n' * 5000 + b'{"a": "\xff"}\n', "line 5001: not UTF-8 text"),
        (b'[\n{"a": "\xff"}\n]', "line 2: not UTF-8 text"),
    ],
)
def test_what_is_no_row_is_named_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"rows.jsonl, {message}"):
        list(read_jsonl(path))


def test_every_stage_reads_arrays(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"

    def write(row: dict[str, Any]) -> Path:
        path.write_text(json.dumps([row]))
        return path

    [row] = load_rows(write({"prompt": "p", "completions": ["a", "b"], "labels": [True, False]})).rows
    assert row.labels == (1.0, 0.0)
    [problem] = load_problems(str(write({"question": "q", "answer": "2"})))
    assert problem.answer == "2"
    [sample] = read_recorded(write({"question": "q", "answer": "2", "solution": "A: 2"}))
    assert sample.rollout.steps == ("A: 2",)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"absent\.jsonl: no such file"):
        list(read_jsonl(tmp_path / "absent.jsonl"))
