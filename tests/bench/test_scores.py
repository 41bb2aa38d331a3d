"""The cache of scores: resumable, each solution scored once, and nothing shared between verifiers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from prm.eval.bench import BenchConfig, run_bench, scores
from prm.eval.bench.scores import cached_scores, readable, score_steps

from prm.errors import ConfigError
from prm.ledger import locked_output
from prm.public import PUBLIC_FORMATS
from tests.guides import Page

ITEMS = [("p", (f"step {i % 7}",)) for i in range(10)]


def judge(problem: str, steps: Sequence[str]) -> list[float]:
    return [1 / (2 + len(step)) for step in steps]


def test_equal_solutions_are_scored_once_and_never_again(bench: SimpleNamespace, tmp_path: Path) -> None:
    verifier, path = bench.Verifier(judge), tmp_path / "scores.jsonl"
    first = cached_scores(ITEMS, verifier, path, label="x")
    assert len(verifier.read) == 7
    assert cached_scores(ITEMS, verifier, path, label="x") == first
    assert len(verifier.read) == 7


def test_a_killed_run_goes_on_where_it_was(
    bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "PER_APPEND", 3)
    path = tmp_path / "scores.jsonl"

    def killed(problem: str, steps: Sequence[str]) -> list[float]:
        if steps[0] == "step 5":
            raise KeyboardInterrupt
        return judge(problem, steps)

    with pytest.raises(KeyboardInterrupt):
        cached_scores(ITEMS, bench.Verifier(killed), path, label="x")
    with path.open("a") as stream:
        stream.write('{"key": "torn')  # a line that the kill left half written
    verifier = bench.Verifier(judge)
    found = cached_scores(ITEMS, verifier, path, label="x")
    assert [steps[0] for _, steps in verifier.read] == [f"step {i}" for i in range(3, 7)]
    assert [one.scores[0] for one in found if one] == [judge(*item)[0] for item in ITEMS]


def test_a_kill_costs_no_more_solutions_than_the_guide_says(bench: SimpleNamespace, tmp_path: Path) -> None:
    (said,) = re.findall(r"Scores are written every (\d+) solutions", Page("docs/benchmarks.md").text)
    items = [("p", (f"step {i}",)) for i in range(3 * int(said))]
    path, asked = tmp_path / "scores.jsonl", []

    def killed(problem: str, steps: Sequence[str]) -> list[float]:
        asked.append(steps)
        if len(asked) == 2 * int(said) + 5:
            raise KeyboardInterrupt
        return judge(problem, steps)

    with pytest.raises(KeyboardInterrupt):
        cached_scores(items, bench.Verifier(killed), path, label="x")
    verifier = bench.Verifier(judge)
    cached_scores(items, verifier, path, label="x")
    assert len(verifier.read) == int(said)


def test_two_runs_never_write_one_cache(bench: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    with locked_output(path.with_suffix(".lock")), pytest.raises(ConfigError, match="another process is writing"):
        cached_scores(ITEMS, bench.Verifier(judge), path, label="x")


def test_a_longer_separator_of_texts_leaves_the_short_one_in_steps(bench: SimpleNamespace, tmp_path: Path) -> None:
    """PURE's verifier reads a newline after each step, and steps of several lines, as its authors do."""
    spec = next(entry for entry in PUBLIC_FORMATS if entry.name == "pure-prm").spec("x")
    verifier = bench.Verifier(judge, spec=spec)
    found = score_steps([("p", ("a\nb", "c\n\nd"))], verifier, tmp_path / "scores.jsonl", label="x")
    assert verifier.read == [("p", ("a\nb", "c d"))]
    assert found.counts["steps_with_separator"] == 1


def test_runs_share_a_cache_and_verifiers_do_not(bench: SimpleNamespace, tmp_path: Path) -> None:
    files = [bench.write([bench.solution(["a", "b"], 1), bench.solution(["a"], -1)])]

    def run(name: str, verifier: object) -> None:
        config = BenchConfig(str(tmp_path / name), "in memory", files, score_cache=str(tmp_path / "cache"))
        run_bench(config, verifier=verifier)  # type: ignore[arg-type]

    one, other = bench.Verifier(judge), bench.Verifier(judge, revision="2")
    run("a", one)
    run("b", one)
    assert len(one.read) == 2
    run("c", other)
    assert len(other.read) == 2


def test_a_format_without_a_separator_leaves_steps_alone() -> None:
    found = readable(["a b", "c"], "")
    assert found.steps == ("a b", "c")
    assert found.n_separators == 0
