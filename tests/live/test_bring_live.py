"""Bases from a real registry, brought to the store, to both real servers and into containers, and built on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.build import Bench, BuildResult, Order, build
from modelforge.download import Fetch
from modelforge.journal import Journal
from modelforge.profile.schema import Expect, SmokeTest
from modelforge.runtimes import ChatRequest, Turn
from modelforge.runtimes.ollama_weights import import_name
from tests.fakes import Heard, digest, some_candidate, some_rendered
from tests.live.forge import quickstart
from tests.live.registries import Registry, program
from tests.live.sites import Bureau, bureau
from tests.plans import profile
from tests.samples import some_assessed, some_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from modelforge.bases import RegistryModel
    from modelforge.runtimes import Runtime
    from modelforge.targets import Work
    from tests.live.engines import Engine
    from tests.live.servers import Server

SYSTEM = "Answer in <one> line & no more."
FIELDS = {
    "system": SYSTEM,
    "license": ["MIT", "And another."],
    "parameters": {"temperature": 0.0, "seed": 7, "num_ctx": 512, "stop": ["<|im_end|>"]},
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
}
TEST = SmokeTest(
    name="answers", prompt="Write a function that adds two numbers.", expect=Expect(contains="def")
)
PROFILE = """
system = "Be brief."
[base]
model = "{base}"
[parameters]
num_ctx = 512
[[smoke]]
name = "answers"
prompt = "Write a function that adds two numbers."
expect = {{ contains = "def" }}
"""
EXACT = {"temperature": 0, "seed": 1, "num_predict": 40}


@pytest.fixture(scope="module")
def registries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Registry]]:
    made: list[Registry] = []

    def get() -> Registry:
        if program() is None:
            pytest.skip("no docker-registry on this machine; .ci/parts installs it")
        if not made:
            made.append(Registry(folder=tmp_path_factory.mktemp("registry")))
            made[0].start()
        return made[0]

    yield get
    for one in made:
        one.stop()


@pytest.fixture
def registry(registries: Callable[[], Registry]) -> Registry:
    found = registries()
    found.given, found.cut_after, found.error = 0, None, None
    return found


@pytest.fixture
def pushed(registry: Registry, server: Server, tiny: Path) -> RegistryModel:
    """A model in the registry, made and pushed by the server, which has nothing of it any more."""
    name = f"{registry.host}/team/coder:v{server.version}"
    return registry.push(server, name, files={"tiny.gguf": server.send(tiny.read_bytes())}, **FIELDS)


@dataclass
class Builder:
    """Builds on a model of the registry, as the pipeline does when it has planned with it."""

    place: Bureau
    registry: Registry
    heard: Heard = field(default_factory=Heard)

    works: list[Work] = field(default_factory=list)

    @property
    def downloads(self) -> Path:
        return self.place.store / ".modelforge-downloads"

    def runtime(self) -> Runtime:
        if not self.works:
            self.works.append(self.place.work())
        return self.works[0].runtime(None)

    def close(self) -> None:
        for work in self.works:
            work.close()

    def build(self, runtime: Runtime, model: RegistryModel, **changes: Any) -> BuildResult:
        base = some_candidate(ref=model.name, source=model, digest=model.digest)
        order = Order(
            profile=replace(profile(), smoke=(TEST,)),
            plan=some_plan(some_assessed(verdict="picked", reason="fits")),
            rendered=some_rendered(base, system="Be brief."),
            name="coder:latest",
            content=digest(model.digest),
            plan_digest=digest("plan"),
            commit=lambda: "c0ffee",
            announce=lambda: None,
            here=True,
            gpu_here=False,
            fetch=Fetch(open=self.registry.opener(model), folder=self.place.folder / "cache" / "downloads"),
        )
        bench = Bench(
            runtime=runtime,
            journal=Journal(self.place.folder / "state", runtime.info),
            now=lambda: 1.0,
            emit=self.heard,
        )
        return build(replace(order, **changes), bench)


def whole(model: RegistryModel) -> int:
    return sum({blob.digest: blob.bytes for blob in model.blobs}.values())


def assert_built(done: BuildResult) -> None:
    assert done.error is None, done.error
    assert done.status == "built"
    assert done.smoke is not None
    assert done.smoke.passed


def assert_inherited(runtime: Runtime, name: str) -> None:
    found = runtime.show(name)
    assert found is not None
    assert "\n".join(found.license) == "MIT\nAnd another."
    assert found.parameters["num_ctx"] == 512
    assert found.parameters["stop"] == ("<|im_end|>",)
    assert [turn.content for turn in found.messages] == ["Hi", "Hello"]
    assert "im_start" in found.template


def assert_nothing_lies_about(place: Bureau) -> None:
    assert list((place.folder / "cache" / "downloads").glob("sha256-*")) == []


# -- the command ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ollama", "embedded"])
def test_a_profile_names_a_registry_and_that_is_all(
    kind: str, server: Server, registry: Registry, pushed: RegistryModel, tmp_path: Path
) -> None:
    forge = quickstart(tmp_path / "forge", OLLAMA_HOST=server.host)
    forge.profile("remote", PROFILE.format(base=pushed.name))
    would = forge.run("build", "remote", "--runtime", kind, "--dry-run")
    assert would.code == 0, would.err
    assert "the base from its registry, 2.7 MiB at most" in would.out
    first, second = (forge.run("build", "remote", "--runtime", kind, "--json") for _ in range(2))
    assert first.code == 0, first.err
    (built,), (again,) = first.document["variants"], second.document["variants"]
    assert (built["status"], built["smoke"]["passed"]) == ("built", 1)
    assert built["seconds"]["bring"] > 0
    assert (again["status"], again["digests"]) == ("unchanged", built["digests"])
    registry.stop()
    try:
        offline = forge.run("build", "remote", "--runtime", kind, "--json")
    finally:
        registry.start()
    (variant,) = offline.document["variants"]
    assert (variant["status"], variant["digests"]["content"]) == ("unchanged", built["digests"]["content"])


@pytest.mark.parametrize("pulls", [True, False], ids=["pulled", "sent"])
def test_a_server_makes_a_quant_of_a_base_in_a_registry(
    pulls: bool,  # noqa: FBT001
    server: Server,
    registry: Registry,
    tmp_path: Path,
) -> None:
    registry.stop()
    registry.pulls = pulls
    registry.start()
    forge = quickstart(tmp_path / "forge", OLLAMA_HOST=server.host)
    file = forge.project / "models" / "forge-tiny-F16.gguf"
    name = f"{registry.host}/team/full{server.version.replace('.', '')}:f16"
    pushed = registry.push(server, name, files={"full.gguf": server.send(file.read_bytes())}, **FIELDS)
    forge.profile("small", PROFILE.format(base=f'{pushed.name}"\nquantize = "q8_0'))
    refused = forge.run("build", "small", "--runtime", "embedded")
    assert (refused.code, "embedded runtime cannot make Q8_0" in refused.err) == (2, True), refused.err
    first, second = (forge.run("build", "small", "--runtime", "ollama", "--json") for _ in range(2))
    assert first.code == 0, first.err
    (built,), (again,) = first.document["variants"], second.document["variants"]
    assert (built["status"], built["picked"]["quant"], built["smoke"]["passed"]) == ("built", "Q8_0", 1)
    assert (again["status"], again["digests"]) == ("unchanged", built["digests"])
    shown = json.loads(server.call("POST", "/api/show", {"model": built["name"]})[1])
    assert shown["details"]["quantization_level"] == "Q8_0"
    assert shown["license"] == "MIT\nAnd another."
    forge.edit("profiles/small.toml", "Be brief.", "Be very brief.")
    changed = forge.run("build", "small", "--runtime", "ollama", "--json")
    (variant,) = changed.document["variants"]
    assert (variant["status"], "bring" in variant["seconds"]) == ("built", False)


# -- a server --------------------------------------------------------------------------------------------


@pytest.fixture
def on_server(server: Server, registry: Registry, tmp_path: Path) -> Iterator[Builder]:
    builder = Builder(bureau(tmp_path, {"OLLAMA_HOST": server.host}, runtime="ollama"), registry)
    yield builder
    builder.close()


def test_a_server_gets_what_it_cannot_pull_and_has_it_as_if_pulled(
    server: Server, on_server: Builder, registry: Registry, pushed: RegistryModel
) -> None:
    runtime = on_server.runtime()
    assert_built(on_server.build(runtime, pushed))
    (said,) = [text for text in on_server.heard.texts if "cannot pull" in text]
    assert "no Location header in response" in said
    listed = {entry.name: entry.digest for entry in runtime.list()}
    assert listed[pushed.name] == pushed.digest
    assert import_name(pushed.digest) not in listed
    base = runtime.show(pushed.name)
    assert base is not None
    assert base.system == SYSTEM
    assert_inherited(runtime, "coder:latest")
    assert registry.given == whole(pushed)
    assert_nothing_lies_about(on_server.place)
    registry.given = 0
    assert on_server.build(runtime, pushed).status == "unchanged"
    assert_built(on_server.build(runtime, pushed, name="other:latest"))
    assert registry.given == 0
    assert server.call("POST", "/api/show", {"model": pushed.name})[0] == 200


def test_a_server_that_can_pull_does(server: Server, on_server: Builder, tiny: Path, tmp_path: Path) -> None:
    registry = Registry(folder=tmp_path / "pulls", pulls=True)
    registry.folder.mkdir()
    registry.start()
    try:
        name = f"{registry.host}/team/coder:v1"
        model = registry.push(server, name, files={"tiny.gguf": server.send(tiny.read_bytes())}, **FIELDS)
        runtime = on_server.runtime()
        fetch = Fetch(open=registry.opener(model), folder=tmp_path / "d")
        assert_built(on_server.build(runtime, model, fetch=fetch))
    finally:
        registry.stop()
    assert not any("cannot pull" in text for text in on_server.heard.texts)
    assert {entry.name: entry.digest for entry in runtime.list()}[name] == model.digest
    assert_inherited(runtime, "coder:latest")
    assert registry.given == 0
    assert on_server.build(runtime, model, fetch=fetch).status == "unchanged"


def test_a_server_that_cannot_reach_the_registry_gets_an_import(
    on_server: Builder, registry: Registry, pushed: RegistryModel
) -> None:
    runtime = on_server.runtime()
    elsewhere = replace(pushed, name=pushed.name.replace(registry.host, "localhost:9"))
    opener = registry.opener(pushed)
    assert_built(
        on_server.build(runtime, elsewhere, fetch=Fetch(open=opener, folder=on_server.place.folder / "d"))
    )
    assert "connection refused" in " ".join(on_server.heard.texts)
    assert import_name(pushed.digest) in {entry.name for entry in runtime.list()}
    base = runtime.show(import_name(pushed.digest))
    assert base is not None
    assert base.system == SYSTEM
    assert_inherited(runtime, import_name(pushed.digest))
    assert_inherited(runtime, "coder:latest")
    registry.given = 0
    assert on_server.build(runtime, elsewhere).status == "unchanged"
    assert registry.given == 0


def test_an_import_of_a_bare_model_is_told_what_the_server_added(
    server: Server, on_server: Builder, registry: Registry, pushed: RegistryModel
) -> None:
    """A manifest with weights alone: the server knows their chat format, and its stop texts are cleared."""
    manifest = json.loads(pushed.manifest)
    manifest["layers"] = [one for one in manifest["layers"] if one["mediaType"].endswith("image.model")]
    data = json.dumps(manifest).encode()
    bare = replace(
        pushed,
        name="localhost:9/team/bare:v1",
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        manifest=data,
        blobs=tuple(
            blob for blob in pushed.blobs if blob.media_type.endswith(("image.model", "image.v1+json"))
        ),
    )
    runtime = on_server.runtime()
    fetch = Fetch(open=registry.opener(pushed), folder=on_server.place.folder / "d")
    served = runtime.bring(bare, fetch, on_server.heard)
    found = runtime.show(served.name)
    assert found is not None
    assert "stop" not in found.parameters
    assert ("brings no chat template" in on_server.heard.texts[-1]) is ("im_start" in found.template)
    assert server.version


@pytest.mark.parametrize("pulls", [True, False], ids=["pulls", "cannot pull"])
def test_a_tag_that_moved_changes_nothing_of_what_was_planned(
    server: Server,
    on_server: Builder,
    registry: Registry,
    pushed: RegistryModel,
    tiny: Path,
    pulls: bool,  # noqa: FBT001
) -> None:
    registry.push(
        server, pushed.name, files={"tiny.gguf": server.send(tiny.read_bytes())}, system="Something else."
    )
    if pulls:  # it can, where the blobs of what the tag is now are there
        body = {
            "model": "x",
            "files": {"tiny.gguf": server.send(tiny.read_bytes())},
            "system": "Something else.",
        }
        assert server.call("POST", "/api/create", {**body, "stream": False})[0] == 200
    runtime = on_server.runtime()
    assert_built(on_server.build(runtime, pushed))
    assert_inherited(runtime, "coder:latest")
    assert import_name(pushed.digest) in {entry.name for entry in runtime.list()}
    moved = "its registry has something else under that name by now"
    assert any(moved in text for text in on_server.heard.texts) is pulls


# -- the store -------------------------------------------------------------------------------------------


@pytest.fixture
def in_store(registry: Registry, tmp_path: Path) -> Iterator[Builder]:
    pytest.importorskip("xllamacpp")
    place = bureau(tmp_path, {"MODELFORGE_STORE": str(tmp_path / "store")}, runtime="embedded")
    builder = Builder(place, registry)
    yield builder
    builder.close()


def test_a_store_gets_what_a_pull_would_have_left(
    server: Server, in_store: Builder, registry: Registry, pushed: RegistryModel
) -> None:
    runtime = in_store.runtime()
    registry.cut_after = 1 << 20
    assert_built(in_store.build(runtime, pushed))
    assert any("trying again from 1.0 MiB on" in text for text in in_store.heard.texts)
    assert registry.given == whole(pushed)
    store = in_store.place.store
    host, _slash, rest = pushed.name.partition("/")
    manifest = store / "manifests" / host / rest.replace(":", "/")
    assert manifest.read_bytes() == pushed.manifest
    blobs = {path.name for path in (store / "blobs").iterdir()}
    assert {blob.digest.replace(":", "-") for blob in pushed.blobs} <= blobs
    assert [path.name for path in in_store.downloads.iterdir()] == [".lock"]
    registry.given = 0
    assert in_store.build(runtime, pushed).status == "unchanged"
    assert registry.given == 0
    runtime.close()
    assert_served(server, store, pushed)


def assert_served(server: Server, store: Path, model: RegistryModel) -> None:
    """A server started on that store lists the model with the registry's digest, and runs what was built on it."""
    server.restart(OLLAMA_MODELS=str(store))
    _status, text = server.call("GET", "/api/tags")
    listed = {one["name"]: f"sha256:{one['digest']}" for one in json.loads(text)["models"]}
    assert listed[model.name] == model.digest
    for name in (model.name, "coder:latest"):
        body = {"model": name, "messages": [{"role": "user", "content": TEST.prompt}], "stream": False}
        status, text = server.call("POST", "/api/chat", {**body, "options": EXACT})
        assert status == 200, text
        assert "def" in json.loads(text)["message"]["content"]


def test_ctrl_c_keeps_what_came_and_leaves_no_half_model(
    in_store: Builder, registry: Registry, pushed: RegistryModel
) -> None:
    runtime = in_store.runtime()
    registry.cut_after, registry.error = 1 << 20, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        in_store.build(runtime, pushed)
    assert runtime.list() == ()
    came = registry.given
    assert [path.stat().st_size for path in in_store.downloads.glob("*.part")] == [came]
    assert_built(in_store.build(runtime, pushed))
    assert registry.given == whole(pushed)


# -- containers ------------------------------------------------------------------------------------------


def test_a_container_gets_what_it_cannot_reach(
    engine: Engine,
    image: str,
    registry: Registry,
    servers: Callable[[str], Server],
    tiny: Path,
    tmp_path: Path,
) -> None:
    version = image.rpartition(":")[2]
    server = servers(version)
    server.start()
    server.clear()
    name = f"{registry.host}/team/boxed:v{version}"
    model = registry.push(server, name, files={"tiny.gguf": server.send(tiny.read_bytes())}, **FIELDS)
    place = bureau(tmp_path, engine.environment, runtime="docker")
    place.write({"modelforge.toml": f'[runtime.docker]\nimage = "{image}"\nvolume = "bring"\n'})
    builder = Builder(place, registry)
    try:
        runtime = builder.runtime()
        assert_built(builder.build(runtime, model))
        assert "the server cannot pull it" in " ".join(builder.heard.texts)
        assert import_name(model.digest) in {entry.name for entry in runtime.list()}
        assert_inherited(runtime, "coder:latest")
        registry.given = 0
        assert builder.build(runtime, model).status == "unchanged"
        assert registry.given == 0
        reply = runtime.chat(
            "coder:latest", ChatRequest(messages=(Turn(role="user", content=TEST.prompt),), options=EXACT)
        )
        assert "def" in reply.text
    finally:
        builder.close()
