"""`prm train`: from step labels or graded rollouts to a verifier.

    prm train --config recipes/qwen2.5-math-prm-lora/train.yaml --learning_rate 5e-5
    accelerate launch --config_file recipes/accelerate/zero3.yaml -m prm.train --config train.yaml

Both run the same program; the first also takes accelerate's own arguments (`--num_processes`, `--accelerate_config
zero2`, ...) and then launches the second. A killed run goes on from its last checkpoint when the command is given
again, and a finished one does nothing.

What a run leaves in `output_dir`: the model or adapter with its tokenizer and `scoring_spec.json`, and
`train_metrics.json` with the counts, settings and results that a model card needs (`train_run.json` has what differs
between two runs with the same results); with `bad_rows: drop`, the rows that were no good in `rejected.jsonl`. Rows
are read by `prm.rows.mixture`, the loop is `prm.training.trainer`'s.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from transformers import set_seed

from prm.config import parse_config, run_main
from prm.errors import ConfigError
from prm.generation.checkpoint import model_name
from prm.heads import adapter_source, build_model, head_to_train, load_tokenizer, merge_lora
from prm.jsonl import write_json, write_jsonl
from prm.metrics.names import check_metric, source_prefix
from prm.rows.mixture import Mixture, load_mixture
from prm.rows.mixture_config import PairOptions
from prm.rows.readers import Reading
from prm.rows.step_rows import RejectedRow
from prm.run_record import RunRecord, library_versions, prepare_output
from prm.training.arguments import CONFIGS, TrainScriptArguments, VerifierModelConfig
from prm.training.best_of_n_gain import ACCURACY, GAIN
from prm.training.config import VerifierConfig
from prm.training.continuing import inherited_options, warn_of_differences
from prm.training.dry_run import dry_run
from prm.training.launch import launch, split_launch_arguments
from prm.training.page import PageCallback, report_of_run, write_train_page
from prm.training.progress import BarCallback
from prm.training.quantization import check_quantization, put_on_plain_base, quantization_config
from prm.training.report import summary, training_metrics
from prm.training.run import (
    METRICS_FILE,
    check_directory,
    checkpoint_to_resume,
    claim_directory,
    finished_metrics,
    run_settings,
)
from prm.training.setting_checks import check_kernels, check_lora
from prm.training.trainer import VerifierTrainer

MERGED = "merged"
REJECTED_FILE = "rejected.jsonl"
RUN_FILE = "train_run.json"


@dataclass(frozen=True)
class TrainResult:
    """What `run_train` did: where the verifier is, the content of `train_metrics.json`, and whether it was finished
    before; of a dry run the plan, and no metrics."""

    output_dir: Path
    metrics: dict[str, Any]
    already_finished: bool = False
    plan: str = ""


def run_train(script: TrainScriptArguments, config: VerifierConfig, model_config: VerifierModelConfig) -> TrainResult:
    """Train a verifier, or go on with one, or find it finished.

    Raises:
        ConfigError, DataError, ModelError, FormatError: see their messages; nothing has been trained then.
    """
    record = RunRecord(seed=config.seed)
    fresh = not Path(str(config.output_dir)).exists()
    directory = _check(script, config, model_config)
    checkpoint = checkpoint_to_resume(config.resume_from_checkpoint, directory)
    rejected: list[RejectedRow] = []
    mixture = _load(script, config, rejected)
    settings = run_settings(config, model_config, _data_settings(script, mixture))
    check_directory(directory, settings)
    if (metrics := finished_metrics(directory)) is not None:
        _merge_if_asked(script, config, model_config, metrics)
        return TrainResult(directory, metrics, already_finished=True)
    trainer = _build_trainer(config, model_config, mixture)
    if script.dry_run:
        plan = dry_run(trainer) if config.process_index == 0 else ""
        if config.process_index == 0 and fresh:
            _remove_if_empty(directory)
        return TrainResult(directory, {}, plan=plan)
    if config.should_save:
        claim_directory(directory, settings)
        if rejected or trainer.rejected:
            write_jsonl(directory / REJECTED_FILE, (row.to_dict() for row in [*rejected, *trainer.rejected]))
        made_with: dict[str, Any] = {"versions": library_versions(), "hashes": _hashes(settings)}
        started = training_metrics(script, config, mixture, trainer, {}, settings)
        trainer.add_callback(PageCallback(trainer, directory, started, **made_with))
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.quantized_base:
        put_on_plain_base(trainer, str(directory), dtype=model_config.dtype or "float32")
    held_out = trainer.held_out()
    evaluation = trainer.final_evaluation(held_out)
    trainer.settle(held_out)
    published = trainer.settled_evaluation(held_out, evaluation)
    trainer.save_model()
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    metrics = training_metrics(script, config, mixture, trainer, published, settings, before=evaluation)
    if config.should_save:
        _merge_if_asked(script, config, model_config, metrics)
        facts = {"processes": config.world_size, "resumed_from": checkpoint and Path(checkpoint).name}
        record.write(directory, facts, name=RUN_FILE)
        write_train_page(directory, report_of_run(trainer, metrics, held_out, **made_with))
        write_json(directory / METRICS_FILE, metrics)  # last: its presence says that the run is finished
    trainer.accelerator.wait_for_everyone()
    return TrainResult(directory, metrics)


def _remove_if_empty(directory: Path) -> None:
    """A dry run leaves nothing behind."""
    with contextlib.suppress(OSError):
        directory.rmdir()


def _hashes(settings: dict[str, Any]) -> dict[str, str]:
    """Digests of data and base, by name."""
    return {name: str(value) for name, value in settings.items() if name.endswith(("digest", "revision")) and value}


def _merge_if_asked(
    script: TrainScriptArguments, config: VerifierConfig, model_config: VerifierModelConfig, metrics: dict[str, Any]
) -> None:
    """Write the merged checkpoint, unless that of these very results is there."""
    directory = Path(str(config.output_dir))
    wanted = script.merge_adapter and model_config.use_peft and config.should_save
    if wanted and finished_metrics(directory / MERGED) != metrics:
        write_merged(directory, config, model_config)
        write_json(directory / MERGED / METRICS_FILE, metrics)


def _check(script: TrainScriptArguments, config: VerifierConfig, model_config: VerifierModelConfig) -> Path:
    if not config.output_dir:
        raise ConfigError("missing output_dir: say where the verifier goes")
    if not model_config.model_name_or_path:
        raise ConfigError("missing model_name_or_path: name the checkpoint to start from")
    check_quantization(model_config)
    check_lora(model_config)
    check_kernels(config)
    if script.merge_adapter and not model_config.use_peft:
        raise ConfigError(
            "merge_adapter merges a LoRA, and none is trained: set use_peft to true, or drop it (without a LoRA what "
            "is saved is a plain checkpoint)"
        )
    return prepare_output(config.output_dir)


def _load(script: TrainScriptArguments, config: VerifierConfig, rejected: list[RejectedRow]) -> Mixture:
    """All rows; bad ones go into `rejected`, where they are to be dropped. What the user should know is printed."""
    mixture = load_mixture(
        script.sources,
        reading=Reading(
            kind=config.rows_kind,
            label_view=config.label_view,
            label_source=script.label_source,
            label_scale=script.label_scale,
            neutral_labels=script.neutral_labels,
            after_first_error=script.after_first_error,
        ),
        evaluation=script.evaluation,
        eval_fraction=script.eval_fraction,
        seed=config.seed,
        pairs=PairOptions(script.splitter, config.max_pairs_per_problem) if config.loss == "bradley_terry" else None,
        shuffled=script.shuffle_labels,
        counted=config.loss == "beta_binomial",
        rejected=rejected if config.bad_rows == "drop" else None,
    )
    if config.eval_strategy != "no" and not mixture.eval_rows:
        raise ConfigError("eval_strategy needs rows to evaluate on: set eval_fraction or eval_dataset_name")
    if config.load_best_model_at_end and config.metric_for_best_model:
        _check_metric(config, mixture)
    if config.process_index == 0:
        for notice in mixture.notices:
            print(f"note: {notice}", file=sys.stderr)
    return mixture


def _check_metric(config: VerifierConfig, mixture: Mixture) -> None:
    """Refuse a metric that no evaluation of these rows will compute; transformers would find out at the first one."""
    name = str(config.metric_for_best_model)
    check_metric(name, config.rows_kind, others=(ACCURACY, GAIN) if config.eval_samples_path else ())
    source, _, bare = name.removeprefix("eval_").rpartition("/")
    sources = sorted({source_prefix(row.source) for row in mixture.eval_rows})
    if source and (source not in sources or len(sources) == 1):
        raise ConfigError(
            f"metric_for_best_model: {name!r} is computed where the rows to evaluate on have labels of {source!r} and "
            f"of others, and theirs are of {' and '.join(sources) or 'none'}; give {bare!r}"
        )


def _data_settings(script: TrainScriptArguments, mixture: Mixture) -> dict[str, Any]:
    """What of the data decides the result: the rows as they were read, and what was done to them."""
    chosen = {
        name: value
        for name in ("label_source", "neutral_labels", "label_scale")
        if (value := getattr(script, name)) not in ("", "keep", "unit")
    }
    return mixture.settings() | {
        "eval_fraction": script.eval_fraction,
        "shuffle_labels": script.shuffle_labels,
        "after_first_error": script.after_first_error,
        **chosen,
    }


def _build_trainer(
    config: VerifierConfig,
    model_config: VerifierModelConfig,
    mixture: Mixture,
) -> VerifierTrainer:
    from transformers import PrinterCallback, ProgressCallback

    set_seed(config.seed)  # the head is drawn when the model is built
    name = str(model_config.model_name_or_path)
    tokenizer = load_tokenizer(name, revision=model_config.model_revision)
    head = head_to_train(config, tokenizer)
    warn_of_differences(name, config, head, tokenizer)
    trainer = VerifierTrainer(
        model=build_model(
            name,
            head,
            tokenizer,
            head_init_tokens=config.head_init_tokens,
            revision=model_config.model_revision,
            dtype=model_config.dtype or "float32",
            attn_implementation=model_config.attn_implementation,
            quantization_config=quantization_config(model_config),
            keep_adapter=model_config.use_peft,
        ),
        args=config,
        train_dataset=mixture.train_rows,
        eval_dataset=mixture.eval_rows or None,
        processing_class=tokenizer,
        peft_config=lora_config(model_config),
        base_model=model_name(name),
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if not config.disable_tqdm:
        trainer.add_callback(BarCallback())
    return trainer


def lora_config(model_config: VerifierModelConfig) -> Any:
    """PEFT's configuration of the LoRA that was asked for, or `None`."""
    from trl import get_peft_config

    return get_peft_config(model_config)


def write_merged(directory: Path, config: VerifierConfig, model_config: VerifierModelConfig) -> Path:
    """Merge a saved adapter into its base and write a plain checkpoint with tokenizer and scoring spec.

    The saved files are read back, so that the merged model is of what was saved, whatever ZeRO stage trained it.
    """
    from peft import PeftModel
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    from prm.scoring_spec import ScoringSpec

    unset_hf_deepspeed_config()
    name, _ = adapter_source(str(model_config.model_name_or_path))
    tokenizer = load_tokenizer(str(directory))
    base = build_model(
        name,
        head_to_train(config, tokenizer),
        tokenizer,
        revision=model_config.model_revision,
        dtype=model_config.dtype or "float32",
    )
    merged = merge_lora(PeftModel.from_pretrained(base, str(directory)))
    merged.save_pretrained(directory / MERGED)
    tokenizer.save_pretrained(directory / MERGED)
    ScoringSpec.load(directory).save(directory / MERGED)
    return directory / MERGED


def parse_arguments(arguments: Sequence[str]) -> tuple[TrainScriptArguments, VerifierConfig, VerifierModelConfig]:
    """The configs of a command line. Where it starts from a verifier, the defaults are those that this one is read by.

    Raises:
        ConfigError: see `parse_config`.
    """
    script, config, model_config = parse_config(CONFIGS, arguments, prog="prm train")
    if inherited := inherited_options(str(model_config.model_name_or_path), config.objective):
        script, config, model_config = parse_config(CONFIGS, arguments, prog="prm train", defaults=inherited)
    return script, config, model_config


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `prm train` and of `python -m prm.train`."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    known = {"config", "help"} | {item.name for cls in CONFIGS for item in fields(cls) if item.init}
    launch_arguments, script_arguments = split_launch_arguments(arguments, known | {f"no_{name}" for name in known})
    if launch_arguments:
        launch(launch_arguments, script_arguments)
        return
    script, config, model_config = parse_arguments(script_arguments)
    result = run_train(script, config, model_config)
    if config.process_index == 0:
        print(result.plan or summary(result.output_dir, result.metrics, already_finished=result.already_finished))


if __name__ == "__main__":
    run_main(main)
