"""Lists of Monte Carlo values, as SCAN publishes them (arXiv 2509.16548): `question`, `steps` and `scores`, for each
step the share of completions from there on that reach the answer.

The hard label of such a share is what it is of our own counts: 1 if any completion was right (Math-Shepherd,
arXiv 2312.08935, eq. 3; arXiv 2501.07301 calls a step wrong only where no completion is right). `prm data convert
--hard_threshold 0.5` calls a step right from that share up instead.

It cannot hold counts, sources, the reference answer, the final answer and outcome, the text between the steps, or
costs. A label whose sampling stopped by a rule that biases its share has no such value, and its row is left out.
"""

from __future__ import annotations

from prm.labels import SHARE_RULE, StepLabel

from .base import Record, Row, Where, column, imported, in_unit_interval, soft_value, texts


class McValuesFormat:
    """Rows of yyDing1/SCAN-PRM's data, and others like them."""

    name = "mc_values"
    columns: tuple[str, ...] = ("question", "steps", "scores")

    def parse(self, row: Row, where: Where) -> list[Record]:
        scores = column(row, "scores", list, "a list of numbers", where)
        if bad := [score for score in scores if score is not None and not in_unit_interval(score)]:
            raise where.error(f"the score {bad[0]!r}", "A score lies between 0 and 1, or is null")
        labels = [StepLabel(self.name, rule=SHARE_RULE, value=score) for score in scores]
        return [imported(row["question"], texts(row, "steps", where), labels, where, source=self.name)]

    def render(self, record: Record) -> Row:
        return {
            "question": record.problem.problem,
            "steps": list(record.rollout.steps),
            "scores": [soft_value(label) for label in record.labels],
        }
