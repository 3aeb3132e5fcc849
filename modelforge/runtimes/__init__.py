"""What builds, holds and answers for models: one Protocol, a module for each runtime.

A runtime makes single steps. Their order, and what holds when one of them dies, is `build`'s alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from modelforge.errors import ExitCode, ForgeError
from modelforge.modelfile import Turn as Turn  # noqa: TC001 (re-exported)
from modelforge.parameters import ParameterValue as ParameterValue  # noqa: TC001 (re-exported)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelforge.bases import RegistryModel, ServedModel
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.gguf import Header
    from modelforge.render import Rendered

RuntimeKind: TypeAlias = Literal["ollama", "docker", "embedded"]

STAGED = "modelforge/staged"
WEIGHTS = "modelforge/weights"
KEPT = "modelforge/kept"
OWN = (STAGED, WEIGHTS, KEPT)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeInfo:
    """Which runtime this is: its kind, its version, and its URL or store folder.

    Of a container: the endpoint is `VOLUME@ENGINE-URL`, `image` its image's digest, `gpus` what it was given.
    """

    kind: RuntimeKind
    version: str
    endpoint: str
    image: str = ""
    gpus: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What a server that is started for a command shall have; one that runs already is as it is.

    `gpus` is how many a plan counts on, None for all that there are. `settings` are Ollama's variables.
    """

    gpus: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


ANYTHING = Need()
NOTHING = Need(gpus=0)
"""For commands that load no model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What a model on a runtime has, read back from there. Texts are exact.

    `weights` are the digests (`sha256:<hex>`) of the model, projector and adapter blobs, in order. `system`
    and `template` are "" where there is none. `parameters` hold numbers as int or float as the server shows
    them; compare with `same_parameters`. `manifest` is the digest of the manifest as the server lists it:
    an id of this very state, not comparable between names.
    """

    weights: tuple[str, ...]
    system: str
    template: str
    license: tuple[str, ...]
    parameters: Mapping[str, ParameterValue]
    messages: tuple[Turn, ...]
    renderer: str
    parser: str
    requires: str
    manifest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A line of the runtime's list: full name with tag, manifest digest, bytes, time of change (Unix s)."""

    name: str
    digest: str
    bytes: int
    modified: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCall:
    """A tool that the model wants called."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """One question. `messages` are sent as they are; the model's own system and messages come before them.

    `options` are Ollama's parameters and win over the model's. `format` is "json" or a JSON schema.
    """

    messages: tuple[Turn, ...]
    options: Mapping[str, ParameterValue]
    format: Literal["json"] | Mapping[str, Any] | None = None
    tools: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatReply:
    """The whole answer. Times in seconds; `seconds` and `first_token_seconds` do not count loading."""

    text: str
    tool_calls: tuple[ToolCall, ...]
    done_reason: str
    prompt_tokens: int
    output_tokens: int
    seconds: float
    first_token_seconds: float
    load_seconds: float
    tokens_per_second: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    """A vector for each text, as long as the model makes them; `seconds` for all of them, loading not counted.

    What is no number (llama.cpp writes null for NaN) is NaN here. `prompt_tokens` are those of all texts.
    """

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int
    seconds: float
    load_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a loaded model lies: all of it, and the part on GPUs, in bytes."""

    bytes: int
    vram: int


class BrokenModel(ForgeError):
    """A name whose manifest is there but cannot be read: a server died while it wrote it, or its disk was full."""

    exit_code = ExitCode.BUILD_FAILED
    kind = "build"


class Runtime(Protocol):
    """The steps that `build` is made of. Every one may raise `Unreachable`, writes also `BuildFailed`."""

    @property
    def info(self) -> RuntimeInfo:
        """Kind, version, endpoint."""

    def served(self, base: str) -> tuple[tuple[Entry, Header], ...]:
        """The models whose name is `base` (any tag, or just that one if it has a tag) and their headers."""

    def expected(self, rendered: Rendered) -> Standing | None:
        """What a model created from `rendered` would have, `manifest` empty; None: its weights are not here yet."""

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:
        """Has the runtime take a model from its registry, unless it has that very one, and gives what it is there.

        Raises:
            BuildFailed: it could not be brought.
            DownloadCut: the registry cannot be reached.
        """

    def create(self, rendered: Rendered, name: str, emit: Emit) -> Standing:
        """Makes the model under `name`, its weights first if need be, reads it back and compares.

        Raises:
            BuildFailed: it could not be made, or what stands there is not what was asked for.
        """

    def show(self, name: str) -> Standing | None:
        """What stands under `name`; None if nothing.

        Raises:
            BrokenModel: something that cannot be read.
        """

    def chat(
        self, name: str, request: ChatRequest, on_text: Callable[[str], None] | None = None
    ) -> ChatReply:
        """One answer, its text handed to `on_text` piece by piece as it comes.

        Raises:
            SmokeFailed: the model cannot be loaded, or stopped answering.
        """

    def embed(self, name: str, texts: Sequence[str], options: Mapping[str, ParameterValue]) -> Embeddings:
        """A vector for each text; `options` are Ollama's parameters and win over the model's.

        A text that the model cannot take whole is refused, never cut.

        Raises:
            SmokeFailed: the model cannot be loaded, makes no embeddings, or a text is too long.
        """

    def copy(self, source: str, destination: str) -> None:
        """Gives the model another name, over what stood there."""

    def delete(self, name: str) -> None:
        """Removes a name, broken ones too; no error if it is not there."""

    def list(self) -> tuple[Entry, ...]:
        """All models, our own included."""

    def placement(self, name: str) -> Placement | None:
        """Where the model lies now; None if it is not loaded, or the runtime cannot tell."""

    def unload(self, name: str) -> None:
        """Takes the model out of memory; no error if it is not loaded."""

    def close(self) -> None:
        """Lets go of connections and processes."""
