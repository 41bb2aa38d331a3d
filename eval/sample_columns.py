"""Samples in search-and-learn's columns, JSON lines or Parquet: one row for each problem, with its `completions` and,
where it has them, their step `scores`.

Read with `prm eval --rollouts FILE`; the scores become a verifier called `recorded`, whose step separator is theirs, a
blank line. `samples.jsonl` of a run is such a file, and so is a dataset that search-and-learn wrote; their lists of
predictions are not read, for they stand for the first n samples. What is written is `prm.eval.sample_rows`'s.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from prm.errors import DataError, FormatError, MissingFileError
from prm.fingerprint import fingerprint
from prm.jsonl import read_jsonl
from prm.problems import problem_from_row
from prm.rollouts import Cost, Rollout, StopReason
from prm.scoring_spec import ScoringSpec
from prm.step_format import StepFormat
from prm.verifier import StepScores

from .steps import split_by

SEPARATOR = "\n\n"
RECORDED = "recorded"
Row = dict[str, Any]
Solution = tuple[str, tuple[str, ...]]
"""A problem's text, and steps."""


def has_sample_columns(path: str | Path) -> bool:
    """Whether a file of samples has a problem and its completions in each row, and not a rollout."""
    path = Path(path)
    if path.suffix == ".parquet":
        return True
    first = next(iter(read_jsonl(path)), (0, {}))[1]
    return "completions" in first and "steps" not in first


def read_sample_columns(path: str | Path) -> Iterator[Rollout]:
    """The samples, problem by problem.

    Raises:
        DataError: a row without a problem, an answer or completions.
    """
    for line, row in _rows(path):
        problem = problem_from_row(row, path=path, line=line)
        texts = _texts(row, path, line)
        reasons = row.get("stop_reasons") or [StopReason.EOS.value] * len(texts)
        sources = row.get("sources") or [RECORDED] * len(texts)
        tokens = row.get("completion_tokens")
        tokens = tokens if isinstance(tokens, list) and len(tokens) == len(texts) else [0] * len(texts)
        for index, text in enumerate(texts):
            split = split_by(text, SEPARATOR)
            cost = Cost(generated_tokens=max(0, int(tokens[index])))
            reason = StopReason(reasons[index])
            yield Rollout(problem, split.steps, split.gaps, index, reason, sources[index], cost=cost)


class RecordedScores:
    """A verifier that knows the scores of a file, and nothing else.

    Args:
        scores: by problem and steps.
        revision: identifies the file, and what was made of it.
    """

    name = RECORDED
    num_parameters = 0

    def __init__(self, scores: Mapping[Solution, tuple[float, ...]], revision: str):
        self.scores, self.revision = scores, revision
        whole = all(len(found) == 1 for found in scores.values()) and any(len(steps) > 1 for _, steps in scores)
        step_format = StepFormat(step_separator=SEPARATOR)
        self.spec = (
            ScoringSpec("orm", "sequence_classification", step_format)
            if whole
            else ScoringSpec("prm", "token_classification", step_format)
        )

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]:
        """The recorded scores, which cost nothing here.

        Raises:
            FormatError: a solution that the file has no scores of.
        """
        found = [self.scores.get((problem, tuple(steps))) for problem, steps in items]
        if None in found:
            raise FormatError("a solution without recorded scores")
        if progress:
            progress(len(items))
        return [StepScores(scores, 0) for scores in found if scores is not None]


def recorded_scores(path: str | Path) -> RecordedScores | None:
    """The scores of a file of samples; `None` where it has none. A solution that was scored several times, and not
    alike (in batches of other shapes, say), gets the mean, with a warning.

    Raises:
        DataError: scores that are none, or not as many as there are steps, or as for an equal solution.
    """
    if not has_sample_columns(path):
        return None
    found: dict[Solution, list[tuple[float, ...]]] = {}
    for line, row in _rows(path):
        if row.get("scores"):
            texts = _texts(row, path, line)
            if len(row["scores"]) != len(texts):
                raise _no_scores(f"{len(row['scores'])} lists of scores for {len(texts)} completions", path, line)
            for text, scores in zip(texts, row["scores"], strict=True):
                steps = split_by(text, SEPARATOR).steps
                if steps and scores:
                    same = found.setdefault((row["problem"], steps), [])
                    same.append(_checked(scores, steps, text, path, line))
                    if len(same[0]) != len(same[-1]):
                        raise _no_scores(f"{len(same[-1])} scores, and {len(same[0])} of an equal one", path, line)
    if not found:
        return None
    revision = fingerprint(path)
    if unlike := sum(len(set(same)) > 1 for same in found.values()):
        whose = "1 solution that occurs" if unlike == 1 else f"{unlike:,} solutions that occur"
        warnings.warn(f"{path} has different scores for {whose} more than once: they are averaged", stacklevel=2)
        revision += ", means"
    return RecordedScores({solution: _mean(same) for solution, same in found.items()}, revision)


def _mean(same: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Step by step; equal scores stay what they are to the last digit."""
    return same[0] if len(set(same)) == 1 else tuple(map(fmean, zip(*same, strict=True)))


def _checked(scores: Any, steps: Sequence[str], text: str, path: str | Path, line: int | None) -> tuple[float, ...]:
    """The scores of a completion; one of the empty step behind a trailing separator, as search-and-learn has it, is
    left out."""
    if not isinstance(scores, list) or not all(isinstance(s, int | float) and 0 <= s <= 1 for s in scores):
        raise _no_scores(f"{str(scores)[:60]} is no list of scores in [0, 1]", path, line)
    if len(scores) == len(steps) + 1 and text.endswith(SEPARATOR):
        scores = scores[:-1]
    if len(scores) not in (1, len(steps)):
        raise _no_scores(f"{len(scores)} scores of a completion with {len(steps)} steps", path, line)
    return tuple(map(float, scores))


def _no_scores(what: str, path: str | Path, line: int | None) -> DataError:
    return DataError(what, path=path, line=line, remedy="Mend the column scores, or drop it and give prm_path")


def _texts(row: Mapping[str, Any], path: str | Path, line: int | None) -> list[str]:
    texts = row.get("completions")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(
            "no completions, a list of texts", path=path, line=line, remedy="Give every problem its samples"
        )
    return texts


def _rows(path: str | Path) -> Iterable[tuple[int | None, Row]]:
    path = Path(path)
    if path.suffix != ".parquet":
        return read_jsonl(path)
    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Check the path")
    from pyarrow import ArrowException, parquet

    try:
        return [(None, row) for row in parquet.read_table(path).to_pylist()]
    except (ArrowException, OSError) as error:
        raise DataError(f"not a Parquet file ({str(error)[:80]})", path=path, remedy="Restore it") from None
