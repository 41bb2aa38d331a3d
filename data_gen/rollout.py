"""`prm rollout`: problems to sampled, graded solutions.

    prm rollout --dataset_name arithmetic --num_problems 100 --model_name_or_path runs/generator --output_dir runs/a

writes `rollouts.jsonl`, `rollout_report.json` (what came out and what it cost) and `rollout_run.json` (what produced
it). Samples are kept in `rollout_ledger.jsonl` as they are finished, so that a killed run goes on where it was.
Sampling is `prm.generation`'s, splitting `prm.splitting`'s, grading `prm.grading`'s; the report is
`data_gen.rollout_report`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from prm.config import parse_config, run_main
from prm.errors import ConfigError, DataError
from prm.fingerprint import file_hash
from prm.generation.base import Completion, GenerationRequest, Generator, request_seed
from prm.generation.recorded import RecordedSample, read_recorded
from prm.grading import Grader
from prm.ledger import Ledger, generate_once, request_keys
from prm.problems import Problem, dataset_label, load_problems
from prm.progress import progress_bar
from prm.rollouts import Rollout
from prm.run_record import RunRecord, output_directory
from prm.splitting import DEFAULT_SPLITTER, find_splitter, split_steps

from .dry_run import estimate_rollout, estimate_table
from .generation_time import measured_speed
from .grading import GradedText, SampledText, grade_once, grade_texts
from .options import SamplingOptions
from .request_match import request_keys_of
from .rollout_report import rollout_report, rollout_table
from .shards import parse_shard, shard_facts, shard_positions
from .stage import (
    Plan,
    StageOutput,
    StageSummary,
    config_settings,
    grown_settings,
    items_hash,
    run_stage,
)

ARITHMETIC = "arithmetic"
RECORDED_SETTINGS = ("backend", "recorded_keys", "num_problems", "skip_problems", "splitter")


@dataclass(kw_only=True)
class RolloutConfig(SamplingOptions):
    """Options of `prm rollout`."""

    backends: ClassVar[tuple[str, ...]] = (*SamplingOptions.backends, "recorded")

    dataset_name: str = field(
        metadata={"help": "Problems: a .jsonl, .json, .parquet or .csv file, a dataset on the Hub, or 'arithmetic'"}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a dataset on the Hub"})
    dataset_split: str = field(default="train", metadata={"help": "Split of a dataset on the Hub, or of arithmetic"})
    num_problems: int = field(default=0, metadata={"help": "Take the first so many problems; 0 takes all"})
    skip_problems: int = field(default=0, metadata={"help": "Leave out the first so many problems, to split a file"})
    min_operations: int = field(default=3, metadata={"help": "Arithmetic: shortest chain"})
    max_operations: int = field(default=6, metadata={"help": "Arithmetic: longest chain"})
    backend: str = field(
        default="transformers",
        metadata={
            "help": "transformers; vllm: in this process; endpoint: servers with the completions API; recorded: "
            "import the solutions in dataset_name"
        },
    )
    recorded_keys: list[str] = field(
        default_factory=list, metadata={"help": "Recorded: columns to import; by default every system's"}
    )
    n: int = field(default=1, metadata={"help": "Samples of each problem"})
    shard: str = field(
        default="",
        metadata={"help": "i/n: sample one of n parts of the problems, for `prm data merge`"},
    )
    dry_run: bool = field(default=False, metadata={"help": "Estimate samples, tokens and time; ask and write nothing"})
    splitter: str = field(
        default=DEFAULT_SPLITTER,
        metadata={"help": r"separator:<text> (\n stands for a line break), line, numbered, sentence or thought"},
    )

    @property
    def limit(self) -> int:
        """Problems to read, those to skip included; 0 for all."""
        return self.num_problems and self.skip_problems + self.num_problems

    def check(self) -> None:
        find_splitter(self.splitter)
        parse_shard(self.shard)
        self.check_backend()
        if self.num_problems < 0 or self.skip_problems < 0 or self.n < 1:
            raise ConfigError("num_problems and skip_problems must not be negative and n must be at least 1")
        if self.backend == "recorded":
            if self.shard:
                raise ConfigError("shard divides the sampling; recorded solutions are imported whole")
            return
        super().check()
        if self.temperature == 0 and self.n > 1:
            raise ConfigError(f"temperature 0 gives the same sample n={self.n} times; set n to 1 or raise temperature")
        if self.dataset_name == ARITHMETIC and not self.num_problems:
            raise ConfigError("the arithmetic world has no end of problems: set num_problems")


def run_rollout(config: RolloutConfig) -> StageSummary:
    """Run the stage; a finished one with the same settings is left as it is.

    Raises:
        PrmError: bad input, see the messages.
    """
    config.check()
    with output_directory(config.output_dir):
        return _import_recorded(config) if config.backend == "recorded" else _sample(config)


def estimate_run(config: RolloutConfig) -> str:
    """What the run would cost, as lines for the terminal; nothing is asked and nothing is written.

    Raises:
        PrmError: what the run itself would refuse.
    """
    config.check()
    if config.backend == "recorded":
        return "recorded solutions are imported at no cost"
    problems = _problems(config)
    output = _output(config, _sampling_settings(config, problems), problems)
    if output.finished_report():
        return f"already finished, nothing is left: {output.data_path}"
    own = [problems[position] for position in _positions(config, problems)]
    wants = [(problem.problem, "", config.n) for problem in own]
    done = output.tally(request_keys_of(config, wants, config.seed, output.ledger_path))
    estimate = estimate_rollout(len(own) * config.n, config.max_new_tokens, done)
    return estimate_table(estimate, done, measured_speed(output))


def _sampling_settings(config: RolloutConfig, problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        **config_settings(config),
        "dataset_name": dataset_label(config.dataset_name),
        **config.model_settings(),
        "problems_hash": items_hash(problems),
    }


def _sample(config: RolloutConfig) -> StageSummary:
    record = RunRecord(seed=config.seed)
    problems = _problems(config)
    settings = _sampling_settings(config, problems)

    shard, positions = parse_shard(config.shard), _positions(config, problems)
    own = [problems[position] for position in positions]

    def make(ledger: Ledger, grader: Grader) -> tuple[Iterable[dict[str, Any]], dict[str, Any]]:
        generator = config.load_generator()
        rollouts = _sample_rollouts(config, own, generator, ledger, grader)
        report = rollout_report(rollouts, grader.version, _facts(generator), config.max_new_tokens)
        if shard is not None:
            report["shard"] = shard_facts(shard, positions, len(problems), config.n)
        return (rollout.to_dict() for rollout in rollouts), report

    return run_stage(_output(config, settings, problems), record, make)


def _import_recorded(config: RolloutConfig) -> StageSummary:
    record = RunRecord()
    samples = read_recorded(config.dataset_name, config.splitter, keys=config.recorded_keys, limit=config.limit)
    problems = list(dict.fromkeys(sample.rollout.problem for sample in samples))[config.skip_problems :]
    if not problems:
        raise _nothing_left(config)
    kept = {problem.unique_id for problem in problems}
    samples = [sample for sample in samples if sample.rollout.problem.unique_id in kept]
    settings = {
        **{key: getattr(config, key) for key in RECORDED_SETTINGS},
        "dataset_name": dataset_label(config.dataset_name),
        "dataset_hash": file_hash(config.dataset_name),
        "problems_hash": items_hash(problems),
    }

    def make(ledger: Ledger, grader: Grader) -> tuple[Iterable[dict[str, Any]], dict[str, Any]]:
        rollouts = grade_rollouts([sample.rollout for sample in samples], grader)
        return (rollout.to_dict() for rollout in rollouts), rollout_report(
            rollouts, grader.version, verdicts=_verdicts(samples)
        )

    return run_stage(_output(config, settings, problems), record, make)


def _output(config: RolloutConfig, settings: dict[str, Any], problems: Sequence[Problem]) -> StageOutput:
    grown = partial(grown_settings, "problems", problems, config.n)
    requests = 0 if config.backend == "recorded" else len(_positions(config, problems)) * config.n
    plan = Plan("problems", len(problems), requests, exact=True)
    return StageOutput(Path(config.output_dir), "rollout", settings, config.overwrite, grown, plan)


def _positions(config: RolloutConfig, problems: Sequence[Problem]) -> list[int]:
    """Where the problems of this shard stand among all."""
    return shard_positions(problems, parse_shard(config.shard), lambda problem: problem.unique_id)


def _problems(config: RolloutConfig) -> list[Problem]:
    problems = _all_problems(config)[config.skip_problems :]
    if not problems:
        raise _nothing_left(config)
    return problems


def _all_problems(config: RolloutConfig) -> list[Problem]:
    if config.dataset_name != ARITHMETIC:
        return load_problems(
            config.dataset_name, split=config.dataset_split, config=config.dataset_config, limit=config.limit
        )
    from prm.worlds.arithmetic import make_problems

    return make_problems(
        config.limit,
        seed=config.seed,
        split=config.dataset_split,
        min_operations=config.min_operations,
        max_operations=config.max_operations,
    )


def _nothing_left(config: RolloutConfig) -> DataError:
    what = f"skip_problems={config.skip_problems} leaves no problem"
    return DataError(what, path=config.dataset_name, remedy="Skip fewer")


def _sample_rollouts(
    config: RolloutConfig, problems: Sequence[Problem], generator: Generator, ledger: Ledger, grader: Grader
) -> list[Rollout]:
    asked = [(problem, index) for problem in problems for index in range(config.n)]
    requests = [
        GenerationRequest(
            tuple(generator.prompt_ids(problem.problem)), request_seed(problem.problem, "", index, config.seed)
        )
        for problem, index in asked
    ]
    with progress_bar("rollout", len(requests), "sample") as advance:
        completions = generate_once(generator, requests, config.sampling(), ledger, advance, config.num_workers)
    rollouts = [
        _rollout(problem, index, request.seed, completion, generator.name, config.splitter)
        for (problem, index), request, completion in zip(asked, requests, completions, strict=True)
    ]
    keys = request_keys(generator, config.sampling(), requests)
    return _graded(rollouts, grade_once(keys, _texts(rollouts), grader, ledger))


def _rollout(problem: Problem, index: int, seed: int, completion: Completion, source: str, splitter: str) -> Rollout:
    split = split_steps(completion.text, splitter)
    return Rollout(
        problem=problem,
        steps=split.steps,
        gaps=split.gaps,
        sample_index=index,
        stop_reason=completion.stop_reason,
        source=source,
        seed=seed,
        cost=completion.cost,
    )


def grade_rollouts(rollouts: Sequence[Rollout], grader: Grader) -> list[Rollout]:
    """The rollouts with their answers and outcomes; truncated ones keep `None` (see `data_gen.grading`)."""
    return _graded(rollouts, grade_texts(_texts(rollouts), grader))


def _texts(rollouts: Sequence[Rollout]) -> list[SampledText]:
    return [SampledText(r.text, r.stop_reason, r.problem.answer) for r in rollouts]


def _graded(rollouts: Sequence[Rollout], graded: Sequence[GradedText]) -> list[Rollout]:
    return [replace(r, pred=g.pred, outcome=g.outcome) for r, g in zip(rollouts, graded, strict=True)]


def _verdicts(samples: Sequence[RecordedSample]) -> dict[str, bool]:
    """The record's own verdicts by rollout key, where it has any."""
    return {sample.rollout.key: sample.verdict for sample in samples if sample.verdict is not None}


def _facts(generator: Generator) -> dict[str, Any]:
    names = ("name", "revision", "num_parameters", "context_length")
    return {name: getattr(generator, name) for name in names}


def main(arguments: list[str] | None = None) -> None:
    """Parse, run, and print what came out."""
    config = parse_config(RolloutConfig, arguments or [], prog="prm rollout")
    if config.dry_run:
        print(estimate_run(config))
        return
    summary = run_rollout(config)
    print(rollout_table(summary.report))
    print(f"{'already finished' if summary.repeated else 'written'}: {summary.path}")


if __name__ == "__main__":
    run_main(main)
