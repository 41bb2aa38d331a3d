"""Paired gains over what costs less: plain sampling, the majority vote and the ORM, at equal n and at equal FLOPs.

At equal n a verifier gets its own reading for nothing. At equal FLOPs it has to earn it: the reference spends the same
on more samples, its accuracy interpolated between the numbers of samples it was measured at. A reference that was not
given so many samples stands at the end of its curve: that gain is not at equal FLOPs, and says so (`Gain.matched`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prm.stats.intervals import Estimate, ResampledMeans, difference_of_few, paired_difference

from ..results import MethodResult

FloatArray = NDArray[np.float64]
PLAIN = "pass@1"
"""Plain sampling, as a reference: one sample, or any one of several, which is right as often."""

SAME_FLOPS = 0.01
"""Relative: a hundredth more samples move accuracy by less than any run can show."""


@dataclass(frozen=True)
class Gain:
    """One method over one reference, paired by problem.

    Attributes:
        key: of the method's line, as in `per_problem.jsonl`.
        reference: `pass@1`, `majority`, or method and verifier of an ORM's selector.
        equal: what both may spend: `n` solutions, or `flops`.
        difference: accuracy of the method minus that of the reference.
        reference_n: solutions that the reference draws for it; between those measured, by interpolation.
        flops_ratio: FLOPs of the reference over those of the method; nan where unknown. At equal FLOPs it is 1, unless
            the reference was not measured at so many or so few: then it stands at the end of its curve.
        needed_n: samples with which the reference would spend as much as the method: beyond its curve in a straight
            line through its last two points; nan where nobody knows, and at equal n.
    """

    key: str
    reference: str
    equal: str
    difference: Estimate
    reference_n: float
    flops_ratio: float
    needed_n: float = math.nan

    @property
    def matched(self) -> bool:
        """Whether the two spend the same, as said."""
        return self.equal == "n" or abs(self.flops_ratio - 1) < SAME_FLOPS


@dataclass(frozen=True)
class Reference:
    """What methods are measured over: its lines by n."""

    name: str
    lines: tuple[MethodResult, ...]

    def at(self, n: int) -> MethodResult | None:
        """Its line at n; plain sampling has but one."""
        if self.name == PLAIN:
            return self.lines[0]
        return next((line for line in self.lines if line.n == n), None)


def references(methods: Sequence[MethodResult]) -> list[Reference]:
    """Plain sampling, the majority vote, and the selectors of every ORM that is no control, as far as the run has
    them."""
    found = [Reference(PLAIN, tuple(line for line in methods if (line.method, line.n) == ("pass_at_n", 1)))]
    found.append(Reference("majority", tuple(line for line in methods if line.method == "majority")))
    orms: dict[str, list[MethodResult]] = {}
    for line in methods:
        if line.kind == "orm" and not line.control and line.method in ("best_of_n", "weighted_best_of_n"):
            orms.setdefault(f"{line.method}/{line.verifier}", []).append(line)
    found += [Reference(name, tuple(lines)) for name, lines in orms.items()]
    return [Reference(one.name, tuple(sorted(one.lines, key=lambda line: line.n))) for one in found if one.lines]


def gains(
    methods: Sequence[MethodResult], *, seed: int = 0, clusters: Sequence[str] | None = None
) -> tuple[Gain, ...]:
    """Every method that is no oracle over every reference, at equal n and, where FLOPs are known, at equal FLOPs."""
    against = references(methods)
    spending = Spending.of(methods, seed=seed, clusters=clusters)
    found: list[Gain | None] = []
    for line in filter(is_measured, methods):
        for reference in against:
            if reference.name != line.key.rpartition("@")[0]:
                found += [_equal_n_gain(line, reference, seed, clusters), spending.gain(line, reference)]
    return tuple(gain for gain in found if gain is not None)


def is_measured(line: MethodResult) -> bool:
    """Whether a line is a method that chooses: no oracle, no chance line, and not one sample, where all selectors are
    plain sampling (greedy decoding is one solution too, and another)."""
    return not line.oracle and line.method != "no_skill" and (line.n > 1 or line.method == "greedy")


def _equal_n_gain(line: MethodResult, reference: Reference, seed: int, clusters: Sequence[str] | None) -> Gain | None:
    other = reference.at(line.n)
    if other is None:
        return None
    difference = paired_difference(line.per_problem, other.per_problem, seed=seed, clusters=clusters)
    ratio = other.bill.flops / line.bill.flops if line.bill.flops else math.nan
    return Gain(line.key, reference.name, "n", difference, other.n, ratio)


@dataclass(frozen=True)
class Spending:
    """Mean accuracy and mean FLOPs of lines in the same resamples.

    Attributes:
        place: of each line whose FLOPs are known, by its key.
        means: columns: the accuracy of every such line, then their FLOPs.
    """

    place: dict[str, int]
    means: ResampledMeans | None
    clusters: Sequence[str] | None = None

    @classmethod
    def of(cls, lines: Sequence[MethodResult], *, seed: int = 0, clusters: Sequence[str] | None = None) -> Spending:
        """Resample the lines of one run, which have the same problems."""
        known = [line for line in lines if line.bill.flops > 0]  # nan is not
        if not known:
            return cls({}, None)
        columns = [line.per_problem for line in known] + [[bill.flops for bill in line.bills] for line in known]
        means = ResampledMeans.of(np.array(columns).T, seed=seed, clusters=clusters)
        return cls({line.key: place for place, line in enumerate(known)}, means, clusters)

    def gain(self, line: MethodResult, reference: Reference) -> Gain | None:
        """A method over a reference that spends as many FLOPs on average over problems, or `None` where FLOPs are
        unknown.

        The reference's accuracy on each problem is linear in the logarithm of its mean FLOPs between two neighbouring
        n. Means of FLOPs are taken anew in every resample, and so is the place on the curve; where the two differ on
        too few problems to be resampled, it stays. Plain sampling is a flat curve: any one of more samples is right as
        often.
        """
        curve = rising_flops(reference.lines)
        if self.means is None or line.key not in self.place or not curve:
            return None
        mine, places = self.place[line.key], [self.place[one.key] for one in curve]
        flops = len(self.place)  # where the columns of FLOPs begin

        def difference(means: FloatArray) -> FloatArray:
            theirs = [flops + place for place in places]
            return means[:, mine] - on_curve(means[:, flops + mine], means[:, theirs], means[:, places])

        spent, curve_flops = line.bill.flops, [one.bill.flops for one in curve]
        log_n = on_curve(np.array([spent]), np.array([curve_flops]), np.log([[float(one.n) for one in curve]]))
        reached = spent if reference.name == PLAIN else min(max(spent, curve_flops[0]), curve_flops[-1])
        needed = math.exp(log_n[0]) if reached >= spent else _samples_for(spent, curve)
        per_problem = np.array([one.per_problem for one in curve]).T
        on_place = on_curve(np.full(len(per_problem), spent), np.tile(curve_flops, (len(per_problem), 1)), per_problem)
        few = difference_of_few(line.per_problem, on_place, clusters=self.clusters)
        estimate = few or self.means.estimate(difference)
        return Gain(line.key, reference.name, "flops", estimate, math.exp(log_n[0]), reached / spent, needed)


def _samples_for(flops: float, curve: Sequence[MethodResult]) -> float:
    """How many samples spend more FLOPs than a curve has: each costs what those between its last two points do."""
    last = curve[-1]
    n, spent = (curve[-2].n, curve[-2].bill.flops) if len(curve) > 1 else (0, 0.0)
    return last.n + (flops - last.bill.flops) * (last.n - n) / (last.bill.flops - spent)


def rising_flops(lines: Sequence[MethodResult]) -> list[MethodResult]:
    """The lines of a method whose FLOPs are known, as far as each spends more than the one before."""
    curve: list[MethodResult] = []
    for line in sorted(lines, key=lambda one: one.n):
        if line.bill.flops > (curve[-1].bill.flops if curve else 0.0):
            curve.append(line)
    return curve


def on_curve(flops: FloatArray, curve_flops: FloatArray, curve_values: FloatArray) -> FloatArray:
    """Values (R,) of R curves with K points each, (R, K), at their FLOPs (R,): linear in the logarithm of FLOPs
    between two points, the first or last value beyond them."""
    x, xs = np.log(flops), np.log(curve_flops)
    found: FloatArray = curve_values[:, 0].copy()
    for k in range(xs.shape[1] - 1):
        width = xs[:, k + 1] - xs[:, k]
        # In a resample two points may trade places; the step then counts as one at their first FLOPs.
        part = np.where(width > 0, (x - xs[:, k]) / np.where(width > 0, width, 1.0), x >= xs[:, k])
        found += np.clip(part, 0.0, 1.0) * (curve_values[:, k + 1] - curve_values[:, k])
    return found
