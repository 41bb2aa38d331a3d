"""`prm push` end to end: through the command line to a Hub on loopback, and back by repository name."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from prm import Verifier

PROBLEM, STEPS = "7a+5b-3c*2", ["a7+5=12", "b12-3=8", "c8*2=16", "A: 16"]  # the card's example, a mistake in it
Run = Callable[..., subprocess.CompletedProcess[str]]

LOAD_BACK = """
import json, sys, torch
from transformers import AutoModelForTokenClassification, pipeline
from prm import Verifier

repo_id, ids, positions = sys.argv[1], *map(json.loads, sys.argv[2:])
model = AutoModelForTokenClassification.from_pretrained(repo_id, dtype=torch.float32).eval()
with torch.no_grad():
    plain = model(input_ids=torch.tensor([ids])).logits[0, positions].softmax(-1)[:, 1].tolist()
tagger = pipeline("token-classification", model=repo_id, dtype=torch.float32, ignore_labels=[])
steps = ["a7+5=12", "b12-3=8", "c8*2=16", "A: 16"]
text = "7a+5b-3c*2\\n" + "".join(step + "\\n" for step in steps)
tags = tagger(text)
named = {name: label for label, name in model.config.id2label.items()}
right = [tag["score"] if named[tag["entity"]] == 1 else 1 - tag["score"] for tag in tags]
tagged = [float(right[position]) for position in positions]
ours = Verifier.from_pretrained(repo_id).score("7a+5b-3c*2", ["a7+5=12", "b12-3=8", "c8*2=16", "A: 16"])
print(json.dumps({"plain": plain, "ours": ours, "tagged": tagged}))
"""

LOAD_ADAPTER = """
import json, sys, torch
from peft import AutoPeftModelForSequenceClassification
from prm import Verifier

model = AutoPeftModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=1, dtype=torch.float32).eval()
with torch.no_grad():
    plain = model(input_ids=torch.tensor([json.loads(sys.argv[2])])).logits.sigmoid().flatten().tolist()
ours = Verifier.from_pretrained(sys.argv[1]).score("7a+5b-3c*2", ["a7+5=12", "b12-3=8", "c8*2=16", "A: 16"])
print(json.dumps([*plain, *ours]))
"""


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def outputs_in(card: str) -> list[list[float]]:
    """What the card says its snippets printed."""
    return [json.loads(part.split("\n```")[0]) for part in card.split("```text\n")[1:]]


def test_a_pushed_prm_loads_by_name_and_scores_as_its_directory_does(
    hub: Any, hub_python: Run, tiny_verifier_dir: Callable[..., Path]
) -> None:
    directory = tiny_verifier_dir(label_source="monte_carlo", label_view="hard")
    for name in ("training_args.bin", "trainer_state.json", "events.out.tfevents.1"):
        (directory / name).write_bytes(b"x")
    (directory / "checkpoint-7").mkdir()
    (directory / "checkpoint-7" / "optimizer.pt").write_bytes(b"x")

    push = ["-m", "prm.cli", "push", "--model", str(directory), "--repo_id", "user/my-prm", "--private"]
    assert f"{hub.url}/user/my-prm" in succeed(hub_python(*push))

    repo = hub.repos["user/my-prm"]
    uploaded = {"config.json", "model.safetensors", "scoring_spec.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(repo.files) == uploaded | {"README.md"}
    assert all(repo.files[name] == (directory / name).read_bytes() for name in uploaded)
    assert repo.private and repo.commits == ["initial commit", "Publish the verifier"]

    verifier = Verifier.from_pretrained(directory, device="cpu")
    local = verifier.score(PROBLEM, STEPS)
    encoded = verifier.encode(PROBLEM, STEPS)
    back = hub_python("-c", LOAD_BACK, "user/my-prm", str(encoded.input_ids), str(encoded.score_positions))
    loaded = json.loads(succeed(back))
    assert loaded["plain"] == pytest.approx(local, abs=1e-6)
    assert loaded["ours"] == pytest.approx(local, abs=1e-6)
    assert loaded["tagged"] == pytest.approx(local, abs=1e-4)  # a text in one piece is the same ids here

    card = repo.files["README.md"].decode()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert (metadata["library_name"], metadata["pipeline_tag"]) == ("transformers", "token-classification")
    assert all(printed == pytest.approx(local, abs=1e-4) for printed in outputs_in(card))
    assert len(outputs_in(card)) == 2 and str(directory) not in card


def test_a_pushed_adapter_names_its_base_on_the_hub_and_loads_with_its_head(
    hub: Any, hub_python: Run, tiny_verifier_dir: Callable[..., Path], tokenizer: Any
) -> None:
    directory = lora_orm(tiny_verifier_dir, tokenizer)
    base = Path(json.loads((directory / "adapter_config.json").read_text())["base_model_name_or_path"])
    hub.add_repo("user/base", {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()})

    push = ["-m", "prm.hub", "--model", str(directory), "--repo_id", "my-orm", "--base_model", "user/base"]
    succeed(hub_python(*push))

    repo = hub.repos["user/my-orm"]  # the namespace is the token's
    assert "adapter_model.safetensors" in repo.files and not repo.private
    assert json.loads(repo.files["adapter_config.json"])["base_model_name_or_path"] == "user/base"
    metadata = yaml.safe_load(repo.files["README.md"].decode().split("---\n")[1])
    assert (metadata["library_name"], metadata["base_model"]) == ("peft", "user/base")

    verifier = Verifier.from_pretrained(directory, device="cpu")
    ids = verifier.encode(PROBLEM, STEPS).input_ids
    loaded = json.loads(succeed(hub_python("-c", LOAD_ADAPTER, "user/my-orm", str(ids))))
    assert loaded == pytest.approx(verifier.score(PROBLEM, STEPS) * 2, abs=1e-6)


def lora_orm(tiny_verifier_dir: Callable[..., Path], tokenizer: Any) -> Path:
    """An ORM adapter with a random head, on a base model in a directory of its own."""
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForSequenceClassification

    from prm.scoring_spec import ScoringSpec

    base = tiny_verifier_dir("prm", "reward_tokens")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    directory = base.parent / f"{base.name}-lora"
    adapted: Any = get_peft_model(model, lora)
    adapted.save_pretrained(directory)
    assert any("score" in name for name in load_file(directory / "adapter_model.safetensors"))
    tokenizer.save_pretrained(directory)
    ScoringSpec(kind="orm", head="sequence_classification").save(directory)
    return directory
