"""`prm label`: rollouts to step labels.

    prm label --rollouts_path runs/a/rollouts.jsonl --model_name_or_path runs/generator --n 8 --output_dir runs/b

writes `labels.jsonl`, `label_report.json` (shares, values by position, cost, and accuracy where the truth is known)
and `label_run.json` (what produced it). Completions are kept in `label_ledger.jsonl` as they are finished. How labels
are made is the labeler's business (`data_gen.monte_carlo`), the report is `data_gen.label_report`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prm.config import parse_config, run_main
from prm.data_facts import problem_set
from prm.errors import ConfigError, DataError
from prm.generation.checkpoint import model_name, model_revision
from prm.grading import MathGrader
from prm.ledger import Ledger
from prm.progress import progress_bar
from prm.rollouts import Rollout, read_rollouts
from prm.run_record import RunRecord, prepare_output

from .label_report import label_report, label_table
from .monte_carlo import MonteCarloLabeler, sampled_prefixes
from .options import SamplingOptions
from .stage import StageOutput, StageSummary, config_settings, grown_settings, items_hash, run_stage

LABELERS = ("monte_carlo",)


@dataclass(kw_only=True)
class LabelConfig(SamplingOptions):
    """Options of `prm label`."""

    rollouts_path: str = field(metadata={"help": "The rollouts.jsonl to label"})
    labeler: str = field(default="monte_carlo", metadata={"help": "monte_carlo: complete every prefix n times"})
    n: int = field(default=8, metadata={"help": "Completions of each prefix"})
    num_rollouts: int = field(default=0, metadata={"help": "Label the first so many rollouts; 0 labels all"})

    def check(self) -> None:
        super().check()
        if self.labeler not in LABELERS:
            raise ConfigError(f"unknown labeler {self.labeler!r}; choose from {', '.join(LABELERS)}")
        if self.n < 1 or self.num_rollouts < 0:
            raise ConfigError("n must be at least 1 and num_rollouts must not be negative")
        if self.temperature == 0 and self.n > 1:
            raise ConfigError(f"temperature 0 gives the same completion n={self.n} times; raise temperature")


def run_label(config: LabelConfig) -> StageSummary:
    """Run the stage; a finished one with the same settings is left as it is.

    Raises:
        PrmError: bad input, see the messages.
    """
    config.check()
    directory, record = prepare_output(config.output_dir), RunRecord(seed=config.seed)
    rollouts = _rollouts(config)
    settings = {
        **config_settings(config),
        "rollouts_path": Path(config.rollouts_path).name,
        "rollouts_hash": items_hash(rollouts),
        "model_name_or_path": model_name(config.model_name_or_path),
        "model_revision": model_revision(config.model_name_or_path),
    }
    output = StageOutput(
        directory, "label", settings, config.overwrite, partial(grown_settings, "rollouts", rollouts, config.n)
    )
    return run_stage(output, record, lambda ledger, grader: _label(config, rollouts, ledger, grader))


def _label(
    config: LabelConfig, rollouts: Sequence[Rollout], ledger: Ledger, grader: MathGrader
) -> tuple[Iterable[dict[str, Any]], dict[str, Any]]:
    generator = config.load_generator()
    with progress_bar("label", config.n * len(sampled_prefixes(rollouts)), "completion") as advance:
        labeler = MonteCarloLabeler(
            generator,
            grader,
            config.sampling(),
            n=config.n,
            seed=config.seed,
            ledger=ledger,
            progress=advance,
            workers=config.num_workers,
        )
        labelled = labeler.label(rollouts)
    report = label_report(labelled, labeler.results, grader.version)
    return (row.to_dict() for row in labelled), report | {"problem_set": problem_set(config.rollouts_path)}


def _rollouts(config: LabelConfig) -> list[Rollout]:
    """The rollouts that have steps; one without is named by its count in `rollout_report.json`."""
    rollouts = list(read_rollouts(config.rollouts_path))
    rollouts = [rollout for rollout in rollouts[: config.num_rollouts or None] if rollout.steps]
    if not rollouts:
        raise DataError(
            "no rollout in it has a step",
            path=config.rollouts_path,
            remedy="Look at a few rollouts; the generator or the splitter may be wrong for these problems",
        )
    return rollouts


def main(arguments: list[str] | None = None) -> None:
    """Parse, run, and print what came out."""
    config = parse_config(LabelConfig, arguments or [], prog="prm label")
    summary = run_label(config)
    print(label_table(summary.report))
    print(f"{'already finished' if summary.repeated else 'written'}: {summary.path}")


if __name__ == "__main__":
    run_main(main)
