"""`prm quickstart`: the whole road on the embedded arithmetic world, told as the commands a user would type.

    problems -> rollouts -> Monte Carlo step labels -> PRM, ORM and a control -> search on held-out problems -> report

Every stage is the ordinary subcommand with the recipe in `recipes/arithmetic/`; this file only chooses sizes and
directories, runs the commands in order, and reads the claims off the results. Nothing is chosen on test problems.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.cli import COMMANDS
from prm.errors import ConfigError, DataError
from prm.jsonl import write_json
from prm.worlds.models import PREFIX

ROLLOUT_FILE, LABEL_FILE = "rollouts.jsonl", "labels.jsonl"


@dataclass
class QuickstartConfig:
    """Sizes and place of the run."""

    output_dir: str = field(default="runs/quickstart", metadata={"help": "Directory of everything the run writes"})
    seed: int = field(default=0, metadata={"help": "Seed of problems, samples, training and search"})
    from_scratch: bool = field(
        default=False, metadata={"help": "Train the generator and the base model first (about an hour and a half)"}
    )
    use_peft: bool = field(default=False, metadata={"help": "Train LoRA adapters instead of all weights"})
    smoke: bool = field(default=False, metadata={"help": "Tiny sizes, to see that every stage runs; no claim"})

    def __post_init__(self) -> None:
        if self.smoke and self.from_scratch:
            raise ConfigError("smoke and from_scratch exclude each other: a model trained for a moment solves nothing")


@dataclass(frozen=True)
class Sizes:
    """What one run spends: problems and samples."""

    train_problems: int
    rollouts_per_problem: int
    completions_per_prefix: int
    test_problems: int
    n: int
    search_n: tuple[int, ...]


FULL = Sizes(500, 4, 8, 300, 16, (4, 8, 16))
SMOKE = Sizes(24, 2, 2, 20, 4, (4,))


@dataclass(frozen=True)
class Stage:
    """One command, and what it is for."""

    purpose: str
    command: str
    arguments: tuple[str, ...]

    @property
    def line(self) -> str:
        return shlex.join(["prm", self.command, *self.arguments])


def stages(config: QuickstartConfig) -> Iterator[Stage]:
    """The road, command by command."""
    sizes = SMOKE if config.smoke else FULL
    out = Path(config.output_dir)
    models = {name: f"{PREFIX}{name}" for name in ("generator", "base")}
    if config.from_scratch:
        for name in models:
            models[name] = str(out / name)
            yield from _pretraining(name, out)
    yield _stage(
        "sample solutions of training problems",
        "rollout",
        "rollout",
        model_name_or_path=models["generator"],
        num_problems=sizes.train_problems,
        n=sizes.rollouts_per_problem,
        num_workers=_workers(),
        seed=config.seed,
        output_dir=out / "rollouts",
    )
    yield _stage(
        "label every step by Monte Carlo completions",
        "label",
        "label",
        model_name_or_path=models["generator"],
        rollouts_path=out / "rollouts" / ROLLOUT_FILE,
        n=sizes.completions_per_prefix,
        num_workers=_workers(),
        seed=config.seed,
        output_dir=out / "labels",
    )
    training = {
        "model_name_or_path": models["base"],
        "seed": config.seed,
        **({"use_peft": True, "merge_adapter": True} if config.use_peft else {}),
    }
    labels, rollouts = out / "labels" / LABEL_FILE, out / "rollouts" / ROLLOUT_FILE
    yield _stage("train the PRM", "train", "train_prm", dataset_name=labels, output_dir=out / "prm", **training)
    yield _stage("train the ORM", "train", "train_orm", dataset_name=rollouts, output_dir=out / "orm", **training)
    yield _stage(
        "train the control: a PRM on shuffled labels",
        "train",
        "train_prm",
        dataset_name=labels,
        shuffle_labels=True,
        output_dir=out / "shuffled",
        **training,
    )
    yield _stage(
        "search on held-out problems",
        "eval",
        "eval",
        model_name_or_path=models["generator"],
        num_problems=sizes.test_problems,
        n=sizes.n,
        search_n=sizes.search_n,
        prm_path=[*(f"{n}={out / n}" for n in ("prm", "orm", "shuffled")), f"zero_shot={models['base']}"],
        controls=["shuffled", "zero_shot"],
        label_report=out / "labels" / "label_report.json",
        num_workers=_workers(),
        seed=config.seed,
        output_dir=out / "eval",
    )


def _pretraining(name: str, out: Path) -> Iterator[Stage]:
    """The parts of a shipped model's training, each from the checkpoint of the one before."""
    parts = sorted(path.stem for path in _recipes().glob(f"pretrain_{name}_*.yaml"))
    start: dict[str, Any] = {}
    for number, recipe in enumerate(parts, start=1):
        directory = out / (name if number == len(parts) else f"{name}_{number}")
        purpose = f"pretrain the {name}, part {number} of {len(parts)}"
        yield _stage(purpose, "pretrain", recipe, output_dir=directory, **start)
        start = {"init_from": directory}


def _workers() -> int:
    """Two processes search where two cores would otherwise idle; an accelerator needs no help."""
    import torch

    return 1 if torch.cuda.is_available() else min(2, len(os.sched_getaffinity(0)))


def _stage(purpose: str, command: str, recipe: str, **overrides: Any) -> Stage:
    arguments = ["--config", str(_recipes() / f"{recipe}.yaml")]
    for key, value in overrides.items():
        values = value if isinstance(value, list | tuple) else [value]
        arguments += [f"--{key}", *(str(v) for v in values)]
    return Stage(purpose, command, tuple(arguments))


def _recipes() -> Path:
    """`recipes/arithmetic`, in a checkout and in an installed package alike."""
    spec = importlib.util.find_spec("prm.recipes")
    if spec is None or spec.origin is None:
        raise ConfigError("the recipes are not installed; install prm-toolkit again")
    return Path(spec.origin).parent / "arithmetic"


def run_quickstart(config: QuickstartConfig) -> dict[str, Any]:
    """Run every stage and return what was found, which is also written to `quickstart.json`."""
    started = time.perf_counter()
    road = list(stages(config))
    seconds: dict[str, float] = {}
    for number, stage in enumerate(road, start=1):
        print(f"\n[{number}/{len(road)}] {stage.purpose}\n$ {stage.line}", flush=True)
        before = time.perf_counter()
        importlib.import_module(COMMANDS[stage.command][0]).main(list(stage.arguments))
        seconds[stage.purpose] = round(time.perf_counter() - before, 1)
    out = Path(config.output_dir)
    findings = read_findings(out)
    findings["seconds"] = seconds | {"total": round(time.perf_counter() - started, 1)}
    write_json(out / "quickstart.json", findings)
    print(_closing(config, findings))
    return findings


def read_findings(out: Path) -> dict[str, Any]:
    """The claims of the quickstart, each with the numbers that decide it.

    Raises:
        DataError: a stage's results are missing.
    """
    results, labels = (_read(out / name) for name in ("eval/results.json", "labels/label_report.json"))
    n = results["n"]
    lines = {(m["method"], m["verifier"], m["n"]): m for m in results["methods"]}
    accuracy = {key: line["accuracy"]["mean"] for key, line in lines.items()}
    majority, best_of_n, beam = (
        accuracy[key] for key in (("majority", None, n), ("best_of_n", "prm", n), ("beam_search", "prm", n))
    )
    best = results["best"]
    over_controls = [row for row in results["controls"] if row["method"] == best["key"]]
    over_shuffled = next(row["difference"] for row in over_controls if "shuffled" in row["control"])
    return {
        "label_accuracy": labels["truth"]["step_accuracy"],
        "majority": majority,
        "best_of_n": best_of_n,
        "beam_search": beam,
        "best": best,
        "over_shuffled": over_shuffled,
        "claims": {
            f"majority@{n} < best-of-{n} with the PRM": majority < best_of_n,
            f"best-of-{n} with the PRM < PRM-guided beam search": best_of_n < beam,
            "best PRM method minus majority: interval clear of zero": best["held_out_gain"]["low"] > 0,
            "best PRM method minus shuffled labels: interval clear of zero": over_shuffled["low"] > 0,
        },
    }


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError("the stage that writes it has not finished", path=path, remedy="Run `prm quickstart` again")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _closing(config: QuickstartConfig, findings: dict[str, Any]) -> str:
    out = Path(config.output_dir)
    label, best = findings["label_accuracy"], findings["best"]
    lines = [
        "",
        f"step labels that agree with the truth: {_percent(label)}",
        f"best PRM method, {best['label']}: {_points(best['gain'])} points over majority voting",
        f"the same over shuffled labels: {_points(findings['over_shuffled'])} points",
    ]
    if not config.smoke:
        lines += [f"  {'yes' if held else 'NO '}  {claim}" for claim, held in findings["claims"].items()]
    lines += [
        "",
        f"report    {out / 'eval' / 'report.html'}",
        f"verifier  {out / 'prm'}  (AutoModelForTokenClassification.from_pretrained loads it)",
        f"took      {findings['seconds']['total']:.0f} s",
    ]
    return "\n".join(lines)


def _percent(estimate: dict[str, float]) -> str:
    return f"{estimate['mean']:.1%} [{estimate['low']:.1%}, {estimate['high']:.1%}]"


def _points(estimate: dict[str, float]) -> str:
    return f"{100 * estimate['mean']:+.1f} [{100 * estimate['low']:+.1f}, {100 * estimate['high']:+.1f}]"


def main(arguments: list[str]) -> None:
    """The subcommand `prm quickstart`."""
    from prm.config import parse_config

    run_quickstart(parse_config(QuickstartConfig, arguments, prog="prm quickstart"))


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
