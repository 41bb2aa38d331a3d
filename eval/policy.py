"""The policy file: which method a problem of a given difficulty gets for a given budget, and for which models and
settings that was found out.

    policy = Policy.load("runs/eval/policy-prm-scores.json")
    policy.choose(0.7, n=16)  # Choice(method="dvts", n=16)

`prm.eval.policy_fit` makes one from the lines of a run; `prm eval --policy` runs it on new problems
(`prm.eval.search.compute_optimal`). It holds for the generator, the verifier and the sampling that it was made with:
difficulties are only comparable under these.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from prm.errors import ConfigError, DataError, MissingFileError
from prm.jsonl import write_json

from .difficulty import Binning, Bins, Measure

POLICY_VERSION = 1
REMEDY = "Make it again: prm eval --approach compute_optimal with this version"


@dataclass(frozen=True)
class Choice:
    """A method as in `prm.eval.search.strategies`, and the number of solutions it generates."""

    method: str
    n: int

    @property
    def key(self) -> str:
        return f"{self.method}@{self.n}"


@dataclass(frozen=True)
class BudgetPlan:
    """One budget: `flops` a problem may cost on average, difficulty estimation included, which is what best-of-`n`
    with the same verifier costs; `choices` has one entry for each bin, the easiest first."""

    n: int
    flops: float
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Policy:
    """What a policy file holds.

    Attributes:
        measure: how difficulty is estimated, before anything else is spent.
        binning: how the bins were made; their edges are fixed.
        conditions: what it was made with, and what a run that follows it must have too: generator, verifier,
            sampling, the shape of searches. JSON values.
        made_on: where it comes from: dataset, number of problems, seed, and hashes of the problems
            (`prm.eval.policy_origin`).
    """

    measure: Measure
    binning: Binning
    bins: Bins
    budgets: tuple[BudgetPlan, ...]
    conditions: dict[str, Any]
    made_on: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the lines that it makes."""
        return f"compute_optimal_{self.measure.by}"

    def plan(self, n: int | None = None, flops: float | None = None) -> BudgetPlan:
        """The plan of the budget called `n`, or the largest whose mean cost is within `flops`; without either, the
        largest of all.

        Raises:
            ConfigError: there is no such budget.
        """
        fitting = [
            plan
            for plan in self.budgets
            if (n is None or plan.n == n) and (flops is None or plan.flops <= flops * (1 + 1e-9))
        ]
        if not fitting:
            there = ", ".join(f"n={plan.n} ({plan.flops:.3g} FLOPs)" for plan in self.budgets)
            raise ConfigError(f"the policy has no such budget; it has {there}")
        return max(fitting, key=lambda plan: plan.flops)

    def choose(self, difficulty: float, *, n: int | None = None, flops: float | None = None) -> Choice:
        """What a problem of this difficulty gets; the budget as in `plan`."""
        return self.plan(n, flops).choices[int(self.bins.of([difficulty])[0])]

    def check(
        self, conditions: Mapping[str, Any], path: str | Path = "the policy", *, unless: Collection[str] = ()
    ) -> None:
        """Refuse a run that it was not made for.

        Args:
            unless: conditions that may differ.

        Raises:
            ConfigError: the first condition that differs, with both values.
        """
        for name, made_with in self.conditions.items():
            here = conditions.get(name)
            if here != made_with and name not in unless:
                raise ConfigError(
                    f"{path} was made with {name}={made_with!r}, and this run has {here!r}: difficulties and costs "
                    "are not comparable. Use the same, or make a policy for these: --approach compute_optimal"
                )

    def save(self, path: str | Path) -> Path:
        """Write the file."""
        write_json(Path(path), self.to_dict())
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": POLICY_VERSION,
            "difficulty": asdict(self.measure),
            "binning": self.binning,
            "edges": list(self.bins.edges),
            "budgets": [asdict(plan) for plan in self.budgets],
            "conditions": self.conditions,
            "made_on": self.made_on,
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Policy:
        """Inverse of `to_dict`; raises `KeyError`, `TypeError` or `ValueError` where it is no policy."""
        bins = Bins(tuple(float(edge) for edge in found["edges"]))
        budgets = tuple(
            BudgetPlan(plan["n"], plan["flops"], tuple(Choice(**choice) for choice in plan["choices"]))
            for plan in found["budgets"]
        )
        if not budgets or any(len(plan.choices) != len(bins) for plan in budgets):
            raise ValueError(f"every budget needs a choice for each of the {len(bins)} bins")
        return cls(
            measure=Measure(**found["difficulty"]),
            binning=cast(Binning, found["binning"]),
            bins=bins,
            budgets=budgets,
            conditions=dict(found["conditions"]),
            made_on=dict(found["made_on"]),
        )

    @classmethod
    def load(cls, path: str | Path) -> Policy:
        """Read a policy file.

        Raises:
            MissingFileError, DataError: no such file, no policy in it, or one of another version.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError("no such policy", path=path, remedy="prm eval --approach compute_optimal makes one")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            version = found["version"]
        except (ValueError, KeyError, TypeError):
            raise DataError("not a policy of prm eval", path=path, remedy=REMEDY) from None
        if version != POLICY_VERSION:
            raise DataError(f"a policy of version {version}, not {POLICY_VERSION}", path=path, remedy=REMEDY)
        try:
            return cls.from_dict(found)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a policy of prm eval: {error}", path=path, remedy=REMEDY) from None
