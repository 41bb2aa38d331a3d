from __future__ import annotations

import random

import pytest

from prm.errors import DataError
from prm.grading import ExactGrader, Grader, MathGrader
from prm.grading.answers import MAX_ANSWER_CHARS
from prm.rollouts import Outcome


@pytest.mark.parametrize(
    ("answer", "reference", "outcome"),
    [
        (r"\frac{x^2-1}{x-1}", "x+1", Outcome.CORRECT),
        ("2√3", r"\sqrt{12}", Outcome.CORRECT),
        ("x**10", "x^{10}", Outcome.CORRECT),
        ("x = 5", "5", Outcome.CORRECT),
        ("(1, 2)", r"\left( 1,\, 2 \right)", Outcome.CORRECT),
        ("3, 5, 7", "7,5,3", Outcome.CORRECT),
        ("10%", "0.1", Outcome.CORRECT),
        ("0.3333333", r"\frac{1}{3}", Outcome.CORRECT),
        (r"15\mbox{ cm}^2", "15", Outcome.CORRECT),
        ("-1.8 billion", "-1.8", Outcome.WRONG),
        ("x+1", "x-1", Outcome.WRONG),
        ("10+John's age", "10", Outcome.WRONG),
        (r"\frac{", "1", Outcome.UNPARSABLE),
        ("", "1", Outcome.UNPARSABLE),
        (None, "1", Outcome.UNPARSABLE),
        ("[[[", "[[[", Outcome.CORRECT),
        ("1/0", "1/0", Outcome.CORRECT),
        ("\udc80", "1", Outcome.UNPARSABLE),
        ("1" * (MAX_ANSWER_CHARS + 1), "1", Outcome.UNPARSABLE),
        ("1" * (MAX_ANSWER_CHARS + 1), "1" * (MAX_ANSWER_CHARS + 1), Outcome.CORRECT),
    ],
)
def test_verdicts(
    grader: MathGrader, slow_path_grader: MathGrader, answer: str | None, reference: str, outcome: Outcome
) -> None:
    assert grader.grade(answer, reference) is outcome
    assert slow_path_grader.grade(answer, reference) is outcome


def _plain_answer(rng: random.Random) -> str:
    sign, n = rng.choice(["", "", "-", "+"]), rng.choice([0, 1, 2, 3, 10, 1000, 12345])
    return rng.choice(
        [
            f"{sign}{n}",
            f"{sign}{n:,}",
            f"{sign}{n}.{rng.choice(['0', '5', '50', '333333', '3333333', '000001', '0000001'])}",
            f"{sign}{rng.randrange(12)}/{rng.randrange(1, 5)}",
            rf"{sign}\frac{{{rng.randrange(12)}}}{{{rng.randrange(1, 5)}}}",
            rf"\${n}",
            f"{n}%",
            rng.choice(["1e3", "2 1/2", r"1\frac{1}{2}", "1.5E2", "3.", ".5", "18 dollars", "18"]),
        ]
    )


def test_the_fast_path_never_changes_a_verdict(grader: MathGrader, slow_path_grader: MathGrader) -> None:
    rng = random.Random(0)
    pairs = [(_plain_answer(rng), _plain_answer(rng)) for _ in range(250)]
    fast, slow = grader.grade_many(pairs), slow_path_grader.grade_many(pairs)
    assert fast == slow
    assert {Outcome.CORRECT, Outcome.WRONG} <= set(fast)


def test_a_batch_keeps_its_order_and_its_repetitions(grader: MathGrader) -> None:
    pairs = [(f"x+{i}", f"{i % 3}+x") for i in range(12)] * 2
    expected = [Outcome.CORRECT if i < 3 else Outcome.WRONG for i in range(12)] * 2
    assert grader.grade_many(pairs) == expected
    assert grader.grade_many([]) == []


def test_an_empty_reference_is_refused_before_anything_is_graded() -> None:
    for grader in (ExactGrader(), MathGrader()):
        with pytest.raises(DataError, match="pair 1 is empty"):
            _graded(grader, [("1", "1"), ("1", " ")])


def _graded(grader: Grader, pairs: list[tuple[str | None, str]]) -> list[Outcome]:
    return grader.grade_many(pairs)


def test_the_version_names_the_rules_and_the_libraries() -> None:
    from importlib.metadata import version

    assert version("math-verify") in MathGrader().version and version("sympy") in MathGrader().version
    assert MathGrader().version != MathGrader(fast_path=False).version != ExactGrader().version


def test_the_exact_grader_compares_spellings() -> None:
    pairs = [(r"\text{(C)}", "(C)"), ("B", "C"), (None, "C"), ("x+1", "1+x")]
    expected = [Outcome.CORRECT, Outcome.WRONG, Outcome.UNPARSABLE, Outcome.WRONG]
    assert ExactGrader().grade_many(pairs) == expected


def test_plain_answers_start_no_process() -> None:
    with MathGrader() as grader:
        assert grader.grade_many([("18", "18.0"), ("east", "west"), (None, "1")])[0] is Outcome.CORRECT
        assert grader.pool.pids() == []
