"""After training, held-out rows decide temperature, threshold and fold; all of it travels with the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prm.calibration import HIGHEST
from prm.errors import ConfigError, DataError
from prm.metrics.predictions import Predictions
from prm.rows.training_rows import StepRow
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer
from prm.verifier import Verifier

Rows = Callable[..., list[StepRow]]


def config(output_dir: Path, **others: Any) -> VerifierConfig:
    settings: dict[str, Any] = {
        "num_train_epochs": 6,
        "learning_rate": 0.05,
        "save_strategy": "no",
        "aggregation": "held_out",
    }
    return VerifierConfig(output_dir=str(output_dir), use_cpu=True, disable_tqdm=True, **(settings | others))


@pytest.mark.parametrize("objective", ["prm", "orm", "reward_tokens", "implicit_prm"])
@pytest.mark.parametrize("lora", [False, True])
def test_what_held_out_rows_decide_is_what_the_saved_verifier_scores_with(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, objective: str, lora: bool
) -> None:
    from peft import LoraConfig

    rows, held_out = make_rows(40, per_problem=2), make_rows(60, per_problem=4, seed=1)
    if objective in ("orm", "implicit_prm"):
        rows, held_out = ([outcome(row) for row in part] for part in (rows, held_out))
    adapter = LoraConfig(r=2, target_modules="all-linear") if lora else None
    trainer: Any = VerifierTrainer(
        str(base_dir()), config(tmp_path, objective=objective), train_dataset=rows, eval_dataset=held_out,
        peft_config=adapter,
    )  # fmt: skip
    trainer.train()
    before = trainer.predict(held_out).predictions
    settled = trainer.settle()
    assert settled.calibration is not None and settled.calibration.n > 0
    assert (settled.temperature != 1) == (settled.calibration.helps and not settled.calibration.reason)
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    assert verifier.spec.threshold == settled.threshold and verifier.spec.aggregation == settled.aggregation
    calibrated = 1 / (1 + np.exp(np.clip(-before / settled.temperature, -700, 700)))
    for row, scores in zip(held_out[:8], calibrated, strict=False):
        found = verifier.score(row.prompt, row.completions)
        assert found == pytest.approx(scores[: len(found)].tolist(), abs=2e-5)


def outcome(row: StepRow) -> StepRow:
    from dataclasses import replace

    return replace(row, labels=(None,) * (len(row.labels) - 1) + row.labels[-1:])


def test_an_overconfident_head_is_calibrated_for_plain_loaders(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    from transformers import AutoModelForTokenClassification

    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=make_rows(40))
    draw = np.random.default_rng(0)
    hard = draw.integers(0, 2, size=(80, 3)).astype(float)
    margins = 8 * (draw.normal(size=hard.shape) + 2 * hard - 1)
    settled = trainer.settle(Predictions(margins, hard, hard, np.arange(80), np.zeros(80, int), ("truth",)))
    assert settled.temperature > 2 and settled.calibration.nll_after < settled.calibration.nll_before
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    assert verifier.spec.temperature == 1.0  # it is in the weights
    encoded = verifier.encode("12", ["12+1=13"])
    plain = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        score = plain(torch.tensor([encoded.input_ids])).logits[0, -1].softmax(-1)[1].item()
    assert verifier.score("12", ["12+1=13"])[0] == pytest.approx(score, abs=1e-6)


def test_without_held_out_rows_the_label_source_chooses_the_fold(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    trainer = VerifierTrainer(str(base_dir()), config(tmp_path, aggregation="auto"), train_dataset=make_rows(8))
    spec = trainer.scoring_spec()
    assert (spec.aggregation, spec.threshold) == ("min", 0.5)  # the rows say "truth", which is about each step
    assert trainer.settle().temperature == 1.0
    given = VerifierTrainer(
        str(base_dir()), config(tmp_path, aggregation="prod", threshold=0.25), train_dataset=make_rows(8)
    ).scoring_spec()
    assert (given.aggregation, given.threshold) == ("prod", 0.25)


def test_the_best_checkpoint_and_early_stopping_follow_a_metric(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    arguments = config(
        tmp_path,
        metric_for_best_model="ece",
        load_best_model_at_end=True,
        early_stopping_patience=1,
        eval_strategy="steps",
        save_strategy="steps",
        eval_steps=1,
        save_steps=1,
        learning_rate=0.3,
        num_train_epochs=20,
    )
    assert arguments.greater_is_better is False
    trainer: Any = VerifierTrainer(
        str(base_dir()), arguments, train_dataset=make_rows(16), eval_dataset=make_rows(30, seed=2)
    )
    trainer.train()
    measured = [log["eval_ece"] for log in trainer.state.log_history if "eval_ece" in log]
    assert trainer.state.global_step < 40 and trainer.state.best_metric == min(measured)
    for wrong in (
        {"early_stopping_patience": 2},
        {"early_stopping_patience": 0, "load_best_model_at_end": True, "metric_for_best_model": "ece"},
    ):
        with pytest.raises(ConfigError, match="early_stopping_patience is a number of evaluations"):
            config(tmp_path, eval_strategy="steps", eval_steps=5, save_steps=5, save_strategy="steps", **wrong)


def rollouts(path: Path, *, graded: bool = True) -> Path:
    """Four problems of six samples: two right and four wrong, of which three share an answer."""
    lines = []
    for problem in range(4):
        for index, pred in enumerate([13, 13, 14, 14, 14, 15]):
            lines.append(
                {
                    "problem": f"{10 + problem}+{3 - problem}", "answer": "13", "unique_id": f"p{problem}",
                    "steps": [f"{10 + problem}+{3 - problem}={pred}"], "gaps": ["", ""], "sample_index": index,
                    "stop_reason": "eos", "source": "s", "pred": str(pred),
                    "outcome": ("correct" if pred == 13 else "wrong") if graded else None,
                }
            )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_best_of_n_against_majority_is_a_metric_of_training(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    arguments = config(
        tmp_path,
        eval_samples_path=str(rollouts(tmp_path / "rollouts.jsonl")),
        eval_strategy="epoch",
        num_train_epochs=1,
        aggregation="min",
    )
    trainer: Any = VerifierTrainer(
        str(base_dir()), arguments, train_dataset=make_rows(16), eval_dataset=make_rows(10, seed=2)
    )
    trainer.train()
    (logged,) = [log for log in trainer.state.log_history if "eval_best_of_n_gain" in log]
    samples, n = trainer.samples, 6
    trainer.save_model()
    verifier = Verifier.from_pretrained(tmp_path, dtype="float32", device="cpu")
    by_hand = []
    for problem in range(4):
        own = [row for row in samples.rows if row.group == f"p{problem}"]
        scores = [min(verifier.score(row.prompt, row.completions)) for row in own]
        by_hand.append(own[int(np.argmax(scores))].labels[-1])
    assert samples.n == n and logged["eval_best_of_n"] == pytest.approx(np.mean(by_hand))
    assert logged["eval_best_of_n_gain"] == pytest.approx(np.mean(by_hand))  # majority@6 is 14, wrong everywhere
    assert trainer.final_evaluation()["best_of_n_gain"]["n"] == 4
    with pytest.raises(DataError, match="is not graded"):
        VerifierTrainer(
            str(base_dir()),
            config(tmp_path, eval_samples_path=str(rollouts(tmp_path / "r.jsonl", graded=False))),
            train_dataset=make_rows(4),
        )


def test_the_head_has_a_learning_rate_of_its_own(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    arguments = config(tmp_path, learning_rate=0.0, head_learning_rate=0.1, num_train_epochs=1, weight_decay=0.0)
    trainer: Any = VerifierTrainer(str(base_dir()), arguments, train_dataset=make_rows(16))
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, parameter in trainer.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved and all(name.startswith("score") for name in moved)
    with pytest.raises(ConfigError, match="head_learning_rate is that of a head of its own"):
        config(tmp_path, objective="reward_tokens", head_learning_rate=0.1)


def test_a_loss_that_is_no_number_names_its_rows(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path
) -> None:
    trainer: Any = VerifierTrainer(
        str(base_dir()), config(tmp_path, per_device_train_batch_size=2), train_dataset=make_rows(6)
    )
    with torch.no_grad():
        trainer.model.score.weight.fill_(float("nan"))
    with pytest.raises(DataError, match=r"the loss is not a number at step 1; its rows: training rows, row \d+"):
        trainer.train()


def test_samples_that_do_not_fit_are_counted_and_chosen_last(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = rollouts(tmp_path / "rollouts.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["pred"] == "13":  # the right ones, which a verifier without a score for them cannot choose
            line["steps"], line["gaps"] = [line["steps"][0], "0" * 60], [*line["gaps"], ""]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    keys = {"eval_samples_path": str(path), "num_train_epochs": 1, "bad_rows": "drop", "eval_strategy": "epoch"}

    def trainer(max_length: int) -> Any:
        arguments = config(tmp_path, max_length=max_length, **keys)
        return VerifierTrainer(
            str(base_dir()), arguments, train_dataset=make_rows(16), eval_dataset=make_rows(10, seed=2)
        )

    one = trainer(60)
    assert "rollouts.jsonl: 8 of 24 samples cannot be scored and are chosen last, the first because: only 1" in (
        caplog.text
    )
    counts = {"problems": 4, "samples": 24, "n": 6, "not_scored": 8, "trained_problems_left_out": 0}
    assert one.samples.facts() == counts and not one.rejected
    one.train()
    assert one.final_evaluation()["best_of_n"]["value"] == 0
    with pytest.raises(DataError, match=r"rollouts.jsonl, line \d+: none of its 24 solutions can be scored"):
        for row in lines:
            row["steps"] = ["1\n2"]  # the separator
            row["gaps"] = ["", ""]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        trainer(60)


def test_best_of_n_is_measured_on_problems_that_are_not_trained_on(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(rollouts(tmp_path / "rollouts.jsonl"))
    known = [
        StepRow(text, ("1=1", "2=3"), (1.0, 0.0), group=f"another id {text}") for text in ("10 + 3", "11+2", "12+1")
    ]

    def samples(rows: list[StepRow]) -> Any:
        arguments = config(tmp_path, eval_samples_path=path)
        return VerifierTrainer(str(base_dir()), arguments, train_dataset=rows).samples

    found = samples(known)
    assert {row.prompt for row in found.rows} == {"13+0"} and len(found.problem_N) == 6
    assert found.facts()["trained_problems_left_out"] == 3
    assert "3 of its problems are trained on and left out; best-of-n is measured on the other 1" in caplog.text
    with pytest.raises(DataError, match=r"rollouts.jsonl: all of its 4 problems are trained on"):
        samples([*known, StepRow("13+0", ("1=1",), (1.0,), "x")])


def test_a_temperature_at_the_end_of_its_range_is_said_and_not_folded(
    base_dir: Callable[..., Path], make_rows: Rows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scores that say the reverse of the labels would all become one half, and hide it."""
    trainer: Any = VerifierTrainer(str(base_dir()), config(tmp_path), train_dataset=make_rows(8))
    before = trainer.model.score.weight.clone()
    problems = np.arange(40)
    hard = np.tile([[1.0, 0.0]], (40, 1))
    margins = np.random.default_rng(0).normal(size=(40, 2)) - 2 * hard
    settled = trainer.settle(Predictions(margins, hard, hard, problems, np.zeros(40, int), ("truth",)))
    assert settled.calibration.value == HIGHEST and settled.calibration.helps
    assert settled.temperature == 1.0 and torch.equal(trainer.model.score.weight, before)
    assert "not calibrated, for the temperature that fits the held-out rows is at the highest" in caplog.text
