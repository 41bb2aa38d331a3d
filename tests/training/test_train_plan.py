"""The plan of a training: batches as they will be dealt, steps, padding, and what is cut off."""

from __future__ import annotations

import pytest

from prm.training.memory import MemoryEstimate
from prm.training.plan import memory_table, plan_batches, plan_table

LENGTHS = [10, 4, 6, 6, 20]
ORDER = [4, 0, 2, 3, 1, 5]  # 5 is the blank row


def test_rows_are_dealt_into_micro_batches_and_padded_to_their_longest() -> None:
    plan = plan_batches(LENGTHS, ORDER, per_device=2, epochs=3)
    assert plan.padding_share == pytest.approx(1 - 46 / (40 + 12 + 4))
    assert (plan.largest, plan.longest) == (40, 20)
    assert (plan.steps_per_epoch, plan.steps, plan.global_batch) == (3, 9, 2)


def test_rows_in_a_row_need_no_padding_but_where_a_batch_is_blank() -> None:
    plan = plan_batches(LENGTHS, ORDER, per_device=2, padding_free=True)
    assert (plan.padding_share, plan.largest) == (0, 30)
    assert plan_batches(LENGTHS, ORDER, per_device=1, padding_free=True).padding_share == pytest.approx(1 / 47)


def test_devices_and_accumulation_share_the_rows_of_a_step() -> None:
    plan = plan_batches(LENGTHS, ORDER, per_device=1, accumulation=2, processes=2, epochs=1.5)
    assert (plan.global_batch, plan.steps_per_epoch, plan.steps) == (4, 2, 3)
    bounded = plan_batches(LENGTHS, ORDER, per_device=1, accumulation=2, processes=2, max_steps=5)
    assert (bounded.steps, bounded.epochs) == (5, 2.5)


def test_the_plan_says_rows_steps_padding_and_what_is_cut_off_by_class() -> None:
    counts = {
        "rows": 1600,
        "groups": 800,
        "tokens": 51234,
        "labels": 4510,
        "mean_target": 0.6231,
        "truncated_rows": 12,
        "dropped_steps": 33,
        "dropped_labels": 31,
        "dropped_wrong_labels": 23,
    }
    plan = plan_batches(LENGTHS, ORDER, per_device=1, accumulation=2, processes=2, epochs=1.5)
    assert plan_table(counts, plan, longest=310, max_length=2048) == (
        "rows           1,600 of 800 problems\n"
        "tokens         51,234, the longest row 310\n"
        "labels         4,510, mean 0.623\n"
        "cut off        12 rows, to max_length 2,048: 33 steps with 8 labels that say right and 23 that say wrong\n"
        "batch          4 rows = 2 devices × 1 × 2 accumulated\n"
        "steps          3 = 1.5 epochs of 2\n"
        "padding        2.1% of the tokens\n"
        "largest batch  20 tokens on a device"
    )
    paired = plan_table(counts, plan, longest=310, max_length=2048, pairs=70, about={"model": "base"})
    assert paired.startswith("model          base\nrows           1,600 of 800 problems, in 70 pairs\n")
    assert "batch          4 pairs = " in paired
    assert "cut off        nothing" in plan_table({**counts, "truncated_rows": 0}, plan, longest=310, max_length=2048)


def test_the_memory_of_each_way_to_train_stands_in_a_table() -> None:
    estimates = {
        "ZeRO-2": MemoryEstimate(15.2e9, 1.9e9, 11.4e9, 7e9),
        "ZeRO-3": MemoryEstimate(1.9e9, 1.9e9, 11.4e9, 7e9),
    }
    header, _, two, three, note = memory_table(estimates, "ZeRO-2").splitlines()
    assert header.split() == ["memory", "per", "device", "weights", "gradients", "optimizer", "activations", "total"]
    assert two.split() == ["ZeRO-2", "(this", "run)", "15.2GB", "1.90GB", "11.4GB", "7.00GB", "35.5GB"]
    assert three.split() == ["ZeRO-3", "1.90GB", "1.90GB", "11.4GB", "7.00GB", "22.2GB"]
    assert note.startswith("not counted: ")
