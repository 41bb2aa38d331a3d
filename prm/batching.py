"""From encoded rows to batches: little padding, and the same global batches under every split.

Rows are encoded by `prm.encoding`; the losses are `prm.losses`', the loop `prm.trainer`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from prm.encoding import EncodedDataset, EncodedRow
from prm.losses.base import PADDED

if TYPE_CHECKING:
    import numpy as np
    import torch

SamplingStrategy = Literal["random", "sequential", "group_by_length"]
_POOL_BATCHES = 50  # global batches sorted by length at a time, as in transformers' own sampler
_NO_TOKEN = -100


@dataclass(frozen=True)
class EncodedPairs:
    """Pairs of rows of one dataset, chosen and rejected, as a map-style dataset; index `len(self)` is a blank pair."""

    dataset: EncodedDataset
    pairs: Sequence[tuple[int, int]]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[EncodedRow, EncodedRow]:
        blank = len(self.dataset)
        chosen, rejected = (blank, blank) if index == len(self) else self.pairs[index]
        return self.dataset[chosen], self.dataset[rejected]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of the longer solution of each pair, which the shorter one is padded to."""
        import numpy as np

        return self.dataset.lengths[np.asarray(self.pairs)].max(-1)


@dataclass(frozen=True)
class StepCollator:
    """Makes a batch of rows: padded on the right, or one after the other in a single row (`padding_free`).

    Returns `input_ids` (B, T), `positions` (B, S), the score positions counted in the *flattened* tokens, `targets`,
    `hard`, `n_correct` and `n_total` (B, S), `group`, `source`, `index` and `length` (B, 1). Padded batches have an
    `attention_mask` (B, T) only if `with_mask`: under causal attention no real token sees the padding behind it, and
    without a mask the CPU kernels are two to three times faster. Padding-free ones have T = all tokens in one row and
    `position_ids` (1, T) that start again with each solution, which is how transformers keeps them apart.

    Args:
        implicit: also `predict_at`, `next_ids` (B, R), `ends` and `reference` (B, S), see `prm.heads.implicit`.
    """

    pad_token_id: int
    with_mask: bool = False
    padding_free: bool = False
    implicit: bool = False

    def __call__(self, items: Sequence[EncodedRow | tuple[EncodedRow, EncodedRow]]) -> dict[str, torch.Tensor]:
        import torch

        every = [row for item in items for row in (item if isinstance(item, tuple) else (item,))]
        # Blank rows keep the processes in step; beside a real one they would only be padding.
        rows = [row for row in every if row.index >= 0] or every[:2]
        starts, batch = self._padding_free(rows) if self.padding_free else self._padded(rows)
        batch["positions"] = _stacked([row.positions + start for row, start in zip(rows, starts, strict=True)], 0)
        for name, padding in (("targets", PADDED), ("hard", PADDED), ("n_correct", 0), ("n_total", 0)):
            batch[name] = _stacked([getattr(row, name) for row in rows], padding)
        for name in ("group", "source", "index"):
            batch[name] = torch.tensor([[getattr(row, name)] for row in rows])
        batch["length"] = torch.tensor([[len(row.input_ids) if row.index >= 0 else 0] for row in rows])
        if self.implicit:
            batch |= _read_by_token(rows, starts)
        return batch

    def _padded(self, rows: Sequence[EncodedRow]) -> tuple[list[int], dict[str, torch.Tensor]]:
        import torch

        batch = {"input_ids": _stacked([row.input_ids for row in rows], self.pad_token_id)}
        width = batch["input_ids"].shape[1]
        if self.with_mask:
            lengths = torch.tensor([len(row.input_ids) for row in rows])
            batch["attention_mask"] = (torch.arange(width) < lengths[:, None]).long()
        return [width * index for index in range(len(rows))], batch

    def _padding_free(self, rows: Sequence[EncodedRow]) -> tuple[list[int], dict[str, torch.Tensor]]:
        import numpy as np
        import torch

        lengths = [len(row.input_ids) for row in rows]
        batch = {
            "input_ids": torch.from_numpy(np.concatenate([row.input_ids for row in rows])).long()[None],
            "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        }
        return [0, *np.cumsum(lengths).tolist()][:-1], batch


def _read_by_token(rows: Sequence[EncodedRow], starts: Sequence[int]) -> dict[str, torch.Tensor]:
    import numpy as np

    at = [np.arange(row.prompt_length - 1, len(row.input_ids) - 1) for row in rows]
    references = [np.zeros(len(row.positions)) if row.reference is None else row.reference for row in rows]
    return {
        "predict_at": _stacked([each + start for each, start in zip(at, starts, strict=True)], 0),
        "next_ids": _stacked([row.input_ids[row.prompt_length :] for row in rows], _NO_TOKEN),
        "ends": _stacked([row.positions + 1 - row.prompt_length for row in rows], 0),
        "reference": _stacked(references, 0.0).float(),
    }


def _stacked(values: Sequence[np.ndarray], padding: float) -> torch.Tensor:
    """Rows of different lengths, padded on the right to the longest, at least 1 wide: (B, width)."""
    import numpy as np
    import torch

    width = max(1, *(len(value) for value in values))
    whole = values[0].dtype.kind == "i"
    stacked = np.full((len(values), width), padding, np.int64 if whole else np.float32)
    for row, value in zip(stacked, values, strict=True):
        row[: len(value)] = value
    return torch.from_numpy(stacked)


class GlobalBatchSampler:
    """Indices in an order that is a function of seed, epoch and the *global* batch alone.

    Consecutive runs of `global_batch` indices are the rows of one optimiser step, however many processes and
    accumulated micro-batches they are dealt to, so that these splits train on the same batches. The last one is
    filled with the blank row (index `len(lengths)`) up to a multiple of `shard`, where accelerate would repeat rows
    from the beginning.

    Args:
        lengths: tokens of each row.
        global_batch: rows of one optimiser step, over all processes and accumulated micro-batches.
        shard: rows of one micro-batch over all processes.
        epoch: tells the current epoch; asked when an iteration starts, which a resumed run does in the middle.
        drop_last: leave out the rows of an incomplete last micro-batch instead of filling it.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        *,
        global_batch: int,
        shard: int,
        strategy: SamplingStrategy = "group_by_length",
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        drop_last: bool = False,
    ):
        self.lengths: list[int] = [int(length) for length in lengths]
        self.global_batch, self.shard = global_batch, shard
        self.strategy, self.seed, self.epoch, self.drop_last = strategy, seed, epoch, drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self.lengths), self.shard)
        return self.shard * (whole + (rest > 0 and not self.drop_last))

    def __iter__(self) -> Iterator[int]:
        order = list(range(len(self.lengths)))
        if self.strategy != "sequential":
            rng = random.Random(f"{self.seed}/{self.epoch()}")
            rng.shuffle(order)
            if self.strategy == "group_by_length":
                order = self._grouped(order, rng)
        yield from (order + [len(self.lengths)] * len(self))[: len(self)]

    def _grouped(self, order: list[int], rng: random.Random) -> list[int]:
        """Sort pools of rows by length and shuffle the batches; the incomplete batch stays the last."""
        pool = self.global_batch * _POOL_BATCHES
        rows: list[int] = []
        for start in range(0, len(order), pool):
            rows += sorted(order[start : start + pool], key=lambda index: -self.lengths[index])
        batches = [rows[start : start + self.global_batch] for start in range(0, len(rows), self.global_batch)]
        last = [batches.pop()] if len(batches[-1]) < self.global_batch else []
        rng.shuffle(batches)
        return [index for batch in batches + last for index in batch]
