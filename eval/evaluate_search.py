"""`prm eval`: what verifiers are worth under test-time search, with error bars and bills.

    prm eval --model_name_or_path runs/generator --prm_path prm=runs/prm orm=runs/orm --dataset_name arithmetic \\
        --num_problems 300 --n 16 --output_dir runs/eval
    prm eval --rollouts rollouts.jsonl --prm_path orm=runs/orm --output_dir runs/eval
    prm eval --from runs/eval --approach dvts --agg_strategy min --report_n 12

Writes into `output_dir`: `results.jsonl` (one line for each method, verifier and n), `results.json` (the whole run,
for cards and scripts), `per_problem.jsonl`, `samples.jsonl` (search-and-learn's columns and ours), `report.html` with
its first picture in `accuracy.svg`, `store/`, from which a killed run goes on, and `config.json`, for `--from`.
A finished run is not touched again: the same command prints its table, and a command with other settings is refused
unless `overwrite` is set. This file holds the config; `prm.eval.prepare` and `prm.eval.run` use it.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from prm.aggregation import AGGREGATIONS
from prm.errors import ConfigError, MissingFileError
from prm.generation.base import SamplingParams
from prm.generation.options import BackendOptions

if TYPE_CHECKING:
    from prm.generation.base import Generator

    from .cost import Prices
    from .run import EvalResult
    from .search.base import StepVerifier


LOCK_FILE = "eval.lock"


@dataclass
class EvalConfig(BackendOptions):
    """Problems, a generator or recorded samples, verifiers, and how to search."""

    output_dir: str = field(metadata={"help": "Directory of results, report and sample store"})
    dataset_name: str = field(
        default="arithmetic",
        metadata={"help": "`arithmetic`, a .jsonl/.json/.parquet/.csv file, or a dataset's name on the Hub"},
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a Hub dataset"})
    dataset_split: str = field(default="test", metadata={"help": "Split of a Hub dataset or of the arithmetic world"})
    num_problems: int = field(
        default=0, metadata={"help": "How many problems; 0: all of a file or dataset, 300 of the arithmetic world"}
    )
    skip_problems: int = field(default=0, metadata={"help": "Leave out the first so many problems, to split a file"})
    min_operations: int = field(default=3, metadata={"help": "Shortest chain of the arithmetic world"})
    max_operations: int = field(default=6, metadata={"help": "Longest chain of the arithmetic world"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "The generator, a causal language model"})
    prompt_template: str = field(default="{problem}\n", metadata={"help": "The prompt, with {problem} in it"})
    chat: bool = field(default=False, metadata={"help": "Render the prompt with the generator's chat template"})
    system_prompt: str = field(default="", metadata={"help": "System turn of a chat prompt"})
    rollouts: str | None = field(
        default=None,
        metadata={
            "help": "Recorded samples instead of a generator: `rollouts.jsonl`, or a file (.jsonl, .parquet) in "
            "search-and-learn's columns, whose scores become the verifier `recorded`"
        },
    )
    panel: bool = field(
        default=False,
        metadata={
            "help": "The recorded samples of a problem come from different systems: report the vote and the "
            "oracle of the whole panel, and no estimate over subsets"
        },
    )
    prm_path: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Verifiers, PRMs or ORMs, any number: `path` or `name=path`; `name=http://host:8000#path` of one "
            "on a vLLM pooling server; an ensemble of others: `name=mean(prm,orm)`, min, product or majority"
        },
    )
    prm_format: list[str] = field(
        default_factory=list,
        metadata={
            "help": "How published verifiers are read, `name=format` (`prm formats` lists them), where the name or "
            "the config of the checkpoint does not say"
        },
    )
    prm_api_key_env: str = field(
        default="", metadata={"help": "The environment variable that holds the pooling servers' key"}
    )
    controls: list[str] = field(
        default_factory=list, metadata={"help": "Names of verifiers that are controls, there to be beaten"}
    )
    approach: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Among greedy, best_of_n, weighted_best_of_n, beam_search, dvts, lookahead, rebase, "
            "adaptive_consistency, early_stop (majority and pass@n always stand beside them), and compute_optimal, "
            "which is made of the others' lines; default: all others that the generator and the verifiers allow"
        },
    )
    n: int = field(default=16, metadata={"help": "Generated solutions for each problem"})
    report_n: list[int] = field(
        default_factory=list, metadata={"help": "Numbers of samples to report beside n and the powers of two below it"}
    )
    search_n: list[int] = field(
        default_factory=list, metadata={"help": "Widths of the tree searches; default: n alone"}
    )
    beam_width: int = field(default=4, metadata={"help": "Ways in which a tree search expands a kept branch"})
    num_iterations: int = field(default=40, metadata={"help": "Steps of a tree search; the last runs to the end"})
    lookahead: int = field(
        default=0, metadata={"help": "Greedy steps by which the approach lookahead extends a branch before scoring it"}
    )
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature"})
    top_p: float = field(default=1.0, metadata={"help": "Nucleus of the sampling; 1 keeps every token"})
    max_new_tokens: int = field(default=512, metadata={"help": "Tokens after which a solution is truncated"})
    stop: list[str] = field(default_factory=list, metadata={"help": "Texts that end a solution; they stay in it"})
    agg_strategy: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Folds of step scores, any number of last, min, prod, mean and own (each verifier's); the first "
            "also guides tree searches; default: own"
        },
    )
    difficulty: list[str] = field(
        default_factory=list,
        metadata={
            "help": "How the approach compute_optimal tells problems apart, any number of scores (of the verifier), "
            "agreement (of answers) and oracle (pass@1, an upper bound); each makes a policy file; default: scores"
        },
    )
    difficulty_samples: int = field(
        default=0, metadata={"help": "Samples of a problem spent on its difficulty, and billed; 0: 4"}
    )
    difficulty_bins: int = field(default=0, metadata={"help": "Bins of difficulty; 0: 5"})
    difficulty_binning: str = field(
        default="",
        metadata={"help": "quantile (bins of equally many problems, the default) or absolute (equally wide)"},
    )
    policy: str | None = field(
        default=None,
        metadata={"help": "A policy file of the approach compute_optimal, to be followed on these problems"},
    )
    compare_to: str | None = field(
        default=None,
        metadata={
            "help": "Output directory of a larger generator's run on the same problems: who wins at equal FLOPs"
        },
    )
    baseline: str = field(default="majority", metadata={"help": "What gains are measured over: majority or pass_at_n"})
    price_generated: float | None = field(
        default=None, metadata={"help": "Money for a million generated tokens; 0 where they are free"}
    )
    price_prefilled: float | None = field(default=None, metadata={"help": "The same for prompt tokens that are read"})
    price_cached: float | None = field(default=None, metadata={"help": "The same for prompt tokens found in a cache"})
    price_verifier: float | None = field(default=None, metadata={"help": "The same for tokens the verifier reads"})
    price_hour: float | None = field(default=None, metadata={"help": "Money for an hour of the machine"})
    subsets: int = field(default=2048, metadata={"help": "Random subsets of a weighted best-of-n estimate"})
    seed: int = field(default=0, metadata={"help": "Seed of problems and intervals, and of samples and searches"})
    seeds: list[int] = field(
        default_factory=list,
        metadata={
            "help": "Seeds of samples and searches; each repeats the run on the same problems, and tables have the "
            "mean; default: seed alone"
        },
    )
    max_batch_tokens: int = field(
        default=0,
        metadata={
            "help": "Tokens of one batch of either model, which bounds memory: live branches hold as many, the caches "
            "of each model twice as many; 0: defaults"
        },
    )
    max_batch_rows: int = field(default=0, metadata={"help": "Rows of one batch; 0: 512 on a CPU, 1024 on a GPU"})
    num_workers: int = field(
        default=1, metadata={"help": "Processes that share the work on a CPU; results do not depend on it"}
    )
    device: str | None = field(default=None, metadata={"help": "Torch device; default: CUDA where there is one"})
    dtype: str | None = field(default=None, metadata={"help": "Torch dtype of both models, such as bfloat16"})
    label_report: str | None = field(
        default=None, metadata={"help": "label_report.json of `prm label`, to be shown in the report"}
    )
    from_run: str | None = field(
        default=None,
        metadata={
            "help": "`--from DIR`: add to the run in DIR: its settings are the defaults, lists grow by what is given, "
            "and nothing that its store has is asked for again; output_dir is DIR where none is given"
        },
    )
    samples_format: str = field(
        default="jsonl", metadata={"help": "jsonl, or parquet for a samples.parquet beside samples.jsonl"}
    )
    report: bool = field(default=True, metadata={"help": "Write report.html"})
    problem: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Write a page for each of these problems, with its search trees: ids, or worst:K for the K where "
            "the best method loses most against pass@n"
        },
    )
    overwrite: bool = field(
        default=False,
        metadata={"help": "Replace a finished run with other settings; samples that fit are used again"},
    )

    def __post_init__(self) -> None:
        for how in self.agg_strategy:
            if how not in (*AGGREGATIONS, "own"):
                raise ConfigError(f"agg_strategy must be one of {', '.join(AGGREGATIONS)} and own, not {how!r}")
        if self.samples_format not in {"jsonl", "parquet"}:
            raise ConfigError(f"samples_format must be jsonl or parquet, not {self.samples_format!r}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds has a number twice: {self.seeds}; a run repeated with one seed is one run")
        if self.seeds and self.rollouts:
            raise ConfigError("seeds draw samples anew, and those of rollouts are drawn already; drop one of them")
        if self.baseline not in {"majority", "pass_at_n"}:
            raise ConfigError(f"baseline must be majority or pass_at_n, not {self.baseline!r}")
        if self.n < 1 or self.num_iterations < 1 or self.subsets < 1:
            raise ConfigError("n, num_iterations and subsets must be at least 1")
        if self.lookahead < 0:
            raise ConfigError(f"lookahead must not be negative, and is {self.lookahead}")
        if min(self.num_problems, self.skip_problems, self.max_batch_tokens, self.max_batch_rows) < 0:
            raise ConfigError("num_problems, skip_problems, max_batch_tokens and max_batch_rows must not be negative")
        if min(self.difficulty_samples, self.difficulty_bins) < 0:
            raise ConfigError("difficulty_samples and difficulty_bins must not be negative")
        if "" in self.stop:
            raise ConfigError("a stop text is empty; it would end every solution at once")
        if self.panel and not self.rollouts:
            raise ConfigError("panel is for recorded samples: give rollouts, or drop it")
        if not self.rollouts and not self.model_name_or_path:
            raise ConfigError("nothing to evaluate: give model_name_or_path (a generator) or rollouts (samples)")
        self.check_numbers()
        if self.model_name_or_path:
            self.check_engine(self.model_name_or_path, num_workers=self.num_workers, device=self.device)
        if self.temperature == 0 and self.n > 1 and not self.rollouts:
            raise ConfigError(f"temperature 0 gives the same sample n={self.n} times; set n to 1 or raise temperature")
        self.sampling()
        self.prices()

    def prices(self) -> Prices:
        """What tokens and hours cost.

        Raises:
            ConfigError: a price that is no amount of money.
        """
        from .cost import Prices

        return Prices(
            self.price_generated, self.price_prefilled, self.price_cached, self.price_verifier, self.price_hour
        )

    def sampling(self) -> SamplingParams:
        """How solutions are drawn.

        Raises:
            ConfigError: out of range.
        """
        return SamplingParams(self.temperature, self.top_p, self.max_new_tokens, tuple(self.stop))


def run_eval(
    config: EvalConfig,
    *,
    verifiers: Mapping[str, StepVerifier] | None = None,
    generator: Generator | None = None,
) -> EvalResult:
    """Evaluate, write every output, and print the table. A finished run with the same settings is read back.

    Args:
        verifiers: verifiers in memory by name, beside those of `config.prm_path`.
        generator: a generator in memory, instead of the one at `config.model_name_or_path`.

    Raises:
        ConfigError, DataError, MissingFileError, ModelError: what is wrong, where, and what to do.
    """
    from prm.ledger import locked_output
    from prm.run_record import prepare_output

    folder = prepare_output(config.output_dir)
    with locked_output(folder / LOCK_FILE):
        return _run_eval(config, verifiers or {}, generator)


def _with_label_report(config: EvalConfig) -> EvalConfig:
    """The config, when its label report can be read. A run that is gone on with does without one that is no longer
    where it was: its path is of where the run was made.

    Raises:
        MissingFileError, DataError: a report that was asked for now, and cannot be read.
    """
    from .report.labels import read_label_report

    if not config.label_report:
        return config
    try:
        read_label_report(config.label_report)
    except MissingFileError as error:
        if not config.from_run:
            raise
        warnings.warn(f"{error}. The page goes without it; --label_report says where it is now", stacklevel=3)
        return replace(config, label_report=None)
    return config


def _run_eval(config: EvalConfig, verifiers: Mapping[str, StepVerifier], generator: Generator | None) -> EvalResult:
    from .inputs import read_inputs
    from .outputs import finished_result, show, show_problems, show_report, write_outputs
    from .prepare import prepare
    from .run import evaluate
    from .run_settings import run_settings
    from .sample_columns import recorded_scores

    config = _with_label_report(config)  # a wrong path is said before anything is spent
    recorded = recorded_scores(config.rollouts) if config.rollouts else None
    verifiers = {**({recorded.name: recorded} if recorded else {}), **verifiers}
    inputs = read_inputs(config, verifiers, generator)
    settings = run_settings(config, inputs)
    result = finished_result(config, settings)
    if result is None:
        run = prepare(config, inputs, verifiers=verifiers, generator=generator)
        for note in run.said_first:  # now, while there is time to stop
            print(f"note: {note}")
        result = evaluate(run)
        write_outputs(run, result, settings)
    else:
        print(f"already finished: {config.output_dir}")
    show(config, result)
    try:
        if config.problem:
            show_problems(prepare(config, inputs, verifiers=verifiers, generator=generator), result)
    finally:
        show_report(config, result, anew=bool(config.problem))  # with links to the pages
    return result


def main(arguments: list[str] | None = None) -> None:
    """The subcommand `prm eval`."""
    run_eval(parse_arguments(sys.argv[1:] if arguments is None else arguments))


def parse_arguments(arguments: Sequence[str]) -> EvalConfig:
    """The config that a command line describes; with `--from DIR`, the one of the run in DIR with what is added.

    Raises:
        ConfigError: see its message.
    """
    from prm.config import parse_config, take_option

    from .replay import extended, read_config

    spelled = [argument.replace("--from_run", "--from", 1) for argument in arguments]
    directory, others = take_option(spelled, "--from", "the output_dir of a run")
    if directory is None:
        parsed: EvalConfig = parse_config(EvalConfig, others, prog="prm eval")
        return parsed
    before = read_config(directory)
    return extended(before, parse_config(EvalConfig, others, prog="prm eval", defaults=asdict(before)))


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
