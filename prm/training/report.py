"""What a training run says of itself: the content of `train_metrics.json`, and the lines at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm import __version__
from prm.training.data import encoded_rows
from prm.training.page.page import PAGE_FILE
from prm.training.quantization import quantized_to

if TYPE_CHECKING:
    from prm.rows.mixture import Mixture
    from prm.training.arguments import TrainScriptArguments
    from prm.training.config import VerifierConfig
    from prm.training.trainer import VerifierTrainer


# Not a hyper-parameter, named elsewhere in the file, or without effect here.
_NOT_SHOWN = {
    *(
        "objective",
        "label_view",
        "data_digest",
        "eval_digest",
        "shuffle_labels",
        "model_name_or_path",
        "lora_task_type",
    ),
    *("load_in_8bit", "load_in_4bit", "bnb_4bit_quant_type", "use_bnb_nested_quant", "datasets"),
}


def training_metrics(
    script: TrainScriptArguments,
    config: VerifierConfig,
    mixture: Mixture,
    trainer: VerifierTrainer,
    evaluation: dict[str, Any],
    settings: dict[str, Any],
    *,
    before: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of `train_metrics.json`. Counts of rows, tokens and labels; losses in nats per labelled unit.

    Args:
        evaluation: of the verifier as it is published (`VerifierTrainer.settled_evaluation`).
        before: of its weights before calibration, at the threshold they were trained with.
    """
    train: Any = encoded_rows(trainer.train_dataset)  # type: ignore[arg-type]
    evaluated: Any = trainer.eval_dataset
    losses = [{"step": log["step"], "loss": log["loss"]} for log in trainer.state.log_history if "loss" in log]
    model: Any = trainer.model
    return {
        "prm_version": __version__,
        "kind": config.kind,
        "objective": config.objective,
        "label_view": config.label_view,
        "label_source": trainer.label_source,
        "base_model": trainer.base_model,
        **({"quantized_base": trainer.quantized_base} if trainer.quantized_base else {}),
        **({"measured_on_quantized_base": True} if quantized_to(model) else {}),
        "data": {
            **mixture.facts(trainer.rejected),
            "shuffled_labels": script.shuffle_labels,
            "train": train.counts.to_dict(),
            "eval": evaluated.counts.to_dict() if evaluated is not None else {},
            **({"samples": trainer.samples.facts()} if trainer.samples is not None else {}),
        },
        "hyperparameters": {
            name: value
            for name, value in settings.items()
            if value not in (None, "", {}) and name not in _NOT_SHOWN and (settings["use_peft"] or "lora" not in name)
        },
        "parameters": {
            "total": trainer.num_parameters,
            "trainable": trainer.num_trainable_parameters,
            "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        },
        "training": {
            "steps": trainer.state.global_step,
            "epochs": trainer.state.epoch,
            "final_loss": losses[-1]["loss"] if losses else None,
            "loss_history": losses,
        },
        "eval": evaluation,
        **({"eval_before_calibration": before} if before else {}),
        "settled": trainer.settled.to_dict(),
    }


def summary(directory: Path, metrics: dict[str, Any], *, already_finished: bool = False) -> str:
    """What to tell the user at the end."""
    lines = [f"{'already finished: ' if already_finished else ''}verifier in {directory}"]
    data, training = metrics["data"], metrics["training"]
    counts = data["train"]
    lines.append(
        f"trained on {counts['rows']} rows of {counts['groups']} problems ({counts['labels']} labels, "
        f"{counts['tokens']} tokens), {training['steps']} steps"
    )
    if len(data["datasets"]) > 1:
        parts = (
            f"{part['path']}: {part['rows_an_epoch']} of {part['rows'] - part['eval_rows']} rows"
            for part in data["datasets"]
        )
        lines.append("an epoch sees of " + ", of ".join(parts))
    if counts["truncated_rows"]:
        lines.append(
            f"{counts['truncated_rows']} rows were longer than max_length and lost {counts['dropped_steps']} steps "
            f"with {counts['dropped_labels']} labels, {counts['dropped_wrong_labels']} of them wrong"
        )
    if data["dropped_rows"]:
        lines.append("not trained on: " + ", ".join(f"{n} {why}" for why, n in data["dropped_rows"].items()))
    if metrics.get("eval_before_calibration"):
        lines.append("on held-out problems, each with the temperature and the threshold that the others give:")
    for name, found in metrics["eval"].items():
        lines.append(f"{name.replace('_', ' '):>24}  {found['value']:.4f}  [{found['low']:.4f}, {found['high']:.4f}]")
    if bits := metrics.get("quantized_base"):
        lines.append(
            f"figures, threshold and temperature are of the base in {bits} weights; loaded in full precision its "
            "scores differ: measure that verifier with prm eval"
            if metrics.get("measured_on_quantized_base")
            else f"trained on the base in {bits} weights; figures, threshold and temperature are of the adapter on "
            "the base in full precision, as it will be loaded"
        )
    lines += _settled_lines(metrics.get("settled", {}))
    lines.append(f"report: {directory / PAGE_FILE}")
    return "\n".join(lines)


def _settled_lines(settled: Mapping[str, Any]) -> list[str]:
    """Temperature, threshold and fold in words."""
    if not settled:
        return []
    lines = [
        f"a solution's score is the {settled['aggregation']} of its steps'; right from {settled['threshold']:.3g} up"
    ]
    fitted = settled.get("calibration")
    if fitted and settled["temperature"] != 1.0:
        lines.append(
            f"calibrated with the temperature {settled['temperature']:.3g}: expected calibration error "
            f"{fitted['ece_before']:.4f} -> {fitted['ece_after']:.4f} on problems it was not fitted on"
        )
    elif fitted and fitted["reason"]:
        lines.append(f"not calibrated: {_at_end(fitted)}")
    elif fitted:
        lines.append("not calibrated: no temperature lowers the loss on problems it was not fitted on")
    return lines


def _at_end(fitted: Mapping[str, Any]) -> str:
    """Why there is no temperature, or none that was found within its range."""
    return f"the temperature is {fitted['reason']}" if fitted["value"] != 1.0 else str(fitted["reason"])
