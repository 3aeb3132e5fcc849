"""A volume that is not there yet, for commands that only look: nothing stands in it, and looking makes none."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from modelforge.errors import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from modelforge.bases import RegistryModel, ServedModel
    from modelforge.download import Fetch
    from modelforge.events import Emit
    from modelforge.gguf import Header
    from modelforge.render import Rendered
    from modelforge.runtimes import (
        ChatReply,
        ChatRequest,
        Embeddings,
        Entry,
        ParameterValue,
        Placement,
        RuntimeInfo,
        Standing,
    )


class AbsentVolume:
    """The runtime protocol over nothing. What would make something is refused."""

    def __init__(self, info: RuntimeInfo) -> None:
        self.info = info

    def served(self, base: str) -> tuple[tuple[Entry, Header], ...]:  # noqa: ARG002
        """Nothing."""
        return ()

    def expected(self, rendered: Rendered) -> Standing | None:  # noqa: ARG002
        """None: no weights are there."""
        return None

    def show(self, name: str) -> Standing | None:  # noqa: ARG002
        """None."""
        return None

    def list(self) -> tuple[Entry, ...]:
        """Nothing."""
        return ()

    def placement(self, name: str) -> Placement | None:  # noqa: ARG002
        """None."""
        return None

    def unload(self, name: str) -> None:
        """Nothing is loaded."""

    def delete(self, name: str) -> None:
        """Nothing is there."""

    def close(self) -> None:
        """Nothing is held."""

    def bring(self, model: RegistryModel, fetch: Fetch, emit: Emit) -> ServedModel:  # noqa: ARG002
        """Refused."""
        self._refuse()

    def create(self, rendered: Rendered, name: str, emit: Emit) -> Standing:  # noqa: ARG002
        """Refused."""
        self._refuse()

    def copy(self, source: str, destination: str) -> None:  # noqa: ARG002
        """Refused."""
        self._refuse()

    def chat(
        self,
        name: str,  # noqa: ARG002
        request: ChatRequest,  # noqa: ARG002
        on_text: Callable[[str], None] | None = None,  # noqa: ARG002
    ) -> ChatReply:
        """Refused."""
        self._refuse()

    def embed(
        self,
        name: str,  # noqa: ARG002
        texts: Sequence[str],  # noqa: ARG002
        options: Mapping[str, ParameterValue],  # noqa: ARG002
    ) -> Embeddings:
        """Refused."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise BuildFailed(f"there is no volume {self.info.endpoint}")
