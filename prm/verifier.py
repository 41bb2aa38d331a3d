"""The verifier: a trained checkpoint and its scoring spec, turned into scores of steps.

    >>> verifier = Verifier.from_pretrained("runs/prm")
    >>> verifier.score("7a+5b-3", ["a7+5=12", "b12-3=9", "A: 9"])
    [0.98, 0.97, 0.97]

The same object serves users, search and benchmarks. What is read where is the spec's business (`prm.scoring_spec`);
how text becomes ids is the step format's (`prm.step_format`); this file batches, runs the model and gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import FormatError, MissingFileError, ModelError
from prm.generation.checkpoint import LOAD_ERRORS, check_dtype, first_line
from prm.scoring_spec import SPEC_FILE, ScoringSpec
from prm.step_format import EncodedSolution, MemoTokenizer
from prm.worlds.models import expand_embedded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StepScores:
    """Scores in [0, 1], one per step from a PRM and exactly one from an ORM, and the tokens read for them."""

    scores: tuple[float, ...]
    tokens: int


class Verifier:
    """Scores the steps of a solution (PRM) or the finished solution (ORM).

    Args:
        model: token-classification, sequence-classification or causal language model, as `spec.head` says.
        tokenizer: the model's tokenizer.
        spec: how outputs are read.
        name: shown in tables.
        batch_tokens: padded tokens of one forward pass, which bounds memory; by default what is fastest, 4096 on a
            CPU, whose caches are small, and 16384 elsewhere.
    """

    def __init__(
        self, model: Any, tokenizer: Any, spec: ScoringSpec, *, name: str = "verifier", batch_tokens: int | None = None
    ):
        self.model, self.tokenizer, self.spec, self.name = model.eval(), tokenizer, spec, name
        self.batch_tokens = batch_tokens or (4096 if model.device.type == "cpu" else 16384)
        self.num_parameters: int = model.num_parameters() - _lookup_only_parameters(model)
        self._memo = MemoTokenizer(tokenizer)
        self._reward_ids = _reward_token_ids(tokenizer, spec)

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        *,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        batch_tokens: int | None = None,
        name: str | None = None,
    ) -> Verifier:
        """Load a verifier that `prm train` wrote, from a directory or from the Hub; PEFT adapters included.

        Raises:
            MissingFileError: no such directory.
            DataError: no scoring spec, or one of another version.
            ConfigError: an unknown dtype.
            ModelError: the checkpoint cannot be loaded as what the spec says it is, or lacks a part of it.
        """
        import torch

        check_dtype(dtype)
        path_or_id = expand_embedded(str(path_or_id))
        spec = ScoringSpec.load(_spec_path(path_or_id))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
        model, tokenizer = _load(path_or_id, spec, dtype)
        return cls(model.to(device), tokenizer, spec, name=name or Path(path_or_id).name, batch_tokens=batch_tokens)

    def score(self, problem: str, steps: Sequence[str]) -> list[float]:
        """Score one solution, finished or not: one float per step from a PRM, a single one from an ORM.

        Raises:
            FormatError: no list of steps, a step that contains the separator, or a solution longer than
                `spec.max_length`.
        """
        return self.score_batch([problem], [steps])[0]

    def score_batch(self, problems: Sequence[str], steps: Sequence[Sequence[str]]) -> list[list[float]]:
        """Score many solutions; `problems[i]` goes with `steps[i]`."""
        if len(problems) != len(steps):
            raise FormatError(f"{len(problems)} problems for {len(steps)} solutions; give one problem per solution")
        return [list(scored.scores) for scored in self.score_solutions(list(zip(problems, steps, strict=True)))]

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]:
        """Score `(problem, steps)` pairs in length-sorted batches; the results keep the order of `items`."""
        encoded = [self.encode(problem, steps) for problem, steps in items]
        results: list[StepScores | None] = [None] * len(items)
        for batch in self._batches(encoded):
            for index, scores in zip(batch, self._forward([encoded[i] for i in batch]), strict=True):
                results[index] = StepScores(tuple(scores), tokens=len(encoded[index].input_ids))
            if progress:
                progress(len(batch))
        return [result for result in results if result is not None]

    def encode(self, problem: str, steps: Sequence[str]) -> EncodedSolution:
        """Token ids and score positions of one solution.

        Raises:
            FormatError: see `score`.
        """
        _check_texts(problem, steps)
        if not steps:
            raise FormatError(f"there is no step to score for the problem {problem[:60]!r}")
        encoded = self.spec.step_format.encode(problem, steps, self._memo)
        if len(encoded.input_ids) > self.spec.max_length:
            raise FormatError(
                f"a solution of {len(encoded.input_ids)} tokens is longer than the verifier's max_length of "
                f"{self.spec.max_length}: {problem[:60]!r}; leave it out, or train with a larger max_length"
            )
        return encoded

    def _batches(self, encoded: Sequence[EncodedSolution]) -> Iterator[list[int]]:
        """Indices in batches of similar length; a batch's padded size stays within `batch_tokens`."""
        batch: list[int] = []
        for index in sorted(range(len(encoded)), key=lambda i: -len(encoded[i].input_ids)):
            if batch and (len(batch) + 1) * len(encoded[batch[0]].input_ids) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _forward(self, batch: Sequence[EncodedSolution]) -> list[list[float]]:
        """Scores of one right-padded batch. Under causal attention no real token sees the padding behind it, so the
        model runs without an attention mask, which is the faster path."""
        import torch

        width = max(len(item.input_ids) for item in batch)
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([item.input_ids + [pad] * (width - len(item.input_ids)) for item in batch])
        counts = [1 if self.spec.kind == "orm" else len(item.score_positions) for item in batch]
        rows = torch.repeat_interleave(torch.arange(len(batch)), torch.tensor(counts))
        positions = torch.tensor(
            [p for item, n in zip(batch, counts, strict=True) for p in item.score_positions[-n:]], dtype=torch.long
        )
        with torch.inference_mode():
            hidden = self._backbone(ids.to(self.model.device))
            scores = self._read(hidden[rows, positions]).float().cpu().split(counts)
        return [part.tolist() for part in scores]

    def _backbone(self, ids_BT: torch.Tensor) -> torch.Tensor:
        """Last hidden states (B, T, D); the head runs on the score positions alone, not on every token."""
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        hidden: torch.Tensor = getattr(base, base.base_model_prefix)(input_ids=ids_BT, use_cache=False)[0]
        return hidden

    def _read(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Scores (N,) from the hidden states at N score positions."""
        base = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        if self.spec.head == "token_classification":
            return base.score(hidden_ND).float().softmax(-1)[:, 1]
        if self.spec.head == "sequence_classification":
            return base.score(hidden_ND).float().sigmoid()[:, 0]
        return base.get_output_embeddings()(hidden_ND)[:, self._reward_ids].float().softmax(-1)[:, 1]


def _check_texts(problem: Any, steps: Any) -> None:
    if not isinstance(problem, str):
        raise FormatError(f"a problem is a text, not a {type(problem).__name__}: {str(problem)[:60]}")
    if isinstance(steps, str | bytes) or not isinstance(steps, Sequence):
        raise FormatError(
            f"steps are a list of texts, not a {type(steps).__name__}: {str(steps)[:60]!r}; "
            "split a solution with prm.splitting.split_steps"
        )
    for step in steps:
        if not isinstance(step, str):
            raise FormatError(f"a step is a text, not a {type(step).__name__}: {str(step)[:60]}")


def _spec_path(path_or_id: str) -> Path:
    path = Path(path_or_id)
    if path.is_dir():
        return path
    if path.exists() or not looks_like_hub_id(path_or_id):
        raise MissingFileError(
            "no such verifier directory", path=path, remedy="Check the path, or train the verifier with `prm train`"
        )
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(path_or_id, SPEC_FILE))
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ModelError(
            f"{path_or_id}: no directory of that name, and the Hub gave no {SPEC_FILE} for it "
            f"({type(error).__name__}); check the name and the connection"
        ) from error


def looks_like_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`. A directory of that name comes first, which the caller asks."""
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))


def _load(path: str, spec: ScoringSpec, dtype: Any) -> tuple[Any, Any]:
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
    )
    from transformers.utils.peft_utils import find_adapter_config_file  # in a directory and on the Hub alike

    loader: Any = {
        "token_classification": AutoModelForTokenClassification,
        "sequence_classification": AutoModelForSequenceClassification,
        "reward_tokens": AutoModelForCausalLM,
    }[spec.head]
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        if find_adapter_config_file(path) is not None:
            return _load_adapter(path, loader, spec, dtype), tokenizer
        model, found = loader.from_pretrained(path, dtype=dtype, output_loading_info=True)
        _check_complete(path, found["missing_keys"])
        return model, tokenizer
    except ModelError:
        raise
    except LOAD_ERRORS as error:
        raise ModelError(f"{path}: cannot be loaded as a {spec.head} model ({first_line(error)})") from error


def _check_complete(path: str, missing: Iterable[str]) -> None:
    """transformers fills in missing weights at random, and the scores would be noise."""
    if absent := sorted(missing):
        raise ModelError(
            f"{path}: no weights for {', '.join(absent[:3])} in it, so its scores would be random; "
            "give a trained verifier, or mend the head in its scoring spec"
        )


def _load_adapter(path: str, loader: Any, spec: ScoringSpec, dtype: Any) -> Any:
    """The adapter on its base; the head is the adapter's, unless the base has one."""
    from peft import PeftConfig, PeftModel
    from peft.utils import load_peft_weights

    from prm.heads import quiet_about_new_head

    base_path = PeftConfig.from_pretrained(path).base_model_name_or_path
    labels = {} if spec.head == "reward_tokens" else {"num_labels": 2 if spec.kind == "prm" else 1}
    with quiet_about_new_head():
        base, found = loader.from_pretrained(base_path, dtype=dtype, output_loading_info=True, **labels)
    own = load_peft_weights(path, device="cpu")
    _check_complete(path, [key for key in found["missing_keys"] if not any(name.endswith(f".{key}") for name in own)])
    return PeftModel.from_pretrained(base, path)


def _reward_token_ids(tokenizer: Any, spec: ScoringSpec) -> list[int]:
    """Ids of the token that means wrong and of the one that means correct."""
    if spec.reward_tokens is None:
        return []
    ids = tokenizer.convert_tokens_to_ids(list(spec.reward_tokens))
    unknown = [token for token, i in zip(spec.reward_tokens, ids, strict=True) if i in (None, tokenizer.unk_token_id)]
    if unknown:
        raise ModelError(f"the tokenizer has no token {unknown[0]!r}, which the scoring spec reads its scores from")
    return list(ids)


def _lookup_only_parameters(model: Any) -> int:
    """Parameters of an input embedding that is only looked up; a tied one is multiplied with, as output layer."""
    if getattr(model.config, "tie_word_embeddings", False) and model.get_output_embeddings() is not None:
        return 0
    return int(model.get_input_embeddings().weight.numel())
