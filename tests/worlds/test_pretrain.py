"""The rows that teach the two models, and a few real optimiser steps."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError
from prm.verifier import Verifier
from prm.worlds.arithmetic import CheckedStep, careless_solution, parse_chain, split_of
from prm.worlds.pretrain import IGNORED, PretrainConfig, check_row, collate, make_rows, pretrain, solve_row


def test_the_tokenizer_is_lossless_and_splits_digits(tokenizer: Any) -> None:
    for text in ("64-5=59\nA: 59", "Zoë ate ½ — 🍎\r\n\tdone", "<<16-3=13>>13"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("1234")) == 4


def test_solving_rows_learn_everything_after_the_prompt(tokenizer: Any) -> None:
    row = solve_row(parse_chain("7a+5b-3"), tokenizer)
    learned = [token for token in row["labels"] if token != IGNORED]
    assert tokenizer.decode(learned) == "a7+5=12\nb12-3=9\nA: 9<eos>"
    assert tokenizer.decode(row["input_ids"]).startswith("7a+5b-3\na7+5=12")


def test_checking_rows_predict_a_mark_from_each_separator_and_never_contain_one(tokenizer: Any) -> None:
    rng = random.Random(0)
    newline = tokenizer.encode("\n")[0]
    for _ in range(50):
        problem, steps = careless_solution(3, 0.4, rng)
        row = check_row(problem, steps, tokenizer)
        assert (
            tokenizer.decode(row["input_ids"])
            == f"check {problem}\n" + "".join(f"{step.written}\n" for step in steps) + "<eos>"
        )
        after_separator = [
            label for token, label in zip(row["input_ids"][:-1], row["labels"][1:], strict=True) if token == newline
        ]
        marks = tokenizer.convert_ids_to_tokens(after_separator[1:])  # the first newline ends the prompt
        assert marks == ["+" if step.right else "-" for step in steps]


def test_within_a_step_the_labels_mark_the_copies_and_are_the_right_result_whatever_was_written(
    tokenizer: Any,
) -> None:
    steps = [CheckedStep("a7+5=9", "a7+5=12", False), CheckedStep("b9-32=16", "b9-3=6", False)]
    row = check_row("7a+5b-3", steps, tokenizer)
    labels = ["_" if label == IGNORED else tokenizer.decode([label]) for label in row["labels"]]
    assert "".join(labels[len("check 7a+5b-3\n") :]) == "_++++1_" + "-++++-6__-"


def test_longer_chains_come_from_the_training_split(tokenizer: Any) -> None:
    config = PretrainConfig(
        output_dir="unused", phase_task=["solve", "chains"], phase_tokens=[3000, 3000], max_operations=5
    )
    problems = [
        tokenizer.decode(row["input_ids"]).split("\n")[0].removeprefix("check ")
        for row in make_rows(config, tokenizer)
    ]
    longer = [problem for problem in problems if len(parse_chain(problem).operations) > 1]
    assert longer and {split_of(problem) for problem in longer} == {"train"}


def test_an_unknown_task_is_refused(tokenizer: Any) -> None:
    config = PretrainConfig(output_dir="unused", phase_task=["sing"], phase_tokens=[3000])
    with pytest.raises(ConfigError, match="solve, lines, chains"):
        next(make_rows(config, tokenizer))


def test_padding_is_on_the_right_and_carries_no_label() -> None:
    batch = collate([{"input_ids": [5, 6], "labels": [IGNORED, 6]}, {"input_ids": [7], "labels": [7]}], pad_token_id=0)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 6], [7, IGNORED]]
    assert "attention_mask" not in batch


def test_a_short_pretraining_writes_a_checkpoint_that_scores_zero_shot(tmp_path: Path) -> None:
    config = PretrainConfig(
        output_dir=str(tmp_path / "base"),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        phase_task=["solve", "lines", "chains"],
        phase_tokens=[2000, 2000, 2000],
        max_operations=3,
        batch_rows=8,
    )
    verifier = Verifier.from_pretrained(pretrain(config))
    scores = verifier.score("7a+5b-3", ["a7+5=12", "b12-3=9", "A: 9"])
    assert len(scores) == 3 and all(0 < score < 1 for score in scores)
