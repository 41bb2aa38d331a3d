"""The subcommand `prm bench`: a verifier and a benchmark's files -> results, the record of each solution, and a page.

    prm bench --prm_path runs/prm --files processbench/gsm8k.json processbench/math.json --output_dir runs/bench
    prm bench --compare runs/bench runs/other Qwen/Qwen2.5-Math-PRM-7B --output_dir runs/leaderboard

The results are `processbench.json` with `processbench.jsonl`, or those of the benchmark that was asked for, and
`report.html`. A directory holds one run: the same command finds it finished, another one is refused.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prm.fingerprint import fingerprint
from prm.run_record import RUN_FILE, RunRecord, other_run, output_directory

from ..identity import split_name
from ..search.base import StepVerifier
from .config import BENCHMARKS, BenchConfig

REPORT = "report.html"
FORMAT_VERSION = 2
"""Of the results; 1 had no settings."""


def run_bench(config: BenchConfig, *, verifier: StepVerifier | None = None) -> dict[str, Any]:
    """Score the files, write the results and the page, and print the table; of a finished run, print it alone.

    Args:
        verifier: one in memory, instead of the one at `config.prm_path`.

    Returns:
        What the results' file holds.

    Raises:
        ConfigError: the output directory holds a finished run with other settings, and `overwrite` is not set.
    """
    from .benchmark import BENCHMARK_OF
    from .table import table_of

    with output_directory(config.output_dir) as folder:
        BENCHMARK_OF[config.benchmark].read(config)  # what is wrong with the files is said before a model is loaded
        settings = _settings(config, verifier)
        summary = _finished(config, folder, settings)
        if summary is None:
            summary = _measure(config, folder, settings, verifier)
        elif not (folder / REPORT).is_file():
            _write_page(folder, summary)
    print(table_of(summary))
    return summary


def _measure(
    config: BenchConfig, folder: Path, settings: dict[str, Any], verifier: StepVerifier | None
) -> dict[str, Any]:
    """Do the run. The results come last and declare it finished; those of an earlier run go before."""
    from prm.jsonl import write_json, write_jsonl

    from .benchmark import BENCHMARK_OF
    from .verifiers import open_verifier

    record = RunRecord(seed=config.seed)
    opened = open_verifier(config, verifier)
    records, found = BENCHMARK_OF[config.benchmark].measure(config, opened)
    summary = {
        "benchmark": config.benchmark,
        "verifier": opened.verifier.name,
        "fingerprint": opened.fingerprint,
        **found,
        "config": asdict(config),
        "settings": settings,
    }
    for name in BENCHMARKS:
        (folder / f"{name}.json").unlink(missing_ok=True)
        (folder / f"{name}.jsonl").unlink(missing_ok=True)
    write_jsonl(folder / f"{config.benchmark}.jsonl", records)
    record.write(folder)
    _write_page(folder, summary)
    write_json(folder / f"{config.benchmark}.json", summary)
    return summary


def _write_page(folder: Path, summary: dict[str, Any]) -> None:
    """`report.html`, from the results and from `run.json`, where that is still there."""
    from .page import render

    try:
        run = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        run = {}
    (folder / REPORT).write_text(render(summary, run), encoding="utf-8")


def _finished(config: BenchConfig, folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """The results of a finished run with these settings, or `None` where there is something to do.

    Raises:
        ConfigError: a finished run with other settings, or of another benchmark, that may not be replaced.
    """
    from ..run_settings import finished_summary

    others = [name for name in BENCHMARKS if name != config.benchmark and (folder / f"{name}.json").is_file()]
    if others and not config.overwrite:
        raise other_run(folder, f"benchmark={others[0]!r}", repr(config.benchmark))
    found = finished_summary(folder, settings, overwrite=config.overwrite, file=f"{config.benchmark}.json")
    return found if (folder / f"{config.benchmark}.jsonl").is_file() else None


def _settings(config: BenchConfig, verifier: StepVerifier | None) -> dict[str, Any]:
    """What decides the results, as JSON values; files and verifiers by their content."""
    from .verifiers import verifier_key

    plain = ("benchmark", "threshold", "cross_fit", "panel", "agg_strategy", "num_problems", "seed")
    return {
        "files": [[Path(path).name, fingerprint(path)] for path in config.files],
        "fit_files": [[Path(path).name, fingerprint(path)] for path in config.fit_files],
        **{name: getattr(config, name) for name in plain},
        "verifier": [split_name(config.prm_path)[0], verifier_key(config, verifier)],
        "prm_format": config.prm_format,
        "dtype": config.dtype,
        "version": FORMAT_VERSION,
    }


def main(arguments: list[str] | None = None) -> None:
    """The subcommand `prm bench`."""
    from prm.config import parse_config

    given = sys.argv[1:] if arguments is None else arguments
    config = parse_config(BenchConfig, given, prog="prm bench")
    if config.compare:
        from .compare import run_compare

        run_compare(config)
    else:
        run_bench(config)


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
