"""The keys of `prm bench`."""

from __future__ import annotations

from dataclasses import dataclass, field

from prm.errors import ConfigError
from prm.spelling import hint

BENCHMARKS = ("processbench", "prmbench", "best_of_n")


@dataclass
class BenchConfig:
    """A verifier and the files to read, or runs to compare."""

    output_dir: str = field(metadata={"help": "Directory of the results, the page and the cache of scores"})
    prm_path: str = field(
        default="", metadata={"help": "The verifier: a directory, a Hub name, or NAME=one of them; none with compare"}
    )
    files: list[str] = field(
        default_factory=list,
        metadata={"help": "The benchmark's files, JSON arrays or JSON lines: of ProcessBench one per subset"},
    )
    benchmark: str = field(default="processbench", metadata={"help": " | ".join(BENCHMARKS)})
    threshold: float | None = field(
        default=None, metadata={"help": "A step is held to be wrong below this score; default: the verifier's own"}
    )
    fit_files: list[str] = field(
        default_factory=list,
        metadata={"help": "ProcessBench files to fit the threshold on; none of their problems is measured"},
    )
    cross_fit: int = field(
        default=0,
        metadata={"help": "Parts of the problems, each measured with the threshold that fits the others; 0: no fit"},
    )
    compare: list[str] = field(
        default_factory=list,
        metadata={"help": "Directories of runs, published names, or verifiers to run on files first: a leaderboard"},
    )
    panel: bool = field(
        default=False, metadata={"help": "best_of_n: the samples of a problem are one of each of several systems"}
    )
    agg_strategy: str | None = field(
        default=None, metadata={"help": "best_of_n: last | min | prod | mean of step scores; default: the verifier's"}
    )
    prm_format: str | None = field(
        default=None, metadata={"help": "Format of a verifier that others published, where several fit (prm formats)"}
    )
    score_cache: str | None = field(
        default=None, metadata={"help": "Directory of the scores, to share between runs; default: output_dir/scores"}
    )
    num_problems: int = field(default=0, metadata={"help": "A random sample of this many rows of each file; 0: all"})
    overwrite: bool = field(
        default=False,
        metadata={"help": "Replace a finished run with other settings; scores that fit are used again"},
    )
    batch_tokens: int = field(default=16384, metadata={"help": "Tokens of one batch, which bounds memory"})
    device: str | None = field(default=None, metadata={"help": "Torch device; default: CUDA where there is one"})
    dtype: str | None = field(default=None, metadata={"help": "Torch dtype, such as bfloat16"})
    seed: int = field(default=0, metadata={"help": "Seed of the sample, the folds and the bootstrap"})

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must be between 0 and 1, not {self.threshold}")
        if self.num_problems < 0 or self.batch_tokens < 1:
            raise ConfigError("num_problems must not be negative and batch_tokens must be positive")
        if self.cross_fit < 0 or self.cross_fit == 1:
            raise ConfigError(f"cross_fit must be 0 or at least 2, not {self.cross_fit}")
        if self.benchmark not in BENCHMARKS:
            raise ConfigError(f"unknown benchmark {self.benchmark!r}; {hint(self.benchmark, BENCHMARKS)}")
        self._check_threshold()
        if self.compare and self.prm_path:
            raise ConfigError("give prm_path, or verifiers and runs in compare, not both")
        if self.compare and self.prm_format:
            raise ConfigError("prm_format is of prm_path: run that verifier by itself, then compare its directory")
        if not self.compare and not (self.prm_path and self.files):
            raise ConfigError("missing prm_path or files: a verifier and the benchmark's files, or runs to compare")

    def _check_threshold(self) -> None:
        given = [self.threshold is not None, bool(self.fit_files), bool(self.cross_fit)]
        if sum(given) > 1:
            raise ConfigError("give one of threshold, fit_files and cross_fit: the threshold is fixed or fitted once")
        if self.benchmark != "processbench" and any(given[1:]):
            raise ConfigError("fit_files and cross_fit are ProcessBench's; give threshold")
        if self.benchmark == "best_of_n" and given[0]:
            raise ConfigError("best_of_n has no threshold: it takes the highest score")
        if self.benchmark != "best_of_n" and (self.panel or self.agg_strategy is not None):
            raise ConfigError(f"panel and agg_strategy are best_of_n's; {self.benchmark} judges steps, not solutions")
