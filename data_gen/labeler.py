"""What every labeler does: turn rollouts into step labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prm.labels import LabelledRollout
from prm.rollouts import Rollout


class Labeler(Protocol):
    """Labels the steps of rollouts: Monte Carlo completions, first-error search, a judge."""

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """One labelled rollout a rollout, in order, with one label per step."""
        ...
