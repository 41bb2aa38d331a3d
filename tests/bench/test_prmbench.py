"""`prm bench --benchmark prmbench`: rows as they were published, and PRMScore by category."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.bench import BenchConfig, run_bench
from prm.eval.bench.compare import run_compare
from prm.eval.bench.prmbench import read

from prm.errors import DataError


def row(category: str, wrong: Sequence[int], name: str = "1", steps: int = 4) -> dict[str, Any]:
    texts = ["bad" if place in wrong else "ok" for place in range(1, steps + 1)]
    return {
        "idx": name,
        "original_question": "q",
        "original_process": ["never read"],
        "modified_question": f"question {name}",
        "modified_process": texts,
        "error_steps": list(wrong),
        "classification": category,
    }


ROWS = [
    *(row("circular", [2], str(i)) for i in range(6)),
    *(row("deception", [3, 4], str(i)) for i in range(6)),
    *(row("multi_solutions", [], str(i)) for i in range(6)),
    row("circular", [1], "0"),  # a repeated idx of a category counts once
]


def config(tmp_path: Path, path: str, **options: Any) -> BenchConfig:
    return BenchConfig(str(tmp_path / "out"), "in memory", [path], benchmark="prmbench", **options)


def judge(problem: str, steps: Sequence[str]) -> list[float]:
    return [0.3 if step == "bad" else 0.9 for step in steps]


def test_error_steps_count_from_one_and_a_right_verifier_scores_one(bench: SimpleNamespace, tmp_path: Path) -> None:
    verifier = bench.Verifier(judge)
    found = run_bench(config(tmp_path, bench.write(ROWS)), verifier=verifier)
    assert found["prm_score"] == 1.0
    assert {name: part["solutions"] for name, part in found["subsets"].items()} == dict.fromkeys(
        ("circular", "deception", "multi_solutions"), 6
    )
    assert found["dimensions"]["sensitivity"]["prm_score"] == 1.0
    assert not any("never read" in steps for _, steps in verifier.read)
    assert "PRMScore over all steps: 100.0%" in (tmp_path / "out" / "report.html").read_text()


def test_the_threshold_decides_and_accepting_everything_finds_no_wrong_step(
    bench: SimpleNamespace, tmp_path: Path
) -> None:
    found = run_bench(config(tmp_path, bench.write(ROWS), threshold=0.2), verifier=bench.Verifier(judge))
    right, wrong = 6 * 3 + 6 * 2 + 6 * 4, 6 + 6 * 2
    assert found["prm_score"] == pytest.approx(0.5 * 2 * right / (2 * right + wrong))
    assert found["subsets"]["multi_solutions"]["headline"] == 1.0


def test_runs_are_compared_beside_published_scores(
    bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bench.write(ROWS)
    for name, threshold in (("a", 0.2), ("b", 0.5)):
        one = BenchConfig(str(tmp_path / name), "x", [path], benchmark="prmbench", threshold=threshold)
        run_bench(one, verifier=bench.Verifier(judge))
    entries = [str(tmp_path / "a"), str(tmp_path / "b")]
    board = run_compare(BenchConfig(str(tmp_path / "board"), compare=entries, benchmark="prmbench"))
    assert board.differences[0].mean.mean > 0
    assert "arXiv 2501.03124" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error_steps": [0]}, r"error_steps \[0\] are not numbers of its 4 steps"),
        ({"error_steps": [5]}, "from 1 on"),
        ({"classification": "typo"}, "classification 'typo' is none of redundency"),
        ({"modified_process": "text"}, "steps a list of texts"),
    ],
)
def test_a_malformed_row_is_named(
    bench: SimpleNamespace, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=f"row 1: .*{message}"):
        read(config(tmp_path, bench.write([{**ROWS[0], **change}])))
    missing = {key: value for key, value in ROWS[0].items() if key != "modified_question"}
    with pytest.raises(DataError, match="no 'modified_question' in the row"):
        read(config(tmp_path, bench.write([json.loads(json.dumps(missing))])))
