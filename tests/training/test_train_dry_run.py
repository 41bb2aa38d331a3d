"""What a trainer says before it starts and after it is done, from the trainer itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from prm.rows.step_rows import StepRow
from prm.training.config import VerifierConfig
from prm.training.dry_run import dry_run
from prm.training.page import PageCallback, report_of_run, train_page
from prm.training.throughput import Throughput
from prm.training.trainer import VerifierTrainer


@pytest.fixture
def trainer_of(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path
) -> Callable[..., VerifierTrainer]:
    """A trainer on 24 rows of 12 problems, 6 of them held out: `trainer_of(padding_free=True)`."""

    def build(**keys: Any) -> VerifierTrainer:
        rows = make_rows(24, per_problem=2)
        config = VerifierConfig(
            output_dir=str(tmp_path / "out"),
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            per_device_train_batch_size=4,
            logging_steps=1,
            learning_rate=0.01,
            eval_strategy="epoch",
            **keys,
        )
        return VerifierTrainer(str(base_dir()), config, train_dataset=rows[:18], eval_dataset=rows[18:])

    return build


@pytest.mark.parametrize("padding_free", [False, True])
def test_the_dry_run_shows_the_first_batch_that_is_trained_on(
    trainer_of: Callable[..., VerifierTrainer], padding_free: bool
) -> None:
    trainer = trainer_of(padding_free=padding_free, num_train_epochs=3)
    text = dry_run(trainer, colour=False)
    plan, data, memory, devices, batch = text.split("\n\n", 4)
    assert "rows           18 of 9 problems" in plan and "batch          4 rows = 1 device × 4 × 1 accumulated" in plan
    assert "steps          15 = 3 epochs of 5" in plan
    first = next(iter(trainer.get_train_dataloader()))
    tokens = sum(int(row[row >= 0].max() + 1 - start) for row, start in _starts(first))
    assert f"first batch: 4 rows, {tokens} tokens" in batch and "row 3:" in batch and "... and 1 more rows" in batch
    assert batch.count("[1.00]") + batch.count("[0.00]") > 3
    assert "held out       6 rows of 3 problems with " in plan and "objective      prm, a token_classification" in plan
    assert "evaluation     each epoch, and at the end" in plan and "saving         every 3 steps" in plan
    assert "learning rate  0.01, linear" in plan and "loss           cross_entropy" in plan and "/out\n" in plan
    assert data.startswith("labels\n") and "\ntokens of a solution\n" in data and "1, right  ██" in data
    assert [line.split()[0] for line in devices.splitlines()[2:-1]] == ["1", "2", "4", "8"]
    parameters = sum(parameter.nbytes for parameter in trainer.model.parameters())  # type: ignore[union-attr]
    weights, gradients, optimizer = memory.splitlines()[2].split()[4:7]
    assert devices.splitlines()[2].split()[1] == memory.splitlines()[2].split()[-1]
    assert weights == gradients == f"{parameters / 1000:.1f}kB" and optimizer == f"{parameters / 500:.1f}kB"


def _starts(batch: Any) -> list[tuple[Any, int]]:
    """Score positions of each row, and where it starts in the flattened tokens."""
    positions = batch["positions"].clone()
    positions[batch["targets"] == -100] = -1
    width = batch["input_ids"].shape[1]
    starts = [width * index for index in range(len(positions))]
    if "position_ids" in batch:
        starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    return list(zip(positions, starts, strict=True))


def test_the_dry_run_takes_no_step(trainer_of: Callable[..., VerifierTrainer]) -> None:
    trainer = trainer_of()
    before = [parameter.clone() for parameter in trainer.model.parameters()]  # type: ignore[union-attr]
    dry_run(trainer)
    assert trainer.state.global_step == 0 and trainer.optimizer is None
    now = trainer.model.parameters()  # type: ignore[union-attr]
    assert all((old == new).all() for old, new in zip(before, now, strict=True))


def test_the_page_of_a_run_is_made_of_its_trainer(trainer_of: Callable[..., VerifierTrainer]) -> None:
    trainer = trainer_of(num_train_epochs=2)
    trainer.train()
    held_out, evaluation = trainer.held_out(), trainer.final_evaluation()
    trainer.settle()
    metrics = {"objective": "prm", "eval": evaluation, "training": {"steps": trainer.state.global_step}}
    report = report_of_run(trainer, metrics, held_out, versions={"torch": "2"})
    rows: Any = trainer.train_dataset
    assert report.rows.labels == rows.counts.labels and report.rows.problems == 9 and len(report.rows.lengths) == 18
    assert report.examined == 6 and len(report.examples) == 6
    assert report.calibration is not None
    assert len(report.calibration.scores) == sum(len(example.steps) for example in report.examples)
    assert (report.calibration.calibrated is None) == (trainer.settled.temperature == 1.0)
    dataset: Any = trainer.eval_dataset
    texts = {trainer.processing_class.decode(row.input_ids) for row in dataset.rows}  # type: ignore[union-attr]
    assert {"\n".join([example.problem, *example.steps, ""]) for example in report.examples} == texts
    page = train_page(report)
    assert "6 of 6 held-out solutions" in page and 'aria-label="Loss: training' in page


def test_a_page_stands_before_the_first_step_and_grows_with_each_evaluation(
    trainer_of: Callable[..., VerifierTrainer], tmp_path: Path
) -> None:
    trainer = trainer_of(num_train_epochs=2)
    pages: list[str] = []

    class Reader(TrainerCallback):
        def _read(self, *given: Any, **others: Any) -> None:
            pages.append((tmp_path / "train_report.html").read_text(encoding="utf-8"))

        on_train_begin = on_evaluate = _read

    trainer.add_callback(PageCallback(trainer, tmp_path, {"objective": "prm"}, versions={}, hashes={}))
    trainer.add_callback(Reader())
    trainer.train()
    begun, first, second = pages
    assert "0 of 10 steps so far" in begun and "5 of 10 steps so far" in first and "10 of 10 steps" in second
    assert all("18 solutions of 9 problems" in page and 'aria-label="Labels' in page for page in pages)
    assert 'aria-label="Loss' not in begun and 'aria-label="Loss: training' in first
    assert "Held-out metrics over the steps" not in first and "Held-out metrics over the steps" in second


def test_a_run_without_held_out_rows_has_a_page(trainer_of: Callable[..., VerifierTrainer]) -> None:
    page = train_page(report_of_run(trainer_of(), {"objective": "prm"}))
    assert "18 solutions of 9 problems" in page and "Held-out examples" not in page


def test_the_meter_counts_what_a_trainer_trains_on(trainer_of: Callable[..., VerifierTrainer]) -> None:
    trainer = trainer_of(num_train_epochs=2)
    meter, read = Throughput(rate=lambda: 1e9), []
    trainer.add_callback(meter)
    compute_loss, log = trainer.compute_loss, trainer.log

    def counted(model: Any, inputs: Any, *others: Any, **more: Any) -> Any:
        if model.training:
            meter.add(units=trainer.loss.units(inputs), tokens=1, padded_tokens=2, flops=1e6)
        return compute_loss(model, inputs, *others, **more)

    def logged(logs: dict[str, float], *others: Any) -> None:
        if "loss" in logs:
            read.append(meter.read())
        log(logs, *others)

    trainer.compute_loss, trainer.log = counted, logged  # type: ignore[method-assign]
    trainer.train()
    assert len(read) == trainer.state.global_step == 10
    assert all(figures["padding_share"] == 0.5 and figures["mfu"] > 0 for figures in read)
    rows: Any = trainer.train_dataset
    labels = sum(figures["labels_per_second"] / figures["tokens_per_second"] for figures in read)
    assert labels == pytest.approx(2 * rows.counts.labels)
