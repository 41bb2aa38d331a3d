"""`prm data convert`: rows of one format to rows of another, one at a time.

    prm data convert --from math_shepherd --to stepwise --input_path train.jsonl --output_path stepwise.jsonl

What the other format cannot hold is found by reading each row back, counted, and said once, with the summary. Rows
that it cannot hold at all, and those that cannot be read where `bad_rows` is `drop`, go to `<output>.rejected.jsonl`
with the reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from prm.errors import ConfigError, DataError
from prm.labels import share_rule
from prm.problems import dataset_label
from prm.progress import progress_bar
from prm.rows.training_rows import RejectedRow

from .data_output import REJECTED, DataOutput, beside, check_paths, input_hash, rejected_rows
from .data_report import origins
from .formats import find_format, recognise
from .formats.base import Format, NotHeldError, Record, Row, Where
from .formats.exchange import lost_fields, read_records, write_row
from .formats.prm800k import Prm800kFormat
from .row_files import read_rows, write_rows

_SETTINGS = ("from_format", "to_format", "alternatives", "hard_threshold", "bad_rows")


@dataclass(kw_only=True)
class ConvertConfig:
    """Options of `prm data convert`."""

    input_path: str = field(metadata={"help": "A .jsonl, .json or .parquet file, or a dataset on the Hub"})
    output_path: str = field(metadata={"help": "A .jsonl or .parquet file"})
    to_format: str = field(
        metadata={
            "help": "--to: labels, rollouts, stepwise, prm800k, math_shepherd, rlhflow, processbench or mc_values"
        }
    )
    from_format: str = field(default="", metadata={"help": "--from: likewise; by default known by the columns"})
    split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub"})
    alternatives: bool = field(
        default=True, metadata={"help": "PRM800K: each rated step off the chosen path makes a rollout of its own"}
    )
    hard_threshold: float = field(
        default=0.0,
        metadata={
            "help": "mc_values: the share of right completions from which a step is called right; 0: any success, as "
            "Math-Shepherd has it"
        },
    )
    bad_rows: Literal["refuse", "drop"] = field(
        default="refuse",
        metadata={"help": "Rows that cannot be read: refuse stops at the first, drop goes on"},
    )
    overwrite: bool = field(default=False, metadata={"help": "Replace an output of other settings"})

    def check(self) -> None:
        """Refuse what cannot work before anything is read.

        Raises:
            PrmError: see its message.
        """
        for name in filter(None, (self.from_format, self.to_format)):
            find_format(name)
        if not 0 <= self.hard_threshold <= 1:
            raise ConfigError(f"hard_threshold must be in [0, 1], not {self.hard_threshold}")
        check_paths([self.input_path], self.output_path, beside(self.output_path, REJECTED))


def run_convert(config: ConvertConfig) -> dict[str, Any]:
    """Convert a file; returns the summary, which is `<output>.convert.json` beside the output.

    Raises:
        PrmError: bad input, see the messages; or no row that could be converted.
    """
    config.check()
    output = DataOutput(
        (Path(config.output_path),),
        beside(config.output_path, ".convert.json"),
        {
            **{name: getattr(config, name) for name in _SETTINGS},
            "input": dataset_label(config.input_path),
            "input_hash": input_hash(config.input_path),
        },
        config.overwrite,
    )
    if summary := output.finished():
        return summary | {"repeated": True}
    reasons: Counter[str] = Counter()
    apart = beside(config.output_path, REJECTED)
    with rejected_rows(apart, reasons) as reject, progress_bar("convert", None, "row") as advance:
        conversion = Conversion(config, reject, advance)
        write_rows(config.output_path, conversion.rows())
    left_out = dict(reasons.most_common())
    facts = {**conversion.summary(), "rejected": left_out, "origins": origins([config.input_path])}
    return output.write_summary(facts, conversion.counts["written"], left_out)


class Conversion:
    """One pass over a file: counts what it meets, and keeps nothing else."""

    def __init__(self, config: ConvertConfig, reject: Callable[[RejectedRow], None], advance: Callable[[int], None]):
        self.config, self.reject, self.advance = config, reject, advance
        self.to = find_format(config.to_format)
        self.source: Format | None = find_format(config.from_format) if config.from_format else None
        self.counts: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()

    def rows(self) -> Iterator[Row]:
        """The converted rows.

        Raises:
            DataError: a row that cannot be read, unless those are dropped; or no row at all.
        """
        path = self.config.input_path
        for line, row in read_rows(path, split=self.config.split):
            self.advance(1)
            self.counts["rows"] += 1
            for record in self._read(row, Where(path, line)):
                self.counts["records"] += 1
                try:
                    converted = write_row(self.to, record)
                except NotHeldError as reason:
                    self.reject(RejectedRow(path, line, str(reason), row))
                    continue
                self.losses.update(lost_fields(self.to, record, converted))
                self.counts["written"] += 1
                yield converted
        if not self.counts["rows"]:
            raise DataError("no rows in it", path=path, remedy="Check the path, or run the stage that writes it")

    def _read(self, row: Row, where: Where) -> list[Record]:
        if self.source is None:
            self.source = recognise(row, where.path)
        if isinstance(self.source, Prm800kFormat):
            apart = self.to.name != self.source.name  # a PRM800K record holds its alternatives itself
            self.source = replace(self.source, alternatives=self.config.alternatives and apart)
        if self.config.hard_threshold and self.source.name != "mc_values":
            raise ConfigError(
                f"hard_threshold is for shares of completions (mc_values); {self.source.name} has its own hard labels"
            )
        try:
            return [self._at_threshold(record) for record in read_records(self.source, row, where)]
        except DataError as error:
            if self.config.bad_rows == "refuse":
                raise
            self.reject(RejectedRow(where.path, where.line, error.what, row))
            return []

    def _at_threshold(self, record: Record) -> Record:
        if not self.config.hard_threshold:
            return record
        rule = share_rule(self.config.hard_threshold)
        labels = tuple(replace(label, rule=rule) for label in record.labels)
        return replace(record, labelled=replace(record.labelled, labels=labels))

    def summary(self) -> dict[str, Any]:
        return {
            "from": self.source.name if self.source else None,
            "to": self.to.name,
            **{name: self.counts[name] for name in ("rows", "records", "written")},
            "lost": dict(self.losses.most_common()),
        }


def convert_table(summary: dict[str, Any]) -> str:
    """The summary's main lines, for the terminal."""
    lines = [
        f"{summary['from']} -> {summary['to']}: {summary['rows']:,} rows, {summary['records']:,} solutions, "
        f"{summary['written']:,} written"
    ]
    lines += [f"  not held by {summary['to']}: {what}, {count:,} rows" for what, count in summary["lost"].items()]
    lines += [f"  left out: {reason}, {count:,} rows" for reason, count in summary["rejected"].items()]
    return "\n".join(lines)
