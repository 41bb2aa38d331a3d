"""ProcessBench (arXiv 2412.06559): `id`, `generator`, `problem`, `steps`, `final_answer_correct`, and `label`, the
index of the first wrong step, -1 where every step is right. What follows the first error is not judged.

It cannot hold labels behind the first error, soft values, counts, sources, the reference answer, the text between the
steps, or costs; a solution with an unknown step before the first error has no such label and is left out.
"""

from __future__ import annotations

from prm.labels import StepLabel, first_wrong
from prm.rollouts import Outcome

from .base import NotHeldError, Record, Row, Where, column, imported, texts


class ProcessBenchFormat:
    """Rows of Qwen/ProcessBench."""

    name = "processbench"
    columns: tuple[str, ...] = ("problem", "steps", "label", "final_answer_correct")

    def parse(self, row: Row, where: Where) -> list[Record]:
        steps = texts(row, "steps", where)
        first = column(row, "label", int, "the index of a step, or -1", where)
        correct = column(row, "final_answer_correct", (bool, type(None)), "true or false", where)
        if not -1 <= first < len(steps):
            raise where.error(f"label {first} and {len(steps)} steps", "It is the first wrong step's index, or -1")
        judged = len(steps) if first < 0 else first + 1
        labels = [
            StepLabel(self.name, value=float(i != first)) if i < judged else StepLabel(self.name)
            for i in range(len(steps))
        ]
        outcome = None if correct is None else Outcome.CORRECT if correct else Outcome.WRONG
        generator = row.get("generator")
        extra = {self.name: {"id": row["id"]}} if "id" in row else {}
        source = generator if isinstance(generator, str) else self.name
        return [imported(row["problem"], steps, labels, where, source=source, outcome=outcome, extra=extra)]

    def render(self, record: Record) -> Row:
        first = first_wrong(record.labels)
        if first is None:
            raise NotHeldError("an unknown step before the first wrong one")
        rollout = record.rollout
        default = f"{record.problem.unique_id}-{rollout.sample_index}"
        return {
            "id": record.extra.get(self.name, {}).get("id", default),
            "generator": rollout.source,
            "problem": record.problem.problem,
            "steps": list(rollout.steps),
            "final_answer_correct": None if rollout.outcome is None else rollout.correct,
            "label": first,
        }
