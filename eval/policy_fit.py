"""A compute-optimal policy made from the lines of a run, and what it is worth on problems that it was not made from
(Snell et al., arXiv 2408.03314, sections 3.1 and 5.3).

What is reported is cross-validated: the bins, their edges and the choices for each fold come from the other folds, and
so does the fixed method that the policy is compared with. What is exported is made from all problems. The budgets are
what best-of-n costs with the same verifier, so that "equal compute" is a line of the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from prm.errors import ConfigError
from prm.stats.intervals import bootstrap_mean, paired_difference

from .allocation import HeldOut, Menu, best_plan, frontier, held_out_picks, split_folds
from .cost import mean_bill
from .difficulty import Binning, Bins, make_bins
from .policy import BudgetPlan, Choice
from .policy_finding import BinLine, BudgetFinding, PolicyFinding
from .results import MethodResult
from .search.base import ProblemResult
from .search.compute_optimal import Probe
from .search.strategies import STRATEGIES


@dataclass(frozen=True)
class FitSettings:
    """At most `bins` bins, made as `binning` says; `folds` and `seed` of the cross-validation."""

    bins: int = 5
    binning: Binning = "quantile"
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True)
class FittedPolicy:
    """A policy made from all problems (`bins`, `plans`), its held-out results by n, and the finding."""

    bins: Bins
    plans: tuple[BudgetPlan, ...]
    results: dict[int, list[ProblemResult]]
    finding: PolicyFinding


def choosable(methods: Sequence[MethodResult], verifier: str) -> list[MethodResult]:
    """The lines that a policy with this verifier can choose from: strategies that a new run can follow, without a
    verifier or with this one, at known FLOPs. The oracle and the chance line are none."""
    runnable = {strategy.name for variants in STRATEGIES.values() for strategy in variants}
    return [
        line
        for line in methods
        if line.method in runnable
        and not line.oracle
        and line.verifier in ("", verifier)
        and all(np.isfinite(bill.flops) for bill in line.bills)
    ]


def fit_policy(
    lines: Sequence[MethodResult],
    verifier: str,
    best_of_n: Mapping[int, Sequence[ProblemResult]],
    pass_at_1: Sequence[float],
    probe: Probe,
    settings: FitSettings,
    clusters: Sequence[str] | None = None,
) -> FittedPolicy:
    """Make a policy, and measure it held out.

    Args:
        lines: what it can choose from (`choosable`).
        best_of_n: results of best-of-n with this verifier by n, whose mean costs are the budgets.
        pass_at_1: plain sampling accuracy of each problem.
        clusters: names of what problems share; those of one cluster are in one fold, and drawn together.

    Raises:
        ConfigError: nothing to choose from, or no budget that pays for a method.
    """
    if not lines:
        raise ConfigError("a policy has no method of known FLOPs to choose from; recorded samples must say their cost")
    fit = _Fit(lines, probe, settings, clusters)
    budgets = {n: float(np.mean([result.bill.flops for result in best_of_n[n]])) for n in sorted(best_of_n)}
    policies, fixed = fit.held_out(list(budgets.values())), fit.held_out_fixed(list(budgets.values()))
    plans, results, found = [], {}, []
    for (n, flops), policy, best in zip(budgets.items(), policies, fixed, strict=True):
        choices = fit.choices(flops)
        if choices is None or policy is None or best is None:
            continue
        plans.append(BudgetPlan(n, flops, choices))
        results[n] = policy
        found.append(fit.budget_finding(plans[-1], policy, best_of_n[n], best))
    if not plans:
        raise ConfigError(
            "no method costs as little as best-of-n, which is the budget; add cheaper approaches, or raise n"
        )
    return FittedPolicy(fit.bins, tuple(plans), results, fit.finding(verifier, pass_at_1, found))


class _Fit:
    """Everything that is known of the problems, as arrays: A lines, P problems, K bins."""

    def __init__(
        self, lines: Sequence[MethodResult], probe: Probe, settings: FitSettings, clusters: Sequence[str] | None
    ):
        self.lines, self.probe, self.settings, self.clusters = lines, probe, settings, clusters
        self.menu = Menu(
            np.array([line.per_problem for line in lines]),
            np.array([[bill.flops for bill in line.bills] for line in lines]),
        )
        self.difficulties = np.array(probe.difficulties)
        self.probe_flops = np.array([bill.flops for bill in probe.bills])
        self.bins = make_bins(self.difficulties, settings.bins, settings.binning)
        self.bin_of = self.bins.of(self.difficulties)
        self.folds = split_folds(len(self.difficulties), settings.folds, settings.seed, clusters)

    def choices(self, budget: float) -> tuple[Choice, ...] | None:
        """What each bin gets, made from all problems."""
        best = best_plan(self.menu, self.bin_of, len(self.bins), budget, float(self.probe_flops.mean()))
        return None if best is None else tuple(Choice(self.lines[i].method, self.lines[i].n) for i in best)

    def fixed(self, budget: float) -> str:
        """The best single method, made from all problems."""
        best = frontier(self.menu, np.zeros_like(self.bin_of), 1).within(budget)
        return "" if best is None else self.lines[best[0]].key

    def held_out(self, budgets: Sequence[float]) -> list[list[ProblemResult] | None]:
        """What each problem gets from the other folds, its estimation billed."""
        settings = self.settings
        picks = held_out_picks(
            self.menu,
            self.difficulties,
            self.probe_flops,
            budgets,
            count=settings.bins,
            binning=settings.binning,
            folds=self.folds,
        )
        return [None if pick is None else self._followed(pick) for pick in picks]

    def held_out_fixed(self, budgets: Sequence[float]) -> list[list[ProblemResult] | None]:
        """What each problem gets where the other folds choose one method for all difficulties, estimating none."""
        zeros = np.zeros(len(self.difficulties))
        picks = held_out_picks(self.menu, zeros, zeros, budgets, count=1, binning="quantile", folds=self.folds)
        return [None if pick is None else self._followed(pick) for pick in picks]

    def _followed(self, picks: HeldOut) -> list[ProblemResult]:
        """The results of the picks; a problem whose bin had to be known pays for that."""
        results = []
        for place, (pick, probed) in enumerate(zip(picks.methods, picks.probed, strict=True)):
            bill = self.lines[pick].bills[place]
            results.append(
                ProblemResult(self.lines[pick].per_problem[place], bill + self.probe.bills[place] if probed else bill)
            )
        return results

    def budget_finding(
        self,
        plan: BudgetPlan,
        policy: Sequence[ProblemResult],
        best_of_n: Sequence[ProblemResult],
        fixed: Sequence[ProblemResult],
    ) -> BudgetFinding:
        accuracy, plain, best = ([result.accuracy for result in results] for results in (policy, best_of_n, fixed))
        drawn: dict[str, Any] = {"seed": self.settings.seed, "clusters": self.clusters}
        return BudgetFinding(
            n=plan.n,
            flops=plan.flops,
            spent=float(np.mean([result.bill.flops for result in policy])),
            choices=tuple(choice.key for choice in plan.choices),
            accuracy=bootstrap_mean(accuracy, **drawn),
            over_best_of_n=paired_difference(accuracy, plain, **drawn),
            over_fixed=paired_difference(accuracy, best, **drawn),
            fixed=self.fixed(plan.flops),
        )

    def finding(self, verifier: str, pass_at_1: Sequence[float], budgets: Sequence[BudgetFinding]) -> PolicyFinding:
        methods = [
            BinLine(line.method, line.n, self._by_bin(accuracy), self._by_bin(flops))
            for line, accuracy, flops in zip(self.lines, self.menu.accuracy, self.menu.flops, strict=True)
        ]
        return PolicyFinding(
            name=f"compute_optimal_{self.probe.measure.by}",
            verifier=verifier,
            file="",
            measure=self.probe.measure,
            binning=self.settings.binning,
            edges=self.bins.edges,
            bin_problems=tuple(np.bincount(self.bin_of, minlength=len(self.bins)).tolist()),
            bin_pass_at_1=self._by_bin(pass_at_1),
            estimation=mean_bill(self.probe.bills),
            folds=len(self.folds),
            problems=len(self.difficulties),
            seed=self.settings.seed,
            budgets=tuple(budgets),
            methods=tuple(methods),
        )

    def _by_bin(self, values: ArrayLike) -> tuple[float | None, ...]:
        """Mean of one value per problem in each bin."""
        members = [np.asarray(values)[self.bin_of == place] for place in range(len(self.bins))]
        return tuple(float(found.mean()) if found.size else None for found in members)
