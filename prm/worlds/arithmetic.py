"""The arithmetic world: left-to-right chains of integer operations whose every step can be recomputed.

A problem reads `7a+5b-3c*2`, evaluated strictly from left to right: start with 7, do the operations a, b and c in
turn. Every intermediate result lies in 0..99. A solution is one step per operation, which names it, and a final answer
line:

    a7+5=12
    b12-3=9
    c9*2=18
    A: 18

The letters make it easy to see which operation is next, so that what goes wrong is the arithmetic.

This module knows problems, solutions, plausible mistakes and the truth about any step. It knows no model: the shipped
checkpoints are found by `prm.worlds.models`, and `prm.worlds.pretrain` trains them.
"""

from __future__ import annotations

import hashlib
import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from prm.errors import ConfigError, DataError
from prm.problems import Problem

LIMIT = 99  # the largest value that may appear
LETTERS = string.ascii_lowercase + string.ascii_uppercase  # one names each operation
MAX_OPERATIONS = len(LETTERS)
ANSWER_PREFIX = "A: "

_SLIPS = (1, 1, 1, 10, 10, 10, 2, 20)  # how far off a result or a number mostly is

_TERM = re.compile(r"([a-zA-Z])([+\-*])(\d+)")
_CHAIN = re.compile(rf"(\d+)((?:{_TERM.pattern})+)")


@dataclass(frozen=True)
class Chain:
    """A start value and the operations applied to it, in order: `Chain(7, (("+", 5), ("-", 3)))`."""

    start: int
    operations: tuple[tuple[str, int], ...]

    @property
    def text(self) -> str:
        return f"{self.start}" + "".join(
            f"{letter}{op}{operand}" for letter, (op, operand) in zip(LETTERS, self.operations, strict=False)
        )

    def values(self) -> list[int]:
        """The running values, the start first: one more than there are operations."""
        values = [self.start]
        for op, operand in self.operations:
            values.append(apply(values[-1], op, operand))
        return values

    def solution(self) -> list[str]:
        """The correct steps, the answer line last."""
        values = self.values()
        steps = [
            f"{letter}{a}{op}{b}={c}"
            for letter, a, (op, b), c in zip(LETTERS, values, self.operations, values[1:], strict=False)
        ]
        return [*steps, f"{ANSWER_PREFIX}{values[-1]}"]


def apply(value: int, op: str, operand: int) -> int:
    """One operation; `op` is one of `+`, `-`, `*`."""
    return value + operand if op == "+" else value - operand if op == "-" else value * operand


def parse_chain(problem: str) -> Chain:
    """Inverse of `Chain.text`.

    Raises:
        DataError: not a chain of this world.
    """
    chain = _CHAIN.fullmatch(problem)
    terms = _TERM.findall(chain[2]) if chain else []
    if chain is None or [term[0] for term in terms] != list(LETTERS[: len(terms)]):
        raise DataError(f"{problem[:60]!r} is not an arithmetic chain", remedy="Chains read like 7a+5b-3c*2")
    return Chain(int(chain[1]), tuple((op, int(operand)) for _, op, operand in terms))


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
    misses = 0
    while len(problems) < count:
        misses += 1
        if misses > 5000:
            raise ConfigError(f"the world has too few chains of {max_operations} operations for {count} problems")
        operations = rng.randint(min_operations, max_operations)
        chain = sample_chain(operations, rng)
        if split_of(chain.text) == split and chain.text not in problems:
            misses = 0
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


@dataclass(frozen=True)
class CheckedStep:
    """A step as a careless solver writes it, and what should stand there: the asked operation on the value written
    before, and the right result of the operation that was written. `right` says whether nothing differs."""

    written: str
    expected: str
    right: bool


def careless_solution(
    operations: int, error_rate: float, rng: random.Random, *, miscopied: float = 0.25
) -> tuple[str, list[CheckedStep]]:
    """Draw a problem and a solution of it in which each step is wrong with probability `error_rate`.

    A share `miscopied` of the wrong steps has a wrongly copied value, operation or operand, the others a wrong result
    (a near miss, a slip in one digit, another operation's result). Mistakes are carried on consistently, and every
    written value stays in 0..LIMIT.
    """
    start = value = rng.randint(1, LIMIT)
    asked, steps = [], []
    for letter in LETTERS[:operations]:
        op, operand = sample_operation(value, rng)
        asked.append((op, operand))
        first, written_op, written_operand, right = value, op, operand, rng.random() >= error_rate
        result = apply(value, op, operand)
        if not right and rng.random() >= miscopied:
            result = _wrong_result(value, op, operand, rng)
        elif not right:
            first, written_op, written_operand = _miscopied(value, op, operand, asked[:-1], rng)
            result = apply(first, written_op, written_operand)
        expected = f"{letter}{value}{op}{operand}={apply(first, written_op, written_operand)}"
        steps.append(CheckedStep(f"{letter}{first}{written_op}{written_operand}={result}", expected, right))
        value = result
    right = rng.random() >= error_rate
    expected = f"{ANSWER_PREFIX}{value}"
    steps.append(CheckedStep(expected if right else f"{ANSWER_PREFIX}{_near(value, rng)}", expected, right))
    return Chain(start, tuple(asked)).text, steps


def careless_lines(count: int, error_rate: float, rng: random.Random) -> list[CheckedStep]:
    """Draw single steps that have nothing to do with each other, each with a wrong result with probability
    `error_rate`."""
    lines = []
    for _ in range(count):
        value = rng.randint(1, LIMIT)
        op, operand = sample_operation(value, rng)
        right = rng.random() >= error_rate
        result = apply(value, op, operand)
        written = result if right else _wrong_result(value, op, operand, rng)
        line = f"{rng.choice(LETTERS)}{value}{op}{operand}="
        lines.append(CheckedStep(f"{line}{written}", f"{line}{result}", right))
    return lines


def _near(value: int, rng: random.Random) -> int:
    """A slip: mostly one more or less in the ones or in the tens, sometimes anything."""
    while True:
        near = value + rng.choice((-1, 1)) * rng.choice((*_SLIPS, rng.randint(1, LIMIT)))
        if near != value and 0 <= near <= LIMIT:
            return near


def _wrong_result(value: int, op: str, operand: int, rng: random.Random) -> int:
    right, other = apply(value, op, operand), None
    if op == "*" and rng.random() < 0.3:  # a neighbour in the table
        other = rng.choice(
            ((value + 1) * operand, (value - 1) * operand, value * (operand + 1), value * (operand - 1))
        )
    elif rng.random() < 0.1:
        other = apply(value, rng.choice("+-*"), operand)
    return other if other is not None and other != right and 0 <= other <= LIMIT else _near(right, rng)


def _miscopied(
    value: int, op: str, operand: int, earlier: Sequence[tuple[str, int]], rng: random.Random
) -> tuple[int, str, int]:
    """Change the value, the operation or (most often) the operand, or take an earlier operation instead, so that the
    step still makes sense on its own."""
    while True:
        part = rng.random()
        if part < 0.2:
            changed = (_near(value, rng), op, operand)
        elif part < 0.35:
            changed = (value, rng.choice("+-*"), operand)
        elif part < 0.5 and earlier:
            changed = (value, *rng.choice(earlier))
        elif part < 0.6:
            changed = (value, op, operand // 10 if operand > 9 else 10 * operand + rng.randrange(10))
        else:
            changed = (value, op, _near(operand, rng))
        if changed != (value, op, operand) and changed[2] > 0 and 0 <= apply(*changed) <= LIMIT:
            return changed
