"""`docs/labels.md` says what is true: its labelers are there, its commands run and leave what it lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.labelers import LABELERS

from prm.jsonl import read_jsonl
from prm.labels import LabelledRollout
from tests.guides import ROOT, Page, run, run_all

GUIDE = Page("docs/labels.md")
RECIPE = "recipes/arithmetic/label.yaml"


def labels(name: str) -> list[LabelledRollout]:
    return [LabelledRollout.from_dict(row) for _, row in read_jsonl(Path("runs") / name / "labels.jsonl")]


def test_every_labeler_is_in_the_table() -> None:
    assert {row[0].strip("`") for row in GUIDE.rows("`--labeler`")} == set(LABELERS)


def test_its_commands_run(
    scripted_server: Callable[..., Any], tokenizer_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").symlink_to(ROOT / "recipes")
    Path("gsm8k_test.jsonl").write_text('{"question": "7a+5b-3", "answer": "#### 9"}\n')
    rollout = "prm rollout --config recipes/arithmetic/rollout.yaml --num_problems 6 --output_dir runs/rollouts"
    run(rollout.split())
    judge = f"--judge_model scripted --tokenizer_name_or_path {tokenizer_dir}"
    run_all(
        GUIDE.commands(),
        {
            RECIPE: f"{RECIPE} --n 4",
            "--judge_model my-judge": judge,
            "http://localhost:8000/v1": scripted_server(judge_slip=0.1).url,
        },
    )
    assert len(labels("labels")) == len(labels("first_error")) == len(labels("judge")) == 24
    assert 0 < len(labels("consensus")) <= 24 < len(labels("omega"))
    assert Path("runs/all/labels.jsonl").read_bytes() == Path("runs/labels/labels.jsonl").read_bytes()
    assert {label.source for row in labels("judge") for label in row.labels} == {"judge"}
    beside = ("ms.convert.json", "curated.curate.json", "curated.eval.jsonl", "curated.rejected.jsonl")
    assert all(Path(name).is_file() for name in beside)
    assert len(list(read_jsonl(Path("train.jsonl")))) == 24
