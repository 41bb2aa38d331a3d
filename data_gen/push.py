"""`prm data push`: a run's step labels to the Hub, as a dataset that trains directly, with a card of what is known.

    prm data push --labels_path runs/a/labels.jsonl --repo_id user/my-labels

Labels that `prm data` chose or converted are published likewise; the card then says from what, and what was left out.
The repository holds the labels in TRL's stepwise columns as Parquet, the run's report as JSON and as a page, and the
card. It is one commit, and none where nothing changed. What the card says is decided in `prm.cards.dataset_card`.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.cards.dataset_card import dataset_card
from prm.errors import DataError, MissingFileError
from prm.fingerprint import file_hash
from prm.hub_secrets import refuse_secrets
from prm.hub_upload import (
    CARD_FILE,
    Destination,
    PushResult,
    check_repo_id,
    json_bytes,
    logged_in,
    sizes_of,
    upload,
    with_namespace,
)
from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout
from prm.rows.training_rows import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

from .data_report import data_report
from .formats import find_format
from .formats.base import NotHeldError, Where
from .formats.exchange import read_records, write_row
from .label_page import PAGE_FILE, label_page
from .label_report import label_report
from .row_files import read_rows, write_rows
from .stage import read_json_object

DATA_FILE = "data/train-00000-of-00001.parquet"
REPORT_FILE = "label_report.json"
_OWNED = ("data/*.parquet", REPORT_FILE, PAGE_FILE)


@dataclass(kw_only=True)
class DatasetPushConfig:
    """Options of `prm data push`."""

    labels_path: str = field(
        metadata={
            "help": "The labels of `prm label`, or of `prm data curate`, merge or convert, with what lies beside them"
        }
    )
    repo_id: str = field(metadata={"help": "Dataset on the Hub: user/name, or name for your own namespace"})
    private: bool | None = field(
        default=None,
        metadata={
            "help": "Whether a new repository is private (by default it is); an existing one's is never changed",
            "nargs": "?",  # a bare --private means true
            "const": True,
        },
    )
    license: str | None = field(default=None, metadata={"help": "Licence of the data, such as cc-by-4.0"})
    commit_message: str = field(default="Publish the step labels", metadata={"help": "Message of the commit"})
    dry_run: bool = field(default=False, metadata={"help": "Check and print the card, but send nothing"})


def push_labels(config: DatasetPushConfig) -> PushResult:
    """Publish the labels of a finished run.

    Raises:
        HubError: no token, a secret in a file or a row, or a refusal by the Hub.
        DataError: labels that cannot be read, or whose report is missing or of other labels.
        ConfigError: a repository name that the Hub would not take.
    """
    check_repo_id(config.repo_id, "repo_id")
    report = _report(Path(config.labels_path))
    api = None if config.dry_run else logged_in()
    repo_id = config.repo_id if api is None else with_namespace(api, config.repo_id)
    card = dataset_card(report, repo_id, license=config.license)
    payload: dict[str, bytes | Path] = {
        CARD_FILE: card.encode(),
        REPORT_FILE: json_bytes(report),
        PAGE_FILE: label_page(report).encode(),
    }
    to = Destination(repo_id, config.private, _is_owned, "dataset", private_by_default=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "train.parquet"
        write_rows(data, stepwise_rows(config.labels_path))
        payload[DATA_FILE] = data
        if api is None:
            refuse_secrets(payload)
            return PushResult(repo_id, tuple(sorted(payload)), card, sizes=sizes_of(payload))
        return upload(api, to, payload, config.commit_message)


def stepwise_rows(labels_path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a `labels.jsonl` in TRL's stepwise columns and ours; a row without any decided label is left out,
    for nothing can be learnt from it.

    Raises:
        DataError: a line that is not one of `prm label`'s.
    """
    labels, stepwise = find_format("labels"), find_format("stepwise")
    for line, row in read_rows(labels_path):
        for record in read_records(labels, row, Where(str(labels_path), line), keep_form=False):
            try:
                written = write_row(stepwise, record)
            except NotHeldError:
                continue
            if any(label is not None for label in written["labels"]):
                written.setdefault("unique_id", record.problem.unique_id)
                yield {name: written.get(name) for name in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)}


def _report(path: Path) -> dict[str, Any]:
    """The report beside the labels, without this machine's paths.

    Raises:
        MissingFileError, DataError: see their messages.
    """
    from prm.cards.facts import without_local_paths

    if not path.is_file():
        raise MissingFileError("no such file", path=path, remedy="Give the labels.jsonl of `prm label`")
    if made := data_report(path):
        chosen: dict[str, Any] = without_local_paths(made)
        return chosen
    report = read_json_object(path.with_name(REPORT_FILE))
    if "step_labels" not in report:
        raise DataError(
            "no report of `prm label` beside it, nor a summary of `prm data`",
            path=path,
            remedy="Run the command that wrote it again, and leave what it writes beside it where it is",
        )
    if report.get("data_hash") != file_hash(path):
        raise DataError("changed since its report was written", path=path, remedy="Run the same `prm label` again")
    cleaned: dict[str, Any] = without_local_paths(_completed(report, path))
    return cleaned


def _completed(report: dict[str, Any], path: Path) -> dict[str, Any]:
    """A report with all figures of this version's: merged shards have sums alone, and an older version's has fewer.
    Those that the labels say are found in them.

    Raises:
        DataError: it lacks one that only the run could count.
    """
    if label_report([], {}, "").keys() <= report.keys():
        return report
    if absent := [name for name in ("completions", "distinct_prefixes") if name not in report]:
        raise DataError(
            f"the report beside it is of an older version, which did not count {' and '.join(absent)}",
            path=path,
            remedy="Run the same `prm label` again in another output_dir",
        )
    rows = [LabelledRollout.from_dict(row, path=path, line=line) for line, row in read_jsonl(path)]
    return label_report(rows, {}, str(report.get("grader", ""))) | report


def _is_owned(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _OWNED)
