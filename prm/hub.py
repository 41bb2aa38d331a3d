"""Publish a verifier: check its directory, run its usage snippets, write its card, upload it in one commit.

    prm push --model runs/prm --repo_id user/my-prm --private --eval_results runs/eval

Everything that can be checked without the Hub is checked before the first upload, and the upload is a single commit,
so that a failed push leaves the repository as it was (`prm.hub_upload`). What the card says is decided in `prm.cards`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prm.errors import ConfigError, HubError
from prm.hub_errors import hub_errors
from prm.hub_upload import (
    CARD_FILE,
    Destination,
    PushResult,
    check_repo_id,
    json_bytes,
    logged_in,
    upload,
    with_namespace,
)
from prm.scoring_spec import SPEC_FILE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from prm.cards.facts import VerifierFacts
    from prm.cards.results import Results

PUBLISHED_RESULTS = "eval_results.json"


@dataclass
class PushConfig:
    """What to publish, where, and what its card may draw on."""

    model: str = field(metadata={"help": "Directory of the verifier, as `prm train` wrote it"})
    repo_id: str = field(metadata={"help": "Repository on the Hub: `user/name`, or `name` for your own namespace"})
    private: bool | None = field(
        default=None,
        metadata={
            "help": "Create the repository as private (or not); an existing one's visibility is never changed",
            "nargs": "?",  # a bare --private means true
            "const": True,
        },
    )
    commit_message: str = field(default="Publish the verifier", metadata={"help": "Message of the commit"})
    eval_results: str | None = field(
        default=None, metadata={"help": "Directory of a `prm eval` run whose results.json goes into the card"}
    )
    base_model: str | None = field(
        default=None,
        metadata={"help": "Hub id of the base model; an adapter that names a local directory is published with it"},
    )
    verifier_name: str | None = field(
        default=None, metadata={"help": "Its name in the eval run, where that measured it under several names"}
    )
    license: str | None = field(default=None, metadata={"help": "Licence of the weights, such as apache-2.0"})
    example_problem: str | None = field(default=None, metadata={"help": "Problem of the usage snippet"})
    example_steps: list[str] | None = field(default=None, metadata={"help": "Steps of the usage snippet"})
    snippet_timeout: float = field(default=900.0, metadata={"help": "Seconds the usage snippets may run"})
    dry_run: bool = field(
        default=False, metadata={"help": "Check, run the snippets and print the card, but send nothing"}
    )


def run_push(config: PushConfig) -> PushResult:
    """Publish a verifier directory.

    Raises:
        HubError: no token, not a verifier, a snippet that fails, or a refusal by the Hub.
        DataError: a file of the directory or of the eval run that cannot be read.
        ConfigError: a repository name that the Hub would not take.
    """
    from prm.cards.card import card_for
    from prm.cards.facts import is_uploaded, read_facts
    from prm.cards.results import read_results
    from prm.cards.snippet import run_snippets
    from prm.fingerprint import fingerprint

    check_repo_id(config.repo_id, "repo_id")
    facts = read_facts(config.model)
    run = config.eval_results
    results = read_results(run, fingerprint(facts.directory), config.verifier_name) if run is not None else None
    api = None if config.dry_run else logged_in()
    repo_id = config.repo_id if api is None else with_namespace(api, config.repo_id)
    base_model = _base_model(config, facts, api)
    _check_reference(facts)
    problem, steps = _example(config)
    snippets = run_snippets(facts, repo_id, problem, steps, timeout=config.snippet_timeout)
    card = card_for(facts, repo_id, snippets, base_model=base_model, license=config.license, results=results)
    payload = _payload(facts, card, base_model, results)
    if api is None:
        return PushResult(repo_id, tuple(sorted(payload)), card)
    return upload(api, Destination(repo_id, config.private, is_uploaded), payload, config.commit_message)


def _base_model(config: PushConfig, facts: VerifierFacts, api: HfApi | None) -> str:
    """The base model's name on the Hub, or `""` where it has none that is known."""
    named = config.base_model or facts.adapter_base or facts.spec.base_model
    if named.count("/") == 1 and not Path(named).exists() and not named.startswith((".", "/", "~")):
        check_repo_id(named, "base_model")
        # `runs/base`, as a training run writes down its base, may be a directory that is elsewhere now.
        if config.base_model or api is None or _is_on_hub(api, named):
            return named
    if config.base_model:
        raise ConfigError(f"base_model {config.base_model!r} is not a repository on the Hub; give user/name")
    if facts.is_adapter:
        raise HubError(
            f"{facts.directory} is an adapter of {named!r}, which nobody else can load. "
            "Publish the base and give its name as base_model, or push the merged checkpoint that "
            "`prm train --merge_adapter` writes"
        )
    return ""


def _check_reference(facts: VerifierFacts) -> None:
    """An implicit PRM is read against its reference, which others must be able to load."""
    reference = facts.spec.reference_model
    if reference and (Path(reference).exists() or reference.count("/") != 1):
        raise HubError(
            f"{facts.directory} scores by its log-ratio to {reference!r}, which nobody else can load. Publish the "
            "reference, and set reference_model in scoring_spec.json to its name on the Hub"
        )


def _is_on_hub(api: HfApi, repo_id: str) -> bool:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    with hub_errors(repo_id):
        try:
            api.model_info(repo_id)
        except GatedRepoError:
            return True
        except RepositoryNotFoundError:
            return False
    return True


def _example(config: PushConfig) -> tuple[str, Sequence[str]]:
    """Problem and steps of the snippet: the config's, or a short calculation with a mistake in its second step."""
    if config.example_problem is not None and config.example_steps:
        return config.example_problem, config.example_steps
    if config.example_problem is not None or config.example_steps:
        raise ConfigError("example_problem and example_steps are given together or not at all")
    return "7a+5b-3c*2", ["a7+5=12", "b12-3=8", "c8*2=16", "A: 16"]


def _payload(facts: VerifierFacts, card: str, base_model: str, results: Results | None) -> dict[str, bytes | Path]:
    """The files of the repository: names, and their bytes or where they lie. Files as they are, but for what names
    this machine: an adapter's local base, and absolute paths in our own records."""
    from prm.cards.facts import ADAPTER_CONFIG, METRICS_FILE, read_json

    payload: dict[str, bytes | Path] = {name: facts.directory / name for name in facts.files}
    if facts.is_adapter and facts.adapter_base != base_model:
        adapter = {**read_json(facts.directory / ADAPTER_CONFIG), "base_model_name_or_path": base_model}
        payload[ADAPTER_CONFIG] = json_bytes(adapter)
    if facts.metrics:
        payload[METRICS_FILE] = json_bytes(facts.metrics)
    payload[SPEC_FILE] = json_bytes(facts.spec.to_dict())
    if results is not None:
        payload[PUBLISHED_RESULTS] = json_bytes(results.content)
    payload[CARD_FILE] = card.encode()
    return payload


def main(arguments: list[str]) -> None:
    """`prm push`."""
    from prm.config import parse_config

    config: PushConfig = parse_config(PushConfig, arguments, prog="prm push")
    result = run_push(config)
    if config.dry_run:
        print(result.card)
    print(result)


if __name__ == "__main__":
    from prm.config import run_main

    run_main(main)
