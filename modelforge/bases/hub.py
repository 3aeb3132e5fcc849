"""The list of a repository's files on Hugging Face, through its own library: the one module that has it.

The library brings its own HTTP client, for these lists only; files are read through our own door.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

from modelforge.errors import BaseProblem, ForgeError, Unreachable
from modelforge.registry import NotThere, is_digest

if TYPE_CHECKING:
    from collections.abc import Callable

INSTALL = "pip install 'ollama-modelforge[hf]'"
_TOKEN = "give a token that may read it (HF_TOKEN, or hf auth login)"  # noqa: S105 (what to do, not a token)
_REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class NoLibrary(BaseProblem):
    """huggingface_hub is not installed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFile:
    """A file of a repository: its path there, size in bytes, and `sha256:<hex>` ("" where the Hub does not know it)."""

    path: str
    bytes: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The GGUF files of a repository as they are in one commit."""

    commit: str
    files: tuple[ListedFile, ...]


List: TypeAlias = "Callable[[str, str], Listing]"
"""Lists a repository (`org/repo`) at a revision: a branch, a tag, or a commit."""


def stored_token() -> str | None:
    """The token that `hf auth login` left on this machine; None without one.

    Raises:
        NoLibrary: that cannot be told.
    """
    found: str | None = _library().get_token()
    return found


def lister(endpoint: str, *, token: str | None, seconds: float) -> List:
    """What lists repositories behind an endpoint (`https://huggingface.co`).

    Args:
        endpoint: as HF_ENDPOINT has it.
        token: None: asked without one.
        seconds: longest wait for an answer.
    """

    def listed(repository: str, revision: str) -> Listing:
        """Raises NoLibrary, NotThere, BaseProblem or Unreachable."""
        library = _library()
        library.constants.HF_HUB_DISABLE_TELEMETRY = (
            True  # else it asks the Hub, once more, what to tell of us
        )
        api = library.HfApi(endpoint=endpoint, token=token or False, library_name="modelforge")
        try:
            info = api.model_info(repository, revision=revision, files_metadata=True, timeout=seconds)
        except (library.errors.HTTPError, OSError, ValueError) as error:
            raise _problem(error, library.errors, endpoint, repository, revision) from error
        return _listing(info)

    return listed


def _library() -> Any:  # noqa: ANN401 (the library, which need not be there)
    try:
        import huggingface_hub  # noqa: PLC0415, TID251 (may be missing, and is slow to import)
        import huggingface_hub.constants  # noqa: PLC0415, TID251
        import huggingface_hub.errors  # noqa: PLC0415, TID251
    except ImportError:
        raise NoLibrary("bases on Hugging Face need the library huggingface_hub", hint=INSTALL) from None
    return huggingface_hub


def _listing(info: Any) -> Listing:  # noqa: ANN401 (the library's ModelInfo)
    files = (
        ListedFile(
            path=one.rfilename,
            bytes=int(one.size or 0),
            digest=_digest(one.lfs.sha256) if one.lfs is not None else "",
        )
        for one in info.siblings or ()
        if one.rfilename.casefold().endswith(".gguf")
    )
    return Listing(commit=info.sha, files=tuple(sorted(files, key=lambda one: one.path)))


def _digest(sha256: object) -> str:
    """With its algorithm. Files are named by it, so nothing else may pass for one."""
    digest = f"sha256:{sha256}"
    return digest if is_digest(digest) else ""


def _problem(
    error: Exception,
    errors: Any,  # noqa: ANN401 (the library's module)
    endpoint: str,
    repository: str,
    revision: str,
) -> ForgeError:
    """The library's error in our words."""
    page = f"{endpoint}/{repository}"
    if isinstance(error, errors.RevisionNotFoundError):
        return NotThere(f"{page} has no branch, tag or commit '{revision}'", hint="correct it in base.model")
    if isinstance(error, errors.GatedRepoError):
        message = f"{page} is only for those who accepted its terms"
        return BaseProblem(message, hint=f"accept them on that page, then {_TOKEN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        hint = f"correct base.model; if it is private, {_TOKEN}"
        return NotThere(f"there is no {page}, or it may not be read without a login", hint=hint)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        from modelforge.http import NoAnswer, why  # noqa: PLC0415 (slow to import; the library has brought it)

        offline = isinstance(error, errors.OfflineModeIsEnabled)
        return NoAnswer(endpoint, "HF_HUB_OFFLINE is set" if offline else why(error))
    return _refusal(status, endpoint, page)


def _refusal(status: int, endpoint: str, page: str) -> ForgeError:
    """What a status means that the library has no class for."""
    if status in _REFUSED:
        return BaseProblem(f"{page} may not be read", hint=_TOKEN)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        message = f"{endpoint} answers 429: its limit of requests is reached"
        return Unreachable(message, hint=f"try again later, or {_TOKEN}")
    return Unreachable(f"{endpoint} answers {status} when asked for {page}")
