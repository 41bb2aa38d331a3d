"""A run with an ensemble of its verifiers: the shared samples are not scored again, for the scores of the members are
there, in the store; live searches ask all members. The bill is the sum of the members' bills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from prm.rollouts import Cost

from .arena import EvalArena
from .cost import bill_of
from .ensemble import EnsembleVerifier, Formula, Member, Voice, combined, ensemble_spec
from .models import Lazy, ModelFacts, NamedVerifier
from .sample_store import Row
from .sampling import GradedRollouts
from .search.base import Candidates, Reading, StepVerifier
from .workshop import Workshop


def named_ensemble(name: str, formula: Formula, members: Sequence[NamedVerifier]) -> NamedVerifier:
    """The ensemble as a verifier of the run; its members are loaded when it first searches."""
    voices = [Voice(member.spec, member.aggregation) for member in members]
    facts = ModelFacts(
        name=name,
        key=formula.key([f"{member.facts.store_key} {member.aggregation}" for member in members]),
        num_parameters=sum(member.facts.num_parameters for member in members),
        keeps_state=all(member.facts.keeps_state for member in members),
        spec=ensemble_spec(voices),
    )

    def load() -> StepVerifier:
        loaded = [Member(member.verifier, voice) for member, voice in zip(members, voices, strict=True)]
        return EnsembleVerifier(name, formula.how, loaded)

    return NamedVerifier(name, name, Lazy(facts, load), "last")


class EnsembleArena(EvalArena):
    """The `Arena` of an ensemble.

    Args:
        members: the arenas of its members, in the formula's order.
    """

    def __init__(self, workshop: Workshop, named: NamedVerifier, formula: Formula, members: Sequence[EvalArena]):
        super().__init__(workshop, named)
        self.formula, self.members = formula, list(members)

    def composition(self) -> dict[str, Any]:
        """What it is made of, for the report's header: its formula, and what each member adds."""
        return {
            "formula": str(self.formula),
            "members": {
                member.name: {"kind": member.kind, "aggregation": member.need_named().aggregation}
                for member in self.members
            },
        }

    def probe(self, samples: int) -> list[Candidates]:
        return self._on(self.workshop.probing(samples)).samples()

    def only(self, indices: Sequence[int]) -> EvalArena:
        return self._on(self.workshop.only(indices))

    def _on(self, workshop: Workshop) -> EnsembleArena:
        members = [EvalArena(workshop, member.named) for member in self.members]
        return EnsembleArena(workshop, self.need_named(), self.formula, members)

    @cached_property
    def _score_rows(self) -> list[Row]:
        """What the members' scores come to; nothing of it is stored, for it takes no time."""
        rows = zip(*(member._score_rows for member in self.members), strict=True)
        return [
            {
                "scores": self._combined_scores(index),
                "readings": [reading for row in same for reading in row["readings"]],
                "seconds": sum(row["seconds"] for row in same),
            }
            for index, same in enumerate(rows)
        ]

    def _combined_scores(self, index: int) -> list[list[float] | None]:
        """The scores of every sample of a problem."""
        voices = [Voice(member.spec, member.need_named().aggregation) for member in self.members]
        scores: list[list[float] | None] = []
        for place, steps in enumerate(self.steps[index]):
            said = [(member.steps[index][place], member.step_scores[index][place]) for member in self.members]
            found = combined(self.formula.how, voices, steps, said)
            scores.append(list(found.scores) if found else None)
        return scores

    def _readings(self, index: int, row: Row) -> tuple[Reading, ...]:
        """What the members read, each at its own prices."""
        return tuple(
            reading for member in self.members for reading in member._readings(index, member._score_rows[index])
        )

    def _grown_candidates(self, graded: GradedRollouts, row: Row) -> Candidates:
        cost = replace(Cost(**row["cost"]), verifier_tokens=0, verifier_attended_tokens=0)
        bill = bill_of(cost, **self.workshop.generator_prices)
        parts = row.get("verifier_parts") or [(0, 0)] * len(self.members)  # nothing was scored
        for member, (tokens, attended) in zip(self.members, parts, strict=True):
            read = Cost(verifier_tokens=tokens, verifier_attended_tokens=attended)
            bill += bill_of(read, **member.verifier_prices)
        return replace(super()._grown_candidates(graded, row), generator_bill=bill)
