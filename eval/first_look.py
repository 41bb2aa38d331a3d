"""A look at the first samples of a run, while there is time to stop it: whether they have the steps that its PRMs were
trained on, and answers. What is wrong with all samples shows in a few; drawing the others may take hours."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from prm.report.formatting import percent
from prm.rollouts import Rollout

from .models import NamedVerifier
from .sampling import GradedRollouts
from .steps import steps_of

ALARMING_SHARE = 0.5
"""Of the solutions without a separator: where most are a single step, a PRM has little to tell steps apart by."""


class FirstLook:
    """Warns once, whatever it is given after the first samples.

    Args:
        verifiers: of the run, without its ensembles; those that score steps are asked for their separator.
        recorded: the samples are someone else's, and may have been split otherwise than by a separator.
    """

    def __init__(self, verifiers: Iterable[NamedVerifier] = (), *, recorded: bool = False):
        self.recorded, self._done = recorded, False
        self._readers: dict[str, list[str]] = {}
        for named in verifiers:
            if named.spec.kind == "prm":
                self._readers.setdefault(named.spec.step_format.text_separator, []).append(named.source)

    def at(self, graded: Sequence[GradedRollouts]) -> None:
        """Look at these samples, unless others were looked at before."""
        rollouts = [rollout for one in graded for rollout in one.rollouts]
        if self._done or not rollouts:
            return
        self._done = True
        if all(rollout.pred is None for rollout in rollouts):
            _warn(
                f"none of the first {len(rollouts):,} samples has an answer that could be extracted; check the prompt "
                "and max_new_tokens"
            )
        written = [rollout for rollout in rollouts if rollout.text.strip()]
        for separator, names in self._readers.items():
            self._check_steps(written, separator, ", ".join(names))

    def _check_steps(self, rollouts: Sequence[Rollout], separator: str, names: str) -> None:
        single = sum(len(steps_of(rollout, separator, recorded=self.recorded)) < 2 for rollout in rollouts)
        if single <= ALARMING_SHARE * len(rollouts):
            return
        _warn(
            f"{single:,} of the first {len(rollouts):,} solutions ({percent(single / len(rollouts))}) have no step "
            f"separator {separator!r} of {names} in them, and are scored as a single step each: there are no steps to "
            "tell apart, and none for a tree search to choose. Check the generator's prompt (prompt_template, chat) "
            "and stop, or use a verifier trained on this generator's step format"
        )


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)
