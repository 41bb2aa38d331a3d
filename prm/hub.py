"""Publish a verifier: check its directory, run its usage snippets, write its card, upload it in one commit.

    prm push --model runs/prm --repo_id user/my-prm --private --eval_results runs/eval --bench_results runs/bench

Everything that can be checked without the Hub is checked before the first upload, and the upload is a single commit,
so that a failed push leaves the repository as it was (`prm.hub_upload`). Which weights go there is `prm.hub_weights`',
which other files `prm.hub_contents`', what the card says is decided in `prm.cards`.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prm.errors import ConfigError, HubError
from prm.hub_errors import hub_errors
from prm.hub_secrets import refuse_secrets
from prm.hub_upload import (
    Destination,
    PushResult,
    check_repo_id,
    find_repo,
    logged_in,
    sizes_of,
    upload,
    with_namespace,
)
from prm.scoring_spec import SPEC_FILE

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from prm.cards.facts import VerifierFacts


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
    merge_adapter: bool = field(
        default=False, metadata={"help": "Of an adapter: publish the plain checkpoint that it makes of its base"}
    )
    max_shard_size: str = field(
        default="5GB", metadata={"help": "Weights are published in files of at most this size, such as 500MB"}
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Replace a repository's model that is not of an earlier push of a verifier"}
    )
    commit_message: str = field(default="Publish the verifier", metadata={"help": "Message of the commit"})
    eval_results: str | None = field(
        default=None,
        metadata={"help": "Directory of a `prm eval` run whose results go into the card, and whose page beside it"},
    )
    bench_results: list[str] = field(
        default_factory=list,
        metadata={"help": "Directories of `prm bench` runs whose results go into the card, and whose pages beside it"},
    )
    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Labels it was trained on: `prm data push` publishes them first, as REPO_ID-labels, and the card "
            "names them"
        },
    )
    base_model: str | None = field(
        default=None,
        metadata={"help": "Hub id of the base model; an adapter that names a local directory is published with it"},
    )
    verifier_name: str | None = field(
        default=None, metadata={"help": "Its name in the eval run, where that measured it under several names"}
    )
    dataset_license: str | None = field(
        default=None, metadata={"help": "Licence of these labels, such as cc-by-4.0, for their card"}
    )
    license: str | None = field(default=None, metadata={"help": "Licence of the weights, such as apache-2.0"})
    example_problem: str | None = field(default=None, metadata={"help": "Problem of the usage snippet"})
    example_steps: list[str] | None = field(default=None, metadata={"help": "Steps of the usage snippet"})
    snippet_timeout: float = field(default=900.0, metadata={"help": "Seconds the usage snippets may run"})
    dry_run: bool = field(
        default=False, metadata={"help": "Check, run the snippets, print the card and the tree, but send nothing"}
    )


def run_push(config: PushConfig) -> PushResult:
    """Publish a verifier directory.

    Raises:
        HubError: no token, not a verifier, a snippet that fails, a secret in a file, a name that is taken, or a
            refusal by the Hub.
        DataError: a file of the directory or of a run that cannot be read.
        ConfigError: a repository name that the Hub would not take, or a size that is none.
    """
    with tempfile.TemporaryDirectory(prefix="prm-push-") as folder:
        return _push(config, Path(folder))


def _push(config: PushConfig, folder: Path) -> PushResult:
    from prm.cards.card import card_for
    from prm.cards.facts import read_facts
    from prm.cards.snippet import run_snippets
    from prm.hub_contents import is_published, payload_of, read_runs
    from prm.hub_weights import parse_size

    check_repo_id(config.repo_id, "repo_id")
    parse_size(config.max_shard_size)
    given = read_facts(config.model)
    results, bench = read_runs(config, given)
    api = None if config.dry_run else logged_in()
    repo_id = config.repo_id if api is None else with_namespace(api, config.repo_id)
    to = Destination(repo_id, config.private, is_published, marker="" if config.overwrite else SPEC_FILE)
    if api is not None:
        find_repo(api, to)
    base_model = _base_model(config, given, api)
    _check_reference(given)
    problem, steps = _example(config)
    token = api.token if api is not None and isinstance(api.token, str) else None
    refuse_secrets(payload_of(given, "", base_model, results, bench), token)  # before anything heavy runs
    facts = _weights(config, given, folder)
    snippets = run_snippets(facts, repo_id, problem, steps, timeout=config.snippet_timeout)
    labels = [f"{repo_id}-labels"] if config.dataset else []
    card = card_for(
        facts,
        repo_id,
        snippets,
        base_model=base_model,
        license=config.license,
        results=results,
        bench=bench,
        datasets=labels,
    )
    payload = payload_of(facts, card, base_model, results, bench)
    refuse_secrets(payload)
    if config.dataset:
        _push_labels(config, labels[0])
    if api is None:
        return PushResult(repo_id, tuple(sorted(payload)), card, sizes=sizes_of(payload))
    return upload(api, to, payload, config.commit_message)


def _weights(config: PushConfig, given: VerifierFacts, folder: Path) -> VerifierFacts:
    """The verifier as it is published: merged if that is asked for, and in files of the size that is."""
    from prm.hub_weights import merged, parse_size, sharded

    plain, shards = folder / "merged", folder / "shards"
    plain.mkdir()
    shards.mkdir()
    facts = merged(given, plain) if config.merge_adapter else given
    return sharded(facts, parse_size(config.max_shard_size), shards)


def _push_labels(config: PushConfig, repo_id: str) -> None:
    """`prm data push`, known by its name as every stage is (`prm.cli`), for the library does not depend on it. A data
    set is a repository of its own: only there does the Hub show its rows, and `load_dataset` find them."""
    from prm.cli import COMMANDS

    arguments = ["push", "--labels_path", str(config.dataset), "--repo_id", repo_id]
    if config.dataset_license is not None:
        arguments += ["--license", config.dataset_license]
    if config.private is not None:
        arguments += ["--private", str(config.private).lower()]
    if config.dry_run:
        arguments += ["--dry_run", "true"]
    importlib.import_module(COMMANDS["data"][0]).main(arguments)


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
    if facts.is_adapter and not config.merge_adapter:
        raise HubError(
            f"{facts.directory} is an adapter of {named!r}, which nobody else can load. Publish the base and give its "
            "name as base_model, or publish the plain checkpoint with --merge_adapter true"
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
