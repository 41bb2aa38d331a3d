"""The bill of a search: tokens, FLOPs, cache and seconds, both models included, and money where prices are known.

FLOPs are 2 per parameter and token, and 4 per layer, head dimension and pair of a token and one that it attends to
(`FLOPS_FORMULA`; Snell et al., arXiv 2408.03314, section 4, count the first term alone): every generated and every
prefilled token goes through the generator once, every verifier token through the verifier once; a cached token costs
nothing. What the tokens were spent on is counted where they are spent (`prm.rollouts.Cost`). Recorded samples say
themselves what they cost; where one does not, the FLOPs of every method that uses it are unknown: nan here, null in
JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import mul

from prm.errors import ConfigError
from prm.rollouts import Cost, Rollout

FLOPS_FORMULA = (
    "FLOPs = 2 N T + 4 L H D A of each model: N parameters, T tokens that go through it (generated and prefilled ones "
    "through the generator, verifier tokens through the verifier; cached ones through neither), L layers with H heads "
    "of width D, and A pairs of a token and one that it attends to, itself included. The attention term is left out "
    "where an engine does not report A."
)


@dataclass(frozen=True)
class Bill:
    """What a method spends on one problem, on average. Fractions occur, for a bill may be a mean. Unknown FLOPs are
    nan, and so is every sum with them.

    Attributes:
        lookahead_tokens, pruned_tokens: parts of `generated_tokens`: sampled only to look ahead, and sampled for
            branches that a search gave up.
        difficulty_flops: part of `flops`: spent to estimate how hard the problem is.
        cache_bytes: of key-value caches at their peak, both models; of several bills the largest.
    """

    generated_tokens: float = 0.0
    prefilled_tokens: float = 0.0
    cached_tokens: float = 0.0
    verifier_tokens: float = 0.0
    lookahead_tokens: float = 0.0
    pruned_tokens: float = 0.0
    generator_flops: float = 0.0
    verifier_flops: float = 0.0
    difficulty_flops: float = 0.0
    cache_bytes: float = 0.0
    seconds: float = 0.0

    @property
    def flops(self) -> float:
        return self.generator_flops + self.verifier_flops

    def __add__(self, other: Bill) -> Bill:
        both = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Bill(**{**both, "cache_bytes": max(self.cache_bytes, other.cache_bytes)})

    def scaled(self, factor: float) -> Bill:
        """The bill of `factor` times as much; the peak of the cache stays what it was."""
        amounts = {name: factor * value for name, value in vars(self).items()}
        return Bill(**{**amounts, "cache_bytes": self.cache_bytes})

    def of_some(self, n: int, total: int) -> Bill:
        """What n samples cost where this is the bill of `total` samples from one prompt.

        Generation grows with n, but n samples read their prompt as one does: where all of them shared k readings of
        it, n of them share max(1, k n / total), and the rest find it cached.
        """
        share = n / total
        part = self.scaled(share)
        prompt = (self.prefilled_tokens + self.cached_tokens) / total
        if not self.prefilled_tokens or prompt >= self.prefilled_tokens:
            prefilled = self.prefilled_tokens  # less than one reading: part of it came from elsewhere
        else:
            prefilled = max(prompt, share * self.prefilled_tokens)
        cached = max(n * prompt - prefilled, 0.0)
        through = self.generated_tokens + self.prefilled_tokens
        if not through:  # recorded without its tokens
            return part
        flops = self.generator_flops * (part.generated_tokens + prefilled) / through
        return replace(part, prefilled_tokens=prefilled, cached_tokens=cached, generator_flops=flops)

    def to_dict(self, *, zeros: bool = True) -> dict[str, float | None]:
        """As JSON values: what is unknown is null. Without `zeros`, what was not spent is left out."""
        values = {**vars(self), "flops": self.flops}
        return {name: None if math.isnan(value) else value for name, value in values.items() if value or zeros}

    @classmethod
    def from_dict(cls, values: Mapping[str, float | None]) -> Bill:
        """Inverse of `to_dict`; what is missing is 0."""
        found = {field.name: values.get(field.name, 0.0) for field in fields(cls)}
        return cls(**{name: math.nan if value is None else value for name, value in found.items()})


def bill_of(
    cost: Cost,
    *,
    generator_parameters: float = 0,
    verifier_parameters: float = 0,
    generator_attention: float = 0.0,
    verifier_attention: float = 0.0,
) -> Bill:
    """Price counted tokens in FLOPs (`FLOPS_FORMULA`).

    Args:
        generator_attention, verifier_attention: FLOPs for each pair of a token and one that it attends to, a model's
            `attention_flops_per_pair`.
    """
    through_generator = cost.generated_tokens + cost.prefilled_tokens
    return Bill(
        generated_tokens=cost.generated_tokens,
        prefilled_tokens=cost.prefilled_tokens,
        cached_tokens=cost.cached_tokens,
        verifier_tokens=cost.verifier_tokens,
        lookahead_tokens=cost.lookahead_tokens,
        pruned_tokens=cost.pruned_tokens,
        generator_flops=2.0 * generator_parameters * through_generator + generator_attention * cost.attended_tokens,
        verifier_flops=2.0 * verifier_parameters * cost.verifier_tokens
        + verifier_attention * cost.verifier_attended_tokens,
        cache_bytes=cost.cache_bytes,
        seconds=cost.seconds,
    )


def recorded_bill(rollouts: Sequence[Rollout]) -> Bill:
    """What recorded samples say they cost; their FLOPs are unknown where one of them does not say."""
    cost = sum((rollout.cost for rollout in rollouts), Cost())
    known = all(rollout.cost.flops for rollout in rollouts)
    tokens = bill_of(cost, generator_parameters=0, verifier_parameters=0)
    return replace(tokens, generator_flops=cost.flops if known else math.nan)


def without_prompt(cost: Cost) -> Cost:
    """The part of a sample's cost that is its own, whoever read its prompt: what it generated, what that attends to,
    and its time. Recorded FLOPs are split by tokens."""
    prompt, through = cost.prefilled_tokens + cost.cached_tokens, cost.generated_tokens + cost.prefilled_tokens
    read = (prompt * (prompt + 1) - cost.cached_tokens * (cost.cached_tokens + 1)) // 2
    return Cost(
        generated_tokens=cost.generated_tokens,
        attended_tokens=max(cost.attended_tokens - read, 0),
        flops=cost.flops * cost.generated_tokens / through if through else cost.flops,
        seconds=cost.seconds,
    )


@dataclass(frozen=True)
class SampleBills:
    """What each of the M samples of one prompt costs without the prompt, which they share (`without_prompt`).

    Attributes:
        tokens, flops, seconds: (M,) of each sample.
    """

    tokens: tuple[float, ...]
    flops: tuple[float, ...]
    seconds: tuple[float, ...]

    @classmethod
    def priced(cls, rollouts: Sequence[Rollout], **prices: float) -> SampleBills:
        """Of samples drawn here, at the prices of `bill_of`."""
        own = [without_prompt(rollout.cost) for rollout in rollouts]
        return cls._of(own, [bill_of(cost, **prices).generator_flops for cost in own])

    @classmethod
    def recorded(cls, rollouts: Sequence[Rollout]) -> SampleBills:
        """Of samples that say themselves what they cost; nan where one does not say its FLOPs."""
        own = [without_prompt(rollout.cost) for rollout in rollouts]
        known = [bool(rollout.cost.flops) for rollout in rollouts]
        return cls._of(own, [cost.flops if said else math.nan for cost, said in zip(own, known, strict=True)])

    @classmethod
    def _of(cls, own: Sequence[Cost], flops: Sequence[float]) -> SampleBills:
        tokens, seconds = zip(*((cost.generated_tokens, cost.seconds) for cost in own), strict=True)
        return cls(tokens, tuple(flops), seconds)

    def drawn(self, chances: Sequence[float]) -> Bill:
        """The expected bill where each sample is drawn with a chance of its own, (M,)."""
        tokens, flops, seconds = (
            math.fsum(map(mul, chances, column)) for column in (self.tokens, self.flops, self.seconds)
        )
        return Bill(generated_tokens=tokens, generator_flops=flops, seconds=seconds)


def mean_bill(bills: Iterable[Bill]) -> Bill:
    """The mean over problems, and the largest cache; the bill of nothing is empty."""
    rows = [vars(bill) for bill in bills]
    if not rows:
        return Bill()
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return Bill(**{**means, "cache_bytes": max(row["cache_bytes"] for row in rows)})


KINDS = ("generated", "prefilled", "cached", "verifier")
"""Tokens that are priced, each by its own."""


@dataclass(frozen=True)
class Prices:
    """What tokens and machine time cost, in whatever currency; `None` where nobody said.

    Attributes:
        generated, prefilled, cached, verifier: of a million tokens of that kind.
        hour: of an hour of the machine that the search runs on.
    """

    generated: float | None = None
    prefilled: float | None = None
    cached: float | None = None
    verifier: float | None = None
    hour: float | None = None

    def __post_init__(self) -> None:
        for name, price in vars(self).items():
            if price is not None and not 0 <= price < math.inf:
                raise ConfigError(f"price_{name} must be an amount of money, not {price}")

    @property
    def known(self) -> bool:
        """Whether anything has a price."""
        return any(price is not None for price in vars(self).values())

    def of(self, bill: Bill) -> float:
        """The money a bill comes to, nan where that is unknown: without prices, and where tokens were spent that have
        none. The price of an hour covers them; a kind of tokens that is free has the price 0."""
        if not self.known or self.missing(bill):
            return math.nan
        money = bill.seconds / 3600 * (self.hour or 0.0)
        return money + sum(getattr(bill, f"{name}_tokens") / 1e6 * (getattr(self, name) or 0.0) for name in KINDS)

    def missing(self, bill: Bill) -> tuple[str, ...]:
        """The kinds of tokens that a bill has and that have no price; none where an hour's covers them, and none
        where nothing has a price."""
        if self.hour is not None or not self.known:
            return ()
        return tuple(name for name in KINDS if getattr(self, name) is None and getattr(bill, f"{name}_tokens"))
