"""A checkpoint is taken for what its config says, and what was only guessed is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from prm.errors import ModelError
from prm.public.detect import public_format


def one(architecture: str, **others: Any) -> dict[str, Any]:
    return {"architectures": [architecture], **others}


@pytest.mark.parametrize(
    ("config", "vocabulary", "name", "is_said"),
    [
        (one("Qwen2ForTokenClassification", num_labels=1), [], "scan-prm", True),
        (one("LlamaForCausalLM"), [], "versa-prm", True),
        (one("LlamaForCausalLM"), ["<|eot_id|>"], "rlhflow-prm", False),
        (one("Qwen2ForPrmModel"), [], "skywork-o1-prm", False),
    ],
)
def test_a_class_of_transformers_alone_is_a_guess_and_said(
    caplog: pytest.LogCaptureFixture, config: dict[str, Any], vocabulary: list[str], name: str, is_said: bool
) -> None:
    with caplog.at_level(logging.WARNING):
        assert public_format("runs/mine", config, vocabulary).name == name
    assert (
        f"runs/mine: read as {name}, the only known format of a {config['architectures'][0]}" in caplog.text
    ) is is_said
    assert ("--prm_format" in caplog.text) is is_said


def test_a_name_that_is_known_is_no_guess(caplog: pytest.LogCaptureFixture) -> None:
    found = public_format("trl-lib/Qwen2-0.5B-Reward-Math-Sheperd", one("Qwen2ForTokenClassification"), [])
    assert found.name == "trl-prm" and not caplog.text


def test_several_formats_are_asked_about() -> None:
    with pytest.raises(ModelError, match="may be read as trl-prm, h4-prm, pure-prm; say which"):
        public_format("runs/mine", one("Qwen2ForTokenClassification", num_labels=2), [])
