"""`prm data merge`: the shards of one run become the file that the undivided run would have written.

    prm data merge --input_paths runs/a/shard-*/rollouts.jsonl --output_path runs/a/rollouts.jsonl

Each shard's report says which part it is, with which settings it was made and what its data file's hash was: the merge
is refused when a shard is missing, double, unfinished, changed since, or made with other settings. Lines are copied as
they are, in the order of the undivided run; what a consensus left out is merged beside them. They are its very bytes
where a generator's answer is its request's alone; a model's rows may round otherwise in other company, and then a
token here and there is another, and with it its cost.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from prm.errors import ConfigError, DataError, MissingFileError
from prm.fingerprint import file_hash
from prm.jsonl import atomic_write, write_json
from prm.rows.facts import REPORTS

from .consensus import REJECTED_FILE
from .data_output import check_paths
from .merge_audit import merged_audit, merged_figures, write_merged_page
from .shards import parse_shard, placed_rows
from .truth import TruthOf, arithmetic_truth, read_truth

# What a merged report adds up; the rest of each shard's report stands under `shards`.
SUMMED = (
    *("problems", "rollouts", "without_steps", "out_of_context", "step_labels", "distinct_labels"),
    *("distinct_prefixes", "shared_prefixes"),
    *("decided_by_rollout", "completions", "unknown_labels", "outcomes", "stop_reasons", "cost", "rejected_cost"),
    *("completions_per_prefix", "rules", "sources"),
)
SHARED = ("generator", "grader", "labeler", "problem_set", "versions")  # kept where all shards agree
_REMEDY = "Run that shard again to its end, then merge"


@dataclass(kw_only=True)
class MergeConfig:
    """Options of `prm data merge`."""

    input_paths: list[str] = field(metadata={"help": "The shards' rollouts.jsonl or labels.jsonl, in any order"})
    output_path: str = field(metadata={"help": "The merged .jsonl; its report is written beside it"})
    truth_path: str = field(default="", metadata={"help": "What the shards' labels were measured against, if a file"})
    overwrite: bool = field(default=False, metadata={"help": "Replace an output that is there already"})


@dataclass(frozen=True)
class ShardFile:
    """A finished shard: its data file, the report beside it, and that report's name."""

    path: Path
    report: dict[str, Any]
    report_name: str

    @property
    def index(self) -> int:
        return int(self.report["shard"]["index"])

    @property
    def count(self) -> int:
        return int(self.report["shard"]["count"])

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all shards share."""
        return {name: value for name, value in self.report["settings"].items() if name != "shard"}


def run_merge(config: MergeConfig) -> dict[str, Any]:
    """Merge shards; returns the merged report, which is written beside the output under the shards' reports' name.

    Raises:
        PrmError: see the messages; nothing is written then.
    """
    check_paths(config.input_paths, config.output_path)
    output = Path(config.output_path)
    if output.suffix != ".jsonl":
        raise ConfigError(f"{output}: shards are JSON lines, and so is the merged file: give a .jsonl")
    shards = sorted((_shard_file(Path(path)) for path in config.input_paths), key=lambda shard: shard.index)
    check_complete(shards)
    report_path = output.parent / shards[0].report_name
    if any(shard.path.parent.resolve() == output.parent.resolve() for shard in shards):
        raise ConfigError(f"{output.parent} is a shard's directory, whose report would be replaced; choose another")
    report, truth_of = _merged_report(shards), _truth(config.truth_path, shards[0])
    if output.exists() or report_path.exists():
        if finished := _finished(output, report_path, report):
            return finished | {"repeated": True}
        if not config.overwrite:
            raise ConfigError(f"{output.parent} holds another run; give another --output_path, or --overwrite true")
        report_path.unlink(missing_ok=True)
    if "consensus" in shards[0].report:
        _write_merged(output.parent / REJECTED_FILE, [_rejected(shard) for shard in shards])
    _write_merged(output, [(shard.path, placed_rows(shard.report["shard"])) for shard in shards])
    report = merged_audit(output, shards[0].report_name, report, truth_of) | {"data_hash": file_hash(output)}
    write_json(report_path, report)
    write_merged_page(output, shards[0].report_name, report)
    return report


def check_complete(shards: Sequence[ShardFile]) -> None:
    """See that the shards make up one run: of the same settings, none missing, none double.

    Raises:
        ConfigError: see its message.
    """
    first = shards[0]
    for shard in shards[1:]:
        if shard.report_name != first.report_name:
            raise ConfigError(f"{first.path} and {shard.path} are of different stages")
        if shard.count != first.count:
            raise ConfigError(f"{first.path} is one of {first.count} shards and {shard.path} one of {shard.count}")
        ours, theirs = first.settings, shard.settings
        for name in sorted(ours.keys() | theirs.keys()):
            if ours.get(name) != theirs.get(name):
                what = f"{name}={ours.get(name)!r} and {shard.path} with {theirs.get(name)!r}"
                raise ConfigError(f"{first.path} was made with {what}; shards of one run share their settings")
    seen: dict[int, ShardFile] = {}
    for shard in shards:
        if shard.index in seen:
            raise ConfigError(
                f"shard {shard.index}/{shard.count} is double: {seen[shard.index].path} and {shard.path}"
            )
        seen[shard.index] = shard
    if missing := [str(i) for i in range(1, first.count + 1) if i not in seen]:
        raise ConfigError(f"of {first.count} shards, missing: {', '.join(missing)}; give all of them")
    _check_positions(shards)


def _check_positions(shards: Sequence[ShardFile]) -> None:
    """Every item of the undivided run is in one shard. A rollout without steps is no item of labelling."""
    totals = {shard.report["shard"]["items"] for shard in shards}
    placed = [position for shard in shards for position, _ in placed_rows(shard.report["shard"])]
    if len(totals) != 1 or sorted(placed) != list(range(totals.pop())):
        raise ConfigError(
            f"the shards from {shards[0].path} on do not make up one run: their reports name other items; "
            "they were made of different inputs"
        )


def _truth(path: str, shard: ShardFile) -> TruthOf:
    """The truth that the shards were measured against: a merge with another would not be the undivided run's."""
    theirs = shard.settings.get("truth_hash")
    if (file_hash(path) if path else None) != theirs:
        name = shard.settings.get("truth_path")
        said = (
            f"against {name}: give that file as --truth_path" if theirs else "without a file: leave out --truth_path"
        )
        raise ConfigError(f"the labels of {shard.path} were measured {said}")
    return read_truth(path) if path else arithmetic_truth


def _rejected(shard: ShardFile) -> tuple[Path, list[tuple[int, int]]]:
    """What a consensus left out of a shard, and the places: those of the rollouts that made no row."""
    path = shard.path.parent / REJECTED_FILE
    if not path.is_file():
        raise MissingFileError("no longer beside its shard", path=path, remedy=_REMEDY)
    return path, [(position, 1) for position, rows in placed_rows(shard.report["shard"]) if not rows]


def _write_merged(output: Path, files: Sequence[tuple[Path, list[tuple[int, int]]]]) -> None:
    with atomic_write(output) as stream:
        for line in merged_lines(files):
            stream.write(line.decode("utf-8"))


def merged_lines(files: Sequence[tuple[Path, list[tuple[int, int]]]]) -> Iterator[bytes]:
    """The shards' lines in the order of the undivided run; one line of each shard is in memory.

    Args:
        files: of each shard, with the places of its rows (see `placed_rows`).

    Raises:
        DataError: a file with another number of lines than its report says.
    """
    streams = [path.open("rb") for path, _ in files]
    try:
        parts = [_placed(number, places) for number, (_, places) in enumerate(files)]
        for _, number, rows in heapq.merge(*parts):
            for _ in range(rows):
                yield _line(streams[number], files[number][0])
        for stream, (path, _) in zip(streams, files, strict=True):
            if stream.read(1):
                raise DataError("more lines than its report says", path=path, remedy=_REMEDY)
    finally:
        for stream in streams:
            stream.close()


def _placed(number: int, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    return ((position, number, rows) for position, rows in places)


def _line(stream: BinaryIO, path: Path) -> bytes:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise DataError("fewer lines than its report says", path=path, remedy=_REMEDY)
    return line


def _shard_file(path: Path) -> ShardFile:
    """A shard's report, checked against its data.

    Raises:
        DataError: unfinished, changed since, or no shard.
    """
    name = next((name for name in REPORTS if _stage(name) == path.stem), None)
    if name is None:
        names = " or ".join(f"{_stage(report)}.jsonl" for report in REPORTS)
        raise DataError("neither file of a stage", path=path, remedy=f"Give the shards' {names}")
    report = _report(path, name)
    if report.get("data_hash") != file_hash(path):
        raise DataError("changed since its report was written", path=path, remedy=_REMEDY)
    if not report["settings"].get("shard") or not isinstance(report.get("shard"), dict):
        raise DataError("not a shard: it was made without --shard", path=path, remedy="Give the files of shards")
    facts, said = report["shard"], parse_shard(str(report["settings"]["shard"]))
    if said is None or (said.index, said.count) != (facts.get("index"), facts.get("count")):
        raise DataError("its settings and its shard are at odds", path=path.parent / name, remedy=_REMEDY)
    return ShardFile(path, report, name)


def _report(path: Path, name: str) -> dict[str, Any]:
    """The report of this name beside a data file.

    Raises:
        DataError: none there, or damaged.
    """
    try:
        report: dict[str, Any] = json.loads((path.parent / name).read_text(encoding="utf-8"))
        if not isinstance(report["settings"], dict):
            raise ValueError("no settings")
        if isinstance(report.get("shard"), dict):
            placed_rows(report["shard"])
        return report
    except FileNotFoundError:
        raise MissingFileError(f"unfinished: no {name} beside it", path=path, remedy=_REMEDY) from None
    except (KeyError, TypeError, ValueError):
        raise DataError("not a report of a stage", path=path.parent / name, remedy=_REMEDY) from None


def _stage(report_name: str) -> str:
    """`rollout_report.json` lies beside `rollouts.jsonl`."""
    return report_name.removesuffix("_report.json") + "s"


def _merged_report(shards: Sequence[ShardFile]) -> dict[str, Any]:
    reports = [shard.report for shard in shards]
    merged: dict[str, Any] = {}
    for name in SUMMED:
        if all(name in report for report in reports):
            merged[name] = _sum([report[name] for report in reports])
    for name in SHARED:
        if name in reports[0] and all(report.get(name) == reports[0][name] for report in reports):
            merged[name] = reports[0][name]
    own = [{"path": str(shard.path), **{k: v for k, v in shard.report.items() if k != "settings"}} for shard in shards]
    settings = {**shards[0].settings, "shard": f"all {shards[0].count} merged"}
    return {**merged, **merged_figures(reports), "shards": own, "settings": settings}


def _sum(values: Sequence[Any]) -> Any:
    if isinstance(values[0], dict):
        names = dict.fromkeys(name for value in values for name in value)
        return {name: sum(value.get(name, 0) for value in values) for name in names}
    return sum(values)


def _finished(output: Path, report_path: Path, report: dict[str, Any]) -> dict[str, Any] | None:
    """The report that is there, where it is of the same shards and its data is untouched."""
    try:
        there = json.loads(report_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(there, dict) and all(there.get(name) == value for name, value in report.items())
    return there if same and output.is_file() and there.get("data_hash") == file_hash(output) else None


def merge_table(report: dict[str, Any]) -> str:
    """The merged report's main lines, for the terminal."""
    counts = [f"{report[name]:,} {name.replace('_', ' ')}" for name in SUMMED if isinstance(report.get(name), int)]
    return f"{len(report['shards'])} shards merged: {', '.join(counts)}"
