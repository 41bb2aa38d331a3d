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
from prm.jsonl import dumps
from prm.problems import clusters_of, dataset_label
from prm.run_record import other_run

from .inputs import Inputs
from .replay import check_addition
from .sample_store import problem_key, settings_key

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

RESULTS_FILE = "results.json"

# Options that say where and how fast, and those that `run_settings` replaces by what they name.
NO_SETTINGS = {
    *("output_dir", "from_run", "device", "num_workers", "max_batch_tokens", "max_batch_rows", "overwrite", "report"),
    "problem",
    *("endpoint_urls", "api_key_env", "prm_api_key_env", "max_concurrency", "max_retries"),
    *("connect_timeout", "request_timeout"),
    *("choices_per_request", "served_model_name", "tokenizer_name_or_path"),
    *(
        "dataset_name",
        "rollouts",
        "prm_path",
        "prm_format",
        "model_name_or_path",
        "label_report",
        "policy",
        "compare_to",
    ),
}


def run_settings(config: EvalConfig, inputs: Inputs) -> dict[str, Any]:
    """The settings that decide a run's results, as JSON values; files and models by their content."""
    left_out = NO_SETTINGS | config.unused_settings()
    settings = {name: value for name, value in asdict(config).items() if name not in left_out}
    clusters = clusters_of(inputs.problems)
    settings |= {
        "dataset": evaluated_on(config),
        "problems": settings_key({"keys": [problem_key(problem) for problem in inputs.problems]}),
        "rollouts": fingerprint(config.rollouts) if config.rollouts else None,
        "generator": inputs.generator_key,
        "verifiers": inputs.verifier_keys,
        "clusters": settings_key({"clusters": clusters}) if clusters else None,
        "label_report": fingerprint(config.label_report) if config.label_report else None,
        "policy": fingerprint(config.policy) if config.policy else None,
        "compare_to": fingerprint(Path(config.compare_to) / RESULTS_FILE) if config.compare_to else None,
    }
    plain: dict[str, Any] = json.loads(dumps(settings))
    return plain


def evaluated_on(config: EvalConfig) -> str:
    """The recorded samples' file, or the dataset with its split."""
    if config.rollouts:
        return Path(config.rollouts).name
    return f"{dataset_label(config.dataset_name)}/{config.dataset_split}"


def finished_summary(
    directory: Path,
    settings: dict[str, Any],
    *,
    overwrite: bool = False,
    adds: bool = False,
    file: str = RESULTS_FILE,
) -> dict[str, Any] | None:
    """The results of a finished run with these settings, or `None` where there is something to do.

    Args:
        file: what a finished run leaves, with its `settings`.
        adds: the settings are those of the run with additions, which then are to be made.

    Raises:
        ConfigError: a finished run with other settings that may not be overwritten; the first that differs is named.
            Or what is no addition to it.
    """
    try:
        summary: dict[str, Any] = json.loads((directory / file).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    there = summary.get("settings", {})
    if adds:
        check_addition(directory, there, settings)
    for name in settings | there:
        if there.get(name) != settings.get(name):
            if overwrite or adds:
                return None
            before = f"{name}={there[name]!r}" if name in there else f"{name} unknown"
            raise other_run(directory, before, repr(settings.get(name)))
    return summary
