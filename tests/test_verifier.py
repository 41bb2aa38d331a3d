"""The verifier against plain transformers: the same scores, whatever the batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from prm import Verifier
from prm.errors import ConfigError, DataError, FormatError, MissingFileError, ModelError
from prm.scoring_spec import SPEC_FILE, ScoringSpec

ITEMS = [
    ("7+5-3", ["7+5=12", "12-3=9", "A: 9"]),
    ("50-3", ["50-3=47"]),
    ("50-3-33-7-4", ["50-3=47", "47-33=14", "14-7=7", "7-4=3", "A: 3"]),
]


def test_prm_scores_equal_plain_transformers(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir()
    verifier = Verifier.from_pretrained(directory)
    plain = AutoModelForTokenClassification.from_pretrained(directory).eval()
    for problem, steps in ITEMS:
        encoded = verifier.encode(problem, steps)
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([encoded.input_ids])).logits[0, encoded.score_positions]
        assert verifier.score(problem, steps) == pytest.approx(logits.softmax(-1)[:, 1].tolist(), abs=1e-6)


def test_orm_gives_one_score_and_it_equals_plain_transformers(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir("orm", "sequence_classification")
    verifier = Verifier.from_pretrained(directory)
    plain = AutoModelForSequenceClassification.from_pretrained(directory).eval()
    for problem, steps in ITEMS:
        ids = torch.tensor([verifier.encode(problem, steps).input_ids])
        with torch.no_grad():
            expected = plain(input_ids=ids).logits.sigmoid().item()
        assert verifier.score(problem, steps) == pytest.approx([expected], abs=1e-6)


def test_reward_token_scores_are_a_softmax_over_two_next_tokens(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir("prm", "reward_tokens")
    verifier = Verifier.from_pretrained(directory)
    plain = AutoModelForCausalLM.from_pretrained(directory).eval()
    bad, good = verifier.tokenizer.convert_tokens_to_ids(["-", "+"])
    problem, steps = ITEMS[0]
    encoded = verifier.encode(problem, steps)
    with torch.no_grad():
        logits = plain(input_ids=torch.tensor([encoded.input_ids])).logits[0, encoded.score_positions]
    expected = torch.sigmoid(logits[:, good] - logits[:, bad]).tolist()
    assert verifier.score(problem, steps) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 60, 100_000])
def test_scores_do_not_depend_on_the_batch(tiny_verifier_dir: Callable[..., Path], batch_tokens: int) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir(), batch_tokens=batch_tokens)
    batched = verifier.score_batch([p for p, _ in ITEMS * 3], [s for _, s in ITEMS * 3])
    for scores, (problem, steps) in zip(batched, ITEMS * 3, strict=True):
        assert scores == pytest.approx(verifier.score(problem, steps), abs=1e-5)


def test_scores_of_a_prefix_do_not_change_when_steps_follow(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    problem, steps = ITEMS[2]
    full = verifier.score(problem, steps)
    for n in range(1, len(steps)):
        assert verifier.score(problem, steps[:n]) == pytest.approx(full[:n], abs=1e-6)


def test_the_tokens_read_are_counted(tiny_verifier_dir: Callable[..., Path]) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir())
    for (problem, steps), scored in zip(ITEMS, verifier.score_solutions(ITEMS), strict=True):
        assert scored.tokens == len((problem + "\n" + "\n".join(steps) + "\n").encode())


def test_parameters_leave_out_an_embedding_that_is_only_looked_up(tiny_verifier_dir: Callable[..., Path]) -> None:
    prm = Verifier.from_pretrained(tiny_verifier_dir())
    embedding = prm.model.get_input_embeddings().weight.numel()
    assert prm.num_parameters == sum(p.numel() for p in prm.model.parameters()) - embedding
    zero_shot = Verifier.from_pretrained(tiny_verifier_dir("prm", "reward_tokens"))
    assert zero_shot.num_parameters == sum(p.numel() for p in zero_shot.model.parameters())


def test_bad_input_is_refused_with_the_remedy(tiny_verifier_dir: Callable[..., Path], tmp_path: Path) -> None:
    verifier = Verifier.from_pretrained(tiny_verifier_dir(max_length=20))
    with pytest.raises(FormatError, match="no step to score"):
        verifier.score("7+5", [])
    with pytest.raises(FormatError, match="longer than the verifier's max_length of 20"):
        verifier.score(*ITEMS[2])
    with pytest.raises(FormatError, match="one problem per solution"):
        verifier.score_batch(["7+5"], [])
    with pytest.raises(MissingFileError, match=r"none: no such verifier directory\. Check the path"):
        Verifier.from_pretrained(tmp_path / "none")
    with pytest.raises(ConfigError, match="dtype must be one of auto, float32, bfloat16, float16, not 'float33'"):
        Verifier.from_pretrained(tmp_path, dtype="float33")
    with pytest.raises(DataError, match="no scoring spec"):
        Verifier.from_pretrained(tmp_path)
    ScoringSpec(kind="prm", head="token_classification").save(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded as a token_classification model"):
        Verifier.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("problem", "steps", "message"),
    [
        ("7+5", "7+5=12", "steps are a list of texts, not a str: '7\\+5=12'; split a solution"),
        ("7+5", None, "steps are a list of texts, not a NoneType"),
        ("7+5", ["7+5=12", 12], "a step is a text, not a int: 12"),
        (7, ["7+5=12"], "a problem is a text, not a int: 7"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(
    tiny_verifier_dir: Callable[..., Path], problem: Any, steps: Any, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        Verifier.from_pretrained(tiny_verifier_dir()).score(problem, steps)


def test_a_checkpoint_without_its_head_is_refused(tiny_verifier_dir: Callable[..., Path]) -> None:
    directory = tiny_verifier_dir("prm", "reward_tokens")  # a causal language model with tied embeddings
    assert Verifier.from_pretrained(directory).score(*ITEMS[1])
    ScoringSpec(kind="prm", head="token_classification").save(directory)
    with pytest.raises(ModelError, match=r"no weights for score\.bias, score\.weight in it, .* would be random"):
        Verifier.from_pretrained(directory)


@pytest.mark.parametrize("saved", [True, False])
def test_an_adapter_must_bring_the_head_that_its_base_lacks(
    tiny_verifier_dir: Callable[..., Path], tmp_path: Path, saved: bool
) -> None:
    base = tiny_verifier_dir("prm", "reward_tokens")
    model = AutoModelForTokenClassification.from_pretrained(base, num_labels=2)
    lora = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["score"] if saved else None)
    get_peft_model(model, lora).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path)
    ScoringSpec(kind="prm", head="token_classification").save(tmp_path)
    if saved:
        loaded = Verifier.from_pretrained(tmp_path).score(*ITEMS[1])
        assert loaded == Verifier.from_pretrained(tmp_path).score(*ITEMS[1])
    else:
        with pytest.raises(ModelError, match=r"no weights for score\.bias, score\.weight"):
            Verifier.from_pretrained(tmp_path)


@pytest.mark.parametrize("damage", ["cut short", "of another shape"])
def test_damaged_weights_are_one_message(tiny_verifier_dir: Callable[..., Path], damage: str) -> None:
    directory = tiny_verifier_dir()
    weights = directory / "model.safetensors"
    if damage == "cut short":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        tensors = load_file(weights)
        save_file(tensors | {"score.weight": torch.zeros(2, 8)}, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="cannot be loaded as a token_classification model"):
        Verifier.from_pretrained(directory)


def test_an_embedded_model_is_a_verifier_by_its_name() -> None:
    assert Verifier.from_pretrained("embedded:base").name == "base"


def test_a_spec_survives_the_round_trip_and_refuses_other_versions(tmp_path: Path) -> None:
    spec = ScoringSpec(kind="prm", head="reward_tokens", reward_tokens=("-", "+"), label_source="monte_carlo")
    spec.save(tmp_path)
    assert ScoringSpec.load(tmp_path) == spec
    path = tmp_path / SPEC_FILE
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(DataError, match="version 99"):
        ScoringSpec.load(tmp_path)
    with pytest.raises(ModelError, match="orm cannot be read with a token_classification head"):
        ScoringSpec(kind="orm", head="token_classification")
