"""The tree of one problem that OmegaPRM grows (Luo et al., arXiv 2406.06592, section 3.3): what it holds, what it
knows of a prefix, and which rollout to search next.

A state is a prefix with completions of its own; the root is the empty one, and its completions are the rollouts that
the problem came with. Every completion is a path: a whole solution that begins with its state's steps. The search
itself is `data_gen.omega`'s, what the tree says of every step `data_gen.omega_labels`'.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from prm.errors import ConfigError
from prm.problems import Problem
from prm.rollouts import Cost, Outcome, Rollout

from .prefixes import Prefix, PrefixResult


@dataclass(frozen=True)
class OmegaRule:
    """The constants of the search; the defaults are the paper's (section 4).

    Attributes:
        k: completions of a state.
        searches: rollouts searched in one problem's tree at most.
        alpha: below 1 prefers wrong rollouts of states that are mostly solved.
        beta: below 1 prefers short rollouts.
        length_scale: tokens after which `beta` has worked once (L).
        c_puct: how much a state that was seldom visited is preferred.
    """

    k: int = 8
    searches: int = 100
    alpha: float = 0.5
    beta: float = 0.9
    length_scale: float = 500
    c_puct: float = 0.125

    def __post_init__(self) -> None:
        if self.k < 2 or self.searches < 0:
            raise ConfigError(
                "omega needs n of at least 2 (one completion is always or never right), searches from 0 up"
            )
        if not (0 < self.alpha <= 1 and 0 < self.beta <= 1 and self.length_scale > 0 and self.c_puct >= 0):
            raise ConfigError("omega needs 0 < alpha, beta <= 1, length_scale above 0 and c_puct from 0 up")

    def value(self, mc: float, tokens: int) -> float:
        """Q(s, r) = alpha^(1 - MC(s)) * beta^(len(r) / L), of a rollout with so many tokens behind its state."""
        return float(self.alpha ** (1 - mc) * self.beta ** (tokens / self.length_scale))

    def bonus(self, visits: int, all_visits: int) -> float:
        """U(s) = c_puct * sqrt(sum of N) / (1 + N(s))."""
        return self.c_puct * math.sqrt(all_visits) / (1 + visits)


@dataclass(frozen=True)
class Path:
    """A rollout of the tree.

    Attributes:
        rollout: the whole solution.
        outcome: as graded; `None` where it is truncated.
        prefixes: the text up to the gap behind each step, one per step.
        start: the steps of the state it was sampled from.
        tokens: of what was sampled.
        cost: what labelling spent on it; nothing where it was given.
    """

    rollout: Rollout
    outcome: Outcome | None
    prefixes: tuple[str, ...]
    start: int
    tokens: int
    cost: Cost = field(default_factory=Cost)

    @property
    def text(self) -> str:
        """What tells it from other paths of its state."""
        return self.prefixes[-1] if self.prefixes else ""


@dataclass
class State:
    """A prefix with the completions drawn from it. `steps`, `gaps` and `prefixes` are the prefix's own; the last gap
    is the one behind its last step."""

    prefix: Prefix
    steps: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ("",)
    prefixes: tuple[str, ...] = ()
    result: PrefixResult = field(default_factory=PrefixResult)
    paths: list[Path] = field(default_factory=list)
    visits: int = 0

    @property
    def share(self) -> float:
        """The share of right ones among its own completions that are decided; 0 where none is."""
        outcomes = [path.outcome for path in self.paths]
        right = outcomes.count(Outcome.CORRECT)
        return right / max(1, right + outcomes.count(Outcome.WRONG))


def prefix_texts(steps: Sequence[str], gaps: Sequence[str]) -> tuple[str, ...]:
    """The text up to the gap behind each step, one per step."""
    texts, text = [], gaps[0]
    for step, gap in zip(steps, gaps[1:], strict=True):
        text += step + gap
        texts.append(text)
    return tuple(texts)


class Tree:
    """States by their texts, and all paths in the order in which they came."""

    def __init__(self, problem: Problem, rule: OmegaRule):
        self.problem, self.rule = problem, rule
        self.root = State(Prefix(problem.problem, problem.answer, ""))
        self.states = {"": self.root}
        self.paths: list[Path] = []
        self._solved: set[str] = set()  # the prefixes of all paths that reach the answer
        self._tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])  # wrong, right
        self._chosen: set[tuple[str, str]] = set()

    def add(self, state: State, path: Path) -> None:
        """Hang a path below the state it was sampled from."""
        state.paths.append(path)
        self.paths.append(path)
        if path.outcome not in (Outcome.CORRECT, Outcome.WRONG):
            return
        # It is a sample of its state and of every prefix behind it, but not of those before, which were passed by
        # nobody's choice.
        for text in ("", *path.prefixes)[path.start :]:
            self._tally[text][path.outcome is Outcome.CORRECT] += 1
        if path.outcome is Outcome.CORRECT:
            self._solved.update(("", *path.prefixes))

    def open_state(self, path: Path, depth: int) -> State:
        """A new state at the first steps of a path, which has no completions yet."""
        texts = path.prefixes[:depth]
        prefix = Prefix(self.problem.problem, self.problem.answer, texts[-1])
        state = State(prefix, path.rollout.steps[:depth], path.rollout.gaps[: depth + 1], texts)
        self.states[prefix.text] = state
        return state

    def mc(self, state: State) -> float | None:
        """The share of right ones among all paths known that pass the state, its own and those of states before it;
        `None` where none is decided. It moves whenever a path is added."""
        wrong, right = self._tally.get(state.prefix.text, (0, 0))
        return right / (wrong + right) if wrong + right else None

    def solvable(self, text: str) -> bool | None:
        """Whether a prefix can be carried on to the answer: yes if any path did, no if all its own completions failed,
        `None` if it is not known."""
        if text in self._solved:
            return True
        state = self.states.get(text)
        return False if state is not None and state.result.n_total else None

    def bounds(self, path: Path) -> tuple[int, int]:
        """How many steps of a wrong path are known to be solvable, and the fewest that are known not to be."""
        known, end = path.start, len(path.prefixes)
        for depth, text in enumerate(path.prefixes[: end - 1], start=1):
            solvable = self.solvable(text)
            if solvable is False:
                return known, depth
            if solvable:
                known = max(known, depth)
        return known, end

    def score(self, state: State, path: Path, all_visits: int) -> float:
        """Q + U of a candidate, by what is known now.

        Raises:
            ValueError: nothing is known of the state.
        """
        mc = self.mc(state)
        if mc is None:
            raise ValueError("a state without a decided path has no candidates")
        return self.rule.value(mc, path.tokens) + self.rule.bonus(state.visits, all_visits)

    def candidates(self) -> list[tuple[State, Path]]:
        """The wrong rollouts of states with 0 < MC < 1 that were not chosen before. They are gathered anew each time,
        so that a state whose MC has changed enters, moves or leaves at once."""
        return [
            (state, path)
            for state in self.states.values()
            if 0 < (self.mc(state) or 0) < 1
            for path in state.paths
            if path.outcome is Outcome.WRONG and (state.prefix.text, path.text) not in self._chosen
        ]

    def choose(self) -> tuple[State, Path] | None:
        """The best candidate, which is never chosen again; the first one of equals. One whose first error the tree
        knows already is passed over for good, and counts as no visit."""
        total = sum(state.visits for state in self.states.values())
        for state, path in sorted(self.candidates(), key=lambda pair: -self.score(pair[0], pair[1], total)):
            self._chosen.add((state.prefix.text, path.text))
            known, end = self.bounds(path)
            if end - known > 1:
                state.visits += 1
                return state, path
        return None
