"""`prm label`: rollouts to step labels.

    prm label --rollouts_path runs/a/rollouts.jsonl --model_name_or_path runs/generator --n 8 --output_dir runs/b

writes `labels.jsonl`, `label_report.json` and the same as a page in `label_report.html` (shares, values by position,
cost, agreement, and accuracy where the truth is known), and `label_run.json` (what produced it). Completions are kept
in `label_ledger.jsonl` as they are finished. How labels are made is the labeler's business (`data_gen.monte_carlo`),
the report is `data_gen.label_report`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prm.config import parse_config, run_main
from prm.errors import DataError
from prm.fingerprint import file_hash
from prm.grading import Grader
from prm.hub_upload import logged_in, with_namespace
from prm.jsonl import write_jsonl
from prm.labels import LabelledRollout
from prm.ledger import Ledger
from prm.progress import progress_bar
from prm.rollouts import Cost, Rollout, read_rollouts
from prm.rows.facts import problem_set
from prm.run_record import RunRecord, output_directory

from .consensus import REJECTED_FILE, ConsensusLabeler
from .dry_run import estimate_label, estimate_table
from .first_error import FirstErrorLabeler
from .generation_time import measured_speed
from .judge import JudgeLabeler
from .label_config import LabelConfig
from .label_page import page_is_fresh, write_label_page
from .label_report import consensus_report, label_report, label_table
from .labeler import Labeler
from .labelers import OMEGA, Workbench, completion_splitter, needs_answers
from .push import DatasetPushConfig, push_labels
from .request_bounds import label_plan
from .request_match import label_keys
from .shards import parse_shard, shard_facts, shard_positions
from .stage import StageOutput, StageSummary, grown_settings, items_hash, run_stage
from .truth import TruthOf, arithmetic_truth, read_truth

__all__ = ["LabelConfig", "estimate_run", "main", "run_label"]


def run_label(config: LabelConfig) -> StageSummary:
    """Run the stage; a finished one with the same settings is left as it is.

    Raises:
        PrmError: bad input, see the messages.
    """
    config.check()
    record = RunRecord(seed=config.seed)
    with output_directory(config.output_dir) as directory:
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
    own = [rollouts[position] for position in _positions(config, rollouts)]
    done = output.tally(label_keys(config, own, output.ledger_path))
    return estimate_table(estimate_label(config, own), done, measured_speed(output, config.rollouts_path))


def _output(config: LabelConfig, rollouts: Sequence[Rollout]) -> StageOutput:
    settings = {
        **config.settings(),
        "rollouts_path": Path(config.rollouts_path).name,
        "rollouts_hash": items_hash(rollouts),
    }
    if config.labeler == OMEGA:
        settings["splitter"] = completion_splitter(config, rollouts)
    if config.truth_path:
        settings |= {"truth_path": Path(config.truth_path).name, "truth_hash": file_hash(config.truth_path)}
    grown = partial(_grown, config, rollouts)
    plan = label_plan(config, [rollouts[position] for position in _positions(config, rollouts)])
    return StageOutput(Path(config.output_dir), "label", settings, config.overwrite, grown, plan)


def _positions(config: LabelConfig, rollouts: Sequence[Rollout]) -> list[int]:
    """Where the rollouts of this shard stand among all."""
    return shard_positions(rollouts, parse_shard(config.shard), lambda rollout: rollout.problem.unique_id)


def _grown(config: LabelConfig, rollouts: Sequence[Rollout], report: Mapping[str, Any]) -> set[str]:
    """The settings that may differ from an earlier run's; what labels are measured against changes none of them."""
    return grown_settings("rollouts", rollouts, config.n, report) | {"truth_path", "truth_hash"}


def _label(
    config: LabelConfig, rollouts: Sequence[Rollout], truth_of: TruthOf, ledger: Ledger, grader: Grader
) -> tuple[Iterable[dict[str, Any]], dict[str, Any]]:
    shard, positions = parse_shard(config.shard), _positions(config, rollouts)
    own = [rollouts[position] for position in positions]
    with progress_bar("label", None, "completion") as advance:
        bench = Workbench(config, ledger, grader, advance, rollouts)
        labeler = bench.labeler(config.labeler)
        labelled = labeler.label(own)
    if not labelled and shard is None:
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
    if shard is not None:
        report["shard"] = shard_facts(shard, positions, len(rollouts), _rows_made(own, labelled))
    for one in (labeler.first, labeler.second) if isinstance(labeler, ConsensusLabeler) else (labeler,):
        if isinstance(one, FirstErrorLabeler):
            report["first_error"] = one.summary()
        if isinstance(one, JudgeLabeler):
            report["judge"] = one.summary()
    if not isinstance(labeler, ConsensusLabeler):
        return (row.to_dict() for row in labelled), report
    _keep_rejected(config, labeler)
    first_name, second_name = config.verdict_names()
    rows = (
        one.to_dict() | {"verdicts": {first_name: _dicts(first), second_name: _dicts(second)}}
        for one, (first, second) in zip(labelled, labeler.kept, strict=True)
    )
    return rows, report | consensus_report(labeler, (first_name, second_name))


def _rows_made(rollouts: Sequence[Rollout], labelled: Sequence[LabelledRollout]) -> list[int]:
    """How many rows each rollout made: none where it was left out, more where a tree grew new ones behind it."""
    place = {rollout.key: number for number, rollout in enumerate(rollouts)}
    rows, last = [0] * len(rollouts), 0
    for row in labelled:
        last = place.get(row.rollout.key, last)
        rows[last] += 1
    return rows


def _dicts(row: LabelledRollout) -> list[dict[str, Any]]:
    return [label.to_dict() for label in row.labels]


def _keep_rejected(config: LabelConfig, labeler: Labeler) -> Path:
    """Write what a consensus left out beside the labels; returns where."""
    path = Path(config.output_dir) / REJECTED_FILE
    write_jsonl(path, (row.to_dict() for row in getattr(labeler, "rejected", ())))
    return path


def _rollouts(config: LabelConfig) -> list[Rollout]:
    """The rollouts that have steps; one without is named by its count in `rollout_report.json`."""
    rollouts = list(read_rollouts(config.rollouts_path, answer_known=needs_answers(config)))
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
    if config.push_to_hub:  # labels take hours; a token that is missing or refused is known now
        with_namespace(logged_in(), config.push_to_hub)
    summary = run_label(config)
    print(label_table(summary.report))
    print(f"{'already finished' if summary.repeated else 'written'}: {summary.path}")
    if config.push_to_hub:
        print(push_labels(DatasetPushConfig(labels_path=str(summary.path), repo_id=config.push_to_hub)))


if __name__ == "__main__":
    run_main(main)
