"""Beam search and DVTS: the shape of the search, and the mistakes that others made (REFERENCE.md, section 7)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from prm.eval.search.base import TreePlan
from prm.eval.search.frontier import Frontier
from prm.eval.search.tree import TreeSearch

from prm.generation.base import SamplingParams
from prm.rollouts import StopReason


def beam(n: int, beam_width: int = 4, iterations: int = 40) -> TreePlan:
    return TreePlan("beam_search", (n,), beam_width, iterations)


def dvts(n: int, beam_width: int = 4, iterations: int = 40) -> TreePlan:
    return TreePlan("dvts", (beam_width,) * (n // beam_width), beam_width, iterations)


def search(plan: TreePlan, generator: Any, verifier: Any, problems: Sequence[Any], **options: Any) -> list[TreeSearch]:
    sampling = SamplingParams(max_new_tokens=options.pop("max_new_tokens", 200), stop=options.pop("stop", ()))
    frontier = Frontier(
        plan, generator, verifier, sampling=sampling, aggregation=options.pop("aggregation", "last"), **options
    )
    return frontier.run(problems)


@pytest.mark.parametrize("plan", [beam(16), beam(8, 2), dvts(16), dvts(8, 2), beam(6, 3)])
def test_a_search_of_width_n_ends_with_exactly_n_solutions(world: SimpleNamespace, plan: TreePlan) -> None:
    found = search(plan, world.Generator(world.careless), world.Verifier(world.truth), world.problems(5))
    assert [len(one.finished) + len(one.unfinished) for one in found] == [sum(plan.widths)] * 5


def test_a_perfect_verifier_leads_the_beam_to_the_right_answer(world: SimpleNamespace) -> None:
    problems = world.problems(30)
    found = search(beam(16), world.Generator(world.careless), world.Verifier(world.truth), problems)
    best = [max(one.finished, key=lambda branch: branch.score) for one in found]
    right = sum(b.text.endswith(f"A: {p.answer}") for b, p in zip(best, problems, strict=True))
    assert right == 30  # a sample is right with .75**3 = .42, so chance would give about 13


def test_the_beam_keeps_the_best_of_all_and_dvts_the_best_of_each_tree(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "A: 1" if text else f"{rng.randrange(1000)}\nA: 1"

    def first_number(problem: str, steps: Sequence[str]) -> list[float]:
        return [int(steps[0]) / 1000] * len(steps)

    firsts = {}
    for plan in (beam(16), dvts(16)):
        generator, verifier = world.Generator(solve), world.Verifier(first_number)
        (found,) = search(plan, generator, verifier, [world.problem()])
        firsts[plan.strategy] = {branch.text.split("\n")[0] for branch in found.finished}
        drawn = [steps[0] for _, steps in verifier.read if len(steps) == 1]
    assert len(drawn) == 16
    assert firsts["beam_search"] == set(sorted(drawn, key=int)[-4:])
    assert firsts["dvts"] == {max(drawn[at : at + 4], key=int) for at in (0, 4, 8, 12)}


def test_a_finished_beam_is_neither_cloned_nor_extended(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        number = rng.randrange(10**6)
        return f"{number}\nA: {number}" if rng.random() < 0.5 else f"A: {number}"

    (found,) = search(beam(16), world.Generator(solve), world.Verifier(lambda p, s: [0.5] * len(s)), [world.problem()])
    assert len(found.finished) == 16
    assert len({branch.text for branch in found.finished}) == 16
    assert any("\n" not in branch.text for branch in found.finished)  # some did finish early


@pytest.mark.parametrize("plan", [beam(16), dvts(16)])
def test_no_sample_is_drawn_twice(world: SimpleNamespace, plan: TreePlan) -> None:
    # Equal prefixes occur in several trees at once, for the first steps are mostly right.
    generator = world.Generator(world.careless)
    search(plan, generator, world.Verifier(world.truth), world.problems(10))
    drawn = [(request.prompt_ids, request.seed) for request in generator.requests]
    assert len(set(drawn)) == len(drawn)


def test_equal_branches_are_scored_once_and_keep_a_place_each(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "A: 1" if text.count("\n") == 3 else rng.choice("aaabcd") + "\nA: 1"

    generator, verifier = world.Generator(solve), world.Verifier(lambda p, s: [float(step == "a") for step in s])
    (found,) = search(beam(16, 4), generator, verifier, [world.problem()])
    assert len(set(verifier.read)) == len(verifier.read)
    assert found.cost.verifier_tokens == sum(len(steps) for _, steps in verifier.read)
    # Half of the first 16 steps are the best one: it takes all four kept places, and the whole room behind them.
    second = [steps for _, steps in verifier.read if len(steps) == 2]
    assert {steps[0] for steps in second} == {"a"}
    assert {branch.text for branch in found.finished} == {"a\na\na\nA: 1"}


def test_nothing_is_scored_where_there_is_nothing_to_choose(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "A: 1" if text.count("\n") == 5 else "same\nA: 1"

    verifier = world.Verifier(lambda p, s: [0.5] * len(s))
    search(beam(16), world.Generator(solve), verifier, [world.problem()])
    assert verifier.read == [("p", ("same",) * 5 + ("A: 1",))]


def test_tokens_are_carried(world: SimpleNamespace) -> None:
    generator = world.Generator(world.careless)
    problems = world.problems(3)
    search(beam(8), generator, world.Verifier(world.truth), problems)
    prompts = [tuple(generator.prompt_ids(problem.problem)) for problem in problems]
    continued = [r.prompt_ids for r in generator.requests if r.prompt_ids not in prompts]
    assert continued
    for ids in continued:
        assert any(ids[: len(prompt)] == prompt for prompt in prompts)
        assert ids[-1] == ord("\n")


def test_all_problems_share_one_generator_call_and_one_verifier_call_per_step(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "A: 1" if text.count("\n") == 3 else f"{rng.randrange(1000)}\nA: 1"

    generator, verifier = world.Generator(solve), world.Verifier(lambda p, s: [0.5] * len(s))
    search(beam(8), generator, verifier, [world.problem(f"p{i}") for i in range(20)])
    assert generator.calls == 4
    assert verifier.calls == 4


@pytest.mark.parametrize("plan", [beam(8), dvts(8)])
def test_a_problem_is_searched_alike_alone_and_in_company(world: SimpleNamespace, plan: TreePlan) -> None:
    problems = world.problems(6)
    together = search(plan, world.Generator(world.careless), world.Verifier(world.truth), problems)
    for problem, among in zip(problems, together, strict=True):
        (alone,) = search(plan, world.Generator(world.careless), world.Verifier(world.truth), [problem])
        assert alone == among


def test_a_truncated_branch_is_not_finished_and_not_continued(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "x" * 50 + "\nA: 1" if rng.random() < 0.5 else rng.choice(("A: 1", "s\nA: 1"))

    (found,) = search(
        beam(16),
        world.Generator(solve),
        world.Verifier(lambda p, s: [0.5] * len(s)),
        [world.problem()],
        max_new_tokens=20,
    )
    assert {branch.stop_reason for branch in found.unfinished} == {StopReason.LENGTH}
    assert {branch.text[-4:] for branch in found.finished} == {"A: 1"}
    assert not any("x" in branch.text for branch in found.finished)
    assert len(found.finished) + len(found.unfinished) == 16


def test_the_token_limit_is_that_of_the_whole_solution(world: SimpleNamespace) -> None:
    def endless(problem: str, text: str, rng: random.Random) -> str:
        return f"{rng.randrange(10)}\n" * 100

    (found,) = search(
        beam(8),
        world.Generator(endless),
        world.Verifier(lambda p, s: [0.5] * len(s)),
        [world.problem()],
        max_new_tokens=9,
    )
    assert not found.finished
    assert len(found.unfinished) == 8
    assert all(branch.n_generated <= 10 for branch in found.unfinished)


def test_the_last_iteration_runs_to_the_end(world: SimpleNamespace) -> None:
    generator = world.Generator(world.careless)
    found = search(beam(8, iterations=2), generator, world.Verifier(world.truth), world.problems(4))
    assert generator.calls == 2
    assert all(len(one.finished) == 8 for one in found)


def test_a_trailing_separator_makes_no_phantom_step(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "\n" if text.endswith("A: 1\n") else f"{rng.random()}\n" if not text else "A: 1\n"

    verifier = world.Verifier(lambda p, s: [0.5] * len(s))
    (found,) = search(beam(4, 2), world.Generator(solve), verifier, [world.problem()], max_new_tokens=60)
    assert all(step.strip() for _, steps in verifier.read for step in steps)
    assert all(len(branch.step_scores) == 2 for branch in found.finished)


def test_the_aggregation_decides_what_is_kept_and_is_the_one_that_votes(world: SimpleNamespace) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        options = {"": "aaaab", "a\n": "c", "b\n": "d"}.get(text)
        return rng.choice(options) + "\nx" if options else f"A: {text[0]}"

    # Of the four branches kept first, some have a bad start and some a good one; the last step says the opposite.
    marks = {"a": 0.1, "b": 0.5, "c": 0.9, "d": 0.4, "A: a": 0.7, "A: b": 0.7}
    verifier = world.Verifier(lambda p, s: [marks[step] for step in s])
    scores = {}
    for how in ("last", "min", "mean"):
        (found,) = search(beam(16), world.Generator(solve), verifier, [world.problem()], aggregation=how)
        scores[how] = {branch.text: round(branch.score, 3) for branch in found.finished}
    assert scores["last"] == {"a\nc\nA: a": 0.7}
    assert scores["min"] == {"b\nd\nA: b": 0.4}
    assert scores["mean"] == {"a\nc\nA: a": 0.567}


def test_the_bill_holds_pruned_branches_too(world: SimpleNamespace) -> None:
    generator, verifier = world.Generator(world.careless), world.Verifier(world.truth)
    (found,) = search(beam(16), generator, verifier, world.problems(1))
    assert found.cost.prefilled_tokens == sum(len(request.prompt_ids) for request in generator.requests)
    assert found.cost.generated_tokens == generator.generated
    assert found.cost.verifier_tokens == sum(len(steps) for _, steps in verifier.read)


@pytest.mark.parametrize("stop", ["A:", "\n\nA:"])
def test_a_stop_text_ends_a_solution_also_where_it_holds_a_separator(world: SimpleNamespace, stop: str) -> None:
    def solve(problem: str, text: str, rng: random.Random) -> str:
        return "2+3=5\n\nA: 5\nA: 6"[len(text) :]

    verifier = world.Verifier(lambda p, steps: [0.5] * len(steps))
    (found,) = search(beam(8), world.Generator(solve), verifier, [world.problem()], stop=(stop,))
    assert len(found.finished) == 8
    assert {branch.text.split("A:")[0] for branch in found.finished} == {"2+3=5\n\n"}
    assert {branch.text.count("A:") for branch in found.finished} == {1}
    assert not {branch.text for branch in found.finished if branch.text.endswith("6")}
