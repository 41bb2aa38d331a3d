"""Verifier-guided search the plain way, the baseline of `search_speed`: search-and-learn's loop, written anew.

One problem at a time. In every iteration one `model.generate` over all active beams, whole texts tokenised again and
padded on the left, until each has one more step; then one batched call of the PRM over the same beams, whole prefixes
padded on the right with an attention mask. Beam search keeps the n / beam_width best and copies them back to n; DVTS
keeps the best of each of n / beam_width groups. Nothing is kept from one iteration to the next. (Their generator is
vLLM, whose prefix cache spares some reading; here both ways sample with `transformers`.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from prm.aggregation import aggregate
from prm.generation.hf import HFGenerator
from prm.heads import last_hidden_states, margins, unwrapped
from prm.verifier import Verifier


@dataclass
class Beam:
    """A text that grows; `scores` are the PRM's, one a step, as of the last call."""

    text: str = ""
    ended: bool = False
    scores: list[float] = field(default_factory=list)


@dataclass
class Spent:
    """What the plain search ran through the models: tokens without padding."""

    generator_tokens: int = 0
    verifier_tokens: int = 0


@dataclass(frozen=True)
class PlainSearch:
    """The loop, for one generator and one PRM."""

    generator: HFGenerator
    verifier: Verifier
    n: int
    beam_width: int = 4
    num_iterations: int = 40
    max_step_tokens: int = 96
    approach: Literal["beam_search", "dvts"] = "beam_search"

    def run(self, problem: str, spent: Spent) -> Beam:
        """The finished beam with the highest score; the best unfinished one where none finished."""
        beams = [Beam() for _ in range(self.n)]
        completed: list[Beam] = []
        for _ in range(self.num_iterations):
            self._extend(problem, beams, spent)
            self._score(problem, beams, spent)
            completed += [beam for beam in beams if beam.ended]
            beams = self._kept(beams)
            if not beams or len(completed) >= self.n:
                break
        return max(completed or beams, key=self._rank)

    def _rank(self, beam: Beam) -> float:
        return aggregate(beam.scores, "last") if beam.scores else -1.0

    def _kept(self, beams: list[Beam]) -> list[Beam]:
        """The beams of the next iteration, each expanded `beam_width` ways."""
        if self.approach == "dvts":
            groups = [beams[at : at + self.beam_width] for at in range(0, len(beams), self.beam_width)]
            best = [max(group, key=self._rank) for group in groups]
            kept = [beam for beam in best if not beam.ended]
        else:
            live = sorted((beam for beam in beams if not beam.ended), key=self._rank, reverse=True)
            kept = live[: self.n // self.beam_width]
        if not kept:
            return []
        if self.approach == "dvts":
            copies = [beam for beam in kept for _ in range(self.beam_width)]
        else:
            copies = [kept[place % len(kept)] for place in range(self.n)]
        return [Beam(beam.text, beam.ended, list(beam.scores)) for beam in copies]

    def _extend(self, problem: str, beams: list[Beam], spent: Spent) -> None:
        generator, separator = self.generator, self.verifier.spec.step_format.step_separator
        tokenizer = generator.tokenizer
        prompts = [generator.prompt.ids(problem, tokenizer) + _ids(tokenizer, beam.text) for beam in beams]
        width = max(map(len, prompts))
        ends = [*generator.eos_ids, *_ids(tokenizer, separator)]
        ids = generator.model.generate(
            torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts]),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts]),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=self.max_step_tokens,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
            use_cache=True,
        )[:, width:]
        for beam, prompt, row in zip(beams, prompts, ids.tolist(), strict=True):
            stop = next((at for at, token in enumerate(row) if token in ends), len(row) - 1)
            new = row[: stop + 1]
            spent.generator_tokens += len(prompt) + len(new) - 1  # the last one is not read
            beam.ended = new[-1] in generator.eos_ids
            beam.text += tokenizer.decode(new, skip_special_tokens=True)

    def _score(self, problem: str, beams: list[Beam], spent: Spent) -> None:
        separator = self.verifier.spec.step_format.step_separator
        steps = [[step for step in beam.text.split(separator) if step.strip()] for beam in beams]
        encoded = [self.verifier.spec.step_format.encode(problem, s, self.verifier.tokenizer) for s in steps]
        width = max(len(row.input_ids) for row in encoded)
        ids = torch.tensor([row.input_ids + [0] * (width - len(row.input_ids)) for row in encoded])
        mask = torch.tensor([[1] * len(r.input_ids) + [0] * (width - len(r.input_ids)) for r in encoded])
        most = max(len(row.score_positions) for row in encoded)
        read = [row.score_positions + [0] * (most - len(row.score_positions)) for row in encoded]
        positions = torch.tensor(read) + width * torch.arange(len(encoded))[:, None]
        model = unwrapped(self.verifier.model)
        with torch.inference_mode():
            hidden = last_hidden_states(model, {"input_ids": ids, "attention_mask": mask})
            margin = margins(self.verifier.head.logits(model, hidden, {"positions": positions}))
            chances = (margin / self.verifier.spec.temperature).sigmoid().tolist()
        for beam, row, found in zip(beams, encoded, chances, strict=True):
            spent.verifier_tokens += len(row.input_ids)
            beam.scores = found[: len(row.score_positions)]


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))
