"""What does not fit together is said before a step is trained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prm.errors import ConfigError, DataError
from prm.rows.training_rows import StepRow
from prm.step_format import StepFormat
from prm.training.checks import is_merged, warn_of_merges
from prm.training.config import VerifierConfig
from prm.training.trainer import VerifierTrainer

ROW = StepRow("x", ("1.", "2."), (1.0, 0.0), "g")


@pytest.fixture(scope="module")
def merging() -> Any:
    """A byte-level tokenizer with one merge, that of a full stop and a line break."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    vocab = {symbol: index for index, symbol in enumerate([*sorted(alphabet), ".Ċ", "<eos>"])}
    own = Tokenizer(models.BPE(vocab=vocab, merges=[(".", "Ċ")]))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    own.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=own, eos_token="<eos>", pad_token="<eos>")


def test_a_separator_that_merges_with_its_neighbours_is_told_of_once(
    merging: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [ROW, StepRow("x", ("1", "2"), (1.0, 0.0), "g")]
    with caplog.at_level(logging.WARNING):
        warn_of_merges(rows, StepFormat(step_separator="\n"), merging)
    assert [record.getMessage()[:82] for record in caplog.records] == [
        "the tokenizer merges steps and the separator '\\n' with their neighbours in 1 of 2 "
    ]
    caplog.clear()
    warn_of_merges(rows, StepFormat(step_separator="|"), merging)
    assert not caplog.records


def test_rows_of_every_data_set_are_looked_at(merging: Any, caplog: pytest.LogCaptureFixture) -> None:
    first = [StepRow("x", ("1", "2"), (1.0, 0.0), "g", path="a.jsonl")] * 100
    with caplog.at_level(logging.WARNING):
        warn_of_merges([*first, replace(ROW, path="b.jsonl")], StepFormat(step_separator="\n"), merging)
    assert "with their neighbours in 1 of 65 rows looked at" in caplog.text


def test_the_ids_of_a_step_are_its_own_whatever_merges(merging: Any) -> None:
    """So that training is right by construction, and a whole text is not what was trained on."""
    step_format = StepFormat(step_separator="\n")
    dot, line_break, both = (merging.convert_tokens_to_ids(token) for token in (".", "Ċ", ".Ċ"))
    assert step_format.step_ids("1.", merging)[-2:] == [dot, line_break]
    assert merging.encode("1.\n")[-1] == both
    assert is_merged(ROW, step_format, merging)


def trainer(base: Path, out: Path, rows: list[StepRow], **keys: Any) -> VerifierTrainer:
    return VerifierTrainer(str(base), VerifierConfig(str(out), use_cpu=True, **keys), train_dataset=rows)


def test_rows_beyond_the_models_positions_are_refused_and_a_longer_max_length_told_of(
    base_dir: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import json
    import shutil

    base = tmp_path / "short"
    shutil.copytree(base_dir(), base)
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(settings | {"max_position_embeddings": 16}))
    fits = StepRow("1", ("1+1=2", "3"), (1.0, 0.0), "g")
    trainer(base, tmp_path / "a", [fits])
    assert "max_length is 2048 and the model has 16 positions" in caplog.text
    long = StepRow("1", ("1+1=2+0+0+0+0+0", "3"), (1.0, 0.0), "g")
    with pytest.raises(ConfigError, match=r"1 rows are longer than the 16 positions .* set max_length to 16 or less"):
        trainer(base, tmp_path / "b", [fits, long])
    assert len(trainer(base, tmp_path / "c", [fits], max_length=16).train_dataset) == 1  # type: ignore[arg-type]


def test_rows_of_one_class_are_refused_in_python_too(base_dir: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"every label is 1, so there is nothing to learn"):
        trainer(base_dir(), tmp_path, [StepRow("1", ("1", "2"), (1.0, 1.0), "g")])
