"""What a transformer costs by its shape alone: its dimensions, read from a model or from its skeleton on the meta
device, and the floating-point operations of a training step. Bytes are `prm.training.memory`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ModelShape:
    """Dimensions of a model that is to be trained.

    Attributes:
        parameters, trainable: all parameters, and those that learn.
        matmul, trainable_matmul: of these, the entries of weight matrices that every token is multiplied with. The
            embedding is looked up and not multiplied, and the head runs at the score positions alone: neither counts.
        layers, hidden, intermediate: blocks, width of the residual stream, width inside a feed-forward block.
        heads, kv_heads, head_dim: query heads, key and value heads, width of one.
    """

    parameters: int
    trainable: int
    matmul: int
    trainable_matmul: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, model: Any, *, head_everywhere: bool = False) -> ModelShape:
        """Read a model, adapters and partitioned or quantised weights included.

        Experts that are not `Linear` layers are left out of `matmul`: of a mixture, too little is counted.

        Args:
            head_everywhere: the head runs at every token (an implicit PRM's language-model head), so it counts too.
        """
        core = model.get_base_model() if hasattr(model, "get_base_model") else model
        read = core if head_everywhere else getattr(core, core.base_model_prefix, core)
        config = core.config.get_text_config()
        heads = config.num_attention_heads
        entries = list(_matrices(read))
        return cls(
            parameters=sum(_size(parameter) for parameter in model.parameters()),
            trainable=sum(_size(parameter) for parameter in model.parameters() if parameter.requires_grad),
            matmul=sum(size for size, _ in entries),
            trainable_matmul=sum(size for size, learns in entries if learns),
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        )

    def forward_flops(self, tokens: float, squared: float) -> float:
        """Operations of a forward pass alone, such as a reference model's; arguments as of `training_flops`."""
        return 2 * self.matmul * tokens + 4 * self._attention * squared

    def training_flops(self, tokens: Any, squared: Any) -> Any:
        """Operations that a forward and backward pass needs, without those that a checkpointed one repeats.

        6 N + 12 L H Q T for each token (PaLM, arXiv 2204.02311, appendix B: N parameters in matrix products, L layers,
        H heads of width Q, T tokens of context, causal or not). Frozen matrices need no gradient of their own, which
        saves 2 of the 6.

        Args:
            tokens: real tokens, padding left out; a number or a tensor, and so is what comes back.
            squared: the sum over sequences of their squared lengths.
        """
        return (4 * self.matmul + 2 * self.trainable_matmul) * tokens + 12 * self._attention * squared

    @property
    def _attention(self) -> int:
        return self.layers * self.heads * self.head_dim

    @property
    def attention_flops_per_pair(self) -> float:
        """Operations for a token that attends to one token, in all layers: 2 for their product, 2 for the sum."""
        return 4.0 * self._attention

    @property
    def cache_values_per_token(self) -> int:
        """Numbers that a key-value cache holds for each token."""
        return 2 * self.layers * self.kv_heads * self.head_dim


def attention_costs(model: Any) -> tuple[float, int]:
    """FLOPs of a token that attends to another, and bytes of a token in the key-value cache; zeros for a model whose
    configuration has no attention heads."""
    config = (model.get_base_model() if hasattr(model, "get_base_model") else model).config.get_text_config()
    if not getattr(config, "num_attention_heads", None):
        return 0.0, 0
    shape = ModelShape.of(model)
    return shape.attention_flops_per_pair, shape.cache_values_per_token * model.dtype.itemsize


def _matrices(module: Any) -> list[tuple[int, bool]]:
    """Entries of each weight matrix that tokens are multiplied with, and whether it is trained."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    found = []
    for one in module.modules():
        if isinstance(one, Linear):  # its own numbers: the weight may be partitioned or packed
            found.append((one.in_features * one.out_features, one.weight.requires_grad))
        elif isinstance(one, Conv1D):
            found.append((_size(one.weight), one.weight.requires_grad))
    return found


def _size(parameter: Any) -> int:
    """Numbers in a parameter, also where ZeRO-3 holds a part of it or bitsandbytes two in a byte."""
    size = int(getattr(parameter, "ds_numel", parameter.numel()))
    return 2 * size * parameter.element_size() if type(parameter).__name__ == "Params4bit" else size
