"""A model from a registry into a store, as a pulling server would leave it: its blobs, then its manifest's very bytes.

Blobs are downloaded beside the folder of blobs, where no server's clean-up looks, so that a download that is cut
goes on days later, and so that a finished one is only renamed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from modelforge.bases import ServedModel
from modelforge.download import download_all, download_folder
from modelforge.errors import BuildFailed
from modelforge.runtimes import BrokenModel
from modelforge.runtimes.store import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelforge.bases import RegistryModel
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.runtimes.store import Store

DOWNLOADS = ".modelforge-downloads"


def has(store: Store, model: RegistryModel) -> bool:
    """Whether the store has the model that was planned with, whole, under its name."""
    try:
        manifest = store.read(model.name)
    except BrokenModel:
        return False
    if manifest is None or manifest.digest != model.digest:
        return False
    return all(store.blobs.size(layer.digest) == layer.size for layer in (manifest.config, *manifest.layers))


def bring(
    store: Store,
    model: RegistryModel,
    fetch: Fetch,
    emit: Emit,
    *,
    lock: Callable[[], AbstractContextManager[None]],
) -> ServedModel:
    """Downloads what the store lacks of a model, and gives it its name there.

    Args:
        store: where it goes.
        model: what was planned with.
        fetch: its registry. Its folder is not used: it may be on another disk.
        emit: hears how far it is.
        lock: held while the store is written, but not while anything is downloaded.

    Raises:
        BuildFailed: the store cannot be written, or what came is not what was planned with.
        DownloadCut: the registry cannot be reached.
    """
    served = ServedModel(name=model.name, digest=model.digest)
    sizes = _sizes(model)
    if has(store, model):
        return served
    with download_folder(store.root / DOWNLOADS, emit) as folder:
        missing = [blob for blob in model.blobs if store.blobs.size(blob.digest) != sizes[blob.digest]]
        files = download_all(fetch, missing, folder, name=model.name, emit=emit)
        with lock():
            _write(store, model, files, frozenset(sizes))
        for file in files.values():
            file.unlink(missing_ok=True)
    return served


def _sizes(model: RegistryModel) -> dict[str, int]:
    """The blobs that the manifest needs, with their bytes.

    Raises:
        BuildFailed: it is none that Ollama could read, or it needs others than were planned with.
    """
    try:
        manifest = parse_manifest(model.manifest)
    except ValueError as error:
        raise BuildFailed(f"the manifest of {model.name} cannot be read: {error}") from error
    sizes = {layer.digest: layer.size for layer in (manifest.config, *manifest.layers)}
    if sizes != {blob.digest: blob.bytes for blob in model.blobs} or manifest.digest != model.digest:
        raise BuildFailed(f"the manifest of {model.name} is not the one that was planned with")
    return sizes


def _write(store: Store, model: RegistryModel, files: Mapping[str, Path], needed: frozenset[str]) -> None:
    """Blobs first, then the name; if that fails, blobs that no model needs go again, the downloads stay."""
    with store.at_risk(frozenset(files)):
        try:
            for digest in needed:
                if digest in files:
                    store.blobs.adopt(files[digest], digest)
                else:
                    store.blobs.touch(digest)
            store.write_as_it_is(model.name, model.manifest)
        except BaseException:  # Ctrl-C, too
            with suppress(BuildFailed):
                store.drop_unused(frozenset(files))
            raise
