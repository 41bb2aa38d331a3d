"""What makes one run of `prm eval` different from another, and whether a finished run lies in a directory.

The settings that decide the results are written into `results.json`. The same command then finds its own results and
does nothing, and another one is refused instead of mixing its results with them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.fingerprint import fingerprint
from prm.generation.base import Generator
from prm.generation.checkpoint import model_name, model_revision
from prm.jsonl import dumps
from prm.problems import dataset_label
from prm.run_record import other_run

from .inputs import Inputs
from .sample_store import problem_key, settings_key

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

RESULTS_FILE = "results.json"

# Options that say where and how fast, and those that `run_settings` replaces by what they name.
NO_SETTINGS = {
    *("output_dir", "device", "num_workers", "batch_tokens", "max_batch_rows", "overwrite", "report"),
    *("dataset_name", "rollouts", "prm_path", "model_name_or_path", "label_report"),
}


def run_settings(config: EvalConfig, inputs: Inputs, generator: Generator | None = None) -> dict[str, Any]:
    """The settings that decide a run's results, as JSON values; files and models by their content.

    Args:
        generator: one in memory, if it is not the one at `config.model_name_or_path`.

    Raises:
        MissingFileError, ModelError: there is no such generator.
    """
    path = config.model_name_or_path
    named = [model_name(path), model_revision(path)] if path and generator is None else None
    settings = {name: value for name, value in asdict(config).items() if name not in NO_SETTINGS}
    settings |= {
        "dataset": evaluated_on(config),
        "problems": settings_key({"keys": [problem_key(problem) for problem in inputs.problems]}),
        "rollouts": fingerprint(config.rollouts) if config.rollouts else None,
        "generator": [generator.name, generator.revision] if generator else named,
        "verifiers": inputs.verifier_keys,
        "label_report": fingerprint(config.label_report) if config.label_report else None,
    }
    plain: dict[str, Any] = json.loads(dumps(settings))
    return plain


def evaluated_on(config: EvalConfig) -> str:
    """The recorded samples' file, or the dataset with its split."""
    if config.rollouts:
        return Path(config.rollouts).name
    return f"{dataset_label(config.dataset_name)}/{config.dataset_split}"


def finished_summary(directory: Path, settings: dict[str, Any], *, overwrite: bool = False) -> dict[str, Any] | None:
    """The `results.json` of a finished run with these settings, or `None` where there is something to do.

    Raises:
        ConfigError: a finished run with other settings that may not be overwritten; the first that differs is named.
    """
    try:
        summary: dict[str, Any] = json.loads((directory / RESULTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    there = summary.get("settings", {})
    for name in settings | there:
        if there.get(name) != settings.get(name):
            if overwrite:
                return None
            before = f"{name}={there[name]!r}" if name in there else f"{name} unknown"
            raise other_run(directory, before, repr(settings.get(name)))
    return summary
