"""A verifier behind vLLM's pooling server: token ids go out, and the probabilities at the score positions come back.

    vllm serve runs/prm --runner pooling --no-enable-prefix-caching
    prm eval --prm_path prm=http://localhost:8000#runs/prm ...

How a solution is read is the scoring spec's, of the directory or Hub name behind the `#`, whose tokenizer makes the
ids here; the server has the weights. PRMs are asked with the task `token_classify`, ORMs with `classify`; both apply
the activation, softmax over two labels and sigmoid over one (vLLM 0.11 and later). The server reads every solution
from its beginning: there is no `session`, and the bill says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, EndpointError, FormatError, ModelError
from prm.generation.checkpoint import load_tokenizer
from prm.generation.http_client import HttpClient
from prm.generation.http_policy import EndpointSettings, FailedAttempt
from prm.heads import head_class
from prm.public.loading import published
from prm.scoring_spec import ScoringSpec
from prm.step_format import EncodedSolution, MemoTokenizer
from prm.verifier import StepScores, encode_solution, lookup_only_parameters, spec_of
from prm.worlds.models import expand_embedded

_SERVED_HEADS = {"token_classification": "token_classify", "sequence_classification": "classify"}
_LEAST = 1e-30  # a probability that underflowed still has a logit


def split_url(entry: str) -> tuple[tuple[str, ...], str] | None:
    """Server URLs (several with commas between them) and the spec's place of `URL#PLACE`; `None` for a plain path.

    Raises:
        ConfigError: a URL without a place.
    """
    if not entry.startswith(("http://", "https://")):
        return None
    urls, _, place = entry.partition("#")
    if not place:
        raise ConfigError(
            f"{entry}: a served verifier needs its scoring spec and tokenizer: {entry}#PLACE, where PLACE is its "
            "directory or its name on the Hub"
        )
    return tuple(urls.split(",")), place


class RemoteVerifier:
    """Scores like `prm.verifier.Verifier`, with the model on a server.

    Args:
        client: the connection to the servers.
        tokenizer: the served model's.
        spec: how its outputs are read.
        served_name: what the servers call it.
        name: shown in tables.
        num_parameters: what FLOPs are counted with; 0: not counted.
        context_length: tokens that the server takes, where that is less than the spec's `max_length`.

    Raises:
        ModelError: a head that no pooling server has.
    """

    def __init__(
        self,
        client: HttpClient,
        tokenizer: Any,
        spec: ScoringSpec,
        *,
        served_name: str,
        name: str = "verifier",
        num_parameters: int = 0,
        context_length: int | None = None,
    ):
        if spec.head not in _SERVED_HEADS:
            raise ModelError(
                f"{name}: a pooling server has token and sequence classification, and this verifier is read with a "
                f"{spec.head} head; give its directory instead of a URL"
            )
        self.client, self.tokenizer, self.spec, self.name = client, tokenizer, spec, name
        self.served_name, self.num_parameters = served_name, num_parameters
        self.context_length = min(spec.max_length, context_length or spec.max_length)
        self._memo = MemoTokenizer(tokenizer)

    @classmethod
    def connect(cls, settings: EndpointSettings, path_or_id: str, *, name: str | None = None) -> RemoteVerifier:
        """Read the spec and the tokenizer, and ask the servers what they serve.

        Raises:
            MissingFileError, DataError, ModelError: no spec or tokenizer behind `path_or_id`.
            EndpointError: no server can be reached, or none serves this model.
        """
        path_or_id = expand_embedded(path_or_id)
        client, spec = HttpClient(settings), spec_of(path_or_id, published(path_or_id))
        served, length = _served(client.get("/models"), path_or_id, settings.urls)
        return cls(
            client,
            load_tokenizer(path_or_id),
            spec,
            served_name=served,
            name=name or Path(path_or_id).name,
            num_parameters=_parameters(path_or_id, spec),
            context_length=length,
        )

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]:
        """Score `(problem, steps)` pairs; the results keep the order of `items`.

        Raises:
            FormatError: a solution that cannot be read, or is longer than the verifier or its server takes; before
                anything is asked.
            EndpointError: the server refuses, or failed too often.
        """
        encoded = [self._encode(problem, steps) for problem, steps in items]
        exchange = PoolingExchange(self.spec, self.served_name, encoded)
        scores: dict[int, tuple[float, ...]] = {}
        with closing(self.client.stream(exchange, range(len(encoded)))) as stream:
            for answers in stream:
                scores.update(answers)
                if progress:
                    progress(len(answers))
        sizes = [len(one.input_ids) for one in encoded]
        return [StepScores(scores[i], size, attended=size * (size + 1) // 2) for i, size in enumerate(sizes)]

    def _encode(self, problem: str, steps: Sequence[str]) -> EncodedSolution:
        encoded = encode_solution(self.spec, self._memo, problem, steps)
        if len(encoded.input_ids) > self.context_length:
            raise FormatError(
                f"a solution of {len(encoded.input_ids)} tokens is longer than the {self.context_length} that the "
                f"server takes: {problem[:60]!r}; leave it out, or serve with a larger --max-model-len"
            )
        return encoded


class PoolingExchange:
    """An `Exchange` whose jobs are positions of encoded solutions, and whose results are their scores."""

    path = "/pooling"
    at_root = True  # beside /v1, not under it

    def __init__(self, spec: ScoringSpec, served_name: str, encoded: Sequence[EncodedSolution]):
        self.spec, self.served_name, self.encoded = spec, served_name, encoded

    def affinity(self, job: int) -> bytes:
        prompt = self.encoded[job].input_ids[: self.encoded[job].prompt_length]
        return repr(prompt).encode()

    def body(self, job: int) -> dict[str, Any]:
        return {
            "model": self.served_name,
            "task": _SERVED_HEADS[self.spec.head],
            "input": self.encoded[job].input_ids,
            "add_special_tokens": False,
            "use_activation": True,
            "encoding_format": "float",
        }

    def read(self, job: int, answer: Any) -> tuple[list[tuple[int, tuple[float, ...]]], list[int]]:
        """The scores in an answer.

        Raises:
            FailedAttempt: there are none in it.
            EndpointError: scores of other tokens than were asked.
        """
        rows = answer.get("data") if isinstance(answer, dict) else None
        data = rows[0].get("data") if isinstance(rows, list) and rows and isinstance(rows[0], dict) else None
        if not isinstance(data, list) or not data:
            raise FailedAttempt("no scores", "the answer has no data")
        item = self.encoded[job]
        if self.spec.kind == "orm":
            return [(job, (self._score(data),))], []
        if len(data) != len(item.input_ids):
            raise EndpointError(
                f"the pooling server gave scores of {len(data)} tokens for {len(item.input_ids)}; start it with "
                "--no-enable-prefix-caching, so that it reads all of them"
            )
        return [(job, tuple(self._score(data[position]) for position in item.score_positions))], []

    def _score(self, found: Any) -> float:
        """The probability of the last label, with the spec's temperature on its logit."""
        values = found if isinstance(found, list) else [found]
        if len(values) not in (1, 2) or not all(isinstance(v, int | float) and 0 <= v <= 1 for v in values):
            raise FailedAttempt("malformed scores", f"{str(found)[:80]} is no probability")
        right = min(max(float(values[-1]), _LEAST), 1.0)
        wrong = max(float(values[0]) if len(values) == 2 else 1.0 - right, _LEAST)
        if self.spec.temperature == 1:
            return right
        margin = (math.log(right) - math.log(wrong)) / self.spec.temperature
        return 1 / (1 + math.exp(-margin)) if margin > -700 else 0.0


def _served(answer: Any, path_or_id: str, urls: Sequence[str]) -> tuple[str, int | None]:
    """What the servers call the model, and its context length, in the answer of `/v1/models`."""
    models = answer.get("data") if isinstance(answer, dict) else None
    models = [model for model in models or [] if isinstance(model, dict) and isinstance(model.get("id"), str)]
    if not models:
        return path_or_id, None
    wanted = {path_or_id, Path(path_or_id).name, str(Path(path_or_id).resolve())}
    named = [model for model in models if model["id"] in wanted] or (models if len(models) == 1 else [])
    if not named:
        there = ", ".join(model["id"] for model in models)
        raise EndpointError(
            f"{', '.join(urls)}: serves {there}, and none is {path_or_id}; put what it is called there behind the #"
        )
    length = named[0].get("max_model_len")
    return named[0]["id"], length if isinstance(length, int) and length > 0 else None


def _parameters(path_or_id: str, spec: ScoringSpec) -> int:
    """The parameters that a token is multiplied with, by the config alone; 0 where there is none."""
    import torch
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(path_or_id)
        with torch.device("meta"):
            model = getattr(transformers, head_class(spec.head).auto_class).from_config(config)
    except (OSError, ValueError, KeyError, ImportError):
        return 0
    return int(model.num_parameters()) - lookup_only_parameters(model)
