"""From results per problem to numbers one can quote: accuracy and paired gain with intervals, and the mean bill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import fsum, isclose
from typing import Any

from prm.errors import ConfigError
from prm.stats.intervals import Estimate, bootstrap_mean, paired_difference
from prm.stats.selection import gain_of_the_chosen

from .cost import Bill, mean_bill
from .search.base import ProblemResult

ORACLES = frozenset({"pass_at_n", "compute_optimal_oracle"})


@dataclass(frozen=True)
class MethodResult:
    """One line of the table.

    Attributes:
        verifier: its name; empty for a method without one. `kind` is `prm`, `orm` or empty.
        control: the verifier is a control, there to be beaten.
        n: generated solutions for each problem.
        accuracy: mean over problems, with its interval.
        gain: accuracy minus the baseline's at the same n, paired by problem; `None` for the baseline itself, where the
            baseline has no such n, and where both are plain sampling (`difference_at`).
        bill: mean cost of one problem.
        per_problem: accuracy on each problem, in the order of the run's problems.
        bills: what each problem cost, in the same order.
        samples: solutions drawn for each problem on average, by a method that may stop before n; `None` for others.
    """

    method: str
    verifier: str
    kind: str
    control: bool
    n: int
    accuracy: Estimate
    gain: Estimate | None
    bill: Bill
    per_problem: tuple[float, ...]
    bills: tuple[Bill, ...]
    samples: float | None = None

    @property
    def key(self) -> str:
        """As in `per_problem.jsonl`: `beam_search/prm@16`, `majority@16`."""
        return f"{self.method}{'/' + self.verifier if self.verifier else ''}@{self.n}"

    @property
    def label(self) -> str:
        """As people read it: `weighted best-of-n, prm`, `majority`."""
        return f"{method_title(self.method)}, {self.verifier}" if self.verifier else method_title(self.method)

    @property
    def oracle(self) -> bool:
        return self.method in ORACLES

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "verifier": self.verifier or None,
            "kind": self.kind or None,
            "control": self.control,
            "oracle": self.oracle,
            "n": self.n,
            "accuracy": asdict(self.accuracy),
            "gain": asdict(self.gain) if self.gain else None,
            "samples": self.samples,
            "cost": self.bill.to_dict(),
        }

    @classmethod
    def from_dict(cls, line: Mapping[str, Any], per_problem: Sequence[Mapping[str, Any]]) -> MethodResult:
        """Inverse of `to_dict`, given the rows of `per_problem.jsonl`."""
        found = cls(
            method=line["method"],
            verifier=line["verifier"] or "",
            kind=line["kind"] or "",
            control=line["control"],
            n=line["n"],
            accuracy=Estimate(**line["accuracy"]),
            gain=Estimate(**line["gain"]) if line["gain"] else None,
            bill=Bill.from_dict(line["cost"]),
            per_problem=(),
            bills=(),
            samples=line.get("samples"),
        )
        return replace(
            found,
            per_problem=tuple(row[found.key] for row in per_problem),
            bills=tuple(Bill.from_dict(row["bills"][found.key]) for row in per_problem),
        )


TITLES = {
    "pass_at_n": "pass@n (oracle)",
    "best_of_n": "best-of-n",
    "weighted_best_of_n": "weighted best-of-n",
    "no_skill": "no skill (chance)",
    "dvts": "DVTS",
    "rebase": "REBASE",
    "lookahead": "lookahead search",
    "early_stop": "early stopping",
    "early_stop_threshold": "early stopping at a score",
    "compute_optimal_scores": "compute-optimal",
    "compute_optimal_agreement": "compute-optimal by agreement",
    "compute_optimal_oracle": "compute-optimal (oracle, upper bound)",
}
"""As the papers write them; the others are their names without underscores."""


def method_title(method: str) -> str:
    """The method's name as people read it; a system of a panel keeps the name that it was given."""
    if method in TITLES or method.startswith("alone: "):
        return TITLES.get(method, method)
    name, vote, _ = method.partition("_weighted")
    return f"{TITLES.get(name, name.replace('_', ' '))}{' weighted' if vote else ''}"


def method_result(
    results: Sequence[ProblemResult],
    *,
    method: str,
    n: int,
    verifier: str = "",
    kind: str = "",
    control: bool = False,
    baseline: Sequence[float] | None = None,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> MethodResult:
    """Summarise one method; `baseline` holds the baseline's accuracy on the same problems at the same n, `clusters`
    names what problems share."""
    values = tuple(result.accuracy for result in results)
    bills = tuple(result.bill for result in results)
    drawn = [result.samples for result in results if result.samples is not None]
    return MethodResult(
        method=method,
        verifier=verifier,
        kind=kind,
        control=control,
        n=n,
        accuracy=bootstrap_mean(values, seed=seed, clusters=clusters),
        gain=None if baseline is None else difference_at(n, values, baseline, seed=seed, clusters=clusters),
        bill=mean_bill(bills),
        per_problem=values,
        bills=bills,
        samples=fsum(drawn) / len(drawn) if drawn else None,
    )


def difference_at(
    n: int, a: Sequence[float], b: Sequence[float], *, seed: int = 0, clusters: Sequence[str] | None = None
) -> Estimate | None:
    """`paired_difference` of two methods with n solutions each, `None` where they are one method: whoever chooses
    among a single sample takes it, so that a difference of nothing is no finding and has no interval."""
    if n == 1 and all(isclose(x, y, abs_tol=1e-9) for x, y in zip(a, b, strict=True)):
        return None
    return paired_difference(a, b, seed=seed, clusters=clusters)


def find(methods: Sequence[MethodResult], method: str, n: int, verifier: str = "") -> MethodResult:
    """The line of a method.

    Raises:
        ConfigError: this run has no such line.
    """
    for line in methods:
        if (line.method, line.verifier, line.n) == (method, verifier, n):
            return line
    raise ConfigError(f"the run has no {method} at n={n}{f' with {verifier}' if verifier else ''}; add its approach")


@dataclass(frozen=True)
class Best:
    """The best method that a PRM guides, at the run's n.

    `gain` is paired over the baseline. `held_out_gain` removes what choosing the best of several methods adds: each
    problem is measured with the methods that are best on resamples without it (`prm.stats.selection`).
    """

    key: str
    label: str
    gain: Estimate
    held_out_gain: Estimate

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Best:
        """Inverse of `dataclasses.asdict`."""
        return cls(
            found["key"],
            found.get("label", found["key"]),
            Estimate(**found["gain"]),
            Estimate(**found["held_out_gain"]),
        )


def best_prm_method(
    methods: Sequence[MethodResult],
    baseline: Sequence[float],
    n: int,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> Best | None:
    """Pick the best line of a PRM that is no control, or `None` where there is none."""
    lines = [line for line in methods if line.kind == "prm" and not line.control and not line.oracle and line.n == n]
    if not lines:
        return None
    values = list(zip(*(line.per_problem for line in lines), strict=True))
    found = gain_of_the_chosen(values, baseline, seed=seed, clusters=clusters)
    best = lines[found.best]
    return Best(key=best.key, label=best.label, gain=found.apparent, held_out_gain=found.honest)


def against_controls(
    methods: Sequence[MethodResult], n: int, seed: int = 0, clusters: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Every line of a PRM against the same line with each control, paired by problem."""
    rows = []
    for line in methods:
        if line.control or line.kind != "prm" or line.n != n:
            continue
        for other in methods:
            if other.control and (other.method, other.n) == (line.method, n):
                difference = difference_at(n, line.per_problem, other.per_problem, seed=seed, clusters=clusters)
                if difference is not None:
                    rows.append({"method": line.key, "control": other.key, "difference": asdict(difference)})
    return rows
