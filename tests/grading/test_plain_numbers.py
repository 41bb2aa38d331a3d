from __future__ import annotations

from fractions import Fraction

import pytest

from prm.grading.plain_numbers import MAX_NUMBER_CHARS, parse_number, same_number, same_vote


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", Fraction(18)),
        ("-007", Fraction(-7)),
        ("+5", Fraction(5)),
        ("2,000,000", Fraction(2_000_000)),
        ("-1,234.50", Fraction(-2469, 2)),
        (".5", Fraction(1, 2)),
        ("3.", Fraction(3)),
        ("7/14", Fraction(1, 2)),
        ("-3 / 4", Fraction(-3, 4)),
        (r"\frac{-0}{3}", None),
        (r"-\frac{14}{3}", Fraction(-14, 3)),
        (r"\frac43", Fraction(4, 3)),
        (r"\frac 59", Fraction(5, 9)),
        (r"\frac9{19}", Fraction(9, 19)),
        ("2 1/2", Fraction(5, 2)),
        (r"137 \frac{1}{2}", Fraction(275, 2)),
        ("1.5e3", Fraction(1500)),
        ("2E-2", Fraction(1, 50)),
        ("10%", Fraction(1, 10)),
        ("12.5 %", Fraction(1, 8)),
    ],
)
def test_a_plain_number_is_read_exactly(text: str, value: Fraction | None) -> None:
    number = parse_number(text)
    assert (number and number.value) == value


@pytest.mark.parametrize(
    "text",
    ["", "-", "1,00", "0,5", "1,2345", "1.2.3", "1/0", "1/2/3", "x", "5x", "1e999", "٣", "5 6", "1/2%", "9**9"],
)
def test_what_is_not_surely_a_number_is_not_read(text: str) -> None:
    assert parse_number(text) is None


def test_an_overlong_number_is_left_alone() -> None:
    assert parse_number("3" * MAX_NUMBER_CHARS) is not None
    assert parse_number("3" * (MAX_NUMBER_CHARS + 1)) is None


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("18", "18.00", True),
        ("1/2", "0.5", True),
        ("100000000000000000001", "100000000000000000002", False),
        ("1/3", "333333/1000000", False),  # two fractions are never rounded
        ("0.33", "1/3", False),
        ("0.3333333", "1/3", None),  # equal to six decimals: Math-Verify's to decide
        ("10%", "10.0%", True),
        ("10%", "20%", False),
        ("10%", "10", None),
        ("10%", "0.1", None),
    ],
)
def test_numbers_are_compared_only_where_that_is_certain(a: str, b: str, same: bool | None) -> None:
    x, y = parse_number(a), parse_number(b)
    assert x is not None and y is not None
    assert same_number(x, y) is same is same_number(y, x)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("0.3333333", "1/3", True),
        ("0.333333", "0.33333349", True),
        ("3.0000001", "3", False),
        ("201.89999999999998", "201.9", True),
        ("10%", "10", True),
        ("10%", "0.1", True),
        ("10%", "1", False),
    ],
)
def test_votes_for_numbers_are_always_decided(a: str, b: str, same: bool) -> None:
    x, y = parse_number(a), parse_number(b)
    assert x is not None and y is not None
    assert same_vote(x, y) is same is same_vote(y, x)
