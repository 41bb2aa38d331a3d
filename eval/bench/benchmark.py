"""Which benchmarks there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from . import best_of_n, prmbench, processbench
from .config import BenchConfig
from .resample import Statistic
from .verifiers import Opened


class Read(Protocol):
    def __call__(self, config: BenchConfig) -> Any: ...


class Measure(Protocol):
    def __call__(self, config: BenchConfig, opened: Opened) -> tuple[list[dict[str, Any]], dict[str, Any]]: ...


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes:
        read: its files, raising what is wrong with them.
        measure: a verifier; returns a record for each row (with `subset`, `key` and `problem`), and the summary.
        compared: of the records of a run, the numbers of some rows, the headline under `MEAN`.
        headline: what that is called.
        summary_key: under which the summary has it, and its interval under `mean_interval`.
    """

    read: Read
    measure: Measure
    compared: Callable[[Sequence[Mapping[str, Any]]], Statistic]
    headline: str
    summary_key: str


BENCHMARK_OF = {
    "processbench": Benchmark(processbench.read, processbench.measure, processbench.compared, "mean F1", "mean_f1"),
    "prmbench": Benchmark(prmbench.read, prmbench.measure, prmbench.compared, "PRMScore", "prm_score"),
    "best_of_n": Benchmark(
        best_of_n.read, best_of_n.measure, best_of_n.compared, "best-of-n at the largest n", "best_of_n"
    ),
}
