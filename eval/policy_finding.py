"""What a run found out about a compute-optimal policy: records for `results.json` and the report.

Whatever is called held out was chosen without the problem that it is measured on (`prm.eval.policy_fit`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prm.stats.intervals import Estimate

from .cost import Bill
from .difficulty import Binning, Measure


@dataclass(frozen=True)
class BudgetFinding:
    """What the policy reaches within one budget.

    Attributes:
        n: the budget is what best-of-n costs with the same verifier: `flops` a problem.
        spent: what the held-out policy came to, in FLOPs a problem, estimation included.
        choices: of the exported policy, one for each bin, the easiest first, as `dvts@16`.
        accuracy: of the policy, held out.
        over_best_of_n: its paired gain over best-of-n.
        over_fixed: its paired gain over the one method that was the best within the budget, held out likewise and
            without any estimation; `fixed` names the best one on all problems.
    """

    n: int
    flops: float
    spent: float
    choices: tuple[str, ...]
    accuracy: Estimate
    over_best_of_n: Estimate
    over_fixed: Estimate
    fixed: str

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> BudgetFinding:
        """Inverse of `dataclasses.asdict`."""
        estimates = {name: Estimate(**found[name]) for name in ("accuracy", "over_best_of_n", "over_fixed")}
        return cls(**{**found, **estimates, "choices": tuple(found["choices"])})


@dataclass(frozen=True)
class BinLine:
    """One method on the problems of each bin: mean accuracy and mean FLOPs; `None` where a bin is empty."""

    method: str
    n: int
    accuracy: tuple[float | None, ...]
    flops: tuple[float | None, ...]


@dataclass(frozen=True)
class PolicyFinding:
    """One policy of a run.

    Attributes:
        name: of its lines in the table, `compute_optimal_scores`.
        verifier: its name in this run.
        file: where the policy was written, below the output directory.
        measure: how difficulty is estimated.
        binning: how the bins were made; `edges` part them, the easiest first.
        bin_problems: problems in each bin; `bin_pass_at_1` is their plain sampling accuracy.
        estimation: mean bill of estimating the difficulty of a problem.
        folds: of the cross-validation over `problems` problems, shuffled by `seed`.
        budgets: by growing cost.
        methods: everything that could be chosen, by bin.
    """

    name: str
    verifier: str
    file: str
    measure: Measure
    binning: Binning
    edges: tuple[float, ...]
    bin_problems: tuple[int, ...]
    bin_pass_at_1: tuple[float | None, ...]
    estimation: Bill
    folds: int
    problems: int
    seed: int
    budgets: tuple[BudgetFinding, ...]
    methods: tuple[BinLine, ...]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "estimation": self.estimation.to_dict()}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> PolicyFinding:
        """Inverse of `to_dict`."""
        tuples = {name: tuple(found[name]) for name in ("edges", "bin_problems", "bin_pass_at_1")}
        methods = tuple(
            BinLine(line["method"], line["n"], tuple(line["accuracy"]), tuple(line["flops"]))
            for line in found["methods"]
        )
        read = {
            "measure": Measure(**found["measure"]),
            "estimation": Bill.from_dict(found["estimation"]),
            "budgets": tuple(BudgetFinding.from_dict(budget) for budget in found["budgets"]),
            "methods": methods,
        }
        return cls(**{**found, **tuples, **read})
