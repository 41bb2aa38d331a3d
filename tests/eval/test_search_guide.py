"""`docs/search-strategies.md` says what is true: its strategies are there, and its code runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.search.strategies import STRATEGIES

from tests.guides import Page

GUIDE = Page("docs/search-strategies.md")
EXAMPLES = GUIDE.blocks("python")


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The names of the new strategy's file, which is among the strategies for the length of a test."""
    before = dict(STRATEGIES)
    module = ModuleType("particle_filter")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # a dataclass looks itself up there
    exec(compile(EXAMPLES[0], "particle_filter.py", "exec"), vars(module))
    yield vars(module)
    STRATEGIES.clear()
    STRATEGIES.update(before)


def test_every_strategy_is_in_the_table_and_no_other() -> None:
    assert [row[0].strip("`") for row in GUIDE.rows("`--approach`")] == [
        *("greedy", "majority", "pass_at_n"),
        *[name for name in STRATEGIES if name not in {"greedy", "majority", "pass_at_n"}],
    ]


def test_a_new_strategy_takes_forty_lines(example: dict[str, Any]) -> None:
    assert len(EXAMPLES[0].splitlines()) <= 40
    systematic = example["Systematic"]()
    assert systematic.shares([0.5, 0.5, 0.5]) == [1, 1, 1]
    assert systematic.shares([0.9, 0.3, 0.0, 0.0]) == [3, 1, 0, 0]
    for scores in ([0.1] * 7, [0.0] * 5, [0.2, 0.9, 0.4], [-1.0, 0.7]):
        assert sum(systematic.shares(scores)) == len(scores)


def test_it_runs_like_any_other(example: dict[str, Any], world: SimpleNamespace, tmp_path: Path) -> None:
    config = EvalConfig(
        output_dir=str(tmp_path),
        model_name_or_path="in memory",
        approach=["particle_filter"],
        num_problems=12,
        n=6,
        max_new_tokens=100,
    )
    result = run_eval(
        config, verifiers={"prm": world.Verifier(world.truth)}, generator=world.Generator(world.careless)
    )
    found, sampled = result.find("particle_filter", 6, "prm"), result.find("pass_at_n", 1)
    assert found.accuracy.mean > sampled.accuracy.mean + 0.2
    assert result.find("particle_filter_weighted", 6, "prm").bill == found.bill
    assert "particle filter" in (tmp_path / "report.html").read_text()


def test_a_frontier_needs_nothing_else(world: SimpleNamespace) -> None:
    names: dict[str, Any] = {}
    exec(compile(EXAMPLES[1], "solve.py", "exec"), names)
    problems = world.problems(6)
    shape = SimpleNamespace(beam_width=4, num_iterations=40, lookahead=0)
    best = names["solve"](problems, world.Generator(world.careless), world.Verifier(world.truth), shape)
    assert sum(b.text.endswith(f"A: {p.answer}") for b, p in zip(best, problems, strict=True)) >= 5
