"""Everything that is computed from a finished walk through the methods, in one record: `analyse` makes it, a run's
`results.json` keeps it, the report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..cost import FLOPS_FORMULA, Prices
from ..results import MethodResult
from .bias import Bias, bias
from .evidence import Evidence
from .gains import Gain, gains
from .over_optimisation import Chosen, Peak, chosen_solutions, peaks
from .plain import from_plain, to_plain
from .sample_sizes import SampleSize, sample_sizes
from .seeds import SeedSpread, seed_spreads
from .selection import Selection, selections
from .worth import Worth, worths


@dataclass(frozen=True)
class Basis:
    """What every number rests on, to be said with each table.

    Attributes:
        dataset: name and split of the problems.
        problems, clusters: how many; `None` where each problem is drawn by itself.
        seeds: of samples and searches; numbers are means over them.
        baseline: key of the line that choices and sample sizes are over.
    """

    dataset: str
    problems: int
    clusters: int | None
    seeds: tuple[int, ...]
    baseline: str

    @property
    def sentence(self) -> str:
        """For captions."""
        drawn = f" in {self.clusters} clusters, drawn together" if self.clusters else ""
        seeds = f"seed {self.seeds[0]}" if len(self.seeds) == 1 else f"mean over seeds {_listed(self.seeds)}"
        return (
            f"{self.problems} problems of {self.dataset}{drawn}; {seeds}; 95% intervals over problems. "
            "Held out: where the best of several methods or n is chosen, each problem is measured with a choice made "
            "on resamples without it; verifiers are taken as they were given, nothing of them is fitted here."
        )


@dataclass(frozen=True)
class Analysis:
    """What a run's numbers mean; the parts are explained where they are made.

    Attributes:
        money: of one problem, by line; nan where unknown.
        flops_formula: how FLOPs were counted.
    """

    basis: Basis
    gains: tuple[Gain, ...] = ()
    selections: tuple[Selection, ...] = ()
    sample_sizes: tuple[SampleSize, ...] = ()
    worths: tuple[Worth, ...] = ()
    peaks: tuple[Peak, ...] = ()
    chosen: tuple[Chosen, ...] = ()
    biases: tuple[Bias, ...] = ()
    seeds: tuple[SeedSpread, ...] = ()
    money: dict[str, float] | None = None
    flops_formula: str = FLOPS_FORMULA

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: what is unknown is null."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Analysis:
        """Inverse of `to_dict`."""
        return from_plain(cls, values)


def analyse(
    methods: Sequence[MethodResult],
    *,
    dataset: str,
    baseline: str,
    n: int,
    evidence: Mapping[str, Sequence[Evidence]],
    seeds: Sequence[int] = (0,),
    by_seed: Mapping[str, Sequence[float]] | None = None,
    clusters: Sequence[str] | None = None,
    prices: Prices | None = None,
    seed: int = 0,
) -> Analysis:
    """Analyse a run.

    Args:
        methods: every line of the table; of repeated runs, with each problem's mean over seeds.
        dataset: name and split of the problems.
        baseline: the method, without a verifier, that choices and sample sizes are over: `majority` or `pass_at_n`.
        n: the run's largest number of shared samples.
        evidence: by verifier name, one for each seed; no controls.
        by_seed: accuracy of every line, by its key, with each seed.
        clusters: (P,) names of what problems share, in their order.
        seed: of the bootstrap.
    """
    base = next(line for line in methods if (line.method, line.n, line.verifier) == (baseline, n, ""))
    ns = sorted(line.n for line in methods if line.method == baseline)
    found = Analysis(
        Basis(
            dataset=dataset,
            problems=len(base.per_problem),
            clusters=None if clusters is None else len(set(clusters)),
            seeds=tuple(seeds),
            baseline=base.key,
        ),
        gains=gains(methods, seed=seed, clusters=clusters),
        selections=selections(methods, base, seed=seed, clusters=clusters),
        sample_sizes=sample_sizes(methods, base, clusters=clusters),
        worths=worths(methods, seed=seed, clusters=clusters),
        peaks=peaks(methods, seed=seed, clusters=clusters),
        chosen=tuple(
            one
            for name, found in evidence.items()
            for one in chosen_solutions(name, found, ns, seed=seed, clusters=clusters)
        ),
        biases=tuple(bias(name, found, seed=seed, clusters=clusters) for name, found in evidence.items()),
        seeds=seed_spreads(by_seed or {}),
        money=None if prices is None else {line.key: prices.of(line.bill) for line in methods},
    )
    return Analysis.from_dict(found.to_dict())  # as it will be read back, where all that is unknown is one nan


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
