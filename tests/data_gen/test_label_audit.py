"""What `prm label` leaves beside its labels: the page, a truth that is given later, and its progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from prm.data_gen.label import LabelConfig, run_label
from prm.data_gen.label import main as label_main
from prm.data_gen.stage import StageOutput
from prm.data_gen.status import stage_status

from prm.errors import HubError
from prm.generation.hf import HFGenerator
from prm.jsonl import write_jsonl
from prm.problems import Problem
from prm.rollouts import Outcome, Rollout, StopReason

PROBLEM = Problem("7a+5b-3", "9", "p1")  # of no world whose truth is known
STEPS = ("a7+5=12", "b12-3=8", "A: 8")
ROLLOUT = Rollout(PROBLEM, STEPS, ("", "\n", "\n", ""), 0, StopReason.EOS, "t", "8", Outcome.WRONG)


@pytest.fixture
def options(generator_dir: Path, tmp_path: Path) -> dict[str, Any]:
    write_jsonl(tmp_path / "rollouts.jsonl", [ROLLOUT.to_dict()])
    judged = {"id": "1", "problem": PROBLEM.problem, "steps": STEPS, "label": 2, "final_answer_correct": False}
    (tmp_path / "judged.json").write_text(json.dumps([judged]))
    return {
        "rollouts_path": str(tmp_path / "rollouts.jsonl"),
        "n": 3,
        "max_new_tokens": 12,
        "model_name_or_path": str(generator_dir),
        "output_dir": str(tmp_path / "out"),
        "device": "cpu",
    }


def test_a_truth_may_be_given_later_and_nothing_is_asked_again(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = run_label(LabelConfig(**options))
    assert "truth" not in first.report and "Against the truth" not in (out / "label_report.html").read_text()
    labels = first.path.read_bytes()

    def asked(*_: Any, **__: Any) -> None:
        pytest.fail("the generator was asked")

    monkeypatch.setattr(HFGenerator, "generate", asked)
    judged = options | {"truth_path": str(tmp_path / "judged.json")}
    second = run_label(LabelConfig(**judged))
    assert not second.repeated and second.path.read_bytes() == labels
    accuracy = second.report["truth"]["step_accuracy"]  # the last label is known without a completion
    assert second.report["truth_rollouts"] == 1 and accuracy["mean"] == 1 and accuracy["n"] >= 1
    assert "Against the truth" in (out / "label_report.html").read_text()

    page = out / "label_report.html"
    written = page.stat().st_mtime_ns
    assert run_label(LabelConfig(**judged)).repeated and page.stat().st_mtime_ns == written
    page.unlink()
    run_label(LabelConfig(**judged))
    assert page.is_file()


def test_a_run_writes_its_plan_down_and_leaves_none_when_it_is_finished(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out" / "label_progress.json"
    planned: dict[str, Any] = {}

    def write_and_look(output: StageOutput, *arguments: Any) -> dict[str, Any]:
        planned.update(json.loads(path.read_text()))
        return write(output, *arguments)

    write = StageOutput.write
    monkeypatch.setattr(StageOutput, "write", write_and_look)
    run_label(LabelConfig(**options))
    expected = {"requests": 6, "exact": True, "rollouts": 1, "other_bytes": 0}
    assert {name: planned[name] for name in expected} == expected
    assert not path.exists()
    run = stage_status(tmp_path / "out", "label")
    assert (run.state, run.facts["completions"], run.facts["verdicts"]) == ("finished", 6, 6)
    assert "1 rollouts of rollouts.jsonl" in str(run) and "6 requests" in str(run)
    path.write_text(json.dumps(planned))  # killed between the report and the removal
    assert stage_status(tmp_path / "out", "label").state == "finished"
    assert run_label(LabelConfig(**options)).repeated and not path.exists()


def test_a_finished_run_knows_which_requests_are_another_ones(options: dict[str, Any], tmp_path: Path) -> None:
    run_label(LabelConfig(**options))
    run_label(LabelConfig(**options | {"seed": 5, "overwrite": True}))
    run = stage_status(tmp_path / "out", "label")
    assert (run.state, run.facts["requests"], run.facts["completions"]) == ("finished", 6, 6)
    run_label(LabelConfig(**options | {"seed": 5, "n": 4}))  # goes on from it
    assert stage_status(tmp_path / "out", "label").facts["requests"] == 2 * 4


def test_a_missing_token_is_told_before_anything_is_spent(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    arguments = ["--rollouts_path", options["rollouts_path"], "--model_name_or_path", options["model_name_or_path"]]
    with pytest.raises(HubError, match="no Hugging Face token"):
        label_main([*arguments, "--output_dir", str(tmp_path / "out"), "--push_to_hub", "user/labels"])
    assert not (tmp_path / "out").exists()
