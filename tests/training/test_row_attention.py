"""A prompt that is computed once gives the scores, losses and gradients of prompts computed for each solution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from prm.encoding import EncodedDataset, encode_rows
from prm.errors import ConfigError
from prm.heads import TokenClassificationHead, read_at_positions
from prm.rows.training_rows import StepRow
from prm.step_format import PromptFormat, StepFormat
from prm.training.batch_text import rows_of_batch
from prm.training.batching import EncodedPairs, GlobalBatchSampler, StepCollator
from prm.training.config import VerifierConfig
from prm.training.row_attention import ROW_ATTENTION, attend_by_rows, why_not_by_rows
from prm.training.trainer import VerifierTrainer

Rows = Callable[..., list[StepRow]]
FORMAT = StepFormat(PromptFormat("check the sums that start from {problem}\n"))
READ = ("input_ids", "position_ids", "segments", "positions")
ARCHITECTURES = ("Qwen2", "Qwen3", "Llama", "Mistral", "Gemma", "Qwen2Moe", "Phi3", "GPTNeoX")
SLIDING = ("Qwen2", "Qwen2Moe", "Mistral", "Phi3")
WINDOWS = {"sliding_window": 24, "use_sliding_window": True, "max_window_layers": 1}


@pytest.fixture
def encoded(tokenizer: Any, make_rows: Rows) -> EncodedDataset:
    """Three solutions each of four problems."""
    return encode_rows(make_rows(12, per_problem=3), FORMAT, tokenizer, kind="prm", max_length=256)


def tiny(architecture: str, **others: Any) -> Any:
    """A token classifier with two layers; windows of 24 tokens where the architecture has any."""
    torch.manual_seed(0)
    config_class = getattr(transformers, f"{architecture}Config")
    keys: dict[str, Any] = {
        "vocab_size": 512,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "initializer_range": 0.3,
        "num_labels": 2,
        "classifier_dropout": 0.0,
        "pad_token_id": 0,
        **(WINDOWS if architecture in SLIDING else {}),
        **others,
    }
    model = transformers.AutoModelForTokenClassification.from_config(config_class(**keys), dtype=torch.float32)
    read_at_positions(model, TokenClassificationHead())
    return model.train()


def read(model: Any, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits at the score positions, and the gradient of their squares' sum."""
    model.zero_grad()
    logits = model(**{name: batch[name] for name in READ if name in batch}).logits[batch["targets"] != -100]
    logits.square().sum().backward()
    return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_shared_prompt_gives_the_same_logits_and_gradients(architecture: str, encoded: EncodedDataset) -> None:
    model = tiny(architecture)
    padded, shared = StepCollator(0)(encoded.rows), StepCollator(0, share_prompts=True)(encoded.rows)
    logits, gradient = read(model, padded)
    attend_by_rows(model)
    found, own = read(model, shared)
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)
    assert own.keys() == gradient.keys()
    for name, value in gradient.items():
        assert (own[name] - value).norm() <= 1e-5 * value.norm() + 1e-6, name
    again, _ = read(model, padded)  # what is not in segments is computed as ever
    torch.testing.assert_close(again, logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_padding_rows_are_apart_by_segments_or_by_positions(attention: str, encoded: EncodedDataset) -> None:
    model = tiny("Mistral", attn_implementation=attention)
    logits, gradient = read(model, StepCollator(0)(encoded.rows))
    if why_not_by_rows(model) is None:
        attend_by_rows(model)
    assert (model.config._attn_implementation == ROW_ATTENTION) == (attention == "sdpa")
    found, own = read(model, StepCollator(0, padding_free=True)(encoded.rows))
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)
    for name, value in gradient.items():
        assert (own[name] - value).norm() <= 1e-5 * value.norm() + 1e-6, name


def test_windows_are_those_of_the_solution_and_not_of_the_batch(encoded: EncodedDataset) -> None:
    """Else the sliding attention of the test above would not have mattered."""
    assert min(len(row.input_ids) for row in encoded.rows) > 24
    wide, narrow = tiny("Mistral", sliding_window=None), tiny("Mistral")
    batch = StepCollator(0, share_prompts=True)(encoded.rows)
    attend_by_rows(wide), attend_by_rows(narrow)
    assert (read(wide, batch)[0] - read(narrow, batch)[0]).abs().max() > 0.01


def test_with_padding_on_the_left_a_model_still_heeds_its_mask() -> None:
    model = tiny("Qwen2").eval()
    ids = torch.randint(1, 500, (1, 9))
    alone = model(ids).logits
    attend_by_rows(model)
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], 1)
    mask = (padded > 0).long()
    mask[:, 4:] = 1
    places = (mask.cumsum(1) - 1).clamp(min=0)
    found = model(padded, attention_mask=mask, position_ids=places).logits[:, 4:]
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)


def test_a_shared_prompt_is_there_once_and_rows_are_told_apart(encoded: EncodedDataset) -> None:
    rows = [*encoded.rows[:5], encoded.rows[9]]  # three of a problem, two of another, one alone
    batch = StepCollator(0, share_prompts=True)(rows)
    prompts = [row.prompt_length for row in rows]
    assert batch["input_ids"].numel() == sum(len(row.input_ids) for row in rows) - 2 * prompts[0] - prompts[3]
    assert batch["length"].sum() == batch["input_ids"].numel()
    assert [before for _, before in batch["segments"]] == [-1, 0, 0, 0, -1, 4, 4, -1]
    flat = batch["input_ids"].flatten()
    for row, found in zip(rows, rows_of_batch(batch, prompts), strict=True):
        assert list(found.input_ids) == row.input_ids.tolist() and found.padding == 0
        assert list(found.positions) == row.positions.tolist() and list(found.targets) == row.targets.tolist()
    for row, positions in zip(rows, batch["positions"], strict=True):
        assert flat[positions[: len(row.positions)]].tolist() == row.input_ids[row.positions].tolist()


def test_pairs_share_their_prompt(encoded: EncodedDataset) -> None:
    pairs = EncodedPairs(encoded, [(0, 1), (3, 5)])
    assert pairs.groups.tolist() == [0, 1]
    batch = StepCollator(0, share_prompts=True)([pairs[0], pairs[1]])
    assert [before for _, before in batch["segments"]] == [-1, 0, 0, -1, 3, 3]
    blank = StepCollator(0, share_prompts=True)([pairs[2]])  # fills the last global batch
    assert blank["input_ids"].numel() == 2 and blank["length"].sum() == 0


def config(output_dir: Path, **others: Any) -> VerifierConfig:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 6,
        "train_sampling_strategy": "sequential",
        "max_steps": 3,
        "learning_rate": 0.05,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "max_length": 128,
        "report_to": "none",
        "implicit_beta": 0.5,
    }
    return VerifierConfig(output_dir=str(output_dir), use_cpu=True, disable_tqdm=True, **(settings | others))


@pytest.mark.parametrize(
    "keys",
    [
        {"objective": "prm", "activation_checkpointing": True},
        {"objective": "reward_tokens"},
        {"objective": "orm", "loss": "bradley_terry", "per_device_train_batch_size": 3},
        {"objective": "implicit_prm", "implicit_beta": 0.5},
        {"objective": "prm", "lora": True, "activation_checkpointing": True},
    ],
    ids=lambda keys: "-".join(map(str, keys.values())),
)
def test_training_is_the_same_with_shared_prompts(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, keys: dict[str, Any]
) -> None:
    from peft import LoraConfig

    runs = []
    lora = keys.get("lora")
    keys = {name: value for name, value in keys.items() if name != "lora"}
    rows = make_rows(30, per_problem=3)
    for share in (1, 3):
        adapter = LoraConfig(r=2, target_modules="all-linear") if lora else None
        arguments = config(tmp_path, share_prompts=share, **keys)
        trainer: Any = VerifierTrainer(
            str(base_dir()), arguments, train_dataset=rows, eval_dataset=rows[:9], peft_config=adapter
        )
        trainer.train()
        logs = [log for log in trainer.state.log_history if "loss" in log]
        runs.append(([log["loss"] for log in logs], [log["grad_norm"] for log in logs], trainer.evaluate()))
        ran = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])["input_ids"]
        assert ("segments" in trainer.data_collator([trainer.train_dataset[0]])) == (share > 1) == (len(ran) == 1)
        assert all(0 <= log["padding_share"] < 1 and (log["padding_share"] == 0) == (share > 1) for log in logs)
    (losses, norms, metrics), (own_losses, own_norms, own_metrics) = runs
    assert len(losses) == 3 and own_losses == pytest.approx(losses, rel=1e-5)
    assert own_norms == pytest.approx(norms, rel=1e-5)
    same = {name for name in metrics if not name.endswith(("runtime", "per_second"))}
    assert {n: own_metrics[n] for n in same} == pytest.approx({n: metrics[n] for n in same}, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("strategy", ["random", "group_by_length"])
def test_rollouts_of_a_problem_stay_together_under_every_split(strategy: Any) -> None:
    groups = [i // 5 for i in range(40)]  # five rollouts of each, in bundles of four and one
    lengths = [(17 * i) % 31 + 1 for i in range(40)]

    def order(shard: int, epoch: int = 0) -> list[int]:
        return list(
            GlobalBatchSampler(
                lengths,
                global_batch=8,
                shard=shard,
                strategy=strategy,
                epoch=lambda: epoch,
                groups=groups,
                together=4,
            )
        )

    assert sorted(order(8)) == list(range(40)) and order(8) == order(2) != order(8, epoch=1)
    changes = sum(groups[a] != groups[b] for a, b in zip(order(8), order(8)[1:], strict=False))
    assert 7 <= changes < 20  # of 39; two bundles a problem, a few of them cut by the end of a global batch


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: tiny("Qwen2", attn_implementation="eager"), "has eager"),
        (
            lambda: transformers.MambaForCausalLM(transformers.MambaConfig(num_hidden_layers=1, hidden_size=8)),
            "a state",
        ),
        (
            lambda: transformers.BertForTokenClassification(
                transformers.BertConfig(num_hidden_layers=1, hidden_size=8, num_attention_heads=2)
            ),
            "looks ahead",
        ),
    ],
)
def test_models_that_cannot_share_are_refused(model: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"share_prompts: .*{message}.*leave them off"):
        attend_by_rows(model())


def test_fewer_rows_than_one_cannot_stay_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from 1 up, not 0"):
        config(tmp_path, share_prompts=0)


def test_a_window_that_no_layer_tells_of_is_refused(encoded: EncodedDataset) -> None:
    model = tiny("Llama", **WINDOWS)
    attend_by_rows(model)
    with pytest.raises(ConfigError, match="a window of 24 in LlamaAttention"):
        read(model, StepCollator(0, share_prompts=True)(encoded.rows))


def test_a_model_that_was_not_prepared_is_refused(encoded: EncodedDataset) -> None:
    with pytest.raises(ConfigError, match="attend_by_rows"):
        read(tiny("Qwen2"), StepCollator(0, share_prompts=True)(encoded.rows))
