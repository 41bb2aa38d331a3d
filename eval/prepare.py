"""From a config to a run that can start: models loaded, strategies chosen, and everything that cannot work refused
before anything is sampled. Walking through the methods is `prm.eval.run`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError
from prm.fingerprint import fingerprint
from prm.generation.base import Generator
from prm.problems import Problem

from .approaches import check_shapes, chosen_strategies
from .arena import EvalArena
from .ensemble import split_ensembles
from .ensemble_arena import EnsembleArena
from .exchange import Side, check_sides, read_side
from .first_look import FirstLook
from .inputs import Inputs
from .loading import folds, load_generator, load_verifiers
from .models import Lazy, NamedVerifier
from .policy import Policy
from .policy_origin import cautions
from .policy_run import check_policies, read_policy
from .quality import FirstError
from .search.base import SearchStrategy, StepVerifier
from .workshop import RunSettings, Workshop

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig


@dataclass(frozen=True)
class Run:
    """A checked config with everything that it names.

    Attributes:
        seed: of its samples and searches.
        arenas: one for each verifier and fold of its step scores.
        guides: names of those arenas that live searches are guided by: each verifier with its first fold.
        strategies: those that were asked for.
        ns: the sample counts to report. `search_ns`: the widths of live searches.
        left_out: of a run that asks for no approach: what it goes without, and why.
        cautions: why following the policy tells less than it seems to.
        policy: the one to be followed. `larger`: what the run is compared with at equal FLOPs.
        repeats: the same run with the other seeds.
    """

    config: EvalConfig
    seed: int
    workshop: Workshop
    arenas: list[EvalArena]
    guides: frozenset[str]
    strategies: list[SearchStrategy]
    ns: list[int]
    search_ns: list[int]
    first_error: FirstError | None
    left_out: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    policy: Policy | None = None
    larger: Side | None = None
    repeats: tuple[Run, ...] = ()

    @property
    def said_first(self) -> tuple[str, ...]:
        """Notes that are known before anything is sampled."""
        return (*self.left_out, *self.cautions)

    @property
    def seeds(self) -> list[int]:
        """The seeds of all repetitions."""
        return [self.seed, *(repeat.seed for repeat in self.repeats)]


def prepare(
    config: EvalConfig,
    inputs: Inputs,
    *,
    verifiers: Mapping[str, StepVerifier],
    generator: Generator | None = None,
) -> Run:
    """Identify the models, load those of which nothing is known yet, and check that they can do what is asked.

    Raises:
        ConfigError, DataError, MissingFileError, ModelError: what cannot work, before anything is sampled.
    """
    policy = read_policy(config, inputs)
    widths = sorted(set(config.search_n or [inputs.n]))
    check_shapes(config, widths)
    named = load_verifiers(config, inputs, verifiers)
    kinds = [item.spec.kind for item in named]
    strategies, left_out = chosen_strategies(config, kinds, widths)
    search_ns = widths if any(s.live and s.kinds for s in strategies) else []
    lazy = None
    if inputs.generator_key and (inputs.recorded is None or any(s.live for s in strategies)):
        lazy = load_generator(config, inputs, generator)
    larger = read_side(config.compare_to, inputs.problems) if config.compare_to else None
    if larger is not None:
        check_sides(lazy.facts.num_parameters if lazy else 0, larger)
    ns = [inputs.n] if config.panel else _reported(inputs.n, config.report_n)
    ensembles = split_ensembles(config.prm_path)[1]
    look = FirstLook((item for item in named if item.name not in ensembles), recorded=inputs.recorded is not None)

    def with_seed(seed: int, repeats: tuple[Run, ...] = ()) -> Run:
        workshop = Workshop(
            inputs.problems,
            inputs.store,
            _settings(config, inputs.n, seed, lazy, named),
            generator=lazy,
            recorded=inputs.recorded,
            look=look,
        )
        arenas = _arenas(config, workshop, named)
        guides = frozenset(item.name for item in named)
        check_policies(config, policy, arenas, guides)
        return Run(
            config=config,
            seed=seed,
            workshop=workshop,
            arenas=arenas,
            guides=guides,
            strategies=strategies,
            ns=ns,
            search_ns=search_ns,
            first_error=_truth(inputs.problems),
            left_out=left_out,
            cautions=cautions(policy, inputs.problems, Path(str(config.policy)).name) if policy else (),
            policy=policy,
            larger=larger,
            repeats=repeats,
        )

    first, *others = config.seeds or [config.seed]
    return with_seed(first, tuple(map(with_seed, others)))


def _arenas(config: EvalConfig, workshop: Workshop, named: Sequence[NamedVerifier]) -> list[EvalArena]:
    """One arena for each fold of a verifier's step scores, which are read once, and one for each ensemble, which takes
    its members' first folds."""
    _, formulas = split_ensembles(config.prm_path)
    arenas: list[EvalArena] = []
    by_verifier: dict[str, EvalArena] = {}
    for item in named:
        if formula := formulas.get(item.name):
            arenas.append(EnsembleArena(workshop, item, formula, [by_verifier[name] for name in formula.members]))
            continue
        first, *others = folds(config, item.spec)
        arena = by_verifier[item.source] = EvalArena(workshop, item.folded(first))
        arenas += [arena, *(EvalArena(workshop, item.folded(how), unfolded=arena) for how in others)]
    return arenas


def _settings(
    config: EvalConfig, n: int, seed: int, generator: Lazy[Generator] | None, named: Sequence[NamedVerifier]
) -> RunSettings:
    sampling = config.sampling()
    generator_key: dict[str, Any] = {}
    if generator is not None:
        generator_key = {
            "generator": generator.facts.name,
            "revision": generator.facts.store_key,
            "prompt": [config.prompt_template, config.chat, config.system_prompt],
        }
    separators = [item.spec.step_format.text_separator for item in named]
    return RunSettings(
        n=n,
        sampling=sampling,
        seed=seed,
        separator=separators[0] if separators else "\n",
        generator_key=generator_key,
        samples_key={"recorded": fingerprint(config.rollouts)}
        if config.rollouts
        else {**generator_key, **sampling.to_dict(), "seed": seed},
        beam_width=config.beam_width,
        num_iterations=config.num_iterations,
        lookahead=config.lookahead,
        live_tokens=config.max_batch_tokens,
        subsets=config.subsets,
    )


def _reported(n: int, others: Sequence[int]) -> list[int]:
    """The powers of two up to n, n itself, and others.

    Raises:
        ConfigError: one of the others is larger than n.
    """
    if any(not 1 <= other <= n for other in others):
        raise ConfigError(f"report_n has a number that is not between 1 and n={n}: {max(others, key=abs)}")
    return sorted({*(2**k for k in range(n.bit_length()) if 2**k <= n), n, *others})


def _truth(problems: Sequence[Problem]) -> FirstError | None:
    """The truth about steps, where every problem is of the arithmetic world."""
    if not all(problem.subject == "arithmetic" for problem in problems):
        return None
    from prm.worlds.arithmetic import first_error

    return first_error
