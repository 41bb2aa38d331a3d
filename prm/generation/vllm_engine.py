"""The `vllm` generator: vLLM's engine in this process, with its prefix cache on.

For more than one GPU's worth of work, or several clients, serve the model with `vllm serve` and use the `endpoint`
generator; both draw a request's sample with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from prm.errors import ConfigError, ModelError
from prm.fingerprint import dtype_suffix
from prm.generation.base import Completion, GenerationRequest, SamplingParams
from prm.generation.completions_api import server_seed
from prm.generation.prompt_ids import PromptIds
from prm.rollouts import Cost, StopReason
from prm.step_format import PromptFormat

_ROWS = 4096  # requests of one call: what a kill may cost, and far more than the engine runs at once


class VLLMGenerator:
    """A `Generator` over a `vllm.LLM`.

    Args:
        engine: has vLLM's `generate(prompts, sampling_params, use_tqdm=...)`.
        new_params: makes its sampling parameters, `vllm.SamplingParams`.
        tokenizer: the model's.
        prompt: how a problem becomes a prompt.
        name, revision: identify the weights.
        num_parameters: what FLOPs are counted with; 0: unknown, they are not counted.
        context_length: in tokens.
    """

    def __init__(
        self,
        engine: Any,
        new_params: Callable[..., Any],
        tokenizer: Any,
        prompt: PromptFormat,
        *,
        name: str,
        revision: str,
        context_length: int,
        num_parameters: int = 0,
    ):
        self.engine, self.new_params = engine, new_params
        self.tokenizer, self.prompt = tokenizer, prompt
        self.name, self.revision = name, revision
        self.context_length, self.num_parameters = context_length, num_parameters
        self._prompt_ids = PromptIds(prompt, tokenizer)

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        prompt: PromptFormat,
        *,
        dtype: str | None = None,
        context_length: int = 0,
        num_parameters: int = 0,
    ) -> VLLMGenerator:
        """Load a checkpoint from a directory or from the Hub.

        Args:
            dtype: `auto`, `float32`, `bfloat16` or `float16`; by default the checkpoint's own.
            context_length: in tokens; 0: what the model allows.

        Raises:
            ConfigError: vLLM is not installed.
            MissingFileError, ModelError: there is no such model, or vLLM cannot load it.
        """
        from prm.generation.checkpoint import check_dtype, first_line, load_tokenizer, model_name, model_revision

        vllm = import_vllm()
        check_dtype(dtype)
        name, revision = model_name(model_name_or_path), model_revision(model_name_or_path)
        try:
            engine = vllm.LLM(
                model=model_name_or_path,
                dtype=dtype or "auto",
                max_model_len=context_length or None,
                enable_prefix_caching=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{model_name_or_path}: vLLM cannot load it ({first_line(error)})") from error
        model_config = engine.llm_engine.model_config
        return cls(
            engine,
            vllm.SamplingParams,
            load_tokenizer(model_name_or_path),
            prompt,
            name=name,
            revision=revision + dtype_suffix(model_config),
            context_length=int(model_config.max_model_len),
            num_parameters=num_parameters,
        )

    def prompt_ids(self, problem: str, prefix: str = "") -> list[int]:
        """Token ids of the prompt, followed by those of a started solution, encoded by itself."""
        return self._prompt_ids(problem, prefix)

    def plan_batches(self, requests: Sequence[GenerationRequest], sampling: SamplingParams) -> list[list[int]]:
        """Indices of the requests in the batches that `generate` would run: prompts that begin alike side by side, so
        that they meet in the prefix cache."""
        order = sorted(range(len(requests)), key=lambda i: (requests[i].prompt_ids, i))
        return [order[at : at + _ROWS] for at in range(0, len(order), _ROWS)]

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        sampling: SamplingParams,
        progress: Callable[[int], None] | None = None,
    ) -> list[Completion]:
        """Answer every request, in order. A prompt that leaves no room in the context ends with `StopReason.LENGTH`.

        Raises:
            ModelError: the engine gave up on a request.
        """
        completions = [Completion((), "", StopReason.LENGTH)] * len(requests)
        for batch in self.plan_batches(requests, sampling):
            fitting = [i for i in batch if 0 < len(requests[i].prompt_ids) < self.context_length]
            prompts = [{"prompt_token_ids": list(requests[i].prompt_ids)} for i in fitting]
            params = [self.new_params(**engine_params(requests[i], sampling, self.context_length)) for i in fitting]
            outputs = self.engine.generate(prompts, params, use_tqdm=False) if fitting else []
            for i, output in zip(fitting, outputs, strict=True):
                completions[i] = engine_completion(output, self.num_parameters)
            if progress:
                progress(len(batch))
        return completions


def import_vllm() -> Any:
    """vLLM.

    Raises:
        ConfigError: it is not installed, or does not work here.
    """
    try:
        import vllm
    except ImportError as error:
        raise ConfigError(
            f"the vllm backend needs vLLM ({error}): pip install 'prm-toolkit[vllm]' on a machine with a GPU, or "
            "serve the model elsewhere and use --backend endpoint"
        ) from None
    return vllm


def engine_params(request: GenerationRequest, sampling: SamplingParams, context_length: int) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams` for one request: one sample, with its own seed and its stop text kept."""
    return {
        "n": 1,
        "seed": server_seed(request.seed),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": min(sampling.max_new_tokens, context_length - len(request.prompt_ids)),
        "stop": list(sampling.stop),
        "include_stop_str_in_output": True,
    }


def engine_completion(output: Any, num_parameters: int) -> Completion:
    """A `vllm.RequestOutput` with one finished `CompletionOutput` as a completion. `stop_reason` is the stop text that
    ended it, and `None` or an id where an end-of-text token did.

    Raises:
        ModelError: it is not finished.
    """
    sample = output.outputs[0]
    if sample.finish_reason not in ("stop", "length"):
        raise ModelError(
            f"vLLM gave up on a request (finish_reason {sample.finish_reason!r}); what was finished is kept, run the "
            "same command again to go on"
        )
    stopped = StopReason.STOP if isinstance(sample.stop_reason, str) else StopReason.EOS
    reason = StopReason.LENGTH if sample.finish_reason == "length" else stopped
    cached = output.num_cached_tokens or 0
    prefilled, generated = len(output.prompt_token_ids) - cached, len(sample.token_ids)
    cost = Cost(generated, prefilled, cached, flops=2.0 * num_parameters * (prefilled + generated))
    return Completion(tuple(sample.token_ids), sample.text, reason, cost)
