"""Problems: a question and its reference answer, from any file or dataset that has such columns.

Grading lives in `prm.grading`; the embedded arithmetic world in `prm.worlds.arithmetic`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import read_jsonl

PROBLEM_COLUMNS = ("problem", "question")
ANSWER_COLUMNS = ("answer", "ground_truth")


@dataclass(frozen=True)
class Problem:
    """A question with a reference answer. Field names are MATH-500's.

    `level` and `subject` are free text, empty where unknown; `unique_id` identifies the problem in every later file.
    `cluster` names what a problem shares with others (paraphrases of one question, say), empty where it is alone:
    problems of one cluster are drawn together in every error bar.
    """

    problem: str
    answer: str
    unique_id: str
    level: str = ""
    subject: str = ""
    cluster: str = ""

    def to_dict(self) -> dict[str, str]:
        """As a row; without the cluster where there is none."""
        row: dict[str, str] = dict(vars(self))  # `asdict` copies deeply, which is felt over a hundred thousand rows
        if not self.cluster:
            del row["cluster"]
        return row


def problem_id(problem: str) -> str:
    """The id of a problem that brings none: 16 hex digits of its text's SHA-256."""
    return hashlib.sha256(problem.encode()).hexdigest()[:16]


def equality_form(problem: str) -> str:
    """The text without letter case and whitespace: equal problems have equal forms."""
    return "".join(problem.casefold().split())


def dataset_label(dataset_name: str) -> str:
    """A file's own name, wherever it lies, or the name of a dataset; a file's content is identified by its hash."""
    return Path(dataset_name).name if Path(dataset_name).exists() else dataset_name


def problem_from_row(
    row: dict[str, Any], *, path: str | Path | None = None, line: int | None = None, answer_known: bool = True
) -> Problem:
    """Read one row with `problem`/`answer` or `question`/`answer` columns (GSM8K, MATH-500, and sets like them).

    GSM8K's `answer` column is a worked solution: what follows its `####` is the answer. An empty text in `answer` says
    that the answer is unknown, which is refused unless `answer_known` is false.

    Raises:
        DataError: a column is missing or empty.
    """
    text = _column(row, PROBLEM_COLUMNS, path, line)
    unknown = not answer_known and row.get(ANSWER_COLUMNS[0]) == ""
    answer = "" if unknown else final_answer_of_reference(_column(row, ANSWER_COLUMNS, path, line))
    if not answer and not unknown:
        raise DataError("the answer is empty", path=path, line=line, remedy="Give every problem a reference answer")
    return Problem(
        problem=text,
        answer=answer,
        unique_id=str(row.get("unique_id") or row.get("id") or problem_id(text)),
        level=str(row.get("level") or ""),
        subject=str(row.get("subject") or ""),
        cluster=str(row.get("cluster") or ""),
    )


def clusters_of(problems: Iterable[Problem]) -> list[str] | None:
    """The cluster of every problem, for error bars, or `None` where no problem has one; a problem without one among
    others is a cluster of its own."""
    found = list(problems)
    if not any(problem.cluster for problem in found):
        return None
    return [f"cluster {one.cluster}" if one.cluster else f"problem {one.unique_id}" for one in found]


def _column(row: dict[str, Any], names: tuple[str, ...], path: str | Path | None, line: int | None) -> str:
    for name in names:
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip():
            return value
    present = [name for name in names if name in row]
    if present:
        value = row[present[0]]
        blank = value is None or isinstance(value, str)
        what = f"{present[0]!r} is {'empty' if blank else f'of type {type(value).__name__}, not a text'}"
        raise DataError(what, path=path, line=line, remedy="Fill it in, or delete the row")
    raise DataError(
        f"no {' or '.join(repr(n) for n in names)} in a row with the columns {sorted(row)}",
        path=path,
        line=line,
        remedy="Rename the column, or delete the row",
    )


def final_answer_of_reference(answer: str) -> str:
    """The answer proper: after GSM8K's `####`, after the recorded solutions' last `A:`, else the whole text."""
    if "####" in answer:
        answer = answer.rsplit("####", 1)[1]
    elif "\n" in answer and "\nA:" in answer:
        answer = answer.rsplit("\nA:", 1)[1]
    return answer.strip()


def load_problems(source: str, *, split: str = "test", config: str | None = None, limit: int = 0) -> list[Problem]:
    """Load problems from JSONL, JSON, Parquet or CSV, or from a Hub dataset by name.

    Args:
        source: a path, or a dataset's name on the Hub.
        split, config: the split and configuration of a Hub dataset; files have neither.
        limit: keep the first `limit` problems; 0 keeps all.

    Raises:
        MissingFileError, DataError: see their messages. A repeated `unique_id` is refused, for later files are keyed
            by it.
    """
    path = Path(source)
    if path.suffix in {".jsonl", ".json"}:
        rows: Iterable[tuple[int, dict[str, Any]]] = read_jsonl(path)
    elif path.suffix in {".parquet", ".csv"}:
        if not path.is_file():
            raise MissingFileError("no such file", path=path, remedy="Check the path")
        rows = _dataset_rows(path.suffix[1:], source, data_files=str(path))
    elif path.exists() or path.suffix:
        raise ConfigError(f"{source}: not a .jsonl, .json, .parquet or .csv file, nor a dataset's name")
    else:
        rows = _dataset_rows(source, source, config=config, split=split)
    problems = list(_checked(rows, source, limit))
    if not problems:
        raise DataError("no problems in it", path=source, remedy="Give a file or split with at least one row")
    return problems


def _checked(rows: Iterable[tuple[int, dict[str, Any]]], source: str, limit: int) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for line, row in rows:
        if limit and len(seen) == limit:
            return
        problem = problem_from_row(row, path=source, line=line)
        if problem.unique_id in seen:
            raise DataError(
                f"unique_id {problem.unique_id!r} is already used on line {seen[problem.unique_id]}",
                path=source,
                line=line,
                remedy="Remove the duplicate, or give it an id of its own",
            )
        seen[problem.unique_id] = line
        yield problem


def _dataset_rows(
    builder: str, source: str, *, data_files: str | None = None, config: str | None = None, split: str = "train"
) -> Iterator[tuple[int, dict[str, Any]]]:
    import datasets

    try:
        dataset = datasets.load_dataset(
            builder, config, data_files=data_files, split="train" if data_files else split, streaming=False
        )
    except Exception as error:  # datasets raises a dozen unrelated classes here
        raise DataError(
            f"datasets could not load it ({type(error).__name__}: {str(error).splitlines()[0]})",
            path=source,
            remedy="Check the name, the split and the connection, or download it to a .jsonl file",
        ) from error
    for line, row in enumerate(dataset, start=1):
        yield line, dict(row)
