"""What `model.generate` itself answers."""

from __future__ import annotations

import torch

from prm.generation.hf import HFGenerator


def transformers_greedy(generator: HFGenerator, prompt: tuple[int, ...], length: int) -> list[int]:
    ids = generator.model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=length,
        eos_token_id=list(generator.eos_ids),
        pad_token_id=0,
    )
    return list(ids[0, len(prompt) :].tolist())
