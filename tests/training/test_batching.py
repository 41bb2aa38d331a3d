"""Rows are encoded once and as the verifier will; nothing is dropped silently; every split draws the same batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.encoding import EncodedDataset, encode_rows
from prm.errors import ConfigError, DataError
from prm.losses import PADDED
from prm.rows.training_rows import RejectedRow, StepRow
from prm.step_format import PromptFormat, StepFormat
from prm.training.batching import GlobalBatchSampler, StepCollator

FORMAT = StepFormat(PromptFormat("check {problem}\n"))


def test_ids_and_score_positions_are_those_of_the_step_format(
    tokenizer: Any, make_rows: Callable[..., list[StepRow]]
) -> None:
    rows = make_rows(12)
    dataset = encode_rows(rows, FORMAT, tokenizer, kind="prm", max_length=256)
    for row, encoded in zip(rows, dataset.rows, strict=True):
        expected = FORMAT.encode(row.prompt, row.completions, tokenizer)
        assert encoded.input_ids.tolist() == expected.input_ids
        assert encoded.positions.tolist() == expected.score_positions
        assert encoded.targets.tolist() == list(row.labels)
        assert all(tokenizer.decode([encoded.input_ids[p]]) == "\n" for p in encoded.positions)
    outcomes = encode_rows(rows, FORMAT, tokenizer, kind="orm", max_length=256)
    assert all(row.positions.tolist() == [len(row.input_ids) - 1] and len(row.targets) == 1 for row in outcomes.rows)


def test_truncation_drops_whole_steps_and_counts_their_labels(tokenizer: Any) -> None:
    """TRL 1.13 dropped them silently."""
    row = StepRow("p", ("aaaa", "bbbb", "cccc"), (1.0, None, 0.0), "p")
    dataset = encode_rows([row], StepFormat(), tokenizer, kind="prm", max_length=8)
    assert dataset.rows[0].targets.tolist() == [1.0]
    assert len(dataset.rows[0].input_ids) <= 8
    counts = dataset.counts
    assert (counts.truncated_rows, counts.dropped_steps, counts.dropped_labels) == (1, 2, 1)
    assert (counts.rows, counts.labels, counts.tokens) == (1, 1, 7)


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        (StepRow("p", ("aaaa", "bbbb"), (None, 1.0), "p", path="f.jsonl", line=7), "prm", "no label is left"),
        (StepRow("p", ("aaaa", "bbbb"), (None, 1.0), "p", path="f.jsonl", line=7), "orm", "no label is left"),
        (StepRow("p" * 20, ("a",), (1.0,), "p", path="f.jsonl", line=7), "prm", "the prompt alone has 21 tokens"),
        (StepRow("p", ("a\nb",), (1.0,), "p", path="f.jsonl", line=7), "prm", "contains the separator"),
        (StepRow("p", (" ",), (1.0,), "p", path="f.jsonl", line=7), "prm", "a step is blank"),
    ],
)
def test_rows_without_a_label_left_are_refused_by_file_and_line(
    tokenizer: Any, row: StepRow, kind: Any, message: str
) -> None:
    good = StepRow("p", ("a",), (1.0,), "p")
    with pytest.raises(DataError, match=message) as caught:
        encode_rows([good, row, row], StepFormat(), tokenizer, kind=kind, max_length=8)
    assert str(caught.value).startswith("f.jsonl, line 7: ")
    assert "(and 1 more rows like it)" in str(caught.value)


def test_the_collator_pads_on_the_right_and_tells_unknown_from_absent(tokenizer: Any) -> None:
    rows = [StepRow("p", ("a", "b"), (None, 0.5), "p"), StepRow("q", ("cc",), (1.0,), "q")]
    dataset = encode_rows(rows, StepFormat(), tokenizer, kind="prm", max_length=64)
    batch = StepCollator(tokenizer.pad_token_id)(dataset.rows)
    assert batch["targets"].tolist() == [[-1.0, 0.5], [1.0, PADDED]]
    assert batch["hard"].tolist() == [[-1.0, 1.0], [1.0, PADDED]]
    assert batch["positions"].tolist() == [[3, 5], [6 + 4, 0]]  # in the flattened tokens
    assert batch["input_ids"][1, -1].item() == tokenizer.pad_token_id
    assert batch["group"].tolist() == [[0], [1]]
    assert "attention_mask" not in batch
    masked = StepCollator(tokenizer.pad_token_id, with_mask=True)(dataset.rows)
    assert masked["attention_mask"].sum(1).tolist() == [len(row.input_ids) for row in dataset.rows]


def deal(order: list[int], micro: int, processes: int, accumulation: int) -> list[set[int]]:
    """The rows of each optimiser step, as accelerate deals them: micro-batch j goes to process j mod P."""
    micros = [order[i : i + micro] for i in range(0, len(order), micro)]
    streams = [micros[p::processes] for p in range(processes)]
    steps = range(0, len(streams[0]), accumulation)
    return [{i for s in streams for m in s[at : at + accumulation] for i in m if i < 53} for at in steps]


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length"])
def test_every_split_of_the_global_batch_trains_on_the_same_rows(strategy: Any) -> None:
    lengths = [(17 * i) % 31 + 1 for i in range(53)]

    def steps(micro: int, processes: int, accumulation: int) -> list[set[int]]:
        shard = micro * processes
        sampler = GlobalBatchSampler(
            lengths, global_batch=shard * accumulation, shard=shard, strategy=strategy, seed=1, epoch=lambda: 2
        )
        order = list(sampler)
        assert len(order) == len(sampler) and len(order) % shard == 0
        return deal(order, micro, processes, accumulation)

    whole = steps(8, 1, 1)
    assert sorted(i for step in whole for i in step) == list(range(53))  # every row once, none repeated as filling
    for split in [(2, 1, 4), (1, 1, 8), (4, 2, 1), (2, 2, 2), (1, 4, 2)]:
        assert steps(*split) == whole, split


def test_the_order_changes_with_the_epoch_and_repeats_with_the_seed() -> None:
    lengths = list(range(40))

    def order(epoch: int, seed: int = 0) -> list[int]:
        return list(GlobalBatchSampler(lengths, global_batch=4, shard=4, seed=seed, epoch=lambda: epoch))

    assert order(0) == order(0) != order(1)
    assert order(0) != order(0, seed=1)
    spread = [max(order(0)[i : i + 4]) - min(order(0)[i : i + 4]) for i in range(0, 40, 4)]
    assert max(spread) == 3  # rows of one batch are of similar length


def test_drop_last_leaves_out_what_does_not_fill_a_global_batch() -> None:
    """Not what does not fill a micro-batch, or every split would leave out other rows."""
    for shard in (1, 2, 4):
        sampler = GlobalBatchSampler([1] * 11, global_batch=4, shard=shard, drop_last=True)
        assert len(list(sampler)) == len(sampler) == 8 and 11 not in list(sampler)
    with pytest.raises(ConfigError, match="leaves nothing of 3 rows in batches of 4; set it to false"):
        GlobalBatchSampler([1] * 3, global_batch=4, shard=1, drop_last=True)


def test_large_data_sets_are_encoded_once(
    tokenizer: Any,
    make_rows: Callable[..., list[StepRow]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PRM_CACHE", str(tmp_path))
    monkeypatch.setattr("prm.training.encoding_cache.FEWEST_ROWS", 10)
    rows = [*make_rows(12), StepRow("p", ("a\nb",), (1.0,), "p", path="f.jsonl", line=3)]
    rejected: list[RejectedRow] = []

    def encode(kind: Any = "prm", max_length: int = 64) -> EncodedDataset:
        return encode_rows(rows, FORMAT, tokenizer, kind=kind, max_length=max_length, rejected=rejected)

    first, counts = encode(), len(list(tmp_path.iterdir()))
    monkeypatch.setattr("prm.encoding._Builder.add", None)  # nothing is encoded again
    second = encode()
    assert counts == 1 and second.counts == first.counts and second.origins == first.origins
    for row, other in zip(first.rows, second.rows, strict=True):
        assert row.input_ids.tolist() == other.input_ids.tolist() and row.targets.tolist() == other.targets.tolist()
    assert [row.line for row in rejected] == [3, 3]
    for changed in ({"kind": "orm"}, {"max_length": 63}):
        with pytest.raises(TypeError):
            encode(**changed)
    tokenizer_before, tokenizer.pad_token = tokenizer.pad_token, "<eos>"
    try:
        with pytest.raises(TypeError):
            encode()
    finally:
        tokenizer.pad_token = tokenizer_before


def test_a_damaged_cache_is_encoded_again(
    tokenizer: Any, make_rows: Callable[..., list[StepRow]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRM_CACHE", str(tmp_path))
    monkeypatch.setattr("prm.training.encoding_cache.FEWEST_ROWS", 10)
    rows = make_rows(12)
    first = encode_rows(rows, FORMAT, tokenizer, kind="prm", max_length=64)
    next(tmp_path.glob("*/tokens.npy")).write_bytes(b"cut")
    again = encode_rows(rows, FORMAT, tokenizer, kind="prm", max_length=64)
    assert again.tokens.tolist() == first.tokens.tolist()
