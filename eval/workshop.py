"""What all methods of a run share: problems, generator, store, and the samples and greedy solutions drawn from them.

Each is made when first asked for, once, and kept in the store. Scores and searches need a verifier: they are
`prm.eval.arena`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from prm.errors import ConfigError
from prm.generation.base import Generator, SamplingParams
from prm.grading import MathGrader
from prm.problems import Problem
from prm.progress import Tally
from prm.rollouts import Rollout
from prm.workers import Advance

from .first_look import FirstLook
from .models import Lazy, ModelFacts
from .sample_store import Row, SampleStore, problem_key
from .sampling import GradedRollouts, draw, grade_rollouts

PROBE_SEED = 1 << 32
"""Added to a run's seed where samples are drawn to see how hard a problem is: never those that it answers with."""


@dataclass(frozen=True)
class RunSettings:
    """What every method of a run shares.

    `generator_key` and `samples_key` identify the generator with its prompt, and the samples: recorded ones by their
    file, others by how they are drawn, whatever their number. `n` samples of each problem are wanted; where the store
    has more, all of them are used. `live_tokens` bounds the branches of a live search; 0: what a batch of the
    generator holds.
    """

    n: int
    sampling: SamplingParams
    seed: int
    separator: str
    generator_key: dict[str, Any]
    samples_key: dict[str, Any]
    beam_width: int = 4
    num_iterations: int = 40
    lookahead: int = 0
    live_tokens: int = 0
    subsets: int = 2048


class Workshop:
    """Samples and greedy solutions of a run, drawn and graded when first asked for.

    Args:
        recorded: samples that someone else drew; then `generator` may be missing, and there is no live search.
        look: taken at the first samples, as soon as they are graded.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        store: SampleStore,
        settings: RunSettings,
        *,
        generator: Lazy[Generator] | None = None,
        recorded: Sequence[Sequence[Rollout]] | None = None,
        look: FirstLook | None = None,
    ):
        self.problems, self.store, self.settings = list(problems), store, settings
        self.generator, self._recorded = generator, recorded
        self.recorded = recorded is not None
        self.grader = MathGrader()
        self._look = look

    def probing(self, samples: int) -> Workshop:
        """The same problems with other samples: so many, with seeds of their own, kept apart in the store."""
        settings = self.settings
        seed = settings.seed + PROBE_SEED
        key = {**settings.generator_key, **settings.sampling.to_dict(), "seed": seed, "probes": samples}
        part = Workshop(
            self.problems,
            self.store,
            replace(settings, n=samples, seed=seed, samples_key=key),
            generator=self.generator,
        )
        part.grader = self.grader
        return part

    def only(self, indices: Sequence[int]) -> Workshop:
        """The problems with these indices alone; what was drawn for them is in the store."""
        part = Workshop(
            [self.problems[index] for index in indices],
            self.store,
            self.settings,
            generator=self.generator,
            recorded=None if self._recorded is None else [self._recorded[index] for index in indices],
        )
        part.grader = self.grader
        return part

    def close(self) -> None:
        """End the grader's processes; they start anew where they are needed again."""
        self.grader.close()

    @property
    def generator_prices(self) -> dict[str, float]:
        """What `prm.eval.cost.bill_of` wants to know of the generator."""
        facts = self.generator.facts if self.generator else ModelFacts("", "")
        return {
            "generator_parameters": facts.num_parameters,
            "generator_attention": facts.attention_flops_per_pair,
        }

    @cached_property
    def samples(self) -> list[GradedRollouts]:
        """The shared samples."""
        settings = self.settings
        if self._recorded is not None:
            found = self.grade("samples", settings.samples_key, self._recorded)
        else:
            found = self._draw("samples", settings.n, settings.sampling, settings.samples_key)
        self._look_at(found)
        return found

    @cached_property
    def greedy(self) -> list[GradedRollouts]:
        """One solution of every problem at temperature 0."""
        sampling = replace(self.settings.sampling, temperature=0.0, top_p=1.0)
        return self._draw("greedy", 1, sampling, {**self.settings.generator_key, **sampling.to_dict()})

    def _draw(self, stage: str, n: int, sampling: SamplingParams, key: dict[str, Any]) -> list[GradedRollouts]:
        """At least n rollouts of every problem: those in the store, and those that it lacks."""
        lazy, settings = self.need_generator(stage), self.settings
        held = self.store.rows(stage, key)

        def work(indices: Sequence[int], advance: Advance) -> list[Row]:
            chunk = [self.problems[i] for i in indices]
            before = [held.get(problem_key(problem), {}).get("rollouts", []) for problem in chunk]
            drawn = draw(
                chunk,
                lazy.model,
                n,
                sampling=sampling,
                base_seed=settings.seed,
                separator=settings.separator,
                progress=advance,
                starts=[len(rollouts) for rollouts in before],
            )
            return [
                {"rollouts": [*old, *(rollout.to_dict() for rollout in new)]}
                for old, new in zip(before, drawn, strict=True)
            ]

        rows = self.store.complete(
            stage,
            key,
            self.problems,
            work,
            label=stage,
            solutions=n,
            enough=lambda index, row: len(row["rollouts"]) >= n,
            ready=lambda: lazy.model,
            tell=lambda tally, indices, made: self._tell(stage, key, tally, indices, made),
            early=n > 1,
        )
        pools = [[Rollout.from_dict(row) for row in found["rollouts"]] for found in rows]
        return self.grade(stage, key, pools)

    def need_generator(self, stage: str) -> Lazy[Generator]:
        """The generator, which may still have to be loaded.

        Raises:
            ConfigError: there is none.
        """
        if self.generator is None:
            raise ConfigError(f"{stage} needs a generator; give model_name_or_path, or leave this approach out")
        return self.generator

    def _tell(
        self, stage: str, key: dict[str, Any], tally: Tally, indices: Sequence[int], rows: Sequence[Row]
    ) -> None:
        """Plain sampling's accuracy so far, and the tokens that it took."""
        pools = [[Rollout.from_dict(rollout) for rollout in row["rollouts"]] for row in rows]
        graded = self.grade_now(stage, key, indices, pools)
        if stage == "samples":
            self._look_at(graded)
        right = sum(fmean(rollout.correct for rollout in one.rollouts) for one in graded)
        tokens = sum(rollout.cost.generated_tokens for pool in pools for rollout in pool)
        tally.add(graded=len(graded), right=right, tokens=tokens)

    def _look_at(self, graded: Sequence[GradedRollouts]) -> None:
        if self._look is not None:
            self._look.at(graded)

    def grade_now(
        self, stage: str, key: dict[str, Any], indices: Sequence[int], pools: Sequence[Sequence[Rollout]]
    ) -> list[GradedRollouts]:
        """Grade what was just made of the problems with these indices, while the rest of its stage is under way."""
        graded = grade_rollouts(pools, self.grader)
        problems = [self.problems[index] for index in indices]
        self.store.keep(f"grades-{stage}", self._grades_key(key), problems, (one.verdicts() for one in graded))
        return graded

    def _grades_key(self, key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "grader": self.grader.version}

    def grade(self, stage: str, key: dict[str, Any], pools: Sequence[Sequence[Rollout]]) -> list[GradedRollouts]:
        """Grade the rollouts of a stage; verdicts are kept apart from the samples and keyed by the grader's version,
        so that a new grader samples nothing again."""

        def work(indices: Sequence[int], advance: Advance) -> list[Row]:
            graded = grade_rollouts([pools[i] for i in indices], self.grader)
            advance(sum(len(item.rollouts) for item in graded))
            return [item.verdicts() for item in graded]

        rows = self.store.complete(
            f"grades-{stage}",
            self._grades_key(key),
            self.problems,
            work,
            label=f"grade {stage}",
            solutions=max(len(pool) for pool in pools),
            parallel=False,  # the grader has processes of its own
            enough=lambda index, row: len(row["preds"]) == len(pools[index]),
        )
        return [GradedRollouts.from_verdicts(pool, row) for pool, row in zip(pools, rows, strict=True)]
