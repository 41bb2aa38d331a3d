"""`prm eval` takes a published verifier as one of ours: texts are split and stopped where texts have their steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prm.eval.evaluate_search import EvalConfig, run_eval

from prm.errors import ConfigError
from tests.public.conftest import CHATML
from tests.public.test_entries import linear, two_layers


def test_a_published_verifier_guides_a_search_by_the_separator_of_texts(
    chat_tokenizer: Callable[[str], Any], checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    """`<extra_0>` is what the verifier reads after a step; texts have blank lines there, of which this generator
    writes none. What TRL's reads after a step is what it writes."""
    settings: dict[str, Any] = {
        **{"model_name_or_path": "embedded:generator", "num_problems": 4, "n": 4, "max_new_tokens": 64},
        **{"approach": ["best_of_n", "beam_search"], "report": False, "device": "cpu"},
    }
    qwen = checkpoint(chat_tokenizer(CHATML), "Qwen2", "Qwen2ForProcessRewardModel", two_layers(2), name="qwen")
    settings["prm_path"] = [f"theirs={qwen}"]
    with pytest.raises(ConfigError, match=r"prm_format 'other=trl-prm': give name=format, name one of theirs"):
        run_eval(EvalConfig(output_dir=str(tmp_path / "no"), prm_format=["other=trl-prm"], **settings))
    with pytest.warns(UserWarning, match=r"have no step separator '\\n\\n' of theirs in them"):
        result = run_eval(
            EvalConfig(output_dir=str(tmp_path / "run"), prm_format=["theirs=qwen2.5-math-prm"], **settings)
        )
    assert result.find("beam_search", 4, "theirs").bill.verifier_tokens > 0
    assert result.verifiers["theirs"]["spec"]["step_format"]["step_separator"] == "<extra_0>"
    trl = checkpoint(chat_tokenizer(CHATML), "Qwen2", "Qwen2ForTokenClassification", linear(2, "score"), name="trl")
    settings["prm_path"] = [f"theirs={trl}"]
    lines = run_eval(EvalConfig(output_dir=str(tmp_path / "lines"), prm_format=["theirs=trl-prm"], **settings))
    assert lines.find("beam_search", 4, "theirs").bill.pruned_tokens > 0
