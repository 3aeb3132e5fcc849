"""Real Docker engines for the live tests, and images around the real Ollama servers, without any registry.

An engine has its own folder, socket, bridge and containerd namespace, so that it stands beside any other engine
of the machine. It needs root and a `dockerd`.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess  # noqa: TID251 (starts the real engines; not part of the product)
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import docker

from tests.live.servers import NEW, ON_PATH, PARTS, PATH, binary_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

START_SECONDS = 60.0
STOP_SECONDS = 40.0
"""An engine gives its containers ten seconds."""
SEARCH_PATH = os.pathsep.join((PATH, "/usr/local/sbin", "/usr/sbin", "/sbin"))
"""Where the engine's programs are: a user's PATH often lacks the folders of root's."""
LONGEST_FOLDER = 50
"""Characters: the sockets below it may have 107."""
CONTENTS = "modelforge.test.contents"
"""The label that tells what an image was made of."""
NOTHING: Mapping[str, Path] = MappingProxyType({})
_FROM_LDD = re.compile(r"(/\S+) \(0x")
_ADDRESS = re.compile(r"\b\d+\.\d+\.\d+\.\d+(?:/\d+)?")


def program() -> Path | None:
    """The engine's program; None if it is not on this machine."""
    found = shutil.which("dockerd", path=SEARCH_PATH)
    return Path(found) if found else None


def why_none() -> str:
    """Why no engine can be started here; "" if one can."""
    if program() is None:
        return "no dockerd on this machine; .ci/parts installs it"
    if os.geteuid() != 0:
        return "a Docker engine needs root"
    return ""


def short_folder(folder: Path) -> Path:
    """`folder`, or another empty one where it is too deep for the sockets of an engine."""
    return folder if len(str(folder)) <= LONGEST_FOLDER else Path(tempfile.mkdtemp(prefix="mf-"))


@dataclass
class Engine:
    """One real engine. `environment` suits a client of it; `arguments` and `path` count from the next start.

    It leaves the machine's firewall alone: a second engine that sets rules flushes those of the first, and no
    engine takes its own away. Published ports work without, through docker-proxy; the way out does not.
    """

    folder: Path
    arguments: tuple[str, ...] = ()
    path: str = SEARCH_PATH
    name: str = field(default_factory=lambda: f"mf-{secrets.token_hex(4)}")
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The socket on which it listens."""
        return self.folder / "docker.sock"

    @property
    def url(self) -> str:
        """Its address, as DOCKER_HOST takes it."""
        return f"unix://{self.socket}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client to it."""
        return {"DOCKER_HOST": self.url}

    @property
    def data(self) -> Path:
        """Images, containers and volumes."""
        return self.folder / "data"

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def client(self, seconds: int = 60) -> docker.APIClient:
        """A client of it, which the caller closes. `seconds` is how long it waits for an answer."""
        return docker.APIClient(base_url=self.url, timeout=seconds)

    def start(self) -> None:
        """Starts it and waits until it answers; no-op while it runs."""
        if not self.running:
            self._launch(self.arguments, self.path)

    def stop(self) -> None:
        """Ends it in order, and its containers with it. Only its files stay; its images are there at a start."""
        if self.process is not None and not self.running:
            with contextlib.suppress(RuntimeError):
                # only an engine ends in order what one that was killed has left; it must be able to start
                self._launch((), SEARCH_PATH)
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._end_what_is_left()
        _unmount(self.data)
        _unmount(self.folder / "exec")
        _remove_bridge(self.name)

    def kill(self) -> None:
        """Kills it at once, as a crash would; its containers end when it is started again, or stopped."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        """Ends it and starts it again, with its images, volumes and stopped containers."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Ends it and removes all of its files."""
        if self.running:
            self.clear()
        self.stop()
        _unmount(self.folder)
        if not _mounts(self.folder):  # else files would go that are not its own
            shutil.rmtree(self.folder, ignore_errors=True)

    def clear(self) -> None:
        """Removes all containers, volumes and networks of it. Images stay."""
        with self.client() as client:
            for container in client.containers(all=True):
                client.remove_container(container["Id"], v=True, force=True)
            for volume in client.volumes()["Volumes"] or []:
                client.remove_volume(volume["Name"], force=True)
            for network in client.networks(filters={"type": "custom"}):
                client.remove_network(network["Id"])

    def log(self) -> str:
        """All that it has written so far."""
        return (self.folder / "dockerd.log").read_text(errors="replace")

    def processes(self) -> list[int]:
        """The processes of containerd that work for this engine, by their ids."""
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = file.read_bytes().decode(errors="replace").split("\0")
                mine = any(word == self.name or word.startswith(f"{self.folder}/") for word in words[1:])
                if mine and Path(words[0]).name.startswith("containerd"):
                    found.append(int(file.parent.name))
        return found

    def _launch(self, arguments: tuple[str, ...], path: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bury_containerd()
        bridge = _make_bridge(self.name)
        with (self.folder / "dockerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self._command(), *bridge, *arguments],
                env={"HOME": str(self.folder), "PATH": path, "LANG": "C.UTF-8"},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_for_answer(self.process)

    def _command(self) -> list[str]:
        settings = self.folder / "daemon.json"  # its own: this machine's would count, too
        settings.write_text("{}\n", encoding="utf-8")
        return [
            str(program() or "dockerd"),
            *("--config-file", str(settings)),
            *("--host", self.url),
            *("--data-root", str(self.data)),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "pid")),
            *("--containerd-namespace", self.name),  # it takes this machine's containerd if one runs
            *("--containerd-plugins-namespace", f"{self.name}-plugins"),
            *("--iptables=false", "--ip-masq=false", "--ip-forward=false"),
        ]

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and process.poll() is None:
            if _answers(self.socket):
                return
            time.sleep(0.05)
        process.kill()
        process.wait()
        message = f"dockerd does not answer at {self.url}:\n{self.log()[-2000:]}"
        raise RuntimeError(message)

    def _bury_containerd(self) -> None:
        """Waits for the end of the last engine's containerd, which dies with it, and removes the file with its id.

        The next engine would take it for alive until the machine's first process has waited for it.
        """
        file = self.folder / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(OSError, ValueError):
            process = int(file.read_text(encoding="ascii"))
            until = time.monotonic() + STOP_SECONDS
            while time.monotonic() < until and Path(f"/proc/{process}/cmdline").read_bytes():
                time.sleep(0.01)
        file.unlink(missing_ok=True)

    def _end_what_is_left(self) -> None:
        """Ends containerd, its shims and their containers, should they have outlived the engine."""
        for found in self.processes():
            for child in (*_children(found), found):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


@contextlib.contextmanager
def small_volume(engine: Engine, name: str, megabytes: int) -> Iterator[Path]:
    """A volume that holds so many MiB and no more; gives its folder on this machine."""
    folder = engine.folder / "disks" / name
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder))
    try:
        with engine.client() as client:
            options = {"type": "none", "o": "bind", "device": str(folder)}
            client.create_volume(name, driver="local", driver_opts=options)
        yield folder
    finally:
        _run("umount", "--lazy", str(folder))
        folder.rmdir()


def is_complete(choice: str) -> bool:
    """Whether all that an image of this server needs was built."""
    binary = None if choice == ON_PATH else binary_of(choice)
    return binary is not None and (choice != NEW or (_tools(binary) / "llama-server").exists())


def make_image(
    engine: Engine,
    choice: str,
    *,
    name: str | None = None,
    more: Mapping[str, Path] = NOTHING,
    entrypoint: tuple[str, ...] = ("/bin/ollama",),
) -> str:
    """An image around a real Ollama, as like the public one as the tests need.

    Args:
        engine: Where it goes. An image of the same name and contents is left as it is.
        choice: Which of the servers that .ci/parts builds.
        name: Repository and tag; `ollama/ollama:<choice>` if None.
        more: Further files: the path in the image, and what to copy there, with the libraries that it needs.
        entrypoint: What the container runs, with `serve` behind it.

    Returns:
        The image's name.

    Raises:
        FileNotFoundError: That server was not built.
    """
    if not is_complete(choice):
        message = f"no Ollama {choice} in {PARTS}"
        raise FileNotFoundError(message)
    name = name or f"ollama/ollama:{choice}"
    files = _with_libraries({**_server_files(choice), **more}, choice)
    contents = _fingerprint(files)
    mark = f"{contents} {' '.join(entrypoint)}"
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(engine.client(seconds=300))
        if _mark_of(client, name) == mark:
            return name
        folder = PARTS / "images"
        if more:  # not worth keeping
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=engine.folder)))
        archive = _archive(folder, f"ollama-{choice}", contents, files)
        repository, tag = name.rsplit(":", 1)
        answer = client.import_image_from_file(str(archive), repository, tag, _changes(entrypoint, mark))
        if _mark_of(client, name) != mark:
            message = f"{name} was not imported: {answer}"
            raise RuntimeError(message)
    return name


def _changes(entrypoint: tuple[str, ...], mark: str) -> list[str]:
    """What the image says of itself."""
    return [
        f"ENTRYPOINT {json.dumps(entrypoint)}",
        'CMD ["serve"]',
        "ENV OLLAMA_HOST=0.0.0.0:11434",
        "ENV HOME=/root",
        "ENV PATH=/bin:/usr/bin",
        "EXPOSE 11434",
        f"LABEL {CONTENTS}={json.dumps(mark)}",
    ]


def _mark_of(client: docker.APIClient, name: str) -> str | None:
    for image in client.images(name):
        found: str | None = (image["Labels"] or {}).get(CONTENTS)
        return found
    return None


def _binary(choice: str) -> Path:
    found = binary_of(choice)
    assert found is not None
    return found


def _tools(binary: Path) -> Path:
    """Where an Ollama looks for its tools and libraries."""
    return binary.parent.parent / "lib" / "ollama"


def _server_files(choice: str) -> dict[str, Path]:
    """A server's files by their paths in the image."""
    binary = _binary(choice)
    tools = _tools(binary)
    beside = [file for file in sorted(tools.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    return {
        "/bin/ollama": binary,
        **{f"/lib/ollama/{file.relative_to(tools)}": file for file in beside},
    }


def _with_libraries(files: Mapping[str, Path], choice: str) -> dict[str, Path]:
    """The files, and this machine's libraries and loader that they need, at their own paths."""
    tools = _tools(_binary(choice)).resolve()
    found = _libraries(tuple(map(str, files.values())))
    return {**{str(path): path for path in found if path.parent.resolve() != tools}, **files}


@cache
def _libraries(files: tuple[str, ...]) -> list[Path]:
    told = _run("ldd", *files, check=False)  # fails for scripts
    return [Path(path) for path in _FROM_LDD.findall(told)]


def _fingerprint(files: Mapping[str, Path]) -> str:
    """Twelve digits that are others when any of the files is another."""
    state = sorted((path, *_state(file)) for path, file in files.items())
    return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _archive(folder: Path, stem: str, contents: str, files: Mapping[str, Path]) -> Path:
    """The image's root as a tar file, kept in `folder` in place of older ones."""
    target = folder / f"{stem}-{contents}.tar"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{stem}-*.tar"):
        old.unlink(missing_ok=True)
    part = folder / f"{stem}.{secrets.token_hex(4)}.part"  # another session may be at it
    try:
        with tarfile.open(part, "w") as tar:
            _fill(tar, files)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _fill(tar: tarfile.TarFile, files: Mapping[str, Path]) -> None:
    folders = {str(folder) for path in files for folder in Path(path).parents} - {"/"}
    for folder, mode in sorted({**dict.fromkeys(folders, 0o755), "/tmp": 0o1777, "/root": 0o700}.items()):
        entry = tarfile.TarInfo(folder.lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        tar.addfile(entry)
    for path, file in files.items():
        # among a server's tools a link to a neighbour stays one; all else is what the link leads to
        stays = file.is_symlink() and path.startswith("/lib/ollama/")
        entry = tar.gettarinfo(file if stays else file.resolve(), path.lstrip("/"))
        entry.uid = entry.gid = 0
        if entry.isreg():
            with file.open("rb") as stream:
                tar.addfile(entry, stream)
        else:
            tar.addfile(entry)


def _answers(path: Path) -> bool:
    """Whether an engine serves at a socket. The library's client leaves a socket open where nothing listens."""
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
        return b" 200 " in sock.recv(64)
    return False


def _make_bridge(name: str) -> tuple[str, ...]:
    """Makes a bridge with a network of its own, if it is not there; gives the arguments that name it."""
    ip = shutil.which("ip", path=SEARCH_PATH)
    if ip is None:
        return ()  # then it is docker0, which only one engine of a machine can have
    if not Path("/sys/class/net", name).exists():
        taken = _run(ip, "-4", "-o", "address") + _run(ip, "-4", "route")
        _run(ip, "link", "add", name, "type", "bridge")
        _run(ip, "address", "add", _free_network(taken), "dev", name)
        _run(ip, "link", "set", name, "up")
    return ("--bridge", name)


def _remove_bridge(name: str) -> None:
    if Path("/sys/class/net", name).exists():
        _run(shutil.which("ip", path=SEARCH_PATH) or "ip", "link", "delete", name)


def _free_network(taken: str) -> str:
    """The first address of a network that no address or route in `taken` touches, with its prefix."""
    known = [ipaddress.IPv4Network(text, strict=False) for text in _ADDRESS.findall(taken)]
    for number in random.sample(range(256), 256):
        network = ipaddress.IPv4Network(f"10.213.{number}.0/24")
        if not any(network.overlaps(other) for other in known):
            return f"{network[1]}/24"
    message = "no network 10.213.x.0/24 is free"
    raise RuntimeError(message)


def _mounts(folder: Path) -> list[str]:
    """What is mounted at or below a folder, the deepest first."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    points = [line.split()[1] for line in lines]
    return sorted((point for point in points if Path(point).is_relative_to(folder.resolve())), reverse=True)


def _unmount(folder: Path) -> None:
    for point in _mounts(folder):
        _run("umount", "--lazy", point, check=False)


def _children(process: int) -> Iterable[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
        return [int(word) for word in text.split()]
    return []


def _run(*command: str, check: bool = True) -> str:
    """A program of the system: what it prints."""
    done = subprocess.run(
        command, env={"PATH": SEARCH_PATH, "LC_ALL": "C"}, check=False, capture_output=True, text=True
    )
    if check and done.returncode != 0:
        message = f"{' '.join(command)}: {done.stderr.strip()}"
        raise RuntimeError(message)
    return done.stdout
