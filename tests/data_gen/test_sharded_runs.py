"""Stages run in shards and merged give what the undivided run gives, for every labeler by continuation: all bytes, but
for a prompt read once for several requests, which another of them pays where they are asked in other company."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import run_label
from prm.data_gen.label_config import LabelConfig
from prm.data_gen.label_report import label_table
from prm.data_gen.merge import MergeConfig, run_merge
from prm.data_gen.merge_audit import merged_figures
from prm.data_gen.rollout import RolloutConfig, run_rollout
from prm.data_gen.rollout_report import rollout_table

from prm.errors import ConfigError
from prm.generation.base import Generator
from prm.jsonl import read_jsonl, write_jsonl
from prm.worlds.solver import ChainSolver

SHARED = {"model_name_or_path": "solver", "max_new_tokens": 200}
ROLLOUT = {"dataset_name": "arithmetic", "num_problems": 11, "n": 4, "splitter": "line", **SHARED}


@pytest.fixture(autouse=True)
def solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stage samples from a solver with a chance of a slip."""

    def load(self: Any) -> Generator:
        return ChainSolver(0.15)

    for config in (RolloutConfig, LabelConfig):
        monkeypatch.setattr(config, "load_generator", load)
        monkeypatch.setattr(config, "model_settings", lambda self: {"model_name_or_path": "solver"})


def merged(run: Callable[[str, Path], Path], folder: Path, count: int = 3, **options: str) -> Path:
    """Run all shards, each in a directory of its own, and merge them."""
    paths = [run(f"{index}/{count}", folder / f"shard-{index}") for index in range(1, count + 1)]
    output = folder / "merged" / paths[0].name
    run_merge(MergeConfig(input_paths=[str(path) for path in reversed(paths)], output_path=str(output), **options))
    return output


def rows(path: Path) -> list[dict[str, Any]]:
    """Lines in order, the tokens of prompts counted together, whether read or found in a cache."""
    rows = [row for _, row in read_jsonl(path)]
    for row in rows:
        cost = row.get("label_cost", {})
        cost["prompt_tokens"] = cost.pop("prefilled_tokens", 0) + cost.pop("cached_tokens", 0)
    return rows


def rollouts(shard: str, directory: Path) -> Path:
    return run_rollout(RolloutConfig(**ROLLOUT, shard=shard, output_dir=str(directory))).path


def test_merged_rollouts_are_those_of_the_undivided_run(tmp_path: Path) -> None:
    whole = rollouts("", tmp_path / "whole")
    assert merged(rollouts, tmp_path).read_bytes() == whole.read_bytes()
    assert len(whole.read_text().splitlines()) == 44


def test_shards_without_a_problem_are_finished_and_merge(tmp_path: Path) -> None:
    """11 problems in 12 shards; the last has none to sample, and so no rollout to label."""
    whole = rollouts("", tmp_path / "whole")
    assert merged(rollouts, tmp_path, count=12).read_bytes() == whole.read_bytes()
    empty = run_rollout(RolloutConfig(**ROLLOUT, shard="12/12", output_dir=str(tmp_path / "shard-12")))
    assert empty.repeated and rollout_table(empty.report) == "0 rollouts of 0 problems"
    config = LabelConfig(
        rollouts_path=str(whole), **SHARED, labeler="monte_carlo", shard="12/12", output_dir=str(tmp_path / "none")
    )
    summary = run_label(config)
    assert summary.path.read_bytes() == b"" and summary.report["step_labels"] == 0
    assert label_table(summary.report) == "no rollout was labelled"
    assert (tmp_path / "none" / "label_report.html").is_file()


@pytest.mark.parametrize("labeler", ["monte_carlo", "first_error", "omega", "consensus"])
def test_a_shard_that_labels_nothing_is_a_finished_one(labeler: str, tmp_path: Path) -> None:
    """Of a single problem, the second shard has none."""
    write_jsonl(tmp_path / "one.jsonl", [row for _, row in read_jsonl(rollouts("1/11", tmp_path / "rollouts"))])
    options = {"consensus_of": ["monte_carlo", "first_error"]} if labeler == "consensus" else {}

    def label(shard: str, directory: Path) -> Path:
        path = str(tmp_path / "one.jsonl")
        config = LabelConfig(
            rollouts_path=path, **SHARED, labeler=labeler, **options, shard=shard, output_dir=str(directory)
        )
        return run_label(config).path

    together = merged(label, tmp_path, count=2)
    assert (tmp_path / "shard-2" / "labels.jsonl").read_bytes() == b""
    assert together.read_bytes() == (tmp_path / "shard-1" / "labels.jsonl").read_bytes() != b""


@pytest.mark.parametrize(
    "options",
    [
        {"labeler": "monte_carlo", "rule": "interval"},
        {"labeler": "first_error"},  # its pass rates are those of all problems, whatever the shard
        {"labeler": "omega", "searches": 5},  # new rows stand behind those of their problem
        {"labeler": "consensus", "consensus_of": ["monte_carlo", "first_error"]},  # some rollouts make no row
    ],
    ids=lambda options: str(options["labeler"]),
)
def test_merged_labels_are_those_of_the_undivided_run(options: dict[str, Any], tmp_path: Path) -> None:
    path = str(rollouts("", tmp_path / "rollouts"))

    def label(shard: str, directory: Path) -> Path:
        config = LabelConfig(rollouts_path=path, **SHARED, **options, shard=shard, output_dir=str(directory))
        return run_label(config).path

    whole = label("", tmp_path / "whole")
    together = merged(label, tmp_path)
    assert rows(together) == rows(whole)
    reports = [json.loads((path.parent / "label_report.json").read_text()) for path in (whole, together)]
    figures = ("truth", "calibration", "by_position", "step_labels", "rules", "distinct_labels")
    figures += ("truncated_share", "unparsable_share", "timeout_share", "known_labels")
    for name in (*figures, "tokens_per_label", "tokens_per_distinct_label", "consensus", "agreement", "first_error"):
        assert reports[0].get(name) == reports[1].get(name), name
    assert ("agreement" in reports[1]) == (options["labeler"] == "consensus")
    if options["labeler"] == "consensus":
        left_out, merged_out = (rows(path.parent / "label_rejected.jsonl") for path in (whole, together))
        assert left_out == merged_out != []
    assert (together.parent / "label_report.html").is_file()


def test_merged_labels_are_measured_against_the_file_that_the_shards_were(tmp_path: Path) -> None:
    path = rollouts("", tmp_path / "rollouts")
    marked = [row for _, row in read_jsonl(path)]
    for row in marked:  # a file in which somebody calls every step right
        row["labels"] = [{"source": "person", "value": 1.0} for _ in row["steps"]]
    write_jsonl(tmp_path / "truth.jsonl", marked)
    truth = str(tmp_path / "truth.jsonl")

    def label(shard: str, directory: Path) -> Path:
        config = LabelConfig(
            rollouts_path=str(path), **SHARED, n=2, truth_path=truth, shard=shard, output_dir=str(directory)
        )
        return run_label(config).path

    whole = json.loads((label("", tmp_path / "whole").parent / "label_report.json").read_text())
    together = json.loads((merged(label, tmp_path, truth_path=truth).parent / "label_report.json").read_text())
    assert together["truth"] == whole["truth"] and together["truth"]["wrong_base_rate"]["mean"] == 0
    with pytest.raises(ConfigError, match=r"measured against truth.jsonl: give that file as --truth_path"):
        merged(label, tmp_path)
    with pytest.raises(ConfigError, match="measured without a file: leave out --truth_path"):
        merged(rollouts, tmp_path / "more", truth_path=truth)


def test_votes_and_shares_of_shards_are_pooled() -> None:
    votes = [{"accepted": 5, "refused": 1}, {"accepted": 2, "refused": 0}, {"accepted": 0, "refused": 0}]
    shares, unanimous = [0.25, 0.0, None], [2 / 3, 1.0, None]
    reports = [
        {"completions": c, "truncated_share": t, "judge": {"n_votes": 2, "votes": v, "unanimous_share": u}}
        for c, t, v, u in zip([8, 2, 0], shares, votes, unanimous, strict=True)
    ]
    found = merged_figures(reports)
    assert found["truncated_share"] == 0.2
    assert found["judge"] == {"n_votes": 2, "votes": {"accepted": 7, "refused": 1}, "unanimous_share": 0.75}
