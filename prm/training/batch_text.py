"""A batch as a person reads it: the text of its rows, and every label where its score is read.

It shows what the model is given, token ids and positions of the batch itself, so that a wrong separator, template or
position is seen before it is trained on. Batches are `prm.training.batching`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

_DIM, _GREEN, _RED, _GREY = "2", "32", "31", "90"
_NO_STEP = -100.0
_LONGEST_TEXT = 600  # characters of a prompt or a step; the middle of a longer one is left out


@dataclass(frozen=True)
class BatchRow:
    """One solution of a batch.

    Attributes:
        input_ids: its tokens, without padding.
        positions: where scores are read, counted from its first token.
        targets: for each position a label from 0 (wrong) to 1 (correct); below 0 where it is unknown.
        prompt_length: tokens before the first step; `None` where that is not known.
        padding: tokens of padding behind it.
    """

    input_ids: Sequence[int]
    positions: Sequence[int]
    targets: Sequence[float]
    prompt_length: int | None = None
    padding: int = 0


def rows_of_batch(batch: Mapping[str, Any], prompt_lengths: Sequence[int] | None = None) -> list[BatchRow]:
    """Take a batch of `prm.training.batching.StepCollator` apart again; rows that only fill the batch are left out.

    Args:
        batch: `input_ids`, `positions` and `targets`, and `position_ids` where it is without padding, `segments` where
            prompts are shared.
        prompt_lengths: of each row.
    """
    ids, positions, targets = (_listed(batch[name]) for name in ("input_ids", "positions", "targets"))
    flat = [token for row in ids for token in row]
    rows = []
    for index, places in enumerate(_places(batch, len(ids), len(ids[0]))):
        scored = [(at, target) for at, target in zip(positions[index], targets[index], strict=True)]
        scored = [(places.index(at), target) for at, target in scored if target != _NO_STEP]
        if scored:  # a row ends with its last score position; what follows is padding
            stop = scored[-1][0] + 1
            own = [flat[place] for place in places[:stop]]
            length = None if prompt_lengths is None else int(prompt_lengths[index])
            rows.append(
                BatchRow(own, [at for at, _ in scored], [target for _, target in scored], length, len(places) - stop)
            )
    return rows


def _places(batch: Mapping[str, Any], count: int, width: int) -> list[Sequence[int]]:
    """Where the tokens of each row are among the flattened ones."""
    if "segments" in batch:
        ends = list(accumulate(length for length, _ in batch["segments"]))
        spans = [range(end - length, end) for end, (length, _) in zip(ends, batch["segments"], strict=True)]
        before = [before for _, before in batch["segments"]]
        own = [index for index in range(len(spans)) if index not in before]  # the others are prompts
        return [[*spans[before[index]], *spans[index]] if before[index] >= 0 else spans[index] for index in own]
    starts = [width * index for index in range(count)]
    if "position_ids" in batch:
        starts = [index for index, place in enumerate(_listed(batch["position_ids"])[0]) if place == 0]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], count * width], strict=True)]


def coloured_batch(
    rows: Sequence[BatchRow], tokenizer: Any, *, most: int = 3, colour: bool | None = None, title: str = "first batch"
) -> str:
    """The rows of a batch as text, each step on its own line with its label behind it.

    Labels are green from 0.5 up, red below, and grey where they are unknown; without colour they read the same:
    `[1.00]`, `[0.00]`, `[?]`. Prompts are dim, and so is what is only remarked.

    Args:
        rows: of one micro-batch.
        tokenizer: turns ids into text.
        most: rows to show.
        colour: whether to colour; by default only on a terminal and where `NO_COLOR` (no-color.org) is not set.
    """
    ink = _Ink(wants_colour() if colour is None else colour)
    tokens, padding = sum(len(row.input_ids) for row in rows), sum(row.padding for row in rows)
    share = padding / (tokens + padding) if tokens + padding else 0.0
    head = f"{title}: {len(rows)} rows, {tokens:,} tokens, and {padding:,} of padding ({share:.1%})"
    key = "  ".join(f"{_label(target, ink)} {word}" for target, word in ((1, "right"), (0, "wrong"), (-1, "unknown")))
    blocks = [f"{head}\n{key}", *(_row(index, row, tokenizer, ink) for index, row in enumerate(rows[:most], start=1))]
    if len(rows) > most:
        blocks.append(ink(_DIM, f"... and {len(rows) - most} more rows"))
    return "\n\n".join(blocks)


def wants_colour(stream: Any = None) -> bool:
    """Whether a stream, stdout by default, is a terminal whose user wants colours."""
    stream = sys.stdout if stream is None else stream
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class _Ink:
    """Writes in a colour, or plainly."""

    def __init__(self, on: bool):
        self.on = on

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def _row(index: int, row: BatchRow, tokenizer: Any, ink: _Ink) -> str:
    known = sum(target >= 0 for target in row.targets)
    padding = f", {row.padding} of padding" if row.padding else ""
    lines = [ink(_DIM, f"row {index}: {len(row.input_ids)} tokens{padding}, {known} labels")]
    start = row.prompt_length or 0
    if start:
        lines += [ink(_DIM, line) for line in _lines(tokenizer, row.input_ids[:start])]
    for place, target in zip(row.positions, row.targets, strict=True):
        text = _lines(tokenizer, row.input_ids[start : place + 1])
        text[-1] += f" {_label(target, ink)}"
        lines += text
        start = place + 1
    return "\n".join(lines)


def _label(target: float, ink: _Ink) -> str:
    if target < 0:
        return ink(_GREY, "[?]")
    return ink(_GREEN if target >= 0.5 else _RED, f"[{target:.2f}]")


def _lines(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Text of some tokens, at least one line; line feeds are shown, and end the line where more text follows."""
    text = str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]} (... {len(text) - 2 * half:,} characters ...) {text[-half:]}"
    body = text.rstrip("\n")
    lines = [_visible(line) for line in body.split("\n")]
    return [f"{line}⏎" for line in lines[:-1]] + [lines[-1] + "⏎" * (len(text) - len(body))]


def _visible(line: str) -> str:
    """Control characters would move the cursor or colour the terminal; they are shown as what they are."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def _listed(values: Any) -> list[Any]:
    rows: Iterable[Any] = values.tolist() if hasattr(values, "tolist") else values
    return [list(row) for row in rows]
