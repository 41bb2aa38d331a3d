"""What a stage's output directory knows about itself: the settings that made it, and whether it is finished.

The report beside a data file holds the settings and the data file's hash. The same settings and an untouched data file
mean that there is nothing to do; other settings are named, one by one, before the stage runs again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prm.jsonl import dumps, write_json, write_jsonl
from prm.run_record import RunRecord

logger = logging.getLogger(__name__)

# Options that say where and how fast, not what.
NO_SETTINGS = frozenset({"output_dir", "device", "batch_tokens", "max_batch_rows", "num_workers"})


def config_settings(config: Any) -> dict[str, Any]:
    """The options of a config that decide what comes out."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in NO_SETTINGS}


def content_hash(rows: Iterable[Any]) -> str:
    """16 hex digits that identify JSON values."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(dumps(row).encode() + b"\n")
    return digest.hexdigest()[:16]


def file_hash(path: str | Path) -> str:
    """16 hex digits that identify a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class StageOutput:
    """The files of one stage.

    Attributes:
        directory: the stage's `output_dir`.
        data_name: its data file, such as `rollouts.jsonl`.
        report_name: its report, such as `rollout_report.json`.
        settings: everything that decides what comes out, model revision and input hash included.
    """

    directory: Path
    data_name: str
    report_name: str
    settings: dict[str, Any]

    @property
    def data_path(self) -> Path:
        return self.directory / self.data_name

    @property
    def report_path(self) -> Path:
        return self.directory / self.report_name

    def finished_report(self) -> dict[str, Any] | None:
        """The report of a finished run with the same settings, or `None`. Settings that changed are logged."""
        if not self.report_path.is_file() or not self.data_path.is_file():
            return None
        try:
            report: dict[str, Any] = json.loads(self.report_path.read_text(encoding="utf-8"))
            before, data_hash = report["settings"], report["data_hash"]
        except (ValueError, KeyError, TypeError):
            return None
        after = json.loads(dumps(self.settings))
        changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
        if changed:
            differences = ", ".join(f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in changed)
            logger.warning(
                "%s: made with other settings (%s); it is made anew, samples that still fit are reused",
                self.data_path,
                differences,
            )
        elif data_hash != file_hash(self.data_path):
            logger.warning("%s: changed since it was written; it is made anew from the ledger", self.data_path)
        else:
            return report
        return None

    def write(
        self, rows: Iterable[dict[str, Any]], report: dict[str, Any], record: RunRecord, run_facts: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the data file, then the run record, and last the report that declares the stage finished."""
        write_jsonl(self.data_path, rows)
        record.write(self.directory, run_facts, name=self.report_name.replace("report", "run"))
        report = {**report, "settings": self.settings, "data_hash": file_hash(self.data_path)}
        write_json(self.report_path, report)
        return report
