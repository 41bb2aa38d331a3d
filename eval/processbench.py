"""`prm bench`: how well a PRM finds the first wrong step, on ProcessBench files (arXiv 2412.06559).

    prm bench --prm_path runs/prm --files processbench/gsm8k.json processbench/math.json --output_dir runs/bench

A row has `problem`, `steps`, `label` (index of the first wrong step, -1 for none) and `final_answer_correct`, as
published in Qwen/ProcessBench. The verifier's first error is its first step below the threshold; the F1 is the metric
module `first_error_f1`, and the headline is the mean over files, as in the paper. The paper fitted thresholds on its
GSM8K subset; here the verifier's own threshold counts unless another is given, and nothing is fitted on the test set.

Policy for steps that a verifier cannot read as they are, counted and reported: a separator inside a step becomes a
space (the step stays one step, with one score); a blank step is scored like the step before it, for it adds nothing;
a solution longer than the verifier's `max_length` counts as "no error found", for a verifier that says nothing has
found none.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError, DataError, MissingFileError

if TYPE_CHECKING:
    from .search.base import StepVerifier

METRIC = "first_error_f1"
NO_ERROR = -1


@dataclass
class ProcessBenchConfig:
    """A PRM and the files to read."""

    prm_path: str = field(metadata={"help": "The PRM: a directory or a Hub name"})
    files: list[str] = field(metadata={"help": "ProcessBench files, JSON arrays or JSON lines, one per subset"})
    output_dir: str = field(metadata={"help": "Directory of processbench.json and processbench.jsonl"})
    threshold: float | None = field(
        default=None, metadata={"help": "A step is held to be wrong below this score; default: the verifier's own"}
    )
    num_problems: int = field(default=0, metadata={"help": "A random sample of this many rows of each file; 0: all"})
    batch_tokens: int = field(default=16384, metadata={"help": "Tokens of one batch, which bounds memory"})
    device: str | None = field(default=None, metadata={"help": "Torch device; default: CUDA where there is one"})
    dtype: str | None = field(default=None, metadata={"help": "Torch dtype, such as bfloat16"})
    seed: int = field(default=0, metadata={"help": "Seed of the bootstrap"})

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must be between 0 and 1, not {self.threshold}")
        if self.num_problems < 0 or self.batch_tokens < 1:
            raise ConfigError("num_problems must not be negative and batch_tokens must be positive")


@dataclass(frozen=True)
class BenchRow:
    """One solution of ProcessBench; `label` is the index of its first wrong step, or -1."""

    id: str
    problem: str
    steps: tuple[str, ...]
    label: int
    final_answer_correct: bool


@dataclass(frozen=True)
class ReadableSteps:
    """Steps as a verifier can read them. `places[i]` is the readable step whose score step i gets, or -1 where only
    blank steps came before."""

    steps: tuple[str, ...]
    places: tuple[int, ...]
    n_separators: int
    n_blank: int


def read_processbench(path: str | Path) -> list[BenchRow]:
    """Read a ProcessBench file.

    Raises:
        MissingFileError, DataError: no such file, or a row that is not one of ProcessBench's, with its number.
    """
    from prm.jsonl import read_jsonl

    path = Path(path)
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path; the sets are Qwen/ProcessBench's")
    rows = [_row(record, path, number) for number, record in read_jsonl(path)]
    if not rows:
        raise DataError("no rows in it", path=path, remedy="Give a file with at least one solution")
    return rows


def sample_of(rows: Sequence[BenchRow], count: int, seed: int) -> list[BenchRow]:
    """A random sample in the file's order, or all rows. The published files are sorted by label, so that their first
    rows all hold an error."""
    if not count or count >= len(rows):
        return list(rows)
    return [rows[index] for index in sorted(random.Random(seed).sample(range(len(rows)), count))]


def _row(record: Any, path: Path, number: int) -> BenchRow:
    try:
        problem, steps, label = record["problem"], record["steps"], record["label"]
        if not isinstance(problem, str) or not isinstance(steps, list) or not all(isinstance(s, str) for s in steps):
            raise ValueError("problem must be a text and steps a list of texts")
        if not any(step.strip() for step in steps):
            raise ValueError("it has no steps")
        if type(label) is not int:
            raise ValueError(f"label {label!r} is not a whole number")
        if not NO_ERROR <= label < len(steps):
            raise ValueError(f"label {label} is not -1 or the index of one of its {len(steps)} steps")
        return BenchRow(
            str(record.get("id", number)), problem, tuple(steps), label, bool(record["final_answer_correct"])
        )
    except KeyError as error:
        what = f"no {error.args[0]!r} in the row"
    except (TypeError, ValueError, AttributeError) as error:
        what = f"not a ProcessBench row: {error}"
    raise DataError(what, path=path, line=number, remedy="Rows need problem, steps, label and final_answer_correct")


def readable(steps: Sequence[str], separator: str) -> ReadableSteps:
    """Apply the policy for separators within steps and for blank steps."""
    kept: list[str] = []
    places = []
    n_separators = 0
    for step in steps:
        n_separators += separator in step
        text = step.replace(separator, " ")
        if text.strip():
            kept.append(text)
        places.append(len(kept) - 1)
    return ReadableSteps(tuple(kept), tuple(places), n_separators, len(steps) - len(kept))


def score_rows(
    rows: Sequence[BenchRow], verifier: StepVerifier, *, threshold: float, seed: int = 0, label: str = "score"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Score every row; returns one record for each, and the summary with the F1 and its interval.

    Raises:
        ConfigError: the verifier is an ORM, which scores no steps.
    """
    from prm.progress import progress_bar

    from .steps import score_safely

    if verifier.spec.kind != "prm":
        raise ConfigError(f"{verifier.name} is an ORM, which scores no steps; give a PRM")
    guarded = [readable(row.steps, verifier.spec.step_format.step_separator) for row in rows]
    with progress_bar(label, len(rows), "solution") as advance:
        found = score_safely(
            verifier, [(row.problem, item.steps) for row, item in zip(rows, guarded, strict=True)], advance
        )
    records = []
    for row, item, scores in zip(rows, guarded, found, strict=True):
        per_step = [] if scores is None else [1.0 if place < 0 else scores.scores[place] for place in item.places]
        predicted = next((index for index, score in enumerate(per_step) if score < threshold), NO_ERROR)
        records.append({"id": row.id, "label": row.label, "predicted": predicted, "scores": per_step})
    counts = {
        "solutions": len(rows),
        "steps_with_separator": sum(item.n_separators for item in guarded),
        "blank_steps": sum(item.n_blank for item in guarded),
        "too_long": sum(scores is None for scores in found),
        "verifier_tokens": sum(scores.tokens for scores in found if scores),
    }
    return records, {**counts, **_metric(records, seed)}


def _metric(records: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The metric module's numbers, and a bootstrap interval of the F1 over solutions."""
    import numpy as np

    from prm.metrics import load_metric
    from prm.stats.intervals import bootstrap_statistic
    from prm.stats.ranking import first_error_f1

    predicted = np.array([record["predicted"] for record in records])
    true = np.array([record["label"] for record in records])
    found = load_metric(METRIC).compute(predictions=predicted.tolist(), references=true.tolist())
    numbers = {name: None if math.isnan(value) else value for name, value in found.items()}
    if numbers[METRIC] is None:
        return {**numbers, "interval": None}
    bar = bootstrap_statistic(lambda rows: first_error_f1(predicted[rows], true[rows]).f1, len(true), seed=seed)
    return {**numbers, "interval": [bar.low, bar.high]}


def run_processbench(config: ProcessBenchConfig, *, verifier: StepVerifier | None = None) -> dict[str, Any]:
    """Score the files, write `processbench.json` and `processbench.jsonl`, and print the table.

    Args:
        verifier: a PRM in memory, instead of the one at `config.prm_path`.

    Returns:
        What `processbench.json` holds.
    """
    from prm.fingerprint import fingerprint
    from prm.jsonl import write_json, write_jsonl
    from prm.run_record import prepare_output
    from prm.verifier import Verifier
    from prm.worlds.models import expand_embedded

    folder = prepare_output(config.output_dir)
    subsets = _subset_names(config.files)
    read = {name: read_processbench(path) for name, path in subsets.items()}
    data = {name: sample_of(rows, config.num_problems, config.seed) for name, rows in read.items()}
    measured = fingerprint(expand_embedded(config.prm_path)) if verifier is None else None  # `prm push` asks
    if verifier is None:
        verifier = Verifier.from_pretrained(
            config.prm_path, device=config.device, dtype=config.dtype, batch_tokens=config.batch_tokens
        )
    threshold = verifier.spec.threshold if config.threshold is None else config.threshold
    records, results = [], {}
    for name, rows in data.items():
        scored, results[name] = score_rows(rows, verifier, threshold=threshold, seed=config.seed, label=name)
        records += [{"subset": name, **record} for record in scored]
    scores = [result[METRIC] for result in results.values()]
    summary = {
        "verifier": verifier.name,
        "fingerprint": measured,
        "threshold": threshold,
        "subsets": results,
        "mean_f1": None if None in scores else sum(scores) / len(scores),
        "config": asdict(config),
    }
    write_jsonl(folder / "processbench.jsonl", records)
    write_json(folder / "processbench.json", summary)
    print(_table(summary))
    return summary


def _subset_names(files: Sequence[str]) -> dict[str, str]:
    if not files:
        raise ConfigError("no files; give ProcessBench's .json files, one per subset")
    names = {Path(path).stem: path for path in files}
    if len(names) < len(files):
        raise ConfigError("two files have the same name; the name is the subset's, so rename one")
    return names


def _table(summary: dict[str, Any]) -> str:
    from prm.report.formatting import Column
    from prm.report.terminal import render_table
    from prm.stats.intervals import Estimate

    rows: list[list[str | int | float | Estimate | None]] = []
    notes = []
    for name, found in summary["subsets"].items():
        f1, bar = found[METRIC], found["interval"]
        estimate = Estimate(f1, bar[0], bar[1], found["solutions"]) if bar else None
        rows.append([name, found["solutions"], found["first_error_accuracy"], found["all_correct_accuracy"], estimate])
        for what in ("steps_with_separator", "blank_steps", "too_long"):
            if found[what]:
                notes.append(f"note: {name}: {found[what]} {what.replace('_', ' ')}; see `prm bench`'s policy")
    rows.append(["mean", None, None, None, summary["mean_f1"]])
    headers: list[str | Column] = [
        "subset",
        Column("solutions", "integer"),
        Column("wrong", "percent"),
        Column("right", "percent"),
        Column("F1", "percent"),
    ]
    return "\n".join([render_table(headers, rows), *notes])


def main(arguments: list[str] | None = None) -> None:
    """The subcommand `prm bench`."""
    from prm.config import parse_config

    given = sys.argv[1:] if arguments is None else arguments
    run_processbench(parse_config(ProcessBenchConfig, given, prog="prm bench"))


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
