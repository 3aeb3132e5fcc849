"""Where a planned model's blobs are opened: at its registry, by one client, that is closed in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge.bases import LocalFile
from modelforge.registry.fetch import fetch_of
from tests.manifests import Shelf
from tests.projects import place
from tests.registries import FakeRegistry, sha256

if TYPE_CHECKING:
    import pytest

    from modelforge.registry.client import Registry

DATA = b"weights"


def test_what_is_in_no_registry_has_no_fetch(tmp_path: Path) -> None:
    with fetch_of(place(tmp_path).site(), LocalFile(path=Path("x"), bytes=1)) as fetch:
        assert fetch is None


def test_blobs_are_opened_where_the_model_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, opened, closed = FakeRegistry(), list[tuple[str, dict[str, Any]]](), list[bool]()
    fake.push("team/coder:v1", DATA)

    def open_registry(host: str, **more: Any) -> Registry:
        opened.append((host, more))
        registry = fake.open(host, insecure=more["insecure"])
        monkeypatch.setattr(registry, "close", lambda: closed.append(True))
        return registry

    monkeypatch.setattr("modelforge.registry.client.open_registry", open_registry)
    here = place(tmp_path)
    site = here.site()
    model = Shelf().put(("model", DATA), name="Registry.example.com:5000/team/coder:v1")
    with fetch_of(site, model) as fetch:
        assert fetch is not None
        assert opened == []
        for start in (0, 3):
            with fetch.open(sha256(DATA), start) as pieces:
                assert b"".join(pieces) == DATA[start:]
        assert closed == []
    assert closed == [True]
    ((host, given),) = opened
    assert host == "Registry.example.com:5000"
    assert (given["insecure"], given["home"]) == (True, site.home)
    assert fetch.folder == site.cache / "downloads"
    assert all("/v2/team/coder/blobs/" in asked for asked in fake.asked)
