"""The order in which a server takes a model's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from modelforge.errors import BuildFailed
from modelforge.runtimes.ollama_weights import create_from_files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.runtimes.ollama_api import OllamaApi

BODY = {"model": "x", "files": {"1-weights.gguf": "sha256:1", "2-projector.gguf": "sha256:2"}}
OLD, NEW = (0, 24, 0), (0, 30, 0)


class Api:
    """A server that takes files in these orders, one after the other, the last again and again."""

    def __init__(self, *families: list[str] | None) -> None:
        self.families = list(families)
        self.created = 0

    def create(self, body: Mapping[str, Any]) -> None:
        assert body == BODY
        self.created += 1

    def show(self, name: str) -> dict[str, Any]:
        assert name == "x"
        taken = self.families[min(self.created, len(self.families)) - 1]
        return {} if taken is None else {"details": {"families": taken}}


def creates(api: Api, version: tuple[int, ...], body: Mapping[str, Any] = BODY) -> int:
    create_from_files(cast("OllamaApi", api), body, version=version)
    return api.created


def test_an_old_server_is_asked_until_the_weights_come_first() -> None:
    assert creates(Api(["clip", "llama"], ["clip", "llama"], ["llama", "clip"]), OLD) == 3
    assert creates(Api(["llama", "clip"]), OLD) == 1


@pytest.mark.parametrize("families", [None, []])
def test_a_server_that_does_not_tell_is_asked_once(families: list[str] | None) -> None:
    assert creates(Api(families), OLD) == 1


def test_a_newer_server_takes_files_by_their_names() -> None:
    assert creates(Api(["clip"]), NEW) == 1


def test_an_old_server_that_never_does_is_given_up() -> None:
    api = Api(["clip", "llama"])
    with pytest.raises(BuildFailed, match="takes x for an encoder of images, 24 times in a row") as caught:
        creates(api, OLD)
    assert "0.30" in str(caught.value.problems[0].hint)
