"""`prm train` through the real command line: the same program every way it is started, and after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PRM = str(Path(sys.executable).with_name("prm"))
MODULE = [sys.executable, "-m", "prm.train"]


@pytest.fixture
def recipe(tmp_path: Path, tokenizer: Any) -> Callable[..., Path]:
    """Write a training recipe on a tiny model and 45 rows: `recipe("out", learning_rate=0.1)`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
    ids: dict[str, Any] = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **size, **heads, **ids)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    rng = random.Random(0)
    with (tmp_path / "rows.jsonl").open("w") as stream:
        for index in range(45):
            steps = [f"{index}+{k}={rng.randint(0, 99)}" for k in range(rng.randint(1, 4))]
            labels = [rng.random() for _ in steps]
            stream.write(json.dumps({"prompt": f"{index}+{index}", "completions": steps, "labels": labels}) + "\n")

    def write(out: str, **keys: Any) -> Path:
        settings = {
            "dataset_name": str(tmp_path / "rows.jsonl"),
            "model_name_or_path": str(tmp_path / "base"),
            "output_dir": str(tmp_path / out),
            "label_view": "soft",
            "use_cpu": True,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "logging_steps": 1,
        } | keys
        (tmp_path / f"{out}.yaml").write_text(json.dumps(settings))  # JSON is YAML
        return tmp_path / f"{out}.yaml"

    return write


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command, env=environment, stdout=log.open("wb"), stderr=subprocess.STDOUT)


def kill_all(config: str) -> None:
    """Kill the launcher and the workers it put into sessions of their own: all that were started with this recipe."""
    while found := [path for path in Path("/proc").glob("[0-9]*/cmdline") if config in _words(path)]:
        for path in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.parent.name), signal.SIGKILL)
        time.sleep(0.05)


def _words(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_text().split("\0")
    except OSError:  # it ended in the meantime
        return []


def run(command: list[str], log: Path) -> None:
    assert start(command, log).wait() == 0, log.read_text()[-3000:]


def metrics(config: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((config.with_suffix("") / "train_metrics.json").read_text())
    return found


def losses(config: Path) -> list[float]:
    return [log["loss"] for log in metrics(config)["training"]["loss_history"]]


def free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_console_script_is_the_module(recipe: Callable[..., Path], tmp_path: Path) -> None:
    by_script, by_module = recipe("a"), recipe("b")
    run([PRM, "train", "--config", str(by_script)], tmp_path / "log")
    run([*MODULE, "--config", str(by_module)], tmp_path / "log")
    assert metrics(by_script) == metrics(by_module)
    weights = [(path.with_suffix("") / "model.safetensors").read_bytes() for path in (by_script, by_module)]
    assert weights[0] == weights[1]


def test_a_killed_run_goes_on_to_the_same_losses(recipe: Callable[..., Path], tmp_path: Path) -> None:
    keys = {"num_train_epochs": 20, "save_steps": 10}
    whole, cut = recipe("whole", **keys), recipe("cut", **keys)
    run([*MODULE, "--config", str(whole)], tmp_path / "log")
    process = start([*MODULE, "--config", str(cut)], tmp_path / "log")
    while process.poll() is None and not list((tmp_path / "cut").glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "train_metrics.json").exists(), "it finished before it could be killed"
    run([*MODULE, "--config", str(cut)], tmp_path / "log")
    assert json.loads((tmp_path / "cut" / "train_run.json").read_text())["resumed_from"].startswith("checkpoint-")
    assert losses(cut) == losses(whole)
    assert metrics(cut) == metrics(whole)


def test_a_mistake_is_one_line_and_exit_code_2(recipe: Callable[..., Path], tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("w") as stream:
        stream.write('{"prompt": "1", "completions": ["a", "b"], "labels": [1]}\n')
    assert start([PRM, "train", "--config", str(recipe("a"))], tmp_path / "log").wait() == 2
    said = (tmp_path / "log").read_text()
    assert said.splitlines()[-1].startswith("error: ")
    assert "rows.jsonl, line 1: 1 labels for 2 steps. Every step needs exactly one label, or null" in said
    assert "Traceback" not in said


def test_deepspeed_zero2_on_two_processes_equals_one(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """Through `accelerate launch` as the README writes it; 45 rows leave the last global batch incomplete."""
    root = Path(__file__).resolve().parents[2]
    one, two = recipe("one"), recipe("two", per_device_train_batch_size=2, gradient_accumulation_steps=2)
    run([*MODULE, "--config", str(one)], tmp_path / "log")
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    launch += ["--config_file", str(root / "recipes" / "accelerate" / "cpu_zero2.yaml")]
    launch += ["--main_process_port", free_port()]
    run([*launch, "-m", "prm.train", "--config", str(two)], tmp_path / "log")
    assert json.loads((tmp_path / "two" / "train_run.json").read_text())["processes"] == 2
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert len(losses(one)) == 12


@pytest.mark.slow
def test_prm_train_launches_zero2_and_goes_on_after_a_kill(recipe: Callable[..., Path], tmp_path: Path) -> None:
    keys = {"per_device_train_batch_size": 4, "num_train_epochs": 20, "save_steps": 10}
    whole, cut = recipe("whole", **keys), recipe("cut", **keys)

    def command(config: Path) -> list[str]:
        return [
            PRM,
            "train",
            "--accelerate_config",
            "cpu_zero2",
            "--main_process_port",
            free_port(),
            "--config",
            str(config),
        ]

    run(command(whole), tmp_path / "log")
    process = start(command(cut), tmp_path / "log")
    while process.poll() is None and not list((tmp_path / "cut").glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.02)
    kill_all(str(cut))
    process.wait()
    assert not (tmp_path / "cut" / "train_metrics.json").exists(), "it finished before it could be killed"
    run(command(cut), tmp_path / "log")
    assert json.loads((tmp_path / "cut" / "train_run.json").read_text())["resumed_from"].startswith("checkpoint-")
    assert losses(cut) == losses(whole)


@pytest.mark.slow
def test_zero3_trains_saves_and_starts_from_head_tokens(recipe: Callable[..., Path], tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    text = (root / "recipes" / "accelerate" / "zero3.yaml").read_text()
    text = text.replace("mixed_precision: bf16", "mixed_precision: 'no'")
    text = text.replace("num_processes: 8", "num_processes: 2")
    (tmp_path / "zero3.yaml").write_text(text)
    keys: dict[str, Any] = {"head_init_tokens": ["-", "+"]}
    one, two = recipe("one", **keys), recipe("two", per_device_train_batch_size=4, **keys)
    run([*MODULE, "--config", str(one)], tmp_path / "log")
    launch = [PRM, "train", "--accelerate_config", str(tmp_path / "zero3.yaml"), "--main_process_port", free_port()]
    run([*launch, "--config", str(two)], tmp_path / "log")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    from prm.verifier import Verifier

    expected = Verifier.from_pretrained(tmp_path / "one", device="cpu").score("1+1", ["1+1=2"])
    assert Verifier.from_pretrained(tmp_path / "two", device="cpu").score("1+1", ["1+1=2"]) == pytest.approx(
        expected, abs=1e-3
    )


@pytest.mark.slow
def test_ddp_on_two_processes_equals_one(recipe: Callable[..., Path], tmp_path: Path) -> None:
    one, two = recipe("one"), recipe("two", per_device_train_batch_size=4, ddp_backend="gloo")
    run([*MODULE, "--config", str(one)], tmp_path / "log")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    run([*torchrun, "-m", "prm.train", "--config", str(two)], tmp_path / "log")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
