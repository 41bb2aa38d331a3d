"""`VerifierTrainer`: a `transformers.Trainer` that learns step scores (PRM) or outcome scores (ORM).

    >>> trainer = VerifierTrainer(
    ...     model="Qwen/Qwen2.5-Math-1.5B",
    ...     args=VerifierConfig(output_dir="runs/prm", kind="prm"),
    ...     train_dataset=dataset,  # TRL's columns: prompt, completions, labels
    ...     peft_config=LoraConfig(r=16, target_modules="all-linear"),
    ... )
    >>> trainer.train()

It owns what transformers gets wrong or leaves open for such heads: the loss is divided by the labelled units of the
global batch (`prm.objectives`), every way of splitting that batch sees the same rows (`prm.batching`), and each
checkpoint carries the scoring spec that `prm.verifier` reads. Files and rows are `prm.training_rows`', the command
line is `prm.train`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.trainer_pt_utils import get_model_param_count

from prm.batching import EncodedDataset, GlobalBatchSampler, SamplingStrategy, StepCollator, encode_rows
from prm.errors import ConfigError
from prm.heads import (
    HEAD_OF_KIND,
    add_lora,
    attends_causally,
    build_model,
    check_model,
    disable_head_dropout,
    load_tokenizer,
)
from prm.objectives import count_units, solution_margins, step_margins, summed_loss
from prm.scoring_spec import ScoringSpec
from prm.step_format import encode_plain
from prm.training_rows import RejectedRow, StepRow, rows_from_columns
from prm.verifier_config import VerifierConfig
from prm.worlds.models import expand_embedded

if TYPE_CHECKING:
    import torch

_MANY_ROWS = 20_000  # encoding so many takes long enough to show a progress bar


class VerifierTrainer(Trainer):
    """Trains a PRM or an ORM.

    Args:
        model: a checkpoint's name, which gets a new head, or a model with a head of `args.kind`.
        args: a `VerifierConfig`.
        train_dataset, eval_dataset: a `datasets.Dataset` with TRL's columns `prompt`, `completions` and `labels`, or a
            sequence of `StepRow`; evaluation also takes a dict of them.
        processing_class: the tokenizer; loaded from the checkpoint if not given.
        peft_config: a LoRA configuration; its task type and its handling of the head follow `args.kind`.
        base_model: what to name as the base in the scoring spec; the checkpoint's name if not given.
        other arguments: as of `transformers.Trainer`.

    Attributes:
        rejected: the rows that were dropped as bad ones, where `args.bad_rows` says so.

    Raises:
        DataError, FormatError, ModelError, ConfigError: see their messages.
    """

    # Our loss is divided by the units of the whole accumulated batch already.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: Any,
        args: VerifierConfig | None = None,
        *,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: Any = None,
        peft_config: Any = None,
        compute_metrics: Any = None,
        base_model: str | None = None,
        **others: Any,
    ):
        args = _checked_config(args or VerifierConfig(output_dir="verifier"))
        if isinstance(model, str):
            model = expand_embedded(model)
        name = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "")
        processing_class = processing_class if processing_class is not None else load_tokenizer(name)
        if isinstance(model, str):
            set_seed(args.seed)  # the head is drawn here
            model = build_model(model, args.kind, processing_class, head_init_tokens=args.head_init_tokens)
        check_model(model, args.kind)
        disable_head_dropout(model)
        _check_separator(args.step_separator, processing_class)
        if peft_config is not None:
            model = add_lora(model, peft_config, args.kind)
            if args.activation_checkpointing:
                model.enable_input_require_grads()  # else nothing before the first adapter needs a gradient
        self.step_format, self.base_model, self.label_source = args.step_format, base_model or name, ""
        self._tokenizer, self._config = processing_class, args
        self.rejected: list[RejectedRow] = []
        train_rows = self._rows(train_dataset, "train_dataset")
        if train_rows:
            self.label_source = "+".join(sorted({row.source for row in train_rows if row.source}))
        super().__init__(
            model=model,
            args=args,
            data_collator=StepCollator(processing_class.pad_token_id, with_mask=not attends_causally(model)),
            train_dataset=self.encode(train_rows) if train_rows else None,
            eval_dataset=self._encoded_evaluation(eval_dataset),
            processing_class=processing_class,
            compute_metrics=compute_metrics or self._metrics,
            **others,
        )
        self.add_callback(LogAtSaves())

    @cached_property
    def num_parameters(self) -> int:
        """All parameters, adapter and head included."""
        return int(get_model_param_count(self.model))

    @cached_property
    def num_trainable_parameters(self) -> int:
        """Parameters that are trained."""
        return int(get_model_param_count(self.model, trainable_only=True))

    def encode(self, rows: Sequence[StepRow]) -> EncodedDataset:
        """Token ids, score positions and targets of rows, once and for all epochs."""
        args = self._config
        shown = len(rows) >= _MANY_ROWS and not args.disable_tqdm and args.process_index == 0
        return encode_rows(
            rows,
            self.step_format,
            self._tokenizer,
            kind=args.kind,
            max_length=args.max_length,
            label="encode" if shown else None,
            rejected=self._bin,
        )

    @property
    def _bin(self) -> list[RejectedRow] | None:
        """Where bad rows go, or `None` where they are refused."""
        return self.rejected if self._config.bad_rows == "drop" else None

    def _rows(self, dataset: Any, name: str) -> list[StepRow]:
        if dataset is None:
            return []
        rows = list(dataset)
        if not rows:
            raise ConfigError(f"{name} is empty; give at least one row")
        if isinstance(rows[0], StepRow):
            return rows
        args = self._config
        return rows_from_columns(rows, kind=args.kind, label_view=args.label_view, name=name, rejected=self._bin)

    def scoring_spec(self) -> ScoringSpec:
        """What `prm.verifier` needs to read this model's scores."""
        return ScoringSpec(
            kind=self._config.kind,
            head=HEAD_OF_KIND[self._config.kind],
            step_format=self.step_format,
            aggregation=self._config.aggregation,
            threshold=self._config.threshold,
            max_length=self._config.max_length,
            label_source=self.label_source,
            label_view=self._config.label_view,
            base_model=str(self.base_model),
        )

    # The loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor]:
        """Micro-batches of one optimiser step, and the number of labelled units in it over all processes."""
        import torch

        batches = list(islice(epoch_iterator, num_batches))
        units = torch.stack(
            [count_units(batch["targets"]) for batch in batches] or [torch.zeros((), dtype=torch.long)]
        )
        return batches, self.accelerator.reduce(units.sum().to(device), reduction="sum")

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Summed loss over the units of the global batch.

        DDP and DeepSpeed average gradients over processes, so the sum is multiplied by their number. Without
        `num_items_in_batch` the loss is the mean over this batch.
        """
        margins_BS = self._margins(model, inputs)
        loss = summed_loss(margins_BS, inputs["targets"])
        if num_items_in_batch is None:
            loss = loss / count_units(inputs["targets"]).clamp(min=1)
        else:
            loss = loss * self.accelerator.num_processes / num_items_in_batch
        return (loss, {"margins": margins_BS}) if return_outputs else loss

    def _margins(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        read = {name: inputs[name] for name in ("input_ids", "attention_mask") if name in inputs}
        logits = model(**read).logits
        return solution_margins(logits) if self._config.kind == "orm" else step_margins(logits, inputs["positions"])

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """6 per parameter and token; transformers counts all parameters again at every step."""
        return 6 * int(inputs["input_ids"].numel()) * self.num_parameters

    # Batches

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        shard = self._train_batch_size * self.accelerator.num_processes
        return GlobalBatchSampler(
            [len(row.input_ids) for row in dataset.rows],
            global_batch=shard * self.args.gradient_accumulation_steps,
            shard=shard,
            strategy=cast(SamplingStrategy, self.args.train_sampling_strategy),
            seed=self.args.data_seed if self.args.data_seed is not None else self.args.seed,
            # Not by set_epoch: accelerate does not pass it through when a resumed run skips batches.
            epoch=lambda: int(self.state.epoch or 0),
            drop_last=self.args.dataloader_drop_last,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        from torch.utils.data import SequentialSampler

        return SequentialSampler(eval_dataset)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """As transformers', and takes rows that are not encoded yet."""
        return super().get_eval_dataloader(self._encoded_evaluation(eval_dataset))

    def get_test_dataloader(self, test_dataset: Any) -> Any:
        """As transformers', and takes rows that are not encoded yet; predictions keep the order of the rows."""
        if not isinstance(test_dataset, EncodedDataset):
            test_dataset = self.encode(self._rows(test_dataset, "test_dataset"))
        return super().get_test_dataloader(test_dataset)

    def _encoded_evaluation(self, dataset: Any) -> Any:
        if dataset is None or isinstance(dataset, EncodedDataset | str):
            return dataset
        if isinstance(dataset, dict):
            return {name: self._encoded_evaluation(part) for name, part in dataset.items()}
        rows = self._rows(dataset, "eval_dataset")
        return self.encode(rows).sorted_by_length() if rows else None

    # Evaluation and saving

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, Any]:
        """Margins (B, S), and the targets, hard labels and problems to hold them against. The loss is a metric: its
        mean is over units, and transformers would average batches."""
        import torch

        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            margins_BS = self._margins(model, inputs)
        return None, margins_BS.contiguous(), tuple(inputs[name] for name in ("targets", "hard", "group"))

    def _metrics(self, predicted: Any) -> dict[str, float]:
        from prm.metrics import verifier_metrics

        targets_NS, hard_NS, groups_N1 = predicted.label_ids
        return verifier_metrics(
            predicted.predictions,
            targets_NS,
            hard_NS,
            groups_N1[:, 0],
            kind=self._config.kind,
            threshold=self._config.threshold,
        )

    def final_evaluation(self) -> dict[str, dict[str, float]]:
        """Metrics on the evaluation set with 95% intervals over problems; empty without one.

        Each is `{"value": ..., "low": ..., "high": ..., "n": problems}`.
        """
        from prm.metrics import metric_intervals

        if self.eval_dataset is None:
            return {}
        evaluated: Any = self.eval_dataset
        found: Any = self.predict(evaluated, metric_key_prefix="eval")
        targets_NS, hard_NS, groups_N1 = found.label_ids
        return metric_intervals(
            found.predictions,
            targets_NS,
            hard_NS,
            groups_N1[:, 0],
            kind=self._config.kind,
            threshold=self._config.threshold,
        )

    def _save_rng_state(self, output_dir: str) -> None:
        """The last thing before the trainer's state is written: once that file is there, every process is done."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict=state_dict)
        if self.args.should_save:
            self.scoring_spec().save(output_dir or str(self.args.output_dir))


class LogAtSaves(TrainerCallback):
    """Log the loss wherever a checkpoint is saved, so that the means which a resumed run logs are over the same steps
    as those of an uninterrupted one."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> TrainerControl:
        if control.should_save:
            control.should_log = True
        return control


def _checked_config(args: Any) -> VerifierConfig:
    if not isinstance(args, VerifierConfig):
        raise ConfigError(
            f"args is a {type(args).__name__}; give a prm.VerifierConfig, which takes transformers' training "
            "arguments and the verifier's kind, step_separator and the like"
        )
    return args


def _check_separator(separator: str, tokenizer: Any) -> None:
    """An ORM is pooled at the last token that is not padding, so the separator must not end in the padding token."""
    ids = encode_plain(tokenizer, separator)
    if not ids or ids[-1] == tokenizer.pad_token_id:
        raise ConfigError(
            f"the step separator {separator!r} has no token of its own, or ends in the tokenizer's padding token; "
            "choose another step_separator"
        )
