"""Is it an Ollama, and which? Asked once, before anything else.

Nothing that answers, a proxy's login page, another server on that port, and a server too old to be of use are
four different troubles, each with a remedy of its own.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from modelforge.errors import Unreachable
from modelforge.http import CutOff, NoAnswer
from modelforge.runtimes.ollama_api import OK, Refused

if TYPE_CHECKING:
    from modelforge.http import Answer
    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.runtimes.ollama_host import Host

OLDEST = (0, 5, 5)
"""The first server whose create takes fields instead of Modelfile text."""
_NEWEST = (9999,)
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
_REMEDIES = """\
start it:           ollama serve
another host:       --host gpu-box:11434, or OLLAMA_HOST
without Ollama:     --runtime embedded"""


def version_key(version: str) -> tuple[int, ...]:
    """A version that compares. 0.0.0, and what has no number, is a build from source: as new as can be."""
    match = _VERSION.match(version)
    key = tuple(int(part or 0) for part in match.groups()) if match else _NEWEST
    return key if any(key) else _NEWEST


def version_of(api: OllamaApi, host: Host) -> str:
    """The version of the Ollama that answers there.

    Raises:
        Unreachable: nothing answers, what answers is no Ollama, or one that is too old.
    """
    try:
        answer = api.version()
    except NoAnswer as error:
        message = f"No Ollama answers at {host.display} ({error.reason})."
        raise Unreachable(message, hint=_REMEDIES) from error
    except CutOff as error:
        hint = "look at the server's log, or start it again; is something else listening on that port?"
        raise Unreachable(f"No Ollama answers at {host.display}: {error.reason}.", hint=hint) from error
    version = _told_version(answer, api)
    if version is None:
        hint = "is that the right host and port? --host or OLLAMA_HOST name another"
        if not host.loopback:
            hint += "\nis a proxy or its login page in between? NO_PROXY names hosts to ask directly"
        raise Unreachable(f"What answers at {host.display} is no Ollama: {_described(answer)}.", hint=hint)
    if version_key(version) < OLDEST:
        least = ".".join(map(str, OLDEST))
        hint = f"upgrade it to {least} or newer: https://ollama.com/download"
        raise Unreachable(f"The Ollama at {host.display} is too old: {version}.", hint=hint)
    return version


def _told_version(answer: Answer, api: OllamaApi) -> str | None:
    """The version, if this is an Ollama: others have such an address, too, but then tell more, and list nothing."""
    try:
        told = json.loads(answer.body) if answer.status == OK else None
    except ValueError:
        return None
    if not isinstance(told, dict) or not isinstance(told.get("version"), str):
        return None
    if set(told) != {"version"}:
        try:
            api.tags()
        except (Refused, Unreachable, LookupError, TypeError, ValueError):
            return None
    return str(told["version"])


def _described(answer: Answer) -> str:
    """What answered, in a line: status, type, first words."""
    words = " ".join(re.sub(r"<[^>]*>", " ", answer.body[:2000].decode(errors="replace")).split())
    kind = answer.content_type.partition(";")[0] or "no content type"
    if answer.location:
        return f"HTTP {answer.status} to {answer.location}"
    return f"HTTP {answer.status}, {kind}, {repr(words[:60]) if words else 'empty'}"
