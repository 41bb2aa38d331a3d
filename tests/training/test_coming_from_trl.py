"""`docs/coming-from-trl.md` says what is true: its options are there, its script runs, its token ids are TRL's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from prm.rows.training_rows import StepRow
from prm.step_format import PromptFormat, StepFormat
from prm.train import TrainScriptArguments, VerifierModelConfig
from prm.training.config import VerifierConfig
from tests.guides import Page

PAGE = Page("docs/coming-from-trl.md")
# TRL 1.13's own fields of PRMConfig, and max_prompt_length of the 0.x releases.
PRM_CONFIG = {
    *("learning_rate", "max_length", "max_prompt_length", "max_completion_length", "disable_dropout"),
    *("step_separator", "train_on_last_step_only", "dataset_num_proc"),
    *("logging_steps", "gradient_checkpointing", "bf16"),  # whose defaults it changed
}
OURS = {item.name for cls in (TrainScriptArguments, VerifierConfig, VerifierModelConfig) for item in fields(cls)}
THEIRS_ONLY = {"max_prompt_length", "max_completion_length", "disable_dropout", "train_on_last_step_only"} | {
    *("dataset_num_proc", "center_rewards_coefficient", "chat_template_path", "pad_to_multiple_of", "eos_token"),
    "model_init_kwargs",
}
NO_OPTIONS = {  # columns, arguments, methods and files
    *("model", "args", "train_dataset", "eval_dataset", "processing_class", "compute_metrics", "callbacks"),
    *("optimizers", "peft_config", "target_modules", "prompt", "chosen", "rejected"),
}


def test_every_option_of_prm_config_is_there_once() -> None:
    named = [re.findall(r"`(\w+)`", row[0])[0] for row in PAGE.rows("`PRMConfig`")]
    assert sorted(named) == sorted(PRM_CONFIG)


def test_every_option_of_reward_config_is_one_of_trl_still() -> None:
    from trl import RewardConfig

    named = {name for row in PAGE.rows("`RewardConfig`") for name in re.findall(r"`(\w+)`", row[0])}
    assert named <= {item.name for item in fields(RewardConfig)}
    own = set(RewardConfig.__annotations__) - {
        "learning_rate",
        "trust_remote_code",
        "activation_offloading",
        "pad_token",
    }
    assert own <= named


def test_every_option_named_as_ours_exists() -> None:
    named = set(re.findall(r"`([a-z][a-z0-9]*_[a-z0-9_]+)[`=:]", PAGE.text))
    assert named - THEIRS_ONLY - NO_OPTIONS <= OURS
    given = set(re.findall(r"`(\w+)=", PAGE.text)) - NO_OPTIONS
    assert given <= OURS
    assert {"step_separator", "label_view", "objective", "loss"} <= OURS


def test_defaults_are_as_the_page_says() -> None:
    defaults = {item.name: item.default for item in fields(VerifierConfig)}
    for row in PAGE.rows("`PRMConfig`"):
        if found := re.match(r"`(\w+)`, `?(.+?)`?$", row[2]):
            name, value = found.groups()
            assert str(defaults[name] or "off").lower() == str(_read(value)).lower(), name


def _read(value: str) -> Any:
    try:
        return float(value) if "." in value or "e-" in value else int(value)
    except ValueError:
        return value.strip('"').replace("\\n", "\n")


def test_the_script_runs(
    base_dir: Callable[..., Path], make_rows: Callable[..., list[StepRow]], tmp_path: Path, capsys: Any
) -> None:
    rows = [{"prompt": r.prompt, "completions": list(r.completions), "labels": list(r.labels)} for r in make_rows(12)]
    script = PAGE.blocks("python")[0]
    for theirs, here in (
        ("Qwen/Qwen2.5-Math-1.5B", str(base_dir())),
        ("runs/prm", str(tmp_path)),
        ('load_dataset("trl-lib/math_shepherd", split="train")', "Dataset.from_list(rows)"),
        ("max_length=1024", "max_length=1024, use_cpu=True, max_steps=2"),
        ("import load_dataset", "import Dataset"),
    ):
        assert theirs in script
        script = script.replace(theirs, here)
    *first, last = script.strip().splitlines()
    assert last.startswith("Verifier.from_pretrained(")
    found: dict[str, Any] = {"rows": rows}
    exec("\n".join([*first, "scores = " + last]), found)
    assert len(found["scores"]) == 2


@pytest.mark.parametrize("bos", [False, True])
def test_token_ids_and_label_places_are_those_of_trl(tokenizer: Any, bos: bool) -> None:
    """As TRL 1.13's `PRMTrainer.tokenize_row` makes them: prompt, then each step and the separator, by themselves."""
    import copy

    from tokenizers.processors import TemplateProcessing

    own = copy.deepcopy(tokenizer)
    if bos:
        own.add_special_tokens({"bos_token": "<bos>"})
        special = [("<bos>", own.bos_token_id)]
        own.backend_tokenizer.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=special)
    steps = ["2+3=5", "5+1=6"]
    separator = own.encode("\n", add_special_tokens=False)
    parts = [own(step, add_special_tokens=False)["input_ids"] + separator for step in steps]
    prompt = [own.bos_token_id] * bos + own("2+3", add_special_tokens=False)["input_ids"]
    labels = [-100] * len(prompt) + list(chain(*([-100] * (len(part) - 1) + [1] for part in parts)))
    encoded = StepFormat(PromptFormat("{problem}"), "\n").encode("2+3", steps, own)
    assert encoded.input_ids == prompt + list(chain(*parts))
    assert encoded.score_positions == [place for place, label in enumerate(labels) if label == 1]
