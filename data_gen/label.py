"""`prm label`: rollouts to step labels.

    prm label --rollouts_path runs/a/rollouts.jsonl --model_name_or_path runs/generator --n 8 --output_dir runs/b

writes `labels.jsonl`, `label_report.json` and the same as a page in `label_report.html` (shares, values by position,
cost, agreement, and accuracy where the truth is known), and `label_run.json` (what produced it). Completions are kept
in `label_ledger.jsonl` as they are finished. How labels are made is the labeler's business (`data_gen.monte_carlo`),
the report is `data_gen.label_report`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from prm.config import parse_config, run_main
from prm.data_facts import problem_set
from prm.errors import ConfigError, DataError
from prm.fingerprint import file_hash
from prm.grading import Grader
from prm.hub_upload import check_repo_id
from prm.jsonl import write_jsonl
from prm.labels import LabelledRollout
from prm.ledger import Ledger
from prm.progress import progress_bar
from prm.rollouts import Cost, Rollout, read_rollouts
from prm.run_record import RunRecord, prepare_output

from .consensus import ConsensusLabeler
from .dry_run import dry_table, estimate_label, label_plan, measured_speed
from .label_page import page_is_fresh, write_label_page
from .label_report import consensus_report, label_report, label_table
from .labeler import Labeler
from .labelers import (
    OMEGA,
    Workbench,
    check_labelers,
    completion_splitter,
    first_error_rule,
    needs_generator,
    sampling_rule,
)
from .options import SamplingOptions
from .push import DatasetPushConfig, push_labels
from .stage import StageOutput, StageSummary, config_settings, grown_settings, items_hash, run_stage
from .truth import TruthOf, arithmetic_truth, read_truth


@dataclass(kw_only=True)
class LabelConfig(SamplingOptions):
    """Options of `prm label`."""

    rollouts_path: str = field(metadata={"help": "The rollouts.jsonl to label"})
    labeler: str = field(
        default="monte_carlo",
        metadata={
            "help": "monte_carlo: complete every prefix; first_error: search the first wrong step; omega: grow a "
            "tree of solutions (OmegaPRM); consensus: keep where two labelers agree; implicit: the outcome alone"
        },
    )
    n: int = field(
        default=0,
        metadata={"help": "Completions of each prefix (at most, where a rule may stop); 0: 8, interval 32"},
    )
    rule: str = field(
        default="fixed",
        metadata={
            "help": "monte_carlo: fixed (n each), first_success (hard labels only, same labels for less), interval "
            "(until the soft value is known well enough)"
        },
    )
    max_error: float = field(default=0.2, metadata={"help": "interval: half its width at which to stop"})
    max_zero: float = field(
        default=0.1, metadata={"help": "interval: its upper end at which to believe that no completion succeeds"}
    )
    confidence: float = field(
        default=0.0,
        metadata={"help": "interval: its confidence, 0: .9; first_error: the probability from which to stop, 0: .85"},
    )
    min_worth: float = field(
        default=0.01, metadata={"help": "first_error: bits per solution's tokens that a completion must tell at least"}
    )
    verify_correct: bool = field(
        default=False, metadata={"help": "first_error: search rollouts with a right answer, too"}
    )
    searches: int = field(default=100, metadata={"help": "omega: wrong rollouts searched in a problem's tree at most"})
    alpha: float = field(default=0.5, metadata={"help": "omega: below 1 prefers rollouts of states mostly solved"})
    beta: float = field(default=0.9, metadata={"help": "omega: below 1 prefers short rollouts"})
    length_scale: float = field(default=500.0, metadata={"help": "omega: tokens after which beta has worked once"})
    c_puct: float = field(default=0.125, metadata={"help": "omega: preference of states seldom visited"})
    splitter: str = field(
        default="", metadata={"help": "omega: how completions are split into steps; by default as the rollouts were"}
    )
    consensus_of: list[str] = field(
        default_factory=list, metadata={"help": "consensus: two labelers, or paths of labels.jsonl files"}
    )
    num_rollouts: int = field(default=0, metadata={"help": "Label the first so many rollouts; 0 labels all"})
    dry_run: bool = field(
        default=False, metadata={"help": "Estimate completions, tokens and time; ask and write nothing"}
    )
    push_to_hub: str | None = field(
        default=None,
        metadata={"help": "Publish the labels as this dataset on the Hub; `prm data push` has more options"},
    )
    truth_path: str | None = field(
        default=None,
        metadata={"help": "Judged solutions to measure the labels against: ProcessBench, PRM800K or a labels.jsonl"},
    )

    def check(self) -> None:
        if self.push_to_hub is not None:
            check_repo_id(self.push_to_hub, "push_to_hub")
        if self.n < 0 or self.num_rollouts < 0:
            raise ConfigError("n and num_rollouts must not be negative")
        check_labelers(self)
        sampling_rule(self)
        first_error_rule(self)
        if not needs_generator(self):
            return
        super().check()
        if self.temperature == 0 and self.n != 1:
            raise ConfigError("temperature 0 gives the same completion n times; set n to 1 or raise temperature")


def run_label(config: LabelConfig) -> StageSummary:
    """Run the stage; a finished one with the same settings is left as it is.

    Raises:
        PrmError: bad input, see the messages.
    """
    config.check()
    directory, record = prepare_output(config.output_dir), RunRecord(seed=config.seed)
    rollouts = _rollouts(config)
    output = _output(config, rollouts)
    truth_of = read_truth(config.truth_path) if config.truth_path else arithmetic_truth
    summary = run_stage(output, record, lambda ledger, grader: _label(config, rollouts, truth_of, ledger, grader))
    if not (summary.repeated and page_is_fresh(directory)):
        write_label_page(directory, summary.report)
    return summary


def estimate_run(config: LabelConfig) -> str:
    """What the run would cost, as lines for the terminal; nothing is asked and nothing is written.

    Raises:
        PrmError: what the run itself would refuse.
    """
    config.check()
    rollouts = _rollouts(config)
    output = _output(config, rollouts)
    if output.finished_report():
        return f"already finished, nothing is left: {output.data_path}"
    return dry_table(estimate_label(config, rollouts), output, measured_speed(output, config.rollouts_path))


def _output(config: LabelConfig, rollouts: Sequence[Rollout]) -> StageOutput:
    settings = {
        **config_settings(config),
        "rollouts_path": Path(config.rollouts_path).name,
        "rollouts_hash": items_hash(rollouts),
    }
    if needs_generator(config):
        settings |= config.model_settings()
    if config.labeler == OMEGA:
        settings["splitter"] = completion_splitter(config, rollouts)
    if config.truth_path:
        settings |= {"truth_path": Path(config.truth_path).name, "truth_hash": file_hash(config.truth_path)}
    grown, plan = partial(_grown, config, rollouts), label_plan(config, rollouts)
    return StageOutput(Path(config.output_dir), "label", settings, config.overwrite, grown, plan)


def _grown(config: LabelConfig, rollouts: Sequence[Rollout], report: Mapping[str, Any]) -> set[str]:
    """The settings that may differ from an earlier run's; what labels are measured against changes none of them."""
    return grown_settings("rollouts", rollouts, config.n, report) | {"truth_path", "truth_hash"}


def _label(
    config: LabelConfig, rollouts: Sequence[Rollout], truth_of: TruthOf, ledger: Ledger, grader: Grader
) -> tuple[Iterable[dict[str, Any]], dict[str, Any]]:
    with progress_bar("label", None, "completion") as advance:
        bench = Workbench(config, ledger, grader, advance)
        labeler = bench.labeler(config.labeler)
        labelled = labeler.label(rollouts)
    if not labelled:
        raise DataError(
            f"the labeler {config.labeler!r} kept no rollout",
            path=config.rollouts_path,
            remedy=f"What each labeler said is in {_keep_rejected(config, labeler)}",
        )
    rejected = getattr(labeler, "rejected", None)
    report = label_report(
        labelled,
        bench.results,
        grader.version,
        truth_of=truth_of,
        rejected_cost=None if rejected is None else sum((row.cost for row in rejected), Cost()),
    )
    report |= {"labeler": config.labeler, "problem_set": problem_set(config.rollouts_path)}
    if not isinstance(labeler, ConsensusLabeler):
        return (row.to_dict() for row in labelled), report
    _keep_rejected(config, labeler)
    names = (Path(config.consensus_of[0]).name, Path(config.consensus_of[1]).name)
    rows = (
        one.to_dict() | {"verdicts": {names[0]: _dicts(first), names[1]: _dicts(second)}}
        for one, (first, second) in zip(labelled, labeler.kept, strict=True)
    )
    return rows, report | consensus_report(labeler, names)


def _dicts(row: LabelledRollout) -> list[dict[str, Any]]:
    return [label.to_dict() for label in row.labels]


def _keep_rejected(config: LabelConfig, labeler: Labeler) -> Path:
    """Write what a consensus left out beside the labels; returns where."""
    path = Path(config.output_dir) / "label_rejected.jsonl"
    write_jsonl(path, (row.to_dict() for row in getattr(labeler, "rejected", ())))
    return path


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
    if config.dry_run:
        print(estimate_run(config))
        return
    summary = run_label(config)
    print(label_table(summary.report))
    print(f"{'already finished' if summary.repeated else 'written'}: {summary.path}")
    if config.push_to_hub:
        print(push_labels(DatasetPushConfig(labels_path=str(summary.path), repo_id=config.push_to_hub)))


if __name__ == "__main__":
    run_main(main)
