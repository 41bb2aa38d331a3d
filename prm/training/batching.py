"""From encoded rows to batches: little padding, and the same global batches under every split.

Rows are encoded by `prm.encoding`; the losses are `prm.losses`', the loop `prm.training.trainer`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prm.encoding import EncodedDataset, EncodedRow
from prm.errors import ConfigError
from prm.losses.base import PADDED
from prm.training.batch_layout import BatchLayout, padded, padding_free, stacked, with_shared_prompts

if TYPE_CHECKING:
    import numpy as np
    import torch

SamplingStrategy = Literal["random", "sequential", "group_by_length"]
_POOL_BATCHES = 50  # global batches sorted by length at a time, as in transformers' own sampler
_POOL_ROWS = 4096  # or so many rows: batches of 32 solutions of GSM8K have 5% of padding then, and 7% without
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

    @property
    def groups(self) -> np.ndarray:
        """Number of the problem of each pair."""
        import numpy as np

        return self.dataset.groups[np.asarray(self.pairs)[:, 0]]


@dataclass(frozen=True)
class StepCollator:
    """Makes a batch of rows: padded on the right, or one after the other in a single row (`padding_free`).

    Returns `input_ids` (B, T), `positions` (B, S), the score positions counted in the *flattened* tokens, `targets`,
    `hard`, `n_correct` and `n_total` (B, S), `group`, `source`, `index` and `length` (B, 1). Padded batches have an
    `attention_mask` (B, T) only if `with_mask`: under causal attention no real token sees the padding behind it, and
    the CPU kernels skip what a mask would have them compute. Padding-free ones have T = all tokens in one row and
    `position_ids` (1, T) that start again with each solution, which is how transformers keeps them apart, and
    `segments`, which is how `prm.training.row_attention` does.

    Args:
        share_prompts: padding-free, and a prompt that several rows begin with is there once; its tokens are in the
            `length` of the first of them.
        implicit: also `predict_at`, `next_ids` (B, R), `ends` and `reference` (B, S), see `prm.heads.implicit`.
    """

    pad_token_id: int
    with_mask: bool = False
    padding_free: bool = False
    share_prompts: bool = False
    implicit: bool = False

    def __call__(self, items: Sequence[EncodedRow | tuple[EncodedRow, EncodedRow]]) -> dict[str, Any]:
        every = [row for item in items for row in (item if isinstance(item, tuple) else (item,))]
        # Blank rows keep the processes in step; beside a real one they would only be padding.
        rows = [row for row in every if row.index >= 0] or every[:2]
        return self.laid_out(rows, self._layout(rows))

    def laid_out(self, rows: Sequence[EncodedRow], layout: BatchLayout) -> dict[str, Any]:
        """The batch of rows whose tokens lie so."""
        import torch

        batch = dict(layout.given)
        read_at = [places[row.positions] for row, places in zip(rows, layout.places, strict=True)]
        batch["positions"] = stacked(read_at, 0)
        for name, padding in (("targets", PADDED), ("hard", PADDED), ("n_correct", 0), ("n_total", 0)):
            batch[name] = stacked([getattr(row, name) for row in rows], padding)
        for name in ("group", "source", "index"):
            batch[name] = torch.tensor([[getattr(row, name)] for row in rows])
        real = [length if row.index >= 0 else 0 for row, length in zip(rows, layout.lengths, strict=True)]
        batch["length"] = torch.tensor(real)[:, None]
        if self.implicit:
            batch |= _read_by_token(rows, layout.places)
        return batch

    def _layout(self, rows: Sequence[EncodedRow]) -> BatchLayout:
        if self.share_prompts:
            return with_shared_prompts(rows)
        return padding_free(rows) if self.padding_free else padded(rows, self.pad_token_id, with_mask=self.with_mask)


def _read_by_token(rows: Sequence[EncodedRow], places: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    import numpy as np

    at = [own[row.prompt_length - 1 : -1] for row, own in zip(rows, places, strict=True)]
    references = [np.zeros(len(row.positions)) if row.reference is None else row.reference for row in rows]
    return {
        "predict_at": stacked(at, 0),
        "next_ids": stacked([row.input_ids[row.prompt_length :] for row in rows], _NO_TOKEN),
        "ends": stacked([row.positions + 1 - row.prompt_length for row in rows], 0),
        "reference": stacked(references, 0.0).float(),
    }


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
        drop_last: leave out the rows of an incomplete last global batch instead of filling it.
        groups: number of the problem of each row.
        together: up to so many rows of a problem follow each other, so that they can share its prompt.

    Raises:
        ConfigError: `drop_last`, and not one global batch of rows.
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
        groups: Sequence[int] | np.ndarray = (),
        together: int = 1,
    ):
        self.lengths: list[int] = [int(length) for length in lengths]
        self.global_batch, self.shard = global_batch, shard
        self.strategy, self.seed, self.epoch, self.drop_last = strategy, seed, epoch, drop_last
        self.groups, self.together = groups, together
        if drop_last and len(self.lengths) < global_batch:
            raise ConfigError(
                f"dataloader_drop_last leaves nothing of {len(self.lengths)} rows in batches of {global_batch}; set "
                "it to false, or lower gradient_accumulation_steps or per_device_train_batch_size"
            )

    def __len__(self) -> int:
        if self.drop_last:
            return len(self.lengths) // self.global_batch * self.global_batch
        return -(-len(self.lengths) // self.shard) * self.shard

    def __iter__(self) -> Iterator[int]:
        order = list(range(len(self.lengths)))
        if self.strategy != "sequential":
            rng = random.Random(f"{self.seed}/{self.epoch()}")
            rng.shuffle(order)
            bundles = self._bundles(order)
            if self.strategy == "group_by_length":
                order = self._grouped(bundles, rng)
            else:
                order = [index for bundle in bundles for index in bundle]
        yield from (order + [len(self.lengths)] * len(self))[: len(self)]

    def _bundles(self, order: list[int]) -> list[list[int]]:
        """Rows that stay together, each bundle where its first row is."""
        if self.together == 1:
            return [[index] for index in order]
        bundles: list[list[int]] = []
        latest: dict[int, list[int]] = {}
        for index in order:
            bundle = latest.get(group := int(self.groups[index]))
            if bundle is None or len(bundle) == self.together:
                bundle = latest[group] = []
                bundles.append(bundle)
            bundle.append(index)
        return bundles

    def _grouped(self, bundles: list[list[int]], rng: random.Random) -> list[int]:
        """Sort pools of rows by length and shuffle the batches; the incomplete batch stays the last."""
        pool = max(self.global_batch * _POOL_BATCHES, _POOL_ROWS) // self.together
        rows: list[int] = []
        for start in range(0, len(bundles), pool):
            by_length = sorted(bundles[start : start + pool], key=lambda bundle: -max(self.lengths[i] for i in bundle))
            rows += [index for bundle in by_length for index in bundle]
        batches = [rows[start : start + self.global_batch] for start in range(0, len(rows), self.global_batch)]
        last = [batches.pop()] if len(batches[-1]) < self.global_batch else []
        rng.shuffle(batches)
        return [index for batch in batches + last for index in batch]
