"""Plain numbers, read and compared exactly: integers, decimals, thousands commas, percentages, simple fractions.

Knows nothing of LaTeX beyond `\\frac` of two integers, and nothing of Math-Verify but the tolerance it compares
decimals with. Texts longer than `MAX_NUMBER_CHARS` are not read at all, so that nothing here is ever slow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

MAX_NUMBER_CHARS = 256
DECIMALS = 6
"""Decimals are equal when they agree to this many places: Math-Verify's `float_rounding`."""

_INTEGER = r"\d+"
_THOUSANDS = r"[1-9]\d{0,2}(?:,\d{3})+"
_DECIMAL = rf"(?:(?:{_THOUSANDS}|\d+)\.\d*|\.\d+)"
_SLASHED = r"\d+ ?/ ?\d+|\\frac ?(?:\{ ?\d+ ?\}|\d) ?(?:\{ ?\d+ ?\}|\d)"
_PATTERN = re.compile(
    rf"(?P<sign>[+-]?) ?(?:"
    rf"(?P<significand>{_DECIMAL}|{_INTEGER})[eE](?P<exponent>[+-]?\d{{1,2}})"
    rf"|(?:(?P<whole>\d+) (?=\d)|(?P<whole_tex>\d+) ?(?=\\))?(?P<fraction>{_SLASHED})"
    rf"|(?P<number>{_DECIMAL}|{_THOUSANDS}|{_INTEGER}) ?(?P<percent>%?)"
    rf")"
)


@dataclass(frozen=True)
class PlainNumber:
    """A number as it was written.

    Attributes:
        value: its exact value; 10% is 1/10.
        percent: whether it carries a percent sign.
        decimal: whether it was written with a decimal point, and so may be rounded.
        latex: a form that Math-Verify reads as the same number.
    """

    value: Fraction
    percent: bool
    decimal: bool
    latex: str


def parse_number(text: str) -> PlainNumber | None:
    """Read a plain number, or return `None`: for other texts, for a zero denominator, for an overlong text.

    `1,00` is not a plain number: it may be a list or a European decimal.
    """
    if len(text) > MAX_NUMBER_CHARS or not text.isascii():
        return None
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        return None
    sign = -1 if match["sign"] == "-" else 1
    if match["significand"]:
        return _scientific(match, sign)
    if match["fraction"]:
        return _fraction(match, sign)
    digits = match["number"].replace(",", "")
    percent = bool(match["percent"])
    value = sign * Fraction(digits) / (100 if percent else 1)
    latex = ("-" if sign < 0 else "") + _with_digits_around_point(digits) + (r"\%" if percent else "")
    return PlainNumber(value, percent, "." in digits, latex)


def _with_digits_around_point(digits: str) -> str:
    return ("0" if digits.startswith(".") else "") + digits.rstrip(".")


def _scientific(match: re.Match[str], sign: int) -> PlainNumber:
    digits, exponent = match["significand"].replace(",", ""), int(match["exponent"])
    latex = rf"{'-' if sign < 0 else ''}{_with_digits_around_point(digits)} \times 10^{{{exponent}}}"
    return PlainNumber(sign * Fraction(digits) * Fraction(10) ** exponent, False, "." in digits, latex)


def _fraction(match: re.Match[str], sign: int) -> PlainNumber | None:
    whole = match["whole"] or match["whole_tex"] or ""
    top, bottom = _terms(match["fraction"])
    if int(bottom) == 0:
        return None
    value = sign * (int(whole or 0) + Fraction(int(top), int(bottom)))
    latex = rf"{'-' if sign < 0 else ''}{whole}\frac{{{top}}}{{{bottom}}}"
    return PlainNumber(value, False, False, latex)


def _terms(fraction: str) -> tuple[str, str]:
    if "/" in fraction:
        top, bottom = fraction.split("/")
        return top.strip(), bottom.strip()
    groups = re.findall(r"\{ ?(\d+) ?\}|(\d)", fraction)
    top, bottom = (braced or single for braced, single in groups)
    return top, bottom


def same_number(a: PlainNumber, b: PlainNumber) -> bool | None:
    """Whether two plain numbers are equal; `None` where it depends on how Math-Verify rounds or reads a percentage.

    Certain are exact equality of value and sign, and a difference beyond the rounding of decimals.
    """
    if a.percent != b.percent:
        return None
    if a.value == b.value:
        return True
    if not (a.decimal or b.decimal) or abs(a.value - b.value) > Fraction(1, 10**DECIMALS):
        return False
    return None


def same_vote(a: PlainNumber, b: PlainNumber) -> bool:
    """Whether two plain numbers vote for the same answer: always decided, and nearly what Math-Verify says.

    A percentage votes with its bare digits (10% with 10: forgetting the sign is the common slip) or its value (10%
    with .1). Decimals agree when they round alike, among themselves and with fractions, but never with an integer.
    """
    if a.percent != b.percent:
        percentage, bare = (a, b) if a.percent else (b, a)
        return bare.value in (percentage.value, percentage.value * 100)
    if a.value == b.value:
        return True
    if not (a.decimal or b.decimal) or any(n.value.denominator == 1 and not n.decimal for n in (a, b)):
        return False
    return round(a.value, DECIMALS) == round(b.value, DECIMALS)
