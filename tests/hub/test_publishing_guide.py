"""`docs/publishing.md` says what is true: its commands run, against the Hub on loopback, and leave what it lists."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prm.fingerprint import fingerprint
from prm.jsonl import write_json, write_jsonl
from prm.scoring_spec import ScoringSpec
from tests.guides import Page, run

GUIDE = Page("docs/publishing.md")


@pytest.fixture
def runs(tmp_path: Path, tiny_verifier_dir: Callable[..., Path], labels_path: Path) -> Path:
    """A folder with the runs that the page publishes."""
    prm, base = tiny_verifier_dir(), tiny_verifier_dir("prm", "reward_tokens")
    shutil.copytree(prm, tmp_path / "runs" / "prm")
    shutil.copytree(labels_path.parent, tmp_path / "runs" / "labels")
    write_json(tmp_path / "runs" / "prm" / "train_metrics.json", {"hyperparameters": {"seed": 0}})
    (tmp_path / "runs" / "prm" / "train_report.html").write_text("<p>training</p>")
    facts = {"kind": "prm", "control": False, "fingerprint": fingerprint(prm), "quality": {}}
    run = {"version": 2, "dataset": "x", "num_problems": 1, "baseline": "majority", "methods": [], "n": 4}
    write_json(tmp_path / "runs" / "eval" / "results.json", {**run, "verifiers": {"prm": facts}})
    (tmp_path / "runs" / "eval" / "report.html").write_text("<p>what it is worth</p>")
    rows = [
        {"id": str(index), "problem": f"{index}a+5b", "steps": ["a7+5=12", "A: 12"], "label": label}
        | {"final_answer_correct": label < 0}
        for index, label in enumerate((-1, 0, 1))
    ]
    write_jsonl(tmp_path / "processbench" / "gsm8k.json", rows)
    lora(base, tmp_path / "runs" / "lora")
    return tmp_path


def lora(base: Path, folder: Path) -> None:
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    config = LoraConfig(task_type=TaskType.TOKEN_CLS, r=2, target_modules=["q_proj"])
    adapted: Any = get_peft_model(model, config)
    adapted.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    ScoringSpec(kind="prm", head="token_classification").save(folder)


def test_every_command_runs_and_the_repository_holds_what_is_listed(
    logged_in: Any,
    hub_python: Callable[..., subprocess.CompletedProcess[str]],
    runs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(runs)
    logged_in.add_repo("you/base", {})
    found = GUIDE.commands()
    assert [command[:2] for command in found] == [["prm", name] for name in ("push", "bench", *["push"] * 3)]
    run(found[0])
    assert "── model.safetensors" in capsys.readouterr().out and set(logged_in.repos) == {"you/base"}
    for command in found[1:]:
        run(command)
    assert set(logged_in.repos) == {
        *("you/base", "you/my-prm", "datasets/you/my-prm-labels", "you/my-lora-prm", "you/my-merged-prm")
    }
    published = set(logged_in.repos["you/my-prm"].files)
    rows = GUIDE.rows("in the repository")
    listed = {name for row in rows for name in re.findall(r"`([\w.]+\.\w+)`", row[0])}
    assert listed <= published and "processbench_report.html" in listed
    assert logged_in.repos["you/my-prm"].private
    assert "datasets:\n- you/my-prm-labels\n" in logged_in.repos["you/my-prm"].files["README.md"].decode()
    assert "adapter_config.json" in logged_in.repos["you/my-lora-prm"].files
    assert "model.safetensors" in logged_in.repos["you/my-merged-prm"].files

    (script,) = GUIDE.blocks("python")
    (runs / "runs").rename(runs / "elsewhere")  # what it loads is the Hub's
    done = hub_python("-c", script)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split(",")) == 2  # one score a step
