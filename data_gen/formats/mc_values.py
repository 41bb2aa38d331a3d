"""Lists of Monte Carlo values, as SCAN publishes them (arXiv 2509.16548): `question`, `steps` and `scores`, for each
step the share of completions from there on that reach the answer.

It cannot hold counts, sources, the reference answer, the final answer and outcome, the text between the steps, or
costs. A label whose sampling stopped by a rule that biases its share has no such value, and its row is left out.
"""

from __future__ import annotations

from prm.labels import StepLabel

from .base import Record, Row, Where, column, imported, in_unit_interval, soft_value, texts


class McValuesFormat:
    """Rows of yyDing1/SCAN-PRM's data, and others like them."""

    name = "mc_values"
    columns: tuple[str, ...] = ("question", "steps", "scores")

    def parse(self, row: Row, where: Where) -> list[Record]:
        scores = column(row, "scores", list, "a list of numbers", where)
        if bad := [score for score in scores if score is not None and not in_unit_interval(score)]:
            raise where.error(f"the score {bad[0]!r}", "A score lies between 0 and 1, or is null")
        labels = [StepLabel(self.name, value=score) for score in scores]
        return [imported(row["question"], texts(row, "steps", where), labels, where, source=self.name)]

    def render(self, record: Record) -> Row:
        return {
            "question": record.problem.problem,
            "steps": list(record.rollout.steps),
            "scores": [soft_value(label) for label in record.labels],
        }
