"""The one way things go to the Hub: who is logged in, a repository that is there, and one commit of all files, so that
a failed push leaves the repository as it was. What is pushed is its caller's business."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prm.errors import ConfigError, HubError
from prm.hub_errors import TOKEN_SETTINGS, hub_errors
from prm.hub_secrets import refuse_secrets

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD_FILE = "README.md"

RepoType = Literal["model", "dataset"]
Payload = Mapping[str, bytes | Path]


@dataclass(frozen=True)
class PushResult:
    """What was published, or would be. `url` and `commit` are empty after a dry run; `sizes` are in bytes, of the
    files where they are known; `unchanged` says that the repository held all of it already, so that there is no new
    commit."""

    repo_id: str
    files: tuple[str, ...]
    card: str
    url: str = ""
    commit: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    unchanged: bool = False

    def __str__(self) -> str:
        if not self.url:
            return f"dry run: would push {len(self.files)} files to {self.repo_id}\n{self.tree()}"
        if self.unchanged:
            return (
                f"{self.url} has these {len(self.files)} files already: nothing was pushed (commit {self.commit[:12]})"
            )
        return f"pushed {len(self.files)} files to {self.url} (commit {self.commit[:12]})"

    def tree(self) -> str:
        """The repository's files, one a line, with their sizes."""
        width = max(map(len, self.files), default=0)
        lines = []
        for name in self.files:
            branch = "└──" if name == self.files[-1] else "├──"
            size = _readable(self.sizes[name]) if name in self.sizes else ""
            lines.append(f"{branch} {name:<{width}} {size:>10}".rstrip())
        return "\n".join(lines)


def _readable(size: float) -> str:
    """Bytes in decimal units, as the Hub shows them."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


@dataclass(frozen=True)
class Destination:
    """A repository, and how it is made where it is not there.

    Attributes:
        private: the visibility asked for; `None` takes that of an existing one.
        owned: which files of the repository an earlier push has put there; those that are no longer part of what is
            pushed are deleted, for a loader would take them along.
        private_by_default: the visibility of a new repository where none was asked for; `None` is the account's, or
            the organisation's.
        marker: a file that every push of this kind leaves: a repository with files of such a push and without it
            holds something else, and its name is taken. Empty: nothing is asked.
    """

    repo_id: str
    private: bool | None
    owned: Callable[[str], bool]
    repo_type: RepoType = "model"
    private_by_default: bool | None = None
    marker: str = ""


def check_repo_id(repo_id: str, key: str) -> None:
    """Refuse a name that the Hub would not take.

    Raises:
        ConfigError: see its message.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ConfigError(f"{key} {repo_id!r} cannot be a repository's name: {error}") from None


def logged_in() -> HfApi:
    """The Hub with the user's token.

    Raises:
        HubError: there is no token.
    """
    from huggingface_hub import HfApi, get_token

    from prm import __version__

    token = get_token()
    if not token:
        raise HubError(
            "no Hugging Face token: log in with `hf auth login`, or set HF_TOKEN to a token with write access "
            f"({TOKEN_SETTINGS}). `--dry_run` needs none"
        )
    return HfApi(token=token, library_name="prm-toolkit", library_version=__version__)


def with_namespace(api: HfApi, repo_id: str) -> str:
    """Ask who the token belongs to, which also proves that the Hub takes it, and that it may write, before anything
    heavy runs. Where it may write is the Hub's to say.

    Raises:
        HubError: the Hub does not know it, or it is for reading alone.
    """
    with hub_errors(repo_id):
        found = api.whoami()
    if not _may_write((found.get("auth") or {}).get("accessToken") or {}):
        raise HubError(
            f"the token may not write to {repo_id}: it is for reading alone. Make one with write access "
            f"({TOKEN_SETTINGS}), and log in with it or set HF_TOKEN"
        )
    return repo_id if "/" in repo_id else f"{found['name']}/{repo_id}"


def _may_write(token: Mapping[str, Any]) -> bool:
    """Whether an access token as `whoami` describes it may write anywhere; what it does not say is allowed."""
    if token.get("role") == "fineGrained" and "scoped" in (fine := token.get("fineGrained") or {}):
        return any("repo.write" in (scope.get("permissions") or []) for scope in fine["scoped"])
    return token.get("role") != "read"


def json_bytes(value: dict[str, Any]) -> bytes:
    """A JSON file, without the paths of this machine."""
    from prm.cards.facts import without_local_paths

    return (json.dumps(without_local_paths(value), indent=2, ensure_ascii=False) + "\n").encode()


def upload(api: HfApi, to: Destination, payload: Payload, message: str) -> PushResult:
    """One commit: add the payload, and delete the files of an earlier push that are no longer part of it. There is no
    commit where nothing changed.

    Raises:
        HubError: a refusal by the Hub, a secret in a file, a name that is taken, or a repository of another visibility
            than the one asked for.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    refuse_secrets(payload, api.token if isinstance(api.token, str) else None)
    with hub_errors(to.repo_id):
        existing = find_repo(api, to)
        if existing is None:
            private = to.private_by_default if to.private is None else to.private
            api.create_repo(to.repo_id, private=private, repo_type=to.repo_type)
            existing = Existing((), "")
        stale = [name for name in existing.names if to.owned(name) and name not in payload]
        operations: list[Any] = [CommitOperationDelete(name) for name in stale]
        operations += [
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in sorted(payload.items())
        ]
        done = api.create_commit(to.repo_id, operations, commit_message=message, repo_type=to.repo_type)
    card = payload.get(CARD_FILE, b"")
    text = card.decode() if isinstance(card, bytes) else card.read_text(encoding="utf-8")
    folder = "datasets/" if to.repo_type == "dataset" else ""
    url = f"{api.endpoint}/{folder}{to.repo_id}"
    return PushResult(
        to.repo_id,
        tuple(sorted(payload)),
        text,
        url=url,
        commit=done.oid,
        sizes=sizes_of(payload),
        unchanged=done.oid == existing.commit,  # huggingface_hub makes no empty commit and gives the last one's name
    )


@dataclass(frozen=True)
class Existing:
    """A repository that is there: the names of its files, and its last commit."""

    names: tuple[str, ...]
    commit: str


def find_repo(api: HfApi, to: Destination) -> Existing | None:
    """What is in the repository, or `None` where there is none; what can be asked before anything heavy is done.

    Raises:
        HubError: it is there with another visibility than the one asked for, or holds something else.
    """
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(to.repo_id):
        try:
            info = api.dataset_info(to.repo_id) if to.repo_type == "dataset" else api.model_info(to.repo_id)
        except RepositoryNotFoundError:
            return None
    if to.private is not None and bool(info.private) != to.private:
        is_now, asked = ("private", "public") if info.private else ("public", "private")
        raise HubError(
            f"{to.repo_id} exists and is {is_now}, and {asked} was asked for. A push never changes that: change it in "
            "the repository's settings, choose another repo_id, or leave `private` out"
        )
    names = tuple(file.rfilename for file in info.siblings or [])
    if to.marker and to.marker not in names and (theirs := [name for name in names if to.owned(name)]):
        raise HubError(
            f"the name {to.repo_id} is taken: it holds {theirs[0]} and no {to.marker}, so it is not of an earlier "
            "push of a verifier. Choose another repo_id, or give overwrite true to replace what is there"
        )
    return Existing(names, info.sha or "")


def sizes_of(payload: Payload) -> dict[str, int]:
    """Bytes of every file."""
    return {
        name: len(content) if isinstance(content, bytes) else content.stat().st_size
        for name, content in payload.items()
    }
