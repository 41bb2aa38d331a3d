"""What is wrong, or worth knowing, about the labels of the data sets of a run, before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from prm.errors import DataError
from prm.rows.label_policies import AFTER_FIRST_ERROR
from prm.rows.pairs import single_solutions
from prm.rows.step_rows import StepRow

if TYPE_CHECKING:
    from prm.rows.mixture import LoadedDataset

_SHARES, _VERDICTS, _VALUES = "shares of completions", "0 and 1 alone", "values that nobody counted"


def label_counts(rows: Sequence[Any]) -> dict[str, int]:
    """Steps (of an outcome model: solutions) by hard label, each solution of a pair once."""
    counts = Counter(label for row in single_solutions(rows) for label in row.hard_labels)
    return {
        "wrong": counts[0.0],
        "correct": counts[1.0],
        "unknown": counts[None],
    }


def check_learnable(datasets: Sequence[tuple[str, Sequence[StepRow]]], *, counted: bool = False) -> None:
    """Refuse rows to train on from which no step can be told from another.

    Args:
        datasets: the name and the rows of each.
        counted: the loss reads the counts of completions, not the labels.

    Raises:
        DataError: all targets are the same, with the counts of each data set; or the loss reads counts and none are
            there.
    """
    rows = [row for _, part in datasets for row in part]
    targets = set(_shares(rows) if counted else (label for row in rows for label in row.labels if label is not None))
    if len(targets) > 1:
        return
    if not targets:
        raise DataError(
            f"no label has {'counts of completions' if counted else 'a value'}, and the loss learns from nothing else",
            path=", ".join(name for name, _ in datasets),
            remedy="Give labels of `prm label`, or rows with n_correct and n_total; or choose another loss",
        )
    counts = [(name, label_counts(part)) for name, part in datasets]
    found = "; ".join(f"{name}: {count['wrong']} wrong, {count['correct']} correct" for name, count in counts)
    raise DataError(
        f"every {'share of completions' if counted else 'label'} is {targets.pop():g}, so there is nothing to learn "
        f"({found})",
        remedy="A verifier needs right and wrong steps (an outcome model: solutions): sample more, look at the label "
        "view and the policies, or add a data set with the other class",
    )


def _shares(rows: Sequence[StepRow]) -> Iterator[float]:
    for row in rows:
        for right, total in zip(row.n_correct or (), row.n_total or (), strict=True):
            if right is not None and total:
                yield right / total


def notices(datasets: Sequence[LoadedDataset], evaluation: Sequence[Any]) -> Iterator[str]:
    """What the user should know: labels on scales that do not compare, a policy that met nothing, problems that are
    trained and evaluated on."""
    yield from _mixed_scales(row for dataset in datasets for row in single_solutions(dataset.loaded.rows))
    for dataset in datasets:
        policy = dataset.reading.neutral_labels
        if policy != "keep" and not dataset.loaded.changed["neutral"]:
            yield (
                f"{dataset.source.label}: neutral_labels is {policy!r} and no label is a neutral rating; set "
                "label_scale: ratings where ratings are -1, 0 and 1, or label_source: prm800k where neutral is 0.5"
            )
        if not dataset.train:
            yield f"{dataset.source.label}: all of its problems are held out, so nothing of it is trained on"
    trained = {row.group for dataset in datasets for row in dataset.train}
    if shared := trained & {row.group for row in evaluation}:
        yield f"{len(shared)} of the problems to evaluate on are trained on, too; eval_fraction holds problems out"


def _mixed_scales(rows: Iterator[StepRow]) -> Iterator[str]:
    scales = _scales(rows)
    if len(set(scales.values())) > 1:
        listed = "; ".join(f"{source}: {scale}" for source, scale in scales.items())
        yield (
            f"the labels are on scales that do not compare ({listed}), and one loss learns from all of them; "
            "label_view: hard puts them on one, or train on one source"
        )


def _scales(rows: Iterator[StepRow]) -> dict[str, str]:
    """What the targets of each source are. A neutral rating's 0.5 makes no verdicts into shares."""
    scales: dict[str, str] = {}
    for row in rows:
        source = "+".join(name for name in row.source.split("+") if name != AFTER_FIRST_ERROR)
        scales.setdefault(source, _VERDICTS)
        for index, label in enumerate(row.labels):
            if label is None or label in (0, 1):
                continue
            if row.n_total is not None and row.n_total[index]:
                scales[source] = _SHARES
            elif label != 0.5 and scales[source] != _SHARES:
                scales[source] = _VALUES
    return scales
