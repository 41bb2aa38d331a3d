"""The trainer's loss is the plain mean over units, its runs resume, and what it saves scores as it trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import TrainerCallback, TrainingArguments

from prm.errors import ConfigError, DataError, ModelError
from prm.rows.training_rows import StepRow
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer
from prm.verifier import Verifier
from prm.worlds.models import embedded_model

Rows = Callable[..., list[StepRow]]
KINDS: list[Literal["prm", "orm"]] = ["prm", "orm"]


def config(output_dir: Path, **others: Any) -> VerifierConfig:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "learning_rate": 0.05,
        "optim": "sgd",
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "max_length": 128,
    }
    return VerifierConfig(output_dir=str(output_dir), use_cpu=True, disable_tqdm=True, **(settings | others))


class FirstGradient(TrainerCallback):
    """Keeps the gradient of the first optimiser step."""

    def __init__(self) -> None:
        self.gradient: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **others: Any) -> None:
        if not self.gradient:
            self.gradient = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def losses(trainer: Any) -> list[float]:
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_step_is_the_plain_mean_over_labelled_units(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, kind: Literal["prm", "orm"]
) -> None:
    rows = [*make_rows(5), StepRow("x", ("1+1=2", "2+2=5"), (0.9, None), "x"), StepRow("y", ("1=1",), (0.3,), "y")]
    rows = [row for row in rows if kind == "prm" or row.labels[-1] is not None]
    first = FirstGradient()
    arguments = config(tmp_path, objective=kind, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    trainer: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=rows, callbacks=[first])
    model: Any = VerifierTrainer(str(base_dir()), config(tmp_path, objective=kind)).model
    total, units = torch.zeros(()), 0
    for row in rows:  # one by one, with torch's own losses
        encoded = trainer.step_format.encode(row.prompt, row.completions, trainer.processing_class)
        logits = model(torch.tensor([encoded.input_ids])).logits[0]
        known = [(p, y) for p, y in zip(encoded.score_positions, row.labels, strict=True) if y is not None]
        for position, y in known[-1:] if kind == "orm" else known:
            if kind == "orm":
                total = total + binary_cross_entropy_with_logits(logits, torch.tensor([y]))
            else:
                total = total + cross_entropy(logits[position], torch.tensor([1 - y, y]))
            units += 1
    (total / units).backward()
    trainer.train()
    assert losses(trainer)[0] == pytest.approx((total / units).item(), rel=1e-5)
    close(first.gradient, {n: p.grad for n, p in model.named_parameters() if p.grad is not None})


def test_without_a_mask_scores_are_those_with_one(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=make_rows(6))
    batch = trainer.data_collator(trainer.train_dataset.rows)
    width = batch["input_ids"].shape[1]
    lengths = torch.tensor([len(row.input_ids) for row in trainer.train_dataset.rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    known = batch["targets"] >= 0
    plain = trainer._logits(trainer.model, batch)[known]
    masked = trainer._logits(trainer.model, {**batch, "attention_mask": mask})[known]
    torch.testing.assert_close(plain, masked)
    assert lengths.min() < width


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_scores_as_it_trained(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, kind: Literal["prm", "orm"], lora: bool
) -> None:
    """The verifier reads the same ids at the same positions, and a LoRA brings its head (TRL 1.13 left it behind)."""
    from peft import LoraConfig

    rows = make_rows(16)
    arguments = config(
        tmp_path, objective=kind, prompt_template="check {problem}\n", aggregation="min", learning_rate=0.5
    )
    adapter = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False) if lora else None
    trainer: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=rows, peft_config=adapter)
    before = {n: p.clone() for n, p in trainer.model.named_parameters() if "score" in n and p.requires_grad}
    trainer.train()
    assert any(not torch.equal(p, before[n]) for n, p in trainer.model.named_parameters() if n in before)
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    assert verifier.spec == trainer.scoring_spec() and verifier.spec.aggregation == "min"
    assert verifier.spec.label_source == "truth"
    predicted = torch.tensor(trainer.predict(rows).predictions).sigmoid()
    for index, row in enumerate(rows):
        encoded, trained = verifier.encode(row.prompt, row.completions), trainer.train_dataset.rows[index]
        assert encoded.input_ids == trained.input_ids.tolist()
        assert encoded.score_positions[-len(trained.positions) :] == trained.positions.tolist()
        scores = verifier.score(row.prompt, row.completions)
        assert scores == pytest.approx(predicted[index, : len(scores)].tolist(), abs=2e-5)


def test_plain_transformers_loads_a_prm(base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=make_rows(8))
    trainer.train()
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    scores = verifier.score("12", ["12+3=15", "15+1=17"])
    text = "12\n12+3=15\n15+1=17\n"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    found: Any = pipeline(
        "token-classification", model=str(tmp_path), tokenizer=tokenizer, ignore_labels=[], device="cpu"
    )(text)
    at_newlines = [token for token in found if text[token["start"]] == "\n"][1:]
    for token, score in zip(at_newlines, scores, strict=True):
        assert token["entity"] == ("correct" if score >= 0.5 else "wrong")
        assert float(token["score"]) == pytest.approx(max(score, 1 - score), abs=1e-5)
    model = AutoModelForTokenClassification.from_pretrained(tmp_path)
    logits = model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
    assert logits[-1, 1].item() == pytest.approx(scores[-1], abs=1e-5)


def test_plain_transformers_loads_an_orm(base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path) -> None:
    from transformers import pipeline

    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path, objective="orm"), train_dataset=make_rows(8))
    trainer.train()
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    (score,) = verifier.score("12", ["12+3=15"])
    (found,) = pipeline("text-classification", model=str(tmp_path), device="cpu")("12\n12+3=15\n")
    assert found["label"] == "correct" and found["score"] == pytest.approx(score, abs=1e-5)


class Stop(TrainerCallback):
    """Ends the process's training as a kill would, after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("stop", [4, 11])
def test_a_run_that_goes_on_logs_the_losses_of_one_that_was_not_cut(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, stop: int
) -> None:
    from peft import LoraConfig

    rows = make_rows(37)  # 5 steps an epoch, saved in the middle of the logging windows and of the second epoch

    def trainer(directory: str, *callbacks: TrainerCallback) -> Any:
        arguments = config(
            tmp_path / directory,
            num_train_epochs=3,
            optim="adamw_torch",
            lr_scheduler_type="linear",
            logging_steps=5,
            save_strategy="steps",
            save_steps=3,
            gradient_accumulation_steps=2,
            per_device_train_batch_size=4,
        )
        adapter = LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.2)
        torch.manual_seed(0)
        return VerifierTrainer(
            str(base_dir()), arguments, train_dataset=rows, peft_config=adapter, callbacks=list(callbacks)
        )

    whole = trainer("whole")
    whole.train()
    cut = trainer("cut", Stop(stop))
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    resumed = trainer("cut")
    resumed.train(resume_from_checkpoint=True)
    assert losses(resumed) == losses(whole)
    final = dict(whole.model.named_parameters())
    for name, parameter in resumed.model.named_parameters():
        assert torch.equal(parameter, final[name]), name


def test_every_checkpoint_is_a_verifier(base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path) -> None:
    arguments = config(tmp_path, save_strategy="steps", save_steps=1, step_separator=";")
    VerifierTrainer(str(base_dir()), arguments, train_dataset=make_rows(10)).train()
    checkpoint = Verifier.from_pretrained(tmp_path / "checkpoint-1", device="cpu")
    assert checkpoint.spec.step_format.step_separator == ";"
    assert len(checkpoint.score("12", ["a", "b"])) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_in_training_logs_its_metrics(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, kind: Literal["prm", "orm"]
) -> None:
    rows, held_out = make_rows(16), make_rows(40, per_problem=4, seed=1)
    arguments = config(tmp_path, objective=kind, eval_strategy="epoch", per_device_eval_batch_size=3)
    trainer: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=rows, eval_dataset=held_out)
    trainer.train()
    (logged,) = [log for log in trainer.state.log_history if "eval_loss" in log]
    names = {"prm": {"step_accuracy", "first_error_f1"}, "orm": {"accuracy"}}[kind] | {"auroc", "auroc_within"}
    assert {f"eval_{name}" for name in names} <= logged.keys()
    batch = trainer.data_collator(trainer.encode(held_out).rows)
    with torch.no_grad():
        exact = trainer.compute_loss(trainer.model.eval(), batch)
    assert logged["eval_loss"] == pytest.approx(exact.item(), rel=1e-5)
    bars = trainer.final_evaluation()
    assert bars["loss"]["value"] == pytest.approx(exact.item(), rel=1e-5)
    assert bars["loss"]["low"] < bars["loss"]["value"] < bars["loss"]["high"]


def test_datasets_of_trls_columns_train_too(base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path) -> None:
    import datasets

    rows = make_rows(8)
    table = datasets.Dataset.from_list(
        [{"prompt": r.prompt, "completions": list(r.completions), "labels": list(r.labels)} for r in rows]
    )
    arguments = config(tmp_path, train_sampling_strategy="sequential")
    from_rows: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=rows)
    from_table: Any = VerifierTrainer(
        str(base_dir()), arguments, train_dataset=table, eval_dataset={"a": table, "b": table.select(range(3))}
    )
    assert from_table.train_dataset.tokens.tolist() == from_rows.train_dataset.tokens.tolist()
    assert {"eval_a_loss", "eval_b_loss"} <= from_table.evaluate().keys()
    with pytest.raises(DataError, match="dataset, line 1: no 'labels'"):
        VerifierTrainer(str(base_dir()), arguments, train_dataset=table.remove_columns("labels"))


def test_settings_that_would_change_the_loss_are_refused(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="label_smoothing_factor"):
        config(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(ConfigError, match="train_sampling_strategy must be"):
        config(tmp_path, train_sampling_strategy="batch_rebalance")
    with pytest.raises(ConfigError, match="padding token"):
        VerifierTrainer(str(base_dir()), config(tmp_path, step_separator="<pad>"), train_dataset=make_rows(2))
    with pytest.raises(ConfigError, match="has no chat template"):
        VerifierTrainer(str(base_dir()), config(tmp_path, chat=True), train_dataset=make_rows(2))
    with pytest.raises(ConfigError, match="train_dataset is empty"):
        VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=[])
    with pytest.raises(ConfigError, match=r"args is a TrainingArguments; give a prm\.VerifierConfig"):
        VerifierTrainer(str(base_dir()), TrainingArguments(str(tmp_path)), train_dataset=make_rows(2))  # type: ignore


def test_an_embedded_model_is_a_base_by_its_name(make_rows: Rows, tmp_path: Path) -> None:
    trainer = VerifierTrainer("embedded:base", config(tmp_path), train_dataset=make_rows(2))
    assert trainer.base_model == str(embedded_model("base"))


def test_a_checkpoint_that_was_cut_off_while_it_was_saved_is_not_gone_on_from(tmp_path: Path) -> None:
    from prm.training.run import last_checkpoint

    assert last_checkpoint(tmp_path) is None
    for step, state in [(5, json.dumps({})), (10, json.dumps({})), (15, '{"epoch": 1'), (20, None)]:
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_an_adapter_knows_its_base_from_another_of_the_same_shape(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    base, adapter, other = tmp_path / "base", tmp_path / "adapter", tmp_path / "other"
    shutil.copytree(base_dir(), base)
    lora = LoraConfig(r=2, target_modules="all-linear")
    trainer: Any = VerifierTrainer(str(base), config(adapter), train_dataset=make_rows(8), peft_config=lora)
    trainer.train()
    trainer.save_model()
    in_half = Verifier.from_pretrained(adapter, dtype="bfloat16", device="cpu")  # rounding is no other base
    assert in_half.score("12", ["12+3=15"])
    model = AutoModelForCausalLM.from_pretrained(base)
    model.get_input_embeddings().weight.data.add_(0.1)
    model.save_pretrained(other)
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": str(other)}))
    with pytest.raises(ModelError, match=r"an adapter of another base than .*other, .* restore them"):
        Verifier.from_pretrained(adapter, device="cpu")
    with pytest.raises(ModelError, match="an adapter of another base"):
        VerifierTrainer(str(adapter), config(tmp_path / "more"), train_dataset=make_rows(8))


@pytest.mark.parametrize("again", [False, True], ids=["in full", "as an adapter"])
@pytest.mark.parametrize("objective", ["prm", "reward_tokens", "orm"])
def test_training_goes_on_from_an_adapter_and_what_is_saved_scores_as_it_trained(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, objective: str, again: bool
) -> None:
    from peft import LoraConfig

    rows = make_rows(8)
    extra: dict[str, Any] = {"reward_tokens": ["-", "+"]} if objective == "reward_tokens" else {}
    start: Any = str(base_dir())
    for name, lora in (("first", True), ("second", again)):
        adapter = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False) if lora else None
        settings = config(tmp_path / name, objective=objective, learning_rate=0.1, **extra)
        trainer: Any = VerifierTrainer(start, settings, train_dataset=rows, peft_config=adapter)
        before = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if p.requires_grad}
        trainer.train()
        assert any(not torch.equal(p, before[n]) for n, p in trainer.model.named_parameters() if n in before)
        trainer.save_model()
        start = str(tmp_path / name)
    assert (tmp_path / "second" / "adapter_config.json").is_file() == again
    verifier = Verifier.from_pretrained(start, dtype="float32", device="cpu")
    predicted = torch.tensor(trainer.predict(rows).predictions).sigmoid()
    for row, expected in zip(rows, predicted, strict=True):
        scores = verifier.score(row.prompt, row.completions)
        assert scores == pytest.approx(expected[: len(scores)].tolist(), abs=2e-5)


def test_an_adapter_of_a_language_model_is_no_start_for_another_class(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    from peft import LoraConfig

    rows = make_rows(8)
    tokens = {"objective": "reward_tokens", "reward_tokens": ["-", "+"]}
    for name, lora in (("adapter", LoraConfig(r=2, target_modules="all-linear")), ("full", None)):
        trainer: Any = VerifierTrainer(
            str(base_dir()), config(tmp_path / name, **tokens), train_dataset=rows, peft_config=lora
        )
        trainer.save_model()
    with pytest.raises(ModelError, match="with a reward_tokens head, and objective 'prm' trains a token_class"):
        VerifierTrainer(str(tmp_path / "adapter"), config(tmp_path / "more"), train_dataset=rows)
    with pytest.warns(UserWarning, match="starts from its weights, and its scores are not kept"):
        VerifierTrainer(str(tmp_path / "full"), config(tmp_path / "more"), train_dataset=rows)


def test_a_run_that_was_killed_after_its_last_step_takes_no_other(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    """Killed while the last evaluation ran: the step that transformers would take once more is another model."""
    rows = make_rows(12)
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 4, "learning_rate": 0.1}  # 6 steps an epoch
    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path, **settings), train_dataset=rows)
    trainer.train()
    weights = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    again: Any = VerifierTrainer(str(base_dir()), config(tmp_path, **settings), train_dataset=rows)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 4
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.model.state_dict().items())
