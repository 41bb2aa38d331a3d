"""The world's truth: every check here recomputes what the module claims."""

from __future__ import annotations

import random

import pytest

from prm.errors import ConfigError, DataError
from prm.worlds.arithmetic import (
    LETTERS,
    LIMIT,
    careless_solution,
    first_error,
    make_problems,
    parse_chain,
    sample_chain,
    split_of,
    step_truth,
)


def test_a_chain_is_evaluated_from_left_to_right() -> None:
    assert parse_chain("7a+5b-3c*2").solution() == ["a7+5=12", "b12-3=9", "c9*2=18", "A: 18"]


def test_parsing_inverts_the_text() -> None:
    rng = random.Random(0)
    for operations in (1, 3, 12):
        chain = sample_chain(operations, rng)
        assert parse_chain(chain.text) == chain


@pytest.mark.parametrize("text", ["", "7", "7+", "+7", "7/2", "a7+5=12", "a+b", "7 + 5"])
def test_what_is_not_a_chain_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not an arithmetic chain"):
        parse_chain(text)


def test_every_value_of_a_sampled_chain_stays_in_range() -> None:
    rng = random.Random(1)
    for _ in range(300):
        assert all(0 <= value <= LIMIT for value in sample_chain(8, rng).values())


def test_problems_are_seeded_distinct_and_levelled() -> None:
    problems = make_problems(200, seed=3, split="test", min_operations=3, max_operations=6)
    assert problems == make_problems(200, seed=3, split="test", min_operations=3, max_operations=6)
    assert problems != make_problems(200, seed=4, split="test", min_operations=3, max_operations=6)
    assert len({p.unique_id for p in problems}) == 200
    assert all(int(p.level) == len(parse_chain(p.problem).operations) for p in problems)
    assert {p.level for p in problems} == {"3", "4", "5", "6"}
    assert all(p.answer == str(eval_left_to_right(p.problem)) for p in problems)


def eval_left_to_right(problem: str) -> int:
    """An evaluator of its own: peel the last operation off and recurse."""
    at = max(problem.rfind(op) for op in "+-*")
    if at < 0:
        return int(problem)
    left, right = eval_left_to_right(problem[:at].rstrip(LETTERS)), int(problem[at + 1 :])
    return {"+": left + right, "-": left - right, "*": left * right}[problem[at]]


def test_train_and_test_never_meet_under_any_seed() -> None:
    train = {p.problem for seed in range(3) for p in make_problems(300, seed=seed, split="train")}
    test = {p.problem for seed in range(3) for p in make_problems(300, seed=seed, split="test")}
    assert not train & test
    assert {split_of(text) for text in test} == {"test"}


def test_truth_is_cumulative_and_exact() -> None:
    assert step_truth("7a+5b-3", ["a7+5=12", "b12-3=9", "A: 9"]) == [True, True, True]
    assert step_truth("7a+5b-3", ["a7+5=13", "b13-3=10", "A: 10"]) == [False, False, False]
    assert step_truth("7a+5b-3", ["a7+5=12", "b12-3=8", "A: 9"]) == [True, False, False]
    assert step_truth("7a+5b-3", ["a7+5=12", "b12-3=9", "A: 9", "A: 9"])[-1] is False
    assert first_error("7a+5b-3", ["a7+5=12", "b12-3=9", "A: 9"]) == -1
    assert first_error("7a+5b-3", ["a7+5=12", "b12-3=8", "A: 9"]) == 1


def test_a_careless_solution_is_marked_step_by_step() -> None:
    rng = random.Random(5)
    wrong = kinds = 0
    for _ in range(400):
        problem, steps = careless_solution(4, 0.4, rng)
        chain = parse_chain(problem)
        assert len(steps) == len(chain.operations) + 1
        assert [step.right for step in steps] == [step.written == step.expected for step in steps]
        value = chain.start
        for letter, (op, operand), step in zip(LETTERS, chain.operations, steps[:-1], strict=False):
            left, result = step.written.split("=")
            asked = f"{letter}{value}{op}{operand}"
            assert step.right == (left == asked and int(result) == eval_left_to_right(left[1:]))
            assert 0 <= int(result) <= LIMIT
            kinds += left != asked
            value = int(result)
        assert steps[-1].right == (steps[-1].written == f"A: {value}")
        wrong += sum(not step.right for step in steps)
    assert 0.35 < wrong / 2000 < 0.45
    assert kinds > 50  # miscopied operations, not wrong results alone


def test_a_faultless_solution_is_the_solution() -> None:
    rng = random.Random(6)
    for _ in range(50):
        problem, steps = careless_solution(5, 0.0, rng)
        assert [step.written for step in steps] == parse_chain(problem).solution()


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 <= min <= max"):
        make_problems(3, seed=0, split="train", min_operations=5, max_operations=4)
    with pytest.raises(ConfigError, match="train or test"):
        make_problems(3, seed=0, split="dev")
    with pytest.raises(ConfigError, match="too few chains"):
        make_problems(100_000, seed=0, split="train", min_operations=1, max_operations=1)
