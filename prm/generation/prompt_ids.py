"""A prompt's token ids as every generator makes them: the problem's are remembered, a started solution's are not."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from prm.step_format import PromptFormat, encode_plain

_REMEMBERED = 65_536


class PromptIds:
    """Token ids of the prompt, followed by those of a started solution, encoded by itself."""

    def __init__(self, prompt: PromptFormat, tokenizer: Any):
        self._tokenizer = tokenizer
        self._of_problem = lru_cache(maxsize=_REMEMBERED)(lambda problem: tuple(prompt.ids(problem, tokenizer)))

    def __call__(self, problem: str, prefix: str = "") -> list[int]:
        return [*self._of_problem(problem), *(encode_plain(self._tokenizer, prefix) if prefix else ())]
