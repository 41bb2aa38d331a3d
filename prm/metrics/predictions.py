"""What an evaluation holds the model against: margins, targets, hard labels, problems and label sources, aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prm.errors import DataError
from prm.metrics.names import source_prefix

Array = NDArray[Any]


@dataclass(frozen=True)
class Predictions:
    """Predictions for N solutions of up to S score positions, and what is known of them.

    Attributes:
        margins_NS: logit of correct minus logit of wrong.
        targets_NS: training targets in [0, 1], negative where unknown or where there is no step.
        hard_NS: labels 0 and 1; between -100 and 0 where unknown, -100 where there is no step.
        groups_N: the problem's number.
        sources_N: the number of the label source, an index into `source_names`; `None` where there is one source.
        source_names: names of the label sources.

    Raises:
        DataError: a margin that is not a number, where there is a label.
    """

    margins_NS: Array
    targets_NS: Array
    hard_NS: Array
    groups_N: Array
    sources_N: Array | None = None
    source_names: Sequence[str] = ()

    def __post_init__(self) -> None:
        labelled = (self.hard_NS >= 0) | (self.targets_NS >= 0)
        broken = labelled & ~np.isfinite(self.margins_NS)
        if broken.any():
            raise DataError(
                f"{int(broken.sum())} of {int(labelled.sum())} scores of the evaluation are not finite numbers",
                remedy="The model has diverged: lower the learning rate, and use bf16 or fp32 instead of fp16",
            )

    def __len__(self) -> int:
        return len(self.groups_N)

    @cached_property
    def scores_NS(self) -> NDArray[np.float64]:
        """The chance of being correct that the model states."""
        # Margins beyond +-700 would overflow; padding is -100.
        clipped = np.clip(np.nan_to_num(self.margins_NS.astype(np.float64)), -700, 700)
        scores: NDArray[np.float64] = 1 / (1 + np.exp(-clipped))
        return scores

    def labelled(self) -> tuple[Array, Array, Array]:
        """Scores, hard labels and problems of everything that has a hard label, flat."""
        known = self.hard_NS >= 0
        groups = np.broadcast_to(self.groups_N[:, None], self.hard_NS.shape)
        return self.scores_NS[known], self.hard_NS[known].astype(int), groups[known]

    def targeted(self) -> tuple[Array, Array]:
        """Scores and targets of everything that has a target, flat. Calibration is held against targets: a soft label
        says how often a step ends well, its hard view whether it ever did."""
        known = self.targets_NS >= 0
        return self.scores_NS[known], self.targets_NS[known].astype(np.float64)

    def losses_NS(self) -> NDArray[np.float64]:
        """Cross-entropy in nats of each target, 0 where there is none."""
        known = self.targets_NS >= 0
        margins = np.where(known, self.margins_NS, 0).astype(np.float64)
        targets = np.where(known, self.targets_NS, 0).astype(np.float64)
        losses: NDArray[np.float64] = np.where(known, np.logaddexp(0, margins) - targets * margins, 0)
        return losses

    def take(self, rows: Array) -> Predictions:
        """Some of the solutions: indices, or a mask."""
        return Predictions(self.margins_NS[rows], self.targets_NS[rows], self.hard_NS[rows], self.groups_N[rows])

    def by_source(self) -> dict[str, Predictions]:
        """The solutions of each label source under its name; empty where all are of one."""
        return {name: self.take(rows) for name, rows in self.source_rows().items()}

    def source_rows(self) -> dict[str, NDArray[np.bool_]]:
        """(N,) for each label source which solutions are its own; empty where all are of one."""
        if self.sources_N is None or len(present := np.unique(self.sources_N)) < 2:
            return {}
        names = {int(number): self._source_name(int(number)) for number in present}
        return {
            name: np.isin(self.sources_N, [number for number, other in names.items() if other == name])
            for name in sorted(set(names.values()))
        }

    def _source_name(self, number: int) -> str:
        return source_prefix(self.source_names[number] if 0 <= number < len(self.source_names) else "")
