"""`StepRow`, what every trainer of ours learns from, and what reading such rows leaves behind: the rows of one file,
how many were dropped and why, and the rejected ones. Reading is `prm.rows.training_rows`', encoding
`prm.training.batching`'s."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from prm.rows.label_policies import are_shares

Kind = Literal["prm", "orm"]
LabelView = Literal["hard", "soft"]
LabelScale = Literal["unit", "ratings"]
BadRows = Literal["refuse", "drop"]

Counts = tuple[int | None, ...]


class TrainingRow(Protocol):
    """What is learnt from one problem: a `StepRow` or a `prm.rows.pairs.PairRow`."""

    @property
    def prompt(self) -> str: ...

    @property
    def group(self) -> str:
        """The problem's id; rows of one problem never lie on both sides of a split."""
        ...

    @property
    def source(self) -> str: ...

    @property
    def content(self) -> tuple[Any, ...]:
        """All that decides what is learnt."""
        ...

    def in_group(self, group: str) -> Self:
        """The same row under another id of its problem."""
        ...


RowT = TypeVar("RowT", bound=TrainingRow, covariant=True)


@dataclass(frozen=True, slots=True)
class StepRow:
    """One solution to learn from.

    Attributes:
        prompt: the problem, as text; the step format's template is put around it later.
        completions: the steps, in order.
        labels: for each step a target in [0, 1], or `None` where nothing is known of it. An outcome row has its one
            label on the last step.
        group: the problem's id; rows of one problem never lie on both sides of a split.
        source: what made the labels.
        hard: 0 or 1 for each step, what metrics are measured against; `None` takes them from the labels: from 0.5 up,
            and from any success on where the source says that a label is a share of Monte Carlo completions
            (`prm.rows.label_policies.SHARES`).
        path, line: where the row was read from, for messages.
        n_correct, n_total: for each step how many completions of its prefix were graded and how many of them were
            right, or `None` where nobody counted; `None` for the whole row where no step was counted. They may come
            from any stopping rule: it biases the share but not the likelihood of the counts, p^c (1-p)^(n-c), which
            is what a Beta-binomial loss needs.
    """

    prompt: str
    completions: tuple[str, ...]
    labels: tuple[float | None, ...]
    group: str
    source: str = ""
    hard: tuple[float | None, ...] | None = None
    path: str = ""
    line: int | None = None
    n_correct: Counts | None = None
    n_total: Counts | None = None

    @property
    def hard_labels(self) -> tuple[float | None, ...]:
        """0, 1 or `None` for each step."""
        if self.hard is not None:
            return self.hard
        shares = are_shares(self.source)
        return tuple(None if label is None else float(label > 0 if shares else label >= 0.5) for label in self.labels)

    @property
    def content(self) -> tuple[Any, ...]:
        """All that decides what is learnt."""
        counts = () if self.n_total is None else (self.n_correct, self.n_total)
        return (self.prompt, self.completions, self.labels, self.group, *counts)

    def in_group(self, group: str) -> StepRow:
        """The same row under another id of its problem."""
        return self if group == self.group else replace(self, group=group)


@dataclass(frozen=True)
class RejectedRow:
    """A row that could not be read or encoded: where it stands, why, and what it holds."""

    path: str
    line: int | None
    reason: str
    row: dict[str, Any]

    @property
    def kind_of_reason(self) -> str:
        """The reason without what is this row's own, to count by."""
        return re.sub(r"'[^']*'|\d+(\.\d+)?", "…", self.reason.split(";")[0])[:100]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, whatever the row holds."""
        return {**asdict(self), "row": json.loads(json.dumps(self.row, default=str), parse_constant=str)}


@dataclass(frozen=True)
class LoadedRows(Generic[RowT]):
    """Rows of one file.

    Attributes:
        rows: what is kept, in the file's order.
        dropped: how many rows were left out, by reason.
        changed: how many labels a policy was about: `neutral` ratings, and those behind a rollout's first error
            (`after_first_error`) that it changed.
    """

    rows: tuple[RowT, ...]
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    @cached_property
    def digest(self) -> str:
        """16 hex digits that change when any prompt, step, label or the order changes."""
        running = hashlib.sha256()
        for row in self.rows:
            running.update(repr(row.content).encode())
        return running.hexdigest()[:16]
