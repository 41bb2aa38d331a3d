"""The exact rule by which a published verifier is read, as text: what is written where, and which token carries what.

Nothing here is said twice: every line is made of the entry that the program reads by, so that neither can drift.
"""

from __future__ import annotations

from collections.abc import Sequence

from prm.public.entry import PublicFormat
from prm.step_format import StepFormat

EXAMPLE = ("{step 1}", "{step 2}")
Turn = tuple[str, str]


def turns(form: StepFormat, steps: Sequence[str] = EXAMPLE) -> list[Turn]:
    """What is written, by role: one `text`, or the turns that the tokenizer's chat template writes. `{problem}` stands
    for the problem."""
    prompt, system = form.prompt.template, [("system", form.prompt.system)] if form.prompt.system else []
    if form.turn_answer:
        texts = [prompt + form.before_first + steps[0], *steps[1:]]
        return [*system, *(turn for text in texts for turn in (("user", text), ("assistant", form.turn_answer)))]
    solution = form.before_first + (form.step_separator + form.between).join(steps)
    solution += form.closing or form.step_separator
    if not form.prompt.chat:
        return [("text", prompt + solution)]
    return [*system, ("user", prompt), ("assistant", solution)]


def rule_lines(entry: PublicFormat) -> list[str]:
    """The rule, for a solution of two steps. Texts are Python literals."""
    form = entry.step_format
    return [
        *(f"{role}: {text!r}" for role, text in turns(form)),
        f"ids: {_ids(form)}",
        f"score at: {_place(entry)}",
        f"score: {_score(entry)}",
        *([f"note: {entry.note}"] if entry.note else []),
    ]


def _ids(form: StepFormat) -> str:
    if form.prompt.chat:
        begin = "the tokenizer's chat template writes the turns and its own BOS"
    elif form.prompt.bos:
        begin = "BOS first"
    else:
        begin = "BOS first, where the tokenizer begins its texts with one"
    if form.whole_text:
        return f"{begin}; the whole text encoded in one call"
    return f"{begin}; the prompt, each step with the text before it, and each text after a step encoded by itself"


def _place(entry: PublicFormat) -> str:
    form = entry.step_format
    if form.turn_answer:
        return f"the last token before each answer {form.turn_answer!r}"
    if form.closing:
        return f"the last token of {form.closing!r} at the end"
    return f"the last token of the {_token(entry, form.step_separator)} after each step"


def _score(entry: PublicFormat) -> str:
    if entry.reward_tokens:
        wrong, correct = (_token(entry, token) for token in entry.reward_tokens)
        return f"of softmax over the next-token logits of {wrong} and {correct}, the share of {correct}"
    head = {"linear": "a linear head", "two_layers": "a head of linear, ReLU, linear"}[entry.layers]
    if entry.num_labels == 1:
        return f"sigmoid of the one logit of {head}"
    return f"of softmax over the two logits of {head}, the share of the second"


def _token(entry: PublicFormat, text: str) -> str:
    """A text with the id that its source gives for it, if it gives one."""
    return f"{text!r} (id {entry.token_ids[text]})" if text in entry.token_ids else repr(text)
