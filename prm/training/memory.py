"""How many bytes a training takes on each device, before it is started: weights, gradients, optimiser states and what
the forward pass keeps for the backward pass.

What is left out is said by `NOT_COUNTED`. Shapes are `prm.model_shape`'s, tables for the terminal
`prm.training.plan`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from prm.errors import ConfigError
from prm.model_shape import ModelShape

Dtype = Literal["float32", "bfloat16", "float16"]
DTYPE_BYTES: dict[str, int] = {"float32": 4, "bfloat16": 2, "float16": 2}
FOUR_BITS = 0.516  # bytes of a weight in NF4 with doubly quantised constants (QLoRA, arXiv 2305.14314, section 3)
NOT_COUNTED = "the driver's own memory, communication buffers and fragmentation, some GB on a GPU"

# Values that an optimiser keeps of each trained parameter, by its name; 0 also where they hardly show.
_STATES = ((r"^sgd|adafactor|apollo|galore|lomo", 0), (r"lion|rmsprop|adagrad|free_sgd", 1), (r"ademamix", 3), ("", 2))


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def memory_estimate(
    shape: ModelShape,
    *,
    tokens: int,
    longest: int,
    dtype: str = "float32",
    mixed_precision: bool = False,
    zero_stage: int = 0,
    processes: int = 1,
    optimizer: str = "adamw_torch_fused",
    activation_checkpointing: bool = False,
    attention: str = "sdpa",
    frozen_bytes: float | None = None,
) -> MemoryEstimate:
    """Bytes on each device at the largest micro-batch.

    Of P parameters in all and T trained ones on N devices, with weights of w bytes and an optimiser of k states of s
    bytes, stage 0 holds wP + wT + ksT; stage 1 divides the optimiser's part by N, stage 2 the gradients' too, stage 3
    the weights' too (ZeRO, arXiv 1910.02054, sections 3.1 and 5). Under ZeRO with mixed precision w is 2; the
    optimiser holds a copy of the trained weights in 32 bits and states of 4 bytes.

    Args:
        tokens: of the largest micro-batch of a device, padding included.
        longest: tokens of its longest sequence.
        dtype: of the weights as they are loaded.
        mixed_precision: computing in 16 bits, over weights of 32 (bf16 or fp16 of the training arguments).
        zero_stage: 0 to 3; 0 is one device, or copies on each (DDP).
        optimizer: transformers' name of it.
        attention: transformers' name of the implementation; `eager` alone keeps what grows with the squared length.
        frozen_bytes: of a frozen parameter, where it is quantised, such as `FOUR_BITS`.

    Raises:
        ConfigError: an unknown dtype or stage.
    """
    if dtype not in DTYPE_BYTES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPE_BYTES)}, not {dtype!r}")
    if zero_stage not in range(4):
        raise ConfigError(f"a ZeRO stage is 0, 1, 2 or 3, not {zero_stage!r}")
    width = 2 if zero_stage and mixed_precision else DTYPE_BYTES[dtype]
    shares = [processes if zero_stage >= stage else 1 for stage in (3, 2, 1)]
    frozen = (shape.parameters - shape.trainable) * (width if frozen_bytes is None else frozen_bytes)
    parts = (
        frozen + width * shape.trainable,
        width * shape.trainable,
        shape.trainable * _optimizer_bytes(optimizer, 4 if zero_stage else width, master=zero_stage > 0),
    )
    weights, gradients, states = (part / share for part, share in zip(parts, shares, strict=True))
    autocast = mixed_precision and width == 4
    kept = activation_bytes(
        shape, tokens, longest, width=2 if mixed_precision else width, autocast=autocast,
        checkpointing=activation_checkpointing, eager=attention == "eager",
    )  # fmt: skip
    return MemoryEstimate(weights, gradients, states, kept)


def activation_bytes(
    shape: ModelShape,
    tokens: int,
    longest: int,
    *,
    width: int,
    autocast: bool = False,
    checkpointing: bool = False,
    eager: bool = False,
) -> float:
    """Bytes that the forward pass keeps for the backward pass.

    The accounting of Korthikanti et al. (arXiv 2205.05198, section 4.1: what each operation of a block must keep,
    there s b h (34 + 5 a s / h) with dropout and GELU), for blocks as transformers runs them: no dropout, RMSNorm in
    32 bits, a gated feed-forward part of width f, attention of a query and g key heads of width d. A token takes

        width (4h + 2ad + 2gd + 4f) + 8h + 4(a + 2)

    bytes a block: the output and the normalised input of both norms, queries and output of attention, keys and values,
    both gates with their activation and product, the norms' inputs and the factors of softmax and norms in 32 bits.
    Attention without a fused kernel (`eager`) keeps the a s weights, in 32 bits and in those of the values, and keys
    and values once for each query head. Autocast keeps the norms in 32 bits, one 16-bit copy of its input for each
    matrix product, and one of every weight matrix.

    With `checkpointing` only the input of each block is kept, and one block at a time is computed again (section 5,
    full recomputation).
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    inner = 2 * queries + 2 * keys + 4 * shape.intermediate
    norms = 26 * shape.hidden if autocast else (4 * width + 8) * shape.hidden
    block = width * inner + norms + 4 * (shape.heads + 2)
    if eager:
        block += shape.heads * longest * (4 + (width if width < 4 else 0))
        block += 2 * width * (queries - keys) - 4 * shape.heads
    blocks = 1 if checkpointing else shape.layers
    inputs = shape.layers * shape.hidden * (4 if autocast else width) if checkpointing else 0
    copies = 2 * shape.matmul * blocks / shape.layers if autocast else 0
    return tokens * (blocks * block + inputs) + copies


def _optimizer_bytes(name: str, width: int, *, master: bool) -> float:
    """Bytes of an optimiser for each trained parameter; its states have the `width` of the weights that it steps, or
    that which its name tells."""
    name = name.lower()
    states = next(count for pattern, count in _STATES if re.search(pattern, name))
    told = re.search(r"(\d+)bit", name)
    return states * (int(told[1]) / 8 if told else width) + (4 if master else 0)
