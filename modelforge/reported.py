"""What reports and views need of the records of later stages, which they cannot import: those use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelforge.errors import ForgeError
    from modelforge.resolve import Plan
    from modelforge.runtimes import RuntimeInfo
    from modelforge.smoke import SmokeReport


class Built(Protocol):
    """What became of a variant; `build.BuildResult` is one."""

    @property
    def variant(self) -> str:
        """The plan's full name, `NAME:TAG`."""

    @property
    def name(self) -> str:
        """The name it was built as."""

    @property
    def status(self) -> str:
        """built, unchanged, failed, smoke-failed or refused."""

    @property
    def plan(self) -> Plan:
        """What was decided."""

    @property
    def runtime(self) -> RuntimeInfo | None:
        """Where; None if it never came to that."""

    @property
    def digests(self) -> Mapping[str, str]:
        """plan, content and manifest."""

    @property
    def smoke(self) -> SmokeReport | None:
        """How its tests went; None if they were not run."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """resolve, create, smoke, promote; bring where a base was brought from a registry."""

    @property
    def error(self) -> ForgeError | None:
        """What stopped it."""


class Container(Protocol):
    """A container that would be started; `runtimes.docker.spec.Preview` is one."""

    @property
    def image(self) -> str:
        """The image's name."""

    @property
    def volume(self) -> str:
        """The volume with the models."""

    @property
    def gpus(self) -> str:
        """What it would be given, in words."""

    @property
    def note(self) -> str:
        """What stands against it, "" if nothing does."""

    @property
    def request(self) -> Mapping[str, Any]:
        """The body of the engine's create call."""


class Changed(Protocol):
    """What a build would do; `pipeline.Change` is one."""

    @property
    def name(self) -> str:
        """The model's full name."""

    @property
    def plan(self) -> Plan:
        """What was decided."""

    @property
    def stands(self) -> bool:
        """Whether something stands under the name."""

    @property
    def differences(self) -> tuple[str, ...]:
        """How it differs, in words."""

    @property
    def fetches(self) -> int:
        """Bytes that would be fetched from a registry or Hugging Face, at most."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The rendering's; the plan has its own."""

    @property
    def container(self) -> Container | None:
        """What an engine would be asked for; None where no container is started."""


class Written(Protocol):
    """A file that `init` wrote; `scaffold.NewFile` is one."""

    @property
    def path(self) -> str:
        """Below the project's root."""

    @property
    def purpose(self) -> str:
        """What it is for."""
