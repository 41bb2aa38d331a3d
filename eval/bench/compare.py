"""`prm bench --compare`: runs beside each other with paired intervals, and beside published numbers.

Two runs are compared on the solutions that both have, each at the thresholds its run chose: problems are drawn with
replacement, the same ones for both, so that what is common to both on a problem cancels. Runs that read different
solutions are ranked by those that all of them read. Published numbers have no records and are in no pair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, DataError
from prm.jsonl import read_jsonl, write_json
from prm.run_record import output_directory
from prm.stats.intervals import Estimate

from ..identity import split_name
from .benchmark import BENCHMARK_OF
from .config import BenchConfig
from .leaderboard import Difference, Leaderboard, Run, board_table, render
from .processbench import MEAN
from .published import Published, published_on
from .resample import Draw, IntArray, intervals

PAGE, RESULTS = "leaderboard.html", "leaderboard.json"


Records = dict[tuple[str, str], Mapping[str, Any]]
"""The records of a run by subset and by what solution they are of."""


def run_compare(config: BenchConfig) -> Leaderboard:
    """Read the runs, run what is no run yet, write `leaderboard.html` and `leaderboard.json`, and print the table.

    Raises:
        ConfigError, DataError: an entry that is no run, no verifier and no published name; two runs of one name; a
            directory that holds no results of this benchmark.
    """
    with output_directory(config.output_dir) as folder:
        board = _board(config)
        write_json(folder / RESULTS, board.to_dict())
        (folder / PAGE).write_text(render(board), encoding="utf-8")
    print(board_table(board))
    return board


def _board(config: BenchConfig) -> Leaderboard:
    known = published_on(config.benchmark)
    directories = {}
    for entry in config.compare:
        name, path = split_name(entry)
        directory = _directory(config, name, path, known)
        if directory is None:
            continue
        if name in directories:
            raise ConfigError(f"two runs are called {name!r}; name them apart: --compare a=DIR b=DIR")
        directories[name] = directory
    read = {name: _read(directory, config.benchmark) for name, directory in directories.items()}
    records = {name: found for name, (_, found) in read.items()}
    common = _common(list(records.values()))
    alike = all(len(found) == len(common) for found in records.values())
    runs = []
    for name, (summary, found) in read.items():
        run = _run(name, summary, config.benchmark)
        runs.append(replace(run, ranked=run.mean if alike else _headline([found[key] for key in common], config)))
    return Leaderboard(config.benchmark, tuple(runs), _differences(records, config), known, len(common), alike)


def _common(records: Sequence[Records]) -> list[tuple[str, str]]:
    """The solutions that every run has, in the order of the first."""
    return [key for key in records[0] if all(key in found for found in records)] if records else []


def _headline(rows: Sequence[Mapping[str, Any]], config: BenchConfig) -> Estimate | None:
    """A run's headline on some of its solutions, each at the threshold that the run chose for it."""
    if not rows:
        return None
    statistic = BENCHMARK_OF[config.benchmark].compared(rows)
    found = intervals(
        statistic, [row["subset"] for row in rows], [str(row["problem"]) for row in rows], seed=config.seed
    )
    return None if math.isnan(found[MEAN].mean) else found[MEAN]


def _directory(config: BenchConfig, name: str, path: str, known: Sequence[Published]) -> Path | None:
    """Where the results of an entry are; `None` of one that is published only."""
    if (Path(path) / f"{config.benchmark}.json").is_file():
        return Path(path)
    if config.files:
        from .run import run_bench

        folder = Path(config.output_dir) / name
        cache = config.score_cache or str(Path(config.output_dir) / "scores")
        run_bench(replace(config, compare=[], prm_path=f"{name}={path}", output_dir=str(folder), score_cache=cache))
        return folder
    if any(one.name == path for one in known):
        return None
    raise ConfigError(
        f"{path}: no directory with {config.benchmark}.json in it, and nothing published on {config.benchmark} under "
        "that name; give the output_dir of a run, or files to run it on"
    )


def _read(directory: Path, benchmark: str) -> tuple[dict[str, Any], Records]:
    path = directory / f"{benchmark}.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not {"fingerprint", "solutions", "subsets", "mean_interval", "threshold_choice"} <= set(summary):
            raise ValueError("keys are missing")
        records: Records = {
            (record["subset"], record["key"]): record for _, record in read_jsonl(directory / f"{benchmark}.jsonl")
        }
    except (ValueError, KeyError, TypeError) as error:
        what = "not the results of this version's `prm bench`"
        raise DataError(what, path=path, remedy="Run `prm bench` again") from error
    return summary, records


def _run(name: str, summary: Mapping[str, Any], benchmark: str) -> Run:
    mean, bar = summary[BENCHMARK_OF[benchmark].summary_key], summary["mean_interval"]
    solutions = summary["solutions"]
    subsets = {subset: found["headline"] for subset, found in summary["subsets"].items()}
    estimate = Estimate(mean, bar[0], bar[1], solutions) if mean is not None and bar else None
    return Run(name, summary["fingerprint"], estimate, subsets, summary["threshold_choice"], solutions)


def _differences(records: Mapping[str, Records], config: BenchConfig) -> tuple[Difference, ...]:
    """Every pair of runs, in order."""
    names = list(records)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found = [_difference(a, b, records[a], records[b], config) for a, b in pairs]
    return tuple(one for one in found if one is not None)


def _difference(a: str, b: str, first: Records, second: Records, config: BenchConfig) -> Difference | None:
    shared = [key for key in first if key in second]
    if not shared:
        return None
    rows = [[one[key] for key in shared] for one in (first, second)]
    if rows[0] == rows[1]:  # one verifier at one threshold, which differs from itself by nothing
        return Difference(a, b, Estimate(0.0, 0.0, 0.0, len(shared)), len(shared))
    measure_a, measure_b = (BENCHMARK_OF[config.benchmark].compared(part) for part in rows)

    def statistic(drawn: IntArray, draw: Draw) -> Mapping[str, float]:
        of_a, of_b = measure_a(drawn, draw), measure_b(drawn, draw)
        return {name: of_b[name] - value for name, value in of_a.items() if name in of_b}

    subsets, problems = [subset for subset, _ in shared], [str(record["problem"]) for record in rows[0]]
    found = intervals(statistic, subsets, problems, seed=config.seed)
    return Difference(a, b, found[MEAN], len(shared))
