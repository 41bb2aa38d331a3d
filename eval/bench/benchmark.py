"""Which benchmarks there are, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from . import processbench
from .config import BenchConfig
from .verifiers import Opened


class Read(Protocol):
    def __call__(self, config: BenchConfig) -> Any: ...


class Measure(Protocol):
    def __call__(self, config: BenchConfig, opened: Opened) -> tuple[list[dict[str, Any]], dict[str, Any]]: ...


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: reads its files, raising what is wrong with them, and measures a verifier: a record for each row,
    and the summary."""

    read: Read
    measure: Measure


BENCHMARK_OF = {
    "processbench": Benchmark(processbench.read, processbench.measure),
}
