"""The options that every stage that samples shares, and the generator and sampling parameters they describe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from prm.errors import ConfigError
from prm.generation.base import Generator, SamplingParams
from prm.generation.checkpoint import model_name, model_revision
from prm.generation.http_policy import EndpointSettings
from prm.step_format import PromptFormat
from prm.workers import check_workers

if TYPE_CHECKING:
    from prm.generation.endpoint import EndpointGenerator
    from prm.generation.hf import HFGenerator
    from prm.generation.vllm_engine import VLLMGenerator

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
class SamplingOptions(ServerOptions):
    """A generator, how it is prompted and how it is sampled, and where the stage writes."""

    backends: ClassVar[tuple[str, ...]] = ("transformers", "vllm", "endpoint")

    output_dir: str = field(metadata={"help": "Directory of everything the stage writes"})

    model_name_or_path: str = field(default="", metadata={"help": "The generator: a directory or a model on the Hub"})
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
    temperature: float = field(default=1.0, metadata={"help": "Sampling temperature; 0 is greedy"})
    top_p: float = field(default=1.0, metadata={"help": "Nucleus of the sampling; 1 keeps every token"})
    max_new_tokens: int = field(default=512, metadata={"help": "Tokens after which a sample is cut off"})
    stop: list[str] = field(default_factory=list, metadata={"help": "Texts that end a sample; they stay in it"})
    prompt_template: str = field(default="{problem}\n", metadata={"help": "The prompt, with {problem} in it"})
    chat: bool = field(default=False, metadata={"help": "Put the prompt into the tokenizer's chat template"})
    system_prompt: str = field(default="", metadata={"help": "System turn of the chat; empty for none"})
    seed: int = field(default=0, metadata={"help": "Another seed draws other samples"})
    overwrite: bool = field(
        default=False, metadata={"help": "Replace a finished run with other settings in output_dir"}
    )
    batch_tokens: int = field(default=131_072, metadata={"help": "Tokens the cache of one batch may hold"})
    max_batch_rows: int = field(default=0, metadata={"help": "Rows of one batch; 0: 512 on a CPU, 1024 on a GPU"})
    num_workers: int = field(
        default=1, metadata={"help": "Processes that share the batches; more than 1 suits small models on a CPU"}
    )
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ...; by default CUDA where there is one"})
    dtype: str | None = field(
        default=None, metadata={"help": "auto, float32, bfloat16 or float16; by default float32 on a CPU, else auto"}
    )

    def sampling(self) -> SamplingParams:
        """The sampling parameters.

        Raises:
            ConfigError: out of range.
        """
        return SamplingParams(self.temperature, self.top_p, self.max_new_tokens, tuple(self.stop))

    def prompt(self) -> PromptFormat:
        """The prompt's format.

        Raises:
            ConfigError: a template without `{problem}`, or a system prompt without a chat.
        """
        return PromptFormat(self.prompt_template, self.chat, self.system_prompt)

    def model_settings(self) -> dict[str, str]:
        """What identifies the generator, as settings of the run: `model_name_or_path` and `model_revision`.

        Raises:
            MissingFileError, ModelError: there is no such model.
        """
        if self.backend == "endpoint":
            from prm.generation.endpoint import served_identity

            known = self.model_name_or_path or self.served_model_name
            name, revision = served_identity(known, self.tokenizer_name_or_path)
        else:
            name, revision = model_name(self.model_name_or_path), model_revision(self.model_name_or_path)
        return {"model_name_or_path": name, "model_revision": revision}

    def unused_settings(self) -> set[str]:
        """The options that this backend does not read."""
        return {name for name, readers in _BACKEND_SETTINGS.items() if self.backend not in readers}

    def load_generator(self) -> Generator:
        """Load the generator. The chat template is tried at once, so that a missing one is said before any work.

        Raises:
            ConfigError, MissingFileError, ModelError, EndpointError: see their messages.
        """
        loads: dict[str, Callable[[], Generator]] = {"vllm": self._load_vllm, "endpoint": self._connect}
        generator = loads.get(self.backend, self._load_transformers)()
        generator.prompt_ids("1+1")
        return generator

    def _load_transformers(self) -> HFGenerator:
        from prm.generation.hf import HFGenerator

        return HFGenerator.from_pretrained(
            self.model_name_or_path,
            self.prompt(),
            device=self.device,
            dtype=self.dtype,
            batch_tokens=self.batch_tokens,
            max_batch_rows=self.max_batch_rows or None,
        )

    def _load_vllm(self) -> VLLMGenerator:
        from prm.generation.vllm_engine import VLLMGenerator

        return VLLMGenerator.from_pretrained(
            self.model_name_or_path,
            self.prompt(),
            dtype=self.dtype,
            context_length=self.context_length,
            num_parameters=self.num_parameters,
        )

    def _connect(self) -> EndpointGenerator:
        from prm.generation.endpoint import EndpointGenerator

        return EndpointGenerator.connect(
            self.server_settings(),
            self.model_name_or_path,
            self.prompt(),
            served_model_name=self.served_model_name,
            tokenizer_name_or_path=self.tokenizer_name_or_path,
            num_parameters=self.num_parameters,
            context_length=self.context_length,
            choices_per_request=self.choices_per_request,
        )

    def check(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            ConfigError: see its message.
        """
        self.sampling()
        self.prompt()
        self.check_backend()
        if "" in self.stop:
            raise ConfigError("a stop text is empty; it would end every sample at once")
        if self.batch_tokens < 1 or self.max_batch_rows < 0:
            raise ConfigError("batch_tokens must be positive and max_batch_rows must not be negative")
        if min(self.num_parameters, self.context_length) < 0 or self.choices_per_request < 1:
            raise ConfigError("num_parameters and context_length must not be negative, choices_per_request positive")

    def check_backend(self) -> None:
        """Refuse an unknown backend, and one without what it needs.

        Raises:
            ConfigError: see its message.
        """
        if self.backend not in self.backends:
            raise ConfigError(f"unknown backend {self.backend!r}; choose from {', '.join(self.backends)}")
        if self.backend == "recorded":
            return
        if not self.model_name_or_path and not (self.backend == "endpoint" and self.served_model_name):
            raise ConfigError("missing model_name_or_path: give the generator's directory or its name on the Hub")
        if self.backend == "transformers":
            check_workers(self.num_workers, self.device)
        elif self.num_workers != 1:
            raise ConfigError(
                f"num_workers={self.num_workers} is for the transformers backend; {self.backend} batches by itself: "
                "use --num_workers 1"
            )
        if self.backend != "endpoint":
            return
        self.server_settings()
        if not self.model_name_or_path and not self.tokenizer_name_or_path:
            raise ConfigError("missing tokenizer_name_or_path: the endpoint's prompts are token ids, made here")
