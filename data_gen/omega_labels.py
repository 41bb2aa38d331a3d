"""What OmegaPRM's tree says of the steps of its paths.

The paper labels the states alone. Most steps of a tree are no states, and of many of them the tree tells as much:

- a state has the counts of its own k completions, under the fixed rule; their soft value is unbiased;
- the last step of a finished path has its outcome k times, as `data_gen.monte_carlo` counts it;
- a prefix that a right path passes is 1, and what follows a state that no known path leads from to the answer is 0.
  Both are marked by the rule `implied`: they say what the hard label is and not how often, and have no soft value;
- of all others nothing is known.

Right paths are evidence where their state is solved about as often as the problem. A state that is solved far less
often has mostly lost its way, and the one completion in eight that reached the answer from there by a second mistake
would whitewash every wrong step it passed. And the root marks no step wrong: that a problem is never solved says
nothing of its steps.
"""

from __future__ import annotations

from prm.labels import IMPLIED_RULE, StepLabel
from prm.rollouts import Outcome
from prm.sampling_rules import FIXED_RULE

from .grading import FINISHED
from .omega_tree import Path, Tree
from .prefixes import NOTHING, PrefixResult

SOURCE = "omega"

_IN_DOUBT = 0.75  # times the problem's share of right rollouts: a state below it has lost its way


class TreeLabels:
    """Labels the paths of a tree that has been grown."""

    def __init__(self, tree: Tree):
        self.tree = tree
        least = _IN_DOUBT * tree.root.share
        trusted = [state for state in tree.states.values() if state.share >= least]
        self._passed = {
            text
            for state in trusted
            for path in state.paths
            if path.outcome is Outcome.CORRECT
            for text in path.prefixes
        }

    def __call__(self, path: Path) -> tuple[StepLabel, ...]:
        """One label per step."""
        labels, lost = [], False
        for depth, text in enumerate(path.prefixes, start=1):
            labels.append(self._label(text, self._result(path, depth), lost))
            lost = lost or self.tree.solvable(text) is False
        return tuple(labels)

    def _result(self, path: Path, depth: int) -> PrefixResult:
        """What completing the first steps of a path showed."""
        state = self.tree.states.get(path.prefixes[depth - 1])
        if state is not None:
            return state.result
        ended = depth == len(path.prefixes) and path.rollout.stop_reason in FINISHED
        return PrefixResult((path.outcome,) * self.tree.rule.k) if ended else NOTHING

    def _label(self, text: str, result: PrefixResult, lost: bool) -> StepLabel:
        counts = (result.n_correct, result.n_total, result.n_asked - result.n_total)
        if text in self._passed and not result.n_correct:
            return StepLabel(SOURCE, *counts, IMPLIED_RULE, 1.0)
        if lost and not result.n_total:
            return StepLabel(SOURCE, *counts, IMPLIED_RULE, 0.0)
        return StepLabel(SOURCE, *counts, FIXED_RULE)
