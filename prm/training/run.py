"""What makes one training run different from another, and where it stands.

A run is identified by the settings that decide its result. They are written into its directory when it starts
(`train_settings.json`), so that the same command goes on after a kill and does nothing once finished, and another
command never mixes with what is there. What was measured goes into `train_metrics.json`, the last file of a run.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, MissingFileError
from prm.generation.checkpoint import model_name, model_revision
from prm.jsonl import write_json

SETTINGS_FILE = "train_settings.json"
METRICS_FILE = "train_metrics.json"

# The training arguments that decide the result; all others (logging, saving, devices) may change between two starts,
# but for those of `CHOICE_OF_BEST`, which decide it where the best checkpoint is taken.
DECISIVE = """
    objective loss class_weights focal_gamma pqm_margin head_logits reward_tokens implicit_beta
    reference_model_name_or_path head_learning_rate max_pairs_per_problem label_view prompt_template chat
    system_prompt step_separator aggregation threshold calibrate eval_samples_path early_stopping_patience max_length
    head_init_tokens learning_rate lr_scheduler_type lr_scheduler_kwargs warmup_steps optim optim_args weight_decay
    adam_beta1 adam_beta2 adam_epsilon max_grad_norm num_train_epochs max_steps seed data_seed
    train_sampling_strategy bf16 fp16 bf16_full_eval fp16_full_eval neftune_noise_alpha dataloader_drop_last
    optim_target_modules use_liger_kernel liger_kernel_config auto_find_batch_size ignore_data_skip
    load_best_model_at_end
""".split()  # noqa: SIM905

CHOICE_OF_BEST = (
    *("metric_for_best_model", "greater_is_better", "eval_strategy", "eval_steps", "eval_delay"),
    *("save_strategy", "save_steps"),
)


def run_settings(config: Any, model_config: Any, data: dict[str, Any]) -> dict[str, Any]:
    """The settings that identify a run, as JSON values.

    Args:
        config: a `VerifierConfig`.
        model_config: a `VerifierModelConfig`.
        data: digests of the rows and what was done to them.

    Raises:
        MissingFileError, ModelError: there is no such base model.
    """
    names = [*DECISIVE, *(CHOICE_OF_BEST if config.load_best_model_at_end else ())]
    settings = {name: getattr(config, name) for name in names}
    settings["global_batch"] = config.train_batch_size * config.gradient_accumulation_steps * config.world_size
    settings |= dataclasses.asdict(model_config)
    settings["model_name_or_path"] = model_name(model_config.model_name_or_path)
    settings["base_revision"] = model_revision(model_config.model_name_or_path)
    settings |= data
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return plain


def check_directory(directory: Path, settings: dict[str, Any]) -> None:
    """Refuse a directory with the result or a checkpoint of a run with other settings.

    Raises:
        ConfigError: the first setting that differs.
    """
    path = directory / SETTINGS_FILE
    if not path.is_file() or (finished_metrics(directory) is None and last_checkpoint(directory) is None):
        return
    there = json.loads(path.read_text(encoding="utf-8"))
    for name in settings | there:
        if settings.get(name) != there.get(name):
            raise ConfigError(
                f"{directory} holds a run with {name}={there.get(name)!r}, and this one has {settings.get(name)!r}; "
                "give another output_dir, or delete that one"
            )


def claim_directory(directory: Path, settings: dict[str, Any]) -> None:
    """Write the settings into the run's directory, once it is known that the run can start."""
    write_json(directory / SETTINGS_FILE, settings)


def finished_metrics(directory: Path) -> dict[str, Any] | None:
    """The metrics of a finished run, or `None`."""
    path = directory / METRICS_FILE
    if not path.is_file():
        return None
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return metrics


def checkpoint_to_resume(asked: str | None, directory: Path) -> Path | None:
    """The checkpoint to go on from: the last one, unless another is asked for (or none, by `false`).

    Raises:
        MissingFileError: no checkpoint is where one is asked for.
    """
    if asked is None or asked.lower() == "true":
        return last_checkpoint(directory)
    if asked.lower() == "false":
        return None
    if not (Path(asked) / "trainer_state.json").is_file():
        raise MissingFileError(
            "no checkpoint in it",
            path=asked,
            remedy="Give resume_from_checkpoint a checkpoint-* directory, or leave it out to go on from the last one",
        )
    return Path(asked)


def last_checkpoint(directory: Path) -> Path | None:
    """The newest checkpoint that was written to its end. `trainer_state.json` is the last file of one, so a checkpoint
    whose state cannot be read was cut off by a kill."""
    found = [path for path in directory.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdigit()]
    for path in sorted(found, key=lambda path: -int(path.name.removeprefix("checkpoint-"))):
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return path
    return None
