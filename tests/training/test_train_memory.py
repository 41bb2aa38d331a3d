"""The memory estimate against what PyTorch really holds, and ZeRO's own table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModel, GemmaConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from prm.errors import ConfigError
from prm.model_shape import ModelShape
from prm.training.memory import activation_bytes, memory_estimate

ROWS, LENGTH = 2, 48


@pytest.fixture(scope="module")
def model_of() -> Callable[..., Any]:
    """A tiny random model: `model_of(Qwen2Config, layers=2)`."""

    def build(config_class: Any, *, layers: int = 3, dtype: Any = torch.float32, attention: str = "sdpa") -> Any:
        torch.manual_seed(0)
        sizes = {"hidden_size": 64, "intermediate_size": 160, "num_attention_heads": 4, "num_key_value_heads": 2}
        config = config_class(**sizes, head_dim=16, vocab_size=50, num_hidden_layers=layers)
        return AutoModel.from_config(config, attn_implementation=attention, dtype=dtype).train()

    return build


def kept_bytes(model: Any, *, autocast: bool = False) -> int:
    """Bytes of all that a forward pass saves for the backward pass, weights left out."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor  # held, so that no other tensor takes its place
        return tensor

    ids = torch.zeros(ROWS, LENGTH, dtype=torch.long)
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        model(input_ids=ids, use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("config_class", [Qwen2Config, LlamaConfig, MistralConfig])
@pytest.mark.parametrize(
    ("dtype", "attention", "autocast"),
    [
        ("float32", "sdpa", False),
        ("bfloat16", "sdpa", False),
        ("float32", "sdpa", True),
        ("float32", "eager", False),
        ("bfloat16", "eager", False),
    ],
)
def test_activations_are_what_autograd_keeps(
    model_of: Callable[..., Any], config_class: Any, dtype: str, attention: str, autocast: bool
) -> None:
    models = [
        model_of(config_class, layers=layers, dtype=getattr(torch, dtype), attention=attention) for layers in (2, 4)
    ]
    two, four = (kept_bytes(model, autocast=autocast) for model in models)
    width = 2 if dtype == "bfloat16" or autocast else 4
    shape = ModelShape.of(models[1])
    estimate = activation_bytes(
        shape, ROWS * LENGTH, LENGTH, width=width, autocast=autocast, eager=attention == "eager"
    )
    assert 2 * (four - two) == estimate  # two of the four blocks; what is no block's is not part of the estimate


@pytest.mark.parametrize("config_class", [Qwen3Config, GemmaConfig])
def test_blocks_with_more_norms_keep_little_more(model_of: Callable[..., Any], config_class: Any) -> None:
    two, four = (kept_bytes(model_of(config_class, layers=layers)) for layers in (2, 4))
    shape = ModelShape.of(model_of(config_class, layers=4))
    assert 2 * (four - two) == pytest.approx(activation_bytes(shape, ROWS * LENGTH, LENGTH, width=4), rel=0.2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_checkpointed_block_keeps_its_input(model_of: Callable[..., Any], dtype: str) -> None:
    models = [model_of(Qwen2Config, layers=layers, dtype=getattr(torch, dtype)) for layers in (2, 4)]
    for model in models:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    two, four = map(kept_bytes, models)
    width = 2 if dtype == "bfloat16" else 4
    full, less = (
        activation_bytes(
            replace(ModelShape.of(models[1]), layers=layers), ROWS * LENGTH, LENGTH, width=width, checkpointing=True
        )
        for layers in (4, 2)
    )
    assert four - two == full - less


@pytest.mark.parametrize(
    ("optimizer", "dtype"), [("adamw_torch", "float32"), ("adamw_torch", "bfloat16"), ("sgd", "float32")]
)
def test_model_states_are_what_pytorch_holds(model_of: Callable[..., Any], optimizer: str, dtype: str) -> None:
    model = model_of(Qwen2Config, dtype=getattr(torch, dtype))
    model.embed_tokens.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    step: Any = {"adamw_torch": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer](trained, lr=0.1)
    model(input_ids=torch.zeros(1, 4, dtype=torch.long)).last_hidden_state.sum().backward()
    step.step()
    states = [value for state in step.state.values() for value in state.values() if value is not None and value.dim()]
    estimate = memory_estimate(ModelShape.of(model), tokens=4, longest=4, dtype=dtype, optimizer=optimizer)
    assert estimate.weights == sum(parameter.nbytes for parameter in model.parameters())
    assert estimate.gradients == sum(parameter.grad.nbytes for parameter in trained if parameter.grad is not None)
    assert estimate.optimizer == sum(state.nbytes for state in states)


def shape_of(parameters: int, trainable: int | None = None) -> ModelShape:
    trained = parameters if trainable is None else trainable
    return ModelShape(parameters, trained, parameters, trained, 1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("stage", "processes", "gigabytes"), [(1, 1, 120), (1, 64, 31.4), (2, 64, 16.6), (3, 64, 1.9)]
)
def test_the_stages_are_those_of_the_zero_paper(stage: int, processes: int, gigabytes: float) -> None:
    """Figure 1 of arXiv 1910.02054: 7.5B parameters, mixed precision, K = 12; on one device the stages are one."""
    found = memory_estimate(
        shape_of(7_500_000_000), tokens=0, longest=0, mixed_precision=True, zero_stage=stage, processes=processes
    )
    assert found.total / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_a_quantised_base_under_an_adapter_is_half_a_byte_a_weight() -> None:
    found = memory_estimate(
        shape_of(7_000_000_000, 40_000_000), tokens=0, longest=0, dtype="bfloat16", frozen_bytes=0.516
    )
    assert found.weights == 6_960_000_000 * 0.516 + 2 * 40_000_000
    assert (found.gradients, found.optimizer) == (80_000_000, 160_000_000)


@pytest.mark.parametrize(
    ("name", "bytes_each"),
    [
        *(("adamw_8bit", 2), ("paged_adamw_32bit", 8), ("lion_8bit", 1), ("rmsprop", 4), ("ademamix", 12)),
        *(("adamw_torch_4bit", 1), ("adafactor", 0), ("stable_adamw", 8)),
    ],
)
def test_optimisers_are_known_by_their_names(name: str, bytes_each: float) -> None:
    assert memory_estimate(shape_of(10), tokens=0, longest=0, optimizer=name).optimizer == 10 * bytes_each


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype must be one of float32, bfloat16, float16"):
        memory_estimate(shape_of(1), tokens=0, longest=0, dtype="int8")
    with pytest.raises(ConfigError, match="a ZeRO stage is 0, 1, 2 or 3"):
        memory_estimate(shape_of(1), tokens=0, longest=0, zero_stage=4)
