"""What every generator does: sample continuations of token ids.

A request is one sample, with its own seed; a generator may batch requests in any way. Seeds are
hash(problem, prefix) + sample index, so that asking for more samples later never repeats one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from prm.errors import ConfigError
from prm.rollouts import Cost, StopReason


@dataclass(frozen=True)
class SamplingParams:
    """How to sample.

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus; 1 keeps every token.
        max_new_tokens: tokens after which a completion is truncated.
        stop: texts that end a completion; the text that ended it is kept.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_new_tokens < 1:
            raise ConfigError(f"sampling parameters out of range: {asdict(self)}")

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "stop": list(self.stop)}


@dataclass(frozen=True)
class GenerationRequest:
    """One sample to draw: the ids to continue and the seed to draw with."""

    prompt_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Completion:
    """One sampled continuation. `text` decodes `token_ids` without the end-of-text token, a stop text included."""

    token_ids: tuple[int, ...]
    text: str
    stop_reason: StopReason
    cost: Cost = field(default_factory=Cost)


class Generator(Protocol):
    """Samples continuations.

    `name` and `revision` identify the weights (they are part of every ledger key), `num_parameters` is what FLOPs are
    counted with (all but the input embedding's lookup), `context_length` is in tokens.
    """

    name: str
    revision: str
    num_parameters: int
    context_length: int

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        """Token ids of the prompt for a problem, followed by the text of a started solution."""
        ...

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer every request, in order; `progress` is called with the number of requests finished since the last
        call."""
        ...


def request_seed(problem: str, prefix: str, sample_index: int, base_seed: int = 0) -> int:
    """The seed of one sample: hash(problem, prefix) + index, in 63 bits. `base_seed` separates whole runs."""
    digest = hashlib.sha256(f"{base_seed}\0{problem}\0{prefix}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") + sample_index) % 2**63
