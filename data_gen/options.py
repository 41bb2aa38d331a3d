"""The options that every stage that samples shares, and the generator and sampling parameters they describe."""

from __future__ import annotations

from dataclasses import dataclass, field

from prm.errors import ConfigError
from prm.generation.base import Generator, SamplingParams
from prm.generation.options import BackendOptions
from prm.step_format import PromptFormat


@dataclass(kw_only=True)
class SamplingOptions(BackendOptions):
    """A generator, how it is prompted and how it is sampled, and where the stage writes."""

    output_dir: str = field(metadata={"help": "Directory of everything the stage writes"})

    model_name_or_path: str = field(default="", metadata={"help": "The generator: a directory or a model on the Hub"})
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
        name, revision = self.identity(self.model_name_or_path)
        return {"model_name_or_path": name, "model_revision": revision}

    def load_generator(self) -> Generator:
        """Load the generator.

        Raises:
            ConfigError, MissingFileError, ModelError, EndpointError: see their messages.
        """
        return self.generator(
            self.model_name_or_path,
            self.prompt(),
            device=self.device,
            dtype=self.dtype,
            batch_tokens=self.batch_tokens,
            max_batch_rows=self.max_batch_rows or None,
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
        self.check_numbers()

    def check_backend(self) -> None:
        """Refuse an unknown backend, and one without what it needs.

        Raises:
            ConfigError: see its message.
        """
        self.check_engine(self.model_name_or_path, num_workers=self.num_workers, device=self.device)
