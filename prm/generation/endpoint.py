"""The `endpoint` generator: continuations from servers that speak OpenAI's completions API with token ids as prompts,
as vLLM, SGLang and llama.cpp do.

Texts become ids here, with the model's own tokenizer, so that a prefix is continued exactly where it ends; a chat
endpoint, which would put it into a new turn, cannot do that and is refused. A server that takes no notice of seeds
(SGLang without `--enable-deterministic-inference`) draws separate samples all the same; only a run from scratch draws
others. How requests travel, and what happens when they fail, is `prm.generation.http_client`'s business; what an
answer says is read in `prm.generation.completions_api`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from prm.errors import ConfigError
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.completions_api import CompletionsExchange, group_requests
from prm.generation.http_client import HttpClient
from prm.generation.http_policy import EndpointSettings, Refusal
from prm.generation.prompt_ids import PromptIds
from prm.rollouts import StopReason
from prm.step_format import PromptFormat

logger = logging.getLogger(__name__)

UNKNOWN_CONTEXT = 2**31
_AFFINE_TOKENS = 32  # two of vLLM's cache blocks behind what all prompts share


class EndpointGenerator:
    """A `Generator` over model servers.

    Args:
        client: the connection to the servers.
        tokenizer: the served model's.
        prompt: how a problem becomes a prompt.
        served_name: what the servers call the model.
        name, revision: identify the weights.
        num_parameters: what FLOPs are counted with; 0: unknown, they are not counted.
        context_length: in tokens.
        choices_per_request: samples of one prompt that one request asks for; more than one only of servers that draw
            choice i with the seed plus i, as vLLM does.
    """

    def __init__(
        self,
        client: HttpClient,
        tokenizer: Any,
        prompt: PromptFormat,
        *,
        served_name: str,
        name: str = "",
        revision: str = "served",
        num_parameters: int = 0,
        context_length: int = UNKNOWN_CONTEXT,
        choices_per_request: int = 1,
    ):
        self.client, self.tokenizer, self.prompt = client, tokenizer, prompt
        self.served_name, self.name, self.revision = served_name, name or served_name, revision
        self.num_parameters, self.context_length = num_parameters, context_length
        self.choices_per_request = choices_per_request
        self._prompt_ids = PromptIds(prompt, tokenizer)
        self._affine_tokens = _AFFINE_TOKENS + _shared(self._prompt_ids("0"), self._prompt_ids("a"))

    @classmethod
    def connect(
        cls,
        settings: EndpointSettings,
        model_name_or_path: str,
        prompt: PromptFormat,
        *,
        served_model_name: str = "",
        tokenizer_name_or_path: str = "",
        num_parameters: int = 0,
        context_length: int = 0,
        choices_per_request: int = 1,
    ) -> EndpointGenerator:
        """Ask the servers for the model's context length, and load its tokenizer.

        Args:
            model_name_or_path: the model on the servers; a directory or a Hub name identifies the weights as well.
            served_model_name: what the servers call it, where that is something else.
            tokenizer_name_or_path: its tokenizer, where `model_name_or_path` has none.
            context_length: in tokens; 0 asks the servers (vLLM and SGLang say `max_model_len`).

        Raises:
            EndpointError: no server can be reached.
            MissingFileError, ModelError: no tokenizer.
        """
        from prm.generation.checkpoint import load_tokenizer

        tokenizer = load_tokenizer(tokenizer_name_or_path or model_name_or_path)
        name, revision = served_identity(model_name_or_path or served_model_name, tokenizer_name_or_path)
        served_name, client = served_model_name or model_name_or_path, HttpClient(settings)
        return cls(
            client,
            tokenizer,
            prompt,
            served_name=served_name,
            name=name,
            revision=revision,
            num_parameters=num_parameters,
            context_length=context_length or _served_context(client.get("/models"), served_name),
            choices_per_request=choices_per_request,
        )

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        """Token ids of the prompt, followed by those of a started solution, encoded by itself."""
        return self._prompt_ids(problem, prefix)

    def stream(
        self, requests: Sequence[GenerationRequest], sampling: SamplingParams
    ) -> Generator[dict[int, Completion], None, None]:
        """Yield the answers as they come, by their request's position; each mapping holds those since the last.

        A prompt that leaves no room in the context is not asked and ends with `StopReason.LENGTH`.

        Raises:
            EndpointError: a request is refused, or failed too often; what is finished is yielded before.
        """
        fits = [0 < len(request.prompt_ids) < self.context_length for request in requests]
        if not all(fits):
            yield {i: Completion((), "", StopReason.LENGTH) for i, fit in enumerate(fits) if not fit}
        asked = [i for i, fit in enumerate(fits) if fit]
        jobs = group_requests(requests, asked, self.choices_per_request)
        exchange = CompletionsExchange(
            requests,
            sampling,
            self.tokenizer,
            served_name=self.served_name,
            num_parameters=self.num_parameters,
            context_length=self.context_length,
            affine_tokens=self._affine_tokens,
        )
        try:
            with closing(self.client.stream(exchange, jobs)) as stream:
                for answers in stream:
                    yield dict(answers)
        except Refusal as refusal:
            if self._speaks_chat_alone(refusal):
                raise ConfigError(
                    f"{refusal.url}: serves {self.served_name!r} through the chat API alone ({refusal.said}). "
                    "Sampling and labelling continue a started solution, which needs the completions API "
                    "(/v1/completions with token ids, as vLLM, SGLang and llama.cpp serve it); a chat endpoint can "
                    "serve the judge"
                ) from None
            raise

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer every request, in order; see `stream`."""
        completions: dict[int, Completion] = {}
        for answers in self.stream(requests, sampling):
            completions.update(answers)
            if progress:
                progress(len(answers))
        return [completions[i] for i in range(len(requests))]

    def _speaks_chat_alone(self, refusal: Refusal) -> bool:
        """Whether the model answers chats and refuses even the smallest completion."""
        if refusal.status not in (400, 404, 405, 422, 501):
            return False
        model, ids = {"model": self.served_name, "max_tokens": 1}, self.prompt_ids("1+1")
        if self.client.post_once("/completions", {**model, "prompt": ids}) in (0, 200):
            return False
        chat = {**model, "messages": [{"role": "user", "content": "1+1"}]}
        return self.client.post_once("/chat/completions", chat) == 200


def served_identity(model: str, tokenizer_name_or_path: str = "") -> tuple[str, str]:
    """What a served model is called in files, and what identifies its weights: its content or commit where the name is
    a directory's or is on the Hub, else `served`, and its name alone tells it apart."""
    from prm.generation.checkpoint import model_name, model_revision

    if tokenizer_name_or_path and not Path(model).expanduser().is_dir():
        return model, "served"
    return model_name(model), model_revision(model)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the common prefix."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _served_context(answer: Any, served_name: str) -> int:
    """The context length in the answer of `/v1/models`, in tokens, or one that is never reached."""
    models = answer.get("data") if isinstance(answer, dict) else None
    models = [model for model in models or [] if isinstance(model, dict)]
    named = [model for model in models if model.get("id") == served_name] or (models if len(models) == 1 else [])
    length = named[0].get("max_model_len") if named else None
    if isinstance(length, int) and length > 0:
        return length
    logger.warning("the server does not say how long its context is; where it is too short, set context_length")
    return UNKNOWN_CONTEXT
