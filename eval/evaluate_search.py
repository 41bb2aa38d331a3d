"""`prm eval`: what verifiers are worth under test-time search, with error bars and bills.

    prm eval --model_name_or_path runs/generator --prm_path prm=runs/prm orm=runs/orm --dataset_name arithmetic \\
        --num_problems 300 --n 16 --output_dir runs/eval
    prm eval --rollouts rollouts.jsonl --prm_path orm=runs/orm --output_dir runs/eval

Writes into `output_dir`: `results.jsonl` (one line for each method, verifier and n), `results.json` (the whole run,
for cards and scripts), `per_problem.jsonl`, `samples.jsonl` (search-and-learn's columns and ours), `report.html`,
and `store/`, from which a killed run goes on. This file holds the config; `prm.eval.run` walks through the methods,
and what they do is under `eval/search/`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prm.aggregation import AGGREGATIONS
from prm.errors import ConfigError

if TYPE_CHECKING:
    from prm.generation.base import Generator

    from .run import EvalResult
    from .search.base import StepVerifier


@dataclass
class EvalConfig:
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
    min_operations: int = field(default=3, metadata={"help": "Shortest chain of the arithmetic world"})
    max_operations: int = field(default=6, metadata={"help": "Longest chain of the arithmetic world"})
    model_name_or_path: str | None = field(default=None, metadata={"help": "The generator, a causal language model"})
    prompt_template: str = field(default="{problem}\n", metadata={"help": "The prompt, with {problem} in it"})
    chat: bool = field(default=False, metadata={"help": "Render the prompt with the generator's chat template"})
    system_prompt: str = field(default="", metadata={"help": "System turn of a chat prompt"})
    rollouts: str | None = field(
        default=None, metadata={"help": "Recorded samples (`rollouts.jsonl`) instead of a generator"}
    )
    panel: bool = field(
        default=False,
        metadata={
            "help": "The recorded samples of a problem come from different systems: report the vote and the "
            "oracle of the whole panel, and no estimate over subsets"
        },
    )
    prm_path: list[str] = field(
        default_factory=list, metadata={"help": "Verifiers, PRMs or ORMs: `path` or `name=path`, any number"}
    )
    controls: list[str] = field(
        default_factory=list, metadata={"help": "Names of verifiers that are controls, there to be beaten"}
    )
    approach: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Among greedy, best_of_n, weighted_best_of_n, beam_search, dvts (majority and pass@n always "
            "stand beside them); default: all that the generator and the verifiers allow"
        },
    )
    n: int = field(default=16, metadata={"help": "Generated solutions for each problem"})
    search_n: list[int] = field(
        default_factory=list, metadata={"help": "Widths of beam_search and dvts; default: n alone"}
    )
    beam_width: int = field(default=4, metadata={"help": "Ways in which a tree search expands a kept branch"})
    num_iterations: int = field(default=40, metadata={"help": "Steps of a tree search; the last runs to the end"})
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature"})
    top_p: float = field(default=1.0, metadata={"help": "Nucleus of the sampling; 1 keeps every token"})
    max_new_tokens: int = field(default=512, metadata={"help": "Tokens after which a solution is truncated"})
    agg_strategy: str = field(
        default="", metadata={"help": "Fold of step scores: last, min, prod or mean; default: each verifier's own"}
    )
    baseline: str = field(default="majority", metadata={"help": "What gains are measured over: majority or pass_at_n"})
    subsets: int = field(default=2048, metadata={"help": "Random subsets of a weighted best-of-n estimate"})
    seed: int = field(default=0, metadata={"help": "Seed of problems, samples, searches and intervals"})
    batch_tokens: int = field(default=0, metadata={"help": "Tokens of one batch, which bounds memory; 0: defaults"})
    num_workers: int = field(
        default=1, metadata={"help": "Processes that share the work on a CPU; results do not depend on it"}
    )
    device: str | None = field(default=None, metadata={"help": "Torch device; default: CUDA where there is one"})
    dtype: str | None = field(default=None, metadata={"help": "Torch dtype of both models, such as bfloat16"})
    label_report: str | None = field(
        default=None, metadata={"help": "label_report.json of `prm label`, to be shown in the report"}
    )
    report: bool = field(default=True, metadata={"help": "Write report.html"})

    def __post_init__(self) -> None:
        if self.agg_strategy and self.agg_strategy not in AGGREGATIONS:
            raise ConfigError(f"agg_strategy must be one of {', '.join(AGGREGATIONS)}, not {self.agg_strategy!r}")
        if self.baseline not in {"majority", "pass_at_n"}:
            raise ConfigError(f"baseline must be majority or pass_at_n, not {self.baseline!r}")
        if self.n < 1 or self.num_iterations < 1 or self.subsets < 1 or self.num_problems < 0:
            raise ConfigError("n, num_iterations and subsets must be at least 1, and num_problems at least 0")
        if self.num_workers < 1:
            raise ConfigError("num_workers must be at least 1")
        if self.panel and not self.rollouts:
            raise ConfigError("panel is for recorded samples: give rollouts, or drop it")
        if not self.rollouts and not self.model_name_or_path:
            raise ConfigError("nothing to evaluate: give model_name_or_path (a generator) or rollouts (samples)")


def run_eval(
    config: EvalConfig,
    *,
    verifiers: Mapping[str, StepVerifier] | None = None,
    generator: Generator | None = None,
) -> EvalResult:
    """Evaluate, write every output, and print the table.

    Args:
        verifiers: verifiers in memory by name, beside those of `config.prm_path`.
        generator: a generator in memory, instead of the one at `config.model_name_or_path`.

    Raises:
        ConfigError, DataError, MissingFileError, ModelError: what is wrong, where, and what to do.
    """
    from .label_section import read_label_report
    from .run import evaluate, prepare

    if config.label_report:
        read_label_report(config.label_report)  # a wrong path is said before anything is spent
    run = prepare(config, verifiers=verifiers or {}, generator=generator)
    result = evaluate(run)
    from .outputs import write_outputs

    write_outputs(run, result)
    return result


def main(arguments: list[str] | None = None) -> None:
    """The subcommand `prm eval`."""
    from prm.config import parse_config

    run_eval(parse_config(EvalConfig, sys.argv[1:] if arguments is None else arguments, prog="prm eval"))


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
