"""What a run of `prm eval` is given: problems, recorded samples, the generator and the verifiers of its config.

What is read before a model is loaded comes in one piece (`Inputs`): it tells whether there is anything to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prm.errors import DataError
from prm.generation.base import Generator
from prm.problems import Problem, load_problems
from prm.rollouts import Rollout
from prm.workers import check_workers

from .identity import generator_key, verifier_keys
from .replay import adds_to_itself
from .sample_store import SampleStore
from .sampling import read_recorded
from .search.base import StepVerifier

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

ARITHMETIC_PROBLEMS = 300
STORE = "store"


@dataclass(frozen=True)
class Inputs:
    """What a run reads before it loads a model.

    Attributes:
        recorded: the samples of each problem, where they are not drawn.
        n: solutions of each problem; of recorded ones, as many as every problem has.
        store: where the run keeps what it samples, scores and knows.
        verifier_keys: what identifies each verifier, by its name.
        generator_key: the generator's name and revision; `None` without one.
    """

    problems: list[Problem]
    recorded: list[list[Rollout]] | None
    n: int
    store: SampleStore
    verifier_keys: dict[str, str]
    generator_key: tuple[str, str] | None


def read_inputs(
    config: EvalConfig, in_memory: Mapping[str, StepVerifier], generator: Generator | None = None
) -> Inputs:
    """Read problems or recorded samples, open the store, and identify the models.

    Args:
        in_memory: verifiers in memory by name; `generator` is one in memory.

    Raises:
        ConfigError, DataError, MissingFileError, ModelError: what cannot be read, or does not fit together.
    """
    check_workers(config.num_workers, config.device)
    store = open_store(config)
    keys = verifier_keys(config, in_memory, store)
    problems, recorded, n = _problems_and_samples(config)
    return Inputs(problems, recorded, n, store, keys, generator_key(config, generator, store))


def open_store(config: EvalConfig) -> SampleStore:
    """The store of the run, which takes over what the run that it extends has.

    Raises:
        ConfigError: a store of another version.
    """
    sources = [Path(config.from_run) / STORE] if config.from_run and not adds_to_itself(config) else []
    return SampleStore(Path(config.output_dir) / STORE, workers=config.num_workers, sources=sources)


def _problems_and_samples(config: EvalConfig) -> tuple[list[Problem], list[list[Rollout]] | None, int]:
    if not config.rollouts:
        return _problems(config), None, config.n
    problems, recorded = read_recorded(config.rollouts)
    chosen = slice(config.skip_problems, config.skip_problems + config.num_problems if config.num_problems else None)
    problems, recorded = _some(problems[chosen], config), recorded[chosen]
    return problems, recorded, check_recorded(recorded, config.n, panel=config.panel, path=config.rollouts)


def _problems(config: EvalConfig) -> list[Problem]:
    """The problems to evaluate on: from the arithmetic world, a file, or a Hub dataset."""
    arithmetic = config.dataset_name == "arithmetic"
    count = config.num_problems or (ARITHMETIC_PROBLEMS if arithmetic else 0)
    limit = count and config.skip_problems + count
    if not arithmetic:
        found = load_problems(
            config.dataset_name, split=config.dataset_split, config=config.dataset_config, limit=limit
        )
        return _some(found[config.skip_problems :], config)
    from prm.worlds.arithmetic import make_problems

    return make_problems(
        limit,
        seed=config.seed,
        split=config.dataset_split,
        min_operations=config.min_operations,
        max_operations=config.max_operations,
    )[config.skip_problems :]


def _some(problems: list[Problem], config: EvalConfig) -> list[Problem]:
    if problems:
        return problems
    what = f"skip_problems={config.skip_problems} leaves no problem"
    raise DataError(what, path=config.rollouts or config.dataset_name, remedy="Skip fewer")


def check_recorded(pools: Sequence[Sequence[Rollout]], n: int, *, panel: bool, path: str) -> int:
    """How many recorded samples of a problem a method may use.

    Raises:
        DataError: samples of several systems without `panel`, for they are not draws of one distribution and no
            estimate over subsets holds; or a panel in which a system is missing.
    """
    sizes = {len(pool) for pool in pools}
    several = any(len({rollout.source for rollout in pool}) > 1 for pool in pools)
    if panel:
        if len(sizes) > 1 or any(len({rollout.source for rollout in pool}) != len(pool) for pool in pools):
            raise DataError(
                "not a panel: every problem needs exactly one sample of every system",
                path=path,
                remedy="Complete the file, or drop panel",
            )
        return min(sizes)
    if several:
        raise DataError(
            "the samples of a problem come from different systems, so they are not draws of one distribution",
            path=path,
            remedy="Set panel to true, or keep one system's samples",
        )
    fewest = min(sizes)
    if fewest < n:
        whose = "each problem" if len(sizes) == 1 else f"some problems, and up to {max(sizes)} of others"
        warnings.warn(f"{path} has {fewest} samples of {whose}: n is {fewest}", stacklevel=2)
    return min(n, fewest)
