"""Rollouts of the arithmetic world for labelers, sampled by a solver with a known chance of a slip."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prm.data_gen.rollout import grade_rollouts

from prm.generation.base import GenerationRequest, SamplingParams, request_seed
from prm.grading import ExactGrader
from prm.rollouts import Rollout
from prm.splitting import split_steps
from prm.worlds.arithmetic import make_problems
from prm.worlds.solver import ChainSolver


@pytest.fixture(scope="session")
def sampled_rollouts() -> Callable[..., list[Rollout]]:
    """`sampled_rollouts(solver, problems=20, n=4, operations=5)`: graded rollouts of chains of that length."""

    def sample(solver: ChainSolver, problems: int = 20, n: int = 4, operations: int = 5) -> list[Rollout]:
        rollouts = []
        chains = make_problems(problems, seed=1, split="train", min_operations=operations, max_operations=operations)
        for problem in chains:
            ids = tuple(solver.prompt_ids(problem.problem))
            seeds = [request_seed(problem.problem, "", index, 9) for index in range(n)]
            requests = [GenerationRequest(ids, seed) for seed in seeds]
            for index, done in enumerate(solver.generate(requests, SamplingParams())):
                split = split_steps(done.text, "line")
                rollouts.append(
                    Rollout(problem, split.steps, split.gaps, index, done.stop_reason, solver.name, cost=done.cost)
                )
        return grade_rollouts(rollouts, ExactGrader())

    return sample
