"""How a training file was made: what the stage that wrote it says in the report beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prm.fingerprint import file_hash

PROMPT_OPTIONS = ("prompt_template", "chat", "system_prompt")
REPORTS = ("label_report.json", "rollout_report.json")


def data_facts(path: str | Path) -> dict[str, Any]:
    """Problem set, generator, samples and label accuracy of a `labels.jsonl` or `rollouts.jsonl`.

    Empty for any other file, and where the report is of another content than the file's. Keys: `problem_set`,
    `generator`, `completions_per_step` or `solutions_per_problem`, `label_accuracy` (a mean with its interval, where
    the truth is known); one that is not known is left out.
    """
    report = _report(Path(path))
    settings = report.get("settings", {})
    counted = "completions_per_step" if "labeler" in settings else "solutions_per_problem"
    facts = {
        "problem_set": problem_set(path),
        "generator": settings.get("model_name_or_path"),
        counted: settings.get("n"),
        "label_accuracy": (report.get("truth") or {}).get("step_accuracy"),
    }
    return {name: value for name, value in facts.items() if value is not None}


def problem_set(path: str | Path) -> str | None:
    """The problems that a `rollouts.jsonl` or `labels.jsonl` is of, as far as its report says."""
    report = _report(Path(path))
    settings = report.get("settings", {})
    name = settings.get("dataset_name")
    if name is None:
        return report.get("problem_set")
    split = settings.get("dataset_split")
    return Path(name).name if Path(name).exists() else f"{name}, {split}" if split else str(name)


def recorded_prompt(path: str | Path) -> dict[str, Any]:
    """The options of the prompt that a `rollouts.jsonl` was sampled with, as far as its report says; none where the
    solutions were recorded elsewhere."""
    settings = _report(Path(path)).get("settings", {})
    sampled = settings.get("backend") != "recorded"
    return {name: settings[name] for name in PROMPT_OPTIONS if sampled and name in settings}


def recorded_splitter(path: str | Path) -> str | None:
    """The splitter that made the steps of a `rollouts.jsonl`, as far as its report says."""
    return _report(Path(path)).get("settings", {}).get("splitter") or None


def _report(path: Path) -> dict[str, Any]:
    """The report beside a file, empty unless it is of this content."""
    if not path.is_file():
        return {}
    content = file_hash(path)
    for name in REPORTS:
        try:
            report = json.loads((path.parent / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(report, dict) and report.get("data_hash") == content:
            return report
    return {}
