"""What a policy holds for: the generator, the verifier, the sampling and the shape of searches that it was made with,
and whether a run has the same. Two questions, for two moments: what the config and the files tell is asked before a
model is loaded (`known_before`), the rest once its verifier is known (`conditions_of`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError

from .arena import EvalArena
from .ensemble import split_ensembles
from .inputs import Inputs
from .policy import Policy
from .search.base import TreePlan
from .search.compute_optimal import strategy_of
from .search.tree_strategy import TreeStrategy

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

SHAPE = ("beam_width", "num_iterations", "lookahead")
"""Of a live search; which of them a search depends on, its plan tells."""


def conditions_of(arena: EvalArena) -> dict[str, Any]:
    """What a policy of this arena holds for, as JSON values."""
    named, settings = arena.need_named(), arena.workshop.settings
    return _plain(
        {
            "verifier": named.facts.store_key,
            "aggregation": named.aggregation,
            **{name: settings.generator_key.get(name) for name in ("revision", "prompt")},
            **settings.sampling.to_dict(),
            **{name: getattr(settings, name) for name in SHAPE},
        }
    )


def known_before(config: EvalConfig, inputs: Inputs, policy: Policy) -> dict[str, Any]:
    """The conditions of a run as far as they are known without a model; the others as the policy has them. A model's
    weights are known then, and the dtype it will compute in is not."""
    known: dict[str, Any] = {**config.sampling().to_dict(), **{name: getattr(config, name) for name in SHAPE}}
    if inputs.recorded is None and inputs.generator_key is not None:
        known["prompt"] = [config.prompt_template, config.chat, config.system_prompt]
        known["revision"] = _same_weights(policy.conditions.get("revision"), [inputs.generator_key[1]])
    guides = [key for name, key in inputs.verifier_keys.items() if name not in config.controls]
    if guides and not split_ensembles(config.prm_path)[1]:  # what an ensemble is depends on how its members fold
        known["verifier"] = _same_weights(policy.conditions.get("verifier"), guides)
    return {**policy.conditions, **_plain(known)}


def check_conditions(policy: Policy, here: Mapping[str, Any], path: str) -> None:
    """Refuse a run that a policy was not made for. The shape of searches matters as far as a choice of the policy
    depends on it.

    Raises:
        ConfigError: the first condition that differs, with both values.
    """
    policy.check(here, path, unless=_shape_without_effect(policy, here))


def _shape_without_effect(policy: Policy, here: Mapping[str, Any]) -> set[str]:
    """The settings of `SHAPE` that change no search that the policy may choose."""
    made = {name: policy.conditions[name] for name in SHAPE if name in policy.conditions}
    choices = {choice for plan in policy.budgets for choice in plan.choices}
    searches = [(strategy_of(choice), choice.n) for choice in choices]
    trees = [(strategy, n) for strategy, n in searches if isinstance(strategy, TreeStrategy)]
    shape = {**{name: here.get(name) for name in SHAPE}, **made}
    return {
        name
        for name in made
        if all(_plan(tree, n, shape) == _plan(tree, n, {**shape, name: here.get(name)}) for tree, n in trees)
    }


def _plan(strategy: TreeStrategy, n: int, shape: Mapping[str, Any]) -> TreePlan | None:
    """The search as it would be in this shape; `None` where it cannot be."""
    try:
        return strategy.plan(SimpleNamespace(**shape), n)
    except ConfigError:
        return None


def _same_weights(made_with: object, keys: list[str]) -> object:
    """What a policy was made with where one of these weights may be it, in whatever dtype; else the first of them."""
    made = str(made_with)
    return made_with if any(made == key or made.startswith(f"{key}+") for key in keys) else keys[0]


def _plain(conditions: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(conditions))
    return plain
