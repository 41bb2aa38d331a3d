"""The most that labelers can ask, before anything is asked: what is known from their rules and the rollouts alone.

What they are likely to ask is `data_gen.dry_run`'s estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.generation.checkpoint import LOAD_ERRORS
from prm.rollouts import Outcome, Rollout
from prm.sampling_rules import Interval

from .grading import FINISHED
from .labelers import (
    FIRST_ERROR,
    IMPLICIT,
    JUDGE,
    LABELERS,
    MONTE_CARLO,
    first_error_rule,
    labelers_used,
    omega_rule,
    sampling_rule,
)
from .omega_tree import OmegaRule
from .prefixes import Prefix, sampled_prefixes
from .stage import Plan
from .verdicts import JudgeTemplate

if TYPE_CHECKING:
    from .label_config import LabelConfig

DECIDED = (Outcome.CORRECT, Outcome.WRONG)
_MOST_PROMPTS = 1500  # of a judge that are built and counted; more are scaled up from as many among them


def label_plan(config: LabelConfig, rollouts: Sequence[Rollout]) -> Plan:
    """The most that labelling will ask, for `prm status`."""
    bounds = [bound(config, name, rollouts) for name in labelers_used(config)]
    fixed = labelers_used(config) == [MONTE_CARLO] and config.rule == "fixed"
    total = None if None in bounds else sum(bound or 0 for bound in bounds)
    return Plan("rollouts", len(rollouts), total, exact=fixed)


def bound(config: LabelConfig, name: str, rollouts: Sequence[Rollout]) -> int | None:
    """The most that one labeler asks, whatever comes out; `None` where it has no such bound (`tree_bound`)."""
    if name == JUDGE:
        return n_votes(config, rollouts)
    most = most_each(config, name, rollouts)
    return None if most is None else most[0] * len(most[1])


def most_each(config: LabelConfig, name: str, rollouts: Sequence[Rollout]) -> tuple[int, list[Prefix]] | None:
    """The most completions that one labeler asks of each prefix, and the prefixes; `None` where it makes them itself,
    or asks something else."""
    if name == MONTE_CARLO:
        rule = sampling_rule(config)
        return (2 if isinstance(rule, Interval) else 1) * rule.max_n, sampled_prefixes(rollouts)
    if name == FIRST_ERROR:
        search = first_error_rule(config)
        searched = [
            rollout
            for rollout in rollouts
            if rollout.outcome in DECIDED and (search.verify_correct or not rollout.correct)
        ]
        return search.max_n, sampled_prefixes(searched)
    return (0, []) if name == IMPLICIT or name not in LABELERS else None


@dataclass(frozen=True)
class TreeBound:
    """The most that the trees of `omega` ask where no solution has more than `depth` steps. New solutions may have
    more, each doubling of which is one more prefix in a search.

    Attributes:
        completions: of all prefixes; each is drawn once.
        prefixes: that are completed, each prefilled once where its completions share it.
        rounds: of completions, one behind another: the roots', then one for each halving of a search.
        depth: steps of the longest rollout.
        searched, problems: the problems whose tree may be searched, and all. One that is always or never solved is
            left alone.
    """

    completions: int
    prefixes: int
    rounds: int
    depth: int
    searched: int
    problems: int

    @classmethod
    def of(cls, config: LabelConfig, rollouts: Sequence[Rollout]) -> TreeBound:
        """From the rule and the rollouts: those missing at the root, and k completions for each halving."""
        rule, trees = omega_rule(config), dict[tuple[str, str], list[Rollout]]()
        for rollout in rollouts:
            trees.setdefault((rollout.problem.problem, rollout.problem.answer), []).append(rollout)
        depth = max((len(rollout.steps) for rollout in rollouts), default=0)
        roots = [max(0, rule.k - len(given)) for given in trees.values()]
        searched = sum(_may_be_searched(given, rule) for given in trees.values())
        each = rule.searches * math.ceil(math.log2(max(1, depth)))
        halvings = searched * each
        prefixes, rounds = sum(map(bool, roots)) + halvings, any(roots) + bool(searched) * each
        return cls(sum(roots) + rule.k * halvings, prefixes, rounds, depth, searched, len(trees))


def _may_be_searched(given: Sequence[Rollout], rule: OmegaRule) -> bool:
    """Whether a problem can come out as neither always nor never solved."""
    if len(given) < rule.k:
        return True
    open_ended = any(rollout.outcome is None and rollout.stop_reason in FINISHED for rollout in given)
    return open_ended or {rollout.outcome for rollout in given} >= set(DECIDED)


def n_votes(config: Any, rollouts: Sequence[Rollout]) -> int:
    """A judge's votes on these rollouts."""
    return int(config.n_votes) * len(_distinct(rollouts))


@dataclass(frozen=True)
class JudgePrompts:
    """What a judge has to read for its votes: `size` characters, or tokens where its tokenizer is on this machine,
    without what its chat template adds. `exact` unless it was scaled up from some of the prompts."""

    size: int
    unit: str
    exact: bool

    @classmethod
    def of(cls, config: LabelConfig, rollouts: Sequence[Rollout]) -> JudgePrompts:
        """Build the prompts of distinct solutions, or of every so many-th where they are many, and measure them.

        Raises:
            ConfigError: the template fails on a solution.
        """
        template, solutions = JudgeTemplate.load(config.judge_prompt), _distinct(rollouts)
        some = solutions[:: -(-len(solutions) // _MOST_PROMPTS) or 1]
        tokenizer = tokenizer_here(config.judge_model)
        size = 0
        for rollout in some:
            answer = rollout.problem.answer if config.judge_sees_answer else None
            prompt = template.fill(rollout.problem.problem, rollout.steps, answer)
            size += len(prompt if tokenizer is None else tokenizer(prompt, add_special_tokens=False)["input_ids"])
        scale = config.n_votes * len(solutions) / max(1, len(some))
        return cls(round(scale * size), "tokens" if tokenizer else "characters", len(some) == len(solutions))


def _distinct(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """One rollout for each solution: equal ones are judged once."""
    return list({(rollout.problem.problem, rollout.steps): rollout for rollout in rollouts}.values())


def tokenizer_here(name: str) -> Any:
    """A model's tokenizer where its name is a directory or a model that was downloaded before; else `None`, for a
    dry run asks nobody."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except LOAD_ERRORS:
        return None
