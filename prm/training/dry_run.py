"""`prm train --dry_run true`: what a trainer that is ready to start would do, as text for the terminal.

The plan is `prm.training.plan`'s, the bytes `prm.training.memory`'s, the first batch as text
`prm.training.batch_text`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prm.model_shape import ModelShape
from prm.training.batch_text import coloured_batch, rows_of_batch
from prm.training.data import encoded_rows
from prm.training.memory import FOUR_BITS, MemoryEstimate, memory_estimate
from prm.training.plan import BatchPlan, memory_table, plan_batches, plan_table

if TYPE_CHECKING:
    from prm.training.trainer import VerifierTrainer


def dry_run(trainer: VerifierTrainer, *, colour: bool | None = None) -> str:
    """The plan, the memory and the first micro-batch of a trainer, without a step.

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
    parts = [
        plan_table(rows.counts.to_dict(), plan, longest=longest, max_length=args.max_length),
        memory_table(*_memory(trainer, plan)),
        first_batch(trainer, order[: args.train_batch_size], colour=colour),
    ]
    return "\n\n".join(parts)


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
    model: Any = trainer.model
    stage = zero_stage(trainer)
    names = {0: "one device" if args.world_size == 1 else "a copy each", 1: "ZeRO-1", 2: "ZeRO-2", 3: "ZeRO-3"}
    stages = [stage] if args.world_size == 1 else sorted({stage, 1, 2, 3})
    kinds = {type(parameter).__name__ for parameter in model.parameters()}
    settings: dict[str, Any] = {
        "tokens": plan.largest,
        "longest": plan.longest,
        "dtype": str(model.dtype).removeprefix("torch."),
        "mixed_precision": bool(args.bf16 or args.fp16),
        "processes": args.world_size,
        "optimizer": str(getattr(args.optim, "value", args.optim)),
        "activation_checkpointing": bool(args.activation_checkpointing),
        "attention": str(model.config._attn_implementation),
        "frozen_bytes": FOUR_BITS if "Params4bit" in kinds else 1.0 if "Int8Params" in kinds else None,
    }
    shape = ModelShape.of(model, head_everywhere=args.objective == "implicit_prm")
    return {names[one]: memory_estimate(shape, zero_stage=one, **settings) for one in stages}, names[stage]


def zero_stage(trainer: VerifierTrainer) -> int:
    """The ZeRO stage that this process was launched with; 0 without DeepSpeed."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return int(plugin.zero_stage) if plugin is not None else 0
