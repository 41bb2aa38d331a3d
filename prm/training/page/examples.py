"""Held-out solutions worth a look: their text again from the tokens that the verifier read, and the choice of a few.

They stand in the order in which they are chosen: errors that were missed, false alarms, and what went well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.report.page import ScoredStep, Solution

if TYPE_CHECKING:
    import numpy as np

MISSED, FALSE_ALARM, AGREES = "missed", "false alarm", "agrees"
_SHARE = 0.4  # of the examples, at most, for each kind of mistake


@dataclass(frozen=True)
class Example:
    """A solution with its scores.

    Attributes:
        problem: as the verifier read it, prompt template included.
        steps: their texts.
        labels: of each step, 0 (wrong) to 1 (right); `None` where it is unknown.
        scores: of each step; `None` where there is none.
        group: the problem's number.
        source: what made the labels.
        row: which row of its dataset it is.
    """

    problem: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    scores: tuple[float | None, ...]
    group: int = -1
    source: str = ""
    row: int = -1

    @property
    def is_outcome(self) -> bool:
        """Whether its one score is of the whole solution."""
        return all(score is None for score in self.scores[:-1])

    def mistakes(self, threshold: float = 0.5) -> list[tuple[float, int]]:
        """How far off each step is whose label and score are on different sides, and which step: positive where an
        error was missed, negative for a false alarm."""
        found = []
        for index, (label, score) in enumerate(zip(self.labels, self.scores, strict=True)):
            if label is not None and score is not None and (label >= 0.5) != (score >= threshold):
                found.append((score - label, index))
        return found


def held_out_examples(
    dataset: Any,
    scores_NS: Sequence[Sequence[float]] | np.ndarray,
    tokenizer: Any,
    *,
    separator: str,
    threshold: float = 0.5,
    count: int = 10,
) -> list[Example]:
    """Choose among the rows of a dataset, and read those that are chosen.

    Args:
        dataset: a `prm.encoding.EncodedDataset`.
        scores_NS: (N, S) a score for each score position, rows in the dataset's order; padded on the right.
        separator: the step format's.
    """
    without_text = []
    for index, scores in enumerate(scores_NS):
        row = dataset[index]
        labels = tuple(_label(target) for target in row.targets)
        known = tuple(float(score) for score in scores[: len(labels)])
        without_text.append(Example("", ("",) * len(labels), labels, known, int(row.group), row=index))
    chosen = [example.row for example in choose(without_text, threshold=threshold, count=count)]
    names = dataset.source_names
    read = []
    for index in chosen:
        row = dataset[index]
        source = names[row.source] if 0 <= row.source < len(names) else ""
        read.append(read_example(row, scores_NS[index], tokenizer, separator, source))
    return read


def read_example(
    row: Any, scores: Sequence[float] | np.ndarray, tokenizer: Any, separator: str, source: str = ""
) -> Example:
    """The text of an encoded row, step by step.

    Args:
        row: a `prm.encoding.EncodedRow`.
        scores: one for each of its score positions.
        separator: the step format's; a score position ends with it. Where there are fewer positions than steps (an
            outcome), the steps are told apart by it.
    """

    def text(start: int, end: int) -> str:
        ids = [int(token) for token in row.input_ids[start:end]]
        return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    steps: list[str] = []
    labels: list[float | None] = []
    found: list[float | None] = []
    start = int(row.prompt_length)
    for place, target, score in zip(row.positions, row.targets, scores, strict=False):
        parts = text(start, int(place) + 1).removesuffix(separator).split(separator)
        steps += parts
        labels += [None] * (len(parts) - 1) + [_label(target)]
        found += [None] * (len(parts) - 1) + [float(score)]
        start = int(place) + 1
    problem = text(0, int(row.prompt_length)).strip()
    return Example(problem, tuple(steps), tuple(labels), tuple(found), int(row.group), source)


def _label(target: float) -> float | None:
    return float(target) if target >= 0 else None


def choose(examples: Sequence[Example], *, threshold: float = 0.5, count: int = 10) -> list[Example]:
    """A few examples: the errors that were missed by most, the worst false alarms, and the clearest of the others.

    No kind of mistake takes more than two fifths of the places while another can fill them, and no problem comes
    twice while there are others.
    """
    kinds: dict[str, list[tuple[float, int]]] = {MISSED: [], FALSE_ALARM: [], AGREES: []}
    for index, example in enumerate(examples):
        kind, weight = _kind(example, threshold)
        if kind:
            kinds[kind].append((-weight, index))
    ranked = {kind: _one_a_problem(examples, [index for _, index in sorted(found)]) for kind, found in kinds.items()}
    most = round(_SHARE * count)
    taken: dict[str, list[int]] = {kind: ranked[kind][:most] for kind in (MISSED, FALSE_ALARM)}
    rest = count - sum(map(len, taken.values()))
    taken[AGREES] = ranked[AGREES][:rest]
    for kind in (MISSED, FALSE_ALARM):
        free = count - sum(map(len, taken.values()))
        taken[kind] = ranked[kind][: len(taken[kind]) + free]
    return [examples[index] for kind in kinds for index in taken[kind]]


def as_solution(example: Example, threshold: float = 0.5) -> Solution:
    """The example as the page shows it, under a title that says what is to be seen."""
    wrong = {index for _, index in example.mistakes(threshold)}
    steps = [
        ScoredStep(text, score, label, index in wrong)
        for index, (text, score, label) in enumerate(zip(example.steps, example.scores, example.labels, strict=True))
    ]
    note = f"Labels: {example.source}" if example.source else ""
    return Solution(_title(example, threshold), example.problem, steps, note)


def _title(example: Example, threshold: float) -> str:
    mistakes = example.mistakes(threshold)
    if not mistakes:
        known = sum(label is not None for label in example.labels)
        return "Agrees with its label" if known == 1 else f"Agrees with all {known} labels"
    off, index = max(mistakes, key=lambda mistake: abs(mistake[0]))
    what = "An error missed" if off > 0 else "A false alarm"
    word = "wrong" if off > 0 else "right"
    which = "the solution" if example.is_outcome else f"step {index + 1}"
    return f"{what}: {which} is labelled {word} and scores {example.scores[index]:.2f}"


def _kind(example: Example, threshold: float) -> tuple[str, float]:
    """Which list an example belongs to, by its worst step, and its weight in it."""
    known = [
        (label, score)
        for label, score in zip(example.labels, example.scores, strict=True)
        if label is not None and score is not None
    ]
    if not known:
        return "", 0.0
    mistakes = example.mistakes(threshold)
    if mistakes:
        off = max((off for off, _ in mistakes), key=abs)
        return (MISSED if off > 0 else FALSE_ALARM), abs(off)
    # Of those that agree, solutions with right and wrong steps say most, then those that are surest.
    both = len({label >= 0.5 for label, _ in known}) == 2
    return AGREES, both + sum(abs(score - threshold) for _, score in known) / len(known)


def _one_a_problem(examples: Sequence[Example], order: Sequence[int]) -> list[int]:
    """The first of each problem, then the others, in the given order."""
    seen: set[int] = set()
    first: list[int] = []
    others: list[int] = []
    for index in order:
        (others if examples[index].group in seen and examples[index].group >= 0 else first).append(index)
        seen.add(examples[index].group)
    return first + others
