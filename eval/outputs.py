"""What a run leaves behind: `results.jsonl`, `results.json`, `per_problem.jsonl`, `samples.jsonl`, the report, and the
table in the terminal."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from prm import __version__
from prm.jsonl import write_json, write_jsonl

from .results import MethodResult
from .run import EvalResult, Run
from .sample_rows import sample_rows

FORMAT_VERSION = 1


def write_outputs(run: Run, result: EvalResult) -> None:
    """Write every file, each appearing only once it is complete, and print the table."""
    from .search_report import terminal_table, write_report

    folder = Path(run.config.output_dir)
    write_jsonl(folder / "samples.jsonl", sample_rows(run))
    write_jsonl(folder / "per_problem.jsonl", _per_problem(result))
    write_jsonl(folder / "results.jsonl", (_line(run, result, line) for line in result.methods))
    write_json(folder / "results.json", summary(run, result))
    print(terminal_table(run, result))
    if run.config.report:
        print(f"report: {write_report(run, result, folder / 'report.html')}")


def _line(run: Run, result: EvalResult, line: MethodResult) -> dict[str, Any]:
    """One line of `results.jsonl`, complete by itself: what was run on what, accuracy, gain and cost per problem."""
    return {
        **line.to_dict(),
        "problems": len(result.problems),
        "dataset": _dataset(run),
        "seed": run.config.seed,
        "generator": result.generator["name"] if result.generator else None,
    }


def summary(run: Run, result: EvalResult) -> dict[str, Any]:
    """`results.json`: the whole run in one document, for model cards and scripts."""
    return {
        "version": FORMAT_VERSION,
        "dataset": _dataset(run),
        "num_problems": len(result.problems),
        "n": max(run.ns),
        "seed": run.config.seed,
        "baseline": run.config.baseline,
        "generator": result.generator,
        "verifiers": {
            name: {**facts, "quality": result.quality[name].to_dict()} for name, facts in result.verifiers.items()
        },
        "methods": [line.to_dict() for line in result.methods],
        "best": asdict(result.best) if result.best else None,
        "controls": result.controls,
        "counts": result.counts,
        "notes": result.notes,
        "seconds": result.seconds,
        "config": asdict(run.config),
        "versions": {
            "prm-toolkit": __version__,
            **{name: version(name) for name in ("torch", "transformers")},
            "python": platform.python_version(),
        },
    }


def _dataset(run: Run) -> str:
    if run.config.rollouts:
        return Path(run.config.rollouts).name
    name = Path(run.config.dataset_name).name if Path(run.config.dataset_name).exists() else run.config.dataset_name
    return f"{name}/{run.config.dataset_split}"


def _per_problem(result: EvalResult) -> Iterator[dict[str, Any]]:
    """Accuracy of every method on every problem, so that any two methods can be compared in pairs later."""
    for index, problem in enumerate(result.problems):
        yield {
            "unique_id": problem.unique_id,
            "level": problem.level,
            **{line.key: line.per_problem[index] for line in result.methods},
        }
