"""What a reader of a run's numbers has to know beside them, in sentences: what was left out, what could not be read,
what is cut off, and how the models read. They stand below the terminal's table and in the report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prm.report.formatting import percent
from prm.rollouts import Rollout

from .sampling import UNFINISHED

if TYPE_CHECKING:
    from .prepare import Run

NOTED_SHARE = 0.01
"""Of the samples: fewer truncated ones hardly move a number, and the report's header counts them."""


def counts_of(run: Run) -> dict[str, int]:
    """Problems and samples of all seeds, and how many samples are truncated, without an answer, or took too long to
    be graded."""
    rollouts = _samples(run)
    outcomes = Counter(rollout.outcome.value for rollout in rollouts if rollout.outcome)
    return {
        "problems": len(run.workshop.problems),
        "samples": len(rollouts),
        "truncated": sum(rollout.stop_reason in UNFINISHED for rollout in rollouts),
        "no_answer": sum(rollout.pred is None for rollout in rollouts),
        "timeout": outcomes["timeout"],
    }


def notes_of(run: Run) -> list[str]:
    """The notes of a run whose methods have run."""
    notes = list(run.said_first)
    for arena in {arena.need_named().source: arena for arena in run.arenas}.values():
        unread = sum(1 for scores in arena.step_scores for found in scores if found is None)
        if unread:
            notes.append(
                f"{arena.need_named().source} could not read {unread} samples (no step in them, or longer than its "
                "max_length); they rank below every other"
            )
    return [*notes, *_about_models(run), *_about_samples(run)]


def _samples(run: Run) -> list[Rollout]:
    runs = (run, *run.repeats)
    return [rollout for one in runs for graded in one.workshop.samples for rollout in graded.rollouts]


def _about_models(run: Run) -> list[str]:
    """Who read whole prefixes at every step of a search, and who reads texts because its tokenizer is another."""
    prms = [arena.need_named().facts for arena in run.arenas if arena.name in run.guides and arena.kind == "prm"]
    generator = run.workshop.generator.facts if run.workshop.generator else None
    searched = any(strategy.live and strategy.kinds for strategy in run.strategies)
    notes = [
        f"{facts.name} keeps no state of a search here: it was given whole prefixes at every step, and they are billed"
        for facts in [*prms, *([generator] if generator else [])]
        if searched and not facts.keeps_state
    ]
    verifiers = {arena.need_named().source: arena.need_named().facts for arena in run.arenas}
    return notes + [
        f"{name} has another tokenizer than the generator: it reads the text, encoded anew, and is billed for its own "
        "tokens"
        for name, facts in verifiers.items()
        if generator and generator.vocabulary and facts.vocabulary not in ("", generator.vocabulary)
    ]


def _about_samples(run: Run) -> list[str]:
    """Truncated samples, where they are not few, and samples without any answer."""
    notes, rollouts = [], _samples(run)
    cut = [rollout for rollout in rollouts if rollout.stop_reason in UNFINISHED]
    if len(cut) >= NOTED_SHARE * len(rollouts) and cut:
        share = f"{len(cut):,} of {len(rollouts):,} samples ({percent(len(cut) / len(rollouts))})"
        where = "" if run.workshop.recorded else _where_cut(cut, run.config.max_new_tokens)
        notes.append(f"{share} are truncated: they have no answer, and count as wrong{where}")
    if all(rollout.pred is None for rollout in rollouts):
        notes.append("no sample has an answer that could be extracted; check the prompt and max_new_tokens")
    return notes


def _where_cut(cut: list[Rollout], limit: int) -> str:
    """What ended them, and what helps."""
    at_limit = sum(rollout.cost.generated_tokens >= limit for rollout in cut)
    parts = [f"{at_limit:,} ended at max_new_tokens={limit}, so raise it"] if at_limit else []
    if at_limit < len(cut):
        parts.append(
            f"{len(cut) - at_limit:,} ran out of the generator's context, so shorten prompts or leave long ones out"
        )
    return f"; {'; '.join(parts)}"
