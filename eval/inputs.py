"""What a run of `prm eval` is given: problems, recorded samples, the generator and the verifiers of its config.

What is read before a model is loaded comes in one piece (`Inputs`): it tells whether there is anything to do. A model
that is gone is still known where the store has its facts (`prm.eval.models`); only what the store lacks needs it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast
from uuid import uuid4

from prm.aggregation import Aggregation
from prm.errors import ConfigError, DataError, MissingFileError, ModelError
from prm.fingerprint import fingerprint, weights_fingerprint
from prm.generation.base import Generator
from prm.problems import Problem, load_problems
from prm.remote_verifier import RemoteVerifier, split_url
from prm.rollouts import Rollout
from prm.scoring_spec import SPEC_FILE
from prm.step_format import PromptFormat
from prm.verifier import looks_like_hub_id
from prm.workers import check_workers
from prm.worlds.models import expand_embedded

from .ensemble import ensemble_keys, split_ensembles
from .ensemble_arena import named_ensemble
from .models import Lazy, ModelFacts, NamedVerifier, facts_of
from .replay import adds_to_itself
from .sample_store import Row, SampleStore
from .sampling import read_recorded
from .search.base import StepVerifier

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

ARITHMETIC_PROBLEMS = 300
STORE = "store"
OWN = "own"
"""In `agg_strategy`: the fold that each verifier's spec names."""
IN_MEMORY = "verifier in memory "
"""Begins the name under which the store knows a verifier that was no checkpoint."""

ModelT = TypeVar("ModelT")


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
    keys = _verifier_keys(config, in_memory, store)
    problems, recorded, n = _problems_and_samples(config)
    return Inputs(problems, recorded, n, store, keys, _generator_key(config, generator, store))


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
    if min(sizes) < n:
        warnings.warn(f"{path} has {min(sizes)} samples of some problems; n={min(sizes)} instead of {n}", stacklevel=2)
    return min(n, *sizes)


def load_generator(config: EvalConfig, inputs: Inputs, in_memory: Generator | None = None) -> Lazy[Generator]:
    """The generator in memory, or the one of the config.

    Raises:
        ConfigError, MissingFileError, ModelError: it is not known from an earlier run, and cannot be loaded.
    """
    assert inputs.generator_key is not None
    found = (lambda: in_memory) if in_memory is not None else None
    return _lazy(inputs.store, _generator_fact(config), inputs.generator_key[1], found or (lambda: _generator(config)))


def _generator(config: EvalConfig) -> Generator:
    return config.generator(
        str(config.model_name_or_path),
        PromptFormat(template=config.prompt_template, chat=config.chat, system=config.system_prompt),
        device=config.device,
        dtype=config.dtype,
        batch_tokens=config.max_batch_tokens or None,
        max_batch_rows=config.max_batch_rows or None,
    )


def _generator_key(config: EvalConfig, in_memory: Generator | None, store: SampleStore) -> tuple[str, str] | None:
    if in_memory is not None:
        return in_memory.name, in_memory.revision
    path = config.model_name_or_path
    if not path:
        return None
    try:
        return config.identity(path)
    except (MissingFileError, ModelError):
        known = store.fact(_generator_fact(config))
        if known is None:
            raise
        return known["name"], known["key"]


def _generator_fact(config: EvalConfig) -> str:
    return f"generator {config.backend} {config.model_name_or_path} {config.dtype or ''}"


def _verifier_fact(config: EvalConfig, path: str) -> str:
    return f"verifier {path} {config.dtype or ''}"


def _verifier_keys(config: EvalConfig, in_memory: Mapping[str, StepVerifier], store: SampleStore) -> dict[str, str]:
    """What identifies each verifier of `prm_path`, then of those in memory, then of those that were in memory when
    the run that is extended was made.

    Raises:
        ConfigError: two of one name, or a control that is no verifier of this run.
    """
    paths, formulas = split_ensembles(config.prm_path)
    entries = [split_name(entry) for entry in paths]
    names = [*(name for name, _ in entries), *in_memory]
    before = {name: row["key"] for name, row in store.facts(IN_MEMORY).items() if name not in names}
    before = before if config.from_run else {}
    _check_names([*names, *before, *formulas], config.controls)
    keys = {name: _identity(path, store.fact(_verifier_fact(config, path))) for name, path in entries}
    for name, verifier in in_memory.items():
        keys[name] = _key_in_memory(verifier)
    keys |= before
    return keys | ensemble_keys(formulas, keys)


def _key_in_memory(verifier: StepVerifier) -> str:
    """Its own `revision`, where it has one, or its weights; a verifier with neither cannot be recognised later, so its
    scores are never taken from the store."""
    if revision := getattr(verifier, "revision", None):
        return str(revision)
    model = getattr(verifier, "model", None)
    return weights_fingerprint(model) if model is not None else uuid4().hex


def _identity(path: str, known: Row | None) -> str:
    """A checkpoint's fingerprint; of one on the Hub, its name and the commit of it that is loaded. Where neither can
    be seen, what is known of it from before, or its name alone: loading it says what is wrong."""
    if served := split_url(path):
        place = _identity(served[1], None)
        return str(known["key"]) if known and place == served[1] else f"{place} served"
    otherwise = known["key"] if known else path
    path = expand_embedded(path)
    if Path(path).exists():
        return fingerprint(path)
    if not looks_like_hub_id(path):
        return str(otherwise)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        spec = Path(hf_hub_download(path, SPEC_FILE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        return str(otherwise)
    return f"{path}@{spec.parent.name[:12]}"  # .../snapshots/COMMIT/scoring_spec.json


def load_verifiers(config: EvalConfig, inputs: Inputs, in_memory: Mapping[str, StepVerifier]) -> list[NamedVerifier]:
    """The verifiers in the order of `inputs.verifier_keys`, each with the first fold of `agg_strategy`.

    Raises:
        ConfigError, MissingFileError, ModelError: one is not known from an earlier run, and cannot be loaded.
    """
    entries, formulas = split_ensembles(config.prm_path)
    paths = dict(map(split_name, entries))
    found = {
        name: _named(name, _lazy_verifier(name, paths.get(name), config, inputs, in_memory), config)
        for name in inputs.verifier_keys
        if name not in formulas
    }
    ensembles = [
        named_ensemble(name, formula, [found[member] for member in formula.members])
        for name, formula in formulas.items()
    ]
    return [*found.values(), *ensembles]


def _lazy_verifier(
    name: str, path: str | None, config: EvalConfig, inputs: Inputs, in_memory: Mapping[str, StepVerifier]
) -> Lazy[StepVerifier]:
    def load() -> StepVerifier:
        if name in in_memory:
            return in_memory[name]
        if path is None:
            raise ConfigError(
                f"the verifier {name!r} was given in memory and is not here; give it again "
                "(run_eval(verifiers=...)), or its checkpoint in prm_path, or drop what the store lacks of it"
            )
        return _load(path, name, config)

    fact = _verifier_fact(config, path) if path is not None else IN_MEMORY + name
    return _lazy(inputs.store, fact, inputs.verifier_keys[name], load)


def _lazy(store: SampleStore, fact: str, key: str, load: Callable[[], ModelT]) -> Lazy[ModelT]:
    """The model with its facts: those in the store, where they are of these weights, else it is loaded for them."""
    known = store.fact(fact)
    if known is not None and known["key"] == key:
        return Lazy(ModelFacts.from_dict(known), load)
    model = load()
    facts = facts_of(model, key)
    store.remember(fact, facts.to_dict())
    return Lazy(facts, lambda: model)


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

    if served := split_url(path):
        urls, place = served
        return RemoteVerifier.connect(config.server_settings(list(urls), config.prm_api_key_env), place, name=name)
    return Verifier.from_pretrained(
        path, device=config.device, dtype=config.dtype, name=name, batch_tokens=config.max_batch_tokens or None
    )


def _named(name: str, lazy: Lazy[StepVerifier], config: EvalConfig) -> NamedVerifier:
    spec = lazy.facts.spec
    assert spec is not None
    return NamedVerifier(name, name, lazy, spec.aggregation).folded(folds(config, spec.aggregation)[0])


def folds(config: EvalConfig, own: Aggregation) -> list[Aggregation]:
    """The folds of step scores that a run reports of a verifier whose spec names `own`; the first guides searches."""
    asked = config.agg_strategy or [OWN]
    return list(dict.fromkeys(own if how == OWN else cast(Aggregation, how) for how in asked))
