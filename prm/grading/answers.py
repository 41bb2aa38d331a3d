"""Final answers: found in a solution, brought to one spelling, and compared where no mathematics is needed.

What the fast path cannot decide with certainty it leaves open (`None`); `prm.grading.workers` then asks Math-Verify.
Every function is linear in its input, and texts longer than `MAX_ANSWER_CHARS` are compared as they are.
"""

from __future__ import annotations

import re

from prm.grading.plain_numbers import PlainNumber, parse_number, same_number
from prm.rollouts import Outcome

MAX_ANSWER_CHARS = 4096
"""A longer text is no final answer: it is never parsed."""

_BRACES = re.compile(r"\\(?P<box>boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
_GSM8K = re.compile(r"^.*####[ \t]*(?P<answer>[^\s#].*)$", re.MULTILINE)
_FINAL_LINE = (
    re.compile(r"\W*A(?:nswer)?\s*:\s*(?P<answer>.+)", re.IGNORECASE),
    re.compile(r".*\banswer\W+is\b\W*?:?\s*(?P<answer>[^\s:].*)", re.IGNORECASE),
    re.compile(r".*\banswer\W{0,4}?:\s*(?P<answer>.+)", re.IGNORECASE),
)


def extract_answer(text: str) -> str | None:
    r"""The final answer a solution states, or `None` where it states none.

    In this order: the last `\boxed{...}` with balanced braces; the last `#### x` (GSM8K) that ends the text or holds a
    plain number (`####` also opens Markdown headings); a last line `A: x`, `Answer: x` or `... the answer is x`.
    """
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed
    return _after_hashes(text) or _on_final_line(text)


def last_boxed(text: str) -> str | None:
    r"""The content of the `\boxed{...}` (or `\fbox`) that opens last among those that are closed and not empty."""
    if r"\boxed" not in text and r"\fbox" not in text:
        return None
    open_braces: list[tuple[int, bool]] = []
    best: tuple[int, str] | None = None
    for token in _BRACES.finditer(text):
        if token[0].endswith("{") and token[0] != r"\{":
            open_braces.append((token.end(), token["box"] is not None))
        elif token[0] == "}" and open_braces:
            start, is_box = open_braces.pop()
            # Nested boxes close inside out: slicing only what opens later than the best keeps this linear.
            if is_box and (best is None or start > best[0]) and (content := text[start : token.start()].strip()):
                best = (start, content)
    return None if best is None else best[1]


def _after_hashes(text: str) -> str | None:
    last = None
    for match in _GSM8K.finditer(text) if "####" in text else ():
        answer = _tidy(match["answer"])
        if not text[match.end() :].strip() or parse_number(normalise_answer(answer)) is not None:
            last = answer
    return last or None


def _on_final_line(text: str) -> str | None:
    line = text.rstrip().rpartition("\n")[2].strip()
    if len(line) > MAX_ANSWER_CHARS:
        return None
    for pattern in _FINAL_LINE:
        if match := pattern.fullmatch(line):
            return _tidy(match["answer"]) or None
    return None


def _tidy(answer: str) -> str:
    """Without Markdown's emphasis around it and the full stop behind it."""
    answer = answer.strip().strip("*").strip()
    if answer.endswith(".") and not answer.endswith(".."):
        answer = answer[:-1].rstrip("* ")
    return answer


# One spelling ----------------------------------------------------------------------------------------------------

_CHARACTERS = str.maketrans({"−": "-", "–": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "’": "'"})
_SPACING = re.compile(r"\\\\|\\!\s*|\\[,;:]|\\ |\\(?:left|right)(?![A-Za-z])\s*|\\displaystyle\s*|~")
_REPLACEMENTS = ((r"\dfrac", r"\frac"), (r"\tfrac", r"\frac"), (r"\cfrac", r"\frac"), ("{,}", ","), (r"\%", "%"))
_WRAPPINGS = (
    re.compile(r"\$\$?(?P<inner>[^$]+)\$\$?"),
    re.compile(r"\\\((?P<inner>(?:(?!\\[()]).)+)\\\)"),
    re.compile(r"\\\[(?P<inner>(?:(?!\\[\[\]]).)+)\\\]"),
    re.compile(r"\*\*(?P<inner>[^*]+)\*\*"),
    re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox) ?\{(?P<inner>[^{}\\]+)\}"),
)
_CURRENCY = re.compile(r"(?P<sign>^[+-]? ?)(?:\\?\$|[€£¥]) ?(?=[-\d.])")
_PERCENT_WORD = re.compile(r"(?<=[\d.]) ?(?:percent(?:age)?|pct)$", re.IGNORECASE)


def normalise_answer(answer: str) -> str:
    r"""Bring an answer to one spelling without changing what it says.

    The last box is opened, `$...$` and `\text{...}` around the whole are taken off, spacing commands go, `\dfrac`
    becomes `\frac`, `1{,}000` becomes `1,000`, a currency sign before a number and a full stop after the whole are
    dropped.
    """
    answer = answer.strip()
    if len(answer) > MAX_ANSWER_CHARS:
        return answer
    answer = last_boxed(answer) or answer
    answer = _SPACING.sub(_space, answer.translate(_CHARACTERS))
    for old, new in _REPLACEMENTS:
        answer = answer.replace(old, new)
    answer = " ".join(answer.split())
    for _ in range(3):  # $\text{**x**}$ is as deep as real answers go
        answer = _unwrap(answer)
    answer = _PERCENT_WORD.sub("%", _CURRENCY.sub(r"\g<sign>", answer))
    return answer


def _space(match: re.Match[str]) -> str:
    return match[0] if match[0] == r"\\" else " " if match[0] in (r"\ ", "~") else ""


def _unwrap(answer: str) -> str:
    for pattern in _WRAPPINGS:
        if match := pattern.fullmatch(answer):
            answer = match["inner"].strip()
    return _tidy(answer)


# Fast path -------------------------------------------------------------------------------------------------------

_WORDS = re.compile(r"[A-Za-z][A-Za-z ,.'()-]*")
_LONG_WORD = re.compile(r"[A-Za-z]{4}|\b[A-Z][a-z]{2}")
_QUANTITY = re.compile(r"(?P<number>[-+\d][\d.,/]*) (?P<unit>[A-Za-z]{3,}(?: [A-Za-z]{2,}){0,3})")
_NOT_UNITS = frozenset(
    {"hundred", "thousand", "million", "billion", "trillion", "dozen", "score", "half", "third", "quarter"}
    | {"percent", "percentage", "pct", "pi", "squared", "cubed", "sqrt", "sin", "cos", "tan", "log", "mod"}
    | {"and", "or", "of", "to", "plus", "minus", "times", "over", "less", "more", "am", "pm"}
)


def quick_outcome(answer: str, reference: str) -> Outcome | None:
    """Compare two *normalised* answers: `CORRECT` or `WRONG` where that is certain, else `None`.

    Certain are equal spellings, two plain numbers that do not hinge on rounding or on a percent sign, and two texts of
    words, which are compared without regard to case.
    """
    if answer == reference:
        return Outcome.CORRECT
    answer, reference = drop_unit(answer, reference), drop_unit(reference, answer)
    numbers = parse_number(answer), parse_number(reference)
    if numbers[0] is not None and numbers[1] is not None:
        return _outcome(same_number(numbers[0], numbers[1]))
    if is_words(answer) and is_words(reference):
        return _outcome(answer.casefold() == reference.casefold())
    return None


def _outcome(equal: bool | None) -> Outcome | None:
    return None if equal is None else Outcome.CORRECT if equal else Outcome.WRONG


def is_words(answer: str) -> bool:
    """Whether an answer is a name or phrase (`Evelyn`, `no solution`) rather than a product of letters (`xy`)."""
    return len(answer) <= MAX_ANSWER_CHARS and bool(_WORDS.fullmatch(answer) and _LONG_WORD.search(answer))


def drop_unit(answer: str, other: str) -> str:
    """`18 dollars per day` becomes `18` where the other side is a plain number, for then the question named the unit.

    A word that changes the number (`18 million`, `3 and a half`) is no unit.
    """
    match = _QUANTITY.fullmatch(answer) if len(answer) <= MAX_ANSWER_CHARS else None
    if match is None or _NOT_UNITS.intersection(match["unit"].lower().split()) or parse_number(other) is None:
        return answer
    number: PlainNumber | None = parse_number(match["number"])
    return answer if number is None else match["number"]
