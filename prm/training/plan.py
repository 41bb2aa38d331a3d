"""What a training would do, said before it does it (`prm train --dry_run true`): rows, batches, steps, padding, what
does not fit, and the memory it takes. Bytes are `prm.training.memory`'s, the first batch as text
`prm.training.batch_text`'s."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prm.report.formatting import Column, Row, percent
from prm.report.terminal import render_table
from prm.training.memory import NOT_COUNTED, MemoryEstimate


@dataclass(frozen=True)
class BatchPlan:
    """How one epoch's rows are dealt out.

    Attributes:
        per_device, accumulation, processes: rows of a micro-batch, micro-batches of an optimiser step, devices.
        steps_per_epoch, steps: optimiser steps.
        epochs: how often the rows are passed; may be a fraction.
        padding_share: share of the tokens run over that are padding.
        largest, longest: tokens of the largest micro-batch, padding included, and of its longest row.
    """

    per_device: int
    accumulation: int
    processes: int
    steps_per_epoch: int
    steps: int
    epochs: float
    padding_share: float
    largest: int
    longest: int

    @property
    def global_batch(self) -> int:
        """Rows of one optimiser step."""
        return self.processes * self.per_device * self.accumulation


def plan_batches(
    lengths: Sequence[int],
    order: Sequence[int],
    *,
    per_device: int,
    accumulation: int = 1,
    processes: int = 1,
    epochs: float = 1.0,
    max_steps: int = -1,
    padding_free: bool = False,
    solutions: int = 1,
) -> BatchPlan:
    """Deal the rows of an epoch into micro-batches, as `accelerate` deals them: `per_device` rows at a time.

    Args:
        lengths: tokens of each row.
        order: indices of the rows in the order of an epoch, such as `list(GlobalBatchSampler(...))`; an index beyond
            the last row is the blank one that fills a batch.
        epochs, max_steps: as in the training arguments; `max_steps` above 0 wins.
        padding_free: the rows of a micro-batch lie one after the other, without padding.
        solutions: of a row; 2 for pairs, whose length is that of the longer one.
    """
    # Blank rows are left out of a batch; one that has no other is a token long.
    dealt = [order[start : start + per_device] for start in range(0, len(order), per_device)]
    batches = [[lengths[index] for index in batch if index < len(lengths)] for batch in dealt]
    real = sum(map(sum, batches))
    sizes = [max(1, sum(batch) if padding_free else len(batch) * max(batch, default=0)) for batch in batches]
    steps_per_epoch = math.ceil(len(batches) / (processes * accumulation))
    largest = max(range(len(sizes)), key=lambda index: sizes[index], default=None)
    steps = max_steps if max_steps > 0 else math.ceil(epochs * steps_per_epoch)
    return BatchPlan(
        per_device=per_device,
        accumulation=accumulation,
        processes=processes,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        epochs=steps / steps_per_epoch if max_steps > 0 and steps_per_epoch else epochs,
        padding_share=1 - real / sum(sizes) if sizes else 0.0,
        largest=0 if largest is None else solutions * sizes[largest],
        longest=0 if largest is None else max(batches[largest], default=0),
    )


def plan_table(
    counts: Mapping[str, float],
    batches: BatchPlan,
    *,
    longest: int,
    max_length: int,
    pairs: int | None = None,
    about: Mapping[str, str] | None = None,
) -> str:
    """The plan as lines for the terminal.

    Args:
        counts: `prm.encoding.EncodingCounts.to_dict()` of the training rows.
        longest: tokens of the longest row.
        pairs: how many the rows stand in, under a pairwise loss.
        about: what else is to be said of the run, by name; it stands first.
    """
    lost = int(counts["dropped_labels"])
    wrong = int(counts["dropped_wrong_labels"])
    cut = "nothing"
    if counts["truncated_rows"]:
        cut = (
            f"{counts['truncated_rows']:,} rows, to max_length {max_length:,}: {counts['dropped_steps']:,} steps with "
            f"{lost - wrong:,} labels that say right and {wrong:,} that say wrong"
        )
    devices = "1 device" if batches.processes == 1 else f"{batches.processes:,} devices"
    shares = f"{devices} × {batches.per_device} × {batches.accumulation} accumulated"
    unit = "rows" if pairs is None else "pairs"
    lines = {
        **(about or {}),
        "rows": f"{counts['rows']:,} of {counts['groups']:,} problems" + (f", in {pairs:,} pairs" if pairs else ""),
        "tokens": f"{counts['tokens']:,}, the longest row {longest:,}",
        "labels": f"{counts['labels']:,}, mean {counts['mean_target']:.3f}",
        "cut off": cut,
        "batch": f"{batches.global_batch:,} {unit} = {shares}",
        "steps": f"{batches.steps:,} = {batches.epochs:.4g} epochs of {batches.steps_per_epoch:,}",
        "padding": f"{percent(batches.padding_share)} of the tokens",
        "largest batch": f"{batches.largest:,} tokens on a device",
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def memory_table(estimates: Mapping[str, MemoryEstimate], chosen: str) -> str:
    """Memory on each device for one or more ways to train, the chosen one marked.

    Args:
        estimates: by name, such as `ZeRO-2`, in the order in which they are to stand.
    """
    parts = ("weights", "gradients", "optimizer", "activations", "total")
    columns: list[str | Column] = ["memory per device", *(Column(part, "si", "B") for part in parts)]
    rows = [
        [f"{name} (this run)" if name == chosen else name, *(getattr(estimate, part) for part in parts)]
        for name, estimate in estimates.items()
    ]
    return f"{render_table(columns, rows)}\nnot counted: {NOT_COUNTED}"


def devices_table(totals: Mapping[int, Mapping[str, MemoryEstimate]]) -> str:
    """What a device takes in all, for several numbers of devices and ways to train; the micro-batch stays.

    Args:
        totals: for each number of devices the estimates by name, the same names for all.
    """
    names = list(next(iter(totals.values())))
    columns: list[str | Column] = ["devices", *(Column(name, "si", "B") for name in names)]
    rows: list[Row] = [[str(count), *(found[name].total for name in names)] for count, found in totals.items()]
    return f"{render_table(columns, rows)}\ntotal per device on so many of them, each with the micro-batch of this run"
