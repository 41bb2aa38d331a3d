"""The analysis of real runs: what was searched is what is looked at, clusters and prices reach every number, and a
finished run is read back with it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.analysis.analysis import Analysis
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.results import MethodResult

from prm.errors import ConfigError
from prm.stats.intervals import paired_difference


@pytest.fixture(scope="module")
def finished(module_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Twelve problems in four clusters, two seeds, a perfect PRM, one that likes long solutions, and a control."""
    from prm.worlds.arithmetic import make_problems

    folder = tmp_path_factory.mktemp("run")
    problems = make_problems(12, seed=1, split="test", min_operations=2, max_operations=4)
    rows = [{**problem.to_dict(), "cluster": f"c{i % 4}"} for i, problem in enumerate(problems)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = EvalConfig(
        output_dir=str(folder / "out"),
        dataset_name=str(folder / "problems.jsonl"),
        n=4,
        search_n=[4],
        beam_width=2,
        seeds=[0, 1],
        controls=["blind"],
        price_hour=3.0,
        price_generated=1e6,
        report=False,
        model_name_or_path="scripted",
    )
    models: dict[str, Any] = {
        "verifiers": {
            "perfect": module_world.Verifier(module_world.truth, name="perfect"),
            "blind": module_world.Verifier(lambda p, s: [0.5] * len(s), name="blind"),
        },
        "generator": module_world.Generator(module_world.careless),
    }
    return SimpleNamespace(config=config, models=models, result=run_eval(config, **models))


def line(finished: SimpleNamespace, key: str) -> MethodResult:
    return next(one for one in finished.result.methods if one.key == key)


def test_a_run_brings_its_analysis_which_its_file_has_too(finished: SimpleNamespace) -> None:
    stored = json.loads((Path(finished.config.output_dir) / "results.json").read_text())["analysis"]
    assert stored == finished.result.analysis.to_dict()
    assert Analysis.from_dict(stored) == finished.result.analysis


def test_error_bars_draw_the_clusters_of_the_data(finished: SimpleNamespace) -> None:
    analysis, names = finished.result.analysis, [problem.cluster for problem in finished.result.problems]
    assert (analysis.basis.problems, analysis.basis.clusters, analysis.basis.seeds) == (12, 4, (0, 1))
    best, vote = line(finished, "best_of_n/perfect@4"), line(finished, "majority@4")
    expected = paired_difference(best.per_problem, vote.per_problem, clusters=names)
    assert best.gain == expected
    gain = next(g for g in analysis.gains if (g.key, g.reference, g.equal) == (best.key, "majority", "n"))
    assert gain.difference == expected


def test_what_live_searches_chose_is_looked_at_and_agrees_with_their_line(finished: SimpleNamespace) -> None:
    chosen = {(one.method, one.n): one for one in finished.result.analysis.chosen}
    assert chosen.keys() >= {("best_of_n", 1), ("best_of_n", 4), ("beam_search", 4), ("dvts", 4)}
    for method in ("best_of_n", "beam_search", "dvts"):
        accuracy = line(finished, f"{method}/perfect@4").accuracy.mean
        assert chosen[method, 4].accuracy.mean == pytest.approx(accuracy)
        assert chosen[method, 4].excess.mean <= 1e-9  # a perfect verifier is not fooled
    assert chosen["beam_search", 4].steps.mean > 1


def test_nobody_asks_what_misleads_a_control(finished: SimpleNamespace) -> None:
    analysis = finished.result.analysis
    assert {one.verifier for one in analysis.chosen} == {one.verifier for one in analysis.biases} == {"perfect"}
    assert any(one.key == "best_of_n/blind@4" for one in analysis.worths)


def test_the_spread_between_seeds_stands_beside_their_mean(finished: SimpleNamespace) -> None:
    spread = {one.key: one for one in finished.result.analysis.seeds}
    for one in finished.result.methods:
        assert len(spread[one.key].accuracies) == 2
        assert spread[one.key].mean == pytest.approx(one.accuracy.mean)


def test_money_is_what_the_bill_comes_to(finished: SimpleNamespace) -> None:
    money = finished.result.analysis.money
    for one in finished.result.methods:
        assert money[one.key] == pytest.approx(one.bill.generated_tokens + 3 * one.bill.seconds / 3600)


def test_other_clusters_or_prices_are_another_run(
    world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def config(clusters: list[str], **options: Any) -> EvalConfig:
        path = tmp_path / f"{'-'.join(clusters)}.jsonl"
        rows = [
            {**one.to_dict(), "cluster": name}
            for one, name in zip(world.problems(len(clusters)), clusters, strict=True)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = str(path.rename(tmp_path / "problems.jsonl"))
        where = {"output_dir": str(tmp_path / "out"), "dataset_name": source, "model_name_or_path": "scripted"}
        return EvalConfig(**where, n=2, report=False, **options)

    generator = world.Generator(world.careless)
    first = run_eval(config(["a", "a", "b"]), generator=generator)
    again = run_eval(config(["a", "a", "b"]), generator=generator)
    assert "already finished" in capsys.readouterr().out
    assert again.analysis == first.analysis is not None
    with pytest.raises(ConfigError, match="with clusters="):
        run_eval(config(["a", "b", "b"]), generator=generator)
    with pytest.raises(ConfigError, match="with price_hour=None"):
        run_eval(config(["a", "a", "b"], price_hour=4.0), generator=generator)
    with pytest.raises(ConfigError, match="price_verifier must be an amount of money"):
        config(["a", "a", "b"], price_verifier=-2.0)
