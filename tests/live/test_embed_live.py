"""Embeddings on both real servers and on llama.cpp, of an encoder that all three load: the same vectors, and errors."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from modelforge.bases import LocalFile
from modelforge.checks.vectors import cosine
from modelforge.errors import ForgeError, SmokeFailed
from modelforge.events import silent
from modelforge.filehash import Hashes
from modelforge.project_settings import Timeouts
from modelforge.runtimes import ChatRequest, Turn
from modelforge.runtimes.ollama import connect
from modelforge.runtimes.ollama_cli import local_command
from modelforge.runtimes.ollama_host import parse_host
from tests.embedders import CONTEXT, WIDTH, tiny_bert, tiny_qwen3
from tests.fakes import some_candidate, some_rendered
from tests.live.forge import Forge, quickstart
from tests.live.servers import OLD, choices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from modelforge.render import Rendered
    from modelforge.runtimes import Runtime
    from modelforge.runtimes.embedded import EmbeddedRuntime
    from modelforge.runtimes.ollama import OllamaRuntime
    from tests.live.servers import Server

pytest.importorskip(
    "xllamacpp", reason="xllamacpp is not installed: pip install 'ollama-modelforge[embedded]'"
)

TEXTS = ("How do I reset my password?", "How do I recover my password?", "The weather in Lisbon")
HELLO = ChatRequest(messages=(Turn(role="user", content="Hello!"),), options={"num_ctx": 64})
SPECIAL = 2
"""Tokens around every text: [CLS] and [SEP]."""


@pytest.fixture
def embedded(open_embedded: Callable[[Path], EmbeddedRuntime], tmp_path: Path) -> EmbeddedRuntime:
    return open_embedded(tmp_path / "store")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return tiny_bert(tmp_path / "encoder-F32.gguf")


@pytest.fixture(params=[*choices(), "embedded"])
def server_if_any(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server | None:
    """Each server without any models, and none."""
    if request.param == "embedded":
        return None
    found = servers(request.param)
    found.start()
    found.clear()
    return found


@pytest.fixture
def runtime(server_if_any: Server | None, embedded: EmbeddedRuntime, tmp_path: Path) -> Iterator[Runtime]:
    """Our runtime over it, or over llama.cpp."""
    if server_if_any is None:
        yield embedded
        return
    host = parse_host(server_if_any.host, "OLLAMA_HOST")
    opened = connect(
        host,
        timeouts=Timeouts(),
        via="api",
        lock=nullcontext,
        hashes=Hashes(tmp_path / "hashes"),
        command=local_command(host, environment=server_if_any.environment, seconds=300),
    )
    yield opened
    opened.close()


def on(file: Path, **request: object) -> Rendered:
    return some_rendered(some_candidate(source=LocalFile(path=file, bytes=file.stat().st_size)), **request)


def words(count: int) -> str:
    """A text of so many tokens, with those around it."""
    return "x " * (count - SPECIAL)


@pytest.mark.parametrize("write", [tiny_bert, tiny_qwen3])
def test_llama_cpp_and_servers_make_the_same_vectors(
    ollama: OllamaRuntime, embedded: EmbeddedRuntime, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    file = write(tmp_path / "tiny-F32.gguf")
    made = []
    for runtime in (ollama, embedded):
        runtime.create(on(file), "tiny", silent)
        made.append(runtime.embed("tiny", TEXTS, {"num_ctx": CONTEXT}))
    served, ours = made
    assert served.prompt_tokens == ours.prompt_tokens
    for one, other in zip(served.vectors, ours.vectors, strict=True):
        assert cosine(one, other) > 0.99999
        assert one == pytest.approx(other, abs=2e-3)  # 0.24 has an engine of its own


def test_a_vector_for_each_text_and_what_it_took(runtime: Runtime, encoder: Path) -> None:
    runtime.create(on(encoder), "encoder", silent)
    first = runtime.embed("encoder", TEXTS, {"num_ctx": CONTEXT})
    assert [len(vector) for vector in first.vectors] == [WIDTH] * 3
    assert [math.hypot(*vector) for vector in first.vectors] == pytest.approx([1.0] * 3, abs=1e-5)
    assert first.prompt_tokens == 24
    assert first.seconds > 0
    assert first.load_seconds > 0
    again = runtime.embed("encoder", TEXTS, {"num_ctx": CONTEXT})
    assert again.vectors == first.vectors
    assert again.load_seconds < first.load_seconds
    placed = runtime.placement("encoder")
    assert placed is not None
    assert placed.bytes > encoder.stat().st_size * 0.9


def test_same_words_are_nearer(runtime: Runtime, encoder: Path) -> None:
    runtime.create(on(encoder), "encoder", silent)
    prompt, same, near, far = runtime.embed("encoder", (TEXTS[0], *TEXTS), {}).vectors
    assert cosine(prompt, same) == pytest.approx(1, abs=1e-5)
    assert cosine(prompt, same) > cosine(prompt, near) > cosine(prompt, far) + 0.1


def test_a_text_that_is_too_long_is_an_error_not_cut(runtime: Runtime, encoder: Path) -> None:
    runtime.create(on(encoder, parameters={"num_ctx": 4096}), "encoder", silent)
    assert runtime.embed("encoder", (words(CONTEXT),), {}).prompt_tokens == CONTEXT
    too_long = "exceeds the context length|is larger than the max context size|is too large to process"
    for text, options in ((words(CONTEXT + 1), {}), (words(17), {"num_ctx": 16})):
        with pytest.raises(SmokeFailed, match=too_long) as caught:
            runtime.embed("encoder", (TEXTS[0], text), options)
        assert "raise num_ctx" in str(caught.value.problems[0].hint)
    assert runtime.embed("encoder", (words(16),), {"num_ctx": 16}).prompt_tokens == 16


@pytest.mark.parametrize("write", [tiny_bert, tiny_qwen3])
def test_a_chat_with_an_embedding_model_says_what_to_test_instead(
    runtime: Runtime, tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    runtime.create(on(write(tmp_path / "tiny-F32.gguf")), "tiny", silent)
    with pytest.raises(SmokeFailed, match="tiny makes embeddings and answers no chat") as caught:
        runtime.chat("tiny", HELLO)
    assert "expect = { closer_to = " in str(caught.value.problems[0].hint)
    assert caught.value.exit_code == 8
    assert len(runtime.embed("tiny", TEXTS, {}).vectors) == 3


def test_embeddings_of_a_chat_model_say_what_to_test_instead(runtime: Runtime, tiny: Path) -> None:
    runtime.create(on(tiny), "coder", silent)
    if runtime.info.version == OLD:  # it makes them, of whatever use they are
        assert len(runtime.embed("coder", TEXTS, {}).vectors) == 3
        return
    with pytest.raises(SmokeFailed, match="coder answers chats and makes no embeddings") as caught:
        runtime.embed("coder", TEXTS, {})
    assert "expect = { contains = " in str(caught.value.problems[0].hint)
    assert runtime.chat("coder", HELLO).text


def test_a_model_that_is_not_there(runtime: Runtime) -> None:
    with pytest.raises(SmokeFailed, match="nobody"):
        runtime.embed("nobody", TEXTS, {})


def test_a_broken_encoder_makes_zeros(runtime: Runtime, tmp_path: Path) -> None:
    runtime.create(on(tiny_bert(tmp_path / "dead-F32.gguf", factor=0.0)), "dead", silent)
    assert set(runtime.embed("dead", TEXTS, {}).vectors) == {(0.0,) * WIDTH}


def test_nan_is_never_a_vector(runtime: Runtime, tmp_path: Path) -> None:
    """llama.cpp's server tells it, 0.24 has an error for it, and 0.32 makes zeros of it, or refuses the file."""
    try:
        runtime.create(on(tiny_bert(tmp_path / "nan-F32.gguf", factor=math.nan)), "nan", silent)
        vectors = runtime.embed("nan", TEXTS, {}).vectors
    except ForgeError as error:
        assert "NaN" in str(error) or "failed to validate GGUF" in str(error)  # noqa: PT017
    else:
        assert all(math.isnan(number) for vector in vectors for number in vector)


# -- a whole profile, through the command line -------------------------------------------------------

PROFILE = f"""\
description = "Text to vectors"

[base]
model = "./models/encoder-F32.gguf"

[parameters]
num_ctx = {CONTEXT}

[[smoke]]
name = "a paraphrase is nearer than another subject"
prompt = "{TEXTS[0]}"
expect = {{ dimensions = {WIDTH}, closer_to = "{TEXTS[1]}", than = "{TEXTS[2]}" }}

[[smoke]]
name = "is soon done"
prompt = "{TEXTS[0]}"
parameters.num_ctx = 32
runs = 2
expect = {{ dimensions = {WIDTH}, max_seconds = 20, loaded_on = "cpu", max_vram = "0B" }}
"""


@pytest.fixture
def forge(server_if_any: Server | None, tmp_path: Path) -> Forge:
    """A project with the encoder; `build` in it uses a server, or none."""
    environment = {"MODELFORGE_RUNTIME": "embedded"}
    if server_if_any is not None:
        environment = {"MODELFORGE_RUNTIME": "ollama", "OLLAMA_HOST": server_if_any.host}
    made = quickstart(tmp_path / "forge", **environment)
    tiny_bert(made.project / "models" / "encoder-F32.gguf")
    made.profile("encoder", PROFILE)
    return made


def test_a_profile_of_an_encoder_is_built_and_tested(forge: Forge, tmp_path: Path) -> None:
    done = forge.run("build", "encoder", "--json", "--junit", str(tmp_path / "report.xml"))
    assert done.code == 0, done.err
    (variant,) = done.document["variants"]
    near, soon = variant["smoke"]["results"]
    assert (variant["status"], near["verdict"], soon["verdict"]) == ("built", "passed", "passed")
    assert (near["reply"], near["tokens_per_second"]) == (f"{WIDTH} numbers", None)
    nearness = {check["kind"]: check for check in near["checks"]}["closer_to"]
    assert nearness["expected"] == f'"{TEXTS[1]}" than "{TEXTS[2]}"'
    nearer, farther = map(float, nearness["got"].split(" against "))
    assert 1 > nearer > farther > -1
    assert 'failures="0"' in (tmp_path / "report.xml").read_text(encoding="utf-8")
    again = forge.run("smoke", "encoder")
    assert again.code == 0, again.err
    assert "✓ a paraphrase is nearer than another sub…" in again.out + again.err
    assert "2 of 2 runs passed" in again.out + again.err


def test_a_test_that_fails_keeps_the_encoder_from_its_name(forge: Forge, tmp_path: Path) -> None:
    forge.edit("profiles/encoder.toml", f"dimensions = {WIDTH}, closer_to", "dimensions = 768, closer_to")
    done = forge.run("build", "encoder", "--json", "--junit", str(tmp_path / "report.xml"))
    assert done.code == 8, done.err
    (variant,) = done.document["variants"]
    result = variant["smoke"]["results"][0]
    failed = [check for check in result["checks"] if check["verdict"] == "failed"]
    assert failed == [
        {"kind": "dimensions", "verdict": "failed", "expected": "768", "got": f"{WIDTH} numbers"}
    ]
    assert f"dimensions 768: {WIDTH} numbers" in (tmp_path / "report.xml").read_text(encoding="utf-8")


def test_a_chat_test_of_an_encoder_says_what_to_write(forge: Forge) -> None:
    forge.edit(
        "profiles/encoder.toml",
        f'expect = {{ dimensions = {WIDTH}, closer_to = "{TEXTS[1]}", than = "{TEXTS[2]}" }}',
        'expect = { contains = "x" }',
    )
    done = forge.run("build", "encoder")
    assert done.code == 8
    assert "makes embeddings and answers no chat" in done.err
    assert 'expect = { closer_to = "a paraphrase", than = "another subject" }' in done.err
