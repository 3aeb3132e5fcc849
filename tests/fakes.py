"""A runtime in memory, and sample records, for the tests of everything that stands on a runtime.

`FakeRuntime` keeps names as Ollama does: a name without a tag is `:latest`, case does not tell names apart,
a copy replaces what stood, a name can be broken (its manifest cut short) and is then repaired by copying or
creating over it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from modelforge.bases import (
    Candidate,
    HubFile,
    LocalFile,
    LocalFolder,
    RegistryModel,
    ServedModel,
    SplitModel,
)
from modelforge.errors import BuildFailed, SmokeFailed
from modelforge.events import Progress, Step
from modelforge.render import Rendered, Request
from modelforge.runtimes import (
    BrokenModel,
    ChatReply,
    ChatRequest,
    Embeddings,
    Entry,
    ParameterValue,
    Placement,
    RuntimeInfo,
    Standing,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelforge.download import Fetch
    from modelforge.events import Emit, Event
    from modelforge.gguf import Header
    from modelforge.runtimes import Runtime
    from modelforge.shape import ModelShape

Answer: TypeAlias = "str | ChatReply | Exception | Callable[[ChatRequest], str | ChatReply]"
Vector: TypeAlias = "tuple[float, ...] | Exception"
ON_CPU = Placement(bytes=1000, vram=0)
ON_GPU = Placement(bytes=1000, vram=1000)
When: TypeAlias = Literal["before", "after", "broken"]


def full_name(name: str) -> str:
    """The name with its tag, as the runtime lists it."""
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def digest(text: str) -> str:
    """`sha256:<hex>` of a text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@dataclass(kw_only=True, slots=True)
class Failure:
    """A call that shall fail: the n-th from now of `method` ("*": of all), before or after it had its effect.

    "broken" is the death of a server in a copy or create: the name is left with a manifest that cannot be read.
    """

    method: str
    error: BaseException
    nth: int
    when: When
    for_good: bool = False


class FakeRuntime:
    """The Runtime protocol over dictionaries. Look into `models`, `broken`, `loaded`, `calls`, `chats`, `embeds`.

    `vectors` are scripted as `answers` are: one for each text, or several, one after the other.
    """

    def __init__(
        self,
        *,
        info: RuntimeInfo | None = None,
        answers: Mapping[str, Answer | list[Answer]] | None = None,
        default: Answer = "ok",
        place: Placement | None = ON_CPU,
    ) -> None:
        self._info = info or RuntimeInfo(kind="ollama", version="0.32.15", endpoint="127.0.0.1:11434")
        self.answers = dict(answers or {})
        self.default = default
        self.place = place
        self.models: dict[str, Standing] = {}
        self.broken: set[str] = set()
        self.modified: dict[str, float] = {}
        self.loaded: dict[str, Placement | None] = {}
        self.weights: set[str] = set()
        self.headers: dict[str, Header] = {}
        self.calls: list[tuple[str, ...]] = []
        self.chats: list[tuple[str, ChatRequest]] = []
        self.vectors: dict[str, Vector | list[Vector]] = {}
        self.embeds: list[tuple[str, tuple[str, ...], dict[str, ParameterValue]]] = []
        self.closed = False
        self._failures: list[Failure] = []
        self._dead: BaseException | None = None
        self._now = 1_790_000_000.0

    # -- what a test arranges ------------------------------------------------------------------------

    def fail(
        self,
        method: str,
        error: BaseException | None = None,
        *,
        nth: int = 1,
        when: When = "before",
        for_good: bool = False,
    ) -> None:
        """The n-th call from now of `method` ("*": any method) raises `error`; once, or all from then on."""
        chosen = error or BuildFailed(f"{method} was told to fail")
        self._failures.append(Failure(method=method, error=chosen, nth=nth, when=when, for_good=for_good))

    def heal(self) -> None:
        """From now on nothing fails."""
        self._failures.clear()
        self._dead = None

    def stand(self, name: str, standing: Standing | None = None) -> Standing:
        """Puts a model there, as if somebody else had made it."""
        made = standing or some_standing()
        return self._put(name, made)

    def break_name(self, name: str) -> None:
        """What a server leaves that died in a copy: the name is there, its manifest is empty."""
        key = self._key(name)
        self.models.pop(key, None)
        self.broken.add(key)

    def names(self) -> list[str]:
        """All readable names, sorted."""
        return sorted(self.models)

    def called(self, method: str) -> list[tuple[str, ...]]:
        """The arguments of all calls of one method."""
        return [call[1:] for call in self.calls if call[0] == method]

    # -- the protocol --------------------------------------------------------------------------------

    @property
    def info(self) -> RuntimeInfo:
        return self._info

    def served(self, base: str) -> tuple[tuple[Entry, Header], ...]:
        self._begin("served", base)
        wanted = base.casefold()
        named = [entry for entry in self._entries() if entry.name in self.headers]
        return tuple(
            (entry, self.headers[entry.name])
            for entry in named
            if wanted in {entry.name.casefold(), entry.name.casefold().rpartition(":")[0]}
        )

    def expected(self, rendered: Rendered) -> Standing | None:
        self._begin("expected", rendered.base.ref)
        source = rendered.base.source
        if isinstance(source, RegistryModel) and not rendered.base.quantize and not self._has(source):
            return None
        made = self._made(rendered)
        return made if set(made.weights) <= self._weights_here() else None

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:
        after = self._begin("bring", model.name)
        if not self._has(model):
            emit(Step(stage="pull", text=model.name))
            weights = []
            for blob in model.blobs[:-1]:
                with fetch.open(blob.digest, 0) as pieces:
                    weights.append("sha256:" + hashlib.sha256(b"".join(pieces)).hexdigest())
            self._put(model.name, some_standing(weights=tuple(weights), manifest=model.digest))
        self._end(after)
        return ServedModel(name=model.name, digest=model.digest)

    def create(self, rendered: Rendered, name: str, emit: Emit) -> Standing:
        after = self._begin("create", name)
        if after and after.when == "broken":
            self.break_name(name)
            raise after.error
        emit(Step(stage="create", text=f"{self._info.kind} {self._info.version} at {self._info.endpoint}"))
        emit(Progress(stage="create", text="weights", done=100, total=100))
        made = self._made(rendered)
        self._needs_base(rendered.base)
        self.weights.update(made.weights)
        standing = self._put(name, made)
        self._end(after)
        return standing

    def show(self, name: str) -> Standing | None:
        self._end(self._begin("show", name))
        key = self._key(name)
        if key in self.broken:
            raise BrokenModel(f"{key} cannot be read")
        return self.models.get(key)

    def chat(
        self, name: str, request: ChatRequest, on_text: Callable[[str], None] | None = None
    ) -> ChatReply:
        after = self._begin("chat", name)
        key = self._key(name)
        if key not in self.models:
            raise SmokeFailed(f"model '{key}' not found")
        self.chats.append((key, request))
        self.loaded[key] = self.place
        reply = as_reply(self._answer(request), request)
        if on_text and reply.text:
            on_text(reply.text)
        self._end(after)
        return reply

    def embed(self, name: str, texts: Sequence[str], options: Mapping[str, ParameterValue]) -> Embeddings:
        after = self._begin("embed", name)
        key = self._key(name)
        if key not in self.models:
            raise SmokeFailed(f"model '{key}' not found")
        self.embeds.append((key, tuple(texts), dict(options)))
        self.loaded[key] = self.place
        answer = some_embeddings(*(self._vector(text) for text in texts))
        self._end(after)
        return answer

    def copy(self, source: str, destination: str) -> None:
        after = self._begin("copy", source, destination)
        if after and after.when == "broken":
            self.break_name(destination)
            raise after.error
        key = self._key(source)
        if key in self.broken:  # a server answers 200 and makes another broken one
            self.break_name(destination)
        elif key in self.models:
            self._put(destination, self.models[key])
        else:
            raise BuildFailed(f"model '{key}' not found")
        self._end(after)

    def delete(self, name: str) -> None:
        after = self._begin("delete", name)
        key = self._key(name)
        for kept in (self.models, self.modified, self.loaded):
            kept.pop(key, None)
        self.broken.discard(key)
        self._end(after)

    def list(self) -> tuple[Entry, ...]:
        self._end(self._begin("list"))
        return self._entries()

    def placement(self, name: str) -> Placement | None:
        self._end(self._begin("placement", name))
        return self.loaded.get(self._key(name))

    def unload(self, name: str) -> None:
        after = self._begin("unload", name)
        self.loaded.pop(self._key(name), None)
        self._end(after)

    def close(self) -> None:
        self.closed = True

    # -- inside --------------------------------------------------------------------------------------

    def _begin(self, method: str, *arguments: str) -> Failure | None:
        """Writes the call down; raises what is due before it, returns what is due after it."""
        self.calls.append((method, *arguments))
        if self._dead is not None:
            raise self._dead
        for failure in [one for one in self._failures if one.method in {method, "*"}]:
            failure.nth -= 1
            if failure.nth:
                continue
            self._failures.remove(failure)
            self._dead = failure.error if failure.for_good else None
            if failure.when == "before":
                raise failure.error
            return failure
        return None

    @staticmethod
    def _end(failure: Failure | None) -> None:
        if failure:
            raise failure.error

    def _key(self, name: str) -> str:
        """The name as it stands: the spelling of an existing name is reused."""
        wanted = full_name(name)
        standing = [*self.models, *self.broken]
        return next((one for one in standing if one.casefold() == wanted.casefold()), wanted)

    def _put(self, name: str, standing: Standing) -> Standing:
        key = self._key(name)
        self._now += 1
        made = standing  # a copy keeps the digest, as the manifest's bytes stay the same
        if not made.manifest:
            made = replace(standing, manifest=digest(f"{key} {standing!r}"))
        self.models[key], self.modified[key] = made, self._now
        self.broken.discard(key)
        return made

    def _entries(self) -> tuple[Entry, ...]:
        return tuple(
            Entry(name=name, digest=standing.manifest, bytes=self._bytes(name), modified=self.modified[name])
            for name, standing in sorted(self.models.items())
        )

    def _bytes(self, name: str) -> int:
        return self.headers[name].file_bytes if name in self.headers else 1000

    def _has(self, model: RegistryModel) -> bool:
        standing = self.models.get(self._key(model.name))
        return standing is not None and standing.manifest == model.digest

    def _weights_here(self) -> set[str]:
        return self.weights.union(*(standing.weights for standing in self.models.values()))

    def _made(self, rendered: Rendered) -> Standing:
        """What a model of this would have: the base's, and over it what the request sets."""
        base, request = self._base(rendered.base), rendered.request
        return Standing(
            weights=base.weights + tuple(digest(str(path)) for path in request.adapters),
            system=base.system if request.system is None else request.system,
            template=base.template if request.template is None else request.template,
            license=request.license or base.license,
            parameters={**base.parameters, **request.parameters},
            messages=request.messages or base.messages,
            renderer=request.renderer or base.renderer,
            parser=request.parser or base.parser,
            requires=request.requires or base.requires,
            manifest="",
        )

    def _needs_base(self, base: Candidate) -> None:
        """What is made of a model needs it until it has been made; a registry's must have been brought."""
        source, quantized = base.source, base.quantize is not None
        if isinstance(source, LocalFile | LocalFolder) or (
            quantized and self._quantized(base) in self.weights
        ):
            return
        if isinstance(source, SplitModel):
            if source.whole is None and base.digest not in self._weights_here():
                raise BuildFailed(f"the parts of '{base.ref}' were not joined")
            return
        there = self._key(source.name) in self.models
        if isinstance(source, HubFile):
            there = base.digest in self._weights_here()
        if not there or (quantized and isinstance(source, RegistryModel)):
            raise BuildFailed(f"model '{source.name}' not found")

    @staticmethod
    def _quantized(base: Candidate) -> str:
        return digest(f"{base.digest} as {base.quantize}")

    def _base(self, base: Candidate) -> Standing:
        source = base.source
        if isinstance(source, HubFile | SplitModel):
            return some_standing(weights=(base.digest or "",))
        if base.quantize is not None and not isinstance(source, LocalFile | LocalFolder):
            return some_standing(weights=(self._quantized(base),))
        if not isinstance(source, LocalFile | LocalFolder):
            standing = self.models.get(self._key(source.name))
            if standing is None:
                raise BuildFailed(f"model '{source.name}' not found")
            return standing
        content = source.path.read_bytes() if source.path.is_file() else base.ref.encode()
        return replace(some_standing(), weights=("sha256:" + hashlib.sha256(content).hexdigest(),))

    def _answer(self, request: ChatRequest) -> str | ChatReply:
        prompt = request.messages[-1].content if request.messages else ""
        answer = self.answers.get(prompt, self.default)
        if isinstance(answer, list):  # one after the other; the last one again and again
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    def _vector(self, text: str) -> tuple[float, ...]:
        """The scripted vector; any other text's has as many numbers, and points where no other text does."""
        vector = self.vectors.get(
            text, tuple(float(byte) for byte in hashlib.sha256(text.encode()).digest()[:4])
        )
        if isinstance(vector, list):
            vector = vector.pop(0) if len(vector) > 1 else vector[0]
        if isinstance(vector, Exception):
            raise vector
        return vector


def as_reply(answer: str | ChatReply, request: ChatRequest) -> ChatReply:
    """A scripted text as a reply; longer than num_predict words, it is cut there."""
    if isinstance(answer, ChatReply):
        return answer
    limit = request.options.get("num_predict", -1)
    words = answer.split(" ")
    cut = isinstance(limit, int) and 0 < limit < len(words)
    text = " ".join(words[:limit]) if cut and isinstance(limit, int) else answer
    return some_reply(text, done_reason="length" if cut else "stop")


def some_reply(text: str = "ok", **changes: Any) -> ChatReply:
    """A reply with unremarkable figures."""
    reply = ChatReply(
        text=text,
        tool_calls=(),
        done_reason="stop",
        prompt_tokens=12,
        output_tokens=len(text.split()),
        seconds=0.5,
        first_token_seconds=0.1,
        load_seconds=0.2,
        tokens_per_second=50.0,
    )
    return replace(reply, **changes)


def some_embeddings(*vectors: tuple[float, ...], **changes: Any) -> Embeddings:
    """Embeddings with unremarkable figures."""
    made = Embeddings(vectors=vectors, prompt_tokens=12, seconds=0.25, load_seconds=0.5)
    return replace(made, **changes)


def some_standing(**changes: Any) -> Standing:
    """A model with weights and nothing else."""
    standing = Standing(
        weights=(digest("weights"),),
        system="",
        template="",
        license=(),
        parameters={},
        messages=(),
        renderer="",
        parser="",
        requires="",
        manifest="",
    )
    return replace(standing, **changes)


def some_candidate(**changes: Any) -> Candidate:
    """A local candidate; its shape is a stand-in that nobody may look into."""
    candidate = Candidate(
        ref="./models/tiny-Q8_0.gguf",
        size="tiny",
        quant="Q8_0",
        digest=None,
        source=LocalFile(path=Path("models/tiny-Q8_0.gguf"), bytes=1000),
        shape=cast("ModelShape", None),
    )
    return replace(candidate, **changes)


def some_request(**changes: Any) -> Request:
    """A request that sets nothing: all is inherited."""
    request = Request(
        system=None,
        template=None,
        license=(),
        parameters=cast("Mapping[str, ParameterValue]", {}),
        messages=cast("tuple[Turn, ...]", ()),
        adapters=(),
        renderer=None,
        parser=None,
        requires=None,
    )
    return replace(request, **changes)


def some_rendered(base: Candidate | None = None, **request: Any) -> Rendered:
    """A rendered profile; the keywords are the request's fields."""
    return Rendered(
        base=base or some_candidate(),
        request=some_request(**request),
        modelfile="FROM ./models/tiny-Q8_0.gguf\n",
        losses=(),
    )


@dataclass(slots=True)
class Heard:
    """An `Emit` that keeps what it hears."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    @property
    def texts(self) -> list[str]:
        """All lines and progress texts, in order."""
        return [event.text for event in self.events]


_CHECKED_BY_MYPY: Callable[[], Runtime] = FakeRuntime
