"""`run_train`: finished runs do nothing, adapters merge, controls are controls, and mistakes are named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prm.config import parse_config
from prm.errors import ConfigError, DataError, MissingFileError, PrmError
from prm.train import TrainResult, TrainScriptArguments, VerifierModelConfig, main, run_train
from prm.training.config import VerifierConfig
from prm.training.launch import accelerate_config, split_launch_arguments
from prm.training.run import checkpoint_to_resume, run_settings
from prm.verifier import Verifier


@pytest.fixture
def run(base_dir: Callable[..., Path], rows_file: Callable[..., Path], tmp_path: Path) -> Callable[..., TrainResult]:
    """Run `prm train` in this process: `run(eval_fraction=0.2)`; `rows` and `out` name the files."""
    rows_file(24, per_problem=2)

    def call(*, rows: str = "rows.jsonl", out: str = "out", **keys: Any) -> TrainResult:
        settings = {
            "dataset_name": tmp_path / rows,
            "model_name_or_path": base_dir(),
            "output_dir": tmp_path / out,
            "use_cpu": True,
            "num_train_epochs": 1,
            "learning_rate": 0.01,
            "disable_tqdm": True,
        } | keys
        arguments = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        return run_train(*parse_config([TrainScriptArguments, VerifierConfig, VerifierModelConfig], arguments))

    return call


def test_a_run_leaves_a_verifier_and_its_facts(run: Callable[..., TrainResult]) -> None:
    result = run(eval_fraction=0.25, max_length=30)
    metrics = json.loads((result.output_dir / "train_metrics.json").read_text())
    assert metrics == result.metrics
    train, held_out = metrics["data"]["train"], metrics["data"]["eval"]
    assert (train["groups"], held_out["groups"]) == (9, 3) and train["rows"] + held_out["rows"] == 24
    assert train["truncated_rows"] + held_out["truncated_rows"] > 0
    assert train["dropped_labels"] == train["dropped_steps"]
    assert {"value", "low", "high", "n"} == metrics["eval"]["loss"].keys()
    assert metrics["hyperparameters"]["global_batch"] == 8
    assert metrics["parameters"]["trainable"] == metrics["parameters"]["total"] > 0
    assert metrics["training"]["steps"] == 3
    run_facts = json.loads((result.output_dir / "train_run.json").read_text())
    assert run_facts["resumed_from"] is None and run_facts["versions"]["torch"]
    assert len(Verifier.from_pretrained(result.output_dir, device="cpu").score("12", ["1", "2"])) == 2


def test_a_finished_run_does_nothing_and_another_one_does_not_mix_with_it(run: Callable[..., TrainResult]) -> None:
    first = run()
    weights = first.output_dir / "model.safetensors"
    written = weights.stat().st_mtime_ns
    again = run(logging_steps=1)  # how it is logged decides nothing
    assert again.already_finished and again.metrics == first.metrics
    assert weights.stat().st_mtime_ns == written
    with pytest.raises(ConfigError, match=r"holds a run with learning_rate=0.01, and this one has 0.02"):
        run(learning_rate=0.02)


@pytest.mark.parametrize(
    "keys",
    [
        {"dataloader_drop_last": True},
        {"optim_target_modules": "all-linear"},
        {"use_liger_kernel": True},
        {"auto_find_batch_size": True},
        {"load_best_model_at_end": True, "eval_strategy": "steps", "save_steps": 5, "eval_steps": 5},
    ],
)
def test_what_decides_the_result_makes_another_run(base_dir: Callable[..., Path], keys: dict[str, Any]) -> None:
    model = VerifierModelConfig(model_name_or_path=str(base_dir()))
    plain, other = (run_settings(VerifierConfig("x", use_cpu=True, **given), model, {}) for given in ({}, keys))
    changed = {name for name in plain | other if plain.get(name) != other.get(name)}
    assert next(iter(keys)) in changed


def test_best_of_other_checkpoints_is_another_run(base_dir: Callable[..., Path]) -> None:
    model = VerifierModelConfig(model_name_or_path=str(base_dir()))
    keys = {"load_best_model_at_end": True, "eval_strategy": "steps", "use_cpu": True}
    every = [VerifierConfig("x", save_steps=n, eval_steps=n, **keys) for n in (5, 10)]
    assert run_settings(every[0], model, {}) != run_settings(every[1], model, {})


def test_the_checkpoint_to_go_on_from(run: Callable[..., TrainResult], tmp_path: Path) -> None:
    run(out="a", max_steps=4, save_steps=2)
    last = tmp_path / "a" / "checkpoint-4"
    for asked in (None, "true", "True"):
        assert checkpoint_to_resume(asked, tmp_path / "a") == last
    assert checkpoint_to_resume("False", tmp_path / "a") is None
    assert checkpoint_to_resume(str(last), tmp_path / "b") == last
    facts = [run(out=str(i), max_steps=4, resume_from_checkpoint=asked) for i, asked in enumerate(("true", last))]
    resumed = [json.loads((result.output_dir / "train_run.json").read_text())["resumed_from"] for result in facts]
    assert resumed == [None, "checkpoint-4"]
    with pytest.raises(MissingFileError, match=r"nowhere: no checkpoint in it\. Give resume_from_checkpoint a"):
        run(out="c", resume_from_checkpoint="nowhere")


def test_bad_rows_are_dropped_when_asked_to_and_listed(run: Callable[..., TrainResult], tmp_path: Path) -> None:
    bad = [
        {"prompt": "1", "completions": ["a"], "labels": [1, 0]},
        {"prompt": "1", "completions": ["a\nb"], "labels": [1]},
    ]
    with (tmp_path / "rows.jsonl").open("a") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in bad)
    with pytest.raises(DataError, match=r"rows.jsonl, line 25: 2 labels for 1 steps"):
        run()
    data = run(bad_rows="drop").metrics["data"]
    assert data["dropped_rows"] == {"… labels for … steps": 1, "the step … contains the separator …": 1}
    assert data["train"]["rows"] == 24 and data["train"]["groups"] == 12
    listed = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [(row["line"], row["row"]["completions"]) for row in listed] == [(25, ["a"]), (26, ["a\nb"])]


def test_a_run_that_could_not_start_claims_no_directory(
    run: Callable[..., TrainResult], rows_file: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "1", "completions": ["a\\nb", "c"], "labels": [1, 0]}\n')
    with pytest.raises(DataError, match=r"bad.jsonl, line 1: .*contains the separator"):
        run(rows="bad.jsonl")
    assert run().metrics["training"]["steps"] == 3


def test_the_same_seed_gives_the_same_weights(run: Callable[..., TrainResult]) -> None:
    runs = [run(out=name, seed=seed).output_dir / "model.safetensors" for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    first, second, other = (path.read_bytes() for path in runs)
    assert first == second != other


def test_a_merged_adapter_scores_as_the_adapter(run: Callable[..., TrainResult]) -> None:
    result = run(use_peft=True, merge_adapter=True, lora_r=4, learning_rate=0.1)
    assert result.metrics["parameters"]["trainable"] < result.metrics["parameters"]["total"]
    assert result.metrics["hyperparameters"]["lora_r"] == 4
    adapter = Verifier.from_pretrained(result.output_dir, dtype="float32", device="cpu")
    merged = Verifier.from_pretrained(result.output_dir / "merged", dtype="float32", device="cpu")
    assert (result.output_dir / "adapter_model.safetensors").is_file()
    assert not (result.output_dir / "merged" / "adapter_config.json").exists()
    expected = adapter.score("12", ["12+1=13", "13+2=16"])
    assert merged.score("12", ["12+1=13", "13+2=16"]) == pytest.approx(expected, abs=1e-5)
    assert merged.spec == adapter.spec


def test_a_finished_adapter_is_merged_without_training_again(run: Callable[..., TrainResult]) -> None:
    first = run(use_peft=True, lora_r=4)
    assert not (first.output_dir / "merged").exists()
    written = (first.output_dir / "adapter_model.safetensors").stat().st_mtime_ns
    again = run(use_peft=True, lora_r=4, merge_adapter=True)
    assert again.already_finished and again.metrics == first.metrics
    assert (first.output_dir / "adapter_model.safetensors").stat().st_mtime_ns == written
    steps = ["12+1=13", "13+2=16"]
    plain, merged = (
        Verifier.from_pretrained(path, device="cpu") for path in (first.output_dir, first.output_dir / "merged")
    )
    assert merged.score("12", steps) == pytest.approx(plain.score("12", steps), abs=1e-5)


def test_an_adapter_is_a_plain_peft_adapter(run: Callable[..., TrainResult]) -> None:
    import torch
    from peft import AutoPeftModelForTokenClassification
    from transformers import AutoTokenizer

    directory = run(use_peft=True, learning_rate=0.1).output_dir
    verifier = Verifier.from_pretrained(directory, dtype="float32", device="cpu")
    model = AutoPeftModelForTokenClassification.from_pretrained(directory).eval()
    ids = AutoTokenizer.from_pretrained(directory)("12\n12+1=13\n", return_tensors="pt").input_ids
    with torch.no_grad():
        score = model(input_ids=ids).logits[0, -1].float().softmax(-1)[1].item()
    assert score == pytest.approx(verifier.score("12", ["12+1=13"])[0], abs=1e-5)


@pytest.mark.parametrize("autocast", [True, False])
def test_an_adapter_of_a_bfloat16_base_is_trained_saved_and_loaded(
    run: Callable[..., TrainResult], autocast: bool
) -> None:
    result = run(use_peft=True, dtype="bfloat16", bf16=autocast, max_steps=2, learning_rate=0.1)
    saved = load_file(result.output_dir / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert result.metrics["training"]["final_loss"] > 0
    for dtype in ("float32", "bfloat16"):
        assert len(Verifier.from_pretrained(result.output_dir, dtype=dtype, device="cpu").score("12", ["1", "2"])) == 2


def test_shuffled_labels_are_a_control_on_the_training_rows_alone(run: Callable[..., TrainResult]) -> None:
    plain, control = run(out="a", eval_fraction=0.25), run(out="b", eval_fraction=0.25, shuffle_labels=True)
    assert control.metrics["data"]["shuffled_labels"] is True
    assert control.metrics["data"]["eval"] == plain.metrics["data"]["eval"]
    base_rates = [result.metrics["data"]["train"]["mean_target"] for result in (plain, control)]
    assert base_rates[0] == pytest.approx(base_rates[1])
    assert control.metrics["training"]["final_loss"] != plain.metrics["training"]["final_loss"]


def test_an_outcome_model_trains_from_the_same_command(run: Callable[..., TrainResult]) -> None:
    result = run(objective="orm", eval_fraction=0.25)
    assert {"loss", "accuracy"} <= result.metrics["eval"].keys()
    assert len(Verifier.from_pretrained(result.output_dir, device="cpu").score("12", ["1", "2"])) == 1


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ({"eval_strategy": "epoch"}, ConfigError, "eval_strategy needs rows"),
        ({"eval_fraction": 0.5, "eval_dataset_name": "x.jsonl"}, ConfigError, "not both"),
        ({"load_in_4bit": True}, ConfigError, "quantised"),
        ({"model_name_or_path": "/nowhere/base"}, MissingFileError, "no such model directory"),
        ({"rows": "none.jsonl"}, MissingFileError, "no such file"),
        ({"prompt_template": "solve"}, ConfigError, "has no {problem} in it"),
        ({"system_prompt": "x"}, ConfigError, "needs a chat template"),
        ({"chat": True}, ConfigError, "has no chat template"),
        ({"max_length": 3}, DataError, r"rows.jsonl, line 1: .*raise max_length"),
        ({"objective": "rm"}, ConfigError, "objective"),
        ({"threshold": 7}, ConfigError, "threshold must be from 0 to 1, as scores are, not 7"),
        ({"threshold": "nan"}, ConfigError, "threshold must be from 0 to 1"),
        ({"out": "rows.jsonl"}, ConfigError, "give another output_dir"),
        ({"learnign_rate": 1}, ConfigError, "did you mean 'learning_rate'"),
    ],
)
def test_mistakes_get_one_clear_message(
    run: Callable[..., TrainResult], tmp_path: Path, keys: dict[str, Any], error: type[PrmError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(**keys)
    assert not (tmp_path / "out" / "train_metrics.json").exists()


KNOWN = {"config", "output_dir", "debug", "seed"}


def test_accelerates_own_arguments_are_split_off() -> None:
    given = ["--config", "a.yaml", "--num_processes=2", "--seed", "1", "--multi_gpu", "--debug", "x"]
    assert split_launch_arguments([*given, "--main-process-port", "1"], KNOWN) == (
        ["--num_processes", "2", "--multi_gpu", "--main_process_port", "1"],
        ["--config", "a.yaml", "--seed", "1", "--debug", "x"],
    )
    assert split_launch_arguments(["--config", "a.yaml"], KNOWN) == ([], ["--config", "a.yaml"])
    launch, script = split_launch_arguments(["--accelerate_config", "zero2", "--nonsense", "1"], KNOWN)
    assert launch[0] == "--config_file" and launch[1].endswith("recipes/accelerate/zero2.yaml")
    assert script == ["--nonsense", "1"]  # left for the parser, which names the nearest key


def test_accelerate_configurations_are_found_by_name_or_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("num_processes: 1\n")
    assert accelerate_config(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match="'zero4' is neither a file nor one of cpu_zero2, cpu_zero3, single_gpu"):
        accelerate_config("zero4")
    with pytest.raises(ConfigError, match="--num_processes needs a value"):
        split_launch_arguments(["--num_processes"], KNOWN)


def test_main_says_what_it_did(
    base_dir: Callable[..., Path], rows_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "train.yaml"
    recipe.write_text(
        f"dataset_name: {rows_file(12)}\nmodel_name_or_path: {base_dir()}\noutput_dir: {tmp_path / 'out'}\n"
        "use_cpu: true\nmax_steps: 1\nmax_length: 30\nlearning_rate: 1.0e-3\n"
    )
    main(["--config", str(recipe), "--eval_fraction", "0.3"])
    said = capsys.readouterr()
    assert f"verifier in {tmp_path / 'out'}" in said.out
    assert "rows were longer than max_length and lost" in said.out
    assert "loss  " in said.out and "train: 1 step in" in said.err
