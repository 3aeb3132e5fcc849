"""A server in a container: what its failures say, and when it is stopped in order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from modelforge.download import DownloadCut, DownloadFailed
from modelforge.errors import BuildFailed, ForgeError, Problem, SmokeFailed, Unreachable
from modelforge.events import Step
from modelforge.runtimes import BrokenModel, ChatRequest
from modelforge.runtimes.docker.claims import Claims
from modelforge.runtimes.docker.container import Container, ContainerEnded
from modelforge.runtimes.docker.runtime import DockerRuntime
from modelforge.runtimes.docker.spec import Spec
from modelforge.units import GIB
from tests.engines import RUNNING, FakeEngine
from tests.fakes import FakeRuntime, Heard, some_rendered, some_standing
from tests.manifests import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.runtimes.docker.engine import Engine
    from modelforge.runtimes.ollama import OllamaRuntime

SPEC = Spec(image="sha256:1", name="ollama/ollama:1", volume="ollama", memory=2 * GIB)
LOG = b'[GIN] 200 | GET "/api/version"\nlevel=INFO msg="Listening on [::]:11434"\nlevel=ERROR msg="sad \x1b[31m"\ncut'
ASK = ChatRequest(messages=(), options={})


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def server() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """This engine knows everything at once."""
    monkeypatch.setattr("modelforge.runtimes.docker.container._SETTLE", 0.01)


@pytest.fixture
def container(engine: FakeEngine, tmp_path: Path) -> Iterator[Container]:
    made = Container(cast("Engine", engine), SPEC, Claims(tmp_path, "me"))
    with made:
        made.tail.feed(LOG)
        yield made


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def runtime(container: Container, server: FakeRuntime, heard: Heard) -> DockerRuntime:
    return DockerRuntime(
        server=cast("OllamaRuntime", server), container=container, stack=ExitStack(), emit=heard
    )


def hint(error: ForgeError) -> str:
    return error.problems[0].hint or ""


# -- failures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [BuildFailed, SmokeFailed, Unreachable])
def test_an_error_keeps_its_kind_and_words_and_gets_the_last_lines(
    runtime: DockerRuntime, server: FakeRuntime, kind: type[ForgeError]
) -> None:
    server.fail("create", kind("no space left on device", hint="make room"))
    with pytest.raises(kind, match="no space left on device") as caught:
        runtime.create(some_rendered(), "x", Heard())
    assert hint(caught.value) == (
        "make room\nthe container's last lines:\n"
        '  level=INFO msg="Listening on [::]:11434"\n  level=ERROR msg="sad \\x1b[31m"'
    )


@pytest.mark.parametrize("error", [DownloadCut("no registry"), DownloadFailed("wrong bytes")])
def test_a_download_that_fails_is_not_the_containers_fault(
    runtime: DockerRuntime, server: FakeRuntime, error: ForgeError, tmp_path: Path
) -> None:
    shelf = Shelf()
    model = shelf.put(("model", b"weights"))
    server.fail("bring", error)
    with pytest.raises(type(error)) as caught:
        runtime.bring(model, shelf.fetch(tmp_path), Heard())
    assert caught.value is error
    assert runtime.bring(model, shelf.fetch(tmp_path), Heard()).digest == model.digest


def test_an_error_before_the_server_was_asked_stays_as_it_is(
    runtime: DockerRuntime, server: FakeRuntime
) -> None:
    loss = BuildFailed("a Modelfile cannot carry it", problems=[Problem(message="SYSTEM: x")])
    server.fail("create", loss)
    with pytest.raises(BuildFailed) as caught:
        runtime.create(some_rendered(), "x", Heard())
    assert caught.value is loss


def test_a_broken_name_stays_one(runtime: DockerRuntime, server: FakeRuntime) -> None:
    server.break_name("x")
    with pytest.raises(BrokenModel):
        runtime.show("x")


@pytest.mark.parametrize(
    ("how", "said", "remedy"),
    [
        (
            replace(RUNNING, running=False, code=137, out_of_memory=True),
            "was killed (out of memory)",
            "its memory was 2.0 GiB",
        ),
        (replace(RUNNING, running=False, code=137), "was killed (SIGKILL)", "last lines"),
        (replace(RUNNING, running=False, code=3, words="exec: no"), "ended with 3: exec: no", "last lines"),
        (None, "was removed by somebody", "last lines"),
    ],
)
def test_a_server_that_is_gone_is_the_reason(
    runtime: DockerRuntime, server: FakeRuntime, engine: FakeEngine, how: object, said: str, remedy: str
) -> None:
    engine.how = how  # type: ignore[assignment]
    server.fail("list", Unreachable("no answer"))
    with pytest.raises(ContainerEnded) as caught:
        runtime.list()
    assert said in str(caught.value)
    assert remedy in hint(caught.value)


def test_an_engine_that_is_gone_is_the_reason(
    runtime: DockerRuntime, server: FakeRuntime, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_container: str) -> None:
        raise Unreachable("No Docker engine answers at unix:///x (connection refused).")

    monkeypatch.setattr(engine, "state", gone)
    server.fail("copy", BuildFailed("no answer"))
    with pytest.raises(ContainerEnded, match="the Docker engine has gone: No Docker engine answers"):
        runtime.copy("a", "b")


def test_a_runner_killed_for_memory_is_said_where_the_server_lives_on(
    runtime: DockerRuntime, server: FakeRuntime, engine: FakeEngine
) -> None:
    server.stand("x", some_standing())
    engine.how = replace(RUNNING, out_of_memory=True)
    server.fail("chat", SmokeFailed("unexpected EOF", hint="look at the log"))
    with pytest.raises(SmokeFailed, match=r"unexpected EOF .*out of memory") as caught:
        runtime.chat("x", ASK)
    assert hint(caught.value).startswith("its memory was 2.0 GiB: raise memory in [runtime.docker]")


def test_embeddings_of_a_runner_killed_for_memory_are_told_so_too(
    runtime: DockerRuntime, server: FakeRuntime, engine: FakeEngine
) -> None:
    server.stand("x", some_standing())
    assert len(runtime.embed("x", ("a", "b"), {"num_ctx": 64}).vectors) == 2
    assert server.embeds == [("x:latest", ("a", "b"), {"num_ctx": 64})]
    engine.how = replace(RUNNING, out_of_memory=True)
    server.fail("embed", SmokeFailed("unexpected EOF", hint="look at the log"))
    with pytest.raises(SmokeFailed, match=r"unexpected EOF .*out of memory"):
        runtime.embed("x", ("a",), {})


# -- settings that the server does not take --------------------------------------------------------------


def test_a_setting_that_the_server_passes_over_is_told_once(
    runtime: DockerRuntime, container: Container, server: FakeRuntime, heard: Heard
) -> None:
    server.stand("x", some_standing())
    runtime.chat("x", ASK)
    assert heard.events == []
    container.tail.feed(b'\ntime=x level=WARN msg="unsupported OLLAMA_KV_CACHE_TYPE" type=q5_1\n')
    runtime.chat("x", ASK)
    runtime.chat("x", ASK)
    (event,) = heard.events
    assert isinstance(event, Step)
    assert (event.kind, event.text) == (
        "warning",
        'the server does not run with what the plan counts on: "unsupported OLLAMA_KV_CACHE_TYPE" type=q5_1',
    )


# -- its end -------------------------------------------------------------------------------------------


def test_only_a_server_that_worked_is_stopped_in_order(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[bool] = []

    def remove(_container: str, *, at_once: bool = False) -> None:
        ends.append(at_once)

    monkeypatch.setattr(engine, "remove", remove)
    for works in (False, True):
        made = Container(cast("Engine", engine), SPEC, Claims(tmp_path, "me"))
        stack = ExitStack()
        stack.enter_context(made)
        server = FakeRuntime()
        server.stand("x", some_standing())
        runtime = DockerRuntime(
            server=cast("OllamaRuntime", server), container=made, stack=stack, emit=Heard()
        )
        runtime.show("x")
        if works:
            runtime.copy("x", "y")
        runtime.close()
    assert ends == [True, False]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ('exec: "serve": executable file not found in $PATH', "The image has no Ollama"),
        ('could not select device driver "" with capabilities: [[gpu]]', "cannot give the container GPUs"),
        ("unresolvable CDI devices nvidia.com/gpu=all", "cannot give the container GPUs"),
        ("mkdir /var/lib/docker/x: no space left on device", "The engine's disk is full"),
        ("something else", "The engine cannot start the container: something else"),
    ],
)
def test_a_container_that_does_not_start_leaves_nothing(tmp_path: Path, words: str, said: str) -> None:
    engine = FakeEngine(declines_start=words)
    with (
        pytest.raises(Unreachable, match=said),
        Container(cast("Engine", engine), SPEC, Claims(tmp_path, "me")),
    ):
        pass
    assert engine.removed == ["c1"]
    assert list(tmp_path.iterdir()) == []


# -- waiting -------------------------------------------------------------------------------------------


def test_waiting_ends_with_the_answer(container: Container) -> None:
    tries = iter([Unreachable("no"), Unreachable("no"), None])

    def answer() -> str:
        error = next(tries)
        if error is not None:
            raise error from OSError("refused")
        return "0.32.15"

    assert container.wait_for(answer, seconds=5) == "0.32.15"


def test_waiting_ends_where_something_else_answers(container: Container) -> None:
    def answer() -> str:
        raise Unreachable("What answers at 127.0.0.1:1 is no Ollama: HTTP 200.")

    with pytest.raises(Unreachable, match="is no Ollama") as caught:
        container.wait_for(answer, seconds=5)
    assert "is ollama/ollama:1 an image with Ollama?" in hint(caught.value)


def test_waiting_has_an_end(container: Container) -> None:
    def answer() -> str:
        raise Unreachable("nothing") from OSError("refused")

    with pytest.raises(Unreachable, match="it did not answer within 0 s: nothing"):
        container.wait_for(answer, seconds=0.01)


def test_waiting_ends_with_the_container(container: Container, engine: FakeEngine) -> None:
    engine.how = replace(RUNNING, running=False, code=1)

    def answer() -> str:
        raise Unreachable("nothing") from OSError("refused")

    with pytest.raises(ContainerEnded, match="ended with 1"):
        container.wait_for(answer, seconds=5)


# -- its disk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "text", "free"),
    [
        (
            0,
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 100 40 60 40% /root/.ollama\n",
            60 << 10,
        ),
        (127, "", None),
        (0, "what?", None),
        (0, "", None),
    ],
)
def test_free_room_as_df_tells_it(
    container: Container, engine: FakeEngine, code: int, text: str, free: int | None
) -> None:
    engine.outputs.append((code, text))
    assert container.free() == free
