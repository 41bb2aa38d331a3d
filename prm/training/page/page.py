"""`train_report.html`: what a verifier was trained on, how it learned, and what its scores are worth.

It shows plain data and computes nothing but summaries of it. The layout is `prm.report`'s, the numbers of a run
`prm.training.report`'s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.report.page import Section, Table, render_report, write_report
from prm.training.page.examples import Example, as_solution
from prm.training.page.rows import RowFacts, data_section
from prm.training.page.sections import (
    Calibration,
    calibration_section,
    course_section,
    held_out_section,
    progress_section,
)

PAGE_FILE = "train_report.html"

_OBJECTIVES = {
    "prm": "A process reward model",
    "reward_tokens": "A process reward model on two reward tokens",
    "orm": "An outcome reward model",
    "implicit_prm": "An implicit process reward model",
}


@dataclass(frozen=True)
class TrainReport:
    """All that the page shows.

    Attributes:
        metrics: the content of `train_metrics.json` (`prm.training.report.training_metrics`).
        log_history: of the trainer's state, a mapping for each log.
        rows: the training rows, before a step was taken.
        calibration: held-out scores against their targets; `None` without held-out rows.
        examples: a few held-out solutions with their scores, in the order in which they are shown
            (`held_out_examples`).
        examined: solutions that they were chosen among.
        threshold: a step counts as right from this score up.
        versions: of the libraries, by name.
        hashes: what else tells this run from another, by name: digests of data and base model.
        planned_steps: of a run that is not over; `None` once it is.
    """

    metrics: Mapping[str, Any]
    log_history: Sequence[Mapping[str, Any]]
    rows: RowFacts
    calibration: Calibration | None = None
    examples: Sequence[Example] = ()
    examined: int = 0
    threshold: float = 0.5
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    planned_steps: int | None = None


def write_train_page(directory: str | Path, report: TrainReport) -> Path:
    """Write the page of a run into its directory; the same report gives the same bytes."""
    return write_report(Path(directory) / PAGE_FILE, train_page(report))


def train_page(report: TrainReport) -> str:
    """The page as HTML text."""
    sections = []
    if report.metrics.get("eval"):
        sections.append(held_out_section(report.metrics["eval"], report.metrics.get("eval_before_calibration") or {}))
    if any("loss" in log or "eval_loss" in log for log in report.log_history):
        sections.append(course_section(report.log_history))
    if (progress := progress_section(report.log_history)) is not None:
        sections.append(progress)
    sections.append(data_section(report.rows))
    if report.calibration is not None:
        sections.append(calibration_section(report.calibration))
    if report.examples:
        sections.append(_examples_section(report))
    sections.append(_settings_section(report))
    objective = _OBJECTIVES.get(str(report.metrics.get("objective")), "A verifier")
    return render_report(
        "What the verifier learned",
        f"{objective} from {report.metrics.get('base_model') or 'a model'}",
        _lead(report),
        sections,
        _facts(report),
        footer="Train on the same rows with the same settings to get the same losses.",
    )


def _lead(report: TrainReport) -> str:
    rows, training = report.rows, report.metrics.get("training", {})
    steps = int(training.get("steps") or 0)
    text = f"{rows.labels:,} labels on {len(rows.lengths):,} solutions of {rows.problems:,} problems, {steps:,} "
    text += "steps." if report.planned_steps is None else f"of {report.planned_steps:,} steps so far: not over yet."
    losses = [log["loss"] for log in report.log_history if "loss" in log]
    if len(losses) > 1:
        text += f" The training loss went from {losses[0]:.3f} to {losses[-1]:.3f}."
    held_out = report.metrics.get("eval") or {}
    told = [f"{words} {_interval(held_out[name])}" for name, words in _TOLD.items() if name in held_out]
    return f"{text} On held-out problems: {', '.join(told)}." if told else text


_TOLD = {"auroc": "AUROC", "first_error_f1": "first-error F1", "accuracy": "accuracy"}


def _interval(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _facts(report: TrainReport) -> dict[str, str | int | float]:
    metrics, parameters = report.metrics, report.metrics.get("parameters", {})
    training, shown = metrics.get("training", {}), metrics.get("hyperparameters", {})
    facts = {
        "base model": metrics.get("base_model"),
        "base in training": metrics.get("quantized_base"),
        "objective": metrics.get("objective"),
        "loss": shown.get("loss"),
        "labels by": metrics.get("label_source"),
        "parameters": parameters.get("total"),
        "of these trained": parameters.get("trainable"),
        "epochs": f"{training['epochs']:.4g}" if training.get("epochs") else None,
        "global batch": shown.get("global_batch"),
        "learning rate": f"{shown['learning_rate']:g}" if "learning_rate" in shown else None,
        "seed": shown.get("seed", 0),
        "prm-toolkit": metrics.get("prm_version"),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _examples_section(report: TrainReport) -> Section:
    text = (
        f"{len(report.examples)} of {report.examined:,} held-out solutions: errors that were missed and false alarms, "
        "each from the worst on, then solutions that agree with their labels. Orange scores are low, blue ones high; "
        f"a cross marks a score below {report.threshold:.3g} whose label is 0.5 or more, or the reverse."
    )
    shown = [as_solution(example, report.threshold) for example in report.examples]
    return Section("Held-out examples", text, solutions=shown)


def _settings_section(report: TrainReport) -> Section:
    settings = [[name, _shown(value)] for name, value in report.metrics.get("hyperparameters", {}).items()]
    made = [[name, value] for name, value in report.hashes.items()]
    made += [[f"version of {name}", value] for name, value in report.versions.items()]
    tables = [Table(["setting", "value"], settings, "What decides the result.", "settings.csv")] if settings else []
    if made:
        tables.append(Table(["made from and with", "value"], made, "Digests and versions.", "versions.csv"))
    return Section("Settings", "", [], tables)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(text) if text != text.strip() or re.search(r"\s{2}|\n", text) else text
