"""`prm label` with a judge: alone, and in a consensus with completions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.label_report import label_table

from prm.cards.dataset_card import dataset_card
from prm.errors import ConfigError, DataError, EndpointError
from prm.jsonl import read_jsonl, write_jsonl
from prm.labels import LabelledRollout
from prm.rollouts import Outcome, Rollout
from prm.worlds.solver import ChainSolver

Server = Callable[..., Any]


@pytest.fixture
def options(sampled_rollouts: Callable[..., list[Rollout]], tmp_path: Path, tokenizer_dir: Path) -> dict[str, Any]:
    rollouts = sampled_rollouts(ChainSolver(0.2), problems=8, n=2)
    write_jsonl(tmp_path / "rollouts.jsonl", (rollout.to_dict() for rollout in rollouts))
    return {
        "rollouts_path": str(tmp_path / "rollouts.jsonl"),
        "judge_model": "scripted",
        "tokenizer_name_or_path": str(tokenizer_dir),
        "output_dir": str(tmp_path / "out"),
    }


def rows(path: Path) -> list[LabelledRollout]:
    return [LabelledRollout.from_dict(row) for _, row in read_jsonl(path)]


def test_a_judge_needs_no_generator(scripted_server: Server, options: dict[str, Any]) -> None:
    server = scripted_server()
    config = LabelConfig(**options, labeler="judge", judge_urls=[server.url])
    summary = run_label(config)
    assert {label.source for row in rows(summary.path) for label in row.labels} == {"judge"}
    assert summary.report["truth"]["step_accuracy"]["mean"] == 1
    assert summary.report["judge"]["votes"]["decided"] == 16
    table = label_table(summary.report)
    assert "of 16 rollouts, no prefix completed\n" in table and summary.report["decided_by_rollout"] == 0
    assert "votes of the judge: 16 (16 decided)" in table
    card = dataset_card(summary.report, "user/labels")
    assert "| decided | 16 |" in card and "| refused | 0 |" in card
    assert not {"temperature", "top_p", "model_name_or_path", "model_revision"} & summary.report["settings"].keys()
    asked = len(server.log.judged)
    assert run_label(config).repeated
    assert len(server.log.judged) == asked
    with pytest.raises(ConfigError, match="holds a finished run with judge_temperature"):
        run_label(LabelConfig(**options, labeler="judge", judge_urls=[server.url], n_votes=3, judge_temperature=0.7))


def test_a_judge_that_is_not_shown_the_answer_needs_none(scripted_server: Server, options: dict[str, Any]) -> None:
    path = Path(options["rollouts_path"])
    write_jsonl(path, [row | {"answer": ""} for _, row in read_jsonl(path)])
    judge = options | {"labeler": "judge", "judge_urls": [scripted_server().url]}
    with pytest.raises(DataError, match="the answer is empty"):
        run_label(LabelConfig(**judge, judge_sees_answer=True))
    assert run_label(LabelConfig(**judge)).report["truth"]["step_accuracy"]["mean"] == 1


def test_a_judge_and_completions_agree_or_are_left_out(scripted_server: Server, options: dict[str, Any]) -> None:
    server = scripted_server(judge_slip=0.3, slip=0.0)
    summary = run_label(
        LabelConfig(
            **options,
            labeler="consensus",
            consensus_of=["first_error", "judge"],
            backend="endpoint",
            model_name_or_path="scripted",
            endpoint_urls=[server.url],
            judge_urls=[server.url],
            max_new_tokens=96,
        )
    )
    kept = rows(summary.path)
    counts = summary.report["consensus"]
    assert summary.report["judge"]["votes"]["decided"] == 16
    assert "votes of the judge: 16 (16 decided)" in label_table(summary.report)
    assert counts["kept"] == len(kept) and 0 < len(kept) < 16
    assert sum(counts["rejected"].values()) == 16 - len(kept)
    assert summary.report["truth"]["first_error_accuracy"]["mean"] > 0.85
    assert any(row.rollout.outcome is Outcome.WRONG for row in kept)


def test_a_judge_without_servers_is_refused_before_anything_is_asked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="missing judge_urls"):
        run_label(LabelConfig(**options, labeler="judge"))
    nowhere = LabelConfig(**options, labeler="judge", judge_urls=["http://127.0.0.1:9"], max_retries=0)
    with pytest.raises(EndpointError, match="cannot be reached"):
        run_label(nowhere)
