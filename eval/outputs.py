"""What a run leaves behind: `results.jsonl`, `results.json`, `per_problem.jsonl`, `samples.jsonl`, the report, and the
table in the terminal. The results of a finished run are read back from these files."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm import __version__
from prm.jsonl import read_jsonl, write_json, write_jsonl
from prm.problems import problem_from_row

from .analysis.analysis import Analysis
from .exchange import Exchange
from .policy_run import MadePolicy
from .prepare import Run
from .quality import VerifierQuality
from .replay import adds_to_itself, write_config
from .results import Best, MethodResult
from .run import EvalResult
from .run_settings import RESULTS_FILE, evaluated_on, finished_summary
from .sample_rows import sample_rows, write_parquet

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

FORMAT_VERSION = 2  # 1 had no bills of single problems
SAMPLES_FILE, PROBLEMS_FILE, LINES_FILE = "samples.jsonl", "per_problem.jsonl", "results.jsonl"
PARQUET_FILE = "samples.parquet"
REPORT_FILE, PICTURE_FILE = "report.html", "accuracy.svg"


def write_outputs(run: Run, result: EvalResult, settings: dict[str, Any]) -> None:
    """Write the results, each file appearing only once it is complete. `results.json` comes last and declares the run
    finished; what an earlier run declared goes first, its pages of problems too."""
    from .report.problem_pages import problem_pages

    folder = Path(run.config.output_dir)
    write_config(run.config)
    for path in (*(folder / name for name in (RESULTS_FILE, REPORT_FILE, PICTURE_FILE)), *problem_pages(folder)):
        path.unlink(missing_ok=True)
    write_jsonl(folder / SAMPLES_FILE, sample_rows(run))
    if run.config.samples_format == "parquet":
        write_parquet(folder / PARQUET_FILE, sample_rows(run))
    write_jsonl(folder / PROBLEMS_FILE, _per_problem(result))
    write_jsonl(folder / LINES_FILE, (_line(run.config, result, line) for line in result.methods))
    for made in result.policies:
        made.policy.save(folder / made.finding.file)
    write_json(folder / RESULTS_FILE, summary(run.config, result, settings))


def show(config: EvalConfig, result: EvalResult) -> None:
    """Print the table."""
    from .report.terminal import terminal_table

    print(terminal_table(config, result))


def show_report(config: EvalConfig, result: EvalResult, *, anew: bool = False) -> None:
    """Write the report where it is wanted and not there, and say where it is.

    Args:
        anew: write it again, for what lies beside it has changed.
    """
    from .report.page import write_report

    path = Path(config.output_dir) / REPORT_FILE
    if config.report:
        there = path.is_file() and not anew
        print(f"report: {path if there else write_report(config, result, path, PICTURE_FILE)}")


def show_problems(run: Run, result: EvalResult) -> None:
    """Write the pages of the problems that the config asks for, from what the store has, and say where they are.

    Raises:
        ConfigError: some names are of no problem; the other pages are written.
    """
    from .report.problem_pages import no_such_problem, problems_named, write_problem_pages

    indices, unknown = problems_named(result, run.config.problem)
    try:
        for page in write_problem_pages(run, result, indices):
            print(f"problem: {page}")
    finally:
        run.workshop.close()
    if unknown:
        raise no_such_problem(result, unknown)


def finished_result(config: EvalConfig, settings: dict[str, Any]) -> EvalResult | None:
    """The results of a finished run with these settings, or `None` where there is something to do: results of another
    format are made again from the store.

    Raises:
        ConfigError: the output directory holds a finished run with other settings, and `overwrite` is not set.
    """
    folder = Path(config.output_dir)
    found = finished_summary(folder, settings, overwrite=config.overwrite, adds=adds_to_itself(config))
    if found is None or found["version"] != FORMAT_VERSION:
        return None
    if not all((folder / name).is_file() for name in (SAMPLES_FILE, PROBLEMS_FILE, LINES_FILE)):
        return None
    rows = [row for _, row in read_jsonl(folder / PROBLEMS_FILE)]
    return EvalResult(
        problems=[problem_from_row(row) for _, row in read_jsonl(folder / SAMPLES_FILE)],
        generator=found["generator"],
        verifiers=found["verifiers"],
        methods=[MethodResult.from_dict(line, rows) for line in found["methods"]],
        quality={name: VerifierQuality.from_dict(facts["quality"]) for name, facts in found["verifiers"].items()},
        best=Best.from_dict(found["best"]) if found["best"] else None,
        controls=found["controls"],
        counts=found["counts"],
        seconds=found["seconds"],
        notes=found["notes"],
        seeds=found["seeds"],
        by_seed=found["by_seed"],
        policies=[MadePolicy.from_dict(made) for made in found.get("policies", [])],
        exchange=Exchange.from_dict(found["exchange"]) if found.get("exchange") else None,
        analysis=Analysis.from_dict(found["analysis"]) if found.get("analysis") else None,
    )


def _line(config: EvalConfig, result: EvalResult, line: MethodResult) -> dict[str, Any]:
    """One line of `results.jsonl`, complete by itself: what was run on what, accuracy, gain and cost per problem."""
    return {
        **line.to_dict(),
        "problems": len(result.problems),
        "dataset": evaluated_on(config),
        "seed": config.seed,
        "generator": result.generator["name"] if result.generator else None,
    }


def summary(config: EvalConfig, result: EvalResult, settings: dict[str, Any]) -> dict[str, Any]:
    """`results.json`: the whole run in one document, for model cards and scripts."""
    return {
        "version": FORMAT_VERSION,
        "dataset": evaluated_on(config),
        "num_problems": len(result.problems),
        "n": max(result.ns),
        "seed": config.seed,
        "seeds": result.seeds,
        "by_seed": result.by_seed,
        "baseline": config.baseline,
        "generator": result.generator,
        "verifiers": {
            name: {**facts, "quality": result.quality[name].to_dict()} for name, facts in result.verifiers.items()
        },
        "methods": [line.to_dict() for line in result.methods],
        "best": asdict(result.best) if result.best else None,
        "controls": result.controls,
        "policies": [made.to_dict() for made in result.policies],
        "exchange": result.exchange.to_dict() if result.exchange else None,
        "analysis": result.analysis.to_dict() if result.analysis else None,
        "counts": result.counts,
        "notes": result.notes,
        "seconds": result.seconds,
        "config": asdict(config),
        "settings": settings,
        "versions": {
            "prm-toolkit": __version__,
            **{name: version(name) for name in ("torch", "transformers")},
            "python": platform.python_version(),
        },
    }


def _per_problem(result: EvalResult) -> Iterator[dict[str, Any]]:
    """Accuracy and cost of every method on every problem, so that any two methods can be compared in pairs later, at
    equal n or at equal cost."""
    for index, problem in enumerate(result.problems):
        yield {
            "unique_id": problem.unique_id,
            "level": problem.level,
            **{line.key: line.per_problem[index] for line in result.methods},
            "bills": {line.key: line.bills[index].to_dict(zeros=False) for line in result.methods},
        }
