"""Several data sets to train on at once: read each in its own way, split all by problem, weight what is left.

Problems are told apart by their texts, letter case and whitespace aside, and by their ids within a data set, so that
no problem is on both sides of the split, whatever ids the sets give it (`prm.rows.problem_groups`). What a row is and
how it is read is `prm.rows.training_rows`' and `prm.rows.pairs`', what a user may say of a data set
`prm.rows.mixture_config`'s.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prm.errors import ConfigError
from prm.rows.facts import data_facts
from prm.rows.mixture_checks import check_learnable, label_counts, notices
from prm.rows.mixture_config import PairOptions, TrainDataset
from prm.rows.pairs import holds_pairs, load_pairs, pairs_from_outcomes, single_solutions
from prm.rows.problem_groups import unify_groups
from prm.rows.readers import Reading
from prm.rows.step_rows import LoadedRows, RejectedRow, RowT, StepRow
from prm.rows.training_rows import load_rows
from prm.rows.views import held_out_groups, shuffle_labels


@dataclass(frozen=True)
class LoadedDataset:
    """A data set that was read, and on which sides of the split its rows are.

    Attributes:
        loaded: all of its rows that can be trained on.
        train: what an epoch sees of them, with copies where the weight asks for them; under a pairwise loss in pairs.
        evaluation: what is held out, each solution once.
    """

    source: TrainDataset
    reading: Reading
    loaded: LoadedRows[Any]
    train: tuple[Any, ...] = ()
    evaluation: tuple[StepRow, ...] = ()

    @property
    def how(self) -> dict[str, str]:
        """The view and the policies by which it was read."""
        return {name: value for name, value in vars(self.reading).items() if name != "kind"}

    def facts(self) -> dict[str, Any]:
        """For `train_metrics.json`: counts of rows, problems and labels, and how it was read."""
        return {
            "path": self.source.label,
            "weight": self.source.weight,
            **self.how,
            "sources": sorted({row.source for row in self.loaded.rows}),
            "digest": self.loaded.digest,
            "rows": len(self.loaded.rows),
            "problems": len({row.group for row in self.loaded.rows}),
            "labels": label_counts(self.loaded.rows),
            "rows_an_epoch": len(self.train),
            "eval_rows": len(self.evaluation),
            "dropped": dict(self.loaded.dropped),
            "policies": dict(self.loaded.changed),
        }


@dataclass(frozen=True)
class Mixture:
    """All rows of a run.

    Attributes:
        datasets: what is trained on, each with its own held-out rows.
        other_evaluation: rows of a data set that is only for evaluation.
        notices: what the user should know of the rows, one sentence each.
    """

    datasets: tuple[LoadedDataset, ...]
    other_evaluation: tuple[StepRow, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def train_rows(self) -> list[Any]:
        """What an epoch sees: `StepRow`s, or `PairRow`s under a pairwise loss."""
        return [row for dataset in self.datasets for row in dataset.train]

    @property
    def eval_rows(self) -> list[StepRow]:
        """The held-out rows of all data sets, or those of the data set for evaluation; never pairs."""
        return [*(row for dataset in self.datasets for row in dataset.evaluation), *self.other_evaluation]

    @property
    def dropped(self) -> Counter[str]:
        """Rows that reading left out, by reason, over all data sets to train on."""
        return sum((dataset.loaded.dropped for dataset in self.datasets), Counter[str]())

    @property
    def digest(self) -> str:
        """16 hex digits: that of the rows of the one data set, or of all of them with their weights."""
        if not self._is_mixed:
            return self.datasets[0].loaded.digest
        parts = " ".join(f"{dataset.loaded.digest}*{dataset.source.weight}" for dataset in self.datasets)
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def settings(self) -> dict[str, Any]:
        """What of the data decides the result of a run."""
        settings: dict[str, Any] = {
            "data_digest": self.digest,
            "eval_digest": LoadedRows(tuple(self.eval_rows)).digest,
        }
        if self._is_mixed:
            settings["datasets"] = [
                {"digest": dataset.loaded.digest, "weight": dataset.source.weight} | dataset.how
                for dataset in self.datasets
            ]
        return settings

    def facts(self, also_rejected: Iterable[RejectedRow] = ()) -> dict[str, Any]:
        """The part of `train_metrics.json` on the data.

        Args:
            also_rejected: rows that could be read but not encoded.
        """
        single = data_facts(self.datasets[0].source.path) if len(self.datasets) == 1 else {}
        return {
            "dataset_name": ", ".join(dataset.source.label for dataset in self.datasets),
            **single,
            "digest": self.digest,
            "dropped_rows": dict(self.dropped + Counter(row.kind_of_reason for row in also_rejected)),
            "datasets": [dataset.facts() for dataset in self.datasets],
            "notices": list(self.notices),
        }

    @property
    def _is_mixed(self) -> bool:
        return len(self.datasets) > 1 or self.datasets[0].source.weight != 1


def load_mixture(
    datasets: Sequence[TrainDataset],
    *,
    reading: Reading,
    evaluation: TrainDataset | None = None,
    eval_fraction: float = 0.0,
    seed: int = 0,
    pairs: PairOptions | None = None,
    shuffled: bool = False,
    counted: bool = False,
    rejected: list[RejectedRow] | None = None,
) -> Mixture:
    """Read the data sets, hold out a share of their problems, and weight what is left.

    Args:
        reading: how a data set is read that does not say otherwise.
        evaluation: a data set to evaluate on, instead of a share of the problems.
        eval_fraction: share of all problems to hold out, with all of their rows in all data sets.
        seed: of the split, of what a fraction of a weight chooses, of the pairs and of the shuffle.
        pairs: make pairs of solutions; `None` leaves the rows single.
        shuffled: permute the training labels within each data set, the control.
        counted: the loss reads the counts of completions, so that there must be some.
        rejected: takes the rows that cannot be read; `None` refuses them.

    Raises:
        ConfigError: no data set; or too few problems to split.
        DataError: what cannot be read or learnt from, see the messages.
    """
    if not datasets:
        raise ConfigError("datasets is empty: give at least one")
    if evaluation is not None and eval_fraction:
        raise ConfigError("give eval_dataset_name or eval_fraction, not both")
    if pairs and shuffled:
        raise ConfigError("shuffle_labels permutes labels, and pairs have none: use a pointwise loss for the control")
    sources = [*datasets, *([evaluation] if evaluation else [])]
    read = [_read(source, source.reading(reading), pairs, rejected) for source in sources]
    unified = unify_groups([part.loaded.rows for part in read])
    read = [
        replace(part, loaded=replace(part.loaded, rows=tuple(rows))) for part, rows in zip(read, unified, strict=True)
    ]
    other = tuple(single_solutions(read.pop().loaded.rows)) if evaluation else ()
    held_out = held_out_groups({row.group for part in read for row in part.loaded.rows}, eval_fraction, seed)
    parts = tuple(_split(part, held_out, seed, shuffled, pairs) for part in read)
    if pairs is None:
        check_learnable([(part.source.label, part.train) for part in parts], counted=counted)
    return Mixture(parts, other, tuple(notices(parts, other)))


def _read(
    source: TrainDataset, reading: Reading, pairs: PairOptions | None, rejected: list[RejectedRow] | None
) -> LoadedDataset:
    place: dict[str, Any] = {"split": source.split, "config": source.name, "rejected": rejected}
    if pairs and holds_pairs(source.path, split=source.split, config=source.name):
        loaded = load_pairs(source.path, splitter=pairs.splitter, label_source=reading.label_source, **place)
        return LoadedDataset(source, reading, loaded)
    return LoadedDataset(source, reading, load_rows(source.path, **place, **vars(reading)))


def _split(
    part: LoadedDataset, held_out: set[str], seed: int, shuffled: bool, pairs: PairOptions | None
) -> LoadedDataset:
    """The data set on both sides of the split, what is trained on shuffled or paired as asked for, and weighted."""
    train: Any = [row for row in part.loaded.rows if row.group not in held_out]
    dropped = part.loaded.dropped
    if shuffled:
        train = shuffle_labels(train, seed)
    if pairs and train and isinstance(train[0], StepRow):
        made = pairs_from_outcomes(train, max_pairs_per_problem=pairs.max_pairs_per_problem, seed=seed)
        train, dropped = made.rows, dropped + made.dropped
    return replace(
        part,
        loaded=replace(part.loaded, dropped=dropped),
        train=tuple(weighted(train, part.source.weight, seed)),
        evaluation=tuple(single_solutions(row for row in part.loaded.rows if row.group in held_out)),
    )


def weighted(rows: Sequence[RowT], weight: float, seed: int) -> list[RowT]:
    """Each row `weight` times, on average: whole copies of all, and one more of the rows of some problems, drawn in an
    order that depends on their ids and the seed alone, until their rows are the fraction, as nearly as can be."""
    copies, fraction = divmod(weight, 1)
    repeated = list(rows) * int(copies)
    if not fraction or not rows:
        return repeated
    sizes = Counter(row.group for row in rows)
    chosen: set[str] = set()
    missing = fraction * len(rows)
    for group in sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}/{group}".encode()).digest()):
        if sizes[group] / 2 > missing and (chosen or copies):
            break
        chosen.add(group)
        missing -= sizes[group]
    return repeated + [row for row in rows if row.group in chosen]
