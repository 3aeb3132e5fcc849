"""What is known of repositories of Hugging Face: what the Hub says now, or else what it said when it was last asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from modelforge.bases import Blob, HubFile
from modelforge.bases.hub import ListedFile, Listing, lister, stored_token
from modelforge.bases.ranged import FIRST, FIRST_OF_REST
from modelforge.bases.registrysource import Source
from modelforge.errors import Unreachable
from modelforge.registry.hubfiles import open_hub_files
from modelforge.split import is_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from modelforge.bases.hub import List
    from modelforge.bases.registrycache import Kept
    from modelforge.events import Emit
    from modelforge.gguf import Header
    from modelforge.project_settings import Timeouts
    from modelforge.registry.hubfiles import HubFiles

ENDPOINT = "https://huggingface.co"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ODD = re.compile(r"[^\w.-]")
_LONGEST_NAME = 100


class HubSource:
    """The Hub during one command. `downloads` is the folder that files are downloaded to.

    `seen` is the time (Unix s) of a list that was taken from the cache for want of a new one, `trouble` why.
    """

    def __init__(self, list_files: List, files: HubFiles, kept: Kept, *, downloads: Path, emit: Emit) -> None:
        self._list = list_files
        self._files = files
        self._kept = kept
        self._source = Source(files, kept, emit)
        self._downloads = downloads
        self.seen: float | None = None

    @property
    def host(self) -> str:
        """The endpoint's host."""
        return self._files.host

    @property
    def trouble(self) -> Unreachable | None:
        """Why the Hub was not, or not fully, asked."""
        return self._source.trouble

    def listing(self, repository: str, revision: str) -> Listing:
        """The GGUF files of a repository (`org/repo`) at a revision.

        Raises:
            Unreachable: it cannot be asked, and never was.
            BaseProblem: there is no such repository or revision, it may not be read, or the library is missing.
        """
        key = f"{repository}@{revision}"
        kept = self._kept.listing(self.host, key)
        found = _read(kept)
        if found is not None and _COMMIT.fullmatch(revision):
            return found  # a commit never changes
        try:
            if self.trouble is not None:
                raise self.trouble
            now = self._list(repository, revision)
        except Unreachable as error:
            self._source.trouble = error
            if found is None:
                raise
            self.seen = min(kept["time"], self.seen or kept["time"])
            return found
        self._kept.keep_listing(self.host, key, _written(now))
        return now

    def headers(self, repository: str, commit: str, files: Iterable[ListedFile]) -> tuple[Header, ...]:
        """The headers of files, read by ranges where they were never read."""
        return self._source.headers(
            (
                _place(repository, commit, one.path),
                Blob(media_type="", digest=one.digest, bytes=one.bytes),
                f"{one.path} of hf.co/{repository}",
                FIRST if is_first(one.path) else FIRST_OF_REST,
            )
            for one in files
        )

    def file(self, name: str, repository: str, commit: str, listed: ListedFile) -> HubFile:
        """A file as the source of a candidate."""
        last = _ODD.sub("_", listed.path.rpartition("/")[2])[-_LONGEST_NAME:]
        return HubFile(
            name=name,
            repository=repository,
            commit=commit,
            path=listed.path,
            digest=listed.digest,
            bytes=listed.bytes,
            here=self._downloads / f"{listed.digest.partition(':')[2][:16]}-{last}",
        )

    def stream(self, file: HubFile, start: int) -> AbstractContextManager[Iterator[bytes]]:
        """The bytes of a file from `start` on."""
        return self._files.stream(_place(file.repository, file.commit, file.path), file.digest, start)

    def close(self) -> None:
        """Lets go of the connections."""
        self._source.close()


def open_hub(
    environment: Mapping[str, str], kept: Kept, *, downloads: Path, timeouts: Timeouts, emit: Emit
) -> HubSource:
    """The Hub that the environment means: HF_ENDPOINT, HF_TOKEN, else the token that `hf auth login` left.

    Raises:
        NoLibrary: huggingface_hub is not installed.
    """
    endpoint = (environment.get("HF_ENDPOINT") or ENDPOINT).rstrip("/")
    token = environment.get("HF_TOKEN", "").strip() or stored_token()
    return HubSource(
        lister(endpoint, token=token, seconds=timeouts.call),
        open_hub_files(endpoint, token=token, timeouts=timeouts),
        kept,
        downloads=downloads,
        emit=emit,
    )


def _place(repository: str, commit: str, path: str) -> str:
    return f"{repository}/resolve/{commit}/{path}"


def _written(listing: Listing) -> dict[str, object]:
    files = [[one.path, one.bytes, one.digest] for one in listing.files]
    return {"commit": listing.commit, "files": files}


def _read(data: Mapping[str, object]) -> Listing | None:
    """The list that `_written` made this of; None if it is anything else."""
    commit, files = data.get("commit"), data.get("files")
    if not isinstance(commit, str) or not isinstance(files, list) or not isinstance(data.get("time"), float):
        return None
    try:
        read = tuple(
            ListedFile(path=str(path), bytes=int(size), digest=str(sha)) for path, size, sha in files
        )
    except (TypeError, ValueError):
        return None
    return Listing(commit=commit, files=read)
