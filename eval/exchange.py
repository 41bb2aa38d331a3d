"""Search with a small model against a larger one sampled once, at equal FLOPs (Snell et al., arXiv 2408.03314,
section 7).

A model of M times the parameters costs M times as much to train and M times as much to sample. Spent on the small
model's inference instead, the same total buys

    M + 3 (M - 1) / R

times the FLOPs of one of its samples, where R is the number of tokens that a model generates in its life over the
number it was pretrained on (training takes 6 N FLOPs a token, inference 2 N). Many tokens to serve, a large R, leave
little to exchange; few leave much. Without the second term it is inference alone.

The small model's side is billed in full, its verifier included, which the paper does not count; the verifier's own
training is not billed. The method for each budget is chosen on other problems than it is compared on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import read_jsonl
from prm.problems import Problem, problem_from_row
from prm.stats.intervals import Estimate, bootstrap_mean, paired_difference

from .allocation import HeldOut, Menu, frontier, held_out_picks, split_folds
from .difficulty import IntArray
from .results import MethodResult
from .sample_store import problem_key

RATIOS = (0.16, 0.79, 22.0)
"""The paper's R: of a model that is retrained often, of one in between, and of one that serves many."""


def exchange_multiple(m: float, ratio: float | None) -> float:
    """How many times the FLOPs of one small sample pay for one large sample with its share of the pretraining.

    Args:
        m: parameters of the large model over those of the small one.
        ratio: R; `None` leaves the pretraining out.

    Raises:
        ConfigError: the large model is not larger, or R is not positive.
    """
    if m <= 1:
        raise ConfigError(f"an exchange needs a larger model to compare to; this one has {m:.3g} times the parameters")
    if ratio is not None and ratio <= 0:
        raise ConfigError(f"R must be positive, not {ratio}")
    return m if ratio is None else m + 3 * (m - 1) / ratio


@dataclass(frozen=True)
class Side:
    """One model of the comparison: its lines on the same problems, in the same order."""

    name: str
    num_parameters: int
    methods: tuple[MethodResult, ...]

    def line(self, method: str, n: int) -> MethodResult | None:
        """Its line of that method, without a verifier."""
        found = [line for line in self.methods if (line.method, line.n, line.verifier) == (method, n, "")]
        return found[0] if found else None


@dataclass(frozen=True)
class ExchangeLine:
    """What one budget buys.

    Attributes:
        ratio: R; `None` where inference alone is exchanged.
        multiple: the budget in samples of the small model, `flops` in FLOPs a problem.
        method: the best one within the budget, chosen on all problems.
        spent: what the held-out choices came to; less than `flops` where no measured method spends more.
        accuracy: of the held-out choices.
        over_sampled, over_greedy: paired differences to the large model sampled once and decoded greedily; `None`
            where its run has no greedy line.
    """

    ratio: float | None
    multiple: float
    flops: float
    method: str
    spent: float
    accuracy: Estimate
    over_sampled: Estimate
    over_greedy: Estimate | None


@dataclass(frozen=True)
class CurvePoint:
    """A method of the small model that no cheaper one equals: a point of the plot."""

    method: str
    flops: float
    multiple: float
    accuracy: Estimate


@dataclass(frozen=True)
class Exchange:
    """The table and the plot of one comparison.

    Attributes:
        small, large: names; `m` is the quotient of their parameters.
        small_flops, large_flops: of one sample of a problem, as measured.
        sampled, greedy: accuracy of the large model.
        lines: inference alone, then each R, by growing budget.
        curve: by growing cost.
    """

    small: str
    large: str
    small_parameters: int
    large_parameters: int
    m: float
    small_flops: float
    large_flops: float
    sampled: Estimate
    greedy: Estimate | None
    problems: int
    lines: tuple[ExchangeLine, ...]
    curve: tuple[CurvePoint, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Exchange:
        """Inverse of `to_dict`."""
        lines = tuple(ExchangeLine(**{**line, **_estimates(line)}) for line in found["lines"])
        curve = tuple(CurvePoint(**{**point, **_estimates(point)}) for point in found["curve"])
        return cls(**{**found, **_estimates(found), "lines": lines, "curve": curve})


def _estimates(found: Mapping[str, Any]) -> dict[str, Estimate | None]:
    names = ("accuracy", "over_sampled", "over_greedy", "sampled", "greedy")
    return {name: Estimate(**found[name]) if found[name] else None for name in names if name in found}


def exchange(
    small: Side,
    large: Side,
    *,
    ratios: Sequence[float] = RATIOS,
    folds: int = 5,
    seed: int = 0,
    clusters: Sequence[str] | None = None,
) -> Exchange:
    """Compare the small model's methods with the large model sampled once, at equal FLOPs.

    Args:
        clusters: names of what problems share; those of one cluster are in one fold, and drawn together.

    Raises:
        ConfigError: the models do not differ as they should, or a line or a FLOP count is missing.
    """
    m = large.num_parameters / small.num_parameters
    once, sampled, greedy = _once(small), _once(large), large.line("greedy", 1)
    methods = _contenders(small.methods)
    menu = Menu(
        np.array([line.per_problem for line in methods]),
        np.array([[bill.flops for bill in line.bills] for line in methods]),
    )
    problems = len(once.per_problem)
    best = frontier(menu, np.zeros(problems), 1)
    budgets = {ratio: exchange_multiple(m, ratio) for ratio in (None, *sorted(ratios, reverse=True))}
    flops = [multiple * once.bill.flops for multiple in budgets.values()]
    parts = split_folds(problems, folds, seed, clusters)
    lines = []
    for (ratio, multiple), budget, chosen in zip(budgets.items(), flops, _held_out(menu, flops, parts), strict=True):
        on_all = best.within(budget)
        assert chosen is not None and on_all is not None  # one sample costs less than M samples
        accuracy, spent = (values[chosen.methods, np.arange(problems)] for values in (menu.accuracy, menu.flops))
        drawn: dict[str, Any] = {"seed": seed, "clusters": clusters}
        lines.append(
            ExchangeLine(
                ratio,
                multiple,
                budget,
                methods[on_all[0]].key,
                spent=float(spent.mean()),
                accuracy=bootstrap_mean(accuracy, **drawn),
                over_sampled=paired_difference(accuracy, sampled.per_problem, **drawn),
                over_greedy=paired_difference(accuracy, greedy.per_problem, **drawn) if greedy else None,
            )
        )
    return Exchange(
        small=small.name,
        large=large.name,
        small_parameters=small.num_parameters,
        large_parameters=large.num_parameters,
        m=m,
        small_flops=once.bill.flops,
        large_flops=sampled.bill.flops,
        sampled=sampled.accuracy,
        greedy=greedy.accuracy if greedy else None,
        problems=problems,
        lines=tuple(lines),
        curve=tuple(_point(methods[place], once) for place in best.picks[:, 0]),
    )


def _held_out(menu: Menu, budgets: Sequence[float], folds: Sequence[IntArray]) -> list[HeldOut | None]:
    """The best method for each budget, whatever the difficulty, chosen on the other folds."""
    nowhere = np.zeros(menu.flops.shape[1])
    return held_out_picks(menu, nowhere, nowhere, budgets, count=1, binning="quantile", folds=folds)


def _point(line: MethodResult, once: MethodResult) -> CurvePoint:
    return CurvePoint(line.key, line.bill.flops, line.bill.flops / once.bill.flops, line.accuracy)


def check_sides(small_parameters: int, large: Side) -> None:
    """See that two models can be compared, before anything is spent on the small one.

    Args:
        small_parameters: 0 where there is no generator.

    Raises:
        ConfigError: they cannot.
    """
    if not small_parameters:
        raise ConfigError("compare_to needs a generator on this side too; give model_name_or_path instead of rollouts")
    exchange_multiple(large.num_parameters / small_parameters, None)
    _once(large)


def _once(side: Side) -> MethodResult:
    """A model sampled once, which is pass@1."""
    found = side.line("pass_at_n", 1)
    if found is None or not np.isfinite(found.bill.flops) or not found.bill.flops:
        raise ConfigError(f"the FLOPs of one sample of {side.name} are not known; its run needs a generator")
    return found


def _contenders(methods: Sequence[MethodResult]) -> list[MethodResult]:
    """Everything that the small model can do about a problem, at known cost; controls and oracles are no methods."""
    return [
        line
        for line in methods
        if not line.control
        and (not line.oracle or (line.method, line.n) == ("pass_at_n", 1))
        and line.method != "no_skill"
        and all(np.isfinite(bill.flops) for bill in line.bills)
    ]


def read_side(folder: str | Path, problems: Sequence[Problem]) -> Side:
    """The finished run in a directory as a side, on these problems and in their order.

    Raises:
        MissingFileError, DataError: no finished run there.
        ConfigError: it had other problems, or no generator.
    """
    folder = Path(folder)
    path = folder / "results.json"
    if not path.is_file():
        raise MissingFileError("no finished run of prm eval", path=path, remedy="Run the larger model there first")
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for _, row in read_jsonl(folder / "per_problem.jsonl")]
        theirs = [problem_key(problem_from_row(row)) for _, row in read_jsonl(folder / "samples.jsonl")]
        methods = [MethodResult.from_dict(line, rows) for line in summary["methods"]]
        generator = summary["generator"]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(
            f"not a run of this version ({error})", path=folder, remedy="Run prm eval there again; samples are kept"
        ) from None
    if not generator:
        raise ConfigError(f"{folder} has no generator whose parameters could be counted: its samples were recorded")
    ours = [problem_key(problem) for problem in problems]
    if sorted(ours) != sorted(theirs):
        common = len(set(ours) & set(theirs))
        raise ConfigError(
            f"{folder} has {len(theirs)} problems and this run {len(ours)}, of which {common} are the same; models "
            "are compared on the same problems: give both runs the same dataset, num_problems and seed"
        )
    order = [theirs.index(key) for key in ours]
    return Side(generator["name"], generator["num_parameters"], tuple(_reordered(line, order) for line in methods))


def _reordered(line: MethodResult, order: Sequence[int]) -> MethodResult:
    return replace(
        line,
        per_problem=tuple(line.per_problem[place] for place in order),
        bills=tuple(line.bills[place] for place in order),
    )
