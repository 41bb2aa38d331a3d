"""Our `rollouts.jsonl`: sampled solutions without step labels. It cannot hold step labels, nor what labelling cost."""

from __future__ import annotations

from prm.labels import LabelledRollout, StepLabel
from prm.rollouts import Rollout

from .base import Record, Row, Where
from .labels import extra_of, row_extra, without_nulls

UNLABELLED = "unlabelled"


class RolloutsFormat:
    """Rows of `prm rollout`; each step gets a label of which nothing is known."""

    name = "rollouts"
    columns: tuple[str, ...] = ("problem", "steps", "gaps", "sample_index", "stop_reason")

    def parse(self, row: Row, where: Where) -> list[Record]:
        rollout = Rollout.from_dict(without_nulls(row, "cost"), path=where.path, line=where.line)
        labels = tuple(StepLabel(UNLABELLED) for _ in rollout.steps)
        return [Record(LabelledRollout(rollout, labels), extra_of(row, where))]

    def render(self, record: Record) -> Row:
        return record.rollout.to_dict() | row_extra(record, self.name)
