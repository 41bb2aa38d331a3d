"""Ensembles through `prm eval`: combined from stored scores without a model, guiding searches, billed by member."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.report.header import facts

from prm.errors import ConfigError
from prm.scoring_spec import ScoringSpec


def config(folder: Path, **options: Any) -> EvalConfig:
    defaults = {"model_name_or_path": "in memory", "num_problems": 8, "n": 4, "max_new_tokens": 100, "report": False}
    return EvalConfig(output_dir=str(folder), **{**defaults, **options})


def verifiers(world: SimpleNamespace) -> dict[str, Any]:
    """A perfect PRM, an ORM that likes long answers and is thrice as large, and a PRM that says nothing."""
    made = {
        "prm": world.Verifier(world.truth, name="prm"),
        "orm": world.Verifier(lambda p, s: [min(1.0, len(s[-1]) / 8)], name="orm", spec=world.orm, num_parameters=300),
        "mute": world.Verifier(lambda p, s: [0.5] * len(s), name="mute"),
    }
    for name, verifier in made.items():
        verifier.revision = name  # so that its scores are known again
    return made


def line(result: Any, method: str, verifier: str, n: int = 4) -> Any:
    return result.find(method, n, verifier)


@pytest.fixture(scope="module")
def run(module_world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    given, folder = verifiers(module_world), tmp_path_factory.mktemp("ensembles")
    chosen = config(
        folder,
        prm_path=["both=product(prm,orm)", "quiet=mean(mute,prm)"],
        approach=["best_of_n", "weighted_best_of_n", "beam_search"],
    )
    generator = module_world.Generator(module_world.careless)
    return SimpleNamespace(result=run_eval(chosen, verifiers=given, generator=generator), folder=folder)


def test_an_ensemble_is_a_verifier_in_every_table(run: SimpleNamespace) -> None:
    result = run.result
    assert list(result.verifiers) == ["prm", "orm", "mute", "both", "quiet"]
    assert result.verifiers["both"]["kind"] == "prm"
    # A constant adds nothing to a mean, and takes nothing from it.
    for method in ("best_of_n", "beam_search"):
        assert line(result, method, "quiet").per_problem == line(result, method, "prm").per_problem
    # What the perfect PRM scores 0 stays 0 in a product.
    assert line(result, "best_of_n", "both").accuracy.mean == line(result, "best_of_n", "prm").accuracy.mean


def test_the_header_says_what_an_ensemble_is_made_of_and_counts_all_of_its_members(run: SimpleNamespace) -> None:
    found = facts(config(run.folder), run.result)
    assert found["Verifier both"] == ("product(prm, orm), 400 parameters in all, aggregation last of prm, last of orm")
    assert found["Verifier prm"] == "PRM, 100 parameters, aggregation last"


def test_no_member_reads_a_sample_twice_for_the_ensemble(world: SimpleNamespace, tmp_path: Path) -> None:
    given = verifiers(world)
    chosen = config(tmp_path, prm_path=["both=mean(prm,orm)"], approach=["best_of_n"], num_problems=4)
    run_eval(chosen, verifiers=given, generator=world.Generator(world.careless))
    for name in ("prm", "orm"):
        assert 0 < len(given[name].read) == len(set(given[name].read))


def test_the_bill_is_the_sum_over_members(run: SimpleNamespace) -> None:
    result = run.result
    prm, orm = (line(result, "best_of_n", name).bill for name in ("prm", "orm"))
    both = line(result, "best_of_n", "both").bill
    assert both.verifier_tokens == pytest.approx(prm.verifier_tokens + orm.verifier_tokens)
    assert both.verifier_flops == pytest.approx(prm.verifier_flops + orm.verifier_flops)
    assert orm.verifier_flops == pytest.approx(3 * prm.verifier_flops)
    # In the search the PRM reads beginnings too, at 100 parameters; the ORM solutions alone, at 300.
    searched = line(result, "beam_search", "both").bill
    assert 2 * 100 * searched.verifier_tokens < searched.verifier_flops < 2 * 200 * searched.verifier_tokens


def test_an_ensemble_is_added_to_a_finished_run_without_its_models(run: SimpleNamespace) -> None:
    with_models = line(run.result, "best_of_n", "both").per_problem
    again = config(
        run.folder,
        from_run=str(run.folder),
        prm_path=["same=product(prm,orm)", "vote=majority(prm,orm,mute)"],
        approach=["best_of_n"],
    )
    result = run_eval(again)
    assert line(result, "best_of_n", "same").per_problem == with_models
    assert 0 < line(result, "best_of_n", "vote").accuracy.mean <= 1


def test_members_are_folded_as_the_run_says(world: SimpleNamespace, tmp_path: Path) -> None:
    given = verifiers(world)
    chosen = config(
        tmp_path,
        prm_path=["quiet=mean(mute,prm)"],
        agg_strategy=["min", "last"],
        approach=["best_of_n"],
        num_problems=4,
    )
    result = run_eval(chosen, verifiers=given, generator=world.Generator(world.careless))
    assert list(result.verifiers) == ["prm:min", "prm", "orm", "mute:min", "mute", "quiet"]  # an outcome has no folds
    assert line(result, "best_of_n", "quiet").per_problem == line(result, "best_of_n", "prm:min").per_problem


def test_a_member_that_is_no_verifier_of_the_run_is_refused(world: SimpleNamespace, tmp_path: Path) -> None:
    chosen = config(tmp_path, prm_path=["both=mean(prm,critic)"])
    with pytest.raises(ConfigError, match="has a member 'critic', and the verifiers are prm, orm, mute"):
        run_eval(chosen, verifiers=verifiers(world), generator=world.Generator(world.careless))


def test_an_ensemble_of_orms_selects_and_does_not_search(world: SimpleNamespace, tmp_path: Path) -> None:
    orms = {f"orm{i}": world.Verifier(world.truth, name=f"orm{i}", spec=replace(world.orm)) for i in range(2)}
    chosen = config(tmp_path, prm_path=["orms=min(orm0,orm1)"], num_problems=4)
    result = run_eval(chosen, verifiers=orms, generator=world.Generator(world.careless))
    methods = {one.method for one in result.methods if one.verifier == "orms"}
    assert {"best_of_n", "weighted_best_of_n"} <= methods
    assert not methods & {"beam_search", "dvts", "rebase"}
    assert isinstance(orms["orm0"].spec, ScoringSpec)
