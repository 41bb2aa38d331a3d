"""The subcommand `prm bench`: a verifier and a benchmark's files -> results, the record of each solution, and a page.

    prm bench --prm_path runs/prm --files processbench/gsm8k.json processbench/math.json --output_dir runs/bench
    prm bench --compare runs/bench runs/other Qwen/Qwen2.5-Math-PRM-7B --output_dir runs/leaderboard

The results are `processbench.json` with `processbench.jsonl`, or those of the benchmark that was asked for, and
`report.html`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from prm.run_record import RunRecord, prepare_output

from ..search.base import StepVerifier
from .config import BenchConfig

REPORT = "report.html"


def run_bench(config: BenchConfig, *, verifier: StepVerifier | None = None) -> dict[str, Any]:
    """Score the files, write the results and the page, and print the table.

    Args:
        verifier: one in memory, instead of the one at `config.prm_path`.

    Returns:
        What the results' file holds.
    """
    from prm.jsonl import write_json, write_jsonl

    from .benchmark import BENCHMARK_OF
    from .page import render
    from .table import table_of
    from .verifiers import open_verifier

    record = RunRecord(seed=config.seed)
    folder = prepare_output(config.output_dir)
    benchmark = BENCHMARK_OF[config.benchmark]
    benchmark.read(config)  # what is wrong with the files is said before a model is loaded
    opened = open_verifier(config, verifier)
    records, found = benchmark.measure(config, opened)
    summary = {
        "benchmark": config.benchmark,
        "verifier": opened.verifier.name,
        "fingerprint": opened.fingerprint,
        **found,
        "config": asdict(config),
    }
    write_jsonl(folder / f"{config.benchmark}.jsonl", records)
    write_json(folder / f"{config.benchmark}.json", summary)
    (folder / REPORT).write_text(render(summary), encoding="utf-8")
    record.write(folder)
    print(table_of(summary))
    return summary


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
