"""Takes a name off a server, one whose manifest cannot be read, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.runtimes.ollama_api import NOT_FOUND, Refused
from modelforge.runtimes.ollama_stub import create_stub

if TYPE_CHECKING:
    from modelforge.runtimes.ollama_api import OllamaApi


def remove(api: OllamaApi, name: str) -> None:
    """Removes a name; no error if it is not there. May raise the API's `Refused`."""
    try:
        _delete(api, name)
    except Refused as refused:
        if not refused.unreadable:
            raise
        _mend(api, name)
        _delete(api, name)


def _delete(api: OllamaApi, name: str) -> None:
    try:
        api.delete(name)
    except Refused as refused:
        if refused.status != NOT_FOUND:
            raise


def _mend(api: OllamaApi, name: str) -> None:
    """Makes a broken name readable, so that the server can delete it: a sound manifest over it."""
    sound = next(iter(api.tags()), None)
    if sound is not None:
        api.copy(sound.name, name)
    else:
        create_stub(api, name)
