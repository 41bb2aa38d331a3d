"""From training rows to padded batches: encode once, drop nothing silently, draw the same global batches anywhere.

`StepFormat` decides the ids and the score positions; the objective of them is `prm.objectives`', the loop
`prm.trainer`'s.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from prm.errors import DataError, FormatError
from prm.objectives import IGNORED
from prm.progress import progress_bar
from prm.step_format import MemoTokenizer, StepFormat
from prm.training_rows import Kind, RejectedRow, StepRow

if TYPE_CHECKING:
    import torch

PADDED = -100.0  # a target where there is no step at all; `IGNORED` is a step of which nothing is known
SamplingStrategy = Literal["random", "sequential", "group_by_length"]
_POOL_BATCHES = 50  # global batches sorted by length at a time, as in transformers' own sampler


@dataclass(frozen=True)
class EncodedRow:
    """Token ids, and at each score position the target to learn, the hard label to measure against, and the
    problem's number."""

    input_ids: list[int]
    positions: list[int]
    targets: list[float]
    hard: list[float]
    group: int = -1


@dataclass(frozen=True)
class EncodingCounts:
    """What a set of rows became: tokens, units of the loss, and what did not fit into `max_length`."""

    rows: int = 0
    groups: int = 0
    tokens: int = 0
    labels: int = 0
    mean_target: float = 0.0
    truncated_rows: int = 0
    dropped_steps: int = 0
    dropped_labels: int = 0

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class EncodedDataset:
    """Encoded rows as a map-style dataset. Index `len(self)` is the blank row that fills the last global batch."""

    def __init__(self, rows: Sequence[EncodedRow], counts: EncodingCounts, pad_token_id: int):
        self.rows, self.counts = list(rows), counts
        self._blank = EncodedRow([pad_token_id], [], [], [])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> EncodedRow:
        return self._blank if index == len(self.rows) else self.rows[index]

    def sorted_by_length(self) -> EncodedDataset:
        """The longest rows first: little padding, and too large a batch fails at once."""
        rows = sorted(self.rows, key=lambda row: -len(row.input_ids))
        return EncodedDataset(rows, self.counts, self._blank.input_ids[0])


def encode_rows(
    rows: Sequence[StepRow],
    step_format: StepFormat,
    tokenizer: Any,
    *,
    kind: Kind,
    max_length: int,
    label: str | None = None,
    rejected: list[RejectedRow] | None = None,
) -> EncodedDataset:
    """Encode rows once, exactly as the verifier will.

    Whole steps are dropped from the end where a row is longer than `max_length`, and counted with their labels.

    Args:
        label: name of a progress bar; `None` shows none.
        rejected: takes the rows that cannot be encoded; `None` refuses them.

    Raises:
        DataError: rows that cannot be encoded or that keep no label, with the file and line of the first; or, where
            such rows are rejected, no other row.
    """
    groups: dict[str, int] = {}
    encoded: list[EncodedRow] = []
    refused: list[tuple[StepRow, str]] = []
    dropped = {"truncated_rows": 0, "dropped_steps": 0, "dropped_labels": 0}
    memo = MemoTokenizer(tokenizer)
    with progress_bar(label, len(rows), "row") if label else _no_bar() as advance:
        for row in rows:
            group = groups.setdefault(row.group, len(groups))
            try:
                encoded.append(_encode(row, group, step_format, memo, kind, max_length, dropped))
            except FormatError as error:
                refused.append((row, str(error)))
            advance(1)
    if refused and (rejected is None or not encoded):
        raise _refusal(refused)
    if rejected is not None:
        rejected += [_rejected(row, why) for row, why in refused]
    targets = [target for row in encoded for target in row.targets if target >= 0]
    counts = EncodingCounts(
        rows=len(encoded),
        groups=len({row.group for row in encoded}),
        tokens=sum(len(row.input_ids) for row in encoded),
        labels=len(targets),
        mean_target=sum(targets) / len(targets) if targets else 0.0,
        **dropped,
    )
    return EncodedDataset(encoded, counts, tokenizer.pad_token_id)


def _encode(
    row: StepRow,
    group: int,
    step_format: StepFormat,
    tokenizer: Any,
    kind: Kind,
    max_length: int,
    dropped: dict[str, int],
) -> EncodedRow:
    solution = step_format.encode(row.prompt, row.completions, tokenizer, max_length=max_length)
    kept = len(solution.score_positions)
    if all(label is None for label in row.labels[:kept]):
        raise FormatError(
            f"only {kept} of {len(row.completions)} steps fit into max_length={max_length}, and no label is left; "
            "raise max_length, or delete the row"
        )
    if solution.n_dropped:
        dropped["truncated_rows"] += 1
        dropped["dropped_steps"] += solution.n_dropped
        dropped["dropped_labels"] += sum(label is not None for label in row.labels[kept:])
    first = kept - 1 if kind == "orm" else 0  # an outcome is read at the last score position alone
    return EncodedRow(
        solution.input_ids,
        solution.score_positions[first:],
        [IGNORED if label is None else label for label in row.labels[first:kept]],
        [IGNORED if label is None else float(label) for label in row.hard_labels[first:kept]],
        group,
    )


def _refusal(refused: Sequence[tuple[StepRow, str]]) -> DataError:
    row, why = refused[0]
    more = f" (and {len(refused) - 1} more rows like it)" if len(refused) > 1 else ""
    return DataError(
        why + more, path=row.path or "training rows", line=row.line, remedy="bad_rows: drop trains without such rows"
    )


def _rejected(row: StepRow, why: str) -> RejectedRow:
    kept = {"prompt": row.prompt, "completions": list(row.completions), "labels": list(row.labels)}
    return RejectedRow(row.path or "training rows", row.line, why, kept)


class _no_bar:
    def __enter__(self) -> Callable[[int], None]:
        return lambda count: None

    def __exit__(self, *exception: object) -> None:
        return None


@dataclass(frozen=True)
class StepCollator:
    """Pads rows on the right.

    Returns `input_ids` (B, T), `positions` (B, S), `targets` and `hard` (B, S), `group` (B, 1), and an
    `attention_mask` (B, T) only if `with_mask`: under causal attention no real token sees the padding behind it, and
    without a mask the CPU kernels are two to three times faster.
    """

    pad_token_id: int
    with_mask: bool = False

    def __call__(self, rows: Sequence[EncodedRow]) -> dict[str, torch.Tensor]:
        import torch

        width = max(len(row.input_ids) for row in rows)
        steps = max(1, *(len(row.positions) for row in rows))

        def stack(values: list[list[Any]], width: int, padding: float) -> torch.Tensor:
            return torch.tensor([value + [padding] * (width - len(value)) for value in values])

        batch = {
            "input_ids": stack([row.input_ids for row in rows], width, self.pad_token_id),
            "positions": stack([row.positions for row in rows], steps, 0),
            "targets": stack([row.targets for row in rows], steps, PADDED),
            "hard": stack([row.hard for row in rows], steps, PADDED),
            "group": torch.tensor([[row.group] for row in rows]),
        }
        if self.with_mask:
            batch["attention_mask"] = stack([[1] * len(row.input_ids) for row in rows], width, 0)
        return batch


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
        lengths: Sequence[int],
        *,
        global_batch: int,
        shard: int,
        strategy: SamplingStrategy = "group_by_length",
        seed: int = 0,
        epoch: Callable[[], int] = lambda: 0,
        drop_last: bool = False,
    ):
        self.lengths, self.global_batch, self.shard = lengths, global_batch, shard
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
