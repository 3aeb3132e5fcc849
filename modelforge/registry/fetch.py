"""The blobs of a planned model, opened where they are. Its registry is not called, nor its client loaded, before."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from modelforge import names
from modelforge.bases import RegistryModel
from modelforge.download import Fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from modelforge.bases import Source
    from modelforge.registry.client import Registry
    from modelforge.site import Site


@contextmanager
def fetch_of(site: Site, source: Source) -> Iterator[Fetch | None]:
    """Where the blobs of a model in a registry come from; None for what is in none."""
    if not isinstance(source, RegistryModel):
        yield None
        return
    name = names.parse(source.name)
    known: list[Registry] = []
    with ExitStack() as stack:

        def opened(digest: str, start: int) -> AbstractContextManager[Iterator[bytes]]:
            if not known:
                known.append(_registry(site, name.host, insecure=source.insecure))
                stack.callback(known[0].close)
            return known[0].stream(f"{name.namespace}/{name.model}", digest, start)

        yield Fetch(open=opened, folder=site.cache / "downloads")


def _registry(site: Site, host: str, *, insecure: bool) -> Registry:
    from modelforge.registry.client import open_registry  # noqa: PLC0415 (brings the HTTP client)

    return open_registry(
        host,
        insecure=insecure,
        environment=site.environment,
        home=site.home,
        timeouts=site.project.settings.timeouts,
    )
