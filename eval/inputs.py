"""What a run of `prm eval` is given: problems, recorded samples, the generator and the verifiers of its config.

What is read before a model is loaded comes in one piece (`Inputs`): it tells whether there is anything to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from prm.aggregation import Aggregation
from prm.errors import ConfigError, DataError
from prm.fingerprint import fingerprint, weights_fingerprint
from prm.generation.base import Generator
from prm.problems import Problem, load_problems
from prm.rollouts import Rollout
from prm.scoring_spec import SPEC_FILE
from prm.step_format import PromptFormat
from prm.verifier import looks_like_hub_id
from prm.workers import check_workers
from prm.worlds.models import expand_embedded

from .arena import NamedVerifier
from .sampling import read_recorded
from .search.base import StepVerifier

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

ARITHMETIC_PROBLEMS = 300


@dataclass(frozen=True)
class Inputs:
    """What a run reads before it loads a model.

    Attributes:
        recorded: the samples of each problem, where they are not drawn.
        n: solutions of each problem; of recorded ones, as many as every problem has.
        verifier_keys: what identifies each verifier, by its name.
    """

    problems: list[Problem]
    recorded: list[list[Rollout]] | None
    n: int
    verifier_keys: dict[str, str]


def read_inputs(config: EvalConfig, in_memory: Mapping[str, StepVerifier]) -> Inputs:
    """Read problems or recorded samples, and identify the verifiers.

    Raises:
        ConfigError, DataError, MissingFileError: what cannot be read, or does not fit together.
    """
    check_workers(config.num_workers, config.device)
    keys = _verifier_keys(config, in_memory)
    if not config.rollouts:
        return Inputs(_problems(config), None, config.n, keys)
    problems, recorded = read_recorded(config.rollouts)
    chosen = slice(config.skip_problems, config.skip_problems + config.num_problems if config.num_problems else None)
    problems, recorded = _some(problems[chosen], config), recorded[chosen]
    n = check_recorded(recorded, config.n, panel=config.panel, path=config.rollouts)
    return Inputs(problems, recorded, n, keys)


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
    if min(sizes) < n:
        warnings.warn(f"{path} has {min(sizes)} samples of some problems; n={min(sizes)} instead of {n}", stacklevel=2)
    return min(n, *sizes)


def load_generator(config: EvalConfig) -> Generator:
    """The generator at `model_name_or_path`. The chat template is tried at once, so that a missing one is said before
    any work."""
    from prm.generation.hf import BATCH_TOKENS, HFGenerator

    generator = HFGenerator.from_pretrained(
        str(config.model_name_or_path),
        PromptFormat(template=config.prompt_template, chat=config.chat, system=config.system_prompt),
        device=config.device,
        dtype=config.dtype,
        batch_tokens=config.batch_tokens or BATCH_TOKENS,
        max_batch_rows=config.max_batch_rows or None,
    )
    generator.prompt_ids("1+1")
    return generator


def _verifier_keys(config: EvalConfig, in_memory: Mapping[str, StepVerifier]) -> dict[str, str]:
    """What identifies each verifier of `prm_path`, then of those in memory.

    Raises:
        ConfigError: two of one name, or a control that is no verifier of this run.
    """
    entries = [split_name(entry) for entry in config.prm_path]
    _check_names([*(name for name, _ in entries), *in_memory], config.controls)
    keys = {name: _identity(path) for name, path in entries}
    for name, verifier in in_memory.items():
        model = getattr(verifier, "model", None)
        # A verifier without weights cannot be recognised later, so its scores are never taken from the store.
        keys[name] = weights_fingerprint(model) if model is not None else uuid4().hex
    return keys


def _identity(path: str) -> str:
    """A checkpoint's fingerprint; of one on the Hub, its name and the commit of it that is loaded. A name that the Hub
    does not know stands for itself: loading it says what is wrong."""
    path = expand_embedded(path)
    if Path(path).exists() or not looks_like_hub_id(path):
        return fingerprint(path)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        spec = Path(hf_hub_download(path, SPEC_FILE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        return path
    return f"{path}@{spec.parent.name[:12]}"  # .../snapshots/COMMIT/scoring_spec.json


def load_verifiers(
    config: EvalConfig, in_memory: Mapping[str, StepVerifier], keys: Mapping[str, str]
) -> list[NamedVerifier]:
    """The verifiers of `prm_path`, then those in memory, each with its key."""
    loaded = {name: _load(path, name, config) for name, path in map(split_name, config.prm_path)}
    return [_named(name, verifier, keys[name], config) for name, verifier in (loaded | dict(in_memory)).items()]


def _check_names(names: Sequence[str], controls: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two verifiers are called {name!r}; name them apart: --prm_path a=PATH b=PATH")
    for control in controls:
        if control not in names:
            there = f"they are {', '.join(names)}" if names else "it has none, so give prm_path"
            raise ConfigError(f"the control {control!r} is no verifier of this run; {there}")


def split_name(entry: str) -> tuple[str, str]:
    """Name and path of one `prm_path` entry; without a name, the path's last part names it. An equals sign behind a
    slash belongs to the path (`runs/lr=1e-5/prm`)."""
    name, equals, path = entry.partition("=")
    if equals and name and path and "/" not in name:
        return name, path
    return Path(entry).name or entry, entry


def _load(path: str, name: str, config: EvalConfig) -> StepVerifier:
    from prm.verifier import Verifier

    sizes = {"batch_tokens": config.batch_tokens} if config.batch_tokens else {}
    return Verifier.from_pretrained(path, device=config.device, dtype=config.dtype, name=name, **sizes)


def _named(name: str, verifier: StepVerifier, key: str, config: EvalConfig) -> NamedVerifier:
    how = cast(Aggregation, config.agg_strategy) if config.agg_strategy else verifier.spec.aggregation
    return NamedVerifier(name, verifier, key, how)
