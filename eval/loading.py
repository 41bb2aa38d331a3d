"""The models of a run, loaded where the store does not know them yet, else when they are first asked for something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar, cast

from prm.aggregation import Aggregation
from prm.errors import ConfigError
from prm.generation.base import Generator
from prm.remote_verifier import RemoteVerifier, split_url
from prm.scoring_spec import ScoringSpec
from prm.step_format import PromptFormat

from .ensemble import split_ensembles
from .ensemble_arena import named_ensemble
from .identity import IN_MEMORY, generator_fact, split_name, verifier_fact, verifier_formats
from .inputs import Inputs
from .models import Lazy, ModelFacts, NamedVerifier, facts_of
from .sample_store import SampleStore
from .search.base import StepVerifier

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

OWN = "own"
"""In `agg_strategy`: the fold that each verifier's spec names."""

ModelT = TypeVar("ModelT")


def load_generator(config: EvalConfig, inputs: Inputs, in_memory: Generator | None = None) -> Lazy[Generator]:
    """The generator in memory, or the one of the config.

    Raises:
        ConfigError, MissingFileError, ModelError: it is not known from an earlier run, and cannot be loaded.
    """
    assert inputs.generator_key is not None
    found = (lambda: in_memory) if in_memory is not None else None
    return _lazy(inputs.store, generator_fact(config), inputs.generator_key[1], found or (lambda: _generator(config)))


def _generator(config: EvalConfig) -> Generator:
    return config.generator(
        str(config.model_name_or_path),
        PromptFormat(template=config.prompt_template, chat=config.chat, system=config.system_prompt),
        device=config.device,
        dtype=config.dtype,
        batch_tokens=config.max_batch_tokens or None,
        max_batch_rows=config.max_batch_rows or None,
    )


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

    fact = verifier_fact(config, path) if path is not None else IN_MEMORY + name
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


def _load(path: str, name: str, config: EvalConfig) -> StepVerifier:
    from prm.verifier import Verifier

    if served := split_url(path):
        urls, place = served
        return RemoteVerifier.connect(config.server_settings(list(urls), config.prm_api_key_env), place, name=name)
    return Verifier.from_pretrained(
        path,
        device=config.device,
        dtype=config.dtype,
        name=name,
        batch_tokens=config.max_batch_tokens or None,
        format=verifier_formats(config).get(name),
    )


def _named(name: str, lazy: Lazy[StepVerifier], config: EvalConfig) -> NamedVerifier:
    spec = lazy.facts.spec
    assert spec is not None
    return NamedVerifier(name, name, lazy, spec.aggregation).folded(folds(config, spec)[0])


def folds(config: EvalConfig, spec: ScoringSpec) -> list[Aggregation]:
    """The folds of step scores that a run reports of a verifier; the first guides searches. An outcome model has one
    score, and nothing to fold."""
    own = spec.aggregation
    if spec.kind == "orm":
        return [own]
    asked = config.agg_strategy or [OWN]
    return list(dict.fromkeys(own if how == OWN else cast(Aggregation, how) for how in asked))
