"""The reference of an implicit PRM: log-probabilities of the solutions, computed once, before training.

The reference never changes, so a second model in memory for the whole training would compute the same numbers every
epoch. Each process takes its share of the rows; the model is gone when they are done. What the numbers are for is
`prm.heads.implicit`'s.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.encoding import EncodedDataset
from prm.errors import ConfigError, ModelError
from prm.heads import ImplicitHead, build_model, last_hidden_states, load_tokenizer
from prm.heads.implicit import cumulative_log_probabilities
from prm.progress import progress_bar
from prm.scoring_spec import SPEC_FILE, ScoringSpec
from prm.training.batching import StepCollator
from prm.worlds.models import expand_embedded

if TYPE_CHECKING:
    import numpy as np
    import torch

    from prm.training.config import VerifierConfig

_BATCH_TOKENS = {"cpu": 4096, "cuda": 32768}


class Reference:
    """A causal language model that solutions are held against.

    Args:
        name_or_path: the checkpoint, or an adapter, which is merged into its base.
        tokenizer: the policy's; the reference must have the same vocabulary.
        device, dtype: where and how it runs.
        process, processes: which share of the rows this process reads.
        label: name of a progress bar; `None` shows none.

    Raises:
        ModelError: it cannot be loaded, or reads other tokens than the policy.
    """

    def __init__(
        self,
        name_or_path: str,
        tokenizer: Any,
        *,
        device: torch.device,
        dtype: str = "float32",
        process: int = 0,
        processes: int = 1,
        label: str | None = None,
    ):
        self.name_or_path, self.tokenizer, self.device, self.dtype = name_or_path, tokenizer, device, dtype
        self.process, self.processes, self.label = process, processes, label
        if load_tokenizer(name_or_path).get_vocab() != tokenizer.get_vocab():
            raise ModelError(
                f"{name_or_path}: the reference reads other tokens than the model that is trained; "
                "a log-ratio needs one vocabulary: choose a reference of the same family"
            )

    def add_to(self, dataset: EncodedDataset) -> EncodedDataset:
        """The dataset with the log-probability of each solution up to the end of each step, in nats."""
        import numpy as np

        order = np.argsort(-np.diff(dataset.token_ends, prepend=0), kind="stable")
        own = [int(row) for row in order[self.process :: self.processes]]
        reference = np.zeros(len(dataset.positions), np.float32)
        for shares in self._gathered(self._read(dataset, own)):
            for row, values in shares.items():
                reference[dataset.step_ends[row] - len(values) : dataset.step_ends[row]] = values
        return dataset.with_reference(reference)

    def _read(self, dataset: EncodedDataset, rows: list[int]) -> dict[int, np.ndarray]:
        import torch

        with _without_deepspeed():
            model: Any = build_model(self.name_or_path, ImplicitHead(), self.tokenizer, dtype=self.dtype)
        model = model.to(self.device).eval()
        collate = StepCollator(self.tokenizer.pad_token_id, implicit=True)
        found = {}
        with progress_bar(self.label, len(rows), "row") if self.label else contextlib.nullcontext() as advance:
            for numbers in _batches(rows, dataset.token_ends, _BATCH_TOKENS.get(self.device.type, 16384)):
                items = [dataset.stored(row) for row in numbers]
                batch = {name: value.to(self.device) for name, value in collate(items).items()}
                with torch.no_grad():
                    values = cumulative_log_probabilities(model, last_hidden_states(model, batch), batch).float().cpu()
                for row, item, value in zip(numbers, items, values, strict=True):
                    found[row] = value[: len(item.positions)].numpy()
                if advance:
                    advance(len(numbers))
        del model
        gc.collect()
        return found

    def _gathered(self, found: dict[int, np.ndarray]) -> list[dict[int, np.ndarray]]:
        import torch.distributed as dist

        if self.processes == 1:
            return [found]
        shares: list[Any] = [None] * self.processes
        dist.all_gather_object(shares, found)
        return shares


def reference_name(config: VerifierConfig, model_name: str) -> str:
    """The reference that is asked for; else the one that the model, an implicit PRM itself, was trained against; else
    the model as it is before training.

    Raises:
        ConfigError: a model without a name, which could not be loaded again.
    """
    if config.reference_model_name_or_path:
        return expand_embedded(config.reference_model_name_or_path)
    if (Path(model_name) / SPEC_FILE).is_file():
        spec = ScoringSpec.load(model_name)
        if spec.reference_model is not None:
            return spec.reference_model
    if not model_name:
        raise ConfigError("objective implicit_prm needs its reference by name: set reference_model_name_or_path")
    return model_name


def _batches(rows: list[int], token_ends: np.ndarray, batch_tokens: int) -> Iterator[list[int]]:
    """Rows, the longest first, in batches whose padded size stays within `batch_tokens`."""
    batch: list[int] = []
    longest = 0
    for row in rows:
        length = int(token_ends[row] - (token_ends[row - 1] if row else 0))
        if batch and (len(batch) + 1) * longest > batch_tokens:
            yield batch
            batch = []
        longest = longest if batch else length
        batch.append(row)
    if batch:
        yield batch


@contextlib.contextmanager
def _without_deepspeed() -> Iterator[None]:
    """Under ZeRO-3 a model would be loaded in parts that only a DeepSpeed engine can run."""
    from transformers.integrations import deepspeed

    configured: Any = getattr(deepspeed, "_hf_deepspeed_config_weak_ref", None)
    current = configured() if configured is not None else None
    if current is None:
        yield
        return
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed.set_hf_deepspeed_config(current)
