"""The models of a run: known before they are loaded, and loaded when they are first asked for something.

What the store's keys, the bills and the tables need of a model (`ModelFacts`) is kept in the store. So a finished run
is replayed, and given further selectors, without any model: only what the store does not have loads one. Where models
come from is `prm.eval.loading`'s business.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Generic, TypeVar

from prm.aggregation import Aggregation
from prm.errors import ConfigError
from prm.fingerprint import dtype_suffix
from prm.scoring_spec import ScoringSpec

from .search.base import StepVerifier

ModelT = TypeVar("ModelT")


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model that is not loaded.

    Attributes:
        name: what tables call it.
        key: identifies its weights; a generator's revision.
        dtype: what reused results' keys add for the dtype it computes in; empty for float32.
        num_parameters: what FLOPs are counted with.
        attention_flops_per_pair: FLOPs of one token that attends to another, in all layers; 0 where unknown.
        cache_bytes_per_token: of its key-value cache; 0 where unknown.
        keeps_state: whether it can keep its caches for the length of a search, so that tokens are read once.
        vocabulary: identifies its tokenizer's vocabulary; empty where unknown.
        spec: a verifier's; `None` for a generator.
    """

    name: str
    key: str
    dtype: str = ""
    num_parameters: int = 0
    attention_flops_per_pair: float = 0.0
    cache_bytes_per_token: int = 0
    keeps_state: bool = False
    vocabulary: str = ""
    spec: ScoringSpec | None = None

    @property
    def store_key(self) -> str:
        """Its identity in the store: the weights, and the dtype they compute in."""
        return self.key + self.dtype

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "spec": self.spec.to_dict() if self.spec else None}

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> ModelFacts:
        """Inverse of `to_dict`."""
        return cls(**{**row, "spec": ScoringSpec.from_dict(row["spec"]) if row["spec"] else None})


def facts_of(model: Any, key: str) -> ModelFacts:
    """The facts of a loaded generator or verifier."""
    return ModelFacts(
        name=model.name,
        key=key,
        dtype=dtype_suffix(getattr(model, "model", None)),
        num_parameters=model.num_parameters,
        attention_flops_per_pair=float(getattr(model, "attention_flops_per_pair", 0.0)),
        cache_bytes_per_token=int(getattr(model, "cache_bytes_per_token", 0)),
        keeps_state=hasattr(model, "carry") or hasattr(model, "session"),
        vocabulary=_vocabulary(getattr(model, "tokenizer", None)),
        spec=getattr(model, "spec", None),
    )


def _vocabulary(tokenizer: Any) -> str:
    if tokenizer is None:
        return ""
    special = getattr(tokenizer, "added_tokens_decoder", {})  # a model's class may add some to the same vocabulary
    tokens = sorted((token, number) for token, number in tokenizer.get_vocab().items() if number not in special)
    return hashlib.sha256(json.dumps(tokens).encode()).hexdigest()[:12]


class Lazy(Generic[ModelT]):
    """A model with its facts, loaded when it is first asked for.

    Args:
        load: gives the model, or says why it cannot be had.
    """

    def __init__(self, facts: ModelFacts, load: Callable[[], ModelT]):
        self.facts, self._load = facts, load

    @cached_property
    def model(self) -> ModelT:
        """The model itself.

        Raises:
            ConfigError: it would compute in another dtype than what is stored of it.
            MissingFileError, ModelError: it cannot be loaded.
        """
        model = self._load()
        dtype = dtype_suffix(getattr(model, "model", None))
        if dtype != self.facts.dtype:
            stored, here = (found.removeprefix("+") or "float32" for found in (self.facts.dtype, dtype))
            raise ConfigError(
                f"what the store has of {self.facts.name} was computed in {stored}, and this run would use {here}: "
                f"give --dtype {stored}, or another --output_dir"
            )
        return model


@dataclass(frozen=True)
class NamedVerifier:
    """A verifier with its name in tables and the fold of its step scores.

    `source` is the name it was given; `name` adds the fold where that is not the verifier's own: `prm`, `prm:min`.
    """

    name: str
    source: str
    lazy: Lazy[StepVerifier]
    aggregation: Aggregation

    @property
    def facts(self) -> ModelFacts:
        return self.lazy.facts

    @property
    def key(self) -> str:
        """What identifies its weights."""
        return self.facts.key

    @property
    def spec(self) -> ScoringSpec:
        assert self.facts.spec is not None
        return self.facts.spec

    @property
    def verifier(self) -> StepVerifier:
        """The verifier, loaded."""
        return self.lazy.model

    def folded(self, aggregation: Aggregation) -> NamedVerifier:
        """The same verifier with its step scores folded so."""
        own = aggregation == self.spec.aggregation
        name = self.source if own else f"{self.source}:{aggregation}"
        return replace(self, name=name, aggregation=aggregation)
