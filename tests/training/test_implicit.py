"""An implicit PRM: trained on outcomes, its step scores are log-ratios to a reference that does not move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prm.errors import ConfigError, ModelError
from prm.heads import load_tokenizer
from prm.rows.training_rows import StepRow
from prm.step_format import StepFormat
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer
from prm.verifier import Verifier

BETA = 0.5


def config(output_dir: Path, **others: Any) -> VerifierConfig:
    settings: dict[str, Any] = {
        "objective": "implicit_prm",
        "implicit_beta": BETA,
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": 0.02,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    return VerifierConfig(output_dir=str(output_dir), use_cpu=True, disable_tqdm=True, **(settings | others))


def outcomes(rows: list[StepRow]) -> list[StepRow]:
    return [replace(row, labels=(None,) * (len(row.labels) - 1) + row.labels[-1:]) for row in rows]


def log_ratio(policy: Any, reference: Any, tokenizer: Any, problem: str, steps: list[str]) -> list[float]:
    """Token by token, from the definition: sum of log pi - log pi_ref over the solution, up to each step's end."""
    encoded = StepFormat().encode(problem, steps, tokenizer)
    ids = torch.tensor([encoded.input_ids])
    total, found = 0.0, []
    with torch.no_grad():
        logs = [model(ids).logits[0].log_softmax(-1) for model in (policy, reference)]
    for t in range(encoded.prompt_length, len(encoded.input_ids)):
        token = encoded.input_ids[t]
        total += float(logs[0][t - 1, token] - logs[1][t - 1, token])
        if t in encoded.score_positions:
            found.append(total)
    return found


def test_scores_are_the_papers_log_ratios(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path, tokenizer: Any
) -> None:
    from transformers import AutoModelForCausalLM

    rows = outcomes(make_rows(16))
    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=rows)
    first = trainer.compute_loss(trainer.model.eval(), trainer.data_collator(trainer.train_dataset.rows))
    assert first.item() == pytest.approx(torch.tensor(2.0).log().item(), abs=1e-5)  # the model is its own reference
    trainer.train()
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    assert verifier.spec.head == "implicit" and verifier.spec.beta == BETA
    policy = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    reference = AutoModelForCausalLM.from_pretrained(base_dir()).eval()
    solutions = [("12", ["12+1=13", "13+2=16", "16"]), ("7", ["7+7=14"])]
    scored = verifier.score_batch(*zip(*solutions, strict=True))
    for (problem, steps), scores in zip(solutions, scored, strict=True):
        ratios = torch.tensor(log_ratio(policy, reference, tokenizer, problem, steps))
        assert scores == pytest.approx((BETA * ratios).sigmoid().tolist(), abs=1e-5)
        assert len(scores) == len(steps)


def test_only_the_outcome_is_learnt_from(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    rows = outcomes(make_rows(4))
    policy = AutoModelForCausalLM.from_pretrained(base_dir())
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    trainer: Any = VerifierTrainer(policy, config(tmp_path), train_dataset=rows)
    loss = trainer.compute_loss(trainer.model.eval(), trainer.data_collator(trainer.train_dataset.rows))
    reference = AutoModelForCausalLM.from_pretrained(base_dir()).eval()
    expected = 0.0
    for row in rows:
        ratio = log_ratio(policy.eval(), reference, trainer.processing_class, row.prompt, list(row.completions))[-1]
        label = torch.tensor(row.labels[-1])
        expected += float(torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(BETA * ratio), label))
    assert loss.item() == pytest.approx(expected / len(rows), rel=1e-4)


def test_padding_free_batches_and_lora_read_the_same_log_ratios(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path
) -> None:
    from peft import LoraConfig

    rows = outcomes(make_rows(9))
    losses = []
    for padding_free in (False, True):
        adapter = LoraConfig(r=2, target_modules="all-linear")
        arguments = config(tmp_path / str(padding_free), padding_free=padding_free, learning_rate=0.1)
        trainer: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=rows, peft_config=adapter)
        trainer.train()
        losses.append([log["loss"] for log in trainer.state.log_history if "loss" in log])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert losses[0][-1] != losses[0][0]
    trainer.save_model()
    assert (tmp_path / "True" / "adapter_model.safetensors").exists()
    found = torch.tensor(trainer.predict(rows).predictions).sigmoid()
    verifier = Verifier.from_pretrained(tmp_path / "True", dtype="float32", device="cpu")
    for row, scores in zip(rows, found, strict=True):
        assert verifier.score(row.prompt, row.completions) == pytest.approx(
            scores[: len(row.completions)].tolist(), abs=1e-5
        )


def test_a_lost_reference_and_another_vocabulary_are_named(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path
) -> None:
    import shutil

    rows = outcomes(make_rows(4))
    gone = tmp_path / "gone"
    shutil.copytree(base_dir(), gone)
    trainer: Any = VerifierTrainer(str(gone), config(tmp_path / "out"), train_dataset=rows)
    trainer.save_model()
    shutil.rmtree(gone)
    with pytest.raises(ModelError, match=r"its scores are log-ratios to .*gone"):
        Verifier.from_pretrained(tmp_path / "out", device="cpu")
    other = tmp_path / "other"
    shutil.copytree(base_dir(), other)
    tokenizer = load_tokenizer(str(other))
    tokenizer.add_tokens(["<another>"])
    tokenizer.save_pretrained(other)
    with pytest.raises(ModelError, match="one vocabulary"):
        VerifierTrainer(str(base_dir()), config(tmp_path, reference_model_name_or_path=str(other)), train_dataset=rows)
    with pytest.raises(ConfigError, match="goes with objective implicit_prm"):
        config(tmp_path, objective="prm", reference_model_name_or_path="embedded:base")
