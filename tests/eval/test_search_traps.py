"""What other search evaluators got wrong, each as a test: the mistakes are named in issue threads and code of
search-and-learn, compute-optimal-tts and OpenR. Where a mistake has more to it, `test_frontier`, `test_selectors`,
`test_tree_strategies` and `test_sampling` have the details.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.sample_rows import _predictions
from prm.eval.sampling import UNFINISHED, GradedRollouts, grade_rollouts, make_rollout
from prm.eval.search.adaptive_consistency import AdaptiveConsistency
from prm.eval.search.base import UNCHOOSABLE, Candidates, TreePlan
from prm.eval.search.best_of_n import BestOfN
from prm.eval.search.early_stop import EarlyStop, ThresholdStop
from prm.eval.search.frontier import Frontier
from prm.eval.search.majority import Majority
from prm.eval.search.rebase import Rebase
from prm.eval.search.tree import TreeSearch
from prm.eval.search.voting import decide
from prm.eval.search.weighted_best_of_n import WeightedBestOfN

from prm.errors import ConfigError
from prm.generation.base import SamplingParams
from prm.grading import MathGrader
from prm.problems import Problem
from prm.rollouts import Cost, StopReason

BEAM = TreePlan("beam_search", (16,), 4, 40)
DVTS = TreePlan("dvts", (4,) * 4, 4, 40)
REBASE = Rebase().plan(SimpleNamespace(beam_width=4, num_iterations=40, lookahead=0), 16)
SELECTORS = [
    *(BestOfN(), WeightedBestOfN(), Majority(), ThresholdStop(), EarlyStop(2)),
    *(AdaptiveConsistency(), AdaptiveConsistency(weighted=True)),
]


def search(plan: TreePlan, generator: Any, verifier: Any, problem: Problem, how: Any = "last") -> TreeSearch:
    frontier = Frontier(plan, generator, verifier, sampling=SamplingParams(max_new_tokens=60), aggregation=how)
    (found,) = frontier.run([problem])
    return found


def select(strategy: Any, candidates: Candidates, n: int, seed: int = 0) -> float:
    shelf = SimpleNamespace(samples=lambda: [candidates], subsets=4096, seed=seed)
    (result,) = strategy.evaluate(shelf, n)
    return result.accuracy


def config(folder: Path, **options: Any) -> EvalConfig:
    defaults = {"model_name_or_path": "in memory", "num_problems": 4, "n": 4, "max_new_tokens": 100, "report": False}
    return EvalConfig(output_dir=str(folder), **{**defaults, **options})


def test_the_aggregation_setting_is_the_one_used_in_the_vote(world: SimpleNamespace, tmp_path: Path) -> None:
    """search-and-learn votes with `last` whatever is set."""

    # A truthful verifier but for the last step, where it prefers what is wrong.
    def judge(problem: str, steps: Any) -> list[float]:
        scores = world.truth(problem, steps)
        return [*scores[:-1], 1.0 - scores[-1]] if steps[-1].startswith("A:") else scores

    accuracies = {}
    for how in ("last", "mean"):
        result = run_eval(
            config(tmp_path / how, agg_strategy=[how], approach=["best_of_n", "weighted_best_of_n"], num_problems=12),
            verifiers={"odd": world.Verifier(judge)},
            generator=world.Generator(world.careless),
        )
        named = next(iter(result.verifiers))
        for method in ("best_of_n", "weighted_best_of_n"):
            accuracies[method, how] = result.find(method, 4, named).accuracy.mean
    for method in ("best_of_n", "weighted_best_of_n"):
        assert accuracies[method, "mean"] > accuracies[method, "last"] + 0.1


@pytest.mark.parametrize("plan", [BEAM, DVTS, REBASE])
def test_a_finished_beam_is_not_cloned_and_does_not_vote_twice(world: SimpleNamespace, plan: TreePlan) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return f"A: {rng.randrange(10**9)}" if text or rng.random() < 0.3 else f"{rng.random()}\nA: 1"

    found = search(plan, world.Generator(solve), world.Verifier(lambda p, s: [0.5] * len(s)), world.problem())
    assert max(Counter(branch.text for branch in found.finished).values()) == 1
    assert len({branch.node for branch in found.finished}) == len(found.finished) == 16


@pytest.mark.parametrize("plan", [BEAM, DVTS, REBASE])
def test_an_unfinished_branch_does_not_vote(world: SimpleNamespace, plan: TreePlan) -> None:
    """search-and-learn's DVTS lets every child vote."""

    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "A: 7, or rather " + "x" * 60 if rng.random() < 0.7 else "A: 1"

    found = search(plan, world.Generator(solve), world.Verifier(lambda p, s: [0.5] * len(s)), world.problem())
    assert {branch.text for branch in found.finished} == {"A: 1"}
    assert len(found.unfinished) > 4
    rollouts = [
        make_rollout(world.problem(), b.text, b.stop_reason, index=i, source="s", separator="\n", cost=Cost())
        for i, b in enumerate([*found.finished, *found.unfinished])
    ]
    grader = MathGrader()
    (graded,) = grade_rollouts([rollouts], grader)
    grader.close()
    assert [label >= 0 for label in graded.classes] == [r.stop_reason not in UNFINISHED for r in rollouts]
    assert graded.rollouts[-1].pred is None  # though its text says "A: 7"


def test_a_trailing_separator_makes_no_phantom_step(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        if "A" in text:
            return "" if text.endswith("\n\n") else "\n"  # one more separator behind the answer, and the end
        return f"{rng.random()}\n" if not text else rng.choice(("\n", "A: 1\n"))

    verifier = world.Verifier(lambda p, s: [0.1 * len(s)] * len(s))
    found = search(BEAM, world.Generator(solve), verifier, world.problem())
    assert found.finished
    assert {len(branch.step_scores) for branch in found.finished} == {2}
    assert all(step.strip() for _, steps in verifier.read for step in steps)


def test_length_is_not_end_of_text(world: SimpleNamespace) -> None:
    """search-and-learn takes `length` for a finished beam."""

    def endless(problem: str, text: str, rng: random.Random) -> str:
        return "A: 1 is the answer, and the answer is " * 9

    found = search(BEAM, world.Generator(endless), world.Verifier(lambda p, s: [0.5] * len(s)), world.problem())
    assert not found.finished
    assert {branch.stop_reason for branch in found.unfinished} == {StopReason.LENGTH}


@pytest.mark.parametrize("strategy", SELECTORS, ids=lambda strategy: strategy.name)
def test_ties_never_look_at_the_label(world: SimpleNamespace, strategy: Any) -> None:
    for correct in ((True, False, False, False), (False, False, False, True)):
        tied = Candidates(world.problem(), correct, (0, 1, 2, 3), (0.5,) * 4)
        assert select(strategy, tied, 4) == pytest.approx(0.25)
        assert decide(tied, "best") == decide(tied, "weighted") == 0.25


@pytest.mark.parametrize("strategy", SELECTORS, ids=lambda strategy: strategy.name)
def test_samples_taken_are_a_random_subset_or_all_subsets_never_the_first_n(
    world: SimpleNamespace, strategy: Any
) -> None:
    correct, classes = [1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 2, 3, 1, -1]
    scores = [0.9, 0.3, 0.6, 0.8, 0.5, 0.2, 0.7, UNCHOOSABLE]
    found = []
    for order in ([*range(8)], [*range(7, -1, -1)], [5, 2, 7, 0, 3, 6, 1, 4]):
        pool = Candidates(
            world.problem(),
            tuple(bool(correct[i]) for i in order),
            tuple(classes[i] for i in order),
            tuple(scores[i] for i in order),
        )
        found.append(select(strategy, pool, 3))
    assert max(found) - min(found) < 0.05  # the replayed rules are random to about 0.01
    assert 0.2 < found[0] < 0.95


def test_the_columns_of_search_and_learn_take_random_samples_too(world: SimpleNamespace) -> None:
    texts = ["A: 1"] * 4 + ["A: 2"] * 4
    rollouts = [
        make_rollout(world.problem(), text, StopReason.EOS, index=i, source="s", separator="\n", cost=Cost())
        for i, text in enumerate(texts)
    ]
    grader = MathGrader()
    (graded,) = grade_rollouts([rollouts], grader)
    grader.close()
    first = Counter(_first_pick(graded, seed) for seed in range(40))
    assert set(first) == {"\\boxed{1}", "\\boxed{2}"}
    assert min(first.values()) > 8


def _first_pick(graded: GradedRollouts, seed: int) -> str:
    return _predictions(graded, None, [1], str(seed))["pred_maj@1"]


def test_lookahead_without_a_horizon_is_refused_before_anything_is_sampled(
    world: SimpleNamespace, tmp_path: Path
) -> None:
    """search-and-learn generates the lookahead, bills it to nobody, and scores the text without it."""
    generator = world.Generator(world.careless)
    with pytest.raises(ConfigError, match="give --lookahead 1 or more"):
        run_eval(
            config(tmp_path, approach=["lookahead"]),
            verifiers={"prm": world.Verifier(world.truth)},
            generator=generator,
        )
    assert generator.calls == 0


def test_lookahead_changes_the_result_and_is_billed(world: SimpleNamespace, tmp_path: Path) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        if not text:
            return f"{rng.choice('xy')}\n"
        return {"x\n": "good\n", "y\n": "bad\n"}.get(text, "A: 1" if "good" in text else "A: 2")

    def hindsight(problem: str, steps: Any) -> list[float]:
        return [{"x": 0.4, "y": 0.6, "good": 0.9, "bad": 0.1}.get(step, 0.5) for step in steps]

    from prm.jsonl import write_jsonl

    write_jsonl(tmp_path / "one.jsonl", [{"problem": "p", "answer": "1", "unique_id": "p"}])
    result = run_eval(
        config(
            tmp_path / "run",
            dataset_name=str(tmp_path / "one.jsonl"),
            num_problems=1,
            n=8,
            lookahead=1,
            approach=["beam_search", "lookahead"],
        ),
        verifiers={"prm": world.Verifier(hindsight)},
        generator=world.Generator(solve),
    )
    plain, ahead = (result.find(method, 8, "prm") for method in ("beam_search", "lookahead"))
    assert (plain.accuracy.mean, ahead.accuracy.mean) == (0.0, 1.0)
    assert plain.bill.lookahead_tokens == 0
    assert ahead.bill.lookahead_tokens == len("good\n") + len("bad\n")
    assert ahead.bill.generated_tokens > plain.bill.generated_tokens
