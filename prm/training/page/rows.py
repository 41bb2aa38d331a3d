"""The training rows before a step is taken: which labels there are and where, how long the rows are, what was cut off
and what each label source gave. A part of `prm.training.page.page`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from prm.report.bars import stacked_shares
from prm.report.formatting import Column, Row
from prm.report.page import Figure, Section, Table
from prm.report.plots import histogram

_MOST_STEPS = 40  # positions shown one by one
_WRONG, _BETWEEN, _RIGHT = "wrong (0)", "between", "right (1)"


@dataclass(frozen=True)
class SourceFacts:
    """What one label source gave."""

    name: str
    rows: int
    problems: int
    labels: int
    mean: float


@dataclass(frozen=True)
class RowFacts:
    """Training rows in numbers.

    Attributes:
        lengths: tokens of each row.
        targets: for each row, what is to be learned of each of its steps, 0 to 1; below 0 where nothing is known.
        problems: how many there are.
        sources: what made the labels.
        max_length: longest row allowed, in tokens.
        truncated_rows, dropped_steps: what did not fit.
        dropped_right, dropped_wrong: labels among it, by what they say.
    """

    lengths: Sequence[int]
    targets: Sequence[Sequence[float]]
    problems: int
    sources: Sequence[SourceFacts] = ()
    max_length: int = 0
    truncated_rows: int = 0
    dropped_steps: int = 0
    dropped_right: int = 0
    dropped_wrong: int = 0

    @property
    def labels(self) -> int:
        """Labels that are known."""
        return sum(target >= 0 for row in self.targets for target in row)

    @classmethod
    def of(cls, dataset: Any, *, max_length: int) -> RowFacts:
        """Read a `prm.encoding.EncodedDataset`."""
        ends = np.asarray(dataset.step_ends)
        targets = [part.tolist() for part in np.split(np.asarray(dataset.targets, dtype=float), ends[:-1])]
        counts = dataset.counts
        return cls(
            lengths=np.diff(np.asarray(dataset.token_ends), prepend=0).tolist(),
            targets=targets,
            problems=counts.groups,
            sources=_sources(dataset, targets),
            max_length=max_length,
            truncated_rows=counts.truncated_rows,
            dropped_steps=counts.dropped_steps,
            dropped_right=counts.dropped_labels - counts.dropped_wrong_labels,
            dropped_wrong=counts.dropped_wrong_labels,
        )


def _sources(dataset: Any, targets: Sequence[Sequence[float]]) -> list[SourceFacts]:
    numbers, groups = np.asarray(dataset.sources), np.asarray(dataset.groups)
    found = []
    for number, name in enumerate(dataset.source_names):
        rows = np.flatnonzero(numbers == number).tolist()
        known = [target for row in rows for target in targets[row] if target >= 0]
        mean = float(np.mean(known)) if known else float("nan")
        found.append(SourceFacts(name or "unnamed", len(rows), len(set(groups[rows].tolist())), len(known), mean))
    return found


def data_section(rows: RowFacts) -> Section:
    """Labels, lengths, truncation and sources of the training rows."""
    known = [target for row in rows.targets for target in row if target >= 0]
    unknown = sum(map(len, rows.targets)) - len(known)
    text = (
        f"The rows as they go into training, before a step is taken: {len(rows.lengths):,} solutions of "
        f"{rows.problems:,} problems, {sum(rows.lengths):,} tokens."
    )
    if unknown:
        text += f" {unknown:,} steps have no label and are not learned from."
    figures = []
    if known:
        plot = histogram([("labels", known)], title="Labels", x_label="From 0, wrong, to 1, right", narrow=True)
        figures.append(Figure(plot, narrow=True))
    if rows.lengths:
        ends = (0.0, float(max(rows.lengths)))
        plot = histogram([("solutions", rows.lengths)], title="Lengths", x_label="Tokens", limits=ends, narrow=True)
        figures.append(Figure(plot, narrow=True))
    if known and max(map(len, rows.targets)) > 1:
        figures.append(Figure(_by_step(rows.targets), "Where in a solution the labels say what."))
    return Section("The data", text, figures, [*_truncation(rows), *_source_table(rows.sources)])


def _by_step(targets: Sequence[Sequence[float]]) -> str:
    """Shares of wrong, right and what is between, by the step's place."""
    counts = [[0, 0, 0] for _ in range(min(_MOST_STEPS, max(map(len, targets))))]
    for row in targets:
        for place, target in enumerate(row[: len(counts)]):
            if target >= 0:
                counts[place][0 if target == 0 else 2 if target == 1 else 1] += 1
    return stacked_shares(
        [_WRONG, _BETWEEN, _RIGHT],
        counts,
        title="Labels by step",
        x_label="Step",
        y_label="Share of the labels at this step",
    )


def _truncation(rows: RowFacts) -> list[Table]:
    lost = rows.dropped_right + rows.dropped_wrong
    kept = {"right": 0, "wrong": 0}
    for target in (target for row in rows.targets for target in row if target >= 0):
        kept["right" if target >= 0.5 else "wrong"] += 1
    table: list[Row] = [
        [f"labels that say {name}", kept[name], cut, cut / (kept[name] + cut) if kept[name] + cut else None]
        for name, cut in (("right", rows.dropped_right), ("wrong", rows.dropped_wrong))
    ]
    caption = f"Nothing was longer than max_length {rows.max_length:,}."
    if rows.truncated_rows:
        caption = (
            f"{rows.truncated_rows:,} solutions were longer than max_length {rows.max_length:,} and lost "
            f"{rows.dropped_steps:,} steps from their end, with {lost:,} labels."
        )
    counted = (Column(name, "integer") for name in ("kept", "lost"))
    columns = [Column("cut off"), *counted, Column("share lost", "percent")]
    return [Table(columns, table, caption, "truncation.csv")]


def _source_table(sources: Sequence[SourceFacts]) -> list[Table]:
    if not sources:
        return []
    columns = [
        Column("label source"),
        *(Column(name, "integer") for name in ("solutions", "problems", "labels")),
        Column("mean label", "number"),
    ]
    rows: list[Row] = [[one.name, one.rows, one.problems, one.labels, one.mean] for one in sources]
    return [Table(columns, rows, "What made the labels.", "sources.csv")]
