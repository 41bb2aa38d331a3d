"""TRL's stepwise supervision: `prompt`, `completions` (the steps) and `labels` (true, false, null, or a number from 0
to 1), and for each step optionally our `n_correct`, `n_total` and `source`; `unique_id` names the problem. `prm train`
reads these rows (`prm.rows.training_rows`).

It cannot hold the reference answer, the final answer and outcome, the text between the steps, why the sample ended,
who sampled it, costs, the number of undecided completions, or a stopping rule. Counts under a rule that biases their
share are left out, so that nobody takes them for unbiased ones: the hard label stands alone.
"""

from __future__ import annotations

from typing import Any

from prm.labels import FIXED_RULE, SHARE_RULE, StepLabel
from prm.problems import problem_id
from prm.rows.label_policies import are_shares

from .base import Record, Row, Where, column, hard_value, imported, in_unit_interval, texts

NO_SOURCE = "labels"  # what `prm.rows.training_rows` calls the source of labels that name none


class StepwiseFormat:
    """TRL's rows, with our optional columns."""

    name = "stepwise"
    columns: tuple[str, ...] = ("prompt", "completions", "labels")

    def parse(self, row: Row, where: Where) -> list[Record]:
        steps = texts(row, "completions", where)
        values = column(row, "labels", list, "a list", where)
        if len(values) != len(steps):
            raise where.error(f"{len(values)} labels for {len(steps)} steps", "Every step needs one label, or null")
        per_step = [_per_step(row, name, len(steps), where) for name in ("n_correct", "n_total", "source")]
        labels = [_label(*entry, where=where) for entry in zip(values, *per_step, strict=True)]
        unique_id = str(row.get("unique_id") or "")
        return [imported(row["prompt"], steps, labels, where, source=self.name, unique_id=unique_id)]

    def render(self, record: Record) -> Row:
        row: Row = {
            "prompt": record.problem.problem,
            "completions": list(record.rollout.steps),
            "labels": [_value(label) for label in record.labels],
        }
        counts = [(label.n_correct, label.n_total) if _unbiased(label) else (None, None) for label in record.labels]
        if any(total for _, total in counts):
            row["n_correct"], row["n_total"] = map(list, zip(*counts, strict=True))
        if any(label.source != NO_SOURCE for label in record.labels):
            row["source"] = [label.source for label in record.labels]
        if record.problem.unique_id != problem_id(record.problem.problem):
            row["unique_id"] = record.problem.unique_id
        return row


def _per_step(row: Row, name: str, n_steps: int, where: Where) -> list[Any]:
    """The column's value for each step; one text holds for all of them."""
    values = row.get(name)
    if values is None or isinstance(values, str):
        return [values] * n_steps
    if not isinstance(values, list) or len(values) != n_steps:
        raise where.error(f"{name} is not one value per step", f"Mend or drop {name}")
    return values


def _label(value: Any, n_correct: Any, n_total: Any, source: Any, *, where: Where) -> StepLabel:
    if value is not None and not isinstance(value, bool) and not in_unit_interval(value):
        raise where.error(f"the label {value!r}", "A label is true, false, null, or from 0 (wrong) to 1 (correct)")
    right, total = (0 if count is None else count for count in (n_correct, n_total))
    if type(right) is not int or type(total) is not int or not 0 <= right <= total:
        raise where.error(f"n_correct is {n_correct!r} and n_total {n_total!r}", "Give counts, or drop both columns")
    value = float(value) if isinstance(value, bool) else value
    name = str(source or NO_SOURCE)
    if not total and value is not None and are_shares(name):
        return StepLabel(name, value=value, rule=SHARE_RULE)
    return StepLabel(name, right, total, value=None if total else value)


def _unbiased(label: StepLabel) -> bool:
    return label.n_total > 0 and label.rule == FIXED_RULE


def _value(label: StepLabel) -> float | None:
    if _unbiased(label):
        return label.n_correct / label.n_total
    return hard_value(label) if label.n_total and label.value is None else label.value
