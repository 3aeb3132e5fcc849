"""A model from a registry on a server: pulled by it, or sent from here and pulled after all, or imported."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2  # noqa: TID251 (the fake server behind the door)
import pytest

from modelforge.bases import ServedModel
from modelforge.errors import BaseProblem, BuildFailed, Unreachable
from modelforge.filehash import Hashes
from modelforge.gguf import read_header
from modelforge.project_settings import Timeouts
from modelforge.runtimes.ollama import connect
from modelforge.runtimes.ollama_host import parse_host
from modelforge.runtimes.ollama_weights import import_name
from modelforge.shape import shape_of
from tests.fakes import Heard, some_candidate, some_rendered
from tests.ggufs import tiny_llama
from tests.manifests import NAME, Shelf, sha256, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from modelforge.bases import RegistryModel
    from modelforge.runtimes.ollama import OllamaRuntime

NO_LOCATION = "http: no Location header in response"
NO_MANIFEST = 'pull model manifest: Get "http://localhost:5000/v2/": connection refused'
TEMPLATE = "{{ .System }} {{ .Prompt }}"


def lines(*objects: object) -> httpx2.Response:
    return httpx2.Response(200, content="".join(json.dumps(one) + "\n" for one in objects))


class Server:
    """An Ollama with blobs and names. `refuses` are its answers to pulls, one after the other; then it pulls."""

    def __init__(self, *refuses: str) -> None:
        self.refuses = list(refuses)
        self.blobs: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self.bodies: list[tuple[str, Any]] = []
        self.registry: dict[str, RegistryModel] = {}
        self.adds = ""
        self.alters: dict[str, Any] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, request.read()
        if path.startswith("/api/blobs/"):
            return self._blob(request.method, path.rpartition("/")[2], body)
        said = json.loads(body) if body else {}
        self.bodies.append((path, said))
        answers: dict[str, Callable[[Any], httpx2.Response]] = {
            "/api/version": lambda _: httpx2.Response(200, json={"version": "0.32.15"}),
            "/api/tags": lambda _: httpx2.Response(
                200, json={"models": [self._tag(one) for one in self.names]}
            ),
            "/api/show": self._show,
            "/api/pull": self._pull,
            "/api/create": self._create,
            "/api/delete": self._delete,
        }
        return answers[path](said)

    def asked(self, path: str) -> list[Any]:
        return [body for asked, body in self.bodies if asked == path]

    def stand(self, name: str, digest: str, **shown: Any) -> None:
        self.names[name] = digest
        self.shown[name] = shown

    def _blob(self, method: str, digest: str, body: bytes) -> httpx2.Response:
        if method == "HEAD":
            return httpx2.Response(200 if digest in self.blobs else 404)
        assert sha256(body) == digest
        self.blobs[digest] = body
        return httpx2.Response(201)

    def _tag(self, name: str) -> dict[str, Any]:
        digest = self.names[name].removeprefix("sha256:")
        return {"name": name, "digest": digest, "size": 1, "modified_at": ""}

    def _show(self, said: Any) -> httpx2.Response:
        if said["model"] not in self.names:
            return httpx2.Response(404, json={"error": "model not found"})
        return httpx2.Response(200, json=self.shown[said["model"]])

    def _pull(self, said: Any) -> httpx2.Response:
        if self.refuses:
            return lines({"status": "pulling manifest"}, {"error": self.refuses.pop(0)})
        model = self.registry[said["model"]]
        for blob in model.blobs:
            self.blobs.setdefault(blob.digest, b"")
        self.stand(model.name, model.digest, modelfile=modelfile(model.blobs[0].digest))
        size = model.blobs[0].bytes
        told = [
            {"status": "p", "digest": model.blobs[0].digest, "total": size, "completed": done}
            for done in (1, size)
        ]
        return lines({"status": "pulling manifest"}, *told, {"status": "success"})

    def _create(self, said: Any) -> httpx2.Response:
        before = self.shown.get(said.get("from", ""), {"files": []})
        files = [
            *before.get("files", ()),
            *said.get("files", {}).values(),
            *said.get("adapters", {}).values(),
        ]
        inherited = before.get("stops", ["<auto>"])
        stops = said.get("parameters", {}).get("stop", inherited)
        template = said.get("template") or before.get("layer") or self.adds
        made = {
            "files": files,
            "stops": stops,
            "layer": template,
            "system": said.get("system", before.get("system")),
            "template": template or "{{ .Prompt }}",
            "modelfile": modelfile(*files, template=template),
            "license": "\n".join(said.get("license", ())),
            "parameters": "".join(f'stop "{stop}"\n' for stop in stops),
            "messages": said.get("messages", []),
        }
        self.stand(said["model"], sha256(json.dumps(made).encode()), **{**made, **self.alters})
        return lines({"status": "success"})

    def _delete(self, said: Any) -> httpx2.Response:
        del self.names[said["model"]]
        return httpx2.Response(200)


def modelfile(*digests: str, template: str = "") -> str:
    words = ["FROM", "ADAPTER", "ADAPTER"]
    files = "".join(
        f"{word} /m/blobs/{one.replace(':', '-')}\n" for word, one in zip(words, digests, strict=False)
    )
    return f"# x\n\n{files}TEMPLATE {template or '{{ .Prompt }}'}\n"


@pytest.fixture
def start(tmp_path: Path) -> Callable[[Server], OllamaRuntime]:
    def started(server: Server) -> OllamaRuntime:
        @contextmanager
        def lock() -> Iterator[None]:
            yield

        def command(_name: str, _modelfile: bytes) -> Any:
            raise AssertionError

        return connect(
            parse_host("http://far.example.com:11434", "x"),
            timeouts=Timeouts(),
            via="api",
            lock=lock,
            hashes=Hashes(tmp_path / "hashes"),
            command=command,
            transport=httpx2.MockTransport(server),
        )

    return started


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def model(shelf: Shelf, tmp_path: Path) -> RegistryModel:
    weights = tiny_llama(tmp_path / "tiny.gguf").read_bytes()
    turns = json.dumps([{"role": "user", "content": "Hi", "images": ["eA=="]}]).encode()
    return shelf.put(
        ("model", weights),
        ("template", TEMPLATE.encode()),
        ("system", b"Be kind."),
        ("license", b"MIT"),
        ("license", b"B"),
        ("params", b'{"stop":["<end>"]}'),
        ("messages", turns),
    )


def downloads(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.exists() else []


def test_a_server_that_can_pull_does_and_tells_how_far_it_is(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    server, heard = Server(), Heard()
    server.registry[NAME] = model
    runtime = start(server)
    assert runtime.bring(model, shelf.fetch(tmp_path / "d"), heard) == ServedModel(
        name=NAME, digest=model.digest
    )
    assert server.asked("/api/pull") == [{"model": NAME, "insecure": True, "stream": True}]
    assert shelf.starts == []
    assert not (tmp_path / "d").exists()
    progress: list[Any] = [event for event in heard.events if event.text == NAME]
    assert [(one.stage, one.done, one.total) for one in progress] == [
        ("pull", 1, whole(model)),
        ("pull", model.blobs[0].bytes, whole(model)),
    ]
    assert runtime.bring(model, shelf.fetch(tmp_path / "d"), heard).name == NAME
    assert len(server.asked("/api/pull")) == 1


@pytest.mark.parametrize("refuses", [(), (NO_MANIFEST,)], ids=["pulled", "sent"])
def test_what_is_made_of_a_model_has_one_name_before_and_after_it_was_brought(
    refuses: tuple[str, ...],
    start: Callable[[Server], OllamaRuntime],
    shelf: Shelf,
    model: RegistryModel,
    tmp_path: Path,
) -> None:
    server = Server(*refuses)
    server.registry[NAME] = model
    runtime = start(server)
    base = some_candidate(source=model, digest=f"sha256:{'3e' * 32}", quantize="Q8_0")
    rendered = some_rendered(replace(base, shape=shape_of(read_header(tmp_path / "tiny.gguf"))))
    assert runtime.expected(rendered) is None
    with pytest.raises(BuildFailed, match="was not brought"):
        runtime.create(rendered, "made", Heard())
    served = runtime.bring(model, shelf.fetch(tmp_path / "d"), Heard())
    assert runtime.expected(rendered) is None
    server.alters = {"details": {"quantization_level": "Q8_0"}}
    runtime.create(replace(rendered, base=replace(rendered.base, source=served)), "made", Heard())
    name = f"modelforge/weights:{'3e' * 16}"
    made = {"model": name, "from": served.name, "quantize": "Q8_0", "stream": True}
    assert server.asked("/api/create")[-2:] == [made, {"model": "made", "from": name, "stream": True}]
    assert runtime.expected(rendered) is not None
    del server.names[served.name]
    runtime.create(rendered, "another", Heard())
    assert server.asked("/api/create")[-1]["from"] == name


def test_blobs_that_the_server_cannot_get_are_sent_and_then_it_pulls(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    server, heard = Server(NO_LOCATION), Heard()
    server.registry[NAME] = model
    server.blobs[model.blobs[0].digest] = shelf.blobs[model.blobs[0].digest]
    served = start(server).bring(model, shelf.fetch(tmp_path / "d"), heard)
    assert served == ServedModel(name=NAME, digest=model.digest)
    assert {blob.digest for blob in model.blobs} == set(server.blobs)
    assert shelf.given == whole(model) - model.blobs[0].bytes
    assert server.asked("/api/create") == []
    text = f"the server cannot pull it ({NO_LOCATION}): downloading it here, to send it"
    assert heard.texts.count(text) == 1
    assert downloads(tmp_path / "d") == []


@pytest.mark.parametrize("refusals", [(NO_MANIFEST,), (NO_LOCATION, NO_LOCATION)], ids=["no way", "no blobs"])
def test_a_server_that_never_can_gets_an_import_with_all_that_the_manifest_says(
    refusals: tuple[str, ...],
    start: Callable[[Server], OllamaRuntime],
    shelf: Shelf,
    model: RegistryModel,
    tmp_path: Path,
) -> None:
    server = Server(*refusals)
    runtime, name = start(server), import_name(model.digest)
    rendered = some_rendered(some_candidate(source=model))
    assert runtime.expected(rendered) is None
    served = runtime.bring(model, shelf.fetch(tmp_path / "d"), Heard())
    assert served == ServedModel(name=name, digest=server.names[name])
    (body,) = server.asked("/api/create")
    assert body == {
        "model": name,
        "files": {"00-model.gguf": model.blobs[0].digest},
        "system": "Be kind.",
        "template": TEMPLATE,
        "license": ["MIT", "B"],
        "parameters": {"stop": ["<end>"]},
        "messages": [{"role": "user", "content": "Hi", "images": ["eA=="]}],
        "stream": True,
    }
    expected = runtime.expected(rendered)
    assert expected is not None
    assert (expected.system, expected.parameters) == ("Be kind.", {"stop": ("<end>",)})
    assert shelf.given == whole(model)
    assert runtime.bring(model, shelf.fetch(tmp_path / "d"), Heard()) == served
    assert shelf.given == whole(model)
    assert downloads(tmp_path / "d") == []


def test_the_servers_own_stop_texts_are_cleared_and_its_template_is_told(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, tmp_path: Path
) -> None:
    bare = shelf.put(("model", tiny_llama(tmp_path / "t.gguf").read_bytes()))
    server, heard = Server(NO_MANIFEST), Heard()
    server.adds = "{{ .Prompt }} of its own"
    start(server).bring(bare, shelf.fetch(tmp_path / "d"), heard)
    (body,) = server.asked("/api/create")
    assert body["parameters"] == {"stop": []}
    assert "template" not in body
    assert heard.texts[-1].startswith(f"{NAME} brings no chat template: the server added")


def test_adapters_come_one_by_one_and_without_them_all_it_is_not_there(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, tmp_path: Path
) -> None:
    adapters = [
        tiny_llama(
            tmp_path / f"{number}.gguf", metadata={"general.type": "adapter", "n": number}
        ).read_bytes()
        for number in range(2)
    ]
    weights = tiny_llama(tmp_path / "t.gguf").read_bytes()
    model = shelf.put(
        ("model", weights), *(("adapter", data) for data in adapters), ("template", TEMPLATE.encode())
    )
    server, name = Server(NO_MANIFEST, NO_MANIFEST), import_name(model.digest)
    runtime = start(server)
    runtime.bring(model, shelf.fetch(tmp_path / "d"), Heard())
    first, second, third = server.asked("/api/create")
    assert first["files"] == {"00-model.gguf": sha256(weights)}
    assert (second["from"], second["adapters"]) == (name, {"adapter.gguf": sha256(adapters[0])})
    assert third["adapters"] == {"adapter.gguf": sha256(adapters[1])}
    server.shown[name]["modelfile"] = modelfile(sha256(weights), sha256(adapters[0]))
    assert runtime.expected(some_rendered(some_candidate(source=model))) is None


def test_an_import_that_is_not_as_it_should_be_is_taken_away(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    server = Server(NO_MANIFEST)
    server.alters = {"system": "Be rude."}
    with pytest.raises(
        BuildFailed, match="did not take localhost:5000/team/coder:v1 as it is: system differs"
    ):
        start(server).bring(model, shelf.fetch(tmp_path / "d"), Heard())
    assert server.names == {}


def test_a_tag_that_moved_is_said_and_what_was_planned_is_sent(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    server, heard = Server(), Heard()
    server.registry[NAME] = shelf.put(("model", b"newer"))
    served = start(server).bring(model, shelf.fetch(tmp_path / "d"), heard)
    assert served.name == import_name(model.digest)
    assert any("has something else under that name by now" in text for text in heard.texts)
    assert len(server.asked("/api/pull")) == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("write /m: no space left on device", "make room on the server's disk"),
        ("pull model manifest: 412: requires a newer version of Ollama", "look at the server's log"),
    ],
)
def test_what_no_other_way_helps_with_is_a_failed_build(
    words: str,
    hint: str,
    start: Callable[[Server], OllamaRuntime],
    shelf: Shelf,
    model: RegistryModel,
    tmp_path: Path,
) -> None:
    with pytest.raises(BuildFailed, match=f"could not pull {NAME}: {words}") as caught:
        start(Server(words)).bring(model, shelf.fetch(tmp_path / "d"), Heard())
    assert caught.value.problems[0].hint == hint
    assert shelf.starts == []


def test_an_interrupted_download_goes_on_the_next_time(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    server = Server(NO_LOCATION, NO_LOCATION)
    server.registry[NAME] = model
    shelf.cut = 1000
    with pytest.raises(KeyboardInterrupt):
        start(server).bring(model, shelf.fetch(tmp_path / "d"), Heard())
    assert (server.names, server.blobs) == ({}, {})
    start(server).bring(model, shelf.fetch(tmp_path / "d"), Heard())
    assert shelf.starts[:2] == [0, 1000]
    assert shelf.given == whole(model)
    assert downloads(tmp_path / "d") == []


def test_parts_that_create_has_no_field_for_are_named(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, tmp_path: Path
) -> None:
    weights = tiny_llama(tmp_path / "t.gguf").read_bytes()
    model = shelf.put(("model", weights), ("tensor", b"x"), ("draft", b"y"))
    with pytest.raises(BuildFailed, match="cannot be sent to a server: draft, tensor"):
        start(Server(NO_MANIFEST)).bring(model, shelf.fetch(tmp_path / "d"), Heard())


def test_a_hostile_file_is_refused_before_the_server_reads_it(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, tmp_path: Path
) -> None:
    server = Server(NO_MANIFEST)
    with pytest.raises(BaseProblem, match="not a GGUF file"):
        start(server).bring(shelf.put(("model", b"FUGG and so on")), shelf.fetch(tmp_path / "d"), Heard())
    assert server.asked("/api/create") == []


def test_a_base_that_was_not_brought_is_no_base(
    start: Callable[[Server], OllamaRuntime], model: RegistryModel
) -> None:
    with pytest.raises(BuildFailed, match="was not brought"):
        start(Server()).create(some_rendered(some_candidate(source=model)), "coder", Heard())


def test_a_manifest_that_ends_with_a_line_feed_may_be_listed_without_it(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    longer = replace(model, manifest=model.manifest + b"\n", digest=sha256(model.manifest + b"\n"))
    server = Server()
    server.registry[NAME] = model
    assert start(server).bring(longer, shelf.fetch(tmp_path / "d"), Heard()).digest == model.digest


def test_a_server_that_does_not_answer_is_unreachable(
    start: Callable[[Server], OllamaRuntime], shelf: Shelf, model: RegistryModel, tmp_path: Path
) -> None:
    server = Server()
    runtime = start(server)

    def gone(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    runtime._api._http._client = httpx2.Client(transport=httpx2.MockTransport(gone))
    with pytest.raises(Unreachable):
        runtime.bring(model, shelf.fetch(tmp_path / "d"), Heard())
