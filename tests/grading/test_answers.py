from __future__ import annotations

import pytest

from prm.grading import extract_answer, normalise_answer, quick_outcome
from prm.grading.answers import MAX_ANSWER_CHARS, drop_unit, is_words
from prm.rollouts import Outcome


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"so \boxed{2}, wait: \boxed{3}.", "3"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\left\{1, 2\right\}}", r"\left\{1, 2\right\}"),
        (r"$\boxed {x}$ and then \boxed{3", "x"),
        (r"\fbox{7}", "7"),
        (r"\boxed{4} and an empty \boxed{}", "4"),
        (r"\boxed{\boxed{9}}", "9"),
        ("48/2 = 24\n#### 72", "72"),
        ("#### 72\n\nQuestion: what now?", "72"),
        ("#### Solution\nWe add.\nThe answer is 5.", "5"),
        ("2+3=5\nA: 5", "5"),
        ("A: 4\nno, it is more\nA: 5\n\n", "5"),
        ("Answer: 1,000", "1,000"),
        ("**Answer:** 12", "12"),
        ("**Final Answer**: $12$", "$12$"),
        ("Therefore, the final answer is: $-3.5$.", "$-3.5$"),
        ("The answer is **18 dollars**.", "18 dollars"),
        (r"The answer is \boxed{6}. #### 7", "6"),
    ],
)
def test_the_stated_answer_is_found(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "text",
    [
        "",
        "We add 2 and 3.",
        "A: 5\nand so on",
        "A:",
        "The answer isn't 5",
        r"\boxed{3",
        r"\boxed 3",
        "#### Solution\nWe add.",
        "NASA: 5",
    ],
)
def test_no_answer_is_found_where_none_is_stated(text: str) -> None:
    assert extract_answer(text) is None


def test_extraction_is_linear_in_hostile_texts() -> None:
    """Quadratic code would take hours on these, not seconds."""
    million = 10**6
    assert extract_answer(r"\boxed{" * million) is None
    assert extract_answer("{" * million + "}" * million) is None
    assert extract_answer(r"\boxed{" * 50_000 + "5" + "}" * 50_000) == "5"
    assert extract_answer("#### " * million) is None
    assert extract_answer("answer is " * million) is None


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        (" $18$ ", "18"),
        (r"\$32,\!348", "32,348"),
        (r"11,\! 111,\! 111,\! 100", "11,111,111,100"),
        ("-$5", "-5"),
        ("10{,}000", "10,000"),
        (r"\text{(C)}", "(C)"),
        (r"$\text{Evelyn}$.", "Evelyn"),
        (r"\(x+1\)", "x+1"),
        (r"\(1\) and \(2\)", r"\(1\) and \(2\)"),
        (r"\left( 3, \dfrac{\pi}{2} \right)", r"( 3, \frac{\pi}{2} )"),
        (r"x \leftarrow y", r"x \leftarrow y"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"10\%", "10%"),
        ("20 percent", "20%"),
        ("−4", "-4"),
        (r"\boxed{2} wait \boxed{3}", "3"),
        ("**7**", "7"),
        ("5.", "5"),
    ],
)
def test_an_answer_gets_one_spelling(answer: str, normal: str) -> None:
    assert normalise_answer(answer) == normal
    assert normalise_answer(normal) == normal


def test_an_overlong_text_is_not_touched() -> None:
    text = "$" + "x" * MAX_ANSWER_CHARS + "$"
    assert normalise_answer(text) == text


@pytest.mark.parametrize(
    ("answer", "reference", "outcome"),
    [
        ("18", "18", Outcome.CORRECT),
        ("3000", "3,000", Outcome.CORRECT),
        ("18 dollars per day", "18", Outcome.CORRECT),
        ("18", "18 dollars", Outcome.CORRECT),
        ("19 dollars", "18", Outcome.WRONG),
        ("18 million", "18", None),
        ("5 xy", "5", None),
        ("evelyn", "Evelyn", Outcome.CORRECT),
        ("east", "seat", Outcome.WRONG),  # Math-Verify multiplies the letters and calls them equal
        ("xy", "yx", None),
        ("x+1", "1+x", None),
        ("x+1", "x+1", Outcome.CORRECT),
        ("10%", "10", None),
        ("Evelyn", "5", None),
    ],
)
def test_the_fast_path_decides_only_what_is_certain(answer: str, reference: str, outcome: Outcome | None) -> None:
    assert quick_outcome(answer, reference) is outcome


def test_units_and_words() -> None:
    assert drop_unit("18 dollars", "x") == "18 dollars"  # the reference is no plain number
    assert drop_unit("3 and a half", "3") == "3 and a half"
    assert is_words("no solution") and is_words("Tom") and not is_words("lwh") and not is_words("2 dogs")
