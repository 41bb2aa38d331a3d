"""REBASE, lookahead, and what every live search shares: company, records of the tree, and what may be forgotten."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval
from prm.eval.search.allotment import Softmax
from prm.eval.search.base import TreePlan
from prm.eval.search.beam_search import BeamSearch
from prm.eval.search.frontier import Frontier
from prm.eval.search.lookahead import Lookahead
from prm.eval.search.rebase import Rebase
from prm.eval.search.sessions import Rescoring
from prm.eval.search.tree import ROOT, Fate, TreeSearch, nodes_from_row, nodes_to_row

from prm.errors import ConfigError
from prm.generation.base import SamplingParams
from prm.generation.carried import Uncarried

BEAM = TreePlan("beam_search", (8,), 4, 40)
DVTS = TreePlan("dvts", (4, 4), 4, 40)
REBASE = TreePlan("rebase", (8,), 1, 40, allotment=Softmax(0.2))
LOOKAHEAD = replace(BEAM, strategy="lookahead", lookahead=1)
PLANS = [BEAM, DVTS, REBASE, LOOKAHEAD]
LIMITS = SimpleNamespace(beam_width=4, num_iterations=40, lookahead=2)


def search(plan: TreePlan, generator: Any, verifier: Any, problems: Sequence[Any], **options: Any) -> list[TreeSearch]:
    sampling = SamplingParams(max_new_tokens=options.pop("max_new_tokens", 200))
    return Frontier(plan, generator, verifier, sampling=sampling, aggregation="last", **options).run(problems)


@pytest.mark.parametrize("plan", PLANS)
def test_every_search_ends_with_n_solutions(world: SimpleNamespace, plan: TreePlan) -> None:
    found = search(plan, world.Generator(world.careless), world.Verifier(world.truth), world.problems(5))
    assert [len(one.finished) + len(one.unfinished) for one in found] == [8] * 5


def test_rebase_continues_branches_in_proportion_and_keeps_more_than_the_best(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return f"A: {rng.random()}" if text else f"{rng.choice('abcd')}\nA: 1"

    marks = {"a": 0.9, "b": 0.7, "c": 0.1, "d": 0.0}
    verifier = world.Verifier(lambda p, steps: [marks.get(step, 0.5) for step in steps])
    (found,) = search(replace(REBASE, widths=(64,)), world.Generator(solve), verifier, [world.problem()])
    kept = [branch.text[0] for branch in found.finished]
    drawn = [node.text[0] for node in found.nodes if node.iteration == 0]
    assert set(kept) == {"a", "b"} and len(kept) == 64
    expected = drawn.count("b") * 0.3679 / (drawn.count("b") * 0.3679 + drawn.count("a"))
    assert kept.count("b") / 64 == pytest.approx(expected, abs=0.05)


def test_what_finishes_leaves_the_others_less_to_share(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return f"A: {rng.random()}" if text or rng.random() < 0.5 else f"{rng.random()}\nA: 1"

    generator = world.Generator(solve)
    (found,) = search(REBASE, generator, world.Verifier(lambda p, s: [0.5] * len(s)), [world.problem()])
    early = sum(node.fate is Fate.FINISHED for node in found.nodes if node.iteration == 0)
    assert 0 < early < 8
    assert len(generator.requests) == 8 + (8 - early)


def wrong_turn(problem: str, text: str, rng: random.Random) -> str:
    """The first step says nothing about the second, which it decides."""
    if not text:
        return f"{rng.choice('xy')}\n"
    return {"x\n": "good\n", "y\n": "bad\n"}.get(text, "A: 1")


def hindsight(problem: str, steps: Sequence[str]) -> list[float]:
    """Prefers y until it sees what follows."""
    return [{"x": 0.4, "y": 0.6, "good": 0.9, "bad": 0.1}.get(step, 0.5) for step in steps]


def test_lookahead_changes_what_is_kept_and_bills_its_tokens(world: SimpleNamespace) -> None:
    plain, ahead = (
        search(plan, world.Generator(wrong_turn), world.Verifier(hindsight), [world.problem()])[0]
        for plan in (BEAM, LOOKAHEAD)
    )
    assert {branch.text[0] for branch in plain.finished} == {"y"}
    assert {branch.text[0] for branch in ahead.finished} == {"x"}
    assert plain.cost.lookahead_tokens == 0
    # Both first steps occur eight times in all, and each is extended once: "good\n" and "bad\n".
    assert ahead.cost.lookahead_tokens == len("good\n") + len("bad\n")
    firsts = [node for node in ahead.nodes if node.iteration == 0]
    assert {(node.text, node.step_score, node.score) for node in firsts} == {("x\n", 0.4, 0.9), ("y\n", 0.6, 0.1)}


def test_lookahead_tokens_are_part_of_the_bill_and_of_no_solution(world: SimpleNamespace) -> None:
    generator = world.Generator(world.careless)
    found = search(LOOKAHEAD, generator, world.Verifier(world.truth), world.problems(4))
    assert sum(one.cost.generated_tokens for one in found) == generator.generated
    for one in found:
        assert one.cost.lookahead_tokens > 0
        in_tree = sum(node.tokens for node in one.nodes)
        assert one.cost.generated_tokens == in_tree + one.cost.lookahead_tokens


def test_looking_ahead_is_greedy_and_stops_where_the_solution_ends(world: SimpleNamespace) -> None:
    generator, verifier = world.Generator(wrong_turn), world.Verifier(hindsight)
    search(replace(LOOKAHEAD, lookahead=5), generator, verifier, [world.problem()])
    scored = {steps for _, steps in verifier.read}
    assert ("x", "good", "A: 1") in scored
    assert max(map(len, scored)) == 3


def test_lookahead_without_steps_to_look_ahead_is_refused() -> None:
    with pytest.raises(ConfigError, match="give --lookahead 1 or more"):
        Lookahead().plan(SimpleNamespace(beam_width=4, num_iterations=40, lookahead=0), 8)


def test_settings_of_one_strategy_are_no_part_of_anothers_plan() -> None:
    other = SimpleNamespace(beam_width=4, num_iterations=40, lookahead=0)
    assert BeamSearch().plan(LIMITS, 8) == BeamSearch("weighted").plan(other, 8)
    assert Rebase().plan(LIMITS, 6) == Rebase().plan(SimpleNamespace(**{**vars(other), "beam_width": 2}), 6)
    assert Lookahead().plan(LIMITS, 8).lookahead == 2


@pytest.mark.parametrize("plan", PLANS)
def test_a_search_does_not_depend_on_how_many_problems_fit(world: SimpleNamespace, plan: TreePlan) -> None:
    problems = world.problems(7)
    runs = []
    for live_tokens in (1, 900, 10**9):
        generator = world.Generator(world.careless)
        runs.append(search(plan, generator, world.Verifier(world.truth), problems, live_tokens=live_tokens))
    assert runs[0] == runs[1] == runs[2]


def test_problems_enter_as_others_end_so_that_calls_stay_full(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        steps = 2 if int(problem[1:]) % 2 else 12  # every other problem is short
        return "A: 1" if text.count("\n") == steps - 1 else f"{rng.random():.3f}\nA: 1"

    sizes: list[int] = []

    class Watched(world.Generator):
        def generate(self, requests: Any, *given: Any) -> Any:
            sizes.append(len(requests))
            return super().generate(requests, *given)

    problems = [world.problem(f"p{i}") for i in range(16)]
    verifier = world.Verifier(lambda p, s: [0.5] * len(s))
    search(BEAM, Watched(solve), verifier, problems, live_tokens=4 * 8 * 60, max_new_tokens=80)
    full, rounds = max(sizes), len(sizes)
    assert full < 16 * 8
    # Four at a time without refilling would be 4 * 12 rounds, half of them half empty.
    assert rounds < 40
    assert sum(sizes) / rounds > 0.6 * full


def test_one_problem_is_searched_however_small_the_budget(world: SimpleNamespace) -> None:
    generator = world.Generator(world.careless)
    found = search(BEAM, generator, world.Verifier(world.truth), world.problems(2), live_tokens=1)
    assert all(len(one.finished) == 8 for one in found)
    assert max(len(request.prompt_ids) for request in generator.requests) > 1


def test_the_token_budget_of_a_run_bounds_its_searches(world: SimpleNamespace, tmp_path: Path) -> None:
    found = []
    for max_batch_tokens in (0, 200):
        generator = world.Generator(world.careless)
        config = EvalConfig(
            output_dir=str(tmp_path / str(max_batch_tokens)),
            model_name_or_path="in memory",
            approach=["rebase"],
            num_problems=6,
            n=4,
            max_new_tokens=100,
            max_batch_tokens=max_batch_tokens,
            report=False,
        )
        result = run_eval(config, verifiers={"prm": world.Verifier(world.truth)}, generator=generator)
        found.append((result.find("rebase", 4, "prm").per_problem, generator.calls))
    assert found[0][0] == found[1][0]
    assert found[0][1] < found[1][1]  # fewer problems at a time, more rounds


def test_a_prompt_that_fills_the_context_ends_unfinished_and_stops_nobody(world: SimpleNamespace) -> None:
    generator = world.Generator(world.careless, context_length=60)
    long, short = world.problem("9" * 80), world.problems(1)[0]
    found = search(BEAM, generator, world.Verifier(world.truth), [long, short])
    assert (len(found[0].finished), len(found[0].unfinished)) == (0, 8)
    assert len(found[1].finished) == 8
    assert {branch.n_generated for branch in found[0].unfinished} == {0}


@pytest.mark.parametrize("plan", PLANS)
def test_the_tree_is_recorded_with_every_fate(world: SimpleNamespace, plan: TreePlan) -> None:
    for found in search(plan, world.Generator(world.careless), world.Verifier(world.truth), world.problems(4)):
        for branch in (*found.finished, *found.unfinished):
            texts, at = [], branch.node
            while at != ROOT:
                assert found.nodes[at].parent < at
                texts.append(found.nodes[at].text)
                at = found.nodes[at].parent
            assert "".join(reversed(texts)) == branch.text
        parents = {node.parent for node in found.nodes}
        for index, node in enumerate(found.nodes):
            assert (node.fate is Fate.KEPT) == (index in parents)
        ended = [node.fate for node in found.nodes if node.fate in (Fate.FINISHED, Fate.UNFINISHED)]
        assert len(ended) == 8
        assert all(node.score is not None for node in found.nodes if node.fate in (Fate.PRUNED, Fate.FINISHED))
        assert nodes_from_row(nodes_to_row(found.nodes)) == found.nodes


@pytest.mark.parametrize("plan", PLANS)
def test_pruned_tokens_are_those_of_no_solution(world: SimpleNamespace, plan: TreePlan) -> None:
    for found in search(plan, world.Generator(world.careless), world.Verifier(world.truth), world.problems(4)):
        used = set()
        for branch in found.finished:
            at = branch.node
            while at != ROOT:
                used.add(at)
                at = found.nodes[at].parent
        wasted = sum(node.tokens for index, node in enumerate(found.nodes) if index not in used)
        assert found.cost.pruned_tokens == wasted > 0


class WatchedCarrier(Uncarried):
    """Refuses to continue what it was told to forget."""

    keeps_state = True
    peak_cache_bytes = 700

    def __init__(self, generator: Any):
        super().__init__(generator)
        self.kept: set[tuple[int, ...]] | None = None

    def generate(self, requests: Any, *given: Any) -> Any:
        answers = super().generate(requests, *given)
        if self.kept is not None:
            for request in requests:
                known = any(ids[: len(request.prompt_ids)] == request.prompt_ids for ids in self.kept)
                assert known or (chr(request.prompt_ids[-1]) == "\n" and request.prompt_ids in self.made)
        self.made = {r.prompt_ids + a.token_ids for r, a in zip(requests, answers, strict=True)}
        return answers

    def retain(self, prompts: Iterable[Sequence[int]]) -> None:
        self.kept = {tuple(prompt) for prompt in prompts}


class WatchedSession(Rescoring):
    peak_cache_bytes = 34

    def __init__(self, verifier: Any):
        super().__init__(verifier)
        self.kept: list[set[Any]] = []

    def retain(self, items: Any) -> None:
        self.kept.append(set(items))


@pytest.mark.parametrize("plan", PLANS)
def test_only_what_may_be_continued_is_kept(world: SimpleNamespace, plan: TreePlan) -> None:
    generator, verifier = world.Generator(world.careless), world.Verifier(world.truth)
    carriers, sessions = [], []
    generator.carry = lambda: carriers.append(WatchedCarrier(generator)) or carriers[-1]
    verifier.session = lambda: sessions.append(WatchedSession(verifier)) or sessions[-1]
    found = search(plan, generator, verifier, world.problems(3))
    (session,) = sessions
    assert session.kept[-1] == set()  # nothing is left at the end
    assert carriers[0].kept == set()
    held = {len(steps) for items in session.kept for _, steps in items}
    assert held == set(range(1, max(held) + 1))
    assert {one.cost.cache_bytes for one in found} == {734}
