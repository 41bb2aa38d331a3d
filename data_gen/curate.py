"""`prm data curate`: which labelled solutions are worth training on, and why the others are not.

    prm data curate --input_path a/labels.jsonl b/labels.jsonl --output_path curated.jsonl \\
        --decontaminate gsm8k_test.jsonl math500.jsonl --max_per_problem 8 --balance rollouts --eval_fraction 0.05

writes `curated.jsonl`, with an `eval_fraction` also `curated.eval.jsonl`, `curated.rejected.jsonl` (what was left out,
with the reason and its line) and `<output>.curate.json`. The rules are `data_gen.screening`'s, `decontamination`'s and
`label_policies`'; this file reads twice, once to count and once to write, and keeps no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from prm.errors import ConfigError, DataError
from prm.problems import dataset_label
from prm.progress import progress_bar
from prm.rows.label_policies import AfterFirstError, Neutral
from prm.rows.training_rows import RejectedRow

from .census import Bools, Census, Reason
from .curate_summary import curate_summary
from .data_output import REJECTED, DataOutput, beside, check_paths, input_hash, rejected_rows
from .data_report import origins
from .decontamination import Decontaminator, check_ngram, split_spec
from .formats import find_format, recognise
from .formats.base import Format, NotHeldError, Record, Row, Where
from .formats.exchange import read_records, write_row
from .label_policies import apply_policies
from .row_files import read_rows, write_rows
from .screening import (
    Balance,
    Dedup,
    held_out,
    in_play,
    mark_balance,
    mark_difficulty,
    mark_duplicates,
    mark_problem_limit,
)

_SUMMARY = ".curate.json"
_NO_SETTINGS = frozenset({"input_path", "output_path", "overwrite"})
_CHOICES = {"dedup": Dedup, "balance": Balance, "neutral": Neutral, "after_first_error": AfterFirstError}


@dataclass(kw_only=True)
class CurateConfig:
    """Options of `prm data curate`."""

    input_path: list[str] = field(metadata={"help": "Files of one format or of several (.jsonl, .json, .parquet)"})
    output_path: str = field(metadata={"help": "A .jsonl or .parquet file; others are written beside it"})
    from_format: str = field(default="", metadata={"help": "--from: format of the inputs; by default by the columns"})
    to_format: str = field(default="labels", metadata={"help": "--to: format of the output"})
    split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub"})
    dedup: Dedup = field(
        default="normalised", metadata={"help": "Same problem and steps: exact, normalised (whitespace aside) or none"}
    )
    min_pass_rate: float = field(
        default=0.0, metadata={"help": "Least share of right solutions of a problem; 0.01 drops those never solved"}
    )
    max_pass_rate: float = field(
        default=1.0, metadata={"help": "Largest share of right solutions; 0.99 drops those always solved"}
    )
    max_per_problem: int = field(default=0, metadata={"help": "Solutions of each problem, at random; 0 keeps all"})
    balance: Balance = field(
        default="none", metadata={"help": "Training file: as many rollouts with an error as without, or as many steps"}
    )
    neutral: Neutral = field(
        default="keep", metadata={"help": "PRM800K's neutral steps: keep (0.5), right, wrong, or drop their label"}
    )
    after_first_error: AfterFirstError = field(
        default="keep", metadata={"help": "Labels behind the first wrong step: keep, drop, or wrong"}
    )
    decontaminate: list[str] = field(
        default_factory=list, metadata={"help": "Test sets, path[:column], whose problems are left out"}
    )
    ngram: int = field(default=13, metadata={"help": "Words in a row that make a test problem; 0: equal texts only"})
    eval_fraction: float = field(default=0.0, metadata={"help": "Share of the problems for <output>.eval"})
    bad_rows: Literal["refuse", "drop"] = field(
        default="refuse",
        metadata={"help": "Rows that cannot be read: refuse stops at the first, drop goes on"},
    )
    seed: int = field(default=0, metadata={"help": "Of the random choices and of the split"})
    overwrite: bool = field(default=False, metadata={"help": "Replace an output of other settings"})

    @property
    def eval_path(self) -> Path:
        """The evaluation side's file, written where `eval_fraction` is not 0."""
        return beside(self.output_path, f".eval{Path(self.output_path).suffix}")

    def check(self) -> None:
        """Refuse what cannot work before anything is read.

        Raises:
            PrmError: see its message.
        """
        for name in filter(None, (self.from_format, self.to_format)):
            find_format(name)
        for name, kind in _CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ConfigError(f"{name} must be one of {', '.join(get_args(kind))}, not {getattr(self, name)!r}")
        if not 0 <= self.min_pass_rate <= self.max_pass_rate <= 1:
            raise ConfigError(f"0 <= min_pass_rate={self.min_pass_rate} <= max_pass_rate={self.max_pass_rate} <= 1")
        if not 0 <= self.eval_fraction < 1:
            raise ConfigError(f"eval_fraction must be in [0, 1), not {self.eval_fraction}")
        if self.max_per_problem < 0:
            raise ConfigError("max_per_problem must not be negative")
        check_ngram(self.ngram)
        check_paths(self.input_path, self.output_path, self.eval_path, beside(self.output_path, REJECTED))
        for spec in self.decontaminate:
            split_spec(spec)


def run_curate(config: CurateConfig) -> dict[str, Any]:
    """Curate files; returns the summary, which is `<output>.curate.json` beside the output.

    Raises:
        PrmError: bad input, see the messages; or no solution that was kept.
    """
    config.check()
    output = _output(config)
    if summary := output.finished():
        return summary | {"repeated": True}
    curation = Curation(config)
    reasons: Counter[str] = Counter()
    with rejected_rows(beside(config.output_path, REJECTED), reasons) as reject:
        with progress_bar("count", None, "row") as advance:
            curation.count(reject, advance)
        evaluation = curation.decide()
        with progress_bar("write", None, "row") as advance:
            rows = curation.rows(~evaluation, advance, reject)
            written = {output.paths[0].name: write_rows(output.paths[0], rows)}
        if config.eval_fraction:
            with progress_bar("write evaluation", None, "row") as advance:
                rows = curation.rows(evaluation, advance, reject, say_why=False)
                written[output.paths[1].name] = write_rows(output.paths[1], rows)
    labels = [dataset_label(path) for path in config.input_path]
    inputs = labels if len(set(labels)) == len(labels) else list(config.input_path)
    summary = curate_summary(curation.census, inputs, evaluation, written, curation.unreadable, curation.not_held)
    summary |= {"origins": origins(config.input_path)}
    left_out = summary["rejected"] | summary["unreadable"] | summary["not_held"]
    return output.write_summary(summary, sum(written.values()), left_out)


def _output(config: CurateConfig) -> DataOutput:
    path = Path(config.output_path)
    evaluation = [config.eval_path] if config.eval_fraction else []
    tests = [split_spec(spec)[0] for spec in config.decontaminate]
    settings = {name: value for name, value in vars(config).items() if name not in _NO_SETTINGS} | {
        "inputs": [dataset_label(name) for name in config.input_path],
        "input_hashes": [input_hash(name) for name in config.input_path],
        "decontaminate": [dataset_label(name) for name in tests],
        "decontaminate_columns": [split_spec(spec)[1] for spec in config.decontaminate],
        "decontaminate_hashes": [input_hash(name) for name in tests],
    }
    return DataOutput((path, *evaluation), beside(path, _SUMMARY), settings, config.overwrite)


class Curation:
    """The two passes. What is in memory is the census, the test sets and one row."""

    def __init__(self, config: CurateConfig):
        self.config = config
        self.census = Census.empty()
        self.tests = Decontaminator(config.decontaminate, config.ngram)
        self.to = find_format(config.to_format)
        self.unreadable: Counter[str] = Counter()
        self.not_held: Counter[str] = Counter()
        self._formats: dict[int, Format] = {}
        self._hits: list[str] = []

    def count(self, reject: Callable[[RejectedRow], None], advance: Callable[[int], None]) -> None:
        """The first pass.

        Raises:
            DataError: a row that cannot be read, unless those are dropped; or inputs without a row.
        """
        for number, line, row in self._read(advance):
            where = Where(self.config.input_path[number], line)
            try:
                records = self._records(number, row, where)
            except DataError as error:
                if self.config.bad_rows == "refuse":
                    raise
                rejected = RejectedRow(where.path, line, error.what, row)
                self.unreadable[rejected.kind_of_reason] += 1
                reject(rejected)
                continue
            for record in records:
                self.census.add(record, (number, line), *self._first_look(record))
        if not len(self.census) and not self.unreadable:
            paths = ", ".join(self.config.input_path)
            raise DataError("no solution in it", path=paths, remedy="Check the path, or run the stage that writes it")

    def decide(self) -> Bools:
        """Apply the rules to the census; returns which solutions are held out for evaluation."""
        config, census = self.config, self.census
        self._hits = list(census.hits)
        mark_duplicates(census, config.dedup)
        mark_difficulty(census, config.min_pass_rate, config.max_pass_rate)
        mark_problem_limit(census, config.max_per_problem, config.seed)
        evaluation = held_out(census, config.eval_fraction, config.seed)
        mark_balance(census, config.balance, config.seed, ~evaluation)
        return evaluation

    def rows(
        self,
        side: Bools,
        advance: Callable[[int], None],
        reject: Callable[[RejectedRow], None],
        *,
        say_why: bool = True,
    ) -> Iterator[Row]:
        """The second pass: the kept rows of one side, in the order of the inputs. `reject` takes those that the output
        cannot hold and, with `say_why`, those that a rule left out.

        Raises:
            DataError: an input that changed since the first pass.
        """
        wanted = in_play(self.census) & side
        lines, reasons = self.census.columns["line"], self.census.columns["reason"]
        inputs, at = self.census.columns["input"], 0
        for number, line, row in self._read(advance):
            end = at
            while end < len(lines) and lines[end] == line and inputs[end] == number:
                end += 1
            for index in range(at, end) if say_why else ():
                if reasons[index]:
                    reject(RejectedRow(self.config.input_path[number], line, self._reason(index), row))
            if wanted[at:end].any():
                yield from self._written(number, line, row, wanted[at:end], reject)
            at = end
        if at != len(lines):
            raise DataError("an input changed while it was read", path=", ".join(self.config.input_path))

    def _written(
        self, number: int, line: int, row: Row, wanted: Bools, reject: Callable[[RejectedRow], None]
    ) -> Iterator[Row]:
        where = Where(self.config.input_path[number], line)
        # A row of JSON can be its own output, without rendering; Parquet's have nulls that nobody wrote.
        same = self.to is self._formats[number] and Path(where.path).suffix != ".parquet"
        read = read_records(self._formats[number], row, where, keep_form=not same)
        for index, (before, kept) in enumerate(zip(read, wanted, strict=True)):
            if not kept:
                continue
            record = self._ruled(before)
            try:
                yield row if same and index == 0 and record is before else write_row(self.to, record)
            except NotHeldError as reason:
                why = f"{self.to.name} cannot hold {reason}"
                self.not_held[why] += 1
                reject(RejectedRow(where.path, line, why, row))

    def _read(self, advance: Callable[[int], None]) -> Iterator[tuple[int, int, Row]]:
        for number, path in enumerate(self.config.input_path):
            for line, row in read_rows(path, split=self.config.split):
                advance(1)
                yield number, line, row

    def _records(self, number: int, row: Row, where: Where) -> list[Record]:
        if number not in self._formats:
            name = self.config.from_format
            self._formats[number] = find_format(name) if name else recognise(row, where.path)
        records = read_records(self._formats[number], row, where, keep_form=False)
        return [self._ruled(record) for record in records]

    def _ruled(self, record: Record) -> Record:
        return apply_policies(record, self.config.neutral, self.config.after_first_error)

    def _first_look(self, record: Record) -> tuple[Reason, str | None]:
        """What is wrong with a solution by itself."""
        if not record.rollout.steps:
            return Reason.NO_STEPS, None
        if not all(step.strip() for step in record.rollout.steps):
            return Reason.BLANK_STEP, None
        if hit := self.tests.find(record.problem.problem):
            return Reason.CONTAMINATED, hit.reason
        if self.to.name != "rollouts" and all(label.hard is None for label in record.labels):
            return Reason.NO_LABEL, None
        return Reason.KEPT, None

    def _reason(self, index: int) -> str:
        """Why a solution was left out, with the place of what it meets."""
        columns = self.census.columns
        reason, detail = Reason(columns["reason"][index]), columns["detail"][index]
        if reason is Reason.CONTAMINATED:
            return self._hits[detail]
        if reason in (Reason.EXACT_DUPLICATE, Reason.WHITESPACE_DUPLICATE):
            path = self.config.input_path[columns["input"][detail]]
            return f"{reason.text} of {path}, line {columns['line'][detail]}"
        return reason.text
