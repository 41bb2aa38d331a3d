"""How a problem and its steps become token ids, and which positions carry a score.

One object serves training and scoring, so that both see the same ids (DESIGN.md, decisions 2 and 5): every step is
encoded by itself, followed by the separator's own ids, and a prefix's ids never change when a step is added. What the
scores mean is `prm.scoring_spec`'s; splitting text into steps is `prm.splitting`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from prm.errors import ConfigError, FormatError

# The day that a chat template which writes the date is told it is: the one that Llama's falls back to.
TODAY = datetime(2024, 7, 26)
_DATE_CODES = [f"%{letter}" for letter in "aAbBdejmyYFHIMSp"]


@dataclass(frozen=True)
class PromptFormat:
    """The text before the first step.

    Attributes:
        template: the prompt, or the user's turn, with `{problem}` in it.
        chat: render it as the user's turn of the tokenizer's chat template, ready for the assistant's answer.
        system: the system turn; empty for none. Chat only.
    """

    template: str = "{problem}\n"
    chat: bool = False
    system: str = ""

    def __post_init__(self) -> None:
        if "{problem}" not in self.template:
            raise ConfigError(f"the prompt template {self.template!r} has no {{problem}} in it")
        if self.system and not self.chat:
            raise ConfigError("a system prompt needs a chat template: set chat to true, or drop the system prompt")

    def text(self, problem: str, tokenizer: Any) -> str:
        """The prompt as text; in a chat template it is always the 26th of July 2024.

        Raises:
            ConfigError: a chat template is asked for and the tokenizer has none.
        """
        content = self.template.replace("{problem}", problem)
        if not self.chat:
            return content
        if not getattr(tokenizer, "chat_template", None):
            raise ConfigError(
                f"the tokenizer of {getattr(tokenizer, 'name_or_path', '') or 'this model'} has no chat template; "
                "set chat to false and give a prompt template, or use an instruction-tuned model"
            )
        turns = [{"role": "system", "content": self.system}] if self.system else []
        turns.append({"role": "user", "content": content})
        template = tokenizer.get_chat_template()
        return str(
            tokenizer.apply_chat_template(
                turns, chat_template=stopped_clock(template) + template, tokenize=False, add_generation_prompt=True
            )
        )

    def ids(self, problem: str, tokenizer: Any) -> list[int]:
        """The prompt's token ids. A tokenizer that begins its texts with a BOS token does so here too; a chat
        template writes its own."""
        text = self.text(problem, tokenizer)
        ids = encode_plain(tokenizer, text)
        bos = tokenizer.bos_token_id
        if self.chat or bos is None or ids[:1] == [bos]:
            return ids
        return [bos, *ids] if tokenizer("a").input_ids[:1] == [bos] else ids


def stopped_clock(chat_template: str) -> str:
    """What to put before a chat template so that it writes the same date every day: a macro in the place of the
    `strftime_now` that transformers offers to templates; empty for one that does not read the clock."""
    if "strftime_now" not in chat_template:
        return ""
    codes = [code for code in _DATE_CODES if code in chat_template]
    filters = "".join(f"|replace('{code}', '{TODAY.strftime(code)}')" for code in codes)
    return "{% macro strftime_now(format) %}{{ format" + filters + " }}{% endmacro %}\n"


def encode_plain(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text by itself, without special tokens around it."""
    return list(tokenizer.encode(text, add_special_tokens=False))


class MemoTokenizer:
    """A tokenizer that remembers what it encoded: problems and steps repeat, and the separator does after every step.
    Wrap one whose vocabulary is final."""

    def __init__(self, tokenizer: Any, size: int = 1 << 16):
        self._tokenizer, self._size = tokenizer, size
        self._memo: dict[str, list[int]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._tokenizer(*args, **kwargs)

    def remember(self, texts: Iterable[str]) -> None:
        """Encode texts in one call, which a fast tokenizer spreads over the cores."""
        new = list(dict.fromkeys(text for text in texts if text not in self._memo))
        if len(self._memo) + len(new) > self._size:
            self._memo.clear()
        if new:
            found = self._tokenizer(new, add_special_tokens=False, return_attention_mask=False).input_ids
            self._memo.update(zip(new, (list(ids) for ids in found), strict=True))

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        if add_special_tokens:
            return list(self._tokenizer.encode(text))
        if text not in self._memo:
            if len(self._memo) >= self._size:
                self._memo.clear()
            self._memo[text] = list(self._tokenizer.encode(text, add_special_tokens=False))
        return self._memo[text]


@dataclass(frozen=True)
class EncodedSolution:
    """`input_ids`, and for each step the position whose output is its score. `len(score_positions)` is the number of
    steps that fit; `n_dropped` steps did not. The first `prompt_length` ids are the prompt's."""

    input_ids: list[int]
    score_positions: list[int]
    n_dropped: int = 0
    prompt_length: int = 0


@dataclass(frozen=True)
class StepFormat:
    """A prompt, a separator, and the rule that the last token of the separator after a step carries its score."""

    prompt: PromptFormat = field(default_factory=PromptFormat)
    step_separator: str = "\n"

    def __post_init__(self) -> None:
        if not self.step_separator:
            raise ConfigError("the step separator is empty; a PRM needs a token to put its score on")

    def step_ids(self, step: str, tokenizer: Any) -> list[int]:
        """Token ids of one step and the separator after it.

        Raises:
            FormatError: the step is blank, or the separator occurs in it.
        """
        if not step.strip():
            raise FormatError("a step is blank; drop it, or split the text with another splitter")
        if self.step_separator in step:
            raise FormatError(
                f"the step {step[:60]!r} contains the separator {self.step_separator!r}; "
                "choose another step_separator, or split the solution by it"
            )
        return encode_plain(tokenizer, step) + encode_plain(tokenizer, self.step_separator)

    def encode(
        self, problem: str, steps: Sequence[str], tokenizer: Any, *, max_length: int | None = None
    ) -> EncodedSolution:
        """Encode a problem and its steps.

        Args:
            max_length: drop whole steps from the end until the ids fit; `n_dropped` says how many.

        Raises:
            FormatError: a step cannot be encoded, or the prompt alone is longer than `max_length`.
        """
        ids = self.prompt.ids(problem, tokenizer)
        if max_length is not None and len(ids) > max_length:
            raise FormatError(
                f"the prompt alone has {len(ids)} tokens and max_length is {max_length}: {problem[:60]!r}; "
                "raise max_length, or leave this problem out"
            )
        positions: list[int] = []
        prompt_length = len(ids)
        for index, step in enumerate(steps):
            step_ids = self.step_ids(step, tokenizer)
            if max_length is not None and len(ids) + len(step_ids) > max_length:
                return EncodedSolution(ids, positions, len(steps) - index, prompt_length)
            ids += step_ids
            positions.append(len(ids) - 1)
        return EncodedSolution(ids, positions, 0, prompt_length)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> StepFormat:
        return cls(prompt=PromptFormat(**row["prompt"]), step_separator=row["step_separator"])
