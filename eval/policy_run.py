"""The compute-optimal lines of a run: policies made from its other lines (`--approach compute_optimal`), or one from a
file that is followed on new problems (`--policy FILE`).

How a policy is made and followed is `prm.eval.policy_fit`'s and `prm.eval.search.compute_optimal`'s; this file knows
which verifiers of a run have one, and refuses what cannot work before anything is sampled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prm.errors import ConfigError
from prm.problems import clusters_of
from prm.report.formatting import percent, points, si
from prm.stats.intervals import paired_difference

from .allocation import split_folds
from .arena import EvalArena
from .cost import mean_bill
from .difficulty import BINNINGS, Binning, Measure, measure_named
from .inputs import Inputs
from .policy import Policy
from .policy_conditions import check_conditions, conditions_of, known_before
from .policy_finding import PolicyFinding
from .policy_fit import FitSettings, choosable, fit_policy
from .policy_origin import origin, standing
from .results import MethodResult, find, method_result
from .run_settings import evaluated_on
from .search.base import ProblemResult
from .search.best_of_n import BestOfN
from .search.compute_optimal import ComputeOptimal, probe, strategy_of
from .search.pass_at_n import PassAtN

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig
    from .prepare import Run

APPROACH = "compute_optimal"
SAMPLES, BINS, FOLDS = 4, 5, 5
"""Defaults: probes of a problem, bins, and folds of the cross-validation."""


@dataclass(frozen=True)
class MadePolicy:
    """A policy with what was found out about it, and its held-out lines in the table."""

    policy: Policy
    finding: PolicyFinding
    lines: tuple[MethodResult, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Without the lines, which are with the others."""
        return {"policy": self.policy.to_dict(), "finding": self.finding.to_dict()}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> MadePolicy:
        """Inverse of `to_dict`."""
        return cls(Policy.from_dict(found["policy"]), PolicyFinding.from_dict(found["finding"]))


def measures_of(config: EvalConfig) -> list[Measure]:
    """The difficulties that policies are made for.

    Raises:
        ConfigError: an unknown one, or too few samples for it.
    """
    samples = config.difficulty_samples or SAMPLES
    return [measure_named(by, samples) for by in dict.fromkeys(config.difficulty or ["scores"])]


def fit_settings(config: EvalConfig) -> FitSettings:
    """How bins are made, and how many folds there are.

    Raises:
        ConfigError: an unknown binning.
    """
    binning = config.difficulty_binning or "quantile"
    if binning not in BINNINGS:
        raise ConfigError(f"difficulty_binning must be {' or '.join(BINNINGS)}, not {binning!r}")
    return FitSettings(config.difficulty_bins or BINS, cast(Binning, binning), FOLDS, config.seed)


def read_policy(config: EvalConfig, inputs: Inputs) -> Policy | None:
    """The policy to be followed, where there is one; what is wrong with it is said before a model is loaded, as far as
    that can be known.

    Raises:
        ConfigError, DataError, MissingFileError: it is no policy, or was made for something else.
    """
    if config.policy is None:
        return None
    policy = Policy.load(config.policy)
    _check_same_bins(config, policy)
    check_conditions(policy, known_before(config, inputs, policy), config.policy)
    most = max(
        (choice.n for plan in policy.budgets for choice in plan.choices if not strategy_of(choice).live), default=0
    )
    if most > config.n:
        raise ConfigError(f"{config.policy} chooses among up to {most} samples, and n is {config.n}; give n={most}")
    return policy


def check_policies(
    config: EvalConfig, policy: Policy | None, arenas: Sequence[EvalArena], guides: frozenset[str]
) -> None:
    """See that the policy can be followed, where there is one, and that policies can be made where they are asked for.

    Raises:
        ConfigError: they cannot.
    """
    guided = _guided(config, arenas, guides)
    if APPROACH in config.approach:
        fit_settings(config)
        _check_probes(measures_of(config), guided)
        problems = guided[0].workshop.problems
        split_folds(len(problems), FOLDS, config.seed, clusters_of(problems))
    if policy is not None:
        _check_probes([policy.measure], guided)
        check_conditions(policy, conditions_of(_arena_for(policy, guided) or guided[0]), str(config.policy))


def _guided(config: EvalConfig, arenas: Sequence[EvalArena], guides: frozenset[str]) -> list[EvalArena]:
    """The verifiers that can have a policy: no controls, and each with its first fold, which guides searches."""
    return [arena for arena in arenas if arena.name in guides and arena.need_named().source not in config.controls]


def _check_probes(measures: Sequence[Measure], guided: Sequence[EvalArena]) -> None:
    if not guided:
        raise ConfigError(f"{APPROACH} needs a verifier that is no control; give prm_path")
    drawn = [measure.by for measure in measures if not measure.oracle]
    if drawn and guided[0].workshop.generator is None:
        raise ConfigError(
            f"difficulty by {drawn[0]} draws samples of its own, and recorded samples cannot serve it; give "
            "model_name_or_path, or --difficulty oracle"
        )


def _check_same_bins(config: EvalConfig, policy: Policy) -> None:
    """What is said of difficulties beside a policy must be what it was made for."""
    asked = {
        "difficulty": config.difficulty,
        "difficulty_samples": config.difficulty_samples,
        "difficulty_bins": config.difficulty_bins,
        "difficulty_binning": config.difficulty_binning,
    }
    made = {
        "difficulty": [policy.measure.by],
        "difficulty_samples": policy.measure.samples,
        "difficulty_bins": len(policy.bins),
        "difficulty_binning": policy.binning,
    }
    for name, value in asked.items():
        if value and value != made[name]:
            raise ConfigError(
                f"{config.policy} was made for other bins: {name}={made[name]!r}, not {value!r}. Drop {name}, or make "
                f"a policy for it with --approach {APPROACH}"
            )


def _arena_for(policy: Policy, arenas: Sequence[EvalArena]) -> EvalArena | None:
    """The arena of the verifier that the policy was made with, whatever its name."""
    for arena in arenas:
        if conditions_of(arena)["verifier"] == policy.conditions.get("verifier"):
            return arena
    return None


def followed(run: Run) -> Iterator[tuple[ComputeOptimal, EvalArena]]:
    """Each budget of the run's policy as a strategy, with the arena it runs in."""
    if run.policy is not None:
        arena = _arena_for(run.policy, _guided(run.config, run.arenas, run.guides))
        assert arena is not None  # `check_policies` has seen to it
        for plan in run.policy.budgets:
            yield ComputeOptimal(run.policy, plan), arena


def followed_notes(run: Run, methods: Sequence[MethodResult]) -> list[str]:
    """What following a policy gained over best-of-n at the cost that was its budget, in sentences."""
    notes = []
    for strategy, arena in followed(run):
        line = find(methods, strategy.name, strategy.fixed_n, arena.name)
        best = _best_of(strategy.fixed_n, arena, methods)
        gain = paired_difference(
            line.per_problem,
            [result.accuracy for result in best],
            seed=run.config.seed,
            clusters=clusters_of(run.workshop.problems),
        )
        interval = f"{points(gain.mean)} points [{points(gain.low)}, {points(gain.high)}]"
        spent, paid = si(line.bill.flops), si(mean_bill(result.bill for result in best).flops)
        notes.append(
            f"the policy in {Path(str(run.config.policy)).name}{standing(strategy.policy, run.workshop.problems)} "
            f"reaches {percent(line.accuracy.mean)} for {spent} FLOPs a problem, {interval} over "
            f"best-of-{strategy.fixed_n}, which costs {paid}"
        )
    return notes


def make_policies(run: Run, methods: Sequence[MethodResult]) -> list[MadePolicy]:
    """One policy for each verifier and measure of difficulty, where they were asked for. With several seeds the lines
    are means over them, and difficulties are probed with the first."""
    if APPROACH not in run.config.approach:
        return []
    return [
        _made(run, arena, measure, methods)
        for arena in _guided(run.config, run.arenas, run.guides)
        for measure in measures_of(run.config)
    ]


def _made(run: Run, arena: EvalArena, measure: Measure, methods: Sequence[MethodResult]) -> MadePolicy:
    problems, seed = run.workshop.problems, run.config.seed
    clusters = clusters_of(problems)
    fitted = fit_policy(
        choosable(methods, arena.name),
        arena.name,
        {n: _best_of(n, arena, methods) for n in run.ns},
        [result.accuracy for result in PassAtN().evaluate(arena, 1)],
        probe(arena, measure),
        fit_settings(run.config),
        clusters,
    )
    policy = Policy(
        measure,
        fitted.finding.binning,
        fitted.bins,
        fitted.plans,
        conditions_of(arena),
        origin(evaluated_on(run.config), problems, seed),
    )
    base = {line.n: line.per_problem for line in methods if line.method == run.config.baseline}
    lines = [
        method_result(
            results,
            method=policy.name,
            n=n,
            verifier=arena.name,
            kind=arena.kind,
            baseline=base.get(n),
            seed=seed,
            clusters=clusters,
        )
        for n, results in fitted.results.items()
    ]
    file = f"policy-{_file_name(arena.name)}-{measure.by}.json"
    return MadePolicy(policy, replace(fitted.finding, file=file), tuple(lines))


def _best_of(n: int, arena: EvalArena, methods: Sequence[MethodResult]) -> list[ProblemResult]:
    """Best-of-n with the arena's verifier, whether or not the run has a line of it."""
    for line in methods:
        if (line.method, line.verifier, line.n) == (BestOfN.name, arena.name, n):
            return [ProblemResult(*pair) for pair in zip(line.per_problem, line.bills, strict=True)]
    return BestOfN().evaluate(arena, n)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in name)
