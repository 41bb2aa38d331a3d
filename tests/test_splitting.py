"""Text to steps and back, for every splitter."""

from __future__ import annotations

import random
import time

import pytest

from prm.errors import ConfigError
from prm.splitting import split_steps

SPLITTERS = [
    "separator:\n\n",
    "separator:\n",
    "separator: ки",
    "line",
    "numbered",
    "sentence",
    "thought",
    "thought:20",
]
PIECES = (
    *("\n", "\n\n", "\r\n", "\r\n\r\n", "\r", " ", "\t", "\u00a0", "\u2028", "\x0b", ""),
    *(".", "!", "?", "。", "e.g. ", "3.14", "$", "$$", "\\boxed{", "}", "{", "\\[", "\\]", "\\(", "\\)", '"'),
    *(
        "1. ",
        "2) ",
        "Step 3: ",
        "## Step 4\n",
        " ки",
        "ки",
        "Wait, ",
        "Alternatively ",
        "</think>",
        "x",
        "Ünïcødé 🎲 ",
    ),
)


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_steps_and_gaps_join_back_to_the_text(splitter: str) -> None:
    rng = random.Random(splitter)
    for _ in range(400):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(40)))
        split = split_steps(text, splitter)
        assert split.text == text
        assert len(split.gaps) == len(split.steps) + 1
        assert all(step and step == step.strip() for step in split.steps)


@pytest.mark.parametrize("splitter", SPLITTERS)
def test_any_characters_join_back_to_the_text(splitter: str) -> None:
    rng = random.Random(splitter)
    for _ in range(100):
        text = "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) for _ in range(rng.randrange(60)))
        assert split_steps(text, splitter).text == text


@pytest.mark.parametrize(
    ("splitter", "text", "steps"),
    [
        ("separator:\n\n", "a\n\nb\nc\n\n", ["a", "b\nc"]),
        ("separator:\n\n", "a\r\n\r\nb", ["a", "b"]),
        ("separator:\n\n", "\n\n\na\n\n\n\nb", ["a", "b"]),
        (r"separator:\n", "1+1=2\nA: 2\n", ["1+1=2", "A: 2"]),
        ("separator: ки", "a ки\nb ки", ["a", "b"]),
        ("line", "a\r\nb\rc\n\n d ", ["a", "b", "c", "d"]),
        ("numbered", "Plan.\n1. a\n1.5 b\n2. c", ["Plan.", "1. a\n1.5 b", "2. c"]),
        ("numbered", "Step 1: a\n1. item\nStep 2: b", ["Step 1: a\n1. item", "Step 2: b"]),
        ("numbered", "## Step 1: a\n\n## Step 2: b\nc", ["## Step 1: a", "## Step 2: b\nc"]),
        ("numbered", "no number here", ["no number here"]),
        ("sentence", "We get 3.5 km. Then 2.", ["We get 3.5 km.", "Then 2."]),
        ("sentence", "Some, e.g. 4, are even. See Fig. 2!", ["Some, e.g. 4, are even.", "See Fig. 2!"]),
        ("sentence", "So $a. b$ holds. Done", ["So $a. b$ holds.", "Done"]),
        ("sentence", r"It is \boxed{a. \text{b. c}} here. End.", [r"It is \boxed{a. \text{b. c}} here.", "End."]),
        ("sentence", "She pays $2 per egg. He pays $3. Fine.", ["She pays $2 per egg.", "He pays $3.", "Fine."]),
        ("sentence", "It equals $5.$ Then stop.", ["It equals $5.$", "Then stop."]),
        ("sentence", "1. First. 2 left.\n2. Second.", ["1. First.", "2 left.", "2. Second."]),
        ("sentence", "\\[\nx = 1.\ny = 2.\n\\]\nSo", ["\\[\nx = 1.\ny = 2.\n\\]", "So"]),
        ("sentence", "这是一。那是二！", ["这是一。", "那是二！"]),
        ("thought:10", "short\n\nalso\n\nlonger than ten\n\nend", ["short\n\nalso", "longer than ten", "end"]),
        ("thought", "I think so.\n\nWait, no.\n\nBut wait again", ["I think so.", "Wait, no.", "But wait again"]),
        ("thought", "one line\nAlternatively two", ["one line", "Alternatively two"]),
    ],
)
def test_steps_of(splitter: str, text: str, steps: list[str]) -> None:
    assert list(split_steps(text, splitter).steps) == steps


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \r\n\t"])
@pytest.mark.parametrize("splitter", SPLITTERS)
def test_a_blank_text_has_no_steps(splitter: str, text: str) -> None:
    assert split_steps(text, splitter).steps == ()
    assert split_steps(text, splitter).gaps == (text,)


@pytest.mark.parametrize("splitter", ["lines", "separator", "separator:", "thought:x", "sentence:3", ""])
def test_an_unknown_splitter_is_refused(splitter: str) -> None:
    with pytest.raises(ConfigError, match="choose from separator:<text>"):
        split_steps("a", splitter)


@pytest.mark.parametrize("piece", ["\\[", "$", "$$", "\\boxed{", "\\(", ". ", "Wait\n\n", "1. \n"])
@pytest.mark.parametrize("splitter", ["sentence", "thought", "numbered"])
def test_unclosed_brackets_cost_no_quadratic_search(splitter: str, piece: str) -> None:
    """Eight times the text may take eight times as long, and some noise; a quadratic search would take 64 times."""

    def seconds(characters: int) -> float:
        text = piece * (characters // len(piece))
        started = time.process_time()
        assert split_steps(text, splitter).text == text
        return time.process_time() - started

    assert seconds(16_000) < 30 * min(seconds(2_000) for _ in range(3)) + 0.1
