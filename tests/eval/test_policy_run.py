"""Compute-optimal policies through `prm eval`: made, written, followed on new problems, and refused where they do not
fit; and the exchange with a larger generator's run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.policy import BudgetPlan, Choice, Policy
from prm.eval.run import EvalResult

from prm.errors import ConfigError, MissingFileError

VERIFIER_KEY = "0123456789abcdef"


@pytest.fixture(scope="module", autouse=True)
def known_verifiers(request: pytest.FixtureRequest) -> Any:
    """Verifiers in memory have no weights to be recognised by: here their name says who they are."""
    from prm.eval import identity

    patch = pytest.MonkeyPatch()
    patch.setattr(identity, "uuid4", lambda: SimpleNamespace(hex=VERIFIER_KEY))
    yield
    patch.undo()


def config(folder: Path, **options: Any) -> EvalConfig:
    defaults: dict[str, Any] = {
        "model_name_or_path": "in memory",
        "num_problems": 32,
        "n": 8,
        "search_n": [4, 8],
        "max_new_tokens": 100,
        "report": False,
        "difficulty_samples": 2,
        "difficulty_bins": 2,
    }
    return EvalConfig(output_dir=str(folder), **{**defaults, **options})


@pytest.fixture(scope="module")
def models(module_world: SimpleNamespace) -> dict[str, Any]:
    return {
        "verifiers": {"perfect": module_world.Verifier(module_world.truth, name="perfect")},
        "generator": module_world.Generator(module_world.careless),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, models: dict[str, Any]) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("policy")
    approach = ["best_of_n", "beam_search", "compute_optimal"]
    chosen = config(folder, approach=approach, difficulty=["scores", "agreement", "oracle"])
    return SimpleNamespace(result=run_eval(chosen, **models), folder=folder, config=chosen, models=models)


def test_a_run_writes_a_policy_for_each_measure_and_its_held_out_lines(made: SimpleNamespace) -> None:
    result: EvalResult = made.result
    assert [one.finding.name for one in result.policies] == [
        "compute_optimal_scores",
        "compute_optimal_agreement",
        "compute_optimal_oracle",
    ]
    for one in result.policies:
        assert Policy.load(made.folder / one.finding.file) == one.policy
        for budget in one.finding.budgets:
            line = result.find(one.finding.name, budget.n, "perfect")
            assert line.accuracy == budget.accuracy
            assert line.bill.flops == pytest.approx(budget.spent)
            assert budget.flops == pytest.approx(result.find("best_of_n", budget.n, "perfect").bill.flops)


def test_only_measured_difficulties_are_billed_and_said_apart(made: SimpleNamespace) -> None:
    scores, agreement, oracle = made.result.policies
    assert scores.finding.estimation.flops > agreement.finding.estimation.flops > 0
    assert agreement.finding.estimation.verifier_flops == 0
    assert oracle.finding.estimation.flops == 0
    assert made.result.find("compute_optimal_oracle", 8, "perfect").oracle
    assert made.result.best.key != "compute_optimal_oracle/perfect@8"


def test_probes_are_samples_of_their_own(made: SimpleNamespace) -> None:
    drawn = {}
    for file in (made.folder / "store").glob("samples-*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        texts = [[rollout["steps"] for rollout in row["rollouts"]] for row in sorted(rows, key=lambda row: row["key"])]
        drawn[len(texts[0])] = texts
    shared, probes = drawn.pop(8), drawn.pop(2)
    assert not drawn and len(shared) == len(probes) == 32
    assert sum(probe == samples[:2] for probe, samples in zip(probes, shared, strict=True)) < 16


def test_the_same_command_reads_the_policies_back(made: SimpleNamespace) -> None:
    again = run_eval(made.config, **made.models)
    assert [one.to_dict() for one in again.policies] == [one.to_dict() for one in made.result.policies]


def follow(made: SimpleNamespace, folder: Path, **options: Any) -> EvalConfig:
    defaults: dict[str, Any] = {
        "policy": str(made.folder / "policy-perfect-scores.json"),
        "skip_problems": 32,
        "approach": ["best_of_n"],
        "search_n": [],
        "difficulty_samples": 0,
        "difficulty_bins": 0,
    }
    return config(folder, **{**defaults, **options})


def test_a_policy_is_followed_on_new_problems(made: SimpleNamespace, models: dict[str, Any], tmp_path: Path) -> None:
    policy = made.result.policies[0].policy
    choices = (Choice("majority", 2), *(Choice("beam_search", 4) for _ in range(len(policy.bins) - 1)))
    policy = replace(policy, budgets=(BudgetPlan(8, 1e9, choices),))
    path = policy.save(tmp_path / "policy.json")
    result = run_eval(follow(made, tmp_path / "run", policy=str(path)), **models)
    line = result.find("compute_optimal_scores", 8, "perfect")
    probed = [bill.difficulty_flops for bill in line.bills]
    assert len(probed) == 32 and min(probed) > 0
    assert all(bill.flops > spent for bill, spent in zip(line.bills, probed, strict=True))
    assert not {problem.unique_id for problem in result.problems} & {p.unique_id for p in made.result.problems}
    assert any("policy.json reaches" in note and "over best-of-8, which costs" in note for note in result.notes)
    assert not any("in-sample" in note or "upper bound" in note for note in result.notes)
    # Searches ran on the problems whose bin asks for them alone.
    (grown,) = (tmp_path / "run" / "store").glob("beam_search-4-*")
    hard = len(grown.read_text().splitlines())
    assert 0 < hard < 32


@pytest.mark.parametrize(
    ("by", "options", "said", "standing"),
    [
        (
            "scores",
            {"skip_problems": 0},
            ["was made on these problems: what it reaches on"],
            "in-sample",
        ),
        ("scores", {"skip_problems": 24}, ["was made on 8 of these 32 problems: what it reaches"], "partly in-sample"),
        ("oracle", {}, ["is an upper bound, not a method: its oracle"], "upper bound, uses answers"),
        (
            "oracle",
            {"skip_problems": 0},
            ["is an upper bound, not a method: its oracle", "was made on these problems: what it reaches"],
            "upper bound, uses answers; in-sample",
        ),
    ],
)
def test_a_policy_on_problems_that_it_knows_or_with_their_answers_says_so(
    made: SimpleNamespace,
    models: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    by: str,
    options: dict[str, Any],
    said: list[str],
    standing: str,
) -> None:
    policy = next(one.policy for one in made.result.policies if one.policy.measure.by == by)
    choices = tuple(Choice("majority" if place else "best_of_n", 4) for place in range(len(policy.bins)))
    path = replace(policy, budgets=(BudgetPlan(8, 1e9, choices),)).save(tmp_path / "policy.json")
    result = run_eval(follow(made, tmp_path / "run", policy=str(path), report=True, **options), **models)
    printed = capsys.readouterr().out
    page = (tmp_path / "run" / "report.html").read_text()
    for words in said:
        assert sum(words in note for note in result.notes) == 1
        assert words in page and printed.index(f"note: the policy in policy.json {words}") < printed.index("majority")
    reached = f"The policy in policy.json ({standing}) reaches"
    assert reached in page and reached.lower() in printed.lower()
    assert len(result.notes) == len(said) + 1
    assert ("compute-optimal (oracle, upper bound)" in printed) is (by == "oracle")


def test_a_policy_that_does_not_say_what_it_was_made_on_may_be_in_sample(
    made: SimpleNamespace, models: dict[str, Any], tmp_path: Path
) -> None:
    path = made.result.policies[0].policy.save(tmp_path / "policy.json")
    found = json.loads(path.read_text())
    assert len(found["made_on"].pop("problem_hashes")) == 32
    path.write_text(json.dumps(found))
    result = run_eval(follow(made, tmp_path / "run", policy=str(path), num_problems=4), **models)
    assert "does not say which problems it was made on" in result.notes[0] and "(may be in-sample)" in result.notes[-1]


def test_a_policy_for_other_bins_or_another_verifier_is_refused(
    made: SimpleNamespace, models: dict[str, Any], tmp_path: Path, module_world: SimpleNamespace
) -> None:
    for options, message in (
        ({"difficulty_bins": 7}, r"made for other bins: difficulty_bins=2, not 7"),
        ({"difficulty": ["agreement"]}, r"made for other bins: difficulty=\['scores'\]"),
        ({"difficulty_samples": 9}, r"difficulty_samples=2, not 9"),
        ({"temperature": 0.5}, r"made with temperature=1.0, and this run has 0.5"),
        ({"n": 1}, r"chooses among up to \d samples, and n is 1; give n="),
    ):
        with pytest.raises(ConfigError, match=message):
            run_eval(follow(made, tmp_path / "refused", **options), **models)
    path = tmp_path / "other.json"
    policy = made.result.policies[0].policy
    replace(policy, conditions={**policy.conditions, "verifier": "someone else"}).save(path)
    with pytest.raises(ConfigError, match="made with verifier='someone else', and this run has '0123456789abcdef'"):
        run_eval(follow(made, tmp_path / "refused", policy=str(path)), **models)
    with pytest.raises(MissingFileError, match="no such policy"):
        run_eval(follow(made, tmp_path / "refused", policy="nowhere.json"), **models)
    with pytest.raises(ConfigError, match="needs a verifier that is no control"):
        run_eval(follow(made, tmp_path / "refused", approach=[]), generator=models["generator"])


@pytest.mark.parametrize(
    ("choices", "options", "refused"),
    [
        (("majority", "best_of_n"), {"lookahead": 2, "beam_width": 2, "num_iterations": 9}, ""),
        (("majority", "beam_search"), {"lookahead": 2}, ""),
        (("majority", "rebase"), {"beam_width": 2}, ""),
        (("majority", "rebase"), {"num_iterations": 9}, "made with num_iterations=40, and this run has 9"),
        (("majority", "dvts"), {"beam_width": 8}, "made with beam_width=4, and this run has 8"),
        (("majority", "dvts"), {"lookahead": 2, "beam_width": 2}, "made with beam_width=4, and this run has 2"),
    ],
)
def test_a_shape_that_no_choice_of_a_policy_uses_may_differ(
    made: SimpleNamespace,
    models: dict[str, Any],
    tmp_path: Path,
    choices: tuple[str, ...],
    options: dict[str, Any],
    refused: str,
) -> None:
    policy = made.result.policies[0].policy
    chosen = (Choice(choices[0], 4), *(Choice(choices[1], 8) for _ in range(len(policy.bins) - 1)))
    path = replace(policy, budgets=(BudgetPlan(8, 1e9, chosen),)).save(tmp_path / "policy.json")
    following = follow(made, tmp_path / "run", policy=str(path), num_problems=10, **options)
    if not refused:
        line = run_eval(following, **models).find("compute_optimal_scores", 8, "perfect")
        assert 0 < line.accuracy.mean <= 1
        return
    with pytest.raises(ConfigError, match=refused):
        run_eval(following, **models)


@pytest.mark.parametrize(
    ("condition", "options", "message"),
    [
        ("temperature", {"temperature": 0.5}, "made with temperature=1.0, and this run has 0.5"),
        ("prompt", {"prompt_template": "{problem} ="}, "made with prompt="),
        ("verifier", {}, "made with verifier='0123456789abcdef', and this run has"),
        ("revision", {}, "made with revision='1', and this run has"),
    ],
)
def test_a_policy_for_another_run_is_refused_before_a_model_is_loaded(
    made: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    options: dict[str, Any],
    message: str,
) -> None:
    from prm.eval import loading

    monkeypatch.setattr(loading, "_lazy", lambda *_: pytest.fail("a model is asked for"))
    policy = made.result.policies[0].policy
    path = replace(policy, conditions={condition: policy.conditions[condition]}).save(tmp_path / "policy.json")
    models = {"model_name_or_path": "embedded:generator", "prm_path": ["prm=embedded:base"]}
    with pytest.raises(ConfigError, match=message):
        run_eval(follow(made, tmp_path / "run", policy=str(path), **{**models, **options}))


def test_settings_of_policies_that_make_no_sense_are_refused_before_anything_is_sampled(
    models: dict[str, Any], tmp_path: Path, module_world: SimpleNamespace
) -> None:
    models = {**models, "generator": module_world.Generator(module_world.careless)}
    for options, message in (
        ({"difficulty": ["feeling"]}, "unknown difficulty 'feeling'"),
        ({"difficulty_binning": "equal"}, "must be quantile or absolute"),
        ({"difficulty": ["agreement"], "difficulty_samples": 1}, "at least 2 samples"),
        ({"controls": ["perfect"]}, "no control"),
        ({"compare_to": "nowhere"}, "no finished run"),
    ):
        with pytest.raises(ConfigError if "run" not in message else MissingFileError, match=message):
            run_eval(config(tmp_path, approach=["best_of_n", "compute_optimal"], **options), **models)
    assert models["generator"].calls == 0


def test_a_small_generator_under_search_is_compared_with_a_larger_one(
    models: dict[str, Any], tmp_path: Path, module_world: SimpleNamespace
) -> None:
    larger = module_world.Generator(module_world.careless, name="larger", num_parameters=30)
    run_eval(config(tmp_path / "larger", approach=["greedy"]), generator=larger)
    chosen = config(tmp_path / "small", approach=["best_of_n", "beam_search"], compare_to=str(tmp_path / "larger"))
    found = run_eval(chosen, **models).exchange
    assert found is not None and (found.m, found.large, found.problems) == (3.0, "larger", 32)
    assert found.lines[-1].over_sampled.low > 0  # a perfect verifier and many samples
    again = run_eval(chosen, **models).exchange
    assert again == found
    backwards = {**models, "generator": module_world.Generator(module_world.careless, num_parameters=60)}
    with pytest.raises(ConfigError, match=r"needs a larger model to compare to; this one has 0\.5 times"):
        run_eval(replace(chosen, output_dir=str(tmp_path / "backwards")), **backwards)
    assert backwards["generator"].calls == 0
    with pytest.raises(ConfigError, match="compared on the same problems"):
        run_eval(replace(chosen, num_problems=16, output_dir=str(tmp_path / "fewer")), **models)
