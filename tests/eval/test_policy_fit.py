"""A policy made from the lines of a run: what it chooses, what it is billed, and that its gain is held out."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from prm.eval.cost import Bill
from prm.eval.difficulty import Measure
from prm.eval.policy_finding import PolicyFinding
from prm.eval.policy_fit import FitSettings, choosable, fit_policy
from prm.eval.results import MethodResult, method_result
from prm.eval.search.base import ProblemResult
from prm.eval.search.compute_optimal import Probe

from prm.errors import ConfigError

PROBLEMS = 200


def results(accuracy: np.ndarray, flops: float) -> list[ProblemResult]:
    return [ProblemResult(float(value), Bill(generator_flops=flops)) for value in accuracy]


@pytest.fixture
def setting() -> SimpleNamespace:
    """Half of the problems are easy: voting solves them, search does not help. The others only a search solves."""
    hard = np.arange(PROBLEMS) % 2
    rng = np.random.default_rng(0)
    draw = lambda chance: (rng.random(PROBLEMS) < chance).astype(float)  # noqa: E731
    accuracies = {
        ("majority", "", 1, 10.0): draw(np.where(hard, 0.1, 0.95)),
        ("best_of_n", "prm", 4, 40.0): draw(np.where(hard, 0.4, 0.8)),
        ("beam_search", "prm", 8, 60.0): draw(np.where(hard, 0.9, 0.8)),
    }
    lines = [
        method_result(results(values, flops), method=method, verifier=verifier, n=n)
        for (method, verifier, n, flops), values in accuracies.items()
    ]
    difficulties = np.clip(np.where(hard, 0.7, 0.2) + rng.normal(0, 0.1, PROBLEMS), 0, 1)
    return SimpleNamespace(
        lines=lines,
        best_of_n={4: results(accuracies[("best_of_n", "prm", 4, 40.0)], 40.0)},
        pass_at_1=np.where(hard, 0.1, 0.6).tolist(),
        probe=Probe(Measure("scores", 2), tuple(difficulties.tolist()), (Bill(generator_flops=5.0),) * PROBLEMS),
        settings=FitSettings(bins=2),
    )


def test_each_bin_gets_what_is_best_for_it_within_the_mean_budget(setting: SimpleNamespace) -> None:
    found = fit_policy(**{**vars(setting), "verifier": "prm"})
    (plan,) = found.plans
    # (10 + 60) / 2 + 5 for the estimation: exactly what best-of-4 costs.
    assert [choice.key for choice in plan.choices] == ["majority@1", "beam_search@8"]
    assert plan.flops == 40.0
    (budget,) = found.finding.budgets
    assert budget.choices == ("majority@1", "beam_search@8")
    assert budget.over_best_of_n.low > 0.1
    assert budget.over_fixed.low > 0.1 and budget.fixed == "best_of_n/prm@4"
    assert budget.accuracy.mean == pytest.approx(np.mean([result.accuracy for result in found.results[4]]))


def test_the_estimation_is_part_of_every_bill(setting: SimpleNamespace) -> None:
    found = fit_policy(**{**vars(setting), "verifier": "prm"})
    spent = {result.bill.flops for result in found.results[4]}
    assert spent <= {15.0, 40.0, 45.0, 65.0}
    assert found.finding.budgets[0].spent == pytest.approx(np.mean([r.bill.flops for r in found.results[4]]))
    assert found.finding.budgets[0].spent < 42
    assert found.finding.estimation.flops == 5.0


def test_an_uninformative_difficulty_gains_nothing_over_the_best_fixed_method(setting: SimpleNamespace) -> None:
    blind = replace(setting.probe, difficulties=tuple(np.random.default_rng(1).random(PROBLEMS).tolist()))
    found = fit_policy(**{**vars(setting), "verifier": "prm", "probe": blind})
    assert found.finding.budgets[0].over_fixed.low < 0.03


def test_budgets_that_do_not_pay_for_the_estimation_get_one_method_and_are_not_billed_for_it(
    setting: SimpleNamespace,
) -> None:
    budgets = {1: results(np.zeros(PROBLEMS), 12.0), **setting.best_of_n}
    found = fit_policy(**{**vars(setting), "verifier": "prm", "best_of_n": budgets})
    assert [plan.n for plan in found.plans] == [1, 4] == list(found.results)
    assert found.finding.budgets[0].choices == ("majority@1", "majority@1")
    assert {result.bill.flops for result in found.results[1]} == {10.0}
    assert found.finding.budgets[0].over_fixed.mean == 0.0
    with pytest.raises(ConfigError, match="no method costs as little"):
        fit_policy(**{**vars(setting), "verifier": "prm", "best_of_n": {1: results(np.zeros(PROBLEMS), 5.0)}})


def test_oracles_chance_and_other_verifiers_are_nothing_to_choose(setting: SimpleNamespace) -> None:
    (majority, best, _) = setting.lines

    def like(line: MethodResult, **changed: object) -> MethodResult:
        return replace(line, **changed)

    unknown = like(majority, bills=(Bill(generator_flops=float("nan")),) * PROBLEMS)
    offered = [
        *setting.lines,
        like(majority, method="pass_at_n"),
        like(majority, method="no_skill"),
        like(majority, method="alone: system"),
        like(best, method="compute_optimal_scores"),
        like(best, verifier="other"),
        unknown,
    ]
    assert choosable(offered, "prm") == setting.lines
    with pytest.raises(ConfigError, match="no method of known FLOPs"):
        fit_policy(**{**vars(setting), "verifier": "prm", "lines": choosable([unknown], "prm")})


def test_a_finding_is_read_back_from_json_as_it_was_written(setting: SimpleNamespace) -> None:
    # Six absolute bins of which one is empty.
    probe = replace(setting.probe, difficulties=tuple((np.arange(PROBLEMS) % 5 / 6).tolist()))
    options = {**vars(setting), "probe": probe, "settings": FitSettings(bins=6, binning="absolute")}
    finding = fit_policy(**options, verifier="prm").finding
    assert finding.bin_problems[-1] == 0 and finding.methods[0].accuracy[-1] is None
    assert sum(finding.bin_problems) == PROBLEMS
    assert PolicyFinding.from_dict(json.loads(json.dumps(finding.to_dict(), allow_nan=False))) == finding
