"""The options that say where a generator runs, shared by every command that samples, and the generator they describe:
`transformers` and `vllm` in this process, `endpoint` behind servers with the completions API."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from prm.errors import ConfigError
from prm.generation.base import Generator
from prm.generation.checkpoint import model_name, model_revision
from prm.generation.http_policy import EndpointSettings
from prm.step_format import PromptFormat
from prm.workers import check_workers
from prm.worlds.models import expand_embedded

if TYPE_CHECKING:
    from prm.generation.endpoint import EndpointGenerator

# What only some backends read; the settings of a run of another backend leave it out.
_BACKEND_SETTINGS = {
    "served_model_name": ("endpoint",),
    "tokenizer_name_or_path": ("endpoint",),
    "num_parameters": ("endpoint", "vllm"),
    "context_length": ("endpoint", "vllm"),
}


@dataclass(kw_only=True)
class ServerOptions:
    """Which model servers are asked, and with how much patience. None of it decides what comes out."""

    endpoint_urls: list[str] = field(
        default_factory=list, metadata={"help": "endpoint: base URLs of the servers, such as http://host:8000/v1"}
    )
    api_key_env: str = field(
        default="", metadata={"help": "endpoint: the environment variable that holds the servers' key"}
    )
    max_concurrency: int = field(
        default=64, metadata={"help": "endpoint: requests open at once, over all servers; give each enough to batch"}
    )
    max_retries: int = field(default=8, metadata={"help": "endpoint: times that a failed request is asked again"})
    connect_timeout: float = field(default=10.0, metadata={"help": "endpoint: seconds to reach a server"})
    request_timeout: float = field(default=600.0, metadata={"help": "endpoint: seconds for a whole answer"})

    def server_settings(self, urls: list[str] | None = None, api_key_env: str = "") -> EndpointSettings:
        """How to talk to the servers: those of `endpoint_urls` with the key in `api_key_env`, or others. A key is
        never sent to servers that it was not given for.

        Raises:
            ConfigError: no URL or a wrong one, a number out of range, or an environment variable that is not set.
        """
        return EndpointSettings(
            tuple(urls or self.endpoint_urls),
            api_key=_api_key(api_key_env if urls or api_key_env else self.api_key_env),
            max_concurrency=self.max_concurrency,
            max_retries=self.max_retries,
            connect_timeout=self.connect_timeout,
            request_timeout=self.request_timeout,
        )


def _api_key(variable: str) -> str | None:
    if not variable:
        return None
    if not os.environ.get(variable):
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", variable):  # perhaps the key itself, which no message shows
            raise ConfigError("api_key_env takes the name of an environment variable, such as API_KEY, never the key")
        raise ConfigError(f"the environment variable {variable} is not set: export {variable}=..., the servers' key")
    return os.environ[variable]


@dataclass(kw_only=True)
class BackendOptions(ServerOptions):
    """Which engine a generator runs on, and what that engine has to be told."""

    backends: ClassVar[tuple[str, ...]] = ("transformers", "vllm", "endpoint")

    backend: str = field(
        default="transformers",
        metadata={"help": "transformers; vllm: in this process; endpoint: servers with the completions API"},
    )
    served_model_name: str = field(
        default="", metadata={"help": "endpoint: the model's name on the servers, by default model_name_or_path"}
    )
    tokenizer_name_or_path: str = field(
        default="", metadata={"help": "endpoint: the model's tokenizer, by default model_name_or_path's"}
    )
    num_parameters: int = field(
        default=0, metadata={"help": "endpoint, vllm: the model's parameters, to count FLOPs with; 0: not counted"}
    )
    context_length: int = field(default=0, metadata={"help": "endpoint, vllm: in tokens; 0: what the model allows"})
    choices_per_request: int = field(
        default=1,
        metadata={"help": "endpoint: samples of a prompt in one request; more than 1 is for vLLM servers alone"},
    )

    def identity(self, model: str) -> tuple[str, str]:
        """The generator's name and the revision of its weights.

        Raises:
            MissingFileError, ModelError: there is no such model.
        """
        if self.backend == "endpoint":
            from prm.generation.endpoint import served_identity

            return served_identity(model or self.served_model_name, self.tokenizer_name_or_path)
        model = expand_embedded(model)
        return model_name(model), model_revision(model)

    def unused_settings(self) -> set[str]:
        """The options that this backend does not read."""
        return {name for name, readers in _BACKEND_SETTINGS.items() if self.backend not in readers}

    def generator(
        self,
        model: str,
        prompt: PromptFormat,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        max_batch_rows: int | None = None,
    ) -> Generator:
        """Load the generator. The chat template is tried at once, so that a missing one is said before any work.

        Args:
            batch_tokens, max_batch_rows: of the transformers backend; `None` for its defaults.

        Raises:
            ConfigError, MissingFileError, ModelError, EndpointError: see their messages.
        """
        generator: Generator
        if self.backend == "vllm":
            from prm.generation.vllm_engine import VLLMGenerator

            generator = VLLMGenerator.from_pretrained(
                model, prompt, dtype=dtype, context_length=self.context_length, num_parameters=self.num_parameters
            )
        elif self.backend == "endpoint":
            generator = self._connect(model, prompt)
        else:
            from prm.generation.hf import BATCH_TOKENS, HFGenerator

            generator = HFGenerator.from_pretrained(
                model,
                prompt,
                device=device,
                dtype=dtype,
                batch_tokens=batch_tokens or BATCH_TOKENS,
                max_batch_rows=max_batch_rows,
            )
        generator.prompt_ids("1+1")
        return generator

    def _connect(self, model: str, prompt: PromptFormat) -> EndpointGenerator:
        from prm.generation.endpoint import EndpointGenerator

        return EndpointGenerator.connect(
            self.server_settings(),
            model,
            prompt,
            served_model_name=self.served_model_name,
            tokenizer_name_or_path=self.tokenizer_name_or_path,
            num_parameters=self.num_parameters,
            context_length=self.context_length,
            choices_per_request=self.choices_per_request,
        )

    def check_engine(self, model: str, *, num_workers: int, device: str | None) -> None:
        """Refuse an unknown backend, and one without what it needs.

        Raises:
            ConfigError: see its message.
        """
        if self.backend not in self.backends:
            raise ConfigError(f"unknown backend {self.backend!r}; choose from {', '.join(self.backends)}")
        if self.backend == "recorded":
            return
        if not model and not (self.backend == "endpoint" and self.served_model_name):
            raise ConfigError("missing model_name_or_path: give the generator's directory or its name on the Hub")
        if self.backend == "transformers":
            check_workers(num_workers, device)
        elif num_workers != 1:
            raise ConfigError(
                f"num_workers={num_workers} is for the transformers backend; {self.backend} batches by itself: "
                "use --num_workers 1"
            )
        if self.backend != "endpoint":
            return
        self.server_settings()
        if not model and not self.tokenizer_name_or_path:
            raise ConfigError("missing tokenizer_name_or_path: the endpoint's prompts are token ids, made here")

    def check_numbers(self) -> None:
        """Refuse numbers out of range.

        Raises:
            ConfigError: see its message.
        """
        if min(self.num_parameters, self.context_length) < 0 or self.choices_per_request < 1:
            raise ConfigError("num_parameters and context_length must not be negative, choices_per_request positive")
