"""The arithmetic world: left-to-right chains of integer operations whose every step can be recomputed.

A problem reads `7+5-3*2`, evaluated strictly from left to right; every intermediate result lies in 0..99. A solution
is one step per operation and a final answer line:

    7+5=12
    12-3=9
    9*2=18
    A: 18

This module knows problems, solutions, plausible mistakes and the truth about any step. It knows no model: the shipped
checkpoints are found by `prm.worlds.models`, and `prm.worlds.pretrain` trains them.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from prm.errors import ConfigError, DataError
from prm.problems import Problem

LIMIT = 99  # the largest value that may appear
MAX_OPERATIONS = 40
ANSWER_PREFIX = "A: "

_CHAIN = re.compile(r"\d+([+\-*]\d+)+")
_TERM = re.compile(r"([+\-*])(\d+)")
_STEP = re.compile(r"(\d+)([+\-*])(\d+)=(\d+)")


@dataclass(frozen=True)
class Chain:
    """A start value and the operations applied to it, in order: `Chain(7, (("+", 5), ("-", 3)))`."""

    start: int
    operations: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        return str(self.start) + "".join(f"{op}{operand}" for op, operand in self.operations)

    def values(self) -> list[int]:
        """The running values, the start first: one more than there are operations."""
        values = [self.start]
        for op, operand in self.operations:
            values.append(apply(values[-1], op, operand))
        return values

    def solution(self) -> list[str]:
        """The correct steps, the answer line last."""
        values = self.values()
        steps = [f"{a}{op}{b}={c}" for a, (op, b), c in zip(values, self.operations, values[1:], strict=False)]
        return [*steps, f"{ANSWER_PREFIX}{values[-1]}"]


def apply(value: int, op: str, operand: int) -> int:
    """One operation; `op` is one of `+`, `-`, `*`."""
    return value + operand if op == "+" else value - operand if op == "-" else value * operand


def parse_chain(problem: str) -> Chain:
    """Inverse of `Chain.text`.

    Raises:
        DataError: not a chain of this world.
    """
    if not _CHAIN.fullmatch(problem):
        raise DataError(f"{problem[:60]!r} is not an arithmetic chain", remedy="Chains read like 7+5-3*2")
    start = re.match(r"\d+", problem)
    assert start is not None
    operations = tuple((op, int(operand)) for op, operand in _TERM.findall(problem[start.end() :]))
    return Chain(int(start[0]), operations)


def sample_operation(value: int, rng: random.Random) -> tuple[str, int]:
    """Draw an operation that keeps the running value within 0..LIMIT. Where more than one kind is possible, each is
    as likely as the others."""
    kinds = [
        op for op, possible in (("+", value < LIMIT), ("-", value > 0), ("*", 1 <= value <= LIMIT // 2)) if possible
    ]
    op = rng.choice(kinds)
    if op == "+":
        return op, rng.randint(1, LIMIT - value)
    if op == "-":
        return op, rng.randint(1, value)
    return op, rng.randint(2, min(9, LIMIT // value))


def sample_chain(operations: int, rng: random.Random) -> Chain:
    """Draw a chain with the given number of operations."""
    start = value = rng.randint(1, LIMIT)
    drawn = []
    for _ in range(operations):
        op, operand = sample_operation(value, rng)
        value = apply(value, op, operand)
        drawn.append((op, operand))
    return Chain(start, tuple(drawn))


def make_problems(
    count: int, *, seed: int, split: str, min_operations: int = 3, max_operations: int = 6
) -> list[Problem]:
    """Draw `count` distinct problems; `level` is the number of operations.

    The splits never meet, whatever the seeds: a hash of the problem's text sends one half of all chains to `train`
    and the other to `test`.

    Raises:
        ConfigError: an unknown split or an impossible range of lengths.
    """
    if split not in {"train", "test"}:
        raise ConfigError(f"split must be train or test, not {split!r}")
    if not 1 <= min_operations <= max_operations <= MAX_OPERATIONS:
        raise ConfigError(
            f"min_operations={min_operations} and max_operations={max_operations} must satisfy "
            f"1 <= min <= max <= {MAX_OPERATIONS}"
        )
    rng = random.Random(f"{seed}/{split}")
    problems: dict[str, Problem] = {}
    attempts = 0
    while len(problems) < count:
        attempts += 1
        if attempts > 100 * count + 10_000:
            raise ConfigError(f"the world has too few chains of {max_operations} operations for {count} problems")
        operations = rng.randint(min_operations, max_operations)
        chain = sample_chain(operations, rng)
        if split_of(chain.text) == split and chain.text not in problems:
            problems[chain.text] = Problem(
                problem=chain.text,
                answer=str(chain.values()[-1]),
                unique_id=f"arithmetic/{chain.text}",
                level=str(operations),
                subject="arithmetic",
            )
    return list(problems.values())


def split_of(problem: str) -> str:
    """Which split a chain belongs to, decided by its text alone."""
    return "test" if hashlib.sha256(problem.encode()).digest()[0] % 2 else "train"


def step_truth(problem: str, steps: Sequence[str]) -> list[bool]:
    """Whether each prefix is right: true while every step so far is exactly the step that the problem asks for."""
    expected = parse_chain(problem).solution()
    truth, right = [], True
    for index, step in enumerate(steps):
        right = right and index < len(expected) and step.strip() == expected[index]
        truth.append(right)
    return truth


def first_error(problem: str, steps: Sequence[str]) -> int:
    """Index of the first wrong step, or -1 (ProcessBench's `label`)."""
    truth = step_truth(problem, steps)
    return truth.index(False) if False in truth else -1


def corrupt(chain: Chain, rng: random.Random) -> list[str]:
    """A solution with one mistake, carried on consistently from there: what a careless solver would write.

    The mistake is a wrong result (near miss, a slip in one digit, another operation's result), a wrongly copied
    operand, operation or intermediate value, a skipped operation, or a wrong answer line.
    """
    solution = chain.solution()
    where = rng.randrange(len(solution))
    if where == len(solution) - 1:
        return [*solution[:-1], f"{ANSWER_PREFIX}{_near(chain.values()[-1], rng)}"]
    values = chain.values()
    operations = list(chain.operations)
    value, (op, operand) = values[where], operations[where]
    kind = rng.random()
    if kind < 0.70:
        wrong, rest = f"{value}{op}{operand}={(result := _wrong_result(value, op, operand, rng))}", where + 1
    elif kind < 0.95 or where + 1 >= len(operations):
        value, op, operand = _miscopied(value, op, operand, rng)
        wrong, rest = f"{value}{op}{operand}={(result := apply(value, op, operand))}", where + 1
    else:
        op, operand = operations[where + 1]
        wrong, rest = f"{value}{op}{operand}={(result := apply(value, op, operand))}", where + 2
    return [*solution[:where], wrong, *_carry_on(result, operations[rest:])]


def _carry_on(value: int, operations: Sequence[tuple[str, int]]) -> list[str]:
    steps = []
    for op, operand in operations:
        result = apply(value, op, operand)
        steps.append(f"{value}{op}{operand}={result}")
        value = result
    return [*steps, f"{ANSWER_PREFIX}{value}"]


def _near(value: int, rng: random.Random) -> int:
    while True:
        near = value + rng.choice((-10, -2, -1, 1, 2, 10, -20, 20, rng.randint(-LIMIT, LIMIT)))
        if near != value and 0 <= near <= LIMIT:
            return near


def _wrong_result(value: int, op: str, operand: int, rng: random.Random) -> int:
    right = apply(value, op, operand)
    if rng.random() < 0.15:
        other = apply(value, rng.choice("+-*"), operand)
        if other != right and 0 <= other <= LIMIT:
            return other
    return _near(right, rng)


def _miscopied(value: int, op: str, operand: int, rng: random.Random) -> tuple[int, str, int]:
    """Change one of the three parts so that the step still makes sense on its own (value and result in 0..LIMIT)."""
    while True:
        part = rng.randrange(3)
        if part == 0:
            changed = (_near(value, rng), op, operand)
        elif part == 1:
            changed = (value, rng.choice("+-*"), operand)
        else:
            changed = (value, op, max(1, _near(operand, rng)))
        if changed != (value, op, operand) and 0 <= apply(*changed) <= LIMIT:
            return changed
