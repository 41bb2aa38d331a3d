"""The options of `prm label`, and which of them decide what comes out."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, MissingFileError
from prm.fingerprint import file_hash
from prm.hub_upload import check_repo_id
from prm.rows.facts import recorded_prompt

from .judge import JudgeOptions, build_judge, judge_settings
from .labelers import (
    FIRST_ERROR,
    LABELERS,
    MONTE_CARLO,
    check_labelers,
    first_error_rule,
    labelers_used,
    needs_generator,
    needs_judge,
    sampling_rule,
    unread_options,
)
from .options import SamplingOptions
from .shards import parse_shard
from .stage import config_settings

logger = logging.getLogger(__name__)

JUDGE_NAMES = {option.name for option in dataclasses.fields(JudgeOptions)}
# Of no account where nothing is sampled.
SAMPLING_NAMES = {
    *("model_name_or_path", "backend", "temperature", "top_p", "max_new_tokens", "stop"),
    *("prompt_template", "chat", "system_prompt", "dtype"),
}


@dataclass(kw_only=True)
class LabelConfig(SamplingOptions, JudgeOptions):
    """Options of `prm label`."""

    rollouts_path: str = field(metadata={"help": "The rollouts.jsonl to label"})
    labeler: str = field(
        default="monte_carlo",
        metadata={
            "help": "monte_carlo: complete every prefix; first_error: search the first wrong step; omega: grow a "
            "tree of solutions (OmegaPRM); judge: a language model marks each step; consensus: keep where two "
            "labelers agree; implicit: the outcome alone"
        },
    )
    n: int = field(
        default=0,
        metadata={"help": "Completions of each prefix (at most, where a rule may stop); 0: 8, interval 64"},
    )
    rule: str = field(
        default="fixed",
        metadata={
            "help": "monte_carlo: fixed (n each), first_success (hard labels only, same labels for less), interval "
            "(until the soft value is known well enough)"
        },
    )
    max_error: float = field(default=0.15, metadata={"help": "interval: half its width at which to stop"})
    max_zero: float = field(
        default=0.2, metadata={"help": "interval: its upper end at which to believe that no completion succeeds"}
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
    shard: str = field(
        default="", metadata={"help": "i/n: label one of n parts of the problems, for `prm data merge`"}
    )
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
        parse_shard(self.shard)
        if self.truth_path and not Path(self.truth_path).is_file():
            raise MissingFileError("no such file", path=self.truth_path, remedy="Check truth_path")
        check_labelers(self)
        if MONTE_CARLO in labelers_used(self):
            sampling_rule(self)
        if FIRST_ERROR in labelers_used(self):
            first_error_rule(self)
        if needs_judge(self):
            build_judge(self)
        if not needs_generator(self):
            return
        super().check()
        if self.temperature == 0 and self.n != 1:
            raise ConfigError("temperature 0 gives the same completion n times; set n to 1 or raise temperature")
        self._compare_prompts()

    def _compare_prompts(self) -> None:
        """Warn where prefixes are completed behind another prompt than they were sampled with: completions are worse
        then, and right steps pass for wrong."""
        before = recorded_prompt(self.rollouts_path)
        if changed := [name for name, value in before.items() if value != getattr(self, name)]:
            logger.warning(
                "the prompt is not the one that the rollouts were sampled with (%s): completions may fail that would "
                "have succeeded, and labels be worse",
                ", ".join(f"{name}: {before[name]!r} there, {getattr(self, name)!r} here" for name in changed),
            )

    def verdict_names(self) -> list[str]:
        """What the two labelers of a consensus are called: by name, or a file by its folder, which tells apart."""
        names = [name if name in LABELERS else "/".join(Path(name).resolve().parts[-2:]) for name in self.consensus_of]
        return names if len(set(names)) == len(names) else [f"{i}: {name}" for i, name in enumerate(names, start=1)]

    def settings(self) -> dict[str, Any]:
        """The options that decide what comes out, those of a generator or a judge only where there is one."""
        left_out = set() if needs_generator(self) else SAMPLING_NAMES
        left_out = left_out | JUDGE_NAMES | unread_options(self)
        settings = {name: value for name, value in config_settings(self).items() if name not in left_out}
        if needs_generator(self):
            settings |= self.model_settings()
        if files := [name for name in labelers_used(self) if name not in LABELERS]:
            settings |= {"consensus_of": self.verdict_names(), "consensus_hashes": [file_hash(name) for name in files]}
        return settings | (judge_settings(self) if needs_judge(self) else {})
