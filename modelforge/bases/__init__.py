"""Where weights come from: the candidates of a base.

`local` finds GGUF files in the project, `folder` a model there as safetensors, `served` the models that a runtime
already has, `registries` what a registry has that speaks Ollama's protocol, `hubcandidates` what a repository of
Hugging Face has. `quantized` is what a server makes of one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.shape import ModelShape


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A GGUF file on this machine: absolute path, size in bytes."""

    path: Path
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFolder:
    """A model as safetensors on this machine, which a server converts: absolute path, size in bytes of all files.

    `files` are the names of those that a server is sent, sorted.
    """

    path: Path
    files: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedModel:
    """A model that the runtime already has, under this name, with this manifest digest."""

    name: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Blob:
    """A blob of a model in a registry: its media type, `sha256:<hex>`, bytes."""

    media_type: str
    digest: str
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class RegistryModel:
    """A model in a registry, by the manifest that its tag led to when it was planned.

    `name` is what FROM says and what a server would pull (`qwen2.5-coder:7b-instruct-q6_K`,
    `localhost:5000/team/coder:v1`). `digest` is `sha256:<hex>` of `manifest`, the very bytes that the registry
    gave; a runtime that pulled it lists that digest. `blobs` are the layers and, last, the config. `insecure`: over
    plain http.
    """

    name: str
    digest: str
    manifest: bytes
    blobs: tuple[Blob, ...]
    insecure: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class HubFile:
    """A GGUF file in a repository of Hugging Face, as it is in one commit.

    `name` is what FROM says (`hf.co/org/repo:Q4_K_M`), `repository` and `path` where the file is there. `digest` is
    `sha256:<hex>` of its bytes. `here` is the file on this machine that it is downloaded to, which need not exist.
    """

    name: str
    repository: str
    commit: str
    path: str
    digest: str
    bytes: int
    here: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitModel:
    """A model in several GGUF files, in their order, all on this machine or all in one commit of a repository.

    `whole` is the file that they were joined into, None before that is done.
    """

    parts: tuple[LocalFile, ...] | tuple[HubFile, ...]
    whole: LocalFile | None = None

    @property
    def bytes(self) -> int:
        """Size in bytes of all parts."""
        return sum(part.bytes for part in self.parts)


Source: TypeAlias = LocalFile | LocalFolder | SplitModel | ServedModel | RegistryModel | HubFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One size × quant of the base.

    `ref` is what a person reads and what FROM says: `./models/tiny-Q8_0.gguf` (relative to the project) or
    `qwen2.5-coder:7b-instruct-q6_K`. `size` is the profile's word for it (`7b`), or the file's own label;
    `quant` is llama.cpp's spelling (`Q4_K_M`). `digest` is `sha256:<hex>` of the file or the served model's
    manifest, or what tells apart what is made of them; None where a file would have to be hashed first.
    `projector_bytes` is the size of image or sound encoders that come in files of their own, `projector` such a file
    where it is not a part of the source. `quantize` is the quant that a server makes of the source, None where the
    source is taken as it is; `quant` and `shape` are then those of what is made.
    """

    ref: str
    size: str | None
    quant: str
    digest: str | None
    source: Source
    shape: ModelShape
    projector_bytes: int = 0
    projector: LocalFile | HubFile | None = None
    quantize: str | None = None

    @property
    def files(self) -> tuple[LocalFile | HubFile, ...]:
        """The GGUF files that it is made of, the model's own first; empty where it is none of files."""
        source = self.source
        own: tuple[LocalFile | HubFile, ...] = ()
        if isinstance(source, SplitModel):
            own = source.parts
        elif isinstance(source, LocalFile | HubFile):
            own = (source,)
        return (*own, self.projector) if self.projector else own

    @property
    def on_hub(self) -> bool:
        """Whether any of its files is on Hugging Face."""
        return any(isinstance(file, HubFile) for file in self.files)

    @property
    def gathered(self) -> bool:
        """Whether all that it is made of is on this machine as it is needed, or is no file at all."""
        if isinstance(self.source, HubFile) or isinstance(self.projector, HubFile):
            return False
        return not isinstance(self.source, SplitModel) or self.source.whole is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The candidates of a base, and what has to be said of how they were found."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
