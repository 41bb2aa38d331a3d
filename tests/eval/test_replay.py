"""`prm eval --from`: what a finished run has is not asked for again, by whoever adds to it, with or without models."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, main, parse_arguments, run_eval
from prm.eval.replay import extended, read_config

from prm.errors import ConfigError, MissingFileError

SHAPE = {"num_problems": 4, "n": 4, "beam_width": 2, "num_iterations": 3, "max_new_tokens": 12, "report": False}


@pytest.fixture(autouse=True)
def silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="no sample has an answer|none of the first")
        yield


def in_memory(folder: Path, **options: Any) -> EvalConfig:
    defaults = {"model_name_or_path": "in memory", "num_problems": 6, "n": 4, "max_new_tokens": 100, "report": False}
    return EvalConfig(output_dir=str(folder), **{**defaults, **options})


def read(folder: Path, name: str = "results.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def keyed(folder: Path) -> dict[tuple[str, str | None, int], dict[str, Any]]:
    return {(row["method"], row["verifier"], row["n"]): row for row in read(folder)}


@pytest.fixture
def without_models(tiny_models: SimpleNamespace, tmp_path: Path) -> Path:
    """A finished run whose models are gone."""
    models, folder = tmp_path / "models", tmp_path / "run"
    for path in (tiny_models.generator, tiny_models.verifier):
        shutil.copytree(path, models / Path(path).name)
    chosen = EvalConfig(
        output_dir=str(folder),
        model_name_or_path=str(models / "generator"),
        prm_path=[f"tiny={models / 'verifier'}"],
        approach=["best_of_n", "beam_search"],
        **SHAPE,
    )
    run_eval(chosen)
    shutil.rmtree(models)
    return folder


def test_folds_methods_and_numbers_are_added_to_a_finished_run_without_its_models(without_models: Path) -> None:
    before = keyed(without_models)
    store = {path: path.read_bytes() for path in (without_models / "store").glob("*.jsonl")}
    main(["--from", str(without_models), "--agg_strategy", "min", "mean", "--report_n", "3"])
    main(["--from", str(without_models), "--approach", "weighted_best_of_n"])
    after = keyed(without_models)
    assert {key: after[key] for key in before} == before  # to the last digit, and in the same words
    new = set(after) - set(before)
    assert new >= {("best_of_n", "tiny:min", 4), ("best_of_n", "tiny:mean", 3), ("weighted_best_of_n", "tiny:min", 2)}
    assert new >= {("majority", None, 3), ("pass_at_n", None, 3)}
    assert not any(method == "beam_search" for method, _, _ in new)  # only the first fold guides a search
    assert {path: path.read_bytes() for path in (without_models / "store").glob("*.jsonl")} == store


def test_what_needs_a_model_that_is_gone_says_so_and_loses_nothing(without_models: Path) -> None:
    before = (without_models / "results.json").read_bytes()
    with pytest.raises(MissingFileError, match="no such model directory"):
        main(["--from", str(without_models), "--approach", "dvts"])
    assert (without_models / "results.json").read_bytes() == before
    assert read_config(without_models).approach == ["best_of_n", "beam_search"]
    main(["--from", str(without_models), "--report_n", "3"])  # still possible


def test_more_samples_are_drawn_and_read_behind_those_that_are_there(world: SimpleNamespace, tmp_path: Path) -> None:
    first, second = world.Generator(world.careless), world.Generator(world.careless)
    before, after = world.Verifier(world.truth), world.Verifier(world.truth)
    before.revision = after.revision = "truth"
    chosen = in_memory(tmp_path / "run", approach=["best_of_n"])
    run_eval(chosen, verifiers={"prm": before}, generator=first)
    grown = extended(config := read_config(tmp_path / "run"), replace(config, n=12))
    assert (grown.n, grown.report_n, grown.search_n) == (12, [4], [4])
    small = set(keyed(tmp_path / "run"))
    with pytest.raises(ConfigError, match="the verifier 'prm' was given in memory and is not here"):
        run_eval(grown, generator=second)
    result = run_eval(grown, verifiers={"prm": after}, generator=second)
    assert len(first.requests) == 6 * 4 and len(second.requests) == 6 * 8
    assert not {request.seed for request in first.requests} & {request.seed for request in second.requests}
    assert after.read and not set(before.read) & set(after.read)
    assert small < set(keyed(tmp_path / "run"))
    chosen, whole = in_memory(tmp_path / "whole", n=12, approach=["best_of_n"]), world.Generator(world.careless)
    at_once = run_eval(chosen, verifiers={"prm": after}, generator=whole)
    for method, n, verifier in (("best_of_n", 12, "prm"), ("majority", 4, "")):
        one, other = at_once.find(method, n, verifier), result.find(method, n, verifier)
        assert one.per_problem == other.per_problem and one.bill.flops == other.bill.flops


def test_a_run_elsewhere_takes_over_what_fits(world: SimpleNamespace, tmp_path: Path) -> None:
    generator = world.Generator(world.careless)
    run_eval(in_memory(tmp_path / "a", approach=["greedy"]), generator=generator)
    asked = len(generator.requests)
    before = read_config(tmp_path / "a")
    run_eval(replace(before, output_dir=str(tmp_path / "b"), baseline="pass_at_n"), generator=generator)
    assert len(generator.requests) == asked
    shutil.rmtree(tmp_path / "a")
    again = extended(config := read_config(tmp_path / "b"), replace(config, report_n=[3]))
    run_eval(again, generator=generator)  # complete by itself
    assert len(generator.requests) == asked
    assert ("majority", None, 3) in keyed(tmp_path / "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--temperature", "0.5"], "made with temperature=1.0 and not 0.5; give another --output_dir"),
        (["--beam_width", "2"], "made with beam_width=4 and not 2"),
        (["--num_problems", "3"], "made with problems="),
        (["--agg_strategy", "median"], "agg_strategy must be one of"),
        (["--report_n", "9"], "report_n has a number that is not between 1 and n=4: 9"),
    ],
)
def test_what_is_no_addition_is_refused(
    world: SimpleNamespace, tmp_path: Path, arguments: list[str], message: str
) -> None:
    generator = world.Generator(world.careless)
    run_eval(in_memory(tmp_path, approach=["greedy"]), generator=generator)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(ConfigError, match=message):
        run_eval(parse_arguments(["--from", str(tmp_path), *arguments]), generator=generator)
    assert (tmp_path / "results.json").read_bytes() == before


def test_from_names_the_directory_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run of prm eval is there"):
        parse_arguments(["--from", str(tmp_path)])
    (tmp_path / "config.json").write_text('{"version": 99, "config": {}}')
    with pytest.raises(ConfigError, match=r"not the config of a run of this version \(version 99\); nothing was"):
        parse_arguments(["--from", str(tmp_path)])
    with pytest.raises(ConfigError, match="--from takes the output_dir of a run"):
        parse_arguments(["--from", "--n", "3"])
    with pytest.raises(ConfigError, match="no run of prm eval is there"):
        parse_arguments([f"--from_run={tmp_path / 'nowhere'}"])


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_store_of_another_version_is_refused_and_kept(world: SimpleNamespace, tmp_path: Path, version: int) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "samples-0123456789ab.jsonl").write_text('{"key": "a", "rollouts": []}\n')
    if version > 1:
        (store / "store.json").write_text(f'{{"version": {version}, "facts": {{}}}}')
    before = {path: path.read_bytes() for path in store.iterdir()}
    generator = world.Generator(world.careless)
    with pytest.raises(ConfigError, match=f"a sample store of version {version}.*reads version 3; nothing in it was"):
        run_eval(in_memory(tmp_path), generator=generator)
    assert not generator.calls
    assert {path: path.read_bytes() for path in store.iterdir()} == before


def test_seeds_repeat_a_run_on_the_same_problems(world: SimpleNamespace, tmp_path: Path) -> None:
    verifiers = {"prm": world.Verifier(world.truth)}
    options: dict[str, Any] = {"approach": ["best_of_n", "beam_search"], "num_problems": 8}
    alone = {}
    for seed in (3, 5):
        generator = world.Generator(world.careless)
        one = in_memory(tmp_path / str(seed), seeds=[seed], **options)
        alone[seed] = run_eval(one, verifiers=verifiers, generator=generator)
    generator = world.Generator(world.careless)
    both = run_eval(in_memory(tmp_path / "both", seeds=[3, 5], **options), verifiers=verifiers, generator=generator)
    assert both.seeds == [3, 5] and both.problems == alone[3].problems == alone[5].problems
    assert alone[3].methods[0].per_problem != alone[5].methods[0].per_problem
    for line, third, fifth in zip(both.methods, alone[3].methods, alone[5].methods, strict=True):
        means = [(a + b) / 2 for a, b in zip(third.per_problem, fifth.per_problem, strict=True)]
        assert line.per_problem == pytest.approx(means)
        assert both.by_seed[line.key] == pytest.approx([third.accuracy.mean, fifth.accuracy.mean])
        assert 2 * line.bill.flops == pytest.approx(third.bill.flops + fifth.bill.flops)
    assert both.counts["samples"] == 2 * 8 * 4
    summary = json.loads((tmp_path / "both" / "results.json").read_text())
    assert summary["seeds"] == [3, 5] and summary["by_seed"].keys() == {line.key for line in both.methods}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [1, 1]}, "seeds has a number twice"),
        ({"seeds": [1], "rollouts": "r.jsonl"}, "those of rollouts are drawn already"),
    ],
)
def test_seeds_that_repeat_nothing_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        in_memory(tmp_path, **options)


def test_a_label_report_that_is_no_longer_there_does_not_end_a_replay(without_models: Path, tmp_path: Path) -> None:
    """Paths in a run are of where it was made; the report only decorates the page."""
    path = without_models / "config.json"
    row = json.loads(path.read_text())
    row["config"]["label_report"] = "labels/label_report.json"
    path.write_text(json.dumps(row))
    with pytest.warns(UserWarning, match=r"label_report\.json.*The page goes without it; --label_report says where"):
        main(["--from", str(without_models), "--output_dir", str(tmp_path / "moved"), "--agg_strategy", "min"])
    assert any(method == "best_of_n" for method, _, _ in keyed(tmp_path / "moved"))
    with pytest.raises(MissingFileError, match=r"labels/label_report\.json"):
        run_eval(in_memory(tmp_path / "new", label_report="labels/label_report.json"))
