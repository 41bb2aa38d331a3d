"""The bill of a search: tokens, FLOPs and seconds, both models included.

FLOPs are 2 per parameter and token (Snell et al., arXiv 2408.03314, section 4): every generated and every prefilled
token goes through the generator once, every verifier token through the verifier once; a cached token costs nothing.
What the tokens were spent on is counted where they are spent (`prm.rollouts.Cost`). Recorded samples say themselves
what they cost; where one does not, the FLOPs of every method that uses it are unknown: nan here, null in JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from prm.rollouts import Cost, Rollout


@dataclass(frozen=True)
class Bill:
    """What a method spends on one problem, on average. Fractions occur, for a bill may be a mean. Unknown FLOPs are
    nan, and so is every sum with them."""

    generated_tokens: float = 0.0
    prefilled_tokens: float = 0.0
    cached_tokens: float = 0.0
    verifier_tokens: float = 0.0
    generator_flops: float = 0.0
    verifier_flops: float = 0.0
    seconds: float = 0.0

    @property
    def flops(self) -> float:
        return self.generator_flops + self.verifier_flops

    def __add__(self, other: Bill) -> Bill:
        return Bill(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def scaled(self, factor: float) -> Bill:
        """The bill of `factor` times as much: the cost of n of M samples is the bill of all M times n / M."""
        return Bill(*(factor * getattr(self, field.name) for field in fields(self)))

    def to_dict(self, *, zeros: bool = True) -> dict[str, float | None]:
        """As JSON values: what is unknown is null. Without `zeros`, what was not spent is left out."""
        values = {**vars(self), "flops": self.flops}
        return {name: None if math.isnan(value) else value for name, value in values.items() if value or zeros}

    @classmethod
    def from_dict(cls, values: Mapping[str, float | None]) -> Bill:
        """Inverse of `to_dict`; what is missing is 0."""
        found = {field.name: values.get(field.name, 0.0) for field in fields(cls)}
        return cls(**{name: math.nan if value is None else value for name, value in found.items()})


def bill_of(cost: Cost, *, generator_parameters: int, verifier_parameters: int) -> Bill:
    """Price counted tokens in FLOPs."""
    return Bill(
        generated_tokens=cost.generated_tokens,
        prefilled_tokens=cost.prefilled_tokens,
        cached_tokens=cost.cached_tokens,
        verifier_tokens=cost.verifier_tokens,
        generator_flops=2.0 * generator_parameters * (cost.generated_tokens + cost.prefilled_tokens),
        verifier_flops=2.0 * verifier_parameters * cost.verifier_tokens,
        seconds=cost.seconds,
    )


def recorded_bill(rollouts: Sequence[Rollout]) -> Bill:
    """What recorded samples say they cost; their FLOPs are unknown where one of them does not say."""
    cost = sum((rollout.cost for rollout in rollouts), Cost())
    known = all(rollout.cost.flops for rollout in rollouts)
    tokens = bill_of(cost, generator_parameters=0, verifier_parameters=0)
    return replace(tokens, generator_flops=cost.flops if known else math.nan)


def mean_bill(bills: Iterable[Bill]) -> Bill:
    """The mean over problems; the bill of nothing is empty."""
    total, count = Bill(), 0
    for bill in bills:
        total, count = total + bill, count + 1
    return total.scaled(1 / count) if count else total
