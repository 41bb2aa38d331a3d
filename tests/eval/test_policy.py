"""The policy file: read back as written, followed by difficulty and budget, refused where it was not made for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prm.eval.difficulty import Bins, Measure
from prm.eval.policy import BudgetPlan, Choice, Policy

from prm.errors import ConfigError, DataError, MissingFileError

MAJORITY, BEAM, DVTS = Choice("majority", 4), Choice("beam_search", 8), Choice("dvts", 16)


@pytest.fixture
def policy() -> Policy:
    return Policy(
        measure=Measure("scores", 4),
        binning="quantile",
        bins=Bins((0.3, 0.6)),
        budgets=(BudgetPlan(8, 100.0, (MAJORITY, MAJORITY, BEAM)), BudgetPlan(16, 200.0, (MAJORITY, BEAM, DVTS))),
        conditions={"verifier": "abc", "temperature": 1.0},
        made_on={"dataset": "arithmetic/test", "problems": 300},
    )


def test_a_policy_is_read_back_as_it_was_written(policy: Policy, tmp_path: Path) -> None:
    assert Policy.load(policy.save(tmp_path / "policy.json")) == policy


def test_a_problem_gets_what_its_bin_and_the_budget_say(policy: Policy) -> None:
    assert [policy.choose(d, n=16) for d in (0.0, 0.3, 0.59, 0.6, 1.0)] == [MAJORITY, BEAM, BEAM, DVTS, DVTS]
    assert policy.choose(0.9, n=8) == BEAM
    # A budget in FLOPs is the largest plan that it pays for, and without any the largest there is.
    assert policy.choose(0.9, flops=199.0) == BEAM
    assert policy.choose(0.9, flops=200.0) == DVTS
    assert policy.choose(0.9) == DVTS


@pytest.mark.parametrize("budget", [{"n": 4}, {"flops": 99.0}, {"n": 16, "flops": 100.0}])
def test_a_budget_that_the_policy_does_not_have_is_refused_with_those_it_has(
    policy: Policy, budget: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"it has n=8 \(100 FLOPs\), n=16"):
        policy.choose(0.5, **budget)


def test_a_run_with_another_verifier_is_refused_with_the_reason(policy: Policy) -> None:
    policy.check({"verifier": "abc", "temperature": 1.0, "and": "more"})
    with pytest.raises(ConfigError, match=r"p\.json was made with verifier='abc', and this run has 'xyz'"):
        policy.check({"verifier": "xyz", "temperature": 1.0}, "p.json")
    with pytest.raises(ConfigError, match=r"temperature=1\.0, and this run has None"):
        policy.check({"verifier": "abc"})


def test_what_is_no_policy_is_said_with_path_and_remedy(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    with pytest.raises(MissingFileError, match="no such policy"):
        Policy.load(path)
    for content in ("{", "[]", "{}", '{"version": 1}'):
        path.write_text(content)
        with pytest.raises(DataError, match=r"policy.json: not a policy of prm eval.*--approach compute_optimal"):
            Policy.load(path)
    path.write_text(json.dumps({**policy.to_dict(), "version": 9}))
    with pytest.raises(DataError, match="a policy of version 9, not 1"):
        Policy.load(path)


def test_a_policy_with_choices_for_other_bins_is_refused(policy: Policy, tmp_path: Path) -> None:
    for broken in (replace(policy, bins=Bins((0.3,))), replace(policy, budgets=())):
        with pytest.raises(DataError, match="a choice for each of the"):
            Policy.load(broken.save(tmp_path / "policy.json"))
