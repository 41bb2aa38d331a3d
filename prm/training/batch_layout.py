"""Where the tokens of a micro-batch lie: padded on the right, one after the other, or so with shared prompts.

A layout knows for each token of each row where it is among the flattened tokens of the batch, so that whatever is read
at a token (a score, a token's log-probability) is found in every layout alike. Labels are `prm.training.batching`'s.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from prm.encoding import EncodedRow
from prm.training.row_attention import Segment

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class BatchLayout:
    """Tokens of a micro-batch.

    Attributes:
        given: what the model is given: `input_ids` (B, T) and perhaps `attention_mask`, or `input_ids` and
            `position_ids` (1, T) and `segments`, see `prm.training.row_attention`.
        places: for each row where its tokens are, counted in the flattened `input_ids`.
        lengths: tokens that the batch has for each row; a shared prompt counts for the first row that it is of.
    """

    given: dict[str, Any]
    places: list[np.ndarray]
    lengths: list[int]


def padded(rows: Sequence[EncodedRow], pad_token_id: int, *, with_mask: bool) -> BatchLayout:
    """One row of the batch for each, padded on the right to the longest."""
    import torch

    ids = stacked([row.input_ids for row in rows], pad_token_id)
    lengths, width = [len(row.input_ids) for row in rows], ids.shape[1]
    given = {"input_ids": ids}
    if with_mask:
        given["attention_mask"] = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    return BatchLayout(given, [width * row + np.arange(length) for row, length in enumerate(lengths)], lengths)


def padding_free(rows: Sequence[EncodedRow]) -> BatchLayout:
    """All in one row, with positions that start again with each: transformers' own sign that they are apart."""
    tokens = _Tokens()
    numbers = [tokens.add(row.input_ids, -1) for row in rows]
    return tokens.layout(numbers, [len(row.input_ids) for row in rows])


def with_shared_prompts(rows: Sequence[EncodedRow]) -> BatchLayout:
    """All in one row, a prompt that several begin with once."""
    prompts = [row.input_ids[: row.prompt_length].tobytes() for row in rows]
    shared = {prompt for prompt, count in Counter(prompts).items() if count > 1}
    tokens, known = _Tokens(), dict[bytes, int]()
    numbers, lengths = [], []
    for row, prompt in zip(rows, prompts, strict=True):
        before, length = -1, tokens.length
        if prompt in shared and len(row.input_ids) > row.prompt_length:
            if prompt not in known:
                known[prompt] = tokens.add(row.input_ids[: row.prompt_length], -1)
            before = known[prompt]
        numbers.append(tokens.add(row.input_ids if before < 0 else row.input_ids[row.prompt_length :], before))
        lengths.append(tokens.length - length)
    return tokens.layout(numbers, lengths)


class _Tokens:
    """Grows a row of tokens by segments."""

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []
        self.segments: list[Segment] = []
        self.starts: list[int] = []
        self.length = 0

    def add(self, ids: np.ndarray, before: int) -> int:
        self.pieces.append(ids)
        self.segments.append((len(ids), before))
        self.starts.append(self.length)
        self.length += len(ids)
        return len(self.segments) - 1

    def layout(self, numbers: Sequence[int], lengths: list[int]) -> BatchLayout:
        """Rows by the numbers of their own segments."""
        import torch

        first = [0 if before < 0 else self.segments[before][0] for _, before in self.segments]
        at = [torch.arange(start, start + length) for start, (length, _) in zip(first, self.segments, strict=True)]
        given = {
            "input_ids": torch.from_numpy(np.concatenate(self.pieces)).long()[None],
            "position_ids": torch.cat(at)[None],
            "segments": self.segments,
        }
        return BatchLayout(given, [self._places(number) for number in numbers], lengths)

    def _places(self, number: int) -> np.ndarray:
        length, before = self.segments[number]
        own = self.starts[number] + np.arange(length)
        return own if before < 0 else np.concatenate([self._places(before), own])


def stacked(values: Sequence[np.ndarray], padding: float) -> torch.Tensor:
    """Rows of different lengths, padded on the right to the longest, at least 1 wide: (B, width)."""
    import torch

    width = max(1, *(len(value) for value in values))
    whole = values[0].dtype.kind == "i"
    table = np.full((len(values), width), padding, np.int64 if whole else np.float32)
    for row, value in zip(table, values, strict=True):
        row[: len(value)] = value
    return torch.from_numpy(table)
