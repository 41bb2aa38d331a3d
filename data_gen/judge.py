"""Step labels by a language model that reads the solution: each vote marks every step, through the chat API.

The judge is shown the problem and the steps (the reference answer only if asked for) and replies with structured
output. A vote that is refused, cut off, unreadable or contradicts itself stays what it is: its text is kept in the
ledger, it is counted, and it decides nothing. Votes are keyed by the whole request, so that a killed run asks none
twice, and read anew each time, so that a better reading costs nothing. The prompt and the form of a verdict are
`data_gen.verdicts`', how requests travel is `prm.generation.http_client`'s.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from prm.errors import ConfigError
from prm.generation.base import request_seed
from prm.generation.completions_api import server_seed
from prm.generation.http_client import HttpClient
from prm.generation.http_policy import FailedAttempt
from prm.generation.http_wire import plain_text
from prm.generation.options import ServerOptions
from prm.jsonl import dumps
from prm.labels import LabelledRollout, StepLabel
from prm.ledger import Ledger
from prm.rollouts import Cost, Rollout

from .verdicts import VERDICT_SCHEMA, JudgeTemplate, Verdict, VerdictStatus, read_verdict

SOURCE = "judge"


@dataclass(kw_only=True)
class JudgeOptions(ServerOptions):
    """Options of the `judge` labeler, beside those of the servers."""

    judge_model: str = field(default="", metadata={"help": "judge: the model's name on its servers"})
    judge_urls: list[str] = field(
        default_factory=list, metadata={"help": "judge: base URLs of its servers; by default endpoint_urls"}
    )
    judge_api_key_env: str = field(
        default="", metadata={"help": "judge: the environment variable with the key of judge_urls"}
    )
    judge_prompt: str = field(
        default="", metadata={"help": "judge: a file with another prompt, a Jinja2 template over problem and steps"}
    )
    judge_sees_answer: bool = field(default=False, metadata={"help": "judge: show it the reference answer"})
    n_votes: int = field(default=1, metadata={"help": "judge: votes on each solution; the majority decides"})
    judge_temperature: float = field(
        default=0.0, metadata={"help": "judge: its sampling temperature; several votes need more than 0"}
    )
    judge_max_tokens: int = field(default=4096, metadata={"help": "judge: tokens after which a vote is cut off"})


class JudgeLabeler:
    """A `Labeler` that asks a language model.

    Args:
        client: the connection to the judge's servers.
        model: its name there.
        template: the prompt.
        n_votes: votes on each solution; a step's value is the share of them that call it right.
        temperature, max_tokens: how a vote is sampled.
        seed: another seed draws other votes.
        sees_answer: whether the reference answer is shown.
        ledger: keeps the votes over a kill; `None` keeps none.
        progress: advanced as votes are there.

    After `label`, `verdicts` holds each rollout's votes, in order.
    """

    def __init__(
        self,
        client: HttpClient,
        *,
        model: str,
        template: JudgeTemplate,
        n_votes: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 4096,
        seed: int = 0,
        sees_answer: bool = False,
        ledger: Ledger | None = None,
        progress: Callable[[int], None] | None = None,
    ):
        if not model:
            raise ConfigError("missing judge_model: give the judge's name on its servers")
        if n_votes < 1 or temperature < 0 or max_tokens < 1:
            raise ConfigError("n_votes and judge_max_tokens must be positive, judge_temperature not negative")
        if n_votes > 1 and temperature == 0:
            raise ConfigError(f"judge_temperature 0 gives the same vote n_votes={n_votes} times; raise it")
        if sees_answer and not template.shows_answer:
            raise ConfigError(f"{template.name}: has no place for the answer that judge_sees_answer asks for")
        self.client, self.model, self.template = client, model, template
        self.n_votes, self.temperature, self.max_tokens, self.seed = n_votes, temperature, max_tokens, seed
        self.sees_answer, self.ledger, self.progress = sees_answer, ledger, progress or (lambda count: None)
        self.verdicts: list[tuple[Verdict, ...]] = []
        self._kept: dict[str, Mapping[str, Any]] = {}  # in the place of a ledger

    def label(self, rollouts: Sequence[Rollout]) -> list[LabelledRollout]:
        """One labelled rollout a rollout, in order. Equal solutions are judged once, at the cost of the first.

        Raises:
            EndpointError: a server refuses, or fails too often; the votes that are there are kept.
            ConfigError: the template fails on a solution.
        """
        keys = [[vote_key(body) for body in self._bodies(rollout)] for rollout in rollouts]
        self._ask(keys, rollouts)
        self.verdicts = [
            tuple(read_verdict(self._found(key), len(rollout.steps)) for key in votes)
            for votes, rollout in zip(keys, rollouts, strict=True)
        ]
        paid: set[str] = set()
        labelled = []
        for rollout, votes, verdicts in zip(rollouts, keys, self.verdicts, strict=True):
            costs = [verdict.cost for key, verdict in zip(votes, verdicts, strict=True) if key not in paid]
            paid.update(votes)
            labelled.append(LabelledRollout(rollout, _labels(verdicts, len(rollout.steps)), sum(costs, Cost())))
        return labelled

    def summary(self) -> dict[str, Any]:
        """What became of the votes, ready for JSON: counts by `VerdictStatus`, and the share of solutions whose votes
        all name the same first error."""
        votes = Counter(verdict.status for verdicts in self.verdicts for verdict in verdicts)
        firsts = [{verdict.first_error for verdict in verdicts} for verdicts in self.verdicts]
        unanimous = sum(len(found) == 1 and None not in found for found in firsts)
        return {
            "model": self.model,
            "n_votes": self.n_votes,
            "votes": {status.value: votes[status] for status in VerdictStatus},
            "unanimous_share": unanimous / len(firsts) if firsts else None,
        }

    def _bodies(self, rollout: Rollout) -> list[dict[str, Any]]:
        """The requests of a rollout's votes."""
        answer = rollout.problem.answer if self.sees_answer else None
        prompt = self.template.fill(rollout.problem.problem, rollout.steps, answer)
        schema = {"name": "step_verdicts", "strict": True, "schema": VERDICT_SCHEMA}
        return [
            {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}],
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
                "seed": server_seed(request_seed(rollout.problem.problem, prompt, vote, self.seed)),
                "response_format": {"type": "json_schema", "json_schema": schema},
            }
            for vote in range(self.n_votes)
        ]

    def _ask(self, keys: Sequence[Sequence[str]], rollouts: Sequence[Rollout]) -> None:
        """Get the votes that are not there. Requests are built when they are sent, for they are long."""
        asked: dict[str, _Vote] = {}
        for votes, rollout in zip(keys, rollouts, strict=True):
            for number, key in enumerate(votes):
                if not self._has(key):
                    asked.setdefault(key, _Vote(key, rollout, number))
        if asked:
            self.client.get("/models")  # says at once where no server can be reached
        self.progress(sum(map(len, keys)) - len(asked))
        start = time.monotonic()
        with closing(self.client.stream(_VoteExchange(self), list(asked.values()))) as stream:
            for answers in stream:
                now = time.monotonic()
                self._keep(dict(answers), now - start)
                start = now
                self.progress(len(answers))

    def _has(self, key: str) -> bool:
        return key in (self._kept if self.ledger is None else self.ledger)

    def _found(self, key: str) -> Mapping[str, Any]:
        return self._kept[key] if self.ledger is None else self.ledger[key]

    def _keep(self, records: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
        if self.ledger is None:
            self._kept.update(records)
        else:
            self.ledger.append(records, seconds)


@dataclass(frozen=True)
class _Vote:
    key: str
    rollout: Rollout
    number: int


class _VoteExchange:
    """An `Exchange` whose jobs are votes, and whose results are their records by key."""

    path = "/chat/completions"

    def __init__(self, labeler: JudgeLabeler):
        self.labeler = labeler

    def affinity(self, job: _Vote) -> bytes:
        return job.rollout.problem.problem.encode()

    def body(self, job: _Vote) -> dict[str, Any]:
        return self.labeler._bodies(job.rollout)[job.number]

    def read(self, job: _Vote, answer: Any) -> tuple[list[tuple[str, dict[str, Any]]], list[_Vote]]:
        return [(job.key, vote_record(answer))], []


def vote_key(body: Mapping[str, Any]) -> str:
    """The ledger key of a vote: 32 hex digits of the whole request, model, prompt, sampling and seed."""
    return hashlib.sha256(dumps([SOURCE, body]).encode()).hexdigest()[:32]


def vote_record(answer: Any) -> dict[str, Any]:
    """What the ledger keeps of a chat completion: its text or refusal as they are, why it ended, and its tokens.

    Raises:
        FailedAttempt: there is no finished message in it.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise FailedAttempt("not an answer", f"{str(answer)[:80]!r} has no message")
    text, refusal, finish = message.get("content"), message.get("refusal"), choice.get("finish_reason")
    if finish not in ("stop", "length", "content_filter"):
        raise FailedAttempt("unfinished choice", f"finish_reason {finish!r}")
    if not all(isinstance(part, str | None) for part in (text, refusal)):
        raise FailedAttempt("malformed choice", "its content is not a text")
    usage = answer.get("usage") if isinstance(answer.get("usage"), dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = min(_count(details, "cached_tokens"), _count(usage, "prompt_tokens"))
    return {
        "text": plain_text(text or ""),
        "refusal": plain_text(refusal or ""),
        "finish_reason": finish,
        "generated": _count(usage, "completion_tokens"),
        "prefilled": _count(usage, "prompt_tokens") - cached,
        "cached": cached,
    }


def _count(usage: Any, name: str) -> int:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if type(value) is int and value > 0 else 0


def _labels(verdicts: Sequence[Verdict], n_steps: int) -> tuple[StepLabel, ...]:
    """A label per step: the share of the votes on it that call it right, unknown where there is none. The steps behind
    the first wrong one have what the votes say of them; what to make of those is curation's business."""
    labels = []
    for step in range(n_steps):
        votes = [verdict.correct[step] for verdict in verdicts if verdict.correct[step] is not None]
        share = sum(map(bool, votes)) / len(votes) if votes else None
        labels.append(StepLabel(SOURCE, n_undecided=len(verdicts) - len(votes), value=share))
    return tuple(labels)


def judge_settings(config: JudgeOptions) -> dict[str, Any]:
    """The settings of a run that the judge decides on, its prompt by content."""
    names = ("judge_model", "judge_sees_answer", "n_votes", "judge_temperature", "judge_max_tokens")
    return {name: getattr(config, name) for name in names} | {
        "judge_prompt": JudgeTemplate.load(config.judge_prompt).hash
    }


def build_judge(
    config: Any, ledger: Ledger | None = None, progress: Callable[[int], None] | None = None
) -> JudgeLabeler:
    """The labeler that `JudgeOptions` (and a `seed`) describe. Nothing is asked yet, so that this checks the options.

    Raises:
        ConfigError, MissingFileError: options that cannot work.
    """
    if not (config.judge_urls or config.endpoint_urls):
        raise ConfigError("missing judge_urls: give the base URL of one of the judge's servers, and judge_model")
    return JudgeLabeler(
        HttpClient(config.server_settings(config.judge_urls, config.judge_api_key_env)),
        model=config.judge_model,
        template=JudgeTemplate.load(config.judge_prompt),
        n_votes=config.n_votes,
        temperature=config.judge_temperature,
        max_tokens=config.judge_max_tokens,
        seed=config.seed,
        sees_answer=config.judge_sees_answer,
        ledger=ledger,
        progress=progress,
    )
