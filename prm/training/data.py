"""From what a user hands the trainer (columns, rows or pairs) to what it trains on: encoded rows, or pairs of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from prm.encoding import EncodedDataset, encode_rows
from prm.errors import ConfigError
from prm.problems import equality_form
from prm.rows.mixture_checks import check_learnable
from prm.rows.pairs import PairRow, interleaved, pairs_from_columns, pairs_from_outcomes
from prm.rows.training_rows import RejectedRow, StepRow, rows_from_columns
from prm.training.batching import EncodedPairs
from prm.training.best_of_n_gain import RecordedSamples, load_samples
from prm.training.checks import warn_of_merges
from prm.training.config import VerifierConfig
from prm.training.reference import Reference

logger = logging.getLogger(__name__)

_MANY_ROWS = 20_000  # encoding so many takes long enough to show a progress bar

Rows = Sequence[StepRow] | Sequence[PairRow]


class TrainerData:
    """Reads and encodes rows as a configuration asks.

    Args:
        reference: adds what an implicit PRM is held against to every encoded dataset; none for other objectives.

    Attributes:
        rejected: the rows that were dropped as bad ones, where `config.bad_rows` says so.
        trained: `equality_form` of the problems that are trained on.
    """

    def __init__(self, config: VerifierConfig, tokenizer: Any, reference: Reference | None = None):
        self.config, self.tokenizer, self.reference = config, tokenizer, reference
        self.rejected: list[RejectedRow] = []
        self.trained: frozenset[str] = frozenset()

    def train(self, dataset: Any) -> EncodedDataset | EncodedPairs | None:
        """What to train on: pairs under a pairwise loss, else rows; `None` without a dataset.

        Raises:
            ConfigError: an empty dataset.
            DataError: rows that cannot be read, paired, encoded or learnt from.
        """
        rows = self._rows(dataset, "train_dataset")
        if not rows:
            return None
        single: Any = interleaved(rows) if isinstance(rows[0], PairRow) else rows  # type: ignore[arg-type]
        self.trained = frozenset(equality_form(prompt) for prompt in {row.prompt for row in single})
        if self.config.process_index == 0:
            warn_of_merges(single, self.config.step_format, self.tokenizer)
        if self.config.loss != "bradley_terry":
            check_learnable([("train_dataset", single)], counted=self.config.loss == "beta_binomial")
            return self.encode(single)
        pairs: Any = rows
        if not isinstance(rows[0], PairRow):
            pairs = pairs_from_outcomes(
                rows,  # type: ignore[arg-type]
                max_pairs_per_problem=self.config.max_pairs_per_problem,
                seed=self.config.seed,
            ).rows
        return self._encoded_pairs(pairs)

    def evaluation(self, dataset: Any, name: str = "eval_dataset") -> Any:
        """Encoded rows, or a dict of them; what is encoded already, and a name, stay as they are. Pairs are measured
        solution by solution: their share in the right order is `auroc_within`."""
        if dataset is None or isinstance(dataset, EncodedDataset | str):
            return dataset
        if isinstance(dataset, dict):
            return {key: self.evaluation(part, name) for key, part in dataset.items()}
        rows = self._rows(dataset, name)
        if not rows:
            return None
        single: Any = list(dict.fromkeys(interleaved(rows))) if isinstance(rows[0], PairRow) else rows  # type: ignore[arg-type]
        return self.encode(single)

    def samples(self, path: str) -> RecordedSamples:
        """Recorded samples of a file to measure best-of-n on, encoded, those of problems that are trained on left out;
        what cannot be scored or is left out is said.

        Raises:
            MissingFileError, DataError: see `load_samples` and `RecordedSamples.encoded`.
        """
        found = load_samples(path, trained=self.trained).encoded(self.encode, path)
        if self.config.process_index:
            return found
        if found.trained:
            logger.warning(
                "%s: %d of its problems are trained on and left out; best-of-n is measured on the other %d",
                *(path, found.trained, found.facts()["problems"]),
            )
        if found.refused:
            logger.warning(
                "%s: %d of %d samples cannot be scored and are chosen last, the first because: %s",
                *(path, len(found.refused), len(found.problem_N), found.refused[0].split(";")[0]),
            )
        return found

    def encode(self, rows: Sequence[StepRow], rejected: list[RejectedRow] | None = None) -> EncodedDataset:
        """Token ids, score positions and targets of rows, once and for all epochs.

        Args:
            rejected: takes the rows that cannot be encoded, whatever `bad_rows` says of those to train on.
        """
        config = self.config
        shown = len(rows) >= _MANY_ROWS and not config.disable_tqdm and config.process_index == 0
        encoded = encode_rows(
            rows,
            config.step_format,
            self.tokenizer,
            kind=config.kind,
            max_length=config.max_length,
            label="encode" if shown else None,
            rejected=self._bin if rejected is None else rejected,
        )
        return encoded if self.reference is None else self.reference.add_to(encoded)

    def _encoded_pairs(self, pairs: Sequence[PairRow]) -> EncodedPairs:
        """Each solution is encoded once, however many pairs it stands in."""
        numbers: dict[StepRow, int] = {}
        table = [
            (numbers.setdefault(pair.chosen, len(numbers)), numbers.setdefault(pair.rejected, len(numbers)))
            for pair in pairs
        ]
        before = len(self.rejected)
        dataset = self.encode(list(numbers))
        if len(self.rejected) > before:
            raise ConfigError("bad_rows: drop is not for pairs; mend the pair that it names, or leave it out")
        return EncodedPairs(dataset, table)

    @property
    def _bin(self) -> list[RejectedRow] | None:
        """Where bad rows go, or `None` where they are refused."""
        return self.rejected if self.config.bad_rows == "drop" else None

    def _rows(self, dataset: Any, name: str) -> Rows:
        if dataset is None:
            return []
        rows = list(dataset)
        if not rows:
            raise ConfigError(f"{name} is empty; give at least one row")
        if isinstance(rows[0], StepRow | PairRow):
            return rows
        if "chosen" in rows[0]:
            return pairs_from_columns(rows, name=name, rejected=self._bin)
        config = self.config
        return rows_from_columns(
            rows, kind=config.rows_kind, label_view=config.label_view, name=name, rejected=self._bin
        )


def encoded_rows(dataset: EncodedDataset | EncodedPairs) -> EncodedDataset:
    """The rows of a dataset of rows or pairs."""
    return dataset.dataset if isinstance(dataset, EncodedPairs) else dataset


def mean_target(dataset: EncodedDataset | EncodedPairs | None) -> float:
    """Mean target of the units that are trained on; one half where there are none."""
    if dataset is None:
        return 0.5
    targets = encoded_rows(dataset).targets
    known = targets[targets >= 0]
    return float(known.mean(dtype=np.float64)) if len(known) else 0.5
