"""Ollama's model store on disk: manifests under their names, blobs under their digests.

Read and written as the server does it (ollama manifest/manifest.go and server/images.go, v0.32.15), but for one
thing: a manifest is written beside its place and moved there, so that a name never stands half-written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge import names
from modelforge.errors import BuildFailed, UsageProblem
from modelforge.runtimes import BrokenModel, Entry, gojson
from modelforge.runtimes.blobs import (
    DIGEST,
    FILE_MODE,
    Blobs,
    closed,
    make_folder,
    of_the_dead,
    refusals,
    sweep,
    sync_folder,
    temporary,
    write_synced,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.names import Name

LAYER = "application/vnd.ollama.image."
_CONFIG = "application/vnd.docker.container.image.v1+json"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_TEMPORARY = ".modelforge-"
_AT_RISK = ".modelforge-blobs-"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A blob's part in a model. `kind` is the media type, for Ollama's own without its beginning (`system`)."""

    kind: str
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a name stands for. `digest` is that of the manifest itself, `sha256:<hex>`."""

    config: Layer
    layers: tuple[Layer, ...]
    digest: str

    @property
    def digests(self) -> frozenset[str]:
        """All blobs that the model needs."""
        return frozenset(layer.digest for layer in (self.config, *self.layers))

    def of(self, *kinds: str) -> tuple[Layer, ...]:
        """The layers of these kinds, in order."""
        return tuple(layer for layer in self.layers if layer.kind in kinds)


class Store:
    """A store folder, which need not be there yet. The caller sees to it that one write happens at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = Blobs(root / "blobs")
        self._manifests = root / "manifests"

    def read(self, name: str) -> Manifest | None:
        """What stands under a name; None if nothing.

        Raises:
            BrokenModel: a manifest that cannot be read, as a server leaves it that died while it wrote.
            BuildFailed: this user may not read the store.
        """
        try:
            path = self._existing(name)
            return parse_manifest(path.read_bytes()) if path is not None else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise closed(self.root, error) from error
        except ValueError as error:
            raise BrokenModel(
                f"{name} cannot be read: {error}", hint="build it again, or delete it"
            ) from error

    def write(self, name: str, config: Layer, layers: tuple[Layer, ...]) -> None:
        """Gives a name to blobs that are in the store, over what stood there; what only that needed goes.

        Raises:
            BuildFailed: the store cannot be written.
        """
        self._place(name, manifest_bytes(config, layers))

    def write_as_it_is(self, name: str, manifest: bytes) -> None:
        """Gives a name to a manifest that somebody else wrote, byte for byte; what only stood there goes.

        Raises:
            BuildFailed: the store cannot be written.
        """
        self._place(name, manifest)

    def copy(self, source: str, destination: str) -> None:
        """Gives what stands under `source` another name, byte for byte; what stood there goes.

        Raises:
            BuildFailed: there is no such model, or the store cannot be written.
            BrokenModel: `source` cannot be read.
        """
        path = self._existing(source)
        if path is None or self.read(source) is None:
            raise BuildFailed(f"there is no model {source} in {self.root}")
        self._place(destination, path.read_bytes())

    def delete(self, name: str) -> None:
        """Removes a name, and the blobs that no other needs; no error if it is not there.

        While any other manifest cannot be read, nobody knows what it needs: then all blobs stay.

        Raises:
            BuildFailed: the store cannot be written.
        """
        path = self._existing(name)
        if path is None:
            self.bury()
            return
        needed = _digests(path)
        with self.at_risk(needed), refusals(self._manifests):
            path.unlink(missing_ok=True)
            self._remove_empty(path.parent)
            self.drop_unused(needed)

    def drop_unused(self, digests: frozenset[str]) -> None:
        """Removes those of these blobs that no model needs, if every manifest can be read.

        Raises:
            BuildFailed: the store cannot be written.
        """
        with refusals(self._manifests):
            for digest in digests - self._referenced(digests):
                self.blobs.remove(digest)

    def entries(self) -> tuple[Entry, ...]:
        """What a server would list: readable models with a good name.

        Raises:
            BuildFailed: this user may not read the store.
        """
        try:
            found = (self._entry(path) for path in self._files())
            return tuple(entry for entry in found if entry is not None)
        except OSError as error:
            raise closed(self.root, error) from error

    def text(self, layer: Layer) -> str:
        """A layer's text, exactly.

        Raises:
            BrokenModel: it is not there, or no UTF-8.
        """
        try:
            return self.blobs.path(layer.digest).read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise BrokenModel(f"the {layer.kind} {layer.digest[:19]} cannot be read: {error}") from error

    def json(self, layer: Layer) -> Any:  # noqa: ANN401 (whatever JSON holds)
        """A layer's JSON value.

        Raises:
            BrokenModel: it is not there, or no JSON.
        """
        try:
            return json.loads(self.text(layer))
        except ValueError as error:
            raise BrokenModel(f"the {layer.kind} {layer.digest[:19]} is no JSON: {error}") from error

    @contextmanager
    def at_risk(self, digests: frozenset[str]) -> Iterator[None]:
        """Notes blobs that no model may need if we are killed in here: the next writer takes those away.

        Raises:
            BuildFailed: the store cannot be written.
        """
        self.bury()
        note = temporary(self._manifests, _AT_RISK)
        with refusals(self._manifests):
            make_folder(self._manifests)
            note.write_text("\n".join(sorted(digests)), encoding="ascii")
        try:
            yield
        finally:
            note.unlink(missing_ok=True)

    def bury(self) -> None:
        """Takes away the blobs that killed writers of this machine noted and no model needs.

        Raises:
            BuildFailed: the store cannot be written.
        """
        for note in of_the_dead(self._manifests, _AT_RISK):
            with refusals(self._manifests):
                lines = note.read_text(encoding="ascii", errors="replace").splitlines()
                self.drop_unused(frozenset(line for line in lines if DIGEST.fullmatch(line)))
                note.unlink(missing_ok=True)

    def _place(self, name: str, data: bytes) -> None:
        """Moves a manifest into its place. It grows where no server looks for models: above depth four."""
        path = self._existing(name) or self._path(self._spelled(names.parse(name)))
        before = _digests(path)
        with self.at_risk(before):
            self._replace(path, data)
            self.drop_unused(before)

    def _replace(self, path: Path, data: bytes) -> None:
        beside = temporary(self._manifests, _TEMPORARY)
        with refusals(self._manifests, needed=len(data)):
            make_folder(path.parent)
            sweep(self._manifests, _TEMPORARY)
            try:
                write_synced(beside, data)
                beside.chmod(FILE_MODE)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
            sync_folder(path.parent)

    def _entry(self, path: Path) -> Entry | None:
        try:
            name = names.parse("{}/{}/{}:{}".format(*_parts(path)))
            manifest = parse_manifest(path.read_bytes())
            modified = path.stat().st_mtime
        except (UsageProblem, ValueError, FileNotFoundError):
            return None
        if self.blobs.size(manifest.config.digest) is None:
            return None
        size = sum(layer.size for layer in (manifest.config, *manifest.layers))
        return Entry(name=name.short, digest=manifest.digest, bytes=size, modified=modified)

    def _referenced(self, candidates: frozenset[str]) -> frozenset[str]:
        """Those of `candidates` that a manifest needs: all of them where one cannot be read."""
        needed: set[str] = set()
        for path in self._files():
            try:
                needed |= parse_manifest(path.read_bytes()).digests
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                return candidates
        return candidates & needed

    def _remove_empty(self, folder: Path) -> None:
        while folder != self._manifests and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent

    def _files(self) -> Iterator[Path]:
        return (path for path in sorted(self._manifests.glob("*/*/*/*")) if not path.is_dir())

    def _path(self, name: Name) -> Path:
        return self._manifests / name.host / name.namespace / name.model / name.tag

    def _existing(self, name: str) -> Path | None:
        """The manifest's path as it is spelled on disk."""
        parsed = names.parse(name)
        path = self._path(parsed)
        if not path.is_file():
            path = self._path(self._spelled(parsed))
        return path if path.is_file() else None

    def _spelled(self, name: Name) -> Name:
        """Each part in the spelling that it has on disk already, as the server does: case does not tell apart."""
        given = (name.host, name.namespace, name.model, name.tag)
        known: list[set[str]] = [set(), set(), set(), set()]
        for path in self._files():
            for seen, part in zip(known, _parts(path), strict=True):
                seen.add(part)
        host, namespace, model, tag = (
            part if part in seen else next((old for old in sorted(seen) if old.lower() == part.lower()), part)
            for part, seen in zip(given, known, strict=True)
        )
        return names.Name(host=host, namespace=namespace, model=model, tag=tag)


def manifest_bytes(config: Layer, layers: tuple[Layer, ...]) -> bytes:
    """A manifest as a server writes it. Where layers came from is left out: it would name this machine's folders."""
    return gojson.document(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _described(config),
            "layers": [_described(layer) for layer in layers],
        }
    )


def config_layer(digest: str, size: int) -> Layer:
    """The layer for a model's config blob."""
    return Layer(kind=_CONFIG, digest=digest, size=size)


def _described(layer: Layer) -> dict[str, gojson.Json]:
    media = layer.kind if "/" in layer.kind else LAYER + layer.kind
    return {"mediaType": media, "digest": layer.digest, "size": layer.size}


def _parts(path: Path) -> tuple[str, str, str, str]:
    host, namespace, model, tag = path.parts[-4:]
    return host, namespace, model, tag


def _digests(path: Path) -> frozenset[str]:
    """What the manifest at `path` needs; nothing where there is none, or none that can be read."""
    try:
        return parse_manifest(path.read_bytes()).digests
    except (OSError, ValueError):
        return frozenset()


def parse_manifest(data: bytes) -> Manifest:
    """A manifest from its bytes.

    Raises:
        ValueError: it is none.
    """
    if not data:
        raise ValueError("its manifest is empty: whoever wrote it was interrupted")
    whole = json.loads(data)
    if not isinstance(whole, Mapping) or not isinstance(whole.get("layers") or [], list):
        raise ValueError("its manifest is no JSON object with layers")  # noqa: TRY004 (a value of a file)
    return Manifest(
        config=_layer(whole.get("config")),
        layers=tuple(_layer(item) for item in whole.get("layers") or ()),
        digest="sha256:" + hashlib.sha256(data).hexdigest(),
    )


def _layer(item: object) -> Layer:
    if not isinstance(item, Mapping):
        raise ValueError("a layer in its manifest is no JSON object")  # noqa: TRY004
    digest, size = item.get("digest"), item.get("size", 0)
    match = DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if match is None or not isinstance(size, int):
        raise ValueError(f"a layer in its manifest has no sha256 digest: {digest!r}")
    kind = str(item.get("mediaType", "")).removeprefix(LAYER)
    return Layer(kind=kind, digest=f"sha256:{match[1]}", size=size)
