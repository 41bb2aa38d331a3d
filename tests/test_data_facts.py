"""What a training file's own report says of it, as long as it is the report of this content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from prm.rows.facts import data_facts, problem_set

ACCURACY = {"mean": 0.9, "low": 0.88, "high": 0.92, "n": 100}


def written(directory: Path, stage: str, settings: dict[str, Any], **others: Any) -> Path:
    """A data file and the report beside it, as the stages write them."""
    data = directory / f"{stage}s.jsonl"
    data.write_text(f"{stage}\n")
    content = hashlib.sha256(data.read_bytes()).hexdigest()[:16]
    report = {"settings": settings, "data_hash": content, **others}
    (directory / f"{stage}_report.json").write_text(json.dumps(report))
    return data


def test_labels_say_what_they_were_made_of_and_how_right_they_are(tmp_path: Path) -> None:
    settings = {"labeler": "monte_carlo", "model_name_or_path": "gen13", "n": 8}
    labels = written(tmp_path, "label", settings, problem_set="gsm8k, train", truth={"step_accuracy": ACCURACY})
    assert data_facts(labels) == {
        "problem_set": "gsm8k, train",
        "generator": "gen13",
        "completions_per_step": 8,
        "label_accuracy": ACCURACY,
    }


def test_rollouts_name_their_problem_set(tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.touch()
    settings = {"dataset_name": "arithmetic", "dataset_split": "train", "model_name_or_path": None, "n": 4}
    rollouts = written(tmp_path, "rollout", settings)
    assert data_facts(rollouts) == {"problem_set": "arithmetic, train", "solutions_per_problem": 4}
    assert problem_set(written(tmp_path, "rollout", settings | {"dataset_name": str(problems)})) == "problems.jsonl"


def test_a_report_of_another_content_says_nothing(tmp_path: Path) -> None:
    labels = written(tmp_path, "label", {"labeler": "monte_carlo", "n": 8})
    labels.write_text("edited\n")
    assert data_facts(labels) == {}
    (tmp_path / "label_report.json").write_text("{")
    assert data_facts(labels) == data_facts("user/dataset") == {} and problem_set(labels) is None
