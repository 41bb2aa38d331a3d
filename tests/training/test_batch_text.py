"""A batch as text: the tokens that the model is given, the labels at their positions, colours only where wanted."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
import torch

from prm.training.batch_text import BatchRow, coloured_batch, rows_of_batch, wants_colour


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


@pytest.fixture
def rows(tokenizer: Any) -> list[BatchRow]:
    prompt, first, second = (ids(tokenizer, text) for text in ("check 7+5-3\n", "7+5=12\n", "12-3=8\n"))
    at = len(prompt) + len(first) - 1
    whole = BatchRow([*prompt, *first, *second], [at, at + len(second)], [0.75, 0.0], len(prompt), padding=0)
    short = BatchRow([*prompt, *first], [at], [-1.0], len(prompt), padding=len(second))
    return [whole, short]


def batches(rows: list[BatchRow]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same rows as a padded and as a padding-free batch, positions counted in the flattened tokens."""
    width = max(len(row.input_ids) for row in rows)
    padded = torch.tensor([[*row.input_ids, *[0] * (width - len(row.input_ids))] for row in rows])
    starts = [0, len(rows[0].input_ids)]

    def steps(values: list[list[float]], padding: float) -> torch.Tensor:
        return torch.tensor([value + [padding] * (2 - len(value)) for value in values])

    def positions(starts: list[int]) -> torch.Tensor:
        return steps([[at + start for at in row.positions] for row, start in zip(rows, starts, strict=True)], 0).long()

    targets = steps([list(row.targets) for row in rows], -100.0)
    flat = torch.tensor([[token for row in rows for token in row.input_ids]])
    places = torch.cat([torch.arange(len(row.input_ids)) for row in rows])[None]
    return (
        {"input_ids": padded, "positions": positions([0, width]), "targets": targets},
        {"input_ids": flat, "positions": positions(starts), "targets": targets, "position_ids": places},
    )


def test_a_batch_comes_apart_into_its_rows_padded_or_not(rows: list[BatchRow]) -> None:
    padded, flat = batches(rows)
    lengths = [int(row.prompt_length or 0) for row in rows]
    assert rows_of_batch(padded, lengths) == rows
    without = [row.padding for row in rows_of_batch(flat, lengths)]
    assert without == [0, 0]
    assert [row.input_ids for row in rows_of_batch(flat)] == [row.input_ids for row in rows]
    assert [row.positions for row in rows_of_batch(flat)] == [row.positions for row in rows]


def test_rows_that_fill_a_batch_are_left_out(rows: list[BatchRow]) -> None:
    padded, _ = batches(rows)
    padded["targets"][1] = -100.0
    assert len(rows_of_batch(padded)) == 1


def test_without_colour_the_labels_stand_behind_their_steps(rows: list[BatchRow], tokenizer: Any) -> None:
    assert coloured_batch(rows, tokenizer, colour=False) == (
        "first batch: 2 rows, 45 tokens, and 7 of padding (13.5%)\n"
        "[1.00] right  [0.00] wrong  [?] unknown\n\n"
        "row 1: 26 tokens, 2 labels\ncheck 7+5-3⏎\n7+5=12⏎ [0.75]\n12-3=8⏎ [0.00]\n\n"
        "row 2: 19 tokens, 7 of padding, 0 labels\ncheck 7+5-3⏎\n7+5=12⏎ [?]"
    )


def test_labels_are_green_red_and_grey_and_prompts_are_dim(rows: list[BatchRow], tokenizer: Any) -> None:
    text = coloured_batch(rows, tokenizer, colour=True)
    for part in ("\x1b[32m[0.75]\x1b[0m", "\x1b[31m[0.00]\x1b[0m", "\x1b[90m[?]\x1b[0m", "\x1b[2mcheck 7+5-3⏎\x1b[0m"):
        assert part in text
    assert re.sub(r"\x1b\[\d+m", "", text) == coloured_batch(rows, tokenizer, colour=False)


def test_colours_are_for_terminals_whose_user_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal()) and not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


def test_few_rows_are_shown_and_long_texts_lose_their_middle(tokenizer: Any) -> None:
    long = ids(tokenizer, "1" * 2000 + "\n")
    row = BatchRow(long, [len(long) - 1], [1.0], 0)
    text = coloured_batch([row] * 5, tokenizer, most=2, colour=False)
    assert "row 2:" in text and "row 3:" not in text and text.endswith("... and 3 more rows")
    assert "(... 1,401 characters ...)" in text and text.count("[1.00]") == 3  # two rows, and the key


def test_what_would_move_the_cursor_is_written_out(tokenizer: Any) -> None:
    class Decodes:
        def decode(self, ids: list[int], **others: Any) -> str:
            return "a\x1b[31mb\tc\n\n"

    text = coloured_batch([BatchRow([1], [0], [1.0], 0)], Decodes(), colour=False)
    assert "a\\x1b[31mb\\tc⏎⏎ [1.00]" in text
