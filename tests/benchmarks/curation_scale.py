"""Conversion and curation of a data set of Math-Shepherd's size in bounded memory.

    python -m tests.benchmarks.curation_scale [--rows 445000]

Makes synthetic rows in Math-Shepherd's layout (some 30 solutions of each problem, one in 50 a copy), then converts
them to labels and curates those with every rule on, each in a process of its own whose peak memory is read from the
system. A hundredth of the rows shows what the libraries alone take. The last line is one JSON object with all figures.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prm.jsonl import write_jsonl
from prm.run_record import machine

ROWS = 445_000  # peiyi9979/Math-Shepherd has 444,655
PER_PROBLEM = 30
BYTES_PER_ROW_TARGET = 300  # a row's text takes some 1,500, its parsed form several times that

CHILD = """
import json, resource, sys, time
from pathlib import Path
from prm.data_gen.convert import ConvertConfig, run_convert
from prm.data_gen.curate import CurateConfig, run_curate
command, options = sys.argv[1], json.loads(sys.argv[2])
start = time.monotonic()
summary = run_convert(ConvertConfig(**options)) if command == "convert" else run_curate(CurateConfig(**options))
seconds = time.monotonic() - start
# VmHWM begins anew with the program; ru_maxrss would start from what the parent held when it forked.
status = Path("/proc/self/status")
if status.exists():
    peak = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(json.dumps({"seconds": seconds, "peak_mib": peak / 1024, "summary": summary}))
"""


def shepherd_rows(count: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Rows in Math-Shepherd's layout: problem, "Step i:" lines with their tags, marks that turn wrong for good."""
    draw = random.Random(seed)
    before: dict[str, Any] = {}
    for number in range(count):
        if before and draw.random() < 0.02:
            yield before
            continue
        rest = random.Random(number // PER_PROBLEM)
        facts = " ".join(f"{rest.randrange(100)} boxes of {rest.randrange(1000)} pens go to town" for _ in range(6))
        problem = f"Warehouse {number // PER_PROBLEM}: {facts}. How many pens is that?"
        fault = draw.randrange(12)
        steps = [
            f"Step {i + 1}: {' and '.join(f'{draw.randrange(10**6)} pens are counted again' for _ in range(3))}."
            for i in range(draw.randrange(3, 8))
        ]
        signs = ["+" if i < fault else "-" for i in range(len(steps))]
        before = {
            "input": problem + " " + "\n".join(f"{step} ки" for step in steps),
            "label": problem + " " + "\n".join(f"{step} {sign}" for step, sign in zip(steps, signs, strict=True)),
            "task": "GSM8K",
        }
        yield before


def run_child(command: str, options: dict[str, Any]) -> dict[str, Any]:
    """Run one command in a process of its own: seconds, peak memory in MiB, and its summary."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, command, json.dumps(options)], capture_output=True, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(rows: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Convert and curate so many rows; the files are deleted after use."""
    source, labels, curated = folder / "source.jsonl", folder / "labels.jsonl", folder / "curated.jsonl"
    tests = folder / "tests.jsonl"
    write_jsonl(source, shepherd_rows(rows))
    problems = ({"problem": row["input"].split(" Step 1:")[0]} for row in shepherd_rows(PER_PROBLEM * 3, seed=1))
    write_jsonl(tests, problems)
    convert = {"input_path": str(source), "output_path": str(labels), "to_format": "labels"}
    curate = {
        "input_path": [str(labels)],
        "output_path": str(curated),
        "decontaminate": [str(tests)],
        "min_pass_rate": 0.01,
        "max_pass_rate": 0.99,
        "max_per_problem": 25,
        "balance": "rollouts",
        "after_first_error": "drop",
        "eval_fraction": 0.05,
    }
    results = {"convert": run_child("convert", convert)}
    source.unlink()
    results["curate"] = run_child("curate", curate)
    for path in folder.iterdir():
        path.unlink()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    rows = parser.parse_args().rows
    small = rows // 100
    with tempfile.TemporaryDirectory() as name:
        base, whole = measure(small, Path(name)), measure(rows, Path(name))
    figures: dict[str, Any] = {"rows": rows, "machine": machine()}
    print(f"{'command':<8}  {'rows':>8}  {'rows/s':>8}  {'peak MiB':>8}  {'bytes/row beyond the libraries':>30}")
    for command in ("convert", "curate"):
        grown = (whole[command]["peak_mib"] - base[command]["peak_mib"]) * 2**20 / (rows - small)
        figures[command] = {
            "rows_per_second": round(rows / whole[command]["seconds"], 1),
            "peak_mib": round(whole[command]["peak_mib"], 1),
            "peak_mib_of_a_hundredth": round(base[command]["peak_mib"], 1),
            "bytes_per_row": round(grown, 1),
            "target_bytes_per_row": BYTES_PER_ROW_TARGET,
            "met": grown <= BYTES_PER_ROW_TARGET,
        }
        facts = figures[command]
        print(
            f"{command:<8}  {rows:>8,}  {facts['rows_per_second']:>8,.0f}  {facts['peak_mib']:>8,.0f}  {grown:>30,.0f}"
        )
    figures["kept"] = whole["curate"]["summary"]["kept"]
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
