"""What Hugging Face's own library says, in our words."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import huggingface_hub  # noqa: TID251 (the real one, its calls replaced)
import pytest
from huggingface_hub import errors  # noqa: TID251

from modelforge.bases.hub import NoLibrary, lister, stored_token
from modelforge.errors import BaseProblem, ForgeError, Unreachable
from modelforge.http import NoAnswer
from modelforge.registry import NotThere

ENDPOINT = "https://hub.example.com"
client = sys.modules[errors.HTTPError.__module__]
"""The library's own HTTP client, whose errors come through: httpx in version 1, httpx2 since."""


def answer(status: int) -> Any:
    return client.Response(status, request=client.Request("GET", ENDPOINT))


def listing(monkeypatch: pytest.MonkeyPatch, does: Any) -> Any:
    """What our lister makes of what the library gives or raises; with the arguments of its call."""
    calls: list[Any] = []

    def model_info(self: Any, repository: str, **given: Any) -> Any:
        calls.append((self.endpoint, self.token, repository, given))
        if isinstance(does, Exception):
            raise does
        return does

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    return lister(ENDPOINT, token=None, seconds=7)("org/repo", "main"), calls


def test_only_gguf_files_are_listed_with_their_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    lfs = SimpleNamespace(sha256="ab" * 32)
    files = [
        SimpleNamespace(rfilename="b-Q8_0.GGUF", size=5, lfs=lfs),
        SimpleNamespace(rfilename="README.md", size=9, lfs=None),
        SimpleNamespace(rfilename="c.gguf", size=5, lfs=SimpleNamespace(sha256="../../x")),
        SimpleNamespace(rfilename="a/small.gguf", size=3, lfs=None),
    ]
    found, calls = listing(monkeypatch, SimpleNamespace(sha="c" * 40, siblings=files))
    assert found.commit == "c" * 40
    there = [(one.path, one.bytes, one.digest) for one in found.files]
    assert there == [("a/small.gguf", 3, ""), ("b-Q8_0.GGUF", 5, f"sha256:{'ab' * 32}"), ("c.gguf", 5, "")]
    given = {"revision": "main", "files_metadata": True, "timeout": 7}
    assert calls == [(ENDPOINT, False, "org/repo", given)]


@pytest.mark.parametrize(
    ("error", "kind", "told", "hint"),
    [
        (
            errors.RepositoryNotFoundError("x", response=answer(401)),
            NotThere,
            "there is no https",
            "HF_TOKEN",
        ),
        (
            errors.RevisionNotFoundError("x", response=answer(404)),
            NotThere,
            "tag or commit 'main'",
            "correct",
        ),
        (errors.GatedRepoError("x", response=answer(403)), BaseProblem, "accepted its terms", "on that page"),
        (errors.HfHubHTTPError("x", response=answer(403)), BaseProblem, "may not be read", "HF_TOKEN"),
        (errors.HfHubHTTPError("x", response=answer(429)), Unreachable, "limit of requests", "HF_TOKEN"),
        (errors.HfHubHTTPError("x", response=answer(503)), Unreachable, "answers 503", ""),
        (errors.OfflineModeIsEnabled("x"), NoAnswer, "HF_HUB_OFFLINE is set", ""),
        (client.ConnectError("no way there"), NoAnswer, "no way there", ""),
        (client.ReadTimeout("too slow"), NoAnswer, "too slow", ""),
        (ValueError("no JSON"), NoAnswer, "no JSON", ""),
    ],
)
def test_errors_in_our_words(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[ForgeError], told: str, hint: str
) -> None:
    with pytest.raises(kind, match=told) as caught:
        listing(monkeypatch, error)
    assert hint in (caught.value.problems[0].hint or "")


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for ask in (stored_token, lambda: lister(ENDPOINT, token=None, seconds=1)("org/repo", "main")):
        with pytest.raises(NoLibrary, match="need the library huggingface_hub") as caught:
            ask()
        assert caught.value.problems[0].hint == "pip install 'ollama-modelforge[hf]'"
