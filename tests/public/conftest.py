"""Tiny random copies of published checkpoints: their architecture, names of weights and special tokens, no more."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPECIAL = {
    CHATML: ["<|im_start|>", "<|im_end|>", "<extra_0>"],
    LLAMA3: ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
}
SHAPE = {
    **{"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.5},
}


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer: Any) -> Callable[[str], Any]:
    """The byte-level tokenizer with a published chat template and its special tokens."""

    def build(template: str) -> Any:
        found = copy.deepcopy(tokenizer)
        found.add_special_tokens({"additional_special_tokens": SPECIAL[template]})
        found.chat_template = template
        if template == LLAMA3:
            found.bos_token = "<|begin_of_text|>"
        return found

    return build


@pytest.fixture(scope="session")
def sentencepiece_tokenizer() -> Any:
    """A tokenizer that writes a space before every text, as Math-Shepherd's does, with its tag and reward tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    single = [chr(code) for code in range(33, 127)] + ["к", "и", "▁"]
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *((f"<0x{byte:02X}>", -9.0) for byte in range(256))]
    vocabulary += [(char, -5.0) for char in single] + [("▁ки", -1.0), ("▁+", -1.0), ("▁-", -1.0), ("Step", -2.0)]
    built = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    built.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=built, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint: `checkpoint(tokenizer, "Qwen2", "Qwen2ForProcessRewardModel", head)`.

    `head` holds weights by their published names; the backbone's are random, under `prefix`.
    """

    def build(
        tokenizer: Any,
        family: str,
        architecture: str,
        head: dict[str, torch.Tensor],
        *,
        prefix: str = "model.",
        language: bool = False,
        name: str = "copy",
        **config: Any,
    ) -> Path:
        import transformers

        torch.manual_seed(0)
        shape = getattr(transformers, f"{family}Config")(
            vocab_size=len(tokenizer), **SHAPE, tie_word_embeddings=False, bos_token_id=None
        )
        kind = "ForCausalLM" if language else "Model"
        model = getattr(transformers, f"{family}{kind}")(shape)
        weights = {("" if language else prefix) + key: value.contiguous() for key, value in model.state_dict().items()}
        path = tmp_path / name
        path.mkdir()
        save_file(weights | head, path / "model.safetensors", metadata={"format": "pt"})
        # Their own code is named, as in the published files, and must not be run: it is not there.
        remote = {"auto_map": {"AutoModel": f"modeling_theirs.{architecture}"}} if head and not language else {}
        settings = {**shape.to_dict(), "architectures": [architecture], **remote, **config}
        (path / "config.json").write_text(json.dumps(settings))
        tokenizer.save_pretrained(path)
        return path

    return build
