"""Real Ollama servers for the live tests: found, started on a free port, ended by their own process group."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess  # noqa: TID251 (starts the real servers; not part of the product)
import time
from dataclasses import dataclass, field
from pathlib import Path

OLD = "0.24.0"
NEW = "0.32.15"
ON_PATH = "on PATH"
START_SECONDS = 60.0


def parts_folder() -> Path:
    """Where .ci/parts puts the real servers. Read before a test's environment is replaced."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 (a string is needed)
    return Path(os.environ.get("MODELFORGE_PARTS") or Path(cache) / "modelforge-parts")


PARTS = parts_folder()
PATH = os.environ.get("PATH", os.defpath)


def choices() -> list[str]:
    """The servers to test against: both that CI builds, else the one on PATH."""
    if not any(PARTS.glob("ollama-*/bin/ollama")) and shutil.which("ollama", path=PATH):
        return [ON_PATH]
    return [OLD, NEW]


def binary_of(choice: str) -> Path | None:
    """The server's program; None if it is not on this machine."""
    if choice == ON_PATH:
        found = shutil.which("ollama", path=PATH)
        return Path(found) if found else None
    binary = PARTS / f"ollama-{choice}" / "bin" / "ollama"
    return binary if binary.exists() else None


def free_port() -> int:
    """A port of the loopback that nothing listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


OK, CREATED = 200, 201


@dataclass
class Server:
    """One real server with its own home and models. `environment` suits a client of it, too."""

    binary: Path
    folder: Path
    port: int = field(default_factory=free_port)
    settings: dict[str, str] = field(default_factory=dict)
    version: str = ""
    process: subprocess.Popen[bytes] | None = None
    _killed: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Host and port, as OLLAMA_HOST takes them."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Base URL, without a slash at its end."""
        return f"http://{self.host}"

    @property
    def models(self) -> Path:
        """The store folder (OLLAMA_MODELS)."""
        return self.folder / "models"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the server, and of programs that talk to it; its `ollama` is first on PATH."""
        return {
            "HOME": str(self.folder),
            "PATH": f"{self.binary.parent}{os.pathsep}{PATH}",
            "OLLAMA_HOST": self.host,
            "OLLAMA_MODELS": str(self.models),
            "OLLAMA_NO_CLOUD": "1",
            "LANG": "C.UTF-8",
            **self.settings,
        }

    def start(self) -> None:
        """Starts it and waits until it answers; no-op while it runs."""
        if self.process is not None and self.process.poll() is None:
            return
        self._bury()
        self.models.mkdir(parents=True, exist_ok=True)
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.binary), "serve"],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.version = self._wait_for_version()

    def stop(self) -> None:
        """Ends it in order, and its runners with it."""
        self._bury()
        process, self.process = self.process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._end_group(process)

    def kill(self) -> None:
        """Kills the server at once, as a crash would; its runners end when it is started again, or stopped."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._killed.append(self.process)

    def restart(self, **settings: str) -> None:
        """Ends it and starts it again on the same port and store, with other environment settings if given."""
        self.stop()
        self.settings = settings
        self.start()

    def log(self) -> str:
        """All that it has written so far."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def call(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """One plain HTTP call: status and body. For set-up and checks that must not use our own client."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, response.read().decode()

    def send(self, data: bytes) -> str:
        """A blob for the server to make a model of, unless it has it: its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if self.call("HEAD", f"/api/blobs/{digest}")[0] != OK:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            with contextlib.closing(connection):
                connection.request("POST", f"/api/blobs/{digest}", data)
                assert connection.getresponse().status == CREATED
        return digest

    def put(self, name: str, file: Path) -> None:
        """A model of that GGUF in the store, by a link; its digests are made up, since servers do not check them."""
        blobs = self.models / "blobs"
        config = json.dumps(
            {"model_format": "gguf", "model_family": "llama", "architecture": "amd64", "os": "linux"}
        )
        digests = {
            "config": hashlib.sha256(config.encode()).hexdigest(),
            "model": hashlib.sha256(file.name.encode()).hexdigest(),
        }
        (blobs / f"sha256-{digests['config']}").write_text(config)
        (blobs / f"sha256-{digests['model']}").symlink_to(file)
        layer = {
            "mediaType": "application/vnd.ollama.image.model",
            "digest": f"sha256:{digests['model']}",
            "size": file.stat().st_size,
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {
                "mediaType": "application/vnd.docker.container.image.v1+json",
                "digest": f"sha256:{digests['config']}",
                "size": len(config),
            },
            "layers": [layer],
        }
        target = self.models / "manifests" / "registry.ollama.ai" / "library" / name / "latest"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(manifest))

    def clear(self) -> None:
        """Unloads and removes all models and blobs, broken ones too."""
        _status, text = self.call("GET", "/api/ps")
        for loaded in json.loads(text).get("models") or []:
            self.call("POST", "/api/generate", {"model": loaded["name"], "keep_alive": 0})
        for folder in ("manifests", "blobs"):
            shutil.rmtree(self.models / folder, ignore_errors=True)
            (self.models / folder).mkdir(exist_ok=True)

    def _wait_for_version(self) -> str:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process is not None and self.process.poll() is not None:
                break
            try:
                _status, text = self.call("GET", "/api/version")
            except OSError:
                time.sleep(0.05)
                continue
            return str(json.loads(text)["version"])
        message = f"{self.binary} does not answer at {self.host}:\n{self.log()[-2000:]}"
        raise RuntimeError(message)

    def _bury(self) -> None:
        """Ends the runners of servers that were killed: they outlive them."""
        while self._killed:
            self._end_group(self._killed.pop())

    @staticmethod
    def _end_group(process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
