"""Several verifiers as one: how their scores are combined, in a search and offline, and what they cost."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.ensemble import (
    EnsembleVerifier,
    Formula,
    Member,
    Voice,
    combine,
    combined,
    ensemble_keys,
    split_ensembles,
)
from prm.eval.search.base import TreePlan
from prm.eval.search.frontier import Frontier

from prm.errors import ConfigError, FormatError
from prm.generation.base import SamplingParams
from prm.scoring_spec import ScoringSpec
from prm.step_format import StepFormat
from prm.verifier import StepScores

PRM = ScoringSpec(kind="prm", head="token_classification")
ORM = ScoringSpec(kind="orm", head="sequence_classification")


def constant(world: SimpleNamespace, value: float, spec: ScoringSpec = PRM, **more: Any) -> Any:
    return world.Verifier(lambda problem, steps: [value] * len(steps), spec=spec, **more)


@pytest.mark.parametrize(
    ("how", "expected"), [("mean", 0.5), ("min", 0.2), ("product", 0.2 * 0.4 * 0.9), ("majority", 1 / 3)]
)
def test_scores_are_combined(how: Any, expected: float) -> None:
    assert combine(how, [0.2, 0.4, 0.9], [0.5] * 3) == pytest.approx(expected)


def test_a_majority_accepts_at_the_threshold_of_each_member() -> None:
    assert combine("majority", [0.2, 0.4, 0.9], [0.1, 0.5, 0.95]) == pytest.approx(1 / 3)


def test_what_is_combined_is_the_fold_of_each_member(world: SimpleNamespace) -> None:
    steps = ("a", "b", "c")
    said = [(steps, StepScores((0.9, 0.2, 0.8), 10)), (steps, StepScores((0.5, 0.5, 0.5), 7))]
    voices = [Voice(PRM, "min"), Voice(PRM, "last")]
    found = combined("mean", voices, steps, said)
    assert found is not None
    assert found.scores == pytest.approx((0.7, 0.35, 0.35))
    assert (found.tokens, found.parts) == (17, ((10, 0), (7, 0)))


def test_beginnings_are_scored_by_prms_alone_and_solutions_by_all(world: SimpleNamespace) -> None:
    prm, orm = constant(world, 0.8), constant(world, 0.2, ORM)
    session = EnsembleVerifier("both", "mean", [Member.of(orm), Member.of(prm)]).session()
    (begun,) = session.score([("p", ("a", "b"))])
    assert begun is not None and begun.scores == (0.8, 0.8)
    assert orm.read == []
    (ended,) = session.score_finished([("p", ("a", "b"))])
    assert ended is not None and ended.scores == pytest.approx((0.8, 0.5))
    assert ended.parts == ((2, 0), (2, 0))


def test_an_ensemble_of_orms_is_an_orm(world: SimpleNamespace) -> None:
    ensemble = EnsembleVerifier("orms", "min", [Member.of(constant(world, s, ORM)) for s in (0.3, 0.6)])
    assert ensemble.spec.kind == "orm"
    assert [scores.scores for scores in ensemble.score_solutions([("p", ["a", "b"]), ("q", ["c"])])] == [(0.3,)] * 2


def test_members_may_split_a_text_elsewhere(world: SimpleNamespace) -> None:
    blank = replace(PRM, step_format=StepFormat(step_separator="\n\n"))
    lines = world.Verifier(lambda p, s: [0.1 * (i + 1) for i in range(len(s))])
    paragraphs = constant(world, 0.5, blank)
    session = EnsembleVerifier("both", "mean", [Member.of(lines), Member.of(paragraphs)]).session()
    (found,) = session.score_finished([("p", ("a\nb", "c"))])
    assert (lines.read, paragraphs.read) == ([("p", ("a", "b", "c"))], [("p", ("a\nb", "c"))])
    assert found is not None and found.scores == pytest.approx((0.35, 0.4))
    # Offline, where each member splits the text itself: the second has read one step, and in the end both.
    said = [(("a", "b", "c"), StepScores((0.1, 0.2, 0.3), 3)), (("a\nb", "c"), StepScores((0.9, 0.7), 2))]
    offline = combined("min", [Voice(PRM, "last"), Voice(blank, "last")], ("a", "b", "c"), said)
    assert offline is not None and offline.scores == pytest.approx((0.1, 0.2, 0.3))
    assert combined("product", [Voice(blank, "last")], ("a", "b", "c"), said[1:]).scores == (0.9, 0.9, 0.7)  # type: ignore[union-attr]


def test_what_one_member_cannot_read_the_ensemble_cannot(world: SimpleNamespace) -> None:
    class Short(world.Verifier):
        def score_solutions(self, items: Any, progress: Any = None) -> Any:
            if any(len(steps) > 2 for _, steps in items):
                raise FormatError("too long")
            return super().score_solutions(items, progress)

    ensemble = EnsembleVerifier("both", "mean", [Member.of(constant(world, 0.5)), Member.of(Short(world.truth))])
    found = ensemble.session().score([("7a+5", ("a7+5=12",)), ("7a+5", ("a", "b", "c"))])
    assert [scores is None for scores in found] == [False, True]
    with pytest.raises(FormatError, match="a member of the ensemble both"):
        ensemble.score_solutions([("7a+5", ("a", "b", "c"))])


def test_an_ensemble_guides_a_search_like_any_verifier(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return f"A: {rng.choice('12')}" if text else f"{rng.choice('ab')}\n"

    def likes(step: str) -> Any:
        return lambda problem, steps: [0.9 if one == step else 0.3 for one in steps]

    prm, orm = world.Verifier(likes("a")), world.Verifier(likes("A: 2"), spec=ORM)
    ensemble = EnsembleVerifier("both", "product", [Member.of(prm), Member.of(orm)])
    plan = TreePlan("beam_search", (16,), 4, 40)
    frontier = Frontier(plan, world.Generator(solve), ensemble, sampling=SamplingParams(), aggregation="last")
    (found,) = frontier.run([world.problem()])
    best = max(found.finished, key=lambda branch: branch.score)
    assert best.text == "a\nA: 2" and best.score == pytest.approx(0.3 * 0.9)
    assert {branch.text[0] for branch in found.finished} == {"a"}
    assert all(steps[-1].startswith("A") for _, steps in orm.read)
    # Two first steps and two solutions by the PRM, two solutions by the ORM; one token for each step.
    assert found.parts == ((2 * 1 + 2 * 2, 0), (2 * 2, 0))
    assert found.cost.verifier_tokens == 10


def test_equal_members_are_the_member(world: SimpleNamespace) -> None:
    problems = world.problems(4)
    ensemble = EnsembleVerifier("twice", "mean", [Member.of(world.Verifier(world.truth)) for _ in range(2)])
    texts = []
    for verifier in (ensemble, world.Verifier(world.truth)):
        plan = TreePlan("dvts", (4, 4), 4, 40)
        sampling = SamplingParams(max_new_tokens=200)
        frontier = Frontier(plan, world.Generator(world.careless), verifier, sampling=sampling, aggregation="last")
        texts.append([[(b.text, b.score) for b in one.finished] for one in frontier.run(problems)])
    assert texts[0] == texts[1]


def test_ensembles_are_told_from_paths() -> None:
    entries = ["prm=runs/prm", "orm=runs/orm", "both=mean(prm, orm)", "runs/mean(old)/prm", "min(prm,orm)"]
    paths, formulas = split_ensembles(entries)
    assert paths == ["prm=runs/prm", "orm=runs/orm", "runs/mean(old)/prm"]
    assert formulas == {"both": Formula("mean", ("prm", "orm")), "min(prm,orm)": Formula("min", ("prm", "orm"))}


def test_an_ensemble_is_known_by_its_formula_and_its_members_weights() -> None:
    formulas = {"both": Formula("mean", ("prm", "orm"))}
    keys = {"prm": "1", "orm": "2"}
    assert ensemble_keys(formulas, keys) == ensemble_keys(formulas, keys)
    others = [
        ensemble_keys(formulas, {"prm": "1", "orm": "3"})["both"],
        ensemble_keys({"both": Formula("min", ("prm", "orm"))}, keys)["both"],
    ]
    assert ensemble_keys(formulas, keys)["both"] not in others


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["both=mean(prm)"], "at least two different members"),
        (["both=mean(prm,prm)"], "at least two different members"),
        (["both=mean(prm,other)"], "has a member 'other', and the verifiers are prm, orm"),
        (["prm=mean(prm,orm)"], "two verifiers are called 'prm'"),
        (["both=mean(prm,orm)", "both=min(prm,orm)"], "two ensembles are called 'both'"),
    ],
)
def test_an_ensemble_that_cannot_be_is_refused(entries: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ensemble_keys(split_ensembles(entries)[1], {"prm": "1", "orm": "2"})
