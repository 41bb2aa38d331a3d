"""What the card says of the training: the data, the settings a reader asks for, and on what it ran.

Everything else is in `train_metrics.json`, which is published with the weights. What a file lacks is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prm.cards.held_out import held_out_tables
from prm.cards.tables import Table, markdown_table, number, show

_SETTINGS = {
    "loss": "Loss function",
    "learning_rate": "Learning rate",
    "lr_scheduler_type": "Schedule",
    "warmup_steps": "Warm-up",
    "optim": "Optimiser",
    "weight_decay": "Weight decay",
    "global_batch": "Solutions in a batch, over all processes",
    "max_length": "Longest row, in tokens",
    "head_init_tokens": "Head started from the language model's rows of",
    "lora_r": "LoRA rank",
    "lora_alpha": "LoRA alpha",
    "lora_dropout": "LoRA dropout",
    "lora_target_modules": "LoRA target modules",
    "seed": "Seed",
}


def training_tables(metrics: Mapping[str, Any], record: Mapping[str, Any] | None = None) -> list[Table]:
    """Tables of a `train_metrics.json`, none where it is empty, and of the `train_run.json` beside it."""
    data, settings = _data(metrics.get("data", {})), _settings(metrics)
    compute = _compute(record or {}) if metrics else []
    return [
        *_table("Data", ("what", "value"), data),
        *_table("Settings", ("setting", "value"), settings),
        *held_out_tables(metrics),
        *_table("Compute and versions", ("what", "value"), compute),
    ]


def _table(title: str, header: tuple[str, str], rows: list[tuple[str, str]]) -> list[Table]:
    return [Table(title, markdown_table(header, rows))] if rows else []


def _data(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("Rows", data.get("dataset_name")),
        ("Problems from", data.get("problem_set")),
        ("Sampled with", data.get("generator")),
        ("Completions for each step", data.get("completions_per_step")),
        ("Solutions for each problem", data.get("solutions_per_problem")),
        ("Steps labelled as the truth has it", data.get("label_accuracy")),
        ("Labels, taken as right or wrong", _hard(data.get("datasets") or [])),
        ("Trained on", _count(data.get("train", {}))),
        ("Held out", _count(data.get("eval", {}))),
        ("Left out", ", ".join(f"{count:,} {why}" for why, count in (data.get("dropped_rows") or {}).items())),
        ("Labels", "shuffled: it is a control" if data.get("shuffled_labels") else None),
    ]
    return [(label, show(value)) for label, value in rows if value not in (None, "")]


def _count(counts: Mapping[str, Any]) -> str:
    if not counts.get("rows"):
        return ""
    text = f"{counts['rows']:,} solutions"
    if "groups" in counts:
        text += f" of {counts['groups']:,} problems"
    if "labels" in counts:
        text += f", {counts['labels']:,} labels (mean label {counts['mean_target']:.3f}), {counts['tokens']:,} tokens"
    if counts.get("truncated_rows"):
        text += f"; {counts['truncated_rows']:,} of them cut to the longest row"
    return text


def _hard(datasets: Sequence[Mapping[str, Any]]) -> str:
    """Hard labels of all rows; of a soft label, whether any completion reached the answer."""
    counts = [found["labels"] for found in datasets if "labels" in found]
    right, wrong, unknown = (sum(one[kind] for one in counts) for kind in ("correct", "wrong", "unknown"))
    if not right + wrong:
        return ""
    text = f"{right:,} right, {wrong:,} wrong ({right / (right + wrong):.1%} right)"
    return text + (f"; {unknown:,} steps without one" if unknown else "")


def _settings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    settings, parameters, course = (metrics.get(name, {}) for name in ("hyperparameters", "parameters", "training"))
    shown = dict(settings)
    if (warmup := settings.get("warmup_steps")) is not None:
        shown["warmup_steps"] = f"{warmup:g} steps" if warmup >= 1 else f"{warmup:.1%} of the steps"
    if "max_length" in settings:
        shown["max_length"] = f"{settings['max_length']:,}"
    rows = [(text, shown[name]) for name, text in _SETTINGS.items() if name in shown]
    if "trainable" in parameters:
        trained = f"{parameters['trainable']:,} of {parameters['total']:,}"
        rows.insert(0, ("Parameters trained", trained))
    mixed = next((name for name in ("bf16", "fp16") if settings.get(name)), None)
    if "dtype" in settings:
        rows.append(("Precision", f"{settings['dtype']} weights" + (f", {mixed} mixed precision" if mixed else "")))
    if settings.get("after_first_error") == "drop":
        rows.append(("Labels behind the first wrong step", "left out"))
    if "steps" in course:
        epochs = f" (epochs: {number(course['epochs'])})" if course.get("epochs") is not None else ""
        rows.append(("Optimiser steps", f"{course['steps']:,}{epochs}"))
    if course.get("final_loss") is not None:
        rows.append(("Last training loss", course["final_loss"]))
    return [(label, show(value)) for label, value in rows]


def _compute(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Where, when and with what it was trained; of a run that was killed and went on, the last part alone."""
    machine = record.get("machine") or {}
    cores = f"{machine['cores']} processor cores" if machine.get("cores") else ""
    memory = f"{machine['memory_gib']:g} GiB of memory" if machine.get("memory_gib") else ""
    versions = record.get("versions") or {}
    last_part = " (since it was resumed)" if record.get("resumed_from") else ""
    rows = [
        ("Machine", ", ".join(filter(None, [*machine.get("accelerators", []), cores, memory]))),
        ("Processes", record.get("processes")),
        ("Duration", f"{record['seconds']:,.0f} s{last_part}" if record.get("seconds") else None),
        ("Started", record.get("started")),
        ("Commit of prm-toolkit", _commit(record.get("git_commit"))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(label, show(value)) for label, value in rows if value not in (None, "")]


def _commit(commit: str | None) -> str | None:
    """`+` behind a commit marks files that were changed (`prm.run_record.git_commit`)."""
    if commit is None or not commit.endswith("+"):
        return commit
    return f"{commit.rstrip('+')}, with changes that were not committed"
