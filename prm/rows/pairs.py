"""Pairs of solutions of one problem, a right one and a wrong one, for the pairwise loss of outcome models.

They are read from TRL's preference rows (`prompt`, `chosen`, `rejected`) or made of graded solutions, each of which is
used as evenly as possible. A pair of two graded solutions says what an outcome label says of each, and besides that
nothing hangs on how hard their problem is (Bradley-Terry; Ouyang et al., arXiv 2203.02155, section 3.5).
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, DataError
from prm.problems import problem_id
from prm.rows.readers import Place
from prm.rows.step_rows import LoadedRows, RejectedRow, StepRow
from prm.rows.training_rows import read_records, reject
from prm.splitting import DEFAULT_SPLITTER, find_splitter, split_steps

PAIR_COLUMNS = ("prompt", "chosen", "rejected")
OPTIONAL_PAIR_COLUMNS = ("source", "unique_id")
NO_PAIR = "no problem with both a right and a wrong solution"


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two solutions of one problem, each with its outcome on the last step: 1 of the chosen, 0 of the rejected one."""

    chosen: StepRow
    rejected: StepRow

    @property
    def prompt(self) -> str:
        return self.chosen.prompt

    @property
    def group(self) -> str:
        """The problem's id; pairs of one problem never lie on both sides of a split."""
        return self.chosen.group

    @property
    def source(self) -> str:
        return self.chosen.source

    @property
    def content(self) -> tuple[Any, ...]:
        """All that decides what is learnt."""
        return (self.chosen.content, self.rejected.content)

    def in_group(self, group: str) -> PairRow:
        """The same pair under another id of its problem."""
        return PairRow(self.chosen.in_group(group), self.rejected.in_group(group))


def interleaved(pairs: Iterable[PairRow]) -> list[StepRow]:
    """The solutions of pairs as rows: 2i is the chosen and 2i + 1 the rejected one of pair i."""
    return [row for pair in pairs for row in (pair.chosen, pair.rejected)]


def single_solutions(rows: Iterable[Any]) -> list[StepRow]:
    """Rows as they are, or the solutions of pairs (or of rows and pairs), each once, in however many it stands."""
    rows = list(rows)
    if not any(isinstance(row, PairRow) for row in rows):
        return rows
    parts = ((row.chosen, row.rejected) if isinstance(row, PairRow) else (row,) for row in rows)
    return list(dict.fromkeys(row for part in parts for row in part))


def pairs_from_outcomes(
    rows: Sequence[StepRow], *, max_pairs_per_problem: int = 8, seed: int = 0
) -> LoadedRows[PairRow]:
    """Pair the right solutions of each problem with its wrong ones.

    Of R right and W wrong solutions come min(R W, `max_pairs_per_problem`) different pairs, in which each right one
    stands as often as any other, or once more, and so does each wrong one; the seed chooses which.

    Args:
        rows: graded solutions, with the outcome as the last step's label (`kind: orm`).
        max_pairs_per_problem: so that a problem with many samples does not outweigh the others; 0 makes all pairs.

    Raises:
        DataError: no problem has both a right and a wrong solution.
    """
    if max_pairs_per_problem < 0:
        raise ConfigError("max_pairs_per_problem is a number of pairs, or 0 for all of them; it must not be negative")
    problems: dict[str, tuple[list[StepRow], list[StepRow]]] = {}
    for row in rows:
        outcome = row.hard_labels[-1]
        if outcome is not None:
            problems.setdefault(row.group, ([], []))[outcome < 0.5].append(row)
    pairs: list[PairRow] = []
    left_out: Counter[str] = Counter()
    for group, (right, wrong) in problems.items():
        rng = random.Random(f"{seed}/{group}")
        rng.shuffle(right)
        rng.shuffle(wrong)
        pairs += _paired(right, wrong, max_pairs_per_problem or len(right) * len(wrong))
        if not wrong or not right:
            kind = "right" if right else "wrong"
            left_out[f"of a problem with {kind} solutions alone"] += len(right) + len(wrong)
    if not pairs:
        raise DataError(
            f"no pair to learn from: {NO_PAIR}",
            path=rows[0].path if rows else None,
            remedy="Sample more solutions per problem (`prm rollout --n`), or choose the pointwise loss",
        )
    return LoadedRows(tuple(pairs), left_out)


def _paired(right: Sequence[StepRow], wrong: Sequence[StepRow], limit: int) -> Iterator[PairRow]:
    """Pairs along the diagonals of the table of right and wrong solutions: within a diagonal both indices go round
    once a step, so that all are used evenly, and each diagonal begins one column on, so that no pair comes twice."""
    if not right or not wrong:
        return
    diagonal = math.lcm(len(right), len(wrong))
    for index in range(min(limit, len(right) * len(wrong))):
        yield PairRow(right[index % len(right)], wrong[(index + index // diagonal) % len(wrong)])


def holds_pairs(path_or_name: str | Path, *, split: str = "train", config: str | None = None) -> bool:
    """Whether the first row of a file or of a dataset of the Hub is a preference row."""
    _, first = next(read_records(path_or_name, split, config), (0, {}))
    return "chosen" in first or "rejected" in first


def load_pairs(
    path_or_name: str | Path,
    *,
    splitter: str = DEFAULT_SPLITTER,
    label_source: str = "",
    split: str = "train",
    config: str | None = None,
    rejected: list[RejectedRow] | None = None,
) -> LoadedRows[PairRow]:
    """Load preference rows: `prompt`, and `chosen` and `rejected` as texts, as lists of steps, or as conversations of
    one turn.

    Args:
        splitter: how a text becomes steps, see `prm.splitting`; a list of texts is taken for the steps.
        others: see `prm.rows.training_rows.load_rows`.

    Raises:
        MissingFileError: no such file.
        DataError: a row that cannot be read, with its file and line; or no rows.
    """
    dropped: Counter[str] = Counter()
    records = read_records(path_or_name, split, config)
    pairs = _read_pairs(records, str(path_or_name), splitter, label_source, rejected, dropped)
    if not pairs:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise DataError(
            f"no pair to train on (dropped: {reasons})" if reasons else "no rows in it",
            path=path_or_name,
            remedy="Give rows with prompt, chosen and rejected, or graded rollouts",
        )
    return LoadedRows(tuple(pairs), dropped)


def pairs_from_columns(
    dataset: Iterable[dict[str, Any]],
    *,
    splitter: str = DEFAULT_SPLITTER,
    name: str = "dataset",
    rejected: list[RejectedRow] | None = None,
) -> list[PairRow]:
    """Read preference rows from a `datasets.Dataset` or any iterable of dicts with those columns.

    Raises:
        DataError: see `load_pairs`; `name` stands for the file.
    """
    return _read_pairs(enumerate(map(dict, dataset), start=1), name, splitter, "", rejected, Counter())


def _read_pairs(
    records: Iterable[tuple[int, dict[str, Any]]],
    name: str,
    splitter: str,
    label_source: str,
    rejected: list[RejectedRow] | None,
    dropped: Counter[str],
) -> list[PairRow]:
    find_splitter(splitter)
    pairs = []
    for line, record in records:
        try:
            pairs.append(_read_pair(record, splitter, label_source, Place(name, line)))
        except DataError as error:
            dropped[reject(error, record, rejected).kind_of_reason] += 1
    return pairs


def _read_pair(record: dict[str, Any], splitter: str, label_source: str, place: Place) -> PairRow:
    if missing := [name for name in PAIR_COLUMNS if name not in record]:
        remedy = "Take the prompt out of both texts (trl.extract_prompt does)" if missing[0] == "prompt" else "Add it"
        raise place.error(f"no {missing[0]!r} in a pair with the columns {sorted(record)}", remedy)
    if unknown := sorted(set(record) - {*PAIR_COLUMNS, *OPTIONAL_PAIR_COLUMNS}):
        known = ", ".join((*PAIR_COLUMNS, *OPTIONAL_PAIR_COLUMNS))
        raise place.error(f"the unknown column {unknown[0]!r}", f"Rename or remove it; known are {known}")
    prompt = _text(record["prompt"], "user", "prompt", place)
    chosen, rejected = (_steps(record[name], name, splitter, place) for name in PAIR_COLUMNS[1:])
    if chosen == rejected:
        raise place.error("chosen and rejected are the same solution", "Delete the row: it prefers nothing")
    group = str(record.get("unique_id") or problem_id(prompt))
    source = label_source or str(record.get("source") or "preference")

    def row(steps: tuple[str, ...], outcome: float) -> StepRow:
        labels = (None,) * (len(steps) - 1) + (outcome,)
        return StepRow(prompt, steps, labels, group, source, path=place.path, line=place.line)

    return PairRow(row(chosen, 1.0), row(rejected, 0.0))


def _steps(value: Any, name: str, splitter: str, place: Place) -> tuple[str, ...]:
    """The steps of a solution: a list of texts as it is, anything else as one text that is split."""
    if isinstance(value, list) and value and all(isinstance(step, str) for step in value):
        return tuple(value)
    steps = split_steps(_text(value, "assistant", name, place), splitter).steps
    if not steps:
        raise place.error(f"{name} is empty", "Give a solution, or delete the row")
    return steps


def _text(value: Any, role: str, name: str, place: Place) -> str:
    """A text, or the content of a conversation's one turn."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict) and value[0].get("role") == role:
        value = value[0].get("content")
    if not isinstance(value, str) or not value.strip():
        what = "a text" if name == "prompt" else "a text, a list of steps"
        raise place.error(
            f"{name} is not {what} or a conversation of one turn of the {role}, or is empty",
            "Mend or delete the row; a system prompt belongs to the run (system_prompt)",
        )
    return value
