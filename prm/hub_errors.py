"""What huggingface_hub raises, as one message that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prm.errors import HubError

TOKEN_SETTINGS = "https://huggingface.co/settings/tokens"


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turn whatever huggingface_hub raises inside the block into one `HubError`."""
    from huggingface_hub.errors import HTTPError  # httpx's or httpx2's, by huggingface_hub's version

    try:
        yield
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        if isinstance(error, HubError):
            raise
        raise HubError(explain(error, repo_id)) from error


def explain(error: BaseException, repo_id: str) -> str:
    """One message for what huggingface_hub raised: what happened, and what to do about it."""
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    response = next((found for e in chain if (found := getattr(e, "response", None)) is not None), None)
    if response is None:
        root = chain[-1]
        return (
            f"the exchange with the Hub about {repo_id} failed: {str(root) or type(root).__name__}. A push is one "
            "commit, so the repository has all of it or nothing: check the connection and run the same command again"
        )
    said = next((text for e in chain if (text := getattr(e, "server_message", None))), "")
    status = f"{response.status_code}" + (f": {' '.join(said.split())}" if said else "")
    remedies = {
        401: f"the Hub does not know the token ({status}). Run `hf auth login`, or set HF_TOKEN to a valid token",
        403: f"the token may not write to {repo_id} ({status}). Use one with write access to that namespace "
        f"({TOKEN_SETTINGS}), or choose another repo_id",
        404: f"the Hub has no repository {repo_id} that this token can see ({status}). Check repo_id and the token",
        409: f"{repo_id} was created or changed by someone else during the push ({status}). Run the command again",
        412: f"{repo_id} was changed by someone else during the push ({status}). Run the command again",
        429: f"the Hub asks to slow down ({status}). Run the same command again later",
    }
    return remedies.get(response.status_code, f"the Hub refused the push to {repo_id} ({status}). Nothing was changed")
