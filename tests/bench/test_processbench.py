"""`prm bench`: reading ProcessBench, the policy for steps a verifier cannot read, and the metric."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.rows import read_processbench, sample_of
from prm.eval.bench.scores import readable

from prm.errors import ConfigError, DataError, MissingFileError


def row(steps: Sequence[str], label: int) -> dict[str, Any]:
    return {"id": "x", "problem": "p", "steps": list(steps), "label": label, "final_answer_correct": label == -1}


def accept(problem: str, steps: Sequence[str]) -> list[float]:
    return [0.9] * len(steps)


ROWS = [row(["ok", "ok"], -1), row(["ok", "bad", "ok"], 1), row(["bad"], 0), row(["ok", "o\nk"], -1)]


def config(tmp_path: Path, rows: Any = ROWS, **options: Any) -> BenchConfig:
    path = tmp_path / "subset.json"
    path.write_text(json.dumps(rows))
    given: dict[str, Any] = {"overwrite": True, **options}
    return BenchConfig(output_dir=str(tmp_path / "out"), prm_path="in memory", files=[str(path)], **given)


def test_a_verifier_that_knows_the_truth_scores_one(bench: SimpleNamespace, tmp_path: Path) -> None:
    verifier = bench.Verifier(lambda p, steps: [0.1 if step == "bad" else 0.9 for step in steps])
    summary = run_bench(config(tmp_path), verifier=verifier)
    found = summary["subsets"]["subset"]
    assert summary["mean_f1"] == found["first_error_f1"] == 1.0
    assert (found["solutions"], found["steps_with_separator"], found["too_long"]) == (4, 1, 0)
    written = json.loads((tmp_path / "out" / "processbench.json").read_text())
    assert written == summary
    records = [json.loads(line) for line in (tmp_path / "out" / "processbench.jsonl").read_text().splitlines()]
    assert [record["predicted"] for record in records] == [-1, 1, 0, -1]


def test_a_verifier_that_accepts_everything_scores_zero(bench: SimpleNamespace, tmp_path: Path) -> None:
    found = run_bench(config(tmp_path), verifier=bench.Verifier(lambda p, s: [0.9] * len(s)))["subsets"]
    assert found["subset"]["first_error_f1"] == 0.0
    assert found["subset"]["all_correct_accuracy"] == 1.0


def test_the_threshold_decides(bench: SimpleNamespace, tmp_path: Path) -> None:
    verifier = bench.Verifier(lambda p, steps: [0.6 if step == "bad" else 0.9 for step in steps])
    assert run_bench(config(tmp_path), verifier=verifier)["mean_f1"] == 0.0
    assert run_bench(config(tmp_path, threshold=0.7), verifier=verifier)["mean_f1"] == 1.0


def test_a_subset_with_one_kind_of_solution_has_no_f1(bench: SimpleNamespace, tmp_path: Path) -> None:
    summary = run_bench(config(tmp_path, ROWS[:1]), verifier=bench.Verifier(lambda p, s: [0.9] * len(s)))
    assert summary["mean_f1"] is None
    assert summary["subsets"]["subset"]["all_correct_accuracy"] == 1.0


def test_separators_become_spaces_and_blank_steps_get_the_score_before_them() -> None:
    found = readable(["", "a\nb", " ", "c"], "\n")
    assert found.steps == ("a b", "c")
    assert found.places == (-1, 0, 0, 1)
    assert (found.n_separators, found.n_blank) == (1, 2)


def test_an_orm_is_refused(bench: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="an ORM, which scores no steps"):
        run_bench(config(tmp_path), verifier=bench.Verifier(accept, spec=bench.orm))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"problem": "p", "label": 0, "final_answer_correct": True}], "row 1: no 'steps'"),
        ([ROWS[0], row(["a"], 1)], "row 2: .*label 1 is not -1 or the index of one of its 1 steps"),
        ([row([], -1)], "it has no steps"),
        ([{**row(["a"], -1), "problem": 5}], "problem must be a text"),
        ([{**row(["a"], -1), "steps": "a"}], "steps a list of texts"),
        ([{**row(["a"], -1), "label": "x"}], "label 'x' is not a whole number"),
        ([5], "row 1: a JSON int, not an object"),
        ([], "no rows in it"),
    ],
)
def test_a_malformed_row_is_named(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_processbench(config(tmp_path, rows).files[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{json.dumps(ROWS[0])}\n{{bad\n".encode(), "line 2: not valid JSON"),
        (b"[\xff]", "not UTF-8 text"),
        (b'{"problem": "\xff"}', "line 1: not UTF-8 text"),
        (b"[1,", "not valid JSON"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "subset.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"subset.json.*{message}"):
        read_processbench(path)


def test_a_repeated_solution_counts_once_and_one_of_two_labels_is_refused(
    bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verifier = bench.Verifier(lambda p, steps: [0.1 if step == "bad" else 0.9 for step in steps])
    found = run_bench(config(tmp_path, [*ROWS, ROWS[1], ROWS[1]]), verifier=verifier)
    assert found["solutions"] == 4
    said = "rows of subset that repeat a solution (it counts once): 2"
    assert found["notes"] == [said] and f"note: {said}" in capsys.readouterr().out
    contradiction = {**ROWS[1], "id": "y", "label": 2}
    message = r"row 5: solution 'y' is 'x' once more, whose label is 1 and not 2. A solution has one first"
    with pytest.raises(DataError, match=message):
        run_bench(config(tmp_path, [*ROWS, contradiction]), verifier=verifier)


@pytest.mark.parametrize("options", [{"num_problems": -4}, {"threshold": 2.0}, {"batch_tokens": 0}])
def test_options_out_of_range_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must"):
        config(tmp_path, **options)


def test_an_output_directory_that_is_a_file_is_refused_before_anything_is_read(
    bench: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("")
    verifier = bench.Verifier(accept)
    with pytest.raises(ConfigError, match="no directory that files can be written to"):
        run_bench(config(tmp_path), verifier=verifier)
    assert not verifier.read


def test_a_missing_file_and_two_subsets_of_one_name_are_refused(bench: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError):
        read_processbench(tmp_path / "missing.json")
    twice = config(tmp_path)
    twice.files *= 2
    with pytest.raises(ConfigError, match="same name"):
        run_bench(twice, verifier=bench.Verifier(accept))


def test_the_published_files_are_read_whole(data_dir: Path) -> None:
    for name, wrong, right in (("gsm8k", 207, 193), ("math", 594, 406)):  # arXiv 2412.06559, table 2
        rows = read_processbench(data_dir / "processbench" / f"{name}.json")
        assert sum(row.label != -1 for row in rows) == wrong
        assert sum(row.label == -1 for row in rows) == right
        some = sample_of(rows, 100, seed=0)
        assert len({row.id for row in some}) == 100
        assert 20 < sum(row.label == -1 for row in some) < 80  # a random sample, for the files are sorted by label
