"""Which requests of a ledger a run would ask itself, whatever run asked them: a larger one that was killed, or one of
another labeler. They are found by their keys, as the run will find them, without loading the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prm.generation.base import GenerationRequest, request_seed
from prm.generation.prompt_ids import PromptIds
from prm.ledger import request_keys
from prm.rollouts import Rollout

from .labelers import SECOND_SEED, labelers_used
from .options import SamplingOptions
from .request_bounds import most_each, tokenizer_here

if TYPE_CHECKING:
    from .label_config import LabelConfig

Want = tuple[str, str, int]  # a problem, a started solution of it, and how many samples from the first on
_MOST_REQUESTS = 2_000_000  # whose keys are made; half a minute


def label_keys(config: LabelConfig, rollouts: Sequence[Rollout], ledger_path: Path) -> set[str] | None:
    """The keys of all requests that labelling may ask; `None` where they cannot be known: a tree search makes its
    prefixes itself, and a judge is asked by other means."""
    keys: set[str] = set()
    for name, seed in zip(labelers_used(config), (config.seed, config.seed + SECOND_SEED), strict=False):
        most = most_each(config, name, rollouts)
        if most is None:
            return None
        count, prefixes = most
        wants = [(prefix.problem, prefix.text, count) for prefix in prefixes]
        found = request_keys_of(config, wants, seed, ledger_path)
        if found is None:
            return None
        keys |= found
    return keys


def request_keys_of(config: SamplingOptions, wants: Sequence[Want], seed: int, ledger_path: Path) -> set[str] | None:
    """The keys of requests; none where the ledger is empty, and `None` where they cannot be known on this machine."""
    if not wants or not ledger_path.is_file() or not ledger_path.stat().st_size:
        return set()
    if config.backend == "vllm" or sum(count for *_, count in wants) > _MOST_REQUESTS:
        return None  # vLLM chooses the dtype itself
    named = _named_generator(config)
    return None if named is None else set(request_keys(named, config.sampling(), list(_requests(named, wants, seed))))


def _requests(named: Any, wants: Iterable[Want], seed: int) -> Iterator[GenerationRequest]:
    for problem, text, count in wants:
        ids = tuple(named.prompt_ids(problem, text))
        yield from (GenerationRequest(ids, request_seed(problem, text, index, seed)) for index in range(count))


def _named_generator(config: SamplingOptions) -> Any:
    """What the generator's keys are made of, `None` where its tokenizer is not on this machine."""
    tokenizer = tokenizer_here(config.tokenizer_name_or_path or config.model_name_or_path)
    if tokenizer is None:
        return None
    settings = config.model_settings()
    return SimpleNamespace(
        name=settings["model_name_or_path"],
        revision=settings["model_revision"],
        model=SimpleNamespace(dtype=_dtype(config)),
        prompt_ids=PromptIds(config.prompt(), tokenizer),
    )


def _dtype(config: SamplingOptions) -> str:
    """The dtype that the model would be loaded in; what servers compute in is not part of a key."""
    if config.backend == "endpoint":
        return "float32"
    import torch
    from transformers import AutoConfig

    on_cpu = (config.device or ("cuda" if torch.cuda.is_available() else "cpu")) == "cpu"
    dtype = config.dtype or ("float32" if on_cpu else "auto")
    if dtype != "auto":
        return dtype
    return str(getattr(AutoConfig.from_pretrained(config.model_name_or_path), "dtype", None) or "float32")
