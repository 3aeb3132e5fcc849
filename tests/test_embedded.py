"""The runtime without a server: what it writes, reads back, and asks llama.cpp. The child itself: test_llama."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import pytest

from modelforge.bases import Candidate, HubFile, LocalFile, ServedModel
from modelforge.errors import BaseProblem, BuildFailed, SmokeFailed, UsageProblem
from modelforge.events import Progress, Step
from modelforge.filehash import Hashes
from modelforge.runtimes import BrokenModel, ChatReply, ChatRequest, Embeddings, Placement, Runtime, Turn
from modelforge.runtimes.embedded import EmbeddedRuntime, open_store
from modelforge.runtimes.embedded_chat import conversation
from modelforge.runtimes.store import Store
from tests.embedders import tiny_bert
from tests.fakes import Heard, some_candidate, some_embeddings, some_rendered, some_reply
from tests.folders import write_safetensors
from tests.ggufs import Typed, tiny_llama, write_gguf
from tests.jinjas import JINJAS
from tests.manifests import Shelf
from tests.prompts import HARD_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from modelforge.render import Rendered
    from modelforge.runtimes.llama import Llama, Loading

CHATML = JINJAS["chatml"].jinja
USER = (Turn(role="user", content="Hello!"),)


@dataclass
class FakeLlama:
    """Keeps what it is asked."""

    loads: list[Loading] = field(default_factory=list)
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    embedded: list[tuple[str, ...]] = field(default_factory=list)
    loaded: Loading | None = None

    def load(self, wanted: Loading) -> float:
        self.loads.append(wanted)
        self.loaded = wanted
        return 0.25

    def chat(
        self, request: Mapping[str, Any], on_text: Callable[[str], None], *, load_seconds: float
    ) -> ChatReply:
        self.asked.append(request)
        on_text("ok")
        return some_reply(load_seconds=load_seconds)

    def embed(self, texts: Sequence[str], *, load_seconds: float) -> Embeddings:
        self.embedded.append(tuple(texts))
        return some_embeddings(*((1.0, 0.0) for _ in texts), load_seconds=load_seconds)

    def placement(self) -> Placement:
        return Placement(bytes=10, vram=0)

    def close(self) -> None:
        self.loaded = None


@dataclass
class Lock:
    """Counts how often it is held, and refuses to be held twice at once."""

    times: int = 0
    held: bool = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        assert not self.held
        self.times, self.held = self.times + 1, True
        try:
            yield
        finally:
            self.held = False


@pytest.fixture
def llama() -> FakeLlama:
    return FakeLlama()


@pytest.fixture
def lock() -> Lock:
    return Lock()


@pytest.fixture
def runtime(tmp_path: Path, llama: FakeLlama, lock: Lock) -> EmbeddedRuntime:
    return EmbeddedRuntime(
        Store(tmp_path / "store"), cast("Llama", llama), hashes=Hashes(tmp_path / "h"), lock=lock, link=False
    )


def local(path: Path) -> Candidate:
    return some_candidate(source=LocalFile(path=path, bytes=path.stat().st_size))


def tiny(folder: Path, name: str = "tiny.gguf", jinja: str | None = CHATML, **metadata: object) -> Path:
    return tiny_llama(folder / name, metadata={"tokenizer.chat_template": jinja, **metadata})


def rendered(folder: Path, **request: Any) -> Rendered:
    return some_rendered(local(tiny(folder)), **request)


def served(runtime: EmbeddedRuntime, name: str, **request: Any) -> Rendered:
    """A profile over a model that the store has."""
    ((entry, _header),) = runtime.served(name)
    return some_rendered(some_candidate(source=ServedModel(name=entry.name, digest=entry.digest)), **request)


def test_it_is_a_runtime(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    checked_by_mypy: Runtime = runtime
    assert checked_by_mypy.info.kind == "embedded"
    assert runtime.info.endpoint == str(tmp_path / "store")


def test_weights_that_only_a_server_makes_are_refused(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    wanted = some_rendered(replace(local(tiny(tmp_path)), quantize="Q4_K_M"))
    with pytest.raises(UsageProblem, match="the embedded runtime cannot make Q4_K_M of it"):
        runtime.expected(wanted)
    with pytest.raises(UsageProblem, match="the embedded runtime cannot make Q4_K_M of it"):
        runtime.create(wanted, "x", Heard())
    assert runtime.list() == ()


def test_opening_a_store_touches_nothing(tmp_path: Path) -> None:
    opened = open_store(
        tmp_path / "store",
        link=False,
        hashes=Hashes(tmp_path / "h"),
        lock=Lock(),
        python="python",
        environment={},
        scratch=tmp_path / "scratch",
    )
    assert opened.list() == ()
    assert opened.show("coder") is None
    opened.close()
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_made_just_as_expected(runtime: EmbeddedRuntime, tmp_path: Path, lock: Lock) -> None:
    order = rendered(tmp_path, system="Be kind.", parameters={"num_ctx": 512, "temperature": 0.5})
    heard = Heard()
    assert runtime.expected(order) is None
    made = runtime.create(order, "Coder:x", heard)
    assert runtime.show("coder:X") == made
    assert runtime.expected(order) == replace(made, manifest="")
    assert made.system == "Be kind."
    assert made.parameters == {"num_ctx": 512, "temperature": 0.5, "stop": ("<|im_start|>", "<|im_end|>")}
    assert made.weights == ("sha256:" + hashlib.sha256((tmp_path / "tiny.gguf").read_bytes()).hexdigest(),)
    assert [entry.digest for entry in runtime.list()] == [made.manifest]
    assert lock.times == 1
    assert any(isinstance(event, Progress) and event.done == event.total for event in heard.events)
    assert not [event for event in heard.events if isinstance(event, Step) and event.kind == "warning"]


def test_a_second_model_of_the_same_weights_copies_nothing(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    runtime.create(rendered(tmp_path), "coder", Heard())
    heard = Heard()
    runtime.create(rendered(tmp_path, system="other"), "other", heard)
    assert heard.events == []


def test_every_prompt_arrives_as_it_is(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    prompts = tuple(HARD_PROMPTS.values())
    turns = tuple(Turn(role="user", content=prompt) for prompt in prompts)
    order = rendered(
        tmp_path, system="\n".join(prompts), license=prompts, messages=turns, parameters={"stop": prompts}
    )
    made = runtime.create(order, "coder", Heard())
    assert (made.system, made.license, made.messages) == ("\n".join(prompts), prompts, turns)
    assert made.parameters["stop"] == prompts
    for prompt in prompts:
        layer = runtime.store.blobs.add_bytes(prompt.encode())
        assert runtime.store.blobs.path(layer.digest).read_bytes() == prompt.encode()


def test_an_unknown_chat_format_is_said_not_guessed(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    heard = Heard()
    order = some_rendered(local(tiny(tmp_path, jinja="{{ messages }}")), parameters={})
    made = runtime.create(order, "coder", heard)
    assert (made.template, made.parameters) == ("", {})
    assert "the chat format of tiny.gguf is unknown: no Go template was added" in heard.texts[0]
    assert isinstance(heard.events[0], Step)
    assert heard.events[0].kind == "warning"


def test_no_chat_format_at_all_is_said_too(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    heard = Heard()
    runtime.create(some_rendered(local(tiny(tmp_path, jinja=None))), "coder", heard)
    assert "tiny.gguf brings no chat template" in heard.texts[0]


@pytest.mark.parametrize("own", [{"template": "{{ .Prompt }}"}, {"renderer": "qwen3-coder"}])
def test_who_says_how_to_chat_gets_no_template_of_ours(
    runtime: EmbeddedRuntime, tmp_path: Path, own: dict[str, str]
) -> None:
    heard = Heard()
    order = some_rendered(local(tiny(tmp_path, jinja="?")), **own)
    made = runtime.create(order, "coder", heard)
    assert made.template == own.get("template", "")
    assert not [event for event in heard.events if isinstance(event, Step) and event.kind == "warning"]


def test_a_model_over_another_of_the_store_inherits(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    base = runtime.create(rendered(tmp_path, system="old", parameters={"seed": 1}), "base:7b", Heard())
    made = runtime.create(served(runtime, "base", parameters={"top_k": 3}), "child", Heard())
    assert (made.weights, made.template, made.system) == (base.weights, base.template, "old")
    assert made.parameters == {**base.parameters, "top_k": 3}
    bare = runtime.create(served(runtime, "BASE:7b", system=""), "bare", Heard())
    assert bare.system == ""


def test_a_base_from_a_registry_is_built_on_like_one_that_was_there(
    runtime: EmbeddedRuntime, tmp_path: Path, lock: Lock
) -> None:
    shelf = Shelf()
    model = shelf.put(("model", tiny(tmp_path).read_bytes()), ("system", b"Be kind."))
    planned = some_rendered(some_candidate(source=model), license=("MIT",))
    assert runtime.expected(planned) is None
    source = runtime.bring(model, shelf.fetch(tmp_path / "d"), Heard())
    expected = runtime.expected(planned)
    assert expected is not None
    made = runtime.create(some_rendered(some_candidate(source=source), license=("MIT",)), "coder", Heard())
    assert replace(made, manifest="") == expected
    assert (made.system, made.license) == ("Be kind.", ("MIT",))
    assert lock.times == 2


def test_a_file_of_the_hub_is_known_by_its_digest_once_it_is_here(
    runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    order = rendered(tmp_path, system="Be kind.")
    path = tmp_path / "tiny.gguf"
    file = HubFile(
        name="hf.co/org/repo:Q8_0",
        repository="org/repo",
        commit="c" * 40,
        path="tiny.gguf",
        digest="sha256:" + hashlib.sha256(path.read_bytes()).hexdigest(),
        bytes=path.stat().st_size,
        here=tmp_path / "nowhere.gguf",
    )
    before = replace(order, base=replace(order.base, source=file))
    assert runtime.expected(before) is None
    made = runtime.create(order, "coder", Heard())
    path.unlink()
    assert runtime.expected(before) == replace(made, manifest="")
    assert runtime.create(before, "other", Heard()).weights == made.weights


def test_a_base_that_changed_meanwhile_is_refused(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    runtime.create(rendered(tmp_path), "base", Heard())
    order = served(runtime, "base")
    runtime.create(rendered(tmp_path, system="new"), "base", Heard())
    with pytest.raises(BuildFailed, match="base:latest changed since the plan was made"):
        runtime.create(order, "child", Heard())


def test_served_finds_all_tags_or_the_one_that_is_named(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    for name in ("base:a", "Base:b", "other:a", "me/base:a"):
        runtime.create(rendered(tmp_path), name, Heard())
    assert [entry.name for entry, _ in runtime.served("BASE")] == ["base:a", "base:b"]
    assert [entry.name for entry, _ in runtime.served("base:B")] == ["base:b"]
    assert [header.metadata["general.architecture"] for _, header in runtime.served("me/base")] == ["llama"]


def test_an_adapter_must_be_one(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    with pytest.raises(BaseProblem, match=r"general\.type is not 'adapter'"):
        runtime.create(rendered(tmp_path, adapters=(tiny(tmp_path, "plain.gguf"),)), "coder", Heard())
    theirs = write_safetensors(tmp_path / "adapter_model.safetensors", {"lora_A.weight": ("F32", (8, 8))})
    with pytest.raises(BaseProblem, match="it is a safetensors file") as caught:
        runtime.create(rendered(tmp_path, adapters=(theirs,)), "coder", Heard())
    assert "convert_lora_to_gguf.py" in (caught.value.problems[0].hint or "")
    adapter = tiny(tmp_path, "lora.gguf", **{"general.type": "adapter"})
    made = runtime.create(rendered(tmp_path, adapters=(adapter,)), "coder", Heard())
    assert made.weights[1] == "sha256:" + hashlib.sha256(adapter.read_bytes()).hexdigest()


def test_a_file_that_is_no_gguf_is_refused_before_anything_is_written(
    runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    with pytest.raises(BaseProblem, match="not a GGUF file"):
        runtime.create(some_rendered(local(bad)), "coder", Heard())
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(b"cut")])
def test_a_model_whose_blob_is_gone_or_cut_is_broken_and_can_be_made_again(
    runtime: EmbeddedRuntime, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    order = rendered(tmp_path)
    made = runtime.create(order, "coder", Heard())
    spoil(runtime.store.blobs.path(made.weights[0]))
    assert runtime.expected(order) is None
    with pytest.raises(BrokenModel, match=r"its model sha256.* is missing or cut"):
        runtime.show("coder")
    assert runtime.create(order, "coder", Heard()) == made


def test_copy_and_delete(runtime: EmbeddedRuntime, tmp_path: Path, lock: Lock) -> None:
    made = runtime.create(rendered(tmp_path), "coder", Heard())
    runtime.copy("coder", "modelforge/kept:abc")
    runtime.delete("CODER")
    assert runtime.show("coder") is None
    assert runtime.show("modelforge/kept:abc") == made
    assert lock.times == 3
    runtime.delete("modelforge/kept:abc")
    runtime.delete("modelforge/kept:abc")
    assert list((tmp_path / "store" / "blobs").iterdir()) == []


def test_what_a_killed_build_left_is_cleaned_by_the_next(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    from modelforge.runtimes import blobs  # noqa: PLC0415

    runtime.create(rendered(tmp_path), "coder", Heard())
    left = tmp_path / "store" / "blobs" / f"sha256-modelforge-{blobs._node()}-99999999-abcdef01"
    left.write_bytes(b"half")
    runtime.create(rendered(tmp_path, system="x"), "coder", Heard())
    assert not left.exists()


@pytest.mark.parametrize("error", [BuildFailed("the disk is full"), KeyboardInterrupt()])
def test_a_build_that_fails_leaves_no_new_blobs(
    runtime: EmbeddedRuntime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    made = runtime.create(rendered(tmp_path), "coder", Heard())
    before = sorted((tmp_path / "store" / "blobs").iterdir())

    def fail(*_args: object) -> NoReturn:
        raise error

    monkeypatch.setattr(Store, "write", fail)
    other = some_rendered(local(tiny(tmp_path, "other.gguf", **{"general.name": "another"})), system="x")
    with pytest.raises(type(error)):
        runtime.create(other, "coder", Heard())
    assert sorted((tmp_path / "store" / "blobs").iterdir()) == before
    assert runtime.show("coder") == made


# -- chat --------------------------------------------------------------------------------------------


def test_a_chat_has_the_models_own_system_messages_and_parameters(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    shot = Turn(role="assistant", content="Ahoy!")
    parameters = {"num_ctx": 512, "temperature": 0.5, "top_k": 7, "num_gpu": 0}
    runtime.create(
        rendered(tmp_path, system="Pirate.", messages=(shot,), parameters=parameters), "coder", Heard()
    )
    pieces: list[str] = []
    reply = runtime.chat(
        "coder", ChatRequest(messages=USER, options={"top_k": 9, "num_predict": 5}), pieces.append
    )
    (loading,), (asked,) = llama.loads, llama.asked
    assert (loading.num_ctx, loading.num_gpu, loading.adapters) == (512, 0, ())
    assert Path(loading.model).read_bytes() == (tmp_path / "tiny.gguf").read_bytes()
    assert [(turn["role"], turn["content"]) for turn in asked["messages"]] == [
        ("system", "Pirate."),
        ("assistant", "Ahoy!"),
        ("user", "Hello!"),
    ]
    assert {key: asked[key] for key in ("temperature", "top_k", "n_predict", "stop")} == {
        "temperature": 0.5,
        "top_k": 9,
        "n_predict": 5,
        "stop": ["<|im_start|>", "<|im_end|>"],
    }
    assert "num_ctx" not in asked
    assert (pieces, reply.load_seconds) == (["ok"], 0.25)


def test_what_nobody_says_is_ollamas_default_not_llama_cpps(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    runtime.create(rendered(tmp_path, parameters={}), "coder", Heard())
    runtime.chat("coder", ChatRequest(messages=USER, options={}))
    asked = llama.asked[0]
    assert (asked["top_p"], asked["min_p"], asked["temperature"]) == (0.9, 0.0, 0.8)
    assert asked["seed"] == 0xFFFFFFFF
    assert llama.loads[0].num_ctx == 4096


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("json", {"type": "json_object"}),
        ({"type": "object"}, {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}),
    ],
)
def test_a_format_is_asked_for(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama, given: Any, sent: object
) -> None:
    tool = {"type": "function", "function": {"name": "add"}}
    runtime.create(rendered(tmp_path), "coder", Heard())
    runtime.chat("coder", ChatRequest(messages=USER, options={}, format=given, tools=(tool,)))
    assert llama.asked[0]["response_format"] == sent
    assert llama.asked[0]["tools"] == [tool]


def test_adapters_are_loaded(runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama) -> None:
    adapter = tiny(tmp_path, "lora.gguf", **{"general.type": "adapter"})
    made = runtime.create(rendered(tmp_path, adapters=(adapter,)), "coder", Heard())
    runtime.chat("coder", ChatRequest(messages=USER, options={}))
    assert llama.loads[0].adapters == (str(runtime.store.blobs.path(made.weights[1])),)


def test_a_chat_with_nothing_is_refused(runtime: EmbeddedRuntime) -> None:
    with pytest.raises(SmokeFailed, match="there is no model coder"):
        runtime.chat("coder", ChatRequest(messages=USER, options={}))


def test_embeddings_are_made_with_the_models_own_parameters(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    order = some_rendered(
        local(tiny_bert(tmp_path / "encoder-F32.gguf")), parameters={"num_ctx": 64, "num_batch": 32}
    )
    runtime.create(order, "encoder", Heard())
    made = runtime.embed("encoder", ("a", "b"), {"num_batch": 16, "temperature": 0.0})
    (loading,) = llama.loads
    assert (loading.embedding, loading.num_ctx, loading.num_batch) == (True, 64, 16)
    assert llama.embedded == [("a", "b")]
    assert (len(made.vectors), made.load_seconds) == (2, 0.25)


def test_an_embedding_model_lacks_no_chat_template(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    heard = Heard()
    order = some_rendered(local(tiny_bert(tmp_path / "encoder-F32.gguf")))
    assert runtime.create(order, "encoder", heard).template == ""
    assert [event.text for event in heard.events if isinstance(event, Step) and event.kind == "warning"] == []


def test_what_a_model_does_not_do_is_refused_before_it_is_loaded(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    runtime.create(some_rendered(local(tiny_bert(tmp_path / "encoder-F32.gguf"))), "encoder", Heard())
    runtime.create(rendered(tmp_path), "coder", Heard())
    with pytest.raises(SmokeFailed, match="encoder makes embeddings and answers no chat") as chat:
        runtime.chat("encoder", ChatRequest(messages=USER, options={}))
    with pytest.raises(SmokeFailed, match="coder answers chats and makes no embeddings") as embed:
        runtime.embed("coder", ("a",), {})
    assert "closer_to" in str(chat.value.problems[0].hint)
    assert "contains" in str(embed.value.problems[0].hint)
    with pytest.raises(SmokeFailed, match="there is no model nobody"):
        runtime.embed("nobody", ("a",), {})
    assert llama.loads == []


@pytest.mark.parametrize("jinja", [CHATML, None])
def test_a_go_template_of_somebodys_own_makes_the_prompt(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama, jinja: str | None
) -> None:
    own = "{{ range .Messages }}[{{ .Role }}] {{ .Content }}\n{{ end }}[answer]"
    order = some_rendered(
        local(tiny(tmp_path, jinja=jinja)), template=own, system="S", parameters={"stop": ("[",)}
    )
    runtime.create(order, "coder", Heard())
    runtime.chat("coder", ChatRequest(messages=USER, options={"temperature": 0}, format="json"))
    asked = llama.asked[0]
    assert asked["prompt"] == "[system] S\n[user] Hello!\n[answer]"
    assert (asked["temperature"], asked["stop"], asked["json_schema"]) == (0, ["["], {})
    assert "messages" not in asked


def test_tools_with_a_go_template_need_a_server(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    runtime.create(rendered(tmp_path, template="<|im_start|>{{ .Prompt }}"), "coder", Heard())
    tool = {"type": "function", "function": {"name": "add"}}
    with pytest.raises(SmokeFailed, match="only an Ollama server can do") as caught:
        runtime.chat("coder", ChatRequest(messages=USER, options={}, tools=(tool,)))
    assert "--runtime ollama" in str(caught.value.problems[0].hint)
    assert llama.loads == []


def test_a_go_template_that_fails_is_told_with_its_line(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    runtime.create(rendered(tmp_path, template="a\n{{ .Prompt.Nope }}"), "coder", Heard())
    with pytest.raises(SmokeFailed, match="fails in line 2: Hello! has no field Nope"):
        runtime.chat("coder", ChatRequest(messages=USER, options={}))


def test_a_template_that_can_do_less_than_the_jinja_is_passed_over_as_servers_do(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    jinja = CHATML + "{% if tools %}{{ tools }}{% endif %}"
    order = some_rendered(local(tiny(tmp_path, jinja=jinja)), template="[{{ .Prompt }}]")
    runtime.create(order, "coder", Heard())
    runtime.chat("coder", ChatRequest(messages=USER, options={}))
    assert llama.asked[0]["messages"] == [{"role": "user", "content": "Hello!"}]


def test_a_parser_alone_has_prompts_sent_bare_as_servers_do(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    jinja = (
        "{% for message in messages %}<<{{ message.content }}>>{% endfor %}"  # nobody's format that we know
    )
    runtime.create(
        some_rendered(local(tiny(tmp_path, jinja=jinja)), system="S", parser="qwen3"), "coder", Heard()
    )
    runtime.chat("coder", ChatRequest(messages=USER, options={}))
    assert llama.asked[0]["prompt"] == "Hello!"


@pytest.mark.parametrize("jinja", [CHATML, None])
def test_a_renderer_is_stood_in_for_by_the_jinja(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama, jinja: str | None
) -> None:
    order = some_rendered(
        local(tiny(tmp_path, jinja=jinja)), template="{{ .Prompt }}", renderer="qwen3-coder"
    )
    runtime.create(order, "coder", Heard())
    if jinja:
        runtime.chat("coder", ChatRequest(messages=USER, options={}))
        assert llama.asked[0]["messages"] == [{"role": "user", "content": "Hello!"}]
    else:
        with pytest.raises(
            SmokeFailed, match="made by Ollama's renderer qwen3-coder, which only an Ollama server"
        ):
            runtime.chat("coder", ChatRequest(messages=USER, options={}))


def test_placement_is_told_only_of_what_is_loaded(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama
) -> None:
    runtime.create(rendered(tmp_path), "coder", Heard())
    other = some_rendered(local(tiny(tmp_path, "other.gguf", **{"general.name": "another"})))
    runtime.create(other, "other", Heard())
    assert runtime.placement("coder") is None
    runtime.chat("coder", ChatRequest(messages=USER, options={}))
    assert runtime.placement("coder") == Placement(bytes=10, vram=0)
    assert runtime.placement("other") is None
    assert runtime.placement("nothing") is None
    runtime.unload("coder")
    assert llama.loaded is None


def test_conversations_are_put_together_as_ollama_does(runtime: EmbeddedRuntime, tmp_path: Path) -> None:
    shots = (Turn(role="user", content="a"), Turn(role="assistant", content="b"))
    standing = runtime.create(rendered(tmp_path, system="S", messages=shots), "coder", Heard())
    system = Turn(role="system", content="S")
    own = Turn(role="system", content="own")
    assert conversation(standing, USER) == (system, *shots, *USER)
    assert conversation(standing, (own, *USER)) == (*shots, own, *USER)
    assert conversation(standing, ()) == (system, *shots)
    assert conversation(replace(standing, system=""), USER) == (*shots, *USER)


def test_a_template_that_ollama_adds_itself_counts_as_the_ggufs_own(
    runtime: EmbeddedRuntime, tmp_path: Path, llama: FakeLlama, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = "stands for one of Ollama's own"
    known = {"imported": [hashlib.sha256(template.encode()).hexdigest()]}
    runtime.create(rendered(tmp_path, template=template), "coder", Heard())
    monkeypatch.setattr("modelforge.chat_templates._table", lambda: known)
    runtime.chat("coder", ChatRequest(messages=USER, options={}))
    assert len(llama.asked) == 1


def test_the_formats_stop_texts_need_the_files_own_end_token(
    runtime: EmbeddedRuntime, tmp_path: Path
) -> None:
    path = tmp_path / "zephyr.gguf"
    keys = {
        "general.architecture": "llama",
        "tokenizer.chat_template": JINJAS["zephyr"].jinja,
        "tokenizer.ggml.tokens": Typed("str", ("<s>", "</s>")),
        "tokenizer.ggml.eos_token_id": 1,
    }
    write_gguf(path, keys, [])
    made = runtime.create(some_rendered(local(path), parameters={}), "coder", Heard())
    assert made.parameters == {"stop": ("<|system|>", "<|user|>", "<|assistant|>", "</s>")}
