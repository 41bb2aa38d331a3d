"""What a judge is asked, and what it said: the prompt from its template, the form of a verdict, and a reply read as a
verdict or as the reason why it is none. Asking is `data_gen.judge`'s business."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from prm.errors import ConfigError, MissingFileError
from prm.rollouts import Cost

DEFAULT_TEMPLATE = Path(__file__).parent / "prompts" / "judge.txt.j2"

VERDICT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "index": {"type": "integer"},
                    "reason": {"type": "string"},
                    "correct": {"type": "boolean"},
                },
                "required": ["index", "reason", "correct"],
                "additionalProperties": False,
            },
        },
        "first_error": {"type": "integer"},
    },
    "required": ["steps", "first_error"],
    "additionalProperties": False,
}


class VerdictStatus(StrEnum):
    """What became of a vote. All but `decided` leave the steps undecided."""

    DECIDED = "decided"
    REFUSED = "refused"
    TRUNCATED = "truncated"
    UNPARSABLE = "unparsable"
    CONTRADICTORY = "contradictory"


@dataclass(frozen=True)
class Verdict:
    """One vote on a solution.

    Attributes:
        correct: by step; `None` where the vote does not say.
        text: what the judge wrote, to the letter.
        cost: what the vote cost.
    """

    status: VerdictStatus
    correct: tuple[bool | None, ...]
    text: str
    cost: Cost

    @property
    def first_error(self) -> int | None:
        """Index of the first wrong step, -1 if all are right, `None` where nothing was decided."""
        if self.status is not VerdictStatus.DECIDED:
            return None
        return self.correct.index(False) if False in self.correct else -1


@dataclass(frozen=True)
class JudgeTemplate:
    """A Jinja2 template of the judge's prompt, which is filled with `problem`, `steps` (a list) and `answer` (`None`
    unless the judge is shown the reference).

    Raises:
        ConfigError: it is no template, or leaves out the problem or the steps.
    """

    text: str
    name: str = "the judge's prompt"

    @classmethod
    def load(cls, path: str | Path = "") -> JudgeTemplate:
        """Read a template's file; by default the one that comes with this package.

        Raises:
            MissingFileError: no such file.
            ConfigError: see the class.
        """
        file = Path(path) if path else DEFAULT_TEMPLATE
        if not file.is_file():
            raise MissingFileError("no such prompt template", path=file, remedy="Check judge_prompt")
        try:
            return cls(file.read_text(encoding="utf-8"), str(file))
        except UnicodeDecodeError:
            raise ConfigError(f"{file}: not UTF-8 text; re-save it as UTF-8") from None

    def __post_init__(self) -> None:
        from jinja2 import TemplateError, meta

        try:
            names = meta.find_undeclared_variables(self._environment.parse(self.text))
        except TemplateError as error:
            raise ConfigError(f"{self.name}: not a Jinja2 template ({error})") from None
        if missing := {"problem", "steps"} - names:
            raise ConfigError(f"{self.name}: never uses {', '.join(sorted(missing))}, so there is nothing to judge")
        if unknown := names - {"problem", "steps", "answer"}:
            raise ConfigError(f"{self.name}: uses {', '.join(sorted(unknown))}; there are problem, steps and answer")

    @property
    def shows_answer(self) -> bool:
        """Whether it has a place for the reference answer."""
        from jinja2 import meta

        return "answer" in meta.find_undeclared_variables(self._environment.parse(self.text))

    @property
    def hash(self) -> str:
        """12 hex digits of its text."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    @cached_property
    def _environment(self) -> Any:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        return ImmutableSandboxedEnvironment(undefined=StrictUndefined)

    def fill(self, problem: str, steps: Sequence[str], answer: str | None) -> str:
        """The prompt for one solution.

        Raises:
            ConfigError: the template fails on it.
        """
        from jinja2 import TemplateError

        try:
            filled = self._environment.from_string(self.text).render(problem=problem, steps=list(steps), answer=answer)
        except TemplateError as error:
            raise ConfigError(f"{self.name}: {error}") from None
        return str(filled)


def read_verdict(record: Mapping[str, Any], n_steps: int) -> Verdict:
    """A vote as the ledger keeps it (`text`, `refusal`, `finish_reason` and token counts), read for a solution of
    `n_steps` steps."""
    text, nothing = record["text"], (None,) * n_steps
    cost = Cost(record["generated"], record["prefilled"], record["cached"])
    if record["refusal"] or record["finish_reason"] == "content_filter":
        return Verdict(VerdictStatus.REFUSED, nothing, text, cost)
    try:
        correct, stated = _parsed(text, n_steps)
    except (ValueError, RecursionError):
        cut = record["finish_reason"] == "length"
        return Verdict(VerdictStatus.TRUNCATED if cut else VerdictStatus.UNPARSABLE, nothing, text, cost)
    found = correct.index(False) if False in correct else -1
    if found != stated:
        return Verdict(VerdictStatus.CONTRADICTORY, nothing, text, cost)
    return Verdict(VerdictStatus.DECIDED, correct, text, cost)


def _parsed(text: str, n_steps: int) -> tuple[tuple[bool | None, ...], int]:
    """Each step's verdict and the stated first error. Steps behind the first wrong one may be missing.

    Raises:
        ValueError: not a verdict on so many steps.
    """
    reply = json.loads(_json_part(text))
    if not isinstance(reply, dict) or not isinstance(reply.get("steps"), list):
        raise ValueError("no steps")
    correct: list[bool | None] = [None] * n_steps
    for entry in reply["steps"]:
        index = entry.get("index") if isinstance(entry, dict) else None
        if type(index) is not int or not 0 <= index < n_steps or correct[index] is not None:
            raise ValueError("an entry is for no step, or for one that has a verdict")
        if type(entry.get("correct")) is not bool:
            raise ValueError("an entry has no verdict")
        correct[index] = entry["correct"]
    stated = reply.get("first_error")
    needed = correct[: correct.index(False)] if False in correct else correct
    if type(stated) is not int or None in needed:
        raise ValueError("no first error, or a step before it without a verdict")
    return tuple(correct), stated


def _json_part(text: str) -> str:
    """The JSON object in a reply, which some models put into a fence or behind their reasoning."""
    _, thought, after = text.rpartition("</think>")
    text = after if thought else text
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        raise ValueError("no JSON object")
    return text[start : end + 1]
