"""Registries that speak Ollama's protocol: how a model there is named, and what its manifest says.

`client` asks one, `login` has its credentials. The protocol is that of OCI distribution with Docker's manifests;
the media types are Ollama's (ollama server/images.go, v0.32.15).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace

from modelforge import names
from modelforge.bases import Blob
from modelforge.errors import BaseProblem

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MODEL_TYPE = "application/vnd.ollama.image.model"
PROJECTOR_TYPE = "application/vnd.ollama.image.projector"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHOWN_HEX = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A model in a registry.

    `repository` is the path there (`library/qwen2.5-coder`), `tag` a tag or a digest (`sha256:<hex>`). `name` is
    as Ollama spells it. Ollama's names have no digests: one that is pinned without a tag is named by the digest's
    first digits (`qwen2.5-coder:sha256-0123456789ab`), so that it never passes for `latest`; no server could pull
    it under that name.
    """

    host: str
    repository: str
    tag: str
    name: str

    @property
    def pinned(self) -> bool:
        """Whether it is named by a digest, so that it never changes."""
        return is_digest(self.tag)

    def tagged(self, tag: str) -> Reference:
        """Another tag of the same repository."""
        parsed = names.parse(self.name)
        return replace(self, tag=tag, name=replace(parsed, tag=tag).short)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A manifest: `sha256:<hex>` of its bytes, those bytes, and its blobs, the config last."""

    digest: str
    raw: bytes
    blobs: tuple[Blob, ...]

    def of(self, media_type: str) -> tuple[Blob, ...]:
        """The blobs of a media type."""
        return tuple(blob for blob in self.blobs if blob.media_type == media_type)


class NotThere(BaseProblem):
    """The registry answers, and has no such model."""


def is_digest(text: str) -> bool:
    """Whether it is `sha256:` and 64 small hexadecimal digits."""
    return _DIGEST.fullmatch(text) is not None


def reference_of(model: str, tag: str | None) -> Reference:
    """What a base's `model` and `tag` name in a registry.

    Args:
        model: `[[HOST/]NAMESPACE/]MODEL[:TAG][@sha256:HEX]`.
        tag: a tag or a digest; None where `model` says it, or where it is `latest`.

    Raises:
        UsageProblem: it is no name.
        BaseProblem: a digest is none, or the tag is said twice.
    """
    name, at, digest = model.partition("@")
    if tag is not None and tag.startswith("sha256:"):
        at, digest, tag = "@", _one_of(digest, tag, "digest"), None
    if at and not is_digest(digest):
        raise BaseProblem(
            f"'{model}': '{digest}' is no digest", hint="a digest is sha256: and 64 hexadecimal digits"
        )
    own = names.parse(name).tag if names.has_tag(name) else ""
    said = _one_of(own, tag or "", "tag")
    parsed = names.parse(name)
    shown = said or (f"sha256-{digest.partition(':')[2][:_SHOWN_HEX]}" if digest else names.TAG)
    return Reference(
        host=parsed.host.casefold(),
        repository=f"{parsed.namespace}/{parsed.model}",
        tag=digest or shown,
        name=names.canonical(replace(parsed, tag=shown).short),
    )


def _one_of(own: str, given: str, what: str) -> str:
    if own and given and own.casefold() != given.casefold():
        raise BaseProblem(
            f"base.model says the {what} '{own}', base.tag says '{given}'", hint=f"give the {what} once"
        )
    return own or given


def manifest_of(raw: bytes, name: str) -> Manifest:
    """Reads a manifest; `name` is what errors call it.

    Raises:
        BaseProblem: it is none, or not one of a model.
    """
    try:
        data = json.loads(raw)
        if isinstance(data, dict) and "manifests" in data:
            raise BaseProblem(
                f"{name} is an index of images for several platforms, not a model",
                hint="name a model that was pushed with Ollama",
            )
        blobs = tuple(_blob(each) for each in (*data["layers"], data["config"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BaseProblem(
            f"{name} has no manifest that can be read",
            hint="is what answers a registry with models of Ollama? Push the model again",
        ) from None
    return Manifest(digest=f"sha256:{hashlib.sha256(raw).hexdigest()}", raw=raw, blobs=blobs)


def _blob(data: dict[str, object]) -> Blob:
    """Raises ValueError, TypeError or KeyError."""
    digest, size, media_type = data["digest"], data["size"], data["mediaType"]
    if not isinstance(digest, str) or not is_digest(digest) or not isinstance(media_type, str):
        raise ValueError(digest)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(size)
    return Blob(media_type=media_type, digest=digest, bytes=size)
