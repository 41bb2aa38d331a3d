"""Step labels on the Hub: `prm data push` through the command line to a Hub on loopback, and back by name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prm.data_gen.convert import ConvertConfig, run_convert
from prm.data_gen.curate import CurateConfig, run_curate
from prm.data_gen.push import DatasetPushConfig, push_labels

from prm.cards.dataset_card import dataset_card, dataset_front_matter
from prm.errors import ConfigError, DataError, HubError, MissingFileError, PrmError
from prm.fingerprint import file_hash
from prm.jsonl import read_jsonl, write_json, write_jsonl
from prm.labels import LabelledRollout
from prm.rows.training_rows import load_rows

Run = Callable[..., subprocess.CompletedProcess[str]]

LOAD_BACK = """
import json, sys
from datasets import load_dataset
from prm.rows.training_rows import load_rows

dataset = load_dataset(sys.argv[1], split="train")
loaded = load_rows(sys.argv[1])
print(json.dumps({"columns": dataset.column_names, "rows": len(dataset), "digest": loaded.digest}))
"""


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pushed_labels_load_by_name_and_train_as_their_file_does(hub: Any, hub_python: Run, labels_path: Path) -> None:
    push = ["-m", "prm.cli", "data", "push", "--labels_path", str(labels_path), "--repo_id", "labels"]
    assert f"{hub.url}/datasets/user/labels" in succeed(hub_python(*push))
    repo = hub.repos["datasets/user/labels"]
    assert set(repo.files) == {
        *("README.md", "label_report.json", "label_report.html"),
        "data/train-00000-of-00001.parquet",
    }
    assert repo.private and repo.commits == ["initial commit", "Publish the step labels"]
    report = json.loads(repo.files["label_report.json"])
    assert report["settings"]["model_name_or_path"] == labels_path.parent.parent.name  # no path of this machine
    assert not any(str(labels_path.parent.parent).encode() in content for content in repo.files.values())

    loaded = json.loads(succeed(hub_python("-c", LOAD_BACK, "user/labels")))
    assert loaded["columns"] == ["prompt", "completions", "labels", "n_correct", "n_total", "source", "unique_id"]
    assert (loaded["rows"], loaded["digest"]) == (6, load_rows(labels_path).digest)

    repo.files |= {"data/train-00001-of-00002.parquet": b"old", "notes.md": b"mine"}
    succeed(hub_python(*push))
    assert "notes.md" in repo.files and "data/train-00001-of-00002.parquet" not in repo.files
    commits = list(repo.commits)
    succeed(hub_python(*push))  # nothing changed
    assert repo.commits == commits


def test_the_card_carries_the_report(labels_path: Path) -> None:
    report = json.loads((labels_path.parent / "label_report.json").read_text())
    assert "- **Licence:** not stated by who published it\n" in dataset_card(report, "user/labels")
    card = dataset_card(report, "user/labels", license="mit")
    assert "- **Licence:** `mit`\n" in card
    front = yaml.safe_load(card.split("---\n")[1])
    assert (front["license"], front["size_categories"]) == ("mit", ["n<1K"])
    assert "process-reward-model" in front["tags"] and front["configs"][0]["data_files"][0]["split"] == "train"
    accuracy = report["truth"]["step_accuracy"]
    assert f"{accuracy['mean']:.4g} [{accuracy['low']:.4g}, {accuracy['high']:.4g}]" in card
    assert f"| completions | {report['completions']} |" in card and 'load_dataset("user/labels"' in card
    assert "expected calibration error" in card and "| n | 4 |" in card and "rollouts_hash" not in card
    bare = {name: value for name, value in report.items() if name not in ("truth", "calibration")}
    assert "No truth was known" in dataset_card(bare, "user/labels")
    assert "100K<n<1M" in dataset_front_matter(report | {"rollouts": 445_000}, "user/labels", None)


def test_what_the_report_of_an_older_version_does_not_have_is_left_out(labels_path: Path) -> None:
    """Each fact in turn, and all at once; those that are there stay where they were."""
    report = json.loads((labels_path.parent / "label_report.json").read_text())
    whole, needed = dataset_card(report, "user/labels"), ("rollouts", "step_labels")
    for name in [name for name in report if name not in needed]:
        older = dataset_card({key: value for key, value in report.items() if key != name}, "user/labels")
        assert "None" not in older and len(older.splitlines()) <= len(whole.splitlines()) + 2, name
    older = dataset_card({key: value for key, value in report.items() if key != "cost_per_label"}, "user/labels")
    assert f"| generated tokens | {report['cost']['generated_tokens']} |  |" in older
    bare = dataset_card({name: report[name] for name in needed}, "user/labels")
    assert "| step labels |" in bare and "## Versions" not in bare and "## Values by step" not in bare
    assert "### Settings" not in bare and "**Cost:**" not in bare


def test_labels_of_an_older_version_are_published_whole_or_refused_with_the_remedy(labels_path: Path) -> None:
    path = labels_path.parent / "label_report.json"
    report = json.loads(path.read_text())
    config = DatasetPushConfig(labels_path=str(labels_path), repo_id="user/x", dry_run=True)
    whole = push_labels(config).card
    later = ("cost_per_label", "cost_per_distinct_label", "unknown_labels", "distinct_labels", "values_by_position")
    write_json(path, {name: value for name, value in report.items() if name not in later})
    assert push_labels(config).card == whole  # their labels say it
    write_json(path, {name: value for name, value in report.items() if name != "completions"})
    with pytest.raises(DataError, match="of an older version, which did not count completions"):
        push_labels(config)


def test_a_dry_run_needs_no_hub(labels_path: Path) -> None:
    result = push_labels(DatasetPushConfig(labels_path=str(labels_path), repo_id="user/labels", dry_run=True))
    assert result.url == "" and len(result.files) == 4 and "step labels" in result.card
    assert set(result.sizes) == set(result.files)


def test_a_secret_in_a_row_is_found_before_anything_is_sent(labels_path: Path) -> None:
    rows, secret = [row for _, row in read_jsonl(labels_path)], "hf_" + "a1" * 20
    write_jsonl(labels_path, [rows[0], {**rows[1], "steps": [*rows[1]["steps"][:-1], f"A: {secret}"]}, *rows[2:]])
    report = json.loads((labels_path.parent / "label_report.json").read_text())
    write_json(labels_path.parent / "label_report.json", report | {"data_hash": file_hash(labels_path)})
    with pytest.raises(HubError, match=r"\.parquet, row 2, column completions: .* a Hugging Face token") as refusal:
        push_labels(DatasetPushConfig(labels_path=str(labels_path), repo_id="user/labels", dry_run=True))
    assert secret not in str(refusal.value)


def test_merged_shards_whose_report_has_sums_alone_are_described_from_their_labels(labels_path: Path) -> None:
    path = labels_path.parent / "label_report.json"
    report = json.loads(path.read_text())
    sums = ("rollouts", "step_labels", "completions", "cost", "unknown_labels", "distinct_prefixes", "data_hash")
    write_json(path, {name: report[name] for name in (*sums, "settings", "shared_prefixes", "decided_by_rollout")})
    card = push_labels(DatasetPushConfig(labels_path=str(labels_path), repo_id="user/x", dry_run=True)).card
    assert f"| completions | {report['completions']} |" in card
    assert f"{report['truth']['step_accuracy']['mean']:.4g}" in card


def test_rows_without_any_known_label_are_left_out(labels_path: Path) -> None:
    from prm.data_gen.push import stepwise_rows

    rows = [row for _, row in read_jsonl(labels_path)]
    unknown = [{"source": "monte_carlo"} for _ in rows[0]["labels"]]
    write_jsonl(labels_path, [{**rows[0], "labels": unknown}, *rows[1:]])
    assert len(list(stepwise_rows(labels_path))) == len(rows) - 1
    assert LabelledRollout.from_dict(rows[1]).rollout.steps == tuple(next(stepwise_rows(labels_path))["completions"])


def without_report(path: Path) -> None:
    (path.parent / "label_report.json").unlink()


def changed(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def absent(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "options", "error", "message"),
    [
        (absent, {}, MissingFileError, "no such file"),
        (without_report, {}, DataError, "no report of `prm label` beside it"),
        (changed, {}, DataError, "changed since its report was written"),
        (None, {"repo_id": "a/b/c"}, ConfigError, "'a/b/c' cannot be a repository's name"),
    ],
)
def test_what_cannot_be_published_is_one_message(
    labels_path: Path,
    spoil: Callable[[Path], None] | None,
    options: dict[str, Any],
    error: type[PrmError],
    message: str,
) -> None:
    if spoil is not None:
        spoil(labels_path)
    with pytest.raises(error, match=message):
        push_labels(
            DatasetPushConfig(**{"labels_path": str(labels_path), "repo_id": "user/x", "dry_run": True} | options)
        )


def test_without_a_token_nothing_is_asked(hub: Any, hub_python: Run, labels_path: Path) -> None:
    push = ["-m", "prm.cli", "data", "push", "--labels_path", str(labels_path), "--repo_id", "user/labels"]
    done = hub_python(*push, token=None)
    assert done.returncode == 2 and "no Hugging Face token" in done.stderr and not hub.requests


def test_curated_labels_are_published_with_what_was_left_out_and_why(labels_path: Path, tmp_path: Path) -> None:
    rows = [row for _, row in read_jsonl(labels_path)]
    write_jsonl(labels_path, [*rows, rows[0]])
    report = json.loads((labels_path.parent / "label_report.json").read_text())
    write_json(labels_path.parent / "label_report.json", report | {"data_hash": file_hash(labels_path)})
    curated = tmp_path / "curated.jsonl"
    run_curate(CurateConfig(input_path=[str(labels_path)], output_path=str(curated)))
    card = push_labels(DatasetPushConfig(labels_path=str(curated), repo_id="user/x", dry_run=True)).card or ""
    assert "**Chosen from:** 6 of 7 solutions in `labels.jsonl`" in card
    assert "| left out: an exact duplicate | 1 |" in card and "| dedup | normalised |" in card
    assert "Monte Carlo completions of every prefix" in card and "| n | 4 |" in card  # as its own report says
    assert "| completions |" not in card and str(tmp_path) not in card
    curated.write_text(curated.read_text() + "\n")
    with pytest.raises(DataError, match="changed since its summary was written"):
        push_labels(DatasetPushConfig(labels_path=str(curated), repo_id="user/x", dry_run=True))


def test_converted_labels_are_published_and_other_formats_refused_with_the_remedy(tmp_path: Path) -> None:
    source = tmp_path / "steps.jsonl"
    write_jsonl(source, [{"prompt": "1+1?", "completions": ["1+1=2", "2"], "labels": [True, False]}])
    for form in ("labels", "stepwise"):
        run_convert(ConvertConfig(input_path=str(source), output_path=str(tmp_path / f"{form}.jsonl"), to_format=form))
    converted = DatasetPushConfig(labels_path=str(tmp_path / "labels.jsonl"), repo_id="user/x", dry_run=True)
    assert "**Converted from:** 1 of 1 solutions in `steps.jsonl` (stepwise)" in (push_labels(converted).card or "")
    converted.labels_path = str(tmp_path / "stepwise.jsonl")
    with pytest.raises(DataError, match="with --to labels"):
        push_labels(converted)


def test_how_searches_ended_is_on_the_card(labels_path: Path) -> None:
    report = json.loads((labels_path.parent / "label_report.json").read_text())
    found = {"searches": 40, "below_confidence": 7, "nothing_decided": 2}
    card = dataset_card(report | {"first_error": found}, "user/labels")
    assert "| ended less sure than asked for | 7 |" in card
    assert "searches for the first wrong step" not in dataset_card(report, "user/labels")
