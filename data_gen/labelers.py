"""The labelers by name, and what they are made from. A new one is a file with a `Labeler` and a line in `LABELERS`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError
from prm.generation.base import Generator
from prm.grading import Grader
from prm.ledger import Ledger
from prm.rollouts import Rollout
from prm.rows.facts import recorded_splitter
from prm.sampling_rules import (
    FIRST_SUCCESS_RULE,
    FIXED_RULE,
    INTERVAL_RULE,
    FirstSuccess,
    Fixed,
    Interval,
    SamplingRule,
)
from prm.splitting import DEFAULT_SPLITTER, find_splitter
from prm.stats.intervals import wilson

from .consensus import ConsensusLabeler, RecordedLabels
from .first_error import FirstErrorLabeler, FirstErrorRule, pass_rates
from .implicit import ImplicitLabeler
from .judge import build_judge
from .known_splitter import splitter_of
from .labeler import Labeler
from .monte_carlo import MonteCarloLabeler
from .omega import OmegaLabeler
from .omega_tree import OmegaRule
from .prefixes import CompletionPool, Prefix, PrefixResult, rollout_outcomes

if TYPE_CHECKING:
    from .label_config import LabelConfig

CONSENSUS = "consensus"
JUDGE = "judge"
IMPLICIT = "implicit"
MONTE_CARLO = "monte_carlo"
FIRST_ERROR = "first_error"
OMEGA = "omega"

SECOND_SEED = 2**31  # far from any seed that a person gives
# The options that one labeler alone reads; of no account where another labels.
OWN_OPTIONS = {
    MONTE_CARLO: {"rule"},
    FIRST_ERROR: {"min_worth", "verify_correct"},
    OMEGA: {"searches", "alpha", "beta", "length_scale", "c_puct", "splitter"},
    CONSENSUS: {"consensus_of"},
}
INTERVAL_OPTIONS = {"max_error", "max_zero"}


def unread_options(config: LabelConfig) -> set[str]:
    """The options that decide nothing, for none of the labelers asked for reads them."""
    used = {config.labeler, *labelers_used(config)}
    unread = set().union(*(options for name, options in OWN_OPTIONS.items() if name not in used))
    if not (interval := MONTE_CARLO in used and config.rule == INTERVAL_RULE):
        unread |= INTERVAL_OPTIONS
    if not needs_generator(config):
        unread |= {"n"} if needs_judge(config) else {"n", "seed"}
    return unread if interval or FIRST_ERROR in used else unread | {"confidence"}


class Workbench:
    """What labelers are made from: one pool of completions for all of them, whose generator is loaded when first
    asked for."""

    def __init__(
        self,
        config: LabelConfig,
        ledger: Ledger,
        grader: Grader,
        progress: Callable[[int], None],
        rollouts: Sequence[Rollout],
    ):
        """`rollouts`: those of the undivided run, which say how often problems are solved, whatever the shard."""
        self.config, self.ledger, self.grader, self.progress = config, ledger, grader, progress
        self.rollouts, self.seed = rollouts, config.seed
        self.pools: list[CompletionPool] = []

    @property
    def results(self) -> dict[Prefix, PrefixResult]:
        """What completing prefixes showed, over all pools."""
        results: dict[Prefix, PrefixResult] = {}
        for pool in self.pools:
            for prefix, result in pool.results.items():
                results[prefix] = results[prefix] + result if prefix in results else result
        return results

    def second(self) -> Workbench:
        """A bench whose pool draws other samples: two labelers that saw the same ones would agree by that alone."""
        other = copy.copy(self)
        other.__dict__.pop("pool", None)
        other.seed = self.seed + SECOND_SEED
        return other

    @cached_property
    def generator(self) -> Generator:
        return self.config.load_generator()

    @cached_property
    def pool(self) -> CompletionPool:
        pool = CompletionPool(
            self.generator,
            self.grader,
            self.config.sampling(),
            seed=self.seed,
            ledger=self.ledger,
            progress=self.progress,
            workers=self.config.num_workers,
            keep_texts=self.config.labeler == OMEGA,
        )
        self.pools.append(pool)
        return pool

    @cached_property
    def pass_rates(self) -> Mapping[str, float]:
        return pass_rates(self.rollouts, rollout_outcomes(self.rollouts, self.grader))

    def labeler(self, name: str) -> Labeler:
        """A labeler by its name, or the labels in a file by its path."""
        return LABELERS[name](self) if name in LABELERS else RecordedLabels(name)


def sampling_rule(config: LabelConfig) -> SamplingRule:
    """The rule the options describe.

    Raises:
        ConfigError: an unknown rule, or values out of range.
    """
    if config.rule == INTERVAL_RULE:
        confidence = config.confidence or 0.9
        rule = Interval(config.max_error, config.max_zero, max_n=config.n or 64, confidence=confidence)
        if (least := wilson(0, rule.max_n, confidence=confidence).high) > config.max_zero:
            raise ConfigError(
                f"n={rule.max_n} completions cannot reach max_zero={config.max_zero:g} (they reach {least:.2f}); "
                "raise n, or set it to 0 for the rule's own"
            )
        return rule
    kinds: dict[str, Any] = {FIXED_RULE: Fixed, FIRST_SUCCESS_RULE: FirstSuccess}
    if config.rule not in kinds:
        raise ConfigError(f"unknown rule {config.rule!r}; choose from {', '.join([*kinds, INTERVAL_RULE])}")
    plain: SamplingRule = kinds[config.rule](config.n or 8)
    return plain


def first_error_rule(config: LabelConfig) -> FirstErrorRule:
    """The search's rule that the options describe.

    Raises:
        ConfigError: values out of range.
    """
    return FirstErrorRule(config.confidence or 0.85, config.min_worth, config.n or 8, config.verify_correct)


def omega_rule(config: LabelConfig) -> OmegaRule:
    """The tree search's constants that the options describe.

    Raises:
        ConfigError: values out of range.
    """
    return OmegaRule(config.n or 8, config.searches, config.alpha, config.beta, config.length_scale, config.c_puct)


def completion_splitter(config: LabelConfig, rollouts: Sequence[Rollout]) -> str:
    """How omega splits completions into steps: as asked, or as the rollouts' report or their own steps say.

    Raises:
        ConfigError: no splitter finds the steps of the rollouts.
    """
    return config.splitter or recorded_splitter(config.rollouts_path) or splitter_of(rollouts)


def needs_generator(config: LabelConfig) -> bool:
    """Whether any of the labelers asked for completes prefixes."""
    return any(name in LABELERS and name not in {JUDGE, IMPLICIT} for name in labelers_used(config))


def needs_answers(config: LabelConfig) -> bool:
    """Whether any of the labelers asked for has a use for the problems' reference answers."""
    return needs_generator(config) or (needs_judge(config) and config.judge_sees_answer)


def needs_judge(config: LabelConfig) -> bool:
    """Whether a judge is among the labelers asked for."""
    return JUDGE in labelers_used(config)


def labelers_used(config: LabelConfig) -> list[str]:
    """The labeler asked for, or the two of a consensus (names, or paths of label files)."""
    return list(config.consensus_of) if config.labeler == CONSENSUS else [config.labeler]


def check_labelers(config: LabelConfig) -> None:
    """Refuse an unknown labeler, a consensus of anything but two, or a tree search that cannot work.

    Raises:
        ConfigError: see the message.
    """
    known = ", ".join(LABELERS)
    if config.labeler not in LABELERS:
        raise ConfigError(f"unknown labeler {config.labeler!r}; choose from {known}")
    if config.labeler == OMEGA:
        omega_rule(config)
        find_splitter(config.splitter or DEFAULT_SPLITTER)
    if config.labeler != CONSENSUS:
        return
    if OMEGA in config.consensus_of:
        raise ConfigError(
            "omega adds rollouts of its own, which no other labeler was given: run it first, and give its "
            "labels.jsonl as rollouts_path and in consensus_of"
        )
    if len(set(config.consensus_of)) != 2 or len(config.consensus_of) != 2 or CONSENSUS in config.consensus_of:
        raise ConfigError("consensus_of takes two: different labelers by name, or paths of labels.jsonl files")
    if IMPLICIT in config.consensus_of:
        raise ConfigError("consensus_of: implicit labels no step but the last, so that nothing would be agreed upon")
    for name in config.consensus_of:
        if name not in LABELERS and not Path(name).is_file():
            raise ConfigError(f"consensus_of: {name!r} is neither a labeler ({known}) nor a file")


LABELERS: dict[str, Callable[[Workbench], Labeler]] = {
    MONTE_CARLO: lambda bench: MonteCarloLabeler(bench.pool, sampling_rule(bench.config)),
    FIRST_ERROR: lambda bench: FirstErrorLabeler(bench.pool, first_error_rule(bench.config), bench.pass_rates),
    OMEGA: lambda bench: OmegaLabeler(
        bench.pool, omega_rule(bench.config), lambda rollouts: completion_splitter(bench.config, rollouts)
    ),
    JUDGE: lambda bench: build_judge(bench.config, bench.ledger, bench.progress),
    IMPLICIT: lambda bench: ImplicitLabeler(bench.grader),
    CONSENSUS: lambda bench: ConsensusLabeler(
        bench.labeler(bench.config.consensus_of[0]), bench.second().labeler(bench.config.consensus_of[1])
    ),
}
