"""How a problem and its steps become token ids, and which positions carry a score.

One object serves training and scoring, so that both see the same ids (DESIGN.md, decisions 2 and 5): every step is
encoded by itself, followed by the separator's own ids, and a prefix's ids never change when a step is added. What the
scores mean is `prm.scoring_spec`'s; splitting text into steps is `prm.splitting`'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from prm.errors import ConfigError, FormatError

# The day that a chat template which writes the date is told it is: the one that Llama's falls back to.
TODAY = datetime(2024, 7, 26)
_HERE = "<the turn goes on here>"  # marks a place in a rendered chat; no template reads it
_DATE_CODES = [f"%{letter}" for letter in "aAbBdejmyYFHIMSp"]


@dataclass(frozen=True)
class PromptFormat:
    """The text before the first step.

    Attributes:
        template: the prompt, or the user's turn, with `{problem}` in it.
        chat: render it as the user's turn of the tokenizer's chat template, ready for the assistant's answer.
        system: the system turn; empty for none. Chat only.
        bos: begin with the tokenizer's BOS token, whether it does so by itself or not.
    """

    template: str = "{problem}\n"
    chat: bool = False
    system: str = ""
    bos: bool = False

    def __post_init__(self) -> None:
        if "{problem}" not in self.template:
            raise ConfigError(f"the prompt template {self.template!r} has no {{problem}} in it")
        if self.system and not self.chat:
            raise ConfigError("a system prompt needs a chat template: set chat to true, or drop the system prompt")

    def text(self, problem: str, tokenizer: Any, *, open_turn: bool = False) -> str:
        """The prompt as text; in a chat template it is always the 26th of July 2024.

        Args:
            open_turn: of a chat, end with the problem: the user's turn goes on.

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
        turns.append({"role": "user", "content": content + (_HERE if open_turn else "")})
        text = rendered(turns, tokenizer, add_generation_prompt=not open_turn)
        return text[: text.index(_HERE)] if open_turn else text

    def ids(self, problem: str, tokenizer: Any, *, open_turn: bool = False) -> list[int]:
        """The prompt's token ids. A tokenizer that begins its texts with a BOS token does so here too; a chat
        template writes its own. `open_turn` as in `text`."""
        ids = encode_plain(tokenizer, self.text(problem, tokenizer, open_turn=open_turn))
        bos = tokenizer.bos_token_id
        if bos is None or ids[:1] == [bos]:
            return ids
        begins = self.bos or (not self.chat and tokenizer("a").input_ids[:1] == [bos])
        return [bos, *ids] if begins else ids


def rendered(turns: list[dict[str, str]], tokenizer: Any, *, add_generation_prompt: bool = False) -> str:
    """Turns of a chat as the tokenizer's template writes them, on the same day every day."""
    template = tokenizer.get_chat_template()
    return str(
        tokenizer.apply_chat_template(
            turns,
            chat_template=stopped_clock(template) + template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    )


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
    """A prompt, the texts around each step, and the rule that the last token of the separator after a step carries its
    score. Our own verifiers need a prompt and a separator; the other fields are for the formats of published ones.

    Attributes:
        step_separator: the text after each step; its last token carries the score.
        before_first: text between the prompt and the first step, in one piece with that step.
        between: text between a step's separator and the next step, in one piece with that step.
        closing: the text after the last step, in the place of the separator; its last token carries the score of the
            whole solution. For outcome models, whose separator carries none.
        split_on: what separates the steps of a generator's text; empty: the separator does.
        turn_answer: each step is a turn of the user's that the assistant answers with this text; `step_separator` and
            `between` are then what the tokenizer's chat template writes around it, the score where the answer is
            predicted. Needs a chat prompt.
        whole_text: encode a solution in one piece, and find each step's score by the characters that its separator
            ends with: for tokenizers that write a space before every text (sentencepiece's dummy prefix), where
            pieces would be other ids.
    """

    prompt: PromptFormat = field(default_factory=PromptFormat)
    step_separator: str = "\n"
    before_first: str = ""
    between: str = ""
    closing: str = ""
    split_on: str = ""
    turn_answer: str = ""
    whole_text: bool = False

    def __post_init__(self) -> None:
        if not self.step_separator and not self.turn_answer:
            raise ConfigError("the step separator is empty; a PRM needs a token to put its score on")
        if self.turn_answer and not self.prompt.chat:
            raise ConfigError("turn_answer makes turns of a chat out of steps: set chat to true in the prompt")

    @property
    def text_separator(self) -> str:
        """What separates the steps in a text: there it is split, and a generator stops."""
        return self.split_on or self.step_separator

    @property
    def kept_from_steps(self) -> str:
        """What must not occur in a step: the separator, by which plain loaders find scores; of a format whose texts
        are split on more than one separator ("\\n" in "\\n\\n"), that, for its authors count tokens."""
        separator = self.step_separator
        return self.split_on if separator and separator in self.split_on else separator

    def prompt_ids(self, problem: str, tokenizer: Any) -> list[int]:
        """Token ids of everything before the first step and the text that belongs to it."""
        return self.prompt.ids(problem, tokenizer, open_turn=bool(self.turn_answer))

    def step_ids(self, step: str, tokenizer: Any, *, first: bool = True) -> list[int]:
        """Token ids of one step with the text before it and the separator after it.

        Args:
            first: it is the first step of its solution; without texts before steps that makes no difference.

        Raises:
            FormatError: the step is blank, or the separator occurs in it; or steps of this format have no ids of
                their own (`whole_text`).
        """
        if self.whole_text:
            raise FormatError("this format encodes a solution as one text; a step by itself has no ids")
        separator, between = self._around(tokenizer)
        return self._step_ids(self.before_first if first else between, step, separator, tokenizer)

    def _step_ids(self, before: str, step: str, after: str, tokenizer: Any) -> list[int]:
        self._check_step(step)
        return encode_plain(tokenizer, before + step) + encode_plain(tokenizer, after)

    def encode(
        self, problem: str, steps: Sequence[str], tokenizer: Any, *, max_length: int | None = None
    ) -> EncodedSolution:
        """Encode a problem and its steps.

        Args:
            max_length: drop whole steps from the end until the ids fit; `n_dropped` says how many.

        Raises:
            FormatError: a step cannot be encoded, or the prompt alone is longer than `max_length`.
        """
        ids = self.prompt_ids(problem, tokenizer)
        if max_length is not None and len(ids) > max_length:
            raise FormatError(
                f"the prompt alone has {len(ids)} tokens and max_length is {max_length}: {problem[:60]!r}; "
                "raise max_length, or leave this problem out"
            )
        if self.whole_text:
            return self._encode_whole(problem, steps, tokenizer, len(ids), max_length)
        positions: list[int] = []
        prompt_length = len(ids)
        for index, (before, step, after) in enumerate(self._pieces(steps, tokenizer)):
            step_ids = self._step_ids(before, step, after, tokenizer)
            if max_length is not None and len(ids) + len(step_ids) > max_length:
                return EncodedSolution(ids, positions, len(steps) - index, prompt_length)
            ids += step_ids
            positions.append(len(ids) - 1)
        return EncodedSolution(ids, positions, 0, prompt_length)

    def _encode_whole(
        self, problem: str, steps: Sequence[str], tokenizer: Any, prompt_length: int, max_length: int | None
    ) -> EncodedSolution:
        text, ends = self.prompt.text(problem, tokenizer, open_turn=bool(self.turn_answer)), []
        for before, step, after in self._pieces(steps, tokenizer):
            self._check_step(step)
            text += before + step + after
            ends.append(len(text))
        encoded = tokenizer(text, add_special_tokens=not self.prompt.chat, return_offsets_mapping=True)
        token_ends = [end for _, end in encoded["offset_mapping"]]
        positions = [bisect_left(token_ends, end) for end in ends]
        kept = [p for p in positions if max_length is None or p < max_length]
        ids = list(encoded["input_ids"])[: kept[-1] + 1 if kept else prompt_length]
        return EncodedSolution(ids, kept, len(steps) - len(kept), prompt_length)

    def _pieces(self, steps: Sequence[str], tokenizer: Any) -> Iterator[tuple[str, str, str]]:
        """Each step with the text before it and the text after it."""
        separator, between = self._around(tokenizer)
        for index, step in enumerate(steps):
            last = index == len(steps) - 1
            yield between if index else self.before_first, step, self.closing if last and self.closing else separator

    def _around(self, tokenizer: Any) -> tuple[str, str]:
        """The separator after a step, and the text between it and the next step."""
        if not self.turn_answer:
            return self.step_separator, self.between
        return turn_texts(tokenizer, self.turn_answer)

    def _check_step(self, step: str) -> None:
        if not step.strip():
            raise FormatError("a step is blank; drop it, or split the text with another splitter")
        if (separator := self.kept_from_steps) and separator in step:
            raise FormatError(
                f"the step {step[:60]!r} contains the separator {separator!r}; "
                "choose another step_separator, or split the solution by it"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> StepFormat:
        """Inverse of `to_dict`."""
        return cls(**{**row, "prompt": PromptFormat(**row["prompt"])})


def turn_texts(tokenizer: Any, answer: str) -> tuple[str, str]:
    """What a chat template writes between a user's turn and the assistant's `answer`, and from that answer on to the
    next turn's text."""
    first, second = "<first turn>", "<second turn>"
    turns = [
        {"role": "user", "content": first},
        {"role": "assistant", "content": answer},
        {"role": "user", "content": second},
    ]
    text = rendered(turns, tokenizer)
    between = text[text.index(first) + len(first) : text.index(second)]
    at = between.rindex(answer)
    return between[:at], between[at:]
