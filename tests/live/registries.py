"""A real registry for the live tests: Distribution's own program on the loopback, with a folder of its own."""

from __future__ import annotations

import hashlib
import http.client
import json
import shutil
import subprocess  # noqa: TID251 (starts the real registry; not part of the product)
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from modelforge.bases import Blob, RegistryModel
from modelforge.http import CutOff
from tests.live.servers import PATH, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.servers import Server

START_SECONDS = 20.0
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = """version: 0.1
storage:
  filesystem:
    rootdirectory: {data}
http:
  addr: 127.0.0.1:{port}
"""
_LOCATION = """  headers:
    Location: ["#"]
"""


def program() -> str | None:
    """The registry's program; None if it is not on this machine."""
    return shutil.which("docker-registry", path=PATH)


@dataclass
class Registry:
    """One real registry. `given` counts the bytes of blobs that an `Opener` got.

    `pulls`: it adds the header to its answers without which no Ollama can pull.
    The one that gets `cut_after` bytes in all is cut off there, once, by a broken connection or by `error`.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    given: int = 0
    cut_after: int | None = None
    error: BaseException | None = None
    pulls: bool = False

    @property
    def host(self) -> str:
        """Host and port, as they stand in a model's name."""
        return f"localhost:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it answers."""
        config = self.folder / "config.yml"
        text = _CONFIG.format(data=self.folder / "data", port=self.port)
        config.write_text(text + (_LOCATION if self.pulls else ""), encoding="utf-8")
        with (self.folder / "registry.log").open("ab") as log:
            self.process = subprocess.Popen(
                [program() or "docker-registry", "serve", str(config)],
                env={"PATH": PATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            try:
                self.get("/v2/")
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError((self.folder / "registry.log").read_text(errors="replace")[-2000:])

    def stop(self) -> None:
        """Ends it; its models stay."""
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            process.wait(timeout=20)

    def get(self, path: str) -> bytes:
        """The body behind a path."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("GET", path, headers={"Accept": MANIFEST})
            response = connection.getresponse()
            body = response.read()
            assert response.status == 200, (path, response.status, body)
            return body

    def push(self, server: Server, name: str, **fields: object) -> RegistryModel:
        """Has a server create a model and push it here, by Ollama's own command; the server forgets it."""
        status, text = server.call("POST", "/api/create", {"model": name, **fields, "stream": False})
        assert status == 200, text
        done = subprocess.run(
            [str(server.binary), "push", "--insecure", name],
            env=server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr.decode()
        server.clear()
        return self.model(name)

    def model(self, name: str) -> RegistryModel:
        """What a name of this registry stands for."""
        repository, _colon, tag = name.partition("/")[2].partition(":")
        manifest = self.get(f"/v2/{repository}/manifests/{tag}")
        said = json.loads(manifest)
        return RegistryModel(
            name=name,
            digest=f"sha256:{hashlib.sha256(manifest).hexdigest()}",
            manifest=manifest,
            blobs=tuple(
                Blob(media_type=one["mediaType"], digest=one["digest"], bytes=one["size"])
                for one in [*said["layers"], said["config"]]
            ),
            insecure=True,
        )

    def opener(self, model: RegistryModel) -> Opener:
        """Opens the blobs of a model."""
        return Opener(self, model.name.partition("/")[2].partition(":")[0])


@dataclass
class Opener:
    """`Fetch.open` over a real registry, counted, and cut off once after so many bytes if that is asked for."""

    registry: Registry
    repository: str

    @contextmanager
    def __call__(self, digest: str, start: int) -> Iterator[Iterator[bytes]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.registry.port, timeout=30)
        with closing(connection):
            headers = {"Range": f"bytes={start}-"} if start else {}
            connection.request("GET", f"/v2/{self.repository}/blobs/{digest}", headers=headers)
            response = connection.getresponse()
            assert response.status == (206 if start else 200), response.status
            yield self._pieces(response)

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while piece := response.read(1 << 16):
            self.registry.given += len(piece)
            yield piece
            if self.registry.cut_after is not None and self.registry.given >= self.registry.cut_after:
                self.registry.cut_after = None
                raise self.registry.error or CutOff(self.registry.host, "the connection broke off")
