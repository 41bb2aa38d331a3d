"""Adaptive spending through `prm eval`: with and without a verifier, on recorded samples, and not on a panel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval

from prm.errors import ConfigError
from prm.jsonl import write_jsonl
from prm.rollouts import Rollout, StopReason


def recorded(world: SimpleNamespace, folder: Path, sources: tuple[str, ...] = ("a",) * 8) -> str:
    """Eight samples of each of four problems, of which five are right."""
    rollouts = [
        Rollout(problem, (f"A: {answer}",), ("", ""), index, StopReason.EOS, source)
        for problem in (world.problem(f"p{i}") for i in range(4))
        for index, (source, answer) in enumerate(zip(sources, "11112113", strict=False))
    ]
    write_jsonl(folder / "rollouts.jsonl", [rollout.to_dict() for rollout in rollouts])
    return str(folder / "rollouts.jsonl")


def run(folder: Path, path: str, **options: Any) -> Any:
    verifiers = options.pop("verifiers", {})
    shape = {"n": 8, "report": False, "approach": ["adaptive_consistency", "early_stop"], **options}
    return run_eval(EvalConfig(output_dir=str(folder / "out"), rollouts=path, **shape), verifiers=verifiers)


def test_without_a_verifier_the_votes_run_and_the_weighted_ones_are_left_out(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    result = run(tmp_path, recorded(world, tmp_path))
    methods = {line.method for line in result.methods}
    assert {"adaptive_consistency", "early_stop"} <= methods
    assert not methods & {"adaptive_consistency_weighted", "early_stop_threshold"}
    assert result.find("adaptive_consistency", 8).accuracy.mean > 0.9


def test_the_tables_say_how_many_solutions_were_drawn_where_a_method_may_stop_early(
    world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, recorded(world, tmp_path), report=True)
    drawn = result.find("adaptive_consistency", 8).samples
    assert drawn is not None and 4 < drawn < 8
    header, _, *rows, meaning, report = capsys.readouterr().out.splitlines()
    column = header.split().index("drawn")
    (shown,) = (row.split() for row in rows if row.startswith("adaptive consistency"))
    assert float(shown[column + 1]) == pytest.approx(drawn, abs=0.01)  # its name has two words
    (plain,) = (row.split() for row in rows if row.startswith("majority"))
    assert plain[column] == "–"
    assert "drawn: how many of n solutions a method that may stop early took" in meaning
    page = Path(report.removeprefix("report: ")).read_text()
    assert ">drawn</th>" in page and f">{shown[column + 1]}</td>" in page and "Drawn: how many of n" in page


def test_where_nothing_stops_early_nothing_is_said_of_it(
    world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, recorded(world, tmp_path), report=True, approach=["majority"])
    printed = capsys.readouterr().out
    assert "drawn" not in printed and ">drawn</th>" not in (tmp_path / "out" / "report.html").read_text()


def test_with_a_verifier_scores_weigh_and_stop(world: SimpleNamespace, tmp_path: Path) -> None:
    critic = world.Verifier(lambda p, steps: [0.95 if steps[-1] == "A: 1" else 0.1])
    result = run(tmp_path, recorded(world, tmp_path), verifiers={"critic": critic})
    stopped = result.find("early_stop_threshold", 8, "critic")
    assert stopped.accuracy.mean == 1.0
    # The distinct answers are three texts of one step each; the first right one among eight ends the drawing.
    assert 1 < stopped.bill.verifier_tokens < 3
    assert result.find("adaptive_consistency_weighted", 8, "critic").accuracy.mean == pytest.approx(1.0, abs=0.02)


def test_a_panel_is_not_drawn_one_after_another(world: SimpleNamespace, tmp_path: Path) -> None:
    path = recorded(world, tmp_path, ("a", "b", "c", "d"))
    with pytest.raises(ConfigError, match="a panel has one of each"):
        run(tmp_path, path, panel=True, n=4)
    result = run(tmp_path, path, panel=True, n=4, approach=[])
    assert not {line.method for line in result.methods} & {"adaptive_consistency", "early_stop"}
