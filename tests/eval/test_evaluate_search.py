"""`prm eval` from end to end: invariants that hold whatever the numbers, the files, resuming, and bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.quality import VerifierQuality
from prm.eval.run import EvalResult

from prm.errors import ConfigError, DataError
from prm.jsonl import write_jsonl
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout, StopReason
from prm.scoring_spec import ScoringSpec

NO_COST = Cost()


def config(folder: Path, **options: Any) -> EvalConfig:
    defaults = {"model_name_or_path": "in memory", "num_problems": 24, "n": 8, "max_new_tokens": 100, "report": False}
    return EvalConfig(output_dir=str(folder), **{**defaults, **options})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> SimpleNamespace:
    """One run with a perfect PRM, one without skill as a control, and a perfect ORM."""
    world = request.getfixturevalue("module_world")
    folder = tmp_path_factory.mktemp("eval")
    verifiers = {
        "perfect": world.Verifier(world.truth, name="perfect"),
        "blind": world.Verifier(lambda p, s: [0.5] * len(s), name="blind"),
        "orm": world.Verifier(world.truth, name="orm", spec=world.orm),
    }
    generator = world.Generator(world.careless)
    chosen = config(folder, controls=["blind"], report=True, search_n=[4, 8])
    return SimpleNamespace(
        result=run_eval(chosen, verifiers=verifiers, generator=generator), folder=folder, generator=generator
    )


def accuracy(result: EvalResult, method: str, n: int, verifier: str = "") -> float:
    return result.find(method, n, verifier).accuracy.mean


def test_a_perfect_verifier_reaches_pass_at_n_and_one_without_skill_plain_sampling(finished: SimpleNamespace) -> None:
    result = finished.result
    for n in (1, 2, 4, 8):
        assert accuracy(result, "best_of_n", n, "perfect") == pytest.approx(accuracy(result, "pass_at_n", n))
        assert accuracy(result, "best_of_n", n, "orm") == pytest.approx(accuracy(result, "pass_at_n", n))
        assert accuracy(result, "best_of_n", n, "blind") == pytest.approx(accuracy(result, "pass_at_n", 1))
        assert accuracy(result, "weighted_best_of_n", n, "blind") == pytest.approx(accuracy(result, "majority", n))
    # Four tries at every step, of which one in four is wrong: a chain of six fails in 2% of the problems.
    assert accuracy(result, "beam_search", 4, "perfect") > 0.9 > accuracy(result, "pass_at_n", 4)
    assert accuracy(result, "dvts", 8, "perfect") > 0.9


def test_the_chance_line_picks_among_distinct_solutions(finished: SimpleNamespace) -> None:
    result = finished.result
    chance = result.find("no_skill", 8).accuracy.mean
    assert 0 < chance < result.find("pass_at_n", 8).accuracy.mean
    # A verifier that scores every solution alike is shared over samples, and the chance line over distinct ones.
    assert chance < result.find("best_of_n", 8, "blind").accuracy.mean


def test_an_orm_selects_and_does_not_search(finished: SimpleNamespace) -> None:
    methods = {line.method for line in finished.result.methods if line.verifier == "orm"}
    assert methods >= {"best_of_n", "weighted_best_of_n"}
    assert not any(name.startswith(("beam_search", "dvts", "rebase")) for name in methods)


def test_every_line_has_an_interval_a_paired_gain_and_a_cost(finished: SimpleNamespace) -> None:
    rows = lines(finished.folder / "results.jsonl")
    assert len(rows) == len(finished.result.methods)
    for row in rows:
        assert row["accuracy"]["low"] <= row["accuracy"]["mean"] <= row["accuracy"]["high"]
        assert row["accuracy"]["n"] == row["problems"] == 24
        one_of_all = row["n"] == 1 and row["method"] != "greedy"  # every choice among one sample is the same
        assert (row["gain"] is None) == (row["method"] == "majority" or one_of_all)
        assert row["cost"]["generated_tokens"] > 0
        assert row["cost"]["flops"] == pytest.approx(row["cost"]["generator_flops"] + row["cost"]["verifier_flops"])
        assert (row["cost"]["verifier_tokens"] > 0) == (row["verifier"] is not None)


def test_a_gain_is_the_paired_difference_at_equal_n(finished: SimpleNamespace) -> None:
    per_problem = lines(finished.folder / "per_problem.jsonl")
    line = finished.result.find("best_of_n", 4, "perfect")
    differences = [row["best_of_n/perfect@4"] - row["majority@4"] for row in per_problem]
    assert line.gain.mean == pytest.approx(sum(differences) / 24)


def test_searches_draw_no_more_solutions_than_best_of_n(finished: SimpleNamespace) -> None:
    for stage in (finished.folder / "store").glob("beam_search-8-*.jsonl"):
        assert all(len(row["rollouts"]) == 8 for row in lines(stage))
    methods = ("best_of_n", "beam_search", "dvts")
    bill = {method: finished.result.find(method, 8, "perfect").bill.generated_tokens for method in methods}
    assert bill["beam_search"] == pytest.approx(bill["best_of_n"], rel=0.1)
    assert bill["dvts"] == pytest.approx(bill["best_of_n"], rel=0.1)


def test_the_best_method_and_the_controls_are_reported(finished: SimpleNamespace) -> None:
    summary = json.loads((finished.folder / "results.json").read_text())
    assert summary["best"]["key"].endswith("/perfect@8")
    assert summary["best"]["label"].endswith(", perfect")
    assert summary["best"]["gain"]["low"] > 0
    assert summary["best"]["held_out_gain"]["mean"] <= summary["best"]["gain"]["mean"]
    assert {row["control"] for row in summary["controls"]} >= {"best_of_n/blind@8", "beam_search/blind@8"}
    beam = next(row for row in summary["controls"] if row["control"] == "beam_search/blind@8")
    assert beam["difference"]["low"] > 0


def test_verifier_quality_is_measured_within_problems_and_against_the_truth(finished: SimpleNamespace) -> None:
    perfect, blind, orm = (finished.result.quality[name] for name in ("perfect", "blind", "orm"))
    assert perfect.step_auroc.mean == perfect.step_auroc_within.mean == 1.0
    assert perfect.solution_auroc_within.mean == 1.0
    assert perfect.first_error["f1"] == 1.0
    assert blind.solution_auroc.mean == blind.step_auroc_within.mean == 0.5
    assert blind.first_error["f1"] == 0.0
    assert orm.step_auroc is None and orm.first_error is None and orm.first_error_intervals is None
    for found in (perfect, blind):
        bars = found.first_error_intervals
        assert {name: bar.mean for name, bar in bars.items()} == {name: found.first_error[name] for name in bars}
        assert set(bars) == {"f1", "accuracy_wrong", "accuracy_correct"}
        assert all(0 < bar.high - bar.low < 1 for bar in bars.values())  # never certain, though all were alike
    assert VerifierQuality.from_dict(perfect.to_dict()) == perfect
    assert perfect.step_calibration.ece == perfect.step_calibration.brier == 0.0
    assert perfect.step_calibration.auprc_of_wrong == 1.0
    assert blind.solution_calibration.brier == 0.25
    assert blind.solution_calibration.auprc_of_wrong == pytest.approx(blind.solution_calibration.wrong)
    assert orm.step_calibration is None and orm.solution_calibration.ece == 0.0


def test_the_samples_have_the_columns_of_search_and_learn(finished: SimpleNamespace) -> None:
    rows = lines(finished.folder / "samples.jsonl")
    for row in rows:
        assert len(row["completions"]) == len(row["scores"]) == len(row["agg_scores"]) == len(row["correct"]) == 8
        assert row["pred"] == row["completions"][row["agg_scores"].index(max(row["agg_scores"]))]
        for kind in ("naive", "weighted", "maj"):
            assert {f"pred_{kind}@{k}" for k in (1, 2, 4, 8)} <= set(row)
        top = {p for p, s in zip(row["preds"], row["agg_scores"], strict=True) if s == max(row["agg_scores"])}
        assert row["pred_naive@8"] in {f"\\boxed{{{pred}}}" for pred in top}
        assert set(row["verifiers"]) == {"perfect", "blind", "orm"}
    # Subsets are random, not the first k samples.
    firsts = [row["pred_maj@1"] == f"\\boxed{{{row['preds'][0]}}}" for row in rows]
    assert not all(firsts)


def test_the_report_is_one_file_with_all_methods(finished: SimpleNamespace) -> None:
    page = (finished.folder / "report.html").read_text()
    for text in (
        "best-of-n, perfect",
        "best-of-n, orm",
        "majority",
        "pass@n (oracle)",
        "beam search, perfect",
        "chance",
    ):
        assert text in page
    assert page.count("<svg") >= 5
    assert "/perfect@" not in page and "/blind@" not in page  # lines have names there, not keys
    assert "Best PRM method: " in page and "the interval lies above zero" in page
    assert page.count("Reliability, ") >= 2 and "Reliability, blind" not in page
    alone = (finished.folder / "accuracy.svg").read_text()
    assert alone.startswith("<?xml") and "weighted best-of-n" in alone
    assert "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")


@pytest.mark.filterwarnings("ignore:no sample has an answer")
def test_problems_can_be_skipped_and_solutions_stopped(world: SimpleNamespace, tmp_path: Path) -> None:
    class Short(world.Generator):  # type: ignore[name-defined]
        def generate(self, requests: Any, sampling: Any, progress: Any = None) -> Any:
            assert sampling.stop == ("A:",)
            return super().generate(requests, sampling, progress)

    generator = Short(world.careless)
    options = {"approach": ["greedy"], "n": 2, "stop": ["A:"]}
    run_eval(config(tmp_path / "all", num_problems=5, **options), generator=generator)
    run_eval(config(tmp_path / "some", num_problems=2, skip_problems=3, **options), generator=generator)
    everything, some = (lines(tmp_path / name / "samples.jsonl") for name in ("all", "some"))
    assert some == everything[3:]
    assert all(text.endswith("A:") for row in some for text in row["completions"])


def panel_of(tmp_path: Path, sources: tuple[str, ...] = ("a", "b", "c", "d"), cost: Cost = NO_COST) -> Path:
    """Two systems right on every problem, two wrong alike on the odd ones and apart on the even ones."""
    rollouts = []
    for number in range(6):
        problem = Problem(f"q{number}", "5", f"q{number}")
        answers = ["5", "5", "6", "6" if number % 2 else "7"]
        for index, (source, answer) in enumerate(zip(sources, answers, strict=True)):
            outcome = Outcome.CORRECT if answer == "5" else Outcome.WRONG
            steps, gaps = (f"A: {answer}",), ("", "")
            rollouts.append(Rollout(problem, steps, gaps, index, StopReason.EOS, source, answer, outcome, cost=cost))
    path = tmp_path / "rollouts.jsonl"
    write_jsonl(path, (row.to_dict() for row in rollouts))
    return path


def test_a_panel_reports_vote_and_oracle_and_no_subset(world: SimpleNamespace, tmp_path: Path) -> None:
    verifier = world.Verifier(lambda p, s: [float(s[0] == "A: 6")], spec=world.orm)
    chosen = EvalConfig(
        output_dir=str(tmp_path / "out"), rollouts=str(panel_of(tmp_path)), panel=True, n=4, report=True
    )
    result = run_eval(chosen, verifiers={"orm": verifier})
    assert {line.n for line in result.methods if not line.method.startswith("alone")} == {4}
    assert accuracy(result, "majority", 4) == pytest.approx((3 * 1 + 3 * 0.5) / 6)  # a tie of two and two on odd ones
    assert accuracy(result, "pass_at_n", 4) == 1.0
    assert accuracy(result, "alone: a", 1) == 1.0
    assert accuracy(result, "alone: c", 1) == 0.0
    assert accuracy(result, "best_of_n", 4, "orm") == 0.0
    assert "panel" in (tmp_path / "out" / "report.html").read_text()


def test_samples_of_several_systems_are_refused_without_panel(tmp_path: Path) -> None:
    path = panel_of(tmp_path)
    with pytest.raises(DataError, match=r"different systems.*Set panel to true"):
        run_eval(EvalConfig(output_dir=str(tmp_path), rollouts=str(path)))
    same = panel_of(tmp_path, ("a", "a", "b", "b"))
    with pytest.raises(DataError, match="exactly one sample of every system"):
        run_eval(EvalConfig(output_dir=str(tmp_path), rollouts=str(same), panel=True))


def test_recorded_samples_of_one_system_need_no_generator(world: SimpleNamespace, tmp_path: Path) -> None:
    path = panel_of(tmp_path, ("a",) * 4)
    with pytest.warns(UserWarning, match="has 4 samples of each problem: n is 4$"):
        result = run_eval(EvalConfig(output_dir=str(tmp_path), rollouts=str(path), report=False))
    assert {line.n for line in result.methods} == {1, 2, 4}
    assert accuracy(result, "pass_at_n", 1) == pytest.approx(0.5)


@pytest.mark.parametrize(("cost", "figures"), [(NO_COST, 1), (Cost(generated_tokens=7, flops=100.0), 3)])
def test_recorded_samples_cost_what_their_file_says(
    world: SimpleNamespace, tmp_path: Path, cost: Cost, figures: int
) -> None:
    path = panel_of(tmp_path, ("a",) * 4, cost)
    chosen = EvalConfig(output_dir=str(tmp_path / "out"), rollouts=str(path), n=4)
    for name, verifiers in (
        ("none", {}),
        ("orm", {"orm": world.Verifier(lambda p, s: [0.5] * len(s), spec=world.orm)}),
    ):
        chosen = replace(chosen, output_dir=str(tmp_path / name))
        result = run_eval(chosen, verifiers=verifiers)
        assert (tmp_path / name / "report.html").read_text().count('aria-label="Accuracy against ') == figures
        flops = {(row["method"], row["n"]): row["cost"]["flops"] for row in lines(tmp_path / name / "results.jsonl")}
        known = bool(cost.flops)
        assert flops["majority", 4] == (400.0 if known else None)
        assert flops["pass_at_n", 1] == (100.0 if known else None)
    read = result.find("best_of_n", 4, "orm").bill.verifier_flops
    assert read > 0
    assert flops["best_of_n", 4] == (400.0 + read if known else None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_name_or_path": None}, "nothing to evaluate"),
        ({"agg_strategy": ["median"]}, "agg_strategy must be one of last, min, prod, mean"),
        ({"panel": True}, "panel is for recorded samples"),
        ({"baseline": "greedy"}, "baseline must be"),
        ({"n": 0}, "at least 1"),
        ({"skip_problems": -1}, "must not be negative"),
        ({"stop": [""]}, "a stop text is empty"),
        ({"temperature": 0.0}, "gives the same sample n=8 times"),
        ({"top_p": 0.0}, "out of range"),
    ],
)
def test_a_config_that_cannot_work_is_refused_when_it_is_made(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"approach": ["beam_search"], "n": 6}, "n=6 is not divisible by beam_width=4"),
        ({"approach": ["beam_serch"]}, "did you mean 'beam_search'"),
        ({"approach": ["best_of_n"], "no_verifier": True}, "needs a verifier; give prm_path"),
        ({"approach": ["dvts"], "orm_only": True}, "which an ORM cannot"),
        ({"controls": ["nobody"]}, "the control 'nobody' is no verifier of this run; they are v"),
        ({"controls": ["nobody"], "no_verifier": True}, "it has none, so give prm_path"),
        ({"prm_path": ["prm=missing"]}, "missing: no such verifier directory"),
        ({"dataset_name": "missing.jsonl"}, "missing.jsonl: no such file"),
        ({"dataset_split": "validation"}, "split must be train or test"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sampled(
    world: SimpleNamespace, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    options = dict(options)
    spec = world.orm if options.pop("orm_only", False) else ScoringSpec("prm", "token_classification")
    verifiers = {} if options.pop("no_verifier", False) else {"v": world.Verifier(world.truth, spec=spec)}
    generator = world.Generator(world.careless)
    with pytest.raises((ConfigError, DataError), match=message):
        run_eval(config(tmp_path, **options), verifiers=verifiers, generator=generator)
    assert not generator.calls


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"n": 6}, "--beam_width 2 or 3 or 6, or n=4 or n=8"),
        ({"n": 8, "search_n": [7, 8]}, "--beam_width 7, or n=4 or n=8"),
        ({"n": 2}, "--beam_width 2, or n=4"),
        ({"n": 1}, "Give n=4"),
    ],
)
def test_a_width_that_does_not_fit_is_refused_before_a_model_is_loaded_with_those_that_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], remedy: str
) -> None:
    from prm.eval import loading

    monkeypatch.setattr(loading, "_lazy", lambda *_: pytest.fail("a model is asked for"))
    models = {"model_name_or_path": "embedded:generator", "prm_path": ["embedded:base"]}
    with pytest.raises(ConfigError, match=remedy):
        run_eval(config(tmp_path, approach=["majority", "dvts"], **models, **options))


def test_a_run_that_names_no_approach_says_which_searches_do_not_fit(
    world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verifiers, generator = {"v": world.Verifier(world.truth)}, world.Generator(world.careless)
    result = run_eval(config(tmp_path, approach=[], n=6), verifiers=verifiers, generator=generator)
    methods = {line.method for line in result.methods}
    assert "rebase" in methods and not methods & {"beam_search", "dvts", "dvts_weighted", "lookahead"}
    (note,) = (note for note in result.notes if note.startswith("left out"))
    assert note.startswith("left out: beam_search, dvts; n=6 is not divisible by beam_width=4")
    out = capsys.readouterr().out
    assert out.startswith(f"note: {note}\n") and out.count(note) == 2  # before the work, and under the table


def test_what_the_generator_lacks_is_said_before_anything_is_sampled(
    tiny_models: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        run_eval(config(tmp_path, model_name_or_path=tiny_models.generator, chat=True))
    assert not (tmp_path / "store").exists()


def test_an_output_directory_that_cannot_be_one_is_refused(world: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    generator = world.Generator(world.careless)
    with pytest.raises(ConfigError, match="no directory that files can be written to"):
        run_eval(config(tmp_path / "file"), generator=generator)
    assert not generator.calls


def test_two_verifiers_of_one_name_are_refused(world: SimpleNamespace, tmp_path: Path) -> None:
    same = replace(config(tmp_path), prm_path=["a/prm", "b/prm"])
    with pytest.raises(ConfigError, match="two verifiers are called 'prm'"):
        run_eval(same, generator=world.Generator(world.careless))


def test_a_verifier_that_cannot_read_a_solution_does_not_stop_the_run(world: SimpleNamespace, tmp_path: Path) -> None:
    from prm.errors import FormatError

    class Shortsighted(world.Verifier):  # type: ignore[name-defined]
        def score_solutions(self, items: Any, progress: Any = None) -> Any:
            if any(len(steps) > 4 for _, steps in items):
                raise FormatError("too long")
            return super().score_solutions(items, progress)

    verifier = Shortsighted(world.truth)
    result = run_eval(
        config(tmp_path, approach=["best_of_n", "beam_search"], max_operations=5),
        verifiers={"short": verifier},
        generator=world.Generator(world.careless),
    )
    assert any("could not read" in note for note in result.notes)
    assert accuracy(result, "best_of_n", 8, "short") > accuracy(result, "pass_at_n", 1)


def test_progress_says_accuracy_so_far_and_tokens_per_second(
    world: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = config(tmp_path, approach=["best_of_n", "beam_search"])
    result = run_eval(
        chosen, verifiers={"prm": world.Verifier(world.truth)}, generator=world.Generator(world.careless)
    )
    said = {line.partition(":")[0]: line for line in capsys.readouterr().err.splitlines()}
    for stage, method, n in (("samples", "pass_at_n", 1), ("score with prm", "best_of_n", 8)):
        reached = accuracy(result, method, n, "prm" if method == "best_of_n" else "")
        assert f"24/24 problems, accuracy {reached:.1%} [" in said[stage] and said[stage].endswith("tokens/s")
    searched = accuracy(result, "beam_search", 8, "prm")
    assert f"24/24 problems, accuracy {searched:.1%} [" in said["beam_search n=8 with prm"]
    assert "grade samples" not in said  # graded on the way
