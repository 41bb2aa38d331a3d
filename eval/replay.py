"""`prm eval --from DIR`: a run that is there, with methods, numbers of samples, folds, verifiers or seeds added to it.

The config of the run in DIR (`config.json`) gives every setting; lists grow by what is given, and so does n. What the
run's store has is not asked for again, so that selectors among samples are replayed in seconds, without a model. In
DIR itself only additions are possible, for its lines stay; with another `output_dir` a new run takes over what fits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prm.errors import ConfigError
from prm.jsonl import write_json

if TYPE_CHECKING:
    from .evaluate_search import EvalConfig

CONFIG_FILE, CONFIG_VERSION = "config.json", 1
GROWING = ("prm_path", "controls", "approach", "report_n", "search_n", "agg_strategy", "seeds")
FIXED = (
    *("dataset", "problems", "rollouts", "panel", "generator", "prompt_template", "chat", "system_prompt", "dtype"),
    *("temperature", "top_p", "max_new_tokens", "stop", "seed", "beam_width", "num_iterations"),
)
"""Settings that make other problems, samples or searches: a run and what is added to it have the same."""


def write_config(config: EvalConfig) -> None:
    """Keep the config of a run in its directory, for `--from`."""
    row = {"version": CONFIG_VERSION, "config": asdict(config)}
    write_json(Path(config.output_dir) / CONFIG_FILE, row)


def read_config(directory: str | Path) -> EvalConfig:
    """The config of the run in a directory, which writes there.

    Raises:
        ConfigError: there is no run, or one of another version.
    """
    from .evaluate_search import EvalConfig

    path = Path(directory) / CONFIG_FILE
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        if row["version"] != CONFIG_VERSION:
            raise ValueError(f"version {row['version']}")
        found = EvalConfig(**row["config"])
    except OSError:
        raise ConfigError(
            f"--from {directory}: no run of prm eval is there (no {CONFIG_FILE}); give the output_dir of one, or run "
            "its own command again with this version"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not the config of a run of this version ({error}); nothing was touched. Make the run again with "
            "its own command, or use the prm-toolkit that wrote it"
        ) from None
    return replace(found, output_dir=str(directory), from_run=str(directory), overwrite=False, problem=[])


def extended(before: EvalConfig, given: EvalConfig) -> EvalConfig:
    """The config that has everything of `before`, and of `given` what differs from it: lists and n grow, other values
    are taken as given.

    Args:
        given: made from `before` by replacing values.
    """
    start = _spelled_out(before, needs_approach=given.approach != before.approach)
    grown: dict[str, Any] = {
        name: list(dict.fromkeys([*getattr(start, name), *getattr(given, name)]))
        for name in GROWING
        if getattr(given, name) != getattr(before, name)
    }
    for name in grown.keys() & {"report_n", "search_n"}:
        grown[name] = sorted(grown[name])
    if given.n != before.n:
        numbers = {*grown.get("report_n", start.report_n), before.n, given.n}
        grown |= {"n": max(numbers), "report_n": sorted(numbers - {max(numbers)})}
        grown.setdefault("search_n", start.search_n)  # a larger n alone starts no wider search
    return replace(given, **grown)


def _spelled_out(config: EvalConfig, *, needs_approach: bool) -> EvalConfig:
    """The config with its defaults written out where something may be added to them."""
    return replace(
        config,
        approach=config.approach or (methods_of(config.output_dir) if needs_approach else []),
        search_n=config.search_n or [config.n],
        agg_strategy=config.agg_strategy or ["own"],
        seeds=config.seeds or [config.seed],
    )


def methods_of(directory: str | Path) -> list[str]:
    """The approaches that a finished run has lines of.

    Raises:
        ConfigError: the run is not finished.
    """
    from .run_settings import RESULTS_FILE
    from .search.strategies import STRATEGIES

    try:
        lines = json.loads((Path(directory) / RESULTS_FILE).read_text(encoding="utf-8"))["methods"]
    except (OSError, ValueError, KeyError):
        raise ConfigError(
            f"--from {directory}: the run there is not finished, and what it was to run by default is not known; run "
            "its own command again first"
        ) from None
    there = {line["method"] for line in lines}
    return [name for name, strategies in STRATEGIES.items() if there & {strategy.name for strategy in strategies}]


def adds_to_itself(config: EvalConfig) -> bool:
    """Whether what is added goes into the directory of the run that it is added to."""
    return bool(config.from_run) and Path(str(config.from_run)).resolve() == Path(config.output_dir).resolve()


def check_addition(directory: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """See that a run's settings are those of the run in its directory and more, so that its lines stay true.

    Args:
        there, here: `prm.eval.run_settings.run_settings` of both.

    Raises:
        ConfigError: a setting differs that makes other samples, searches or problems.
    """
    for name in FIXED:
        if there.get(name) != here.get(name) and there.get(name) is not None:
            raise ConfigError(
                f"--from adds to the run in {directory}, which was made with {name}={there[name]!r} and not "
                f"{here[name]!r}; give another --output_dir for a run of its own that takes over what fits"
            )
    for name, key in there.get("verifiers", {}).items():
        if here["verifiers"].get(name, key) != key:
            raise ConfigError(
                f"--from adds to the run in {directory}, whose verifier {name!r} had other weights; give this one "
                f"another name (--prm_path NAME=PATH), or another --output_dir"
            )
