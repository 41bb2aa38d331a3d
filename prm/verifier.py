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
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.encoding import EncodedRow
from prm.errors import FormatError, MissingFileError, ModelError
from prm.generation.checkpoint import LOAD_ERRORS, check_dtype, first_line
from prm.heads import head_class, head_to_read, last_hidden_states, margins, unwrapped
from prm.heads.implicit import cumulative_log_probabilities
from prm.model_shape import attention_costs
from prm.out_of_memory import in_halves
from prm.public.loading import load_public, published
from prm.scoring_spec import SPEC_FILE, ScoringSpec
from prm.step_format import EncodedSolution, MemoTokenizer
from prm.token_tree import ReadingCost, SharedTokens, TokenRow, attends_to_trees, rows_of, tree_layout
from prm.training.batch_layout import padded
from prm.training.batching import StepCollator
from prm.worlds.models import expand_embedded

if TYPE_CHECKING:
    import torch

    from prm.incremental import IncrementalSession, RereadingSession
    from prm.public.entry import PublicFormat


@dataclass(frozen=True)
class StepScores:
    """Scores in [0, 1], one per step from a PRM and exactly one from an ORM, and the tokens read for them.

    `attended` is what these tokens attend to, themselves included, summed; 0 where nobody counted.
    """

    scores: tuple[float, ...]
    tokens: int
    attended: int = 0


class Verifier:
    """Scores the steps of a solution (PRM) or the finished solution (ORM).

    Args:
        model: token-classification, sequence-classification or causal language model, as `spec.head` says.
        tokenizer: the model's tokenizer.
        spec: how outputs are read.
        name: shown in tables.
        batch_tokens: padded tokens of one forward pass, which bounds memory; by default what is fastest, 4096 on a
            CPU, whose caches are small, and 16384 elsewhere. Where it is given, the caches of a `session` may hold
            twice as many, as those of a generator may.
        reference: the language model that an implicit head is read against; none for the others.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: ScoringSpec,
        *,
        name: str = "verifier",
        batch_tokens: int | None = None,
        reference: Any = None,
    ):
        self.model, self.tokenizer, self.spec, self.name = model.eval(), tokenizer, spec, name
        self.batch_tokens = batch_tokens or (4096 if model.device.type == "cpu" else 16384)
        self._session_tokens = 2 * batch_tokens if batch_tokens else None
        self.num_parameters: int = model.num_parameters() - lookup_only_parameters(model)
        self.reference = reference.eval() if reference is not None else None
        if (spec.head == "implicit") != (reference is not None):
            raise ModelError("an implicit head is read against its reference: give one, or load with from_pretrained")
        if reference is not None:
            self.num_parameters += reference.num_parameters() - lookup_only_parameters(reference)
        costs = [attention_costs(one) for one in (model, reference) if one is not None]
        self.attention_flops_per_pair: float = sum(flops for flops, _ in costs)
        self.cache_bytes_per_token: int = sum(size for _, size in costs)
        self.head = head_to_read(spec, tokenizer)
        self.memo = MemoTokenizer(tokenizer)
        self._collate = StepCollator(tokenizer.pad_token_id or 0, implicit=spec.head == "implicit")

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        *,
        device: str | None = None,
        dtype: str | torch.dtype | None = None,
        batch_tokens: int | None = None,
        name: str | None = None,
        format: str | PublicFormat | None = None,
    ) -> Verifier:
        """Load a verifier that `prm train` wrote, from a directory or from the Hub, PEFT adapters included; or one
        that another project published (`prm.public`).

        Args:
            format: how a published verifier is read, or its name in `prm formats`; by default its scoring spec says
                so, else its own name or what its config says it is.

        Raises:
            MissingFileError: no such directory.
            DataError: no scoring spec, or one of another version.
            ConfigError: an unknown dtype.
            ModelError: the checkpoint cannot be loaded as what the spec says it is, or lacks a part of it.
        """
        import torch

        check_dtype(dtype)
        path_or_id = expand_embedded(str(path_or_id))
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
        public = published(path_or_id, format)
        spec = spec_of(path_or_id, public)
        model, tokenizer = load_public(path_or_id, public, dtype) if public else _load(path_or_id, spec, dtype)
        reference = _load_reference(path_or_id, spec, dtype, device) if spec.head == "implicit" else None
        name = name or Path(path_or_id).name
        return cls(model.to(device), tokenizer, spec, name=name, batch_tokens=batch_tokens, reference=reference)

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
        """Score `(problem, steps)` pairs in length-sorted batches; the results keep the order of `items`.

        What solutions of a problem begin with alike is read once where that is cheaper (`prm.token_tree`), and its
        tokens are counted with one of them.
        """
        encoded = [self.encode(problem, steps) for problem, steps in items]
        results: list[StepScores | None] = [None] * len(items)
        for batch in self._batches(self._rows([problem for problem, _ in items], encoded)):
            read = [(row, member) for row in batch for member in row.own()]
            asked = [(number, encoded[member]) for number, row in enumerate(batch) for member in row.members]
            found = in_halves(self._forward, asked)
            for (_, (index, tokens, attended)), scores in zip(read, found, strict=True):
                results[index] = StepScores(tuple(scores), tokens, attended)
            if progress:
                progress(len(asked))
        return [result for result in results if result is not None]

    def readings(self, problem: str, solutions: Sequence[Sequence[str]]) -> list[SharedTokens]:
        """What `score_solutions` reads where it is asked for these solutions of one problem, apart by which of them
        it is read for; nothing is read here, and nothing of a solution that cannot be.

        Raises:
            FormatError: see `score`.
        """
        encoded = [self.encode(problem, steps) for steps in solutions]
        return [shared for row in self._rows([problem] * len(encoded), encoded) for shared in row.shared()]

    def can_read(self, problem: str, steps: Sequence[str]) -> bool:
        """Whether a solution can be scored: no longer than `spec.max_length`, with steps that can be encoded."""
        try:
            self.encode(problem, steps)
        except FormatError:
            return False
        return True

    def session(self, cache_tokens: int | None = None) -> IncrementalSession | RereadingSession:
        """This verifier for the length of one search: it reads every token of the growing solutions once.

        Args:
            cache_tokens: tokens that its caches may hold; by default twice the `batch_tokens` that the verifier was
                given, or 262144. What does not fit is read, and billed, again; scores do not depend on it.
        """
        from prm.incremental import CACHE_TOKENS, session_of

        return session_of(self, cache_tokens or self._session_tokens or CACHE_TOKENS)

    def encode(self, problem: str, steps: Sequence[str]) -> EncodedSolution:
        """Token ids and score positions of one solution.

        Raises:
            FormatError: see `score`.
        """
        return encode_solution(self.spec, self.memo, problem, steps)

    @cached_property
    def _reading_cost(self) -> ReadingCost | None:
        """Of a row with several solutions; `None` where the models can read no such rows."""
        models = [model for model in (self.model, self.reference) if model is not None]
        if not all(map(attends_to_trees, models)):
            return None
        return ReadingCost(2.0 * self.num_parameters, self.attention_flops_per_pair, self.batch_tokens)

    def _rows(self, problems: Sequence[str], encoded: Sequence[EncodedSolution]) -> list[TokenRow]:
        """The solutions of each problem in rows."""
        of_problem: dict[str, list[int]] = {}
        for index, problem in enumerate(problems):
            of_problem.setdefault(problem, []).append(index)
        return [
            row
            for indices in of_problem.values()
            for row in rows_of([encoded[index].input_ids for index in indices], indices, self._reading_cost)
        ]

    def _batches(self, rows: Sequence[TokenRow]) -> Iterator[list[TokenRow]]:
        """Rows in batches of similar length, those with a single solution by themselves: they need no mask. A batch's
        padded size stays within `batch_tokens`."""
        batch: list[TokenRow] = []
        for row in sorted(rows, key=lambda row: (len(row.members) > 1, -row.tokens)):
            full = batch and (len(batch) + 1) * batch[0].tokens > self.batch_tokens
            if full or (batch and (len(batch[0].members) > 1) != (len(row.members) > 1)):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _forward(self, asked: Sequence[tuple[int, EncodedSolution]]) -> list[list[float]]:
        """Scores of the solutions of one batch, those with one number in one row. Rows are padded on the right: under
        causal attention no real token sees the padding behind it, so rows with one solution each need no attention
        mask, which is the faster path."""
        import torch

        items = [_row(item, self.spec.kind) for _, item in asked]
        trees = [[item.input_ids for _, item in same] for _, same in groupby(asked, key=lambda one: one[0])]
        pad_id = self.tokenizer.pad_token_id or 0
        layout = padded(items, pad_id, with_mask=False) if len(trees) == len(items) else tree_layout(trees, pad_id)
        given = {name: value.to(self.model.device) for name, value in self._collate.laid_out(items, layout).items()}
        with torch.inference_mode():
            if self.reference is not None:
                given["reference"] = _log_probabilities(self.reference, given)
            base = unwrapped(self.model)
            logits_BSL = self.head.logits(base, last_hidden_states(base, given), given)
            scores_BS = (margins(logits_BSL) / self.spec.temperature).sigmoid().float().cpu()
        return [scores[: len(item.positions)].tolist() for scores, item in zip(scores_BS, items, strict=True)]


def spec_of(path_or_id: str, public: PublicFormat | None = None) -> ScoringSpec:
    """The scoring spec of a checkpoint, in a directory or on the Hub; a published one's is its format's.

    Raises:
        MissingFileError, DataError, ModelError: there is none.
    """
    return public.spec(path_or_id) if public else ScoringSpec.load(_spec_path(path_or_id))


def encode_solution(spec: ScoringSpec, tokenizer: Any, problem: str, steps: Sequence[str]) -> EncodedSolution:
    """Token ids and score positions of one solution, as a verifier with this spec and tokenizer reads it.

    Raises:
        FormatError: see `Verifier.score`.
    """
    _check_texts(problem, steps)
    if not steps:
        raise FormatError(f"there is no step to score for the problem {problem[:60]!r}")
    encoded: EncodedSolution = spec.step_format.encode(problem, steps, tokenizer)
    if len(encoded.input_ids) > spec.max_length:
        raise FormatError(
            f"a solution of {len(encoded.input_ids)} tokens is longer than the verifier's max_length of "
            f"{spec.max_length}: {problem[:60]!r}; leave it out, or train with a larger max_length"
        )
    return encoded


def _row(item: EncodedSolution, kind: str) -> EncodedRow:
    import numpy as np

    ids, positions = (np.asarray(values, np.int32) for values in (item.input_ids, item.score_positions))
    nothing = np.empty(0, np.int32)
    read = positions[-1:] if kind == "orm" else positions
    # Numbered, for a row without a number is a blank one, which a batch leaves out.
    return EncodedRow(ids, read, nothing, nothing, nothing, nothing, item.prompt_length, index=0)


def _log_probabilities(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return cumulative_log_probabilities(model, last_hidden_states(model, batch), batch)


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
    import transformers
    from transformers.utils.peft_utils import find_adapter_config_file  # in a directory and on the Hub alike

    loader: Any = getattr(transformers, head_class(spec.head).auto_class)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path)
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

    from prm.heads import check_base, head_module, in_float32, quiet_about_new_head

    base_path = PeftConfig.from_pretrained(path).base_model_name_or_path
    known_labels = head_class(spec.head).labels
    labels = {"num_labels": len(known_labels)} if known_labels else {}
    with quiet_about_new_head():
        base, found = loader.from_pretrained(base_path, dtype=dtype, output_loading_info=True, **labels)
    check_base(base, spec.adapter_base, path)
    own = load_peft_weights(path, device="cpu")
    _check_complete(path, [key for key in found["missing_keys"] if not any(name.endswith(f".{key}") for name in own)])
    if known_labels:
        in_float32(head_module(base))  # as it was trained and saved; PEFT takes the adapter's head in the base's dtype
    return PeftModel.from_pretrained(base, path)


def _load_reference(path: str, spec: ScoringSpec, dtype: Any, device: str) -> Any:
    """The reference of an implicit head; a relative name is also looked for beside the verifier."""
    from transformers import AutoModelForCausalLM

    name = expand_embedded(str(spec.reference_model))
    beside = Path(path) / name
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(beside) if beside.is_dir() else name, dtype=dtype)
        return model.to(device)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"{path}: its scores are log-ratios to {name}, which cannot be loaded ({first_line(error)}); "
            f"restore it, or set reference_model in {SPEC_FILE} to where it is"
        ) from error


def lookup_only_parameters(model: Any) -> int:
    """Parameters of an input embedding that is only looked up; a tied one is multiplied with, as output layer."""
    if getattr(model.config, "tie_word_embeddings", False) and model.get_output_embeddings() is not None:
        return 0
    return int(model.get_input_embeddings().weight.numel())
