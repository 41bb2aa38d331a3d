"""What runs of `prm bench` measured of one verifier, as tables: each subset's headline number with its interval.

Read from a run's results, the file named after its benchmark. Nothing is computed anew, and a run of other weights is
refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.cards.facts import read_json
from prm.cards.tables import Table, decimals, markdown_table, number
from prm.errors import DataError, HubError, MissingFileError
from prm.fingerprint import fingerprint as fingerprint_of

PAGE_FILE = "report.html"


@dataclass(frozen=True)
class Benchmark:
    """How a benchmark is called: its title, its data set on the Hub, and its headline metric as the Hub's metadata and
    as a reader knows it; `overall` is the key of its number over all subsets, where it has one that is no subset's."""

    title: str
    dataset: str
    metric: str
    metric_name: str
    overall: str = ""


BENCHMARKS = {
    "processbench": Benchmark("ProcessBench", "Qwen/ProcessBench", "f1", "F1 of the first wrong step", "mean_f1"),
    "prmbench": Benchmark("PRMBench", "hitsmy/PRMBench_Preview", "prm_score", "PRMScore", "prm_score"),
    "best_of_n": Benchmark("Best-of-n of recorded samples", "recorded samples", "accuracy", "Accuracy of best-of-n"),
}


@dataclass(frozen=True)
class BenchRow:
    """One subset, in shares from 0 to 1; `None` where it has no such solution.

    Attributes:
        solutions: how many were scored, if it is written down.
        wrong_found: ProcessBench's: of those with a mistake, the share whose first wrong step was found.
        right_accepted: ProcessBench's: of those without one, the share in which no step was called wrong.
        headline: the benchmark's number, with its 95% interval.
        wrong_found_interval, right_accepted_interval: theirs; `None` where an older run did not write them down.
    """

    subset: str
    solutions: int | None
    wrong_found: float | None
    right_accepted: float | None
    headline: float | None
    interval: tuple[float, float] | None
    wrong_found_interval: tuple[float, float] | None = None
    right_accepted_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class BenchResults:
    """One run: which benchmark, the content of its results, and its page, if there is one."""

    name: str
    content: dict[str, Any]
    page: Path | None = None

    @property
    def benchmark(self) -> Benchmark:
        return BENCHMARKS[self.name]

    def rows(self) -> Iterator[BenchRow]:
        for subset, found in self.content["subsets"].items():
            bars = found.get("intervals") or {}
            yield BenchRow(
                subset,
                found.get("solutions"),
                found.get("first_error_accuracy"),
                found.get("all_correct_accuracy"),
                found.get("headline", found.get("first_error_f1")),
                _bar(found.get("interval")),
                _bar(bars.get("first_error_accuracy")),
                _bar(bars.get("all_correct_accuracy")),
            )

    def overall(self) -> tuple[float | None, tuple[float, float] | None]:
        """The number over all subsets, with its interval; `None` where there is none, or but one subset."""
        if not self.benchmark.overall or len(self.content["subsets"]) < 2:
            return None, None
        return self.content.get(self.benchmark.overall), _bar(self.content.get("mean_interval"))


def read_bench(directory: str | Path, fingerprints: Sequence[str]) -> list[BenchResults]:
    """Read what `prm bench` left in a directory: one run, or one of each benchmark.

    Args:
        fingerprints: those of the verifier (`prm.fingerprint`), as it is and as it is published.

    Raises:
        MissingFileError, DataError: there is no such run, or it is not one that this program reads.
        HubError: it measured other weights, or it cannot be told which.
    """
    folder = Path(directory)
    there = [name for name in BENCHMARKS if (folder / f"{name}.json").is_file()]
    if not there:
        names = ", ".join(f"{name}.json" for name in BENCHMARKS)
        raise MissingFileError(
            f"none of {names} in it", path=folder, remedy="Give the output_dir of a finished `prm bench`"
        )
    page = folder / PAGE_FILE
    return [BenchResults(name, _read(folder, name, fingerprints), page if page.is_file() else None) for name in there]


def _read(folder: Path, name: str, fingerprints: Sequence[str]) -> dict[str, Any]:
    path = folder / f"{name}.json"
    content = read_json(path)
    if not isinstance(content.get("subsets"), dict):
        raise DataError("not the results of this version's `prm bench`", path=path, remedy="Run `prm bench` again")
    measured = content["fingerprint"] if "fingerprint" in content else _still_there(content)
    if measured not in fingerprints:
        raise HubError(
            f"{path}: it measured {'other weights' if measured else 'a verifier that cannot be told'}; run "
            "`prm bench` again"
        )
    return content


def _still_there(content: Mapping[str, Any]) -> str:
    """The fingerprint of the directory that a run read, which wrote down no fingerprint; empty where it is gone."""
    place = str((content.get("config") or {}).get("prm_path") or "")
    return fingerprint_of(place) if Path(place).is_dir() else ""


def bench_tables(runs: Sequence[BenchResults]) -> list[Table]:
    """One table a run: its subsets, and the number over all of them."""
    shown = {"processbench": _processbench, "best_of_n": _best_of_n}
    tables = [shown.get(run.name, _plain)(run) for run in runs]
    return [Table(run.benchmark.title, table) for run, table in zip(runs, tables, strict=True)]


def _plain(run: BenchResults) -> str:
    rows = [[row.subset, _count(row), _estimate(row.headline, row.interval)] for row in run.rows()]
    overall, bar = run.overall()
    if overall is not None:
        rows.append(["overall", "", _estimate(overall, bar)])
    return markdown_table(["subset", "solutions", run.benchmark.metric_name], rows)


def _best_of_n(run: BenchResults) -> str:
    """Best-of-n beside the majority vote over the same samples, and what it gains."""
    rows = []
    for row, found in zip(run.rows(), run.content["subsets"].values(), strict=True):
        compared = [found.get(name) for name in ("majority", "gain_over_majority")]  # value, low, high
        beside = [_estimate(one[0], _bar(one[1:])) if one else "" for one in compared]
        rows.append([row.subset, _count(row), _estimate(row.headline, row.interval), *beside])
    return markdown_table(["samples", "problems", "best of n", "majority vote", "gain"], rows)


def _processbench(run: BenchResults) -> str:
    rows = []
    for row in run.rows():
        shares = [
            _estimate(row.wrong_found, row.wrong_found_interval),
            _estimate(row.right_accepted, row.right_accepted_interval),
        ]
        rows.append([row.subset, _count(row), *shares, _estimate(row.headline, row.interval)])
    mean, bar = run.overall()
    if mean is not None:
        rows.append(["mean", "", "", "", _estimate(mean, bar)])
    header = ["subset", "solutions", "first wrong step found", "right solutions accepted", "F1"]
    return markdown_table(header, rows)


def describe_bench(runs: Sequence[BenchResults]) -> str:
    """How the numbers are to be read."""
    said = "Brackets are 95% intervals, bootstrapped over problems."
    for run in runs:
        if run.name == "processbench":
            choice = run.content.get("threshold_choice") or f"of {number(run.content.get('threshold'))}"
            said += (
                " ProcessBench (arXiv 2412.06559): a solution's first step below the threshold is called its first "
                f"wrong one, and F1 is the harmonic mean of the two shares; threshold {choice}."
            )
    return said


def _count(row: BenchRow) -> str:
    return "" if row.solutions is None else number(row.solutions)


def _bar(interval: Any) -> tuple[float, float] | None:
    return (interval[0], interval[1]) if interval else None


def _share(value: float | None) -> str:
    return "" if value is None else decimals(value)


def _estimate(value: float | None, bar: tuple[float, float] | None) -> str:
    return _share(value) + (f" [{decimals(bar[0])}, {decimals(bar[1])}]" if bar else "")
