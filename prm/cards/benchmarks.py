"""What `prm bench` measured of one verifier, as a table: how well it finds the first wrong step, by subset.

Read from the run's `processbench.json`. Nothing is computed anew, and a run of other weights is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.cards.facts import read_json
from prm.cards.tables import markdown_table, number
from prm.errors import DataError, HubError, MissingFileError
from prm.fingerprint import fingerprint as fingerprint_of

BENCH_FILE = "processbench.json"


@dataclass(frozen=True)
class BenchRow:
    """One subset, in shares from 0 to 1; `None` where it has no such solution.

    Attributes:
        solutions: how many were scored.
        wrong_found: of those with a mistake, the share whose first wrong step was found.
        right_accepted: of those without one, the share in which no step was called wrong.
        f1: the harmonic mean of both, ProcessBench's metric, with its 95% interval.
    """

    subset: str
    solutions: int
    wrong_found: float | None
    right_accepted: float | None
    f1: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class BenchResults:
    """The content of a `processbench.json`."""

    content: dict[str, Any]

    @property
    def mean_f1(self) -> float | None:
        found: float | None = self.content["mean_f1"]
        return found

    def rows(self) -> Iterator[BenchRow]:
        for subset, found in self.content["subsets"].items():
            interval = found.get("interval")
            yield BenchRow(
                subset,
                found["solutions"],
                found.get("first_error_accuracy"),
                found.get("all_correct_accuracy"),
                found.get("first_error_f1"),
                (interval[0], interval[1]) if interval else None,
            )


def read_bench(directory: str | Path, fingerprints: tuple[str, ...]) -> BenchResults:
    """Read the run of `prm bench` in a directory.

    Args:
        fingerprints: those of the verifier (`prm.fingerprint`), as it is and as it is published.

    Raises:
        MissingFileError, DataError: there is no such run, or it is not one that this program reads.
        HubError: it measured other weights, or it cannot be told which.
    """
    path = Path(directory) / BENCH_FILE
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Give the output_dir of a finished `prm bench`")
    content = read_json(path)
    if not {"subsets", "mean_f1", "threshold"} <= set(content) or not isinstance(content["subsets"], dict):
        raise DataError("not the results of this version's `prm bench`", path=path, remedy="Run `prm bench` again")
    measured = content["fingerprint"] if "fingerprint" in content else _still_there(content)
    if measured not in fingerprints:
        raise HubError(
            f"{path}: it measured {'other weights' if measured else 'a verifier that cannot be told'}; run "
            "`prm bench` again"
        )
    return BenchResults(content)


def _still_there(content: Mapping[str, Any]) -> str:
    """The fingerprint of the directory that a run read, which wrote down no fingerprint; empty where it is gone."""
    place = str((content.get("config") or {}).get("prm_path") or "")
    return fingerprint_of(place) if Path(place).is_dir() else ""


def bench_table(results: BenchResults) -> str:
    """The subsets, and the mean over them."""
    rows = [
        [row.subset, number(row.solutions), _share(row.wrong_found), _share(row.right_accepted), _with_interval(row)]
        for row in results.rows()
    ]
    if len(rows) > 1:
        rows.append(["mean", "", "", "", _share(results.mean_f1)])
    header = ["subset", "solutions", "first wrong step found", "right solutions accepted", "F1"]
    return markdown_table(header, rows)


def describe_bench(results: BenchResults) -> str:
    """How the numbers are to be read."""
    return (
        "ProcessBench's task (arXiv 2412.06559): a solution's first step below the threshold of "
        f"{number(results.content['threshold'])} is called its first wrong one. F1 is the harmonic mean of the two "
        "shares; brackets are 95% intervals, bootstrapped over solutions."
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _with_interval(row: BenchRow) -> str:
    bar = row.interval
    return _share(row.f1) + (f" [{bar[0]:.3f}, {bar[1]:.3f}]" if bar else "")
