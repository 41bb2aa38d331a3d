"""One data set of a mixture as a user writes it down: an entry of a recipe's `datasets`, in the style of TRL's
`DatasetMixtureConfig`.

    datasets:
      - path: runs/labels/labels.jsonl
        label_view: soft
      - path: trl-lib/prm800k
        weight: 0.5
        label_source: human

Reading and mixing them is `prm.rows.mixture`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from prm.config import check_key
from prm.errors import ConfigError
from prm.problems import dataset_label
from prm.recipe import fit_recipe
from prm.rows.label_policies import AfterFirstError, Neutral
from prm.rows.readers import Reading
from prm.rows.step_rows import LabelScale, LabelView
from prm.splitting import DEFAULT_SPLITTER


@dataclass(frozen=True)
class TrainDataset:
    """One data set of a mixture. What is `None` is as the run has it.

    Attributes:
        path: a file, or a dataset's name on the Hub.
        name, split: configuration and split of a Hub dataset.
        weight: how often each row is seen in an epoch, on average. The whole part is so many copies of every row; the
            fraction is one more of the rows of that share of the problems, chosen by the run's seed, the same ones in
            every epoch. Rows to evaluate on are not weighted.
        label_source, label_view, label_scale, neutral_labels, after_first_error: see `prm.rows.readers.Reading`.
    """

    path: str
    name: str | None = None
    split: str = "train"
    weight: float = 1.0
    label_source: str | None = None
    label_view: LabelView | None = None
    label_scale: LabelScale | None = None
    neutral_labels: Neutral | None = None
    after_first_error: AfterFirstError | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("a data set needs a path: a file, or a dataset's name on the Hub")
        if not 0 < self.weight < math.inf:
            raise ConfigError(f"the weight of {self.path} must be above 0, not {self.weight}; leave out what weighs 0")

    @classmethod
    def from_mapping(cls, entry: Any, where: str = "datasets") -> TrainDataset:
        """An entry of a recipe's `datasets`, checked; a lone text is the path.

        Raises:
            ConfigError: an unknown key, with the nearest; a value of another type; no path.
        """
        if isinstance(entry, cls):
            return entry
        if isinstance(entry, str):
            return cls(entry)
        if not isinstance(entry, Mapping):
            raise ConfigError(f"{where}: each is a mapping with a path, not {entry!r}")
        known = [item.name for item in fields(cls)]
        for key in entry:
            check_key(str(key), known, f"{where}: ", otherwise=f"known are {', '.join(known)}")
        if "path" not in entry:
            raise ConfigError(f"{where}: missing path: name a file, or a dataset of the Hub")
        return cls(**fit_recipe({str(key).replace("-", "_"): value for key, value in entry.items()}, [cls], where))

    @property
    def label(self) -> str:
        """The file's own name, or the dataset's."""
        return dataset_label(self.path)

    def reading(self, run: Reading) -> Reading:
        """How it is read in a run that otherwise reads so."""
        own = {item.name: getattr(self, item.name) for item in fields(run) if hasattr(self, item.name)}
        return replace(run, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class PairOptions:
    """How pairs are made, for a pairwise loss; see `prm.rows.pairs`."""

    splitter: str = DEFAULT_SPLITTER
    max_pairs_per_problem: int = 8
