r"""Text to steps and back: `gaps[0] + steps[0] + gaps[1] + ... + gaps[-1]` is the text, to the character.

A splitter is named by a string:

    separator:\n\n   at every occurrence of a text (the default; `\n` and `\t` may be written out)
    line             at every line break
    numbered         before lines that open with `Step 2:` or `## Step 2`, or where there are none, with `2.` or `2)`
    sentence         after `.`, `!`, `?`, but not in numbers, abbreviations, mathematics or \boxed{...}
    thought          long chains of thought: at blank lines, merged until a step has 240 characters, but always before
                     a change of mind ("Wait", "Alternatively", ...); `thought:400` sets another length

Whatever the splitter, a step is never blank and never begins or ends with whitespace: that belongs to the gaps, and so
does the separator. Encoding steps for a model is `prm.step_format`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from prm.errors import ConfigError

DEFAULT_SPLITTER = "separator:\n\n"
SPLITTERS = ("separator:<text>", "line", "numbered", "sentence", "thought", "thought:<characters>")
THOUGHT_CHARACTERS = 240

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_BLANK_LINES = re.compile(r"(?:\r\n|\r|\n)[^\S\r\n]*(?:\r\n|\r|\n)\s*")
_NAMED_STEP = re.compile(r"^[ \t]*(?:#{1,6}[ \t]*|\*\*[ \t]*)?step[ \t]+\d+\b", re.IGNORECASE | re.MULTILINE)
_NUMBERED_STEP = re.compile(r"^ {0,3}(?:#{1,6}[ \t]*|\*\*[ \t]*)?\d{1,3}[.)](?=\s)", re.MULTILINE)

# Mathematics and boxes, in which no sentence ends. A dollar sign opens mathematics where a non-space follows it and
# closes it where a non-space precedes it and no digit follows (pandoc's rule, which leaves "$2 and $3" alone). What is
# longer than 2,000 characters is not taken for mathematics, so that an unclosed bracket costs no quadratic search.
_MATHEMATICS = re.compile(
    r"\$\$(?:(?!\n\s*\n).){1,2000}?\$\$"
    r"|\\\[.{0,2000}?\\\]"
    r"|\\\(.{0,2000}?\\\)"
    r"|(?<!\\)\$(?=\S)(?:(?!\n\s*\n)[^$]){0,2000}?(?<=\S)(?<!\\)\$(?!\d)",
    re.DOTALL,
)
_BRACES = re.compile(r"\\[a-zA-Z]+\{|\\.|[{}]", re.DOTALL)
_SENTENCE_END = re.compile(r"""[.!?]+["'”’)\]*]*(?=\s)|(?<=[.!?])\$+(?=\s)|[。！？]+[”’」』）]*|\r\n|\r|\n""")
_ABBREVIATION = re.compile(
    r"\b(?:e\.g|i\.e|cf|vs|etc|resp|approx|eqs?|figs?|nos?|sec|thm|lem|def|mr|mrs|ms|dr|prof|st|al|w\.r\.t|a\.k\.a)\Z"
    r"|^\s*\(?\d{1,3}\Z",  # the number of a list item
    re.IGNORECASE | re.MULTILINE,
)
_CHANGE_OF_MIND = re.compile(
    r"</think>|(?:but |so |oh |hmm+,? |no,? |ok(?:ay)?,? ){0,3}(?:"
    r"wait|hold on|alternatively|hmm+|actually|on second thought|another (?:way|approach|method|idea)|i made a mistake"
    r"|let me (?:re-?check|double[- ]check|verify|re-?think|try|start over)"
    r"|let(?:'|’)s (?:re-?check|double[- ]check|verify|try|start over)"
    r"|(?:that|this)(?:'|’)s (?:not right|wrong))\b",
    re.IGNORECASE,
)

Span = tuple[int, int]


@dataclass(frozen=True)
class Split:
    """Steps, and the texts around them: one more gap than steps."""

    steps: tuple[str, ...]
    gaps: tuple[str, ...]

    @property
    def text(self) -> str:
        return self.gaps[0] + "".join(step + gap for step, gap in zip(self.steps, self.gaps[1:], strict=True))


def split_steps(text: str, splitter: str = DEFAULT_SPLITTER) -> Split:
    """Split a solution into steps. A text of whitespace alone has no steps and one gap.

    Raises:
        ConfigError: an unknown splitter.
    """
    steps, gaps, end = [], [], 0
    for start, stop in _trimmed(text, find_splitter(splitter)(text)):
        gaps.append(text[end:start])
        steps.append(text[start:stop])
        end = stop
    return Split(tuple(steps), (*gaps, text[end:]))


def find_splitter(splitter: str) -> Callable[[str], Iterator[Span]]:
    """The function behind a splitter's name: from a text to the spans of its steps, untrimmed and in order.

    Raises:
        ConfigError: an unknown splitter, an empty separator, or a length that is no number.
    """
    name, colon, argument = splitter.partition(":")
    if name == "separator" and argument:
        separator = _separator_pattern(argument)
        return lambda text: _between(text, separator)
    if name == "thought" and (argument.isdecimal() or not colon):
        characters = int(argument or THOUGHT_CHARACTERS)
        return lambda text: _thoughts(text, characters)
    plain: dict[str, Callable[[str], Iterator[Span]]] = {
        "line": lambda text: _between(text, _LINE_BREAK),
        "numbered": _numbered,
        "sentence": _sentences,
    }
    if splitter not in plain:
        raise ConfigError(f"unknown splitter {splitter!r}; choose from {', '.join(SPLITTERS)}")
    return plain[splitter]


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _separator_pattern(argument: str) -> re.Pattern[str]:
    """The separator; a line feed in it also matches a carriage return and a line feed."""
    return re.compile(re.escape(_unescaped(argument)).replace("\\\n", "\r?\n"))


def _between(text: str, separator: re.Pattern[str]) -> Iterator[Span]:
    start = 0
    for match in separator.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _from_starts(text: str, starts: list[int]) -> Iterator[Span]:
    bounds = [0, *(start for start in starts if start), len(text)]
    yield from pairwise(bounds)


def _trimmed(text: str, spans: Iterator[Span]) -> Iterator[Span]:
    """Leave the whitespace around each span to the gaps, and drop blank spans."""
    for start, stop in spans:
        piece = text[start:stop]
        if piece.strip():
            yield start + len(piece) - len(piece.lstrip()), stop - len(piece) + len(piece.rstrip())


def _numbered(text: str) -> Iterator[Span]:
    """What precedes the first number is a step of its own; a text without numbers is one step. Where steps are named
    ("Step 2"), bare numbers are items within them."""
    markers = _NAMED_STEP if _NAMED_STEP.search(text) else _NUMBERED_STEP
    return _from_starts(text, [match.start() for match in markers.finditer(text)])


def _sentences(text: str) -> Iterator[Span]:
    protected = _protected(text)
    start = at = 0
    for match in _SENTENCE_END.finditer(text):
        while at < len(protected) and protected[at][1] <= match.end():
            at += 1
        inside = at < len(protected) and protected[at][0] < match.start()
        if inside or (match[0] == "." and _ABBREVIATION.search(text, start, match.start())):
            continue
        yield start, match.end()
        start = match.end()
    yield start, len(text)


def _protected(text: str) -> list[Span]:
    """Disjoint spans, in order, in which no sentence ends."""
    spans = [match.span() for match in _MATHEMATICS.finditer(text)]
    spans += _braced_commands(text)
    merged: list[Span] = []
    for start, stop in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _braced_commands(text: str) -> Iterator[Span]:
    r"""Spans from a command such as `\boxed{` to the brace that closes it."""
    open_braces: list[int | None] = []
    for match in _BRACES.finditer(text):
        if match[0] == "}":
            start = open_braces.pop() if open_braces else None
            if start is not None:
                yield start, match.end()
        elif match[0] == "{" or (match[0].endswith("{") and match[0] != "\\{"):
            open_braces.append(match.start() if match[0] != "{" else None)


def _thoughts(text: str, characters: int) -> Iterator[Span]:
    """Paragraphs (lines, where no line is blank), merged; only a step that is long enough or a change of mind ends
    the one before."""
    separator = _BLANK_LINES if _BLANK_LINES.search(text.strip()) else _LINE_BREAK
    start = 0
    for paragraph, stop in _between(text, separator):
        begun = text[start:paragraph].strip()
        if begun and (len(begun) >= characters or _CHANGE_OF_MIND.match(text[paragraph:stop].lstrip())):
            yield start, paragraph
            start = paragraph
    yield start, len(text)
