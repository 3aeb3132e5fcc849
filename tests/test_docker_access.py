"""How the docker runtime is had: by degrees, with what is needed, and without making anything where one only looks."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from modelforge.errors import ExitCode, Unreachable, UsageProblem
from modelforge.events import Step
from modelforge.runtimes import ANYTHING, NOTHING, Need
from modelforge.runtimes.choose import AutoAccess, access_for, access_of, docker_access
from modelforge.runtimes.docker import engine as engines
from modelforge.runtimes.docker.engine import Found, Image
from modelforge.runtimes.docker.findings import findings
from modelforge.units import GIB
from tests.engines import ENDPOINT, FakeEngine, facts
from tests.fakes import FakeRuntime, digest
from tests.projects import GAMER, Place, place
from tests.samples import an_entry
from tests.test_docker_machine import XML

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.runtimes.docker.access import DockerAccess
    from modelforge.runtimes.docker.spec import Spec

IMAGE = "ollama/ollama:0.32.15"
HERE = {IMAGE: Image(id="sha256:1", digest="ollama/ollama@sha256:2")}
ONE = Need(gpus=1, settings={"OLLAMA_KV_CACHE_TYPE": "f16"})
TWO = Need(gpus=2, settings={"OLLAMA_KV_CACHE_TYPE": "f16"})
WITH_NVIDIA = facts(runtimes=frozenset({"nvidia"}))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(images=dict(HERE), volumes={"ollama": "/x"})


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, engine: FakeEngine) -> list[Spec]:
    """The containers that were started, by their specs."""
    specs: list[Spec] = []

    def start(_engine: object, spec: Spec, *_rest: object, info: Any) -> FakeRuntime:
        specs.append(spec)
        return FakeRuntime(info=replace(info, version="0.32.15"))

    monkeypatch.setattr("modelforge.runtimes.docker.start.start", start)
    monkeypatch.setattr(engines, "connect", lambda *_words, **_more: engine)
    return specs


@pytest.fixture
def here(tmp_path: Path) -> Place:
    made = place(tmp_path)
    made.environment = {"DOCKER_HOST": "unix:///run/docker.sock", "MODELFORGE_RUNTIME": "docker"}
    return made


def access(here: Place, **more: Any) -> DockerAccess:
    return docker_access(here.site(**more))


# -- a container ---------------------------------------------------------------------------------------


def test_one_container_for_a_need_and_another_for_another(here: Place, started: list[Spec]) -> None:
    opened = access(here)
    first = opened.open(ONE)
    assert (first.info.kind, first.info.endpoint) == ("docker", "ollama@unix:///run/docker.sock")
    assert (first.info.image, first.info.gpus) == ("ollama/ollama@sha256:2", "none")
    assert opened.open(ONE) is opened.open(None) is opened.open(NOTHING) is first
    second = opened.open(TWO)
    assert second is not first
    assert cast("FakeRuntime", first).closed
    opened.close()
    assert cast("FakeRuntime", second).closed
    assert [spec.image for spec in started] == ["sha256:1", "sha256:1"]


def test_a_gpu_target_goes_on_without_and_says_so_once_for_each_container(
    here: Place, started: list[Spec]
) -> None:
    opened = access(here)
    opened.open(ONE)
    opened.open(ONE)
    assert here.heard.texts == ["the engine on gpu-box has no GPU to give: what depends on one is not tested"]
    assert [event.kind for event in here.heard.events if isinstance(event, Step)] == ["warning"]
    assert started[0].gpus.text == "none"


@pytest.mark.parametrize("need", [NOTHING, ANYTHING, Need(gpus=0, settings={"A": "1"})])
def test_where_no_gpu_is_counted_on_nothing_is_said(here: Place, started: list[Spec], need: Need) -> None:
    access(here).open(need)
    assert here.heard.texts == []
    assert len(started) == 1


@pytest.mark.parametrize("asked", ["all", "0,1"])
def test_what_was_insisted_on_is_refused_before_anything_is_pulled(
    here: Place, started: list[Spec], engine: FakeEngine, asked: str
) -> None:
    engine.images.clear()
    with pytest.raises(
        Unreachable, match=f"has no NVIDIA runtime, so --gpus {asked} cannot be had"
    ) as caught:
        access(here, gpus=asked).open(ONE)
    assert caught.value.exit_code == ExitCode.UNREACHABLE
    assert "nvidia-ctk runtime configure" in (caught.value.problems[0].hint or "")
    assert (started, engine.pulled, engine.created) == ([], [], [])


@pytest.mark.parametrize(
    ("asked", "need", "text"),
    [
        ("auto", ONE, "1 of 2"),
        ("auto", TWO, "all"),
        ("auto", ANYTHING, "all"),
        ("auto", NOTHING, "none"),
        ("none", TWO, "none"),
        ("all", ONE, "all"),
        ("GPU-bbbb", ONE, "GPU-bbbb"),
    ],
)
def test_an_engine_with_two_cards(
    here: Place, started: list[Spec], engine: FakeEngine, asked: str, need: Need, text: str
) -> None:
    engine.facts, engine.outputs = WITH_NVIDIA, deque([(0, XML)])
    assert access(here, gpus=asked).open(need).info.gpus == text
    assert started[0].gpus.text == text


def test_what_dead_commands_left_is_removed_first(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    assert started == []
    opened = access(here)
    mine = opened._claims()._machine
    engine.standing.append(Found(id="old", claim="0123", machine=mine, created=0.0))
    opened.open(ONE)
    assert engine.removed == ["old"]
    assert here.heard.texts[0] == "removed 1 container(s) that a killed run had left"


def test_an_amd_engine_gets_the_image_for_rocm(here: Place, started: list[Spec], engine: FakeEngine) -> None:
    engine.facts = facts(runtimes=frozenset({"amd"}))
    engine.images[f"{IMAGE}-rocm"] = Image(id="sha256:3", digest="sha256:3")
    engine.outputs = deque([(0, f"card0\t0x744c\t{24 * GIB}\t0\t0\t0\t\t0xc8\n")])
    access(here).open(ONE)
    assert (started[0].image, started[0].gpus.text) == ("sha256:3", "all")


def test_an_image_that_is_always_pulled_is_pulled_once(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    engine.facts, engine.outputs = WITH_NVIDIA, deque([(0, XML)])
    here.environment["MODELFORGE_DOCKER_PULL"] = "always"
    opened = access(here)
    opened.open(ONE)
    opened.open(TWO)
    assert engine.pulled == [IMAGE]
    assert [spec.image for spec in started] == ["sha256:fresh", "sha256:fresh"]


# -- seen without a server ---------------------------------------------------------------------------


def test_a_model_is_seen_in_the_volume(here: Place, started: list[Spec], engine: FakeEngine) -> None:
    manifest = engine.keep("coder:latest", {"weights": 1000, "config": 100})
    opened = access(here)
    assert opened.stands("coder:latest", manifest)
    assert not opened.stands("coder:latest", "sha256:other")
    assert not opened.stands("other:latest", manifest)
    assert (started, engine.standing) == ([], [])
    (mount,) = engine.created[0]["HostConfig"]["Mounts"]
    assert (mount["Source"], mount["ReadOnly"]) == ("ollama", True)


@pytest.mark.parametrize("wrong", ["a blob is gone", "a blob is short", "no manifest", "no json"])
def test_a_model_that_is_not_whole_is_not_seen(
    here: Place, started: list[Spec], engine: FakeEngine, wrong: str
) -> None:
    manifest = engine.keep("coder:latest", {"weights": 1000, "config": 100})
    (path,) = engine.files
    if wrong == "a blob is gone":
        engine.sizes.popitem()
    elif wrong == "a blob is short":
        engine.sizes[next(iter(engine.sizes))] -= 1
    elif wrong == "no manifest":
        engine.files[path] = b"{}"
        manifest = digest("{}")
    else:
        engine.files[path] = b""
        manifest = digest("")
    assert not access(here).stands("coder:latest", manifest)
    assert (started, engine.standing) == ([], [])


def test_what_would_be_pulled_or_refused_is_not_looked_at(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    manifest = engine.keep("coder:latest", {"weights": 1000})
    assert not access(here, gpus="all").stands("coder:latest", manifest)
    here.environment["MODELFORGE_DOCKER_PULL"] = "always"
    assert not access(here).stands("coder:latest", manifest)
    del here.environment["MODELFORGE_DOCKER_PULL"]
    engine.volumes.clear()
    assert not access(here).stands("coder:latest", manifest)
    engine.volumes["ollama"] = "/x"
    engine.images.clear()
    assert not access(here).stands("coder:latest", manifest)
    assert (started, engine.created) == ([], [])


# -- its machine -----------------------------------------------------------------------------------------


def test_the_machine_is_the_engines(here: Place, started: list[Spec], engine: FakeEngine) -> None:
    here.machine = GAMER
    machine = access(here).machine()
    assert (machine.backend, machine.system_memory) == ("cpu", engine.facts.memory)
    assert machine.description == "gpu-box, the Docker engine's machine"
    assert started == []
    engine.facts, engine.outputs = WITH_NVIDIA, deque([(0, XML)])
    opened = access(here)
    assert len(opened.machine().devices) == 2
    assert opened.machine() is opened.machine()
    assert access(here, gpus="none").machine().devices == ()


def test_without_the_image_gpus_cannot_be_looked_at(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    engine.facts = WITH_NVIDIA
    engine.images.clear()
    with pytest.raises(Unreachable, match="is not to be pulled"):
        access(here, look=True).machine()
    assert (started, engine.pulled) == ([], [])


# -- looking -----------------------------------------------------------------------------------------------


def test_looking_at_a_volume_that_is_not_there_starts_nothing(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    engine.volumes.clear()
    looked = access(here, look=True).open(ONE)
    assert (looked.list(), looked.show("x"), looked.served("x")) == ((), None, ())
    assert (started, engine.created) == ([], [])


def test_a_preview_shows_the_request_even_where_it_would_be_refused(here: Place, started: list[Spec]) -> None:
    shown = access(here, gpus="all", look=True).preview(ONE)
    assert shown.request["HostConfig"]["DeviceRequests"] == [
        {"Driver": "", "Capabilities": [["gpu"]], "Count": -1}
    ]
    assert shown.note.startswith(
        "refused: The Docker engine at unix:///run/docker.sock has no NVIDIA runtime"
    )
    assert (shown.image, shown.volume) == (IMAGE, "ollama")
    auto = access(here, look=True).preview(ONE)
    assert (auto.gpus, auto.note) == ("none", "the engine has no GPU to give")
    assert access(here, look=True).preview(NOTHING).note == ""
    assert started == []


def test_a_preview_of_an_image_for_rocm_shows_the_drivers_files(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    engine.facts = facts(here=True)
    here.environment["MODELFORGE_DOCKER_IMAGE"] = f"{IMAGE}-rocm"
    shown = access(here, gpus="all", look=True).preview(ONE)
    assert [one["PathOnHost"] for one in shown.request["HostConfig"]["Devices"]] == ["/dev/kfd", "/dev/dri"]
    assert "has no AMD GPU (/dev/kfd is not there)" in shown.note
    with pytest.raises(Unreachable, match="no AMD GPU") as caught:
        access(here, gpus="all").open(ONE)
    assert "modprobe amdgpu" in (caught.value.problems[0].hint or "")
    assert started == []


def test_a_preview_without_the_image_takes_the_need_for_what_there_is(
    here: Place, started: list[Spec], engine: FakeEngine
) -> None:
    engine.facts = WITH_NVIDIA
    engine.images.clear()
    assert access(here, look=True).preview(TWO).gpus == "all"
    assert started == []


# -- which one -----------------------------------------------------------------------------------------


def test_auto_takes_the_container_where_no_ollama_answers_and_the_image_is_there(
    here: Place, started: list[Spec], engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_words: object) -> None:
        raise Unreachable("No Ollama answers at 127.0.0.1:11434 (connection refused).")

    monkeypatch.setattr("modelforge.runtimes.choose.open_ollama", nobody)
    here.environment = {"DOCKER_HOST": "tcp://127.0.0.1:2375"}
    found = access_of(here.site())
    assert isinstance(found, AutoAccess)
    assert found.machine() is not None
    assert found.kind == "docker"
    assert here.heard.texts == [
        f"runtime docker: No Ollama answers at 127.0.0.1:11434 (connection refused). {IMAGE} is there for a container."
    ]
    engine.images.clear()
    assert access_of(here.site()).kind == "embedded"
    assert started == []


def test_the_journal_leads_back_to_volume_and_engine(here: Place) -> None:
    entry = an_entry(runtime="docker", endpoint="models@tcp://10.0.0.1:2375")
    found = access_for(here.site(), entry)
    assert (found.kind, found.where) == ("docker", "models@tcp://10.0.0.1:2375")
    with pytest.raises(UsageProblem, match="names no volume and engine"):
        access_for(here.site(), an_entry(runtime="docker", endpoint="what"))


# -- the doctor -----------------------------------------------------------------------------------------


def test_the_doctor_looks_at_the_engine(here: Place, started: list[Spec], engine: FakeEngine) -> None:
    found = {one.text: one.good for one in findings(here.site(), access(here))}
    assert found == {
        f"Docker 28.2.2 answers at {ENDPOINT.url}": True,
        f"the image {IMAGE} is there": True,
        "the engine has no GPU to give: models in containers run on the CPU": True,
        "the volume ollama is there": True,
    }
    engine.facts = facts(here=True)
    here.machine = GAMER
    engine.images.clear()
    engine.volumes.clear()
    here.environment["MODELFORGE_DOCKER_PULL"] = "never"
    bad = [one for one in findings(here.site(), access(here)) if not one.good]
    assert [one.text for one in bad] == [
        f"the image {IMAGE} is not there",
        "this machine has a GPU that the engine cannot give to containers: it has no NVIDIA runtime",
    ]
    assert all(one.remedy for one in bad)
    assert started == []


def test_the_doctor_without_an_engine(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_words: object, **_more: object) -> None:
        raise Unreachable("No Docker engine answers at unix:///x.", hint="start it")

    monkeypatch.setattr(engines, "connect", nobody)
    (only,) = findings(here.site(), access(here))
    assert (only.good, only.text, only.remedy) == (
        False,
        "No Docker engine answers at unix:///x.",
        "start it",
    )
