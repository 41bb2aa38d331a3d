"""Training runs through the real command line: recipes on a tiny model, every way to launch one, and `kill -9`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PRM = str(Path(sys.executable).with_name("prm"))
MODULE = [sys.executable, "-m", "prm.train"]


@dataclass(frozen=True)
class Runs:
    """Starts training runs that lie side by side in one folder, each beside its recipe.

    Attributes:
        folder: holds the base model, the rows, and of each run `NAME.yaml`, `NAME.log` and `NAME/`.
    """

    folder: Path

    def recipe(self, name: str, **keys: Any) -> Path:
        """Write a recipe: `recipe("out", learning_rate=0.1)`."""
        settings = {
            "dataset_name": str(self.folder / "rows.jsonl"),
            "model_name_or_path": str(self.folder / "base"),
            "output_dir": str(self.folder / name),
            "use_cpu": True,
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "logging_steps": 1,
        } | keys
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(settings))  # JSON is YAML
        return path

    def accelerate_config(self, stage: int, mixed_precision: str = "no") -> Path:
        """The shipped configuration of a DeepSpeed stage, for two processes and the precision asked for."""
        text = (ROOT / "recipes" / "accelerate" / f"{'zero3' if stage == 3 else 'cpu_zero2'}.yaml").read_text()
        for old, new in (
            ("zero_stage: 2", f"zero_stage: {stage}"),
            ("num_processes: 8", "num_processes: 2"),
            ("mixed_precision: bf16", f"mixed_precision: '{mixed_precision}'"),
            ("mixed_precision: 'no'", f"mixed_precision: '{mixed_precision}'"),
        ):
            text = text.replace(old, new)
        path = self.folder / f"zero{stage}_{mixed_precision}.yaml"
        path.write_text(text)
        return path

    def command(self, how: str, recipe: Path, mixed_precision: str = "no") -> list[str]:
        """The command line of a recipe on one process (`one`), or on two of torchrun (`ddp`) or DeepSpeed (`zero1`,
        `zero2`, `zero3`)."""
        if how == "one":
            return [*MODULE, "--config", str(recipe)]
        if how == "ddp":
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
            return [*torchrun, "--master_port", free_port(), "-m", "prm.train", "--config", str(recipe)]
        stage = self.accelerate_config(int(how.removeprefix("zero")), mixed_precision)
        launch = ["--accelerate_config", str(stage), "--main_process_port", free_port()]
        return [PRM, "train", *launch, "--config", str(recipe)]

    def start(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        log = (self.folder / f"{name}.log").open("wb")
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def run(self, how: str, name: str, mixed_precision: str = "no", **keys: Any) -> Run:
        """Train to the end."""
        command = self.command(how, self.recipe(name, **keys), mixed_precision)
        code = self.start(command, name).wait()
        assert code == 0, f"{' '.join(command)}\n{(self.folder / f'{name}.log').read_text()[-3000:]}"
        return Run(self.folder / name)

    def cut(self, how: str, name: str, mixed_precision: str = "no", **keys: Any) -> None:
        """Start a run, and kill all of its processes when it has written its first checkpoint and gone on."""
        recipe = self.recipe(name, **keys)
        process = self.start(self.command(how, recipe, mixed_precision), name)
        while process.poll() is None and not list((self.folder / name).glob("checkpoint-*/trainer_state.json")):
            time.sleep(0.02)
        time.sleep(0.1)  # so that it is killed at work, not at the edge of a checkpoint
        kill_all(str(recipe))
        process.wait()
        said = (self.folder / f"{name}.log").read_text()[-3000:]
        assert list((self.folder / name).glob("checkpoint-*/trainer_state.json")), said
        assert not (self.folder / name / "train_metrics.json").exists(), "it finished before it could be killed"


@dataclass(frozen=True)
class Run:
    """What a finished run left behind."""

    directory: Path

    @property
    def facts(self) -> dict[str, Any]:
        """How it was run: `processes`, `resumed_from` and so on."""
        found: dict[str, Any] = json.loads((self.directory / "train_run.json").read_text())
        return found

    @property
    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "train_metrics.json").read_text())
        return found

    def logged(self, name: str) -> list[float]:
        """A number of every log line that has it, such as `loss` or `grad_norm`, in order."""
        state = json.loads((self.directory / "trainer_state.json").read_text())
        return [log[name] for log in state["log_history"] if name in log]

    @property
    def losses(self) -> list[float]:
        return self.logged("loss")

    @property
    def best_step(self) -> int:
        """Of the checkpoint that was kept."""
        found: int = json.loads((self.directory / "trainer_state.json").read_text())["best_global_step"]
        return found

    @property
    def weights(self) -> dict[str, Any]:
        """The saved model or adapter."""
        from safetensors.torch import load_file

        (path,) = self.directory.glob("*model.safetensors")
        return load_file(path)

    def scores(self, part: str = ".") -> list[float]:
        """What the saved verifier, or the one in a folder of it, says of two solutions in float32."""
        from prm.verifier import Verifier

        verifier = Verifier.from_pretrained(self.directory / part, device="cpu")
        return verifier.score("3+3", ["3+0=3", "3+1=42"]) + verifier.score("1+1", ["1+1=2"])


def kill_all(recipe: str) -> None:
    """Kill the launcher and the workers it put into sessions of their own: all that were started with this recipe."""
    while found := [path for path in Path("/proc").glob("[0-9]*/cmdline") if recipe in _words(path)]:
        for path in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.parent.name), signal.SIGKILL)
        time.sleep(0.05)


def _words(cmdline: Path) -> list[str]:
    try:
        return cmdline.read_text().split("\0")
    except OSError:  # it ended in the meantime
        return []


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
