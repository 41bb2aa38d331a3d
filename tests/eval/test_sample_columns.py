"""Samples in search-and-learn's columns go out and come in, as JSON lines and as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval

from prm.errors import ConfigError, DataError
from prm.jsonl import write_jsonl

ROW = {
    "problem": "1+1",
    "answer": "2",
    "unique_id": "a",
    "completions": ["one and one\n\nA: 2", "one or one\n\nA: 3\n\n", "A: 3"],
    "scores": [[0.9, 0.8], [0.2, 0.3, 0.99], [0.4]],
    "pred": "never read",
}


def config(folder: Path, path: Path, **options: Any) -> EvalConfig:
    return EvalConfig(output_dir=str(folder), rollouts=str(path), report=False, **options)


def written(path: Path, **changes: Any) -> Path:
    write_jsonl(path, [ROW | changes])
    return path


def test_a_run_is_replayed_from_its_own_samples_in_either_format(world: SimpleNamespace, tmp_path: Path) -> None:
    def judge(problem: str, steps: Any) -> list[float]:
        return [right * 0.8 + 0.1 for right in world.truth(problem, steps)]

    def blank_lines(problem: str, text: str, rng: Any) -> str:
        return world.careless(problem, text.replace("\n\n", "\n"), rng).replace("\n", "\n\n")

    from prm.scoring_spec import ScoringSpec
    from prm.step_format import StepFormat

    spec = ScoringSpec("prm", "token_classification", StepFormat(step_separator="\n\n"))
    chosen = EvalConfig(
        output_dir=str(tmp_path / "run"),
        model_name_or_path="in memory",
        **{"num_problems": 6, "n": 4, "report": False, "approach": ["best_of_n"], "samples_format": "parquet"},
    )
    verifiers = {"prm": world.Verifier(judge, spec=spec)}
    first = run_eval(chosen, verifiers=verifiers, generator=world.Generator(blank_lines))
    for name in ("samples.jsonl", "samples.parquet"):
        again = run_eval(config(tmp_path / name, tmp_path / "run" / name, n=4))
        for n in (1, 2, 4):
            for method, ours in (("best_of_n", "prm"), ("majority", ""), ("pass_at_n", "")):
                theirs = again.find(method, n, "recorded" if ours else "")
                assert theirs.per_problem == pytest.approx(first.find(method, n, ours).per_problem)
        assert again.find("majority", 4).bill.generated_tokens == first.find("majority", 4).bill.generated_tokens


def test_scores_of_a_phantom_step_are_left_out(tmp_path: Path) -> None:
    result = run_eval(config(tmp_path / "run", written(tmp_path / "samples.jsonl"), n=3))
    rows = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert rows[0]["scores"] == [[0.9, 0.8], [0.2, 0.3], [0.4]]
    assert result.find("best_of_n", 3, "recorded").accuracy.mean == 1.0  # and not .99, of the wrong one
    assert result.find("majority", 3).accuracy.mean == 0.0


def test_different_scores_of_equal_completions_are_averaged_and_said(tmp_path: Path) -> None:
    """The last one's .5 would put the wrong solution first."""
    texts = ["one\n\nA: 3", "one\n\nA: 3\n\n", "one\n\nA: 3", "A: 2", "A: 2"]
    scores = [[0.5, 0.1], [0.5, 0.3, 0.9], [0.2, 0.5], [0.4], [0.4]]
    path = written(tmp_path / "samples.jsonl", completions=texts, scores=scores)
    with pytest.warns(UserWarning, match="for 1 solution that occurs more than once: they are averaged"):
        result = run_eval(config(tmp_path / "run", path, n=5))
    (row,) = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert row["scores"] == [pytest.approx([0.4, 0.3])] * 3 + [[0.4]] * 2
    assert result.find("best_of_n", 5, "recorded").accuracy.mean == 1.0


def test_samples_without_scores_wait_for_a_verifier(world: SimpleNamespace, tmp_path: Path) -> None:
    path = written(tmp_path / "samples.jsonl", scores=None)
    verifier = world.Verifier(lambda problem, steps: [0.5] * len(steps))
    result = run_eval(config(tmp_path / "run", path, n=3), verifiers={"prm": verifier})
    assert set(result.verifiers) == {"prm"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"completions": "A: 2"}, "line 1: no completions, a list of texts"),
        ({"scores": [[0.9, 0.8]]}, "line 1: 1 lists of scores for 3 completions"),
        ({"scores": [[0.9, 0.8], [0.1, 0.2], [7]]}, r"\[7\] is no list of scores in \[0, 1\]"),
        ({"scores": [[0.9] * 5, [0.1, 0.2], [0.1]]}, "5 scores of a completion with 2 steps"),
        ({"completions": ["a\n\nA: 2"] * 2, "scores": [[0.9, 0.8], [0.7]]}, "1 scores, and 2 of an equal one"),
    ],
)
def test_columns_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run_eval(config(tmp_path / "run", written(tmp_path / "samples.jsonl", **changes), n=3))


def test_what_is_no_parquet_is_said(tmp_path: Path) -> None:
    (tmp_path / "samples.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="not a Parquet file"):
        run_eval(config(tmp_path / "run", tmp_path / "samples.parquet"))
    with pytest.raises(ConfigError, match="samples_format must be jsonl or parquet"):
        config(tmp_path / "run", tmp_path / "samples.parquet", samples_format="csv")
