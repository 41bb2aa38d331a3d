"""Stop texts in one token, over several tokens, and in tokens of part of a character."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prm.generation.stopping import StopTexts
from prm.worlds.pretrain import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer()


def finished(stops: StopTexts, rows: list[list[int]]) -> list[bool]:
    done = stops.finished(np.array([row[-1] for row in rows]), lambda at: rows[at][-stops.tail_tokens :])
    return [bool(one) for one in done]


def first_stop(tokenizer: Any, text: str, stop: list[str]) -> int | None:
    """After how many tokens of the text the stop is noticed."""
    stops = StopTexts(tokenizer, stop, len(tokenizer) + 3)
    ids = tokenizer.encode(text)
    for count in range(1, len(ids) + 1):
        if finished(stops, [ids[:count], ids[:count]]) == [True, True]:
            return count
    return None


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("1+1=2\nA: 2", ["\n"], 6),
        ("abcabd", ["abd"], 6),
        ("abcabd", ["abx"], None),
        ("a\nb\n\nc", ["\n\n"], 5),
        ("xé。y", ["。"], 6),
        ("xé。y", ["é"], 3),
        ("so Question: 2", ["Question:", "\n"], 12),
    ],
)
def test_a_stop_is_noticed_at_its_last_token(tokenizer: Any, text: str, stop: list[str], expected: int | None) -> None:
    assert first_stop(tokenizer, text, stop) == expected


def test_rows_are_judged_one_by_one(tokenizer: Any) -> None:
    stops = StopTexts(tokenizer, ["ab"], len(tokenizer))
    rows = [tokenizer.encode("cab"), tokenizer.encode("acb"), tokenizer.encode("abc")]
    assert finished(stops, rows) == [True, False, False]


def test_tokens_with_a_leading_space_are_seen() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {"<unk>": 0, "▁a": 1, "▁Q": 2, "Q": 3, "a": 4, "▁": 5}
    raw = Tokenizer(models.BPE(vocab=vocab, merges=[("▁", "a"), ("▁", "Q")], unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Metaspace()  # drops the space that begins a text
    spaced = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    stops = StopTexts(spaced, [" Q"], len(spaced))
    assert finished(stops, [[1, 2], [1, 3]]) == [True, False]


@pytest.mark.parametrize(("stop", "expected"), [("\n", 4), ("\n\n", 9), ("two", 7)])
def test_a_stop_of_plain_text_is_found_without_decoding(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, stop: str, expected: int
) -> None:
    stops = StopTexts(tokenizer, [stop], len(tokenizer))
    ids = tokenizer.encode("one\ntwo\n\nfour")
    monkeypatch.setattr(stops, "tokenizer", None)
    noticed = [count for count in range(1, len(ids) + 1) if finished(stops, [ids[:count]])[0]]
    assert noticed[0] == expected
