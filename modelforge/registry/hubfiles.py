"""Files in repositories of Hugging Face, by ranges: the Hub's `resolve` addresses, each for one commit.

Where a repository goes here, it is `org/repo/resolve/<commit>/<path>`; the digest only tells what is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from modelforge.registry.calls import Calls, WaysIn
from modelforge.registry.client import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from modelforge.http import Transport
    from modelforge.project_settings import Timeouts

WAY_IN = "give a token that may read it: HF_TOKEN, or hf auth login"


class HubFiles(Registry):
    """The Hub, or what stands in for it. `prefix` is the path that all of it lies under, "" or with its slash."""

    _put_back = "run the same command again: the repository changed meanwhile"

    def __init__(self, host: str, calls: Calls, *, insecure: bool, prefix: str) -> None:
        super().__init__(host, calls, insecure=insecure)
        self._prefix = prefix

    def _called(self, repository: str, digest: str) -> str:
        del digest
        repo, _, place = repository.partition("/resolve/")
        return f"{place.partition('/')[2]} of {self.host}/{repo}"

    def _path(self, repository: str, digest: str) -> str:
        del digest
        return f"{self._prefix}/{quote(repository)}"


def open_hub_files(
    endpoint: str,
    *,
    token: str | None,
    timeouts: Timeouts,
    transport: Transport | None = None,
    sleep: Callable[[float], object] | None = None,
) -> HubFiles:
    """The files behind an endpoint (`https://huggingface.co`). Nothing is asked of it yet.

    Args:
        endpoint: as HF_ENDPOINT has it, without a slash at its end.
        token: sent to the endpoint's own host and to no other; None: there is none.
        timeouts: of plain calls.
        transport: in place of the network.
        sleep: waits for so many seconds; None: for real, until it is stopped.
    """
    parts = urlsplit(endpoint)
    insecure = parts.scheme == "http"
    calls = Calls(
        host=parts.netloc,
        insecure=insecure,
        login=lambda: None,
        timeouts=timeouts,
        transport=transport,
        sleep=sleep,
        ways_in=WaysIn(how=WAY_IN, key=f"Bearer {token}" if token else ""),
    )
    return HubFiles(parts.netloc, calls, insecure=insecure, prefix=parts.path)
