"""What a policy was made on, and what that means for problems that it is followed on: a policy is worth what it
reaches on problems that it has not seen, with a difficulty that nobody needs the answers for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from prm.problems import Problem

from .policy import Policy

PROBLEMS = "problem_hashes"


def origin(dataset: str, problems: Sequence[Problem], seed: int) -> dict[str, Any]:
    """`made_on` of a policy file; problems are known again by their text, under whatever id."""
    hashes = sorted({_hash(problem) for problem in problems})
    return {"dataset": dataset, "problems": len(problems), "seed": seed, PROBLEMS: hashes}


def seen_problems(policy: Policy, problems: Sequence[Problem]) -> int | None:
    """How many of the problems the policy was made on; `None` where its file does not say which these were."""
    if PROBLEMS not in policy.made_on:
        return None
    known = set(policy.made_on[PROBLEMS])
    return sum(_hash(problem) in known for problem in problems)


def cautions(policy: Policy, problems: Sequence[Problem], file: str) -> tuple[str, ...]:
    """Why following the policy in this file on these problems tells less than it seems to, in sentences."""
    found = []
    if policy.measure.oracle:
        found.append(
            f"the policy in {file} is an upper bound, not a method: its oracle difficulty is pass@1 of these very "
            "problems, which reads their answers"
        )
    seen = seen_problems(policy, problems)
    if seen is None:
        found.append(
            f"the policy in {file} does not say which problems it was made on, so what it reaches may be in-sample; "
            "make it again with this version"
        )
    elif seen:
        whose = "these problems" if seen == len(problems) else f"{seen:,} of these {len(problems):,} problems"
        found.append(
            f"the policy in {file} was made on {whose}: what it reaches on them is in-sample. The run that made it "
            "reports it held out; for new problems use --skip_problems, or others"
        )
    return tuple(found)


def standing(policy: Policy, problems: Sequence[Problem]) -> str:
    """The same in a few words, behind a number; empty for new problems and a difficulty that needs no answers."""
    seen = seen_problems(policy, problems)
    words = ["upper bound, uses answers"] if policy.measure.oracle else []
    if seen is None:
        words.append("may be in-sample")
    elif seen:
        words.append("in-sample" if seen == len(problems) else "partly in-sample")
    return f" ({'; '.join(words)})" if words else ""


def _hash(problem: Problem) -> str:
    return hashlib.sha256(" ".join(problem.problem.split()).encode()).hexdigest()[:12]
