"""From training rows to token ids and targets: encoded once, kept compactly, nothing dropped silently.

`StepFormat` decides the ids and the score positions. What is encoded lies in flat arrays, 4 bytes a token, and can be
kept on disk under a digest of everything that went into it (`prm.training.encoding_cache`). Batches are
`prm.training.batching`'s.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from prm.errors import DataError, FormatError
from prm.losses.base import IGNORED
from prm.progress import progress_bar
from prm.rows.training_rows import Kind, RejectedRow, StepRow
from prm.step_format import MemoTokenizer, StepFormat

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 512  # rows whose steps are tokenised in one call


@dataclass(frozen=True)
class EncodedRow:
    """Token ids, and at each score position the target to learn, the hard label to measure against and the counts
    behind both.

    Attributes:
        prompt_length: tokens before the first step.
        group, source: the problem's number, and that of the label source.
        index: which row of the dataset it is; -1 for a blank one.
        reference: log-probability of the solution up to the end of each step under the reference; implicit PRMs only.
    """

    input_ids: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    hard: np.ndarray
    n_correct: np.ndarray
    n_total: np.ndarray
    prompt_length: int = 0
    group: int = -1
    source: int = -1
    index: int = -1
    reference: np.ndarray | None = None


@dataclass(frozen=True)
class EncodingCounts:
    """What a set of rows became: tokens, units of the loss, and what did not fit into `max_length`, per class."""

    rows: int = 0
    groups: int = 0
    tokens: int = 0
    labels: int = 0
    mean_target: float = 0.0
    truncated_rows: int = 0
    dropped_steps: int = 0
    dropped_labels: int = 0
    dropped_wrong_labels: int = 0

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True)
class EncodedDataset:
    """Encoded rows as a map-style dataset. Index `len(self)` is the blank row that fills the last global batch.

    Attributes:
        tokens, token_ends: ids of all rows one after the other, and where each row ends.
        positions, targets, hard, n_correct, n_total: per score position, one row after the other.
        step_ends: where each row's score positions end.
        prompt_lengths, groups, sources: per row.
        source_names: of the numbers in `sources`.
        origins: file and line of each row, for messages.
        reference: per score position, see `EncodedRow`.
        order: the rows' order, where it is not that of the arrays.
    """

    tokens: np.ndarray
    token_ends: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    hard: np.ndarray
    n_correct: np.ndarray
    n_total: np.ndarray
    step_ends: np.ndarray
    prompt_lengths: np.ndarray
    groups: np.ndarray
    sources: np.ndarray
    source_names: tuple[str, ...]
    origins: tuple[tuple[str, int | None], ...]
    counts: EncodingCounts
    pad_token_id: int
    reference: np.ndarray | None = None
    order: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.token_ends)

    def __getitem__(self, index: int) -> EncodedRow:
        if index == len(self):
            return self._blank()
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.stored(int(index if self.order is None else self.order[index]))

    def stored(self, row: int) -> EncodedRow:
        """A row by its place in the arrays, whatever the dataset's order is."""
        words = slice(self.token_ends[row - 1] if row else 0, self.token_ends[row])
        steps = slice(self.step_ends[row - 1] if row else 0, self.step_ends[row])
        return EncodedRow(
            self.tokens[words],
            self.positions[steps],
            self.targets[steps],
            self.hard[steps],
            self.n_correct[steps],
            self.n_total[steps],
            int(self.prompt_lengths[row]),
            int(self.groups[row]),
            int(self.sources[row]),
            row,
            None if self.reference is None else self.reference[steps],
        )

    @property
    def rows(self) -> list[EncodedRow]:
        """All rows, as views of the arrays."""
        return [self[index] for index in range(len(self))]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row, in the dataset's order."""
        import numpy as np

        lengths = np.diff(self.token_ends, prepend=0)
        return lengths if self.order is None else lengths[self.order]

    def sorted_by_length(self) -> EncodedDataset:
        """The longest rows first: little padding, and too large a batch fails at once."""
        import numpy as np

        return replace(self, order=np.argsort(-np.diff(self.token_ends, prepend=0), kind="stable"))

    def with_reference(self, reference: np.ndarray) -> EncodedDataset:
        """With the reference's log-probabilities, one per score position in the order of the arrays."""
        return replace(self, reference=reference)

    def origin(self, index: int) -> str:
        """File and line of a row, by its `EncodedRow.index`."""
        path, line = self.origins[index] if self.origins else ("row", index + 1)
        return f"{path}, line {line}" if line is not None else f"{path}, row {index + 1}"

    def _blank(self) -> EncodedRow:
        import numpy as np

        whole, real = np.empty(0, np.int32), np.empty(0, np.float32)
        ids = np.array([self.pad_token_id], np.int32)
        reference = None if self.reference is None else real
        return EncodedRow(ids, whole, real, real, whole, whole, prompt_length=1, reference=reference)


def encode_rows(
    rows: Sequence[StepRow],
    step_format: StepFormat,
    tokenizer: Any,
    *,
    kind: Kind,
    max_length: int,
    label: str | None = None,
    rejected: list[RejectedRow] | None = None,
) -> EncodedDataset:
    """Encode rows once, exactly as the verifier will.

    Whole steps are dropped from the end where a row is longer than `max_length`, and counted with their labels.

    Args:
        kind: `prm` has a score position at the end of each step, `orm` at the end of the last one alone.
        label: name of a progress bar; `None` shows none.
        rejected: takes the rows that cannot be encoded; `None` refuses them.

    Raises:
        DataError: rows that cannot be encoded or that keep no label, with the file and line of the first; or, where
            such rows are rejected, no other row.
    """
    from prm.training.encoding_cache import FEWEST_ROWS, encoding_key, load_encoded, save_encoded

    large = len(rows) >= FEWEST_ROWS
    key = encoding_key(rows, step_format, tokenizer, kind=kind, max_length=max_length) if large else ""
    kept = load_encoded(key) if large else None
    dataset, refused = kept or _encoded(rows, _Builder(step_format, MemoTokenizer(tokenizer), kind, max_length), label)
    if large and kept is None:
        save_encoded(key, dataset, refused)
    if refused and (rejected is None or not len(dataset)):
        raise _refusal([(rows[number], why) for number, why in refused])
    if rejected is not None:
        rejected += [_rejected(rows[number], why) for number, why in refused]
    return dataset


def _encoded(
    rows: Sequence[StepRow], builder: _Builder, label: str | None
) -> tuple[EncodedDataset, list[tuple[int, str]]]:
    """The dataset, and the numbers of the rows that cannot be encoded, with the reason."""
    refused: list[tuple[int, str]] = []
    number = 0
    with progress_bar(label, len(rows), "row") if label else _no_bar() as advance:
        for chunk in _chunks(rows):
            builder.tokenizer.remember(step for row in chunk for step in row.completions)
            for row in chunk:
                try:
                    builder.add(row)
                except FormatError as error:
                    refused.append((number, str(error)))
                number += 1
                advance(1)
    return builder.dataset(), refused


class _Builder:
    """Grows the arrays row by row."""

    def __init__(self, step_format: StepFormat, tokenizer: MemoTokenizer, kind: Kind, max_length: int):
        self.step_format, self.tokenizer, self.kind, self.max_length = step_format, tokenizer, kind, max_length
        self.tokens, self.positions, self.n_correct, self.n_total = array("i"), array("i"), array("i"), array("i")
        self.targets, self.hard = array("f"), array("f")
        self.token_ends, self.step_ends = array("q"), array("q")
        self.prompt_lengths, self.row_groups, self.row_sources = array("i"), array("i"), array("i")
        self.groups: dict[str, int] = {}
        self.sources: dict[str, int] = {}
        self.origins: list[tuple[str, int | None]] = []
        self.truncated = {"truncated_rows": 0, "dropped_steps": 0, "dropped_labels": 0, "dropped_wrong_labels": 0}

    def add(self, row: StepRow) -> None:
        group = self.groups.setdefault(row.group, len(self.groups))
        solution = self.step_format.encode(row.prompt, row.completions, self.tokenizer, max_length=self.max_length)
        kept = len(solution.score_positions)
        if all(label is None for label in row.labels[:kept]):
            raise FormatError(
                f"only {kept} of {len(row.completions)} steps fit into max_length={self.max_length}, and no label is "
                "left; raise max_length, or delete the row"
            )
        if solution.n_dropped:
            self._count_truncated(row, kept)
        first = kept - 1 if self.kind == "orm" else 0  # an outcome is read at the last score position alone
        self.tokens.extend(solution.input_ids)
        self.token_ends.append(len(self.tokens))
        self.positions.extend(solution.score_positions[first:])
        self.step_ends.append(len(self.positions))
        self.targets.extend(IGNORED if label is None else label for label in row.labels[first:kept])
        self.hard.extend(IGNORED if label is None else float(label) for label in row.hard_labels[first:kept])
        for counts, given in ((self.n_correct, row.n_correct), (self.n_total, row.n_total)):
            counts.extend([0] * (kept - first) if given is None else [count or 0 for count in given[first:kept]])
        self.prompt_lengths.append(solution.prompt_length)
        self.row_groups.append(group)
        self.row_sources.append(self.sources.setdefault(row.source, len(self.sources)))
        self.origins.append((row.path or "training rows", row.line))

    def _count_truncated(self, row: StepRow, kept: int) -> None:
        lost = [label for label in row.hard_labels[kept:] if label is not None]
        for name, count in (
            ("truncated_rows", 1),
            ("dropped_steps", len(row.completions) - kept),
            ("dropped_labels", len(lost)),
            ("dropped_wrong_labels", sum(label < 0.5 for label in lost)),
        ):
            self.truncated[name] += count

    def dataset(self) -> EncodedDataset:
        import numpy as np

        targets = np.asarray(self.targets)
        known = targets[targets >= 0]
        counts = EncodingCounts(
            rows=len(self.token_ends),
            groups=len(set(self.row_groups)),
            tokens=len(self.tokens),
            labels=len(known),
            mean_target=float(known.mean(dtype=np.float64)) if len(known) else 0.0,
            **self.truncated,
        )
        return EncodedDataset(
            tokens=np.asarray(self.tokens),
            token_ends=np.asarray(self.token_ends),
            positions=np.asarray(self.positions),
            targets=targets,
            hard=np.asarray(self.hard),
            n_correct=np.asarray(self.n_correct),
            n_total=np.asarray(self.n_total),
            step_ends=np.asarray(self.step_ends),
            prompt_lengths=np.asarray(self.prompt_lengths),
            groups=np.asarray(self.row_groups),
            sources=np.asarray(self.row_sources),
            source_names=tuple(self.sources),
            origins=tuple(self.origins),
            counts=counts,
            pad_token_id=self.tokenizer.pad_token_id,
        )


def _chunks(rows: Sequence[StepRow]) -> Iterable[list[StepRow]]:
    rest = iter(rows)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _refusal(refused: Sequence[tuple[StepRow, str]]) -> DataError:
    row, why = refused[0]
    more = f" (and {len(refused) - 1} more rows like it)" if len(refused) > 1 else ""
    return DataError(
        why + more, path=row.path or "training rows", line=row.line, remedy="bad_rows: drop trains without such rows"
    )


def _rejected(row: StepRow, why: str) -> RejectedRow:
    kept = {"prompt": row.prompt, "completions": list(row.completions), "labels": list(row.labels)}
    return RejectedRow(row.path or "training rows", row.line, why, kept)


class _no_bar:
    def __enter__(self) -> Callable[[int], None]:
        return lambda count: None

    def __exit__(self, *exception: object) -> None:
        return None
