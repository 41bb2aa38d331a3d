"""Several verifiers as one: the mean, minimum, product or majority of what its members say.

    --prm_path prm=runs/prm orm=runs/orm both=mean(prm,orm)

Members are PRMs and ORMs, of any model and step format. They may split a text elsewhere, so that it is their
*aggregated* scores that are combined, not their scores of a step: each member's fold of everything up to a step. A
beginning is scored by the PRMs alone, for an ORM reads finished solutions; these are scored by all. The combination
itself is plain arithmetic on scores, wherever they come from: from models in a live search (`EnsembleVerifier`), or
from the store (`prm.eval.ensemble_arena`), which needs no model.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from prm.aggregation import Aggregation, aggregate
from prm.errors import ConfigError, FormatError
from prm.scoring_spec import ScoringSpec
from prm.verifier import StepScores

from .search.base import StepVerifier
from .search.sessions import Item, ScoringSession, scoring_session
from .steps import split_by

How = Literal["mean", "min", "product", "majority"]
HOWS: tuple[How, ...] = get_args(How)
_FORMULA = re.compile(rf"({'|'.join(HOWS)})\(([^()]*)\)")


@dataclass(frozen=True)
class Formula:
    """How an ensemble is written: `mean(prm,orm)`."""

    how: How
    members: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Formula | None:
        """The formula, or `None` for what is none (a path).

        Raises:
            ConfigError: fewer than two members, or one of them twice.
        """
        found = _FORMULA.fullmatch(text.strip())
        if not found:
            return None
        members = tuple(name.strip() for name in found[2].split(",") if name.strip())
        if len(members) < 2 or len(set(members)) < len(members):
            raise ConfigError(f"the ensemble {text} needs at least two different members, as in {found[1]}(prm,orm)")
        return cls(cast(How, found[1]), members)

    def key(self, member_keys: Sequence[str]) -> str:
        """What identifies the ensemble, given what identifies its members."""
        return hashlib.sha256("\0".join((self.how, *member_keys)).encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return f"{self.how}({','.join(self.members)})"


def split_ensembles(entries: Sequence[str]) -> tuple[list[str], dict[str, Formula]]:
    """The entries of `prm_path` that are paths, and the ensembles among them by name; one without a name is called by
    its formula."""
    paths, formulas = [], {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        formula = Formula.parse(text if equals else entry)
        if formula is None:
            paths.append(entry)
            continue
        name = name.strip() if equals else str(formula)
        if name in formulas:
            raise ConfigError(f"two ensembles are called {name!r}; name them apart")
        formulas[name] = formula
    return paths, formulas


def ensemble_keys(formulas: Mapping[str, Formula], keys: Mapping[str, str]) -> dict[str, str]:
    """What identifies each ensemble, given what identifies the verifiers.

    Raises:
        ConfigError: a member that is no verifier of the run, or an ensemble with the name of a verifier.
    """
    for name, formula in formulas.items():
        if name in keys:
            raise ConfigError(f"two verifiers are called {name!r}; name them apart: --prm_path {name}_both={formula}")
        for member in formula.members:
            if member not in keys:
                raise ConfigError(
                    f"the ensemble {name}={formula} has a member {member!r}, and the verifiers are "
                    f"{', '.join(keys) or 'none'}; name them in prm_path: {member}=PATH"
                )
    return {name: formula.key([keys[member] for member in formula.members]) for name, formula in formulas.items()}


@dataclass(frozen=True)
class Voice:
    """What is needed of a member to combine its scores: how they are read and folded."""

    spec: ScoringSpec
    aggregation: Aggregation

    @property
    def separator(self) -> str:
        return self.spec.step_format.text_separator

    @property
    def scores_steps(self) -> bool:
        return self.spec.kind == "prm"


@dataclass(frozen=True)
class EnsembleScores(StepScores):
    """Scores of an ensemble; `parts` are the tokens that each member read for them, and what these attend to."""

    parts: tuple[tuple[int, int], ...] = ()


def ensemble_spec(voices: Sequence[Voice]) -> ScoringSpec:
    """How an ensemble's scores are read: with the steps of a PRM, or as an ORM where it has none. Of several PRMs it
    is the first with the longest separator: a line break is still found within a step that ends with a blank line, but
    not the other way round. Its scores are folded already, so that the last one says everything; its threshold is the
    middle of its members'."""
    first = max([voice for voice in voices if voice.scores_steps] or voices, key=lambda voice: len(voice.separator))
    threshold = math.fsum(voice.spec.threshold for voice in voices) / len(voices)
    return replace(first.spec, aggregation="last", threshold=threshold, temperature=1.0)


def combine(how: How, scores: Sequence[float], thresholds: Sequence[float]) -> float:
    """One score from those of the members; `majority` is the share of members that accept, at their thresholds."""
    if how == "majority":
        return sum(score >= at for score, at in zip(scores, thresholds, strict=True)) / len(scores)
    if how == "mean":
        return math.fsum(scores) / len(scores)
    return min(scores) if how == "min" else math.prod(scores)


def combined(
    how: How,
    voices: Sequence[Voice],
    steps: Sequence[str],
    said: Sequence[tuple[Sequence[str], StepScores | None]],
) -> EnsembleScores | None:
    """The ensemble's scores of one solution: one for each of its steps, or a single one where all members are ORMs.

    Args:
        steps: as the ensemble splits the solution.
        said: for each member that was asked, the steps as it splits them, and what it scored; `None` where it could
            not read the solution, for then the ensemble cannot either.
    """
    folded: list[list[float]] = [[] for _ in range(max(1, len(steps)))]
    thresholds: list[list[float]] = [[] for _ in folded]
    for voice, (own_steps, found) in zip(voices, said, strict=True):
        if found is None:
            return None
        for place, score in _folds(voice, steps, own_steps, found.scores):
            folded[place].append(score)
            thresholds[place].append(voice.spec.threshold)
    spoken = [(scores, at) for scores, at in zip(folded, thresholds, strict=True) if scores]
    answers = [found for _, found in said if found is not None]
    return EnsembleScores(
        tuple(combine(how, scores, at) for scores, at in spoken),
        sum(found.tokens for found in answers),
        sum(found.attended for found in answers),
        tuple((found.tokens, found.attended) for found in answers),
    )


def _folds(
    voice: Voice, steps: Sequence[str], own_steps: Sequence[str], scores: Sequence[float]
) -> Iterable[tuple[int, float]]:
    """What a member says of the solution up to each of the ensemble's steps. An ORM speaks at the last; a PRM with
    other steps has read, by the end of a step, its own steps that end no later, and one at least."""
    if not voice.scores_steps:
        return [(max(0, len(steps) - 1), scores[-1])]
    read = _read_by(steps, own_steps)
    return [(place, aggregate(scores[:count], voice.aggregation)) for place, count in enumerate(read)]


def _read_by(steps: Sequence[str], own_steps: Sequence[str]) -> list[int]:
    """How many of a member's steps lie before the end of each step; both split the same text, whitespace aside."""
    if tuple(steps) == tuple(own_steps):
        return list(range(1, len(steps) + 1))
    ends = _ends(own_steps)
    counts = [max(1, sum(end <= until for end in ends)) for until in _ends(steps)]
    return [*counts[:-1], len(own_steps)]


def _ends(steps: Sequence[str]) -> list[int]:
    """Where each step ends, in characters that are no whitespace, for separators are dropped differently."""
    ends, at = [], 0
    for step in steps:
        at += len("".join(step.split()))
        ends.append(at)
    return ends


@dataclass(frozen=True)
class Member:
    """A verifier in an ensemble."""

    verifier: StepVerifier
    voice: Voice

    @classmethod
    def of(cls, verifier: StepVerifier, aggregation: Aggregation | None = None) -> Member:
        """A verifier with its own aggregation, or another."""
        return cls(verifier, Voice(verifier.spec, aggregation or verifier.spec.aggregation))


class EnsembleVerifier:
    """A `StepVerifier` made of others, for live search and for the Python API.

        EnsembleVerifier("both", "mean", [Member.of(prm), Member.of(orm)])

    `num_parameters` is the sum over members, for all of them run; what an ensemble costs is counted member by member
    (`EnsembleScores.parts`). Its steps are those of one of its PRMs (`ensemble_spec`).
    """

    def __init__(self, name: str, how: How, members: Sequence[Member]):
        if how not in HOWS:
            raise ConfigError(f"an ensemble is one of {', '.join(HOWS)}, not {how!r}")
        self.name, self.how, self.members = name, how, list(members)
        self.spec = ensemble_spec([member.voice for member in members])
        self.num_parameters = sum(member.verifier.num_parameters for member in members)

    def score_solutions(
        self, items: Sequence[tuple[str, Sequence[str]]], progress: Callable[[int], None] | None = None
    ) -> list[StepScores]:
        """Score finished solutions with every member.

        Raises:
            FormatError: a solution that one of the members cannot read.
        """
        found = self.session().score_finished([(problem, tuple(steps)) for problem, steps in items])
        if progress:
            progress(len(items))
        for (problem, _), scores in zip(items, found, strict=True):
            if scores is None:
                raise FormatError(f"a member of the ensemble {self.name} cannot read a solution of {problem[:60]!r}")
        return [scores for scores in found if scores is not None]

    def session(self) -> EnsembleSession:
        """Its members' sessions, asked as one."""
        return EnsembleSession(self)


class EnsembleSession:
    """A `ScoringSession` over those of the members. `score` is for beginnings, `score_finished` for solutions."""

    def __init__(self, ensemble: EnsembleVerifier):
        self.how, self.separator = ensemble.how, ensemble.spec.step_format.text_separator
        self.voices = [member.voice for member in ensemble.members]
        self.sessions: list[ScoringSession] = [scoring_session(member.verifier) for member in ensemble.members]
        self.keeps_state = all(session.keeps_state for session in self.sessions)

    @property
    def peak_cache_bytes(self) -> int:
        return sum(session.peak_cache_bytes for session in self.sessions)

    def score(self, items: Sequence[Item]) -> list[StepScores | None]:
        return self._ask(items, [place for place, voice in enumerate(self.voices) if voice.scores_steps])

    def score_finished(self, items: Sequence[Item]) -> list[StepScores | None]:
        return self._ask(items, range(len(self.voices)))

    def retain(self, items: Iterable[Item]) -> None:
        kept = list(items)
        for voice, session in zip(self.voices, self.sessions, strict=True):
            session.retain([self._as_read_by(voice, item) for item in kept] if voice.scores_steps else [])

    def _ask(self, items: Sequence[Item], places: Iterable[int]) -> list[StepScores | None]:
        places = list(places)
        answers = []
        for place in places:
            own = [self._as_read_by(self.voices[place], item) for item in items]
            answers.append([(steps, f) for (_, steps), f in zip(own, self.sessions[place].score(own), strict=True)])
        voices = [self.voices[place] for place in places]
        found: list[StepScores | None] = []
        for (_, steps), said in zip(items, zip(*answers, strict=True), strict=True):
            scores = combined(self.how, voices, steps, said)
            found.append(replace(scores, parts=self._spread(places, scores.parts)) if scores else None)
        return found

    def _spread(self, places: Sequence[int], parts: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
        """One part for each member; nothing for those that were not asked."""
        asked = dict(zip(places, parts, strict=True))
        return tuple(asked.get(place, (0, 0)) for place in range(len(self.voices)))

    def _as_read_by(self, voice: Voice, item: Item) -> Item:
        problem, steps = item
        if voice.separator == self.separator:
            return item
        return problem, split_by(self.separator.join(steps), voice.separator).steps
