"""From a config to a run that can start: models loaded, strategies chosen, and everything that cannot work refused
before anything is sampled. Walking through the methods is `prm.eval.run`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError
from prm.fingerprint import dtype_suffix, fingerprint
from prm.generation.base import Generator
from prm.problems import Problem

from .arena import EvalArena, NamedVerifier
from .inputs import Inputs, load_generator, load_verifiers
from .quality import FirstError
from .sample_store import SampleStore
from .search.base import SearchStrategy, StepVerifier
from .search.strategies import STRATEGIES, strategies_named
from .search.tree_strategy import TreeStrategy
from .workshop import RunSettings, Workshop

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

ALWAYS = ("majority", "pass_at_n")
"""Strategies that stand beside every other, asked for or not: the baseline and the oracle."""


@dataclass(frozen=True)
class Run:
    """A checked config with everything loaded. `ns` are the sample counts to report, `search_ns` the widths of live
    searches; `arenas` has one entry for each verifier, `strategies` those that were asked for."""

    config: EvalConfig
    workshop: Workshop
    arenas: list[EvalArena]
    strategies: list[SearchStrategy]
    ns: list[int]
    search_ns: list[int]
    first_error: FirstError | None


def prepare(
    config: EvalConfig,
    inputs: Inputs,
    *,
    verifiers: Mapping[str, StepVerifier],
    generator: Generator | None = None,
) -> Run:
    """Load the models, and check that they can do what is asked.

    Raises:
        ConfigError, DataError, MissingFileError, ModelError: what cannot work, before anything is sampled.
    """
    problems, recorded, n = inputs.problems, inputs.recorded, inputs.n
    named = load_verifiers(config, verifiers, inputs.verifier_keys)
    strategies = _strategies(config, [item.verifier.spec.kind for item in named])
    search_ns = sorted(set(config.search_n or [n])) if any(s.live and s.kinds for s in strategies) else []
    for strategy in strategies:
        if isinstance(strategy, TreeStrategy):
            for width in search_ns:
                strategy.plan(config, width)
    if generator is None and config.model_name_or_path and (recorded is None or any(s.live for s in strategies)):
        generator = load_generator(config)
    workshop = Workshop(
        problems,
        SampleStore(f"{config.output_dir}/store", workers=config.num_workers),
        _settings(config, n, generator, named),
        generator=generator,
        recorded=recorded,
    )
    return Run(
        config=config,
        workshop=workshop,
        arenas=[EvalArena(workshop, item) for item in named],
        strategies=strategies,
        ns=[n] if config.panel else _powers_of_two(n),
        search_ns=search_ns,
        first_error=_truth(problems),
    )


def _settings(config: EvalConfig, n: int, generator: Generator | None, named: Sequence[NamedVerifier]) -> RunSettings:
    sampling = config.sampling()
    generator_key: dict[str, Any] = {}
    if generator is not None:
        generator_key = {
            "generator": generator.name,
            "revision": generator.revision + dtype_suffix(getattr(generator, "model", None)),
            "prompt": [config.prompt_template, config.chat, config.system_prompt],
        }
    separators = [item.verifier.spec.step_format.step_separator for item in named]
    return RunSettings(
        n=n,
        sampling=sampling,
        seed=config.seed,
        separator=separators[0] if separators else "\n",
        generator_key=generator_key,
        samples_key={"recorded": fingerprint(config.rollouts)}
        if config.rollouts
        else {**generator_key, **sampling.to_dict(), "seed": config.seed, "n": n},
        beam_width=config.beam_width,
        num_iterations=config.num_iterations,
        lookahead=config.lookahead,
        subsets=config.subsets,
    )


def _strategies(config: EvalConfig, kinds: Sequence[str]) -> list[SearchStrategy]:
    """The strategies asked for, or all that can run; the baseline and the oracle are added by `evaluate`.

    Raises:
        ConfigError: one that was asked for cannot run.
    """
    if not config.approach:
        return [
            strategy
            for name in STRATEGIES
            if name not in ALWAYS
            for strategy in strategies_named(name)
            if (not strategy.kinds or strategy.kinds & set(kinds))
            and not (strategy.live and not config.model_name_or_path)
            and not (isinstance(strategy, TreeStrategy) and not _fits(strategy, config))
        ]
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


def _fits(strategy: TreeStrategy, config: EvalConfig) -> bool:
    """Whether the search can have this shape at every width of the run."""
    try:
        for n in config.search_n or [config.n]:
            strategy.plan(config, n)
    except ConfigError:
        return False
    return True


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


def _powers_of_two(n: int) -> list[int]:
    return sorted({*(2**k for k in range(n.bit_length()) if 2**k <= n), n})


def _truth(problems: Sequence[Problem]) -> FirstError | None:
    """The truth about steps, where every problem is of the arithmetic world."""
    if not all(problem.subject == "arithmetic" for problem in problems):
        return None
    from prm.worlds.arithmetic import first_error

    return first_error
