"""`prm train --dry_run true`: what a trainer that is ready to start would do, as text for the terminal.

The plan is `prm.training.plan`'s, the bytes `prm.training.memory`'s, the histograms `prm.training.data_text`'s, the
first batch as text `prm.training.batch_text`'s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from prm.encoding import EncodedDataset
from prm.model_shape import ModelShape
from prm.report.formatting import si
from prm.training.batch_text import coloured_batch, rows_of_batch
from prm.training.data import encoded_rows
from prm.training.data_text import data_text
from prm.training.memory import FOUR_BITS, MemoryEstimate, memory_estimate
from prm.training.page.rows import RowFacts
from prm.training.plan import BatchPlan, devices_table, memory_table, plan_batches, plan_table
from prm.training.quantization import quantized_to

if TYPE_CHECKING:
    from prm.training.trainer import VerifierTrainer

_DEVICES = (1, 2, 4, 8)
_WAYS = {0: "a copy each", 1: "ZeRO-1", 2: "ZeRO-2", 3: "ZeRO-3"}


def dry_run(trainer: VerifierTrainer, *, colour: bool | None = None) -> str:
    """The plan, the data, the memory and the first micro-batch of a trainer, without a step.

    Args:
        colour: whether to colour the batch; by default where the terminal wants it.
    """
    dataset: Any = trainer.train_dataset
    args: Any = trainer.args
    rows = encoded_rows(dataset)
    order = list(trainer._get_train_sampler(dataset))
    plan = plan_batches(
        dataset.lengths.tolist(),
        order,
        per_device=args.train_batch_size,
        accumulation=args.gradient_accumulation_steps,
        processes=args.world_size,
        epochs=args.num_train_epochs,
        max_steps=args.max_steps,
        padding_free=args.padding_free,
        solutions=2 if rows is not dataset else 1,
    )
    longest = int(rows.lengths.max())
    pairs = None if rows is dataset else len(dataset)
    parts = [
        plan_table(
            *(rows.counts.to_dict(), plan),
            longest=longest,
            max_length=args.max_length,
            pairs=pairs,
            about=about(trainer, plan.steps),
        ),
        data_text(RowFacts.of(rows, max_length=args.max_length)),
        memory_table(*_memory(trainer, plan)),
        devices_table({count: _estimates(trainer, plan, list(_WAYS), count) for count in _DEVICES}),
        first_batch(trainer, order[: args.train_batch_size], colour=colour),
    ]
    return "\n\n".join(parts)


def about(trainer: VerifierTrainer, steps: int) -> dict[str, str]:
    """Model, objective, schedules, held-out rows and where the result goes, by name.

    Args:
        steps: optimiser steps of the run.
    """
    args: Any = trainer.args
    trained, all_of_them = trainer.num_trainable_parameters, trainer.num_parameters
    head_rate = "" if args.head_learning_rate is None else f", {args.head_learning_rate:g} of the head"
    warm_up = f", {args.get_warmup_steps(steps):,} steps of warm-up" if args.warmup_steps else ""
    scheduler = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    return {
        "model": f"{trainer.base_model}, {si(all_of_them)} parameters, {si(trained)} of them trained",
        "objective": f"{args.objective}, a {trainer.head.spec_head} head, from {args.label_view} labels",
        "loss": str(args.loss),
        "learning rate": f"{args.learning_rate:g}{head_rate}, {scheduler}{warm_up}",
        "held out": _held_out(trainer),
        "evaluation": _evaluation(trainer, steps),
        "saving": _every(args.save_strategy, args.save_steps, steps) or "at the end alone",
        "output": str(args.output_dir),
    }


def _held_out(trainer: VerifierTrainer) -> str:
    found: Any = trainer.eval_dataset
    told = "nothing, so no metrics, calibration or fitted threshold"
    if isinstance(found, EncodedDataset):
        told = f"{found.counts.rows:,} rows of {found.counts.groups:,} problems with {found.counts.labels:,} labels"
    elif isinstance(found, dict):
        told = ", ".join(f"{name}: {len(part):,} rows" for name, part in found.items())
    if trainer.samples is not None:
        facts = trainer.samples.facts()
        told += f"; {facts['samples']:,} samples of {facts['problems']:,} problems, for best-of-{facts['n']}"
    return told


def _evaluation(trainer: VerifierTrainer, steps: int) -> str:
    args: Any = trainer.args
    if trainer.eval_dataset is None and trainer.samples is None:
        return "none"
    often = _every(args.eval_strategy, args.eval_steps, steps)
    told = f"{often}, and at the end" if often else "at the end alone"
    if args.load_best_model_at_end:
        told += f"; the checkpoint with the best {args.metric_for_best_model} is taken"
    return told


def _every(strategy: Any, interval: float | None, steps: int) -> str:
    """A schedule in words; empty for none. An interval below 1 is a share of all steps, as transformers has it."""
    name = str(getattr(strategy, "value", strategy))
    if name == "steps" and interval:
        count = math.ceil(interval * steps) if interval < 1 else int(interval)
        return f"every {count:,} steps" if count > 1 else "every step"
    return "" if name in ("no", "steps") else "each epoch" if name == "epoch" else name


def first_batch(trainer: VerifierTrainer, indices: list[int], *, colour: bool | None = None) -> str:
    """The rows of these indices as the collator makes a batch of them."""
    dataset: Any = trainer.train_dataset
    items = [dataset[index] for index in indices]
    flat = [row for item in items for row in (item if isinstance(item, tuple) else (item,))]
    batch = trainer.data_collator(items)
    shown = rows_of_batch(batch, [row.prompt_length for row in flat])
    return coloured_batch(shown, trainer.processing_class, colour=colour)


def _memory(trainer: VerifierTrainer, plan: BatchPlan) -> tuple[dict[str, MemoryEstimate], str]:
    """Estimates for the way of this run, and for the other ways where there are several devices."""
    args: Any = trainer.args
    stage = zero_stage(trainer)
    if args.world_size == 1 and not stage:
        (found,) = _estimates(trainer, plan, [0], 1).values()
        return {"one device": found}, "one device"
    stages = [stage] if args.world_size == 1 else sorted({stage, 1, 2, 3})
    return _estimates(trainer, plan, stages, args.world_size), _WAYS[stage]


def _estimates(
    trainer: VerifierTrainer, plan: BatchPlan, stages: list[int], processes: int
) -> dict[str, MemoryEstimate]:
    """Estimates by the name of the ZeRO stage."""
    args: Any = trainer.args
    model: Any = trainer.model
    settings: dict[str, Any] = {
        "tokens": plan.largest,
        "longest": plan.longest,
        "dtype": str(model.dtype).removeprefix("torch."),
        "mixed_precision": bool(args.bf16 or args.fp16),
        "processes": processes,
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        "activation_checkpointing": bool(args.activation_checkpointing),
        "attention": str(model.config._attn_implementation),
        "frozen_bytes": {"4-bit": FOUR_BITS, "8-bit": 1.0}.get(quantized_to(model)),
    }
    shape = ModelShape.of(model, head_everywhere=args.objective == "implicit_prm")
    return {_WAYS[one]: memory_estimate(shape, zero_stage=one, **settings) for one in stages}


def zero_stage(trainer: VerifierTrainer) -> int:
    """The ZeRO stage that this process was launched with; 0 without DeepSpeed."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return int(plugin.zero_stage) if plugin is not None else 0
