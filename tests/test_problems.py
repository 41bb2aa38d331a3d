"""Problems from every format the README names, and what is said of a bad row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from prm.errors import ConfigError, DataError, MissingFileError
from prm.problems import clusters_of, load_problems, problem_from_row

ROWS = [{"problem": "1+1", "answer": "2", "level": 3}, {"problem": "2+2", "answer": 4, "subject": "sums"}]


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_every_file_format_gives_the_same_problems(suffix: str, tmp_path: Path) -> None:
    from datasets import Dataset

    path = tmp_path / f"problems.{suffix}"
    rows = [{"question": "1+1", "answer": "2"}, {"question": "2+2", "answer": "4"}]
    if suffix in {"jsonl", "json"}:
        write(path, rows)
    elif suffix == "csv":
        Dataset.from_list(rows).to_csv(path)
    else:
        Dataset.from_list(rows).to_parquet(path)
    problems = load_problems(str(path))
    assert [(p.problem, p.answer) for p in problems] == [("1+1", "2"), ("2+2", "4")]
    assert len({p.unique_id for p in problems}) == 2


def test_optional_columns_and_numbers_are_read(tmp_path: Path) -> None:
    one, two = load_problems(write(tmp_path / "p.jsonl", ROWS))
    assert (one.level, two.answer, two.subject) == ("3", "4", "sums")
    assert load_problems(write(tmp_path / "p.jsonl", ROWS), limit=1) == [one]


def test_a_worked_solution_ends_in_its_answer(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "3*6=<<3*6=18>>18\n#### 1,018"}, {"question": "r", "ground_truth": "x\nA: 7"}]
    assert [p.answer for p in load_problems(write(tmp_path / "p.jsonl", rows))] == ["1,018", "7"]


def test_the_real_sets_are_read(data_dir: Path) -> None:
    assert len(load_problems(str(data_dir / "gsm8k_test.jsonl"))) == 1319
    math500 = load_problems(str(data_dir / "math500.jsonl"))
    assert len(math500) == 500 and math500[0].unique_id == "test/precalculus/807.json"


def test_bad_rows_are_named_with_file_line_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [*ROWS, {"problem": "3+3"}])
    with pytest.raises(DataError, match=r"p.jsonl, line 3: no 'answer' or 'ground_truth' .* Rename the column"):
        load_problems(path)
    for empty in ("", "  ", None):
        with pytest.raises(DataError, match=r"p\.jsonl, line 1: 'answer' is empty\. Fill it in"):
            load_problems(write(tmp_path / "p.jsonl", [{"problem": "1+1", "answer": empty}]))
    with pytest.raises(DataError, match="'problem' is of type list, not a text"):
        load_problems(write(tmp_path / "p.jsonl", [{"problem": ["1+1"], "answer": "2"}]))
    with pytest.raises(DataError, match="line 1: no 'problem' or 'question'"):
        load_problems(write(tmp_path / "p.jsonl", [{"text": "1+1", "answer": "2"}]))
    with pytest.raises(DataError, match=r"line 2: unique_id .* already used on line 1"):
        load_problems(write(tmp_path / "p.jsonl", [ROWS[0], ROWS[0]]))
    with pytest.raises(DataError, match="no problems in it"):
        load_problems(write(tmp_path / "p.jsonl", []))
    (tmp_path / "p.jsonl").write_text('{"problem": "1+1", "answer": "2"}\n{"problem": \n')
    with pytest.raises(DataError, match="line 2: not valid JSON"):
        load_problems(str(tmp_path / "p.jsonl"))
    (tmp_path / "p.jsonl").write_bytes(b'{"problem": "\xff"}\n')
    with pytest.raises(DataError, match="not UTF-8"):
        load_problems(str(tmp_path / "p.jsonl"))
    with pytest.raises(MissingFileError, match="no such file"):
        load_problems(str(tmp_path / "absent.jsonl"))
    with pytest.raises(ConfigError, match=r"not a .jsonl, .json, .parquet or .csv file"):
        load_problems(str(tmp_path))


def test_problems_of_one_cluster_are_known_and_a_problem_without_one_is_alone(tmp_path: Path) -> None:
    rows = [
        {"problem": "1+1", "answer": "2", "cluster": "sums"},
        {"problem": "one plus one", "answer": "2", "cluster": "sums"},
        {"problem": "7", "answer": "7", "unique_id": "sums"},
    ]
    problems = load_problems(write(tmp_path / "p.jsonl", rows))
    assert clusters_of(problems) == ["cluster sums", "cluster sums", "problem sums"]
    assert clusters_of(problems[2:]) is None
    assert [problem_from_row(problem.to_dict()) for problem in problems] == problems
    assert "cluster" not in problems[2].to_dict()
