"""`VerifierTrainer`: a `transformers.Trainer` that learns step scores (PRM) or outcome scores (ORM).

    >>> trainer = VerifierTrainer(
    ...     model="Qwen/Qwen2.5-Math-1.5B",
    ...     args=VerifierConfig(output_dir="runs/prm", objective="prm"),
    ...     train_dataset=dataset,  # TRL's columns: prompt, completions, labels
    ...     peft_config=LoraConfig(r=16, target_modules="all-linear"),
    ... )
    >>> trainer.train()

It owns what transformers gets wrong or leaves open for such heads: the loss is divided by the units of the global
batch (`prm.losses`), every way of splitting that batch sees the same rows (`prm.training.batching`), heads are read at
the score positions alone (`prm.heads`), and each checkpoint carries the scoring spec that `prm.verifier` reads. Files
and rows are `prm.rows.training_rows`', the command line is `prm.train`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from transformers import EarlyStoppingCallback, set_seed
from transformers.trainer_pt_utils import get_model_param_count

from prm.encoding import EncodedDataset
from prm.errors import ConfigError
from prm.fingerprint import base_probe
from prm.heads import (
    RewardTokensHead,
    attends_causally,
    build_model,
    disable_head_dropout,
    head_module,
    head_to_train,
    keeps_rows_apart,
    load_tokenizer,
    margins,
    read_at_positions,
    unwrapped,
    with_lora,
)
from prm.losses import make_loss, read_class_weights
from prm.model_shape import ModelShape
from prm.rows.training_rows import RejectedRow, StepRow
from prm.scoring_spec import ScoringSpec
from prm.step_format import encode_plain
from prm.training.batching import GlobalBatchSampler, SamplingStrategy, StepCollator
from prm.training.callbacks import LogAtSaves, StopAtNan
from prm.training.checks import check_context
from prm.training.config import VerifierConfig
from prm.training.continuing import warn_of_differences
from prm.training.data import TrainerData, encoded_rows, mean_target
from prm.training.evaluation import EvaluatingTrainer
from prm.training.quantization import quantized_to
from prm.training.reference import Reference, reference_name
from prm.training.row_attention import attend_by_rows, why_not_by_rows
from prm.training.setting_checks import check_kernels
from prm.training.settling import before_training
from prm.training.throughput import Throughput, measured_matmul_rate
from prm.worlds.models import expand_embedded

if TYPE_CHECKING:
    import torch


class VerifierTrainer(EvaluatingTrainer):
    """Trains a PRM or an ORM.

    Args:
        model: a checkpoint's name, which gets a new head, or a model with the head of `args.objective`.
        args: a `VerifierConfig`.
        train_dataset, eval_dataset: a `datasets.Dataset` with TRL's columns `prompt`, `completions` and `labels`, or a
            sequence of `StepRow`; under a pairwise loss also its preference columns `prompt`, `chosen` and `rejected`,
            or a sequence of `PairRow`. Evaluation also takes a dict of them.
        processing_class: the tokenizer; loaded from the checkpoint if not given.
        peft_config: a LoRA configuration; its task type and its handling of the head follow the objective.
        base_model: what to name as the base in the scoring spec; the checkpoint's name if not given.
        other arguments: as of `transformers.Trainer`.

    Attributes:
        rejected: the rows that were dropped as bad ones, where `args.bad_rows` says so.
        quantized_base: `4-bit` or `8-bit` where the base is quantised in training; else empty.

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
        check_kernels(args)
        if isinstance(model, str):
            model = expand_embedded(model)
        name = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "")
        processing_class = processing_class if processing_class is not None else load_tokenizer(name)
        self.head = head_to_train(args, processing_class)
        if isinstance(model, str):
            warn_of_differences(model, args, self.head, processing_class)
            set_seed(args.seed)  # the head is drawn here
            model = build_model(
                *(model, self.head, processing_class),
                head_init_tokens=args.head_init_tokens,
                keep_adapter=peft_config is not None,
            )
        self.head.check(model)
        disable_head_dropout(model)
        _check_separator(args.step_separator, processing_class)
        if args.padding_free and not keeps_rows_apart(model):
            raise ConfigError(
                "padding_free puts solutions one after the other, and each would be read with those before it: "
                f"{type(model).__name__} attends both ways or carries a state from token to token; set it to false"
            )
        if peft_config is not None:
            model = with_lora(model, peft_config, self.head)
        self.quantized_base = quantized_to(model)
        self._adapter_base = base_probe(unwrapped(model)) if unwrapped(model) is not model else ""
        read_at_positions(model, self.head)
        if args.share_prompts > 1 or (args.padding_free and not why_not_by_rows(unwrapped(model))):
            attend_by_rows(unwrapped(model))
        self.step_format, self.base_model, self.label_source = args.step_format, base_model or name, ""
        self._tokenizer, self._config = processing_class, args
        self.reference_model = reference_name(args, str(name)) if args.objective == "implicit_prm" else None
        self.data = TrainerData(args, processing_class, self._reference(args, processing_class, model.dtype))
        encoded = self.data.train(train_dataset)
        if encoded is not None:
            check_context(encoded_rows(encoded), model, args.max_length)
            parts = {part for source in encoded_rows(encoded).source_names for part in source.split("+") if part}
            self.label_source = "+".join(sorted(parts))
        self.loss = make_loss(
            args.loss,
            class_weights=read_class_weights(args.class_weights, mean_target(encoded)),
            focal_gamma=args.focal_gamma,
            pqm_margin=args.pqm_margin,
        )
        self.settled = before_training(args, self.label_source)
        self.samples = self.data.samples(args.eval_samples_path) if args.eval_samples_path else None
        self._nan = StopAtNan()
        super().__init__(
            model=model,
            args=args,
            data_collator=StepCollator(
                processing_class.pad_token_id,
                with_mask=not attends_causally(model),
                padding_free=args.padding_free,
                share_prompts=args.share_prompts > 1,
                implicit=args.objective == "implicit_prm",
            ),
            train_dataset=encoded,
            eval_dataset=self._sorted(self.data.evaluation(eval_dataset)),
            processing_class=processing_class,
            compute_metrics=compute_metrics or self._metrics,
            **others,
        )
        self._shape = ModelShape.of(self.model, head_everywhere=args.objective == "implicit_prm")
        self.meter = Throughput(rate=self._matrix_rate, reduce=self._summed)
        self.add_callback(self.meter)
        self.add_callback(LogAtSaves())
        self.add_callback(self._nan)
        if args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(args.early_stopping_patience))

    @cached_property
    def num_parameters(self) -> int:
        """All parameters, adapter and head included."""
        return int(get_model_param_count(self.model))

    @cached_property
    def num_trainable_parameters(self) -> int:
        """Parameters that are trained."""
        return int(get_model_param_count(self.model, trainable_only=True))

    def _reference(self, args: VerifierConfig, tokenizer: Any, dtype: torch.dtype) -> Reference | None:
        if self.reference_model is None:
            return None
        return Reference(
            self.reference_model,
            tokenizer,
            device=args.device,
            dtype=str(dtype).removeprefix("torch."),
            process=args.process_index,
            processes=args.world_size,
            label=None if args.disable_tqdm or args.process_index else "reference",
        )

    @property
    def rejected(self) -> list[RejectedRow]:
        """The rows that were dropped as bad ones, where `args.bad_rows` says so."""
        return self.data.rejected

    def encode(self, rows: Sequence[StepRow]) -> EncodedDataset:
        """Token ids, score positions and targets of rows, once and for all epochs."""
        return self.data.encode(rows)

    def scoring_spec(self) -> ScoringSpec:
        """What `prm.verifier` needs to read this model's scores."""
        return ScoringSpec(
            kind=self._config.kind,
            head=self.head.spec_head,  # type: ignore[arg-type]
            step_format=self.step_format,
            reward_tokens=self._reward_tokens,
            beta=self._beta,
            reference_model=self.reference_model,
            temperature=self.settled.temperature if self._config.objective == "reward_tokens" else 1.0,
            aggregation=self.settled.aggregation,
            threshold=self.settled.threshold,
            max_length=self._config.max_length,
            label_source=self.label_source,
            label_view=self._config.label_view,
            base_model=str(self.base_model),
            adapter_base=self._adapter_base,
            quantized_base=quantized_to(self.model),
        )

    @property
    def _reward_tokens(self) -> tuple[str, str] | None:
        if not isinstance(self.head, RewardTokensHead):
            return None
        bad, good = self._tokenizer.convert_ids_to_tokens(list(self.head.token_ids))
        return bad, good

    @property
    def _beta(self) -> float | None:
        """An implicit head's scale, the temperature folded into it."""
        if self._config.objective != "implicit_prm":
            return None
        return self._config.implicit_beta / self.settled.temperature

    # The loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], torch.Tensor]:
        """Micro-batches of one optimiser step, and the number of labelled units in it over all processes."""
        import torch

        batches = list(islice(epoch_iterator, num_batches))
        units = torch.stack([self.loss.units(batch).float() for batch in batches] or [torch.zeros(())])
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
        `num_items_in_batch` the loss is the mean over this batch. A global batch without a unit has the loss 0.
        """
        import torch

        logits_BSL = self._logits(model, inputs)
        loss = self.loss.summed(logits_BSL, inputs)
        if model.training:
            self._nan.saw(loss, inputs["index"])
            self._measure(inputs)
        if num_items_in_batch is None:
            loss = loss / self.loss.units(inputs).clamp(min=1e-9)
        else:
            loss = loss * self.accelerator.num_processes / torch.as_tensor(num_items_in_batch).clamp(min=1e-9)
        return (loss, {"margins": margins(logits_BSL)}) if return_outputs else loss

    def _measure(self, inputs: dict[str, torch.Tensor]) -> None:
        """Tell the meter of a micro-batch."""
        lengths = inputs["length"].float()
        self.meter.add(
            units=self.loss.units(inputs),
            tokens=lengths.sum(),
            padded_tokens=inputs["input_ids"].numel(),
            flops=self._shape.training_flops(lengths.sum(), lengths.square().sum()),
        )

    def log(self, logs: dict[str, float], *args: Any, **others: Any) -> None:
        """As transformers', with labels and tokens a second, the share of padding and the utilisation."""
        super().log(logs | self.meter.read() if "loss" in logs else logs, *args, **others)

    def _matrix_rate(self) -> float:
        import torch

        args = self.args
        dtype = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else unwrapped(self.model).dtype
        return measured_matmul_rate(args.device, dtype)

    def _summed(self, numbers: list[float]) -> list[float]:
        import torch

        if self.accelerator.num_processes == 1:
            return numbers
        mine = torch.tensor(numbers, dtype=torch.float64, device=self.args.device)
        return list(self.accelerator.reduce(mine, reduction="sum").tolist())

    def create_optimizer(self, model: Any = None) -> Any:
        """As transformers', with a group of its own for the head where it has a learning rate of its own."""
        fresh = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if fresh and self._config.head_learning_rate is not None:
            split_off_head(optimizer, head_module(unwrapped(self.model)), self._config.head_learning_rate)
        return optimizer

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """6 per parameter and token; transformers counts all parameters again at every step."""
        return 6 * int(inputs["input_ids"].numel()) * self.num_parameters

    # Batches

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        self._nan.rows = encoded_rows(dataset)
        shard = self._train_batch_size * self.accelerator.num_processes
        return GlobalBatchSampler(
            dataset.lengths,
            global_batch=shard * self.args.gradient_accumulation_steps,
            shard=shard,
            strategy=cast(SamplingStrategy, self.args.train_sampling_strategy),
            seed=self.args.data_seed if self.args.data_seed is not None else self.args.seed,
            # Not by set_epoch: accelerate does not pass it through when a resumed run skips batches.
            epoch=lambda: int(self.state.epoch or 0),
            drop_last=self.args.dataloader_drop_last,
            groups=dataset.groups,
            together=self._config.share_prompts,
        )

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        from torch.utils.data import SequentialSampler

        return SequentialSampler(eval_dataset)

    def _run_epoch(self, *args: Any, **named: Any) -> None:
        """As transformers', which takes one step too many where a run was killed after its last one, amid an epoch."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **named)

    # Saving

    def _save_rng_state(self, output_dir: str) -> None:
        """The last thing before the trainer's state is written: once that file is there, every process is done."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict=state_dict)
        if self.args.should_save:
            self.scoring_spec().save(output_dir or str(self.args.output_dir))


def _checked_config(args: Any) -> VerifierConfig:
    if not isinstance(args, VerifierConfig):
        raise ConfigError(
            f"args is a {type(args).__name__}; give a prm.VerifierConfig, which takes transformers' training "
            "arguments and the verifier's objective, step_separator and the like"
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


def split_off_head(optimizer: Any, head: Any, learning_rate: float) -> None:
    """Give the head's parameters groups of their own, with their own learning rate and the weight decay they had."""
    own = {id(parameter) for parameter in head.parameters()}
    for group in list(optimizer.param_groups):
        mine = [parameter for parameter in group["params"] if id(parameter) in own]
        if mine:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]
            optimizer.add_param_group({**group, "params": mine, "lr": learning_rate})
