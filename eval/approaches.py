"""Which strategies a run of `prm eval` walks through: those that it asks for, or all that its generator, its verifiers
and the shape of its searches allow. What cannot work is refused, before a model is loaded where that can be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prm.errors import ConfigError

from .policy_run import APPROACH
from .search.base import SearchStrategy
from .search.lookahead import Lookahead
from .search.strategies import SEQUENTIAL, STRATEGIES, strategies_named
from .search.tree_strategy import TreeStrategy

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

ALWAYS = ("majority", "pass_at_n")
"""Strategies that stand beside every other, asked for or not: the baseline and the oracle."""


def check_shapes(config: EvalConfig, widths: Sequence[int]) -> None:
    """See that the tree searches that were asked for can have their shape, for which no model is needed.

    Raises:
        ConfigError: one cannot, or there is no such approach.
    """
    for name in config.approach:
        for strategy in strategies_named(name):
            if isinstance(strategy, TreeStrategy):
                for width in widths:
                    strategy.plan(config, width)


def chosen_strategies(
    config: EvalConfig, kinds: Sequence[str], widths: Sequence[int]
) -> tuple[list[SearchStrategy], tuple[str, ...]]:
    """The strategies that the config names, or all that can run where it names none; and what to say of those that are
    left out then.

    Args:
        kinds: of the verifiers, `prm` or `orm`.
        widths: of the tree searches.

    Raises:
        ConfigError: one that is named cannot run.
    """
    if set(config.approach) - {APPROACH}:
        return _asked_for(config, kinds), ()
    return _all_that_can_run(config, kinds, widths)


def _all_that_can_run(
    config: EvalConfig, kinds: Sequence[str], widths: Sequence[int]
) -> tuple[list[SearchStrategy], tuple[str, ...]]:
    """What can run, and why the tree searches that do not fit cannot. Lookahead is among them where it looks ahead."""
    skipped = {*ALWAYS, *(SEQUENTIAL if config.panel else ()), *(() if config.lookahead else (Lookahead.method,))}
    chosen: list[SearchStrategy] = []
    left_out: dict[str, list[str]] = {}
    for name in STRATEGIES:
        for strategy in () if name in skipped else strategies_named(name):
            if not _has_its_models(strategy, config, kinds):
                continue
            if reason := _misfit(strategy, config, widths):
                left_out.setdefault(reason, []).append(name)
            else:
                chosen.append(strategy)
    said = (f"left out: {', '.join(dict.fromkeys(names))}; {reason}" for reason, names in left_out.items())
    return chosen, tuple(said)


def _has_its_models(strategy: SearchStrategy, config: EvalConfig, kinds: Sequence[str]) -> bool:
    guided = not strategy.kinds or bool(strategy.kinds & set(kinds))
    return guided and (not strategy.live or bool(config.model_name_or_path))


def _misfit(strategy: SearchStrategy, config: EvalConfig, widths: Sequence[int]) -> str:
    """Why a search cannot have this shape at every width of the run; empty where it can."""
    if isinstance(strategy, TreeStrategy):
        try:
            for width in widths:
                strategy.plan(config, width)
        except ConfigError as error:
            return str(error)
    return ""


def _asked_for(config: EvalConfig, kinds: Sequence[str]) -> list[SearchStrategy]:
    if config.panel and (asked := sorted(SEQUENTIAL & set(config.approach))):
        raise ConfigError(
            f"{asked[0]} draws samples of one system one after another, and a panel has one of each; leave it out of "
            "approach, or drop panel"
        )
    chosen: list[SearchStrategy] = []
    for name in dict.fromkeys(config.approach):
        if name not in ALWAYS:
            # Of the variants behind one name, those that need a verifier are left out where there is none.
            variants = strategies_named(name)
            possible = [s for s in variants if not s.kinds or s.kinds & set(kinds)] or list(variants)
            for strategy in possible:
                _check_possible(strategy, config, kinds)
            chosen += possible
    return chosen


def _check_possible(strategy: SearchStrategy, config: EvalConfig, kinds: Sequence[str]) -> None:
    if strategy.kinds and not kinds:
        raise ConfigError(f"{strategy.name} needs a verifier; give prm_path")
    if strategy.kinds and not strategy.kinds & set(kinds):
        raise ConfigError(
            f"{strategy.name} scores unfinished solutions, which an ORM cannot; give a PRM in prm_path, or use "
            "best_of_n or weighted_best_of_n"
        )
    if strategy.live and not config.model_name_or_path:
        raise ConfigError(
            f"{strategy.name} draws solutions of its own, and recorded samples cannot serve it; give "
            "model_name_or_path, or leave it out of approach"
        )
