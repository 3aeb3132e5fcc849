"""What the doctor finds in a place that a test makes, with servers that answer from memory."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2  # noqa: TID251 (the servers behind the door)

from modelforge import doctor
from modelforge.runtimes import ollama

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from modelforge.doctor import Diagnosis
    from modelforge.project_settings import Timeouts
    from modelforge.runtimes.ollama_api import OllamaApi
    from modelforge.runtimes.ollama_host import Host
    from tests.projects import Place

DEFAULT = "127.0.0.1:11434"
_REACH = ollama.reach


@dataclass
class Servers:
    """Ollamas by host and port: the version of each, and what else it lists; nothing answers elsewhere."""

    versions: dict[str, str] = field(default_factory=dict)
    remote: Mapping[str, str] = field(default_factory=dict)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        version = self.versions.get(f"{request.url.host}:{request.url.port}")
        if version is None:
            message = "nobody"
            raise httpx2.ConnectError(message) from ConnectionRefusedError(111, "refused")
        if request.url.path == "/api/version":
            return httpx2.Response(200, text=json.dumps({"version": version}))
        listed: list[Mapping[str, Any]] = [{"name": "llama3:latest", "digest": "1" * 64, "size": 2_000_000}]
        listed += [
            {"name": name, "digest": "2" * 64, "size": 237, "remote_host": where, "remote_model": name}
            for name, where in self.remote.items()
        ]
        return httpx2.Response(200, text=json.dumps({"models": listed}))


def serve(monkeypatch: pytest.MonkeyPatch, **more: Any) -> Servers:
    """Takes the place of the network."""
    servers = Servers(**more)

    def reach(host: Host, *, timeouts: Timeouts, transport: object = None) -> tuple[OllamaApi, str]:
        assert transport is None
        return _REACH(host, timeouts=timeouts, transport=httpx2.MockTransport(servers.answer))

    monkeypatch.setattr(ollama, "reach", reach)
    return servers


def diagnose(place: Place, **flags: str) -> Diagnosis:
    return doctor.examine(place.site(flags, python=sys.executable))


def told(found: Diagnosis) -> dict[str, str]:
    """Text -> remedy of all that is not well."""
    return {one.text: one.remedy or "" for one in found.findings if not one.good}


def remedy(found: Diagnosis, words: str) -> str:
    """What to do about the one finding that has these words."""
    (one,) = [one for one in found.findings if words in one.text]
    assert not one.good, one.text
    assert one.remedy, one.text
    return one.remedy


def well(found: Diagnosis) -> list[str]:
    return [one.text for one in found.findings if one.good]


def program(folder: Path, name: str, *lines: str) -> Path:
    """A program that prints these lines on standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n" + "".join(f"echo '{line}' >&2\n" for line in lines), encoding="utf-8")
    file.chmod(0o755)
    return file
