from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.errors import UsageProblem
from modelforge.runtimes.docker import endpoint as module
from modelforge.runtimes.docker.endpoint import Endpoint, TlsFiles, find_endpoint

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = "unix:///nowhere/docker.sock"


@pytest.fixture(autouse=True)
def default_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on whether this machine has an engine."""
    monkeypatch.setattr(module, "DEFAULT_SOCKET", "/nowhere/docker.sock")


def find(home: Path, host: str | None = None, **environment: str) -> Endpoint:
    return find_endpoint(host, source="DOCKER_HOST", environment=environment, home=home)


def problem(home: Path, host: str | None = None, **environment: str) -> tuple[str, str]:
    """The message and the hint."""
    with pytest.raises(UsageProblem) as caught:
        find(home, host, **environment)
    assert caught.value.exit_code == 2
    return str(caught.value), caught.value.problems[0].hint or ""


def add_context(config: Path, name: str, docker: object) -> Path:
    """Writes a context as docker does; gives the folder of its TLS files, which is not made."""
    key = hashlib.sha256(name.encode()).hexdigest()
    folder = config / "contexts" / "meta" / key
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}
    (folder / "meta.json").write_text(json.dumps(meta))
    return config / "contexts" / "tls" / key / "docker"


def use_context(config: Path, name: object) -> Path:
    config.mkdir(parents=True, exist_ok=True)
    file = config / "config.json"
    file.write_text(json.dumps({"currentContext": name}))
    return file


def add_files(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name}.pem").touch()


# -- addresses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("unix:///a/engine.sock", "unix:///a/engine.sock"),
        (" unix:///a/b/../engine.sock ", "unix:///a/engine.sock"),
        ("unix://", DEFAULT),
        ("npipe:////./pipe/mine", "npipe:////./pipe/mine"),
        ("npipe://", "npipe:////./pipe/docker_engine"),
        ("tcp://gpu-box:99", "tcp://gpu-box:99"),
        ("tcp://gpu-box", "tcp://gpu-box:2375"),
        ("gpu-box", "tcp://gpu-box:2375"),
        ("gpu-box:", "tcp://gpu-box:2375"),
        ("gpu-box:99", "tcp://gpu-box:99"),
        ("tcp://gpu-box/engine/", "tcp://gpu-box:2375/engine"),
        ("::1", "tcp://[::1]:2375"),
        ("[fd00::1]:99", "tcp://[fd00::1]:99"),
        ("ssh://gpu-box", "ssh://gpu-box"),
        ("ssh://Gpu-Box:", "ssh://Gpu-Box"),
        ("ssh://me@gpu-box:2222/", "ssh://me@gpu-box:2222"),
        ("ssh://me@gpu-box/run/user/1000/docker.sock", "ssh://me@gpu-box/run/user/1000/docker.sock"),
    ],
)
def test_an_address_reads_as_docker_reads_it(home: Path, text: str, url: str) -> None:
    assert find(home, text) == Endpoint(url=url, source="DOCKER_HOST", tls=None)


def test_two_spellings_of_a_socket_are_one_engine(home: Path) -> None:
    (home / "run").mkdir()
    (home / "var").symlink_to("run")
    assert find(home, f"unix://{home}/var/docker.sock") == find(home, f"unix://{home}/run/docker.sock")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gopher://gpu-box", "unknown scheme 'gopher'"),
        ("unix://run/docker.sock", "the path of the socket does not start with '/'"),
        ("tcp://", "it names no host"),
        ("tcp://:2375", "it names no host"),
        (":2375", "it names no host"),
        ("ssh://", "it names no host"),
        ("ssh://me@", "it names no host"),
        ("tcp://gpu-box:x", "the port is no number from 1 to 65535"),
        ("ssh://gpu-box:70000", "the port is no number from 1 to 65535"),
        ("tcp://gpu-box:0", "the port is no number from 1 to 65535"),
        ("tcp://gpu box", "'gpu box' is no host name"),
        ("ssh://-oProxyCommand=boom", "is no host name"),
        ("tcp://[::1", "the brackets"),
        ("ssh://gpu-box?a=b", "it has a '?'"),
    ],
)
def test_what_is_no_address_names_its_source_and_the_form(home: Path, text: str, reason: str) -> None:
    message, hint = problem(home, text)
    assert message.startswith("DOCKER_HOST names no Docker engine")
    assert reason in message
    assert "unix:///PATH, tcp://HOST[:PORT] or ssh://[USER@]HOST[:PORT]" in hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("tpc://gpu-box", "did you mean 'tcp'?"),
        ("https://gpu-box", "docker writes tcp://, and sets DOCKER_TLS_VERIFY=1 for TLS"),
        ("/run/docker.sock", "write unix:///run/docker.sock"),
    ],
)
def test_a_near_miss_gets_the_right_spelling(home: Path, text: str, hint: str) -> None:
    assert hint in problem(home, text)[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ssh://me:hunter2@gpu-box", "ssh takes no password from an address; use a key"),
        ("ssh://me:hunter/2@gpu-box", "the port is no number"),
        ("tcp://me:hunter2@gpu-box", "a user name or password, which an engine has no use for"),
    ],
)
def test_a_password_is_refused_and_not_repeated(home: Path, text: str, reason: str) -> None:
    message, hint = problem(home, text)
    assert reason in message
    assert "hunter" not in message + hint


@pytest.mark.parametrize(
    ("text", "local", "ssh"),
    [
        ("unix:///a/engine.sock", True, False),
        ("npipe://", True, False),
        ("localhost:2375", True, False),
        ("127.9.9.9:2375", True, False),
        ("[::1]:2375", True, False),
        ("gpu-box:2375", False, False),
        ("10.0.0.1:2375", False, False),
        ("ssh://localhost", False, True),
    ],
)
def test_where_an_engine_is(home: Path, text: str, local: bool, ssh: bool) -> None:  # noqa: FBT001
    found = find(home, text)
    assert (found.local, found.ssh) == (local, ssh)


# -- which one counts --------------------------------------------------------------------------------


def test_the_first_that_is_set_counts(home: Path) -> None:
    config = home / ".docker"
    add_context(config, "one", {"Host": "tcp://one:1"})
    add_context(config, "two", {"Host": "tcp://two:2"})
    file = use_context(config, "two")
    assert find(home, "tcp://host:3", DOCKER_CONTEXT="one").url == "tcp://host:3"
    by_variable = find(home, " ", DOCKER_CONTEXT="one")
    assert (by_variable.url, by_variable.source) == (
        "tcp://one:1",
        "the docker context 'one' of DOCKER_CONTEXT",
    )
    by_file = find(home, DOCKER_CONTEXT="")
    assert (by_file.url, by_file.source) == ("tcp://two:2", f"the docker context 'two' of {file}")
    assert find(home, DOCKER_CONTEXT="default") == Endpoint(url=DEFAULT, source="default", tls=None)


@pytest.mark.parametrize("settings", [None, {}, {"currentContext": ""}, {"currentContext": "default"}])
def test_without_a_choice_it_is_the_default_socket(home: Path, settings: dict[str, Any] | None) -> None:
    if settings is not None:
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text(json.dumps(settings))
    assert find(home) == Endpoint(url=DEFAULT, source="default", tls=None)


def test_another_folder_of_settings(home: Path, tmp_path: Path) -> None:
    use_context(home / ".docker", "elsewhere")
    add_context(tmp_path, "one", {"Host": "ssh://me@one"})
    use_context(tmp_path, "one")
    assert find(home, DOCKER_CONFIG=str(tmp_path)).url == "ssh://me@one"


def test_contexts_in_the_working_directory_are_not_ours(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_context(tmp_path, "one", {"Host": "tcp://trap:1"})
    monkeypatch.chdir(tmp_path)
    assert "there is no docker context 'one'" in problem(home, DOCKER_CONTEXT="one")[0]


def test_a_rootless_engine_stands_in_for_the_default_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find(home, XDG_RUNTIME_DIR=str(tmp_path)).url == DEFAULT
    rootless = tmp_path / "docker.sock"
    rootless.touch()
    assert find(home, XDG_RUNTIME_DIR=str(tmp_path)).url == f"unix://{rootless}"
    default = home / "docker.sock"
    default.touch()
    monkeypatch.setattr(module, "DEFAULT_SOCKET", str(default))
    assert find(home, XDG_RUNTIME_DIR=str(tmp_path)).url == f"unix://{default}"


# -- contexts ----------------------------------------------------------------------------------------


def test_a_context_that_is_not_there_gets_the_nearest_name(home: Path) -> None:
    add_context(home / ".docker", "gpu-box", {"Host": "ssh://me@gpu-box"})
    message, hint = problem(home, DOCKER_CONTEXT="gpu-bxo")
    assert message == "there is no docker context 'gpu-bxo', which DOCKER_CONTEXT names"
    assert hint == "did you mean 'gpu-box'?"
    assert problem(home, DOCKER_CONTEXT="xyz")[1] == "there are: default, gpu-box"


def test_contexts_that_cannot_be_read_are_not_offered(home: Path) -> None:
    add_context(home / ".docker", "broken", {})
    file = next((home / ".docker").rglob("meta.json"))
    file.write_text("{")
    assert problem(home, DOCKER_CONTEXT="brokem")[1] == "there are: default"


def test_a_context_without_a_host_is_the_default_socket(home: Path) -> None:
    add_context(home / ".docker", "one", {"SkipTLSVerify": True})
    assert find(home, DOCKER_CONTEXT="one").url == DEFAULT


def test_a_context_with_a_wrong_address_is_named(home: Path) -> None:
    add_context(home / ".docker", "one", {"Host": "ssh://a:secret@one"})
    message, _ = problem(home, DOCKER_CONTEXT="one")
    assert message.startswith(
        "the docker context 'one' of DOCKER_CONTEXT names no Docker engine: ssh takes no"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting property name"),
        ("[]", "it holds no JSON object"),
        ("\xff", "it is no UTF-8 text"),
        ("{}", "the context 'one' has no docker endpoint"),
        ('{"Endpoints": []}', "the context 'one' has no docker endpoint"),
        ('{"Endpoints": {"docker": {"Host": 7}}}', "Endpoints.docker.Host is no text"),
    ],
)
def test_a_context_that_is_damaged(home: Path, text: str, reason: str) -> None:
    add_context(home / ".docker", "one", {})
    file = next((home / ".docker").rglob("meta.json"))
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageProblem) as caught:
        find(home, DOCKER_CONTEXT="one")
    found = caught.value.problems[0]
    assert found.message.startswith("docker's meta.json is not valid: ")
    assert reason in found.message
    assert found.place.startswith(str(file))
    assert "DOCKER_HOST" in (found.hint or "")


def test_a_config_that_is_damaged_counts_only_where_it_is_needed(home: Path) -> None:
    file = use_context(home / ".docker", 7)
    assert "config.json is not valid: currentContext is no text" in problem(home)[0]
    file.write_text('{\n "currentContext": one\n}')
    with pytest.raises(UsageProblem) as caught:
        find(home)
    assert caught.value.problems[0].place == f"{file}:2:20"
    assert find(home, "tcp://one:1").url == "tcp://one:1"
    assert find(home, DOCKER_CONTEXT="default").url == DEFAULT


def test_a_config_that_cannot_be_read(home: Path) -> None:
    (home / ".docker" / "config.json").mkdir(parents=True)
    assert "it cannot be read (Is a directory)" in problem(home)[0]


# -- TLS ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("variable", "verify"), [("DOCKER_TLS_VERIFY", True), ("DOCKER_TLS", False)])
@pytest.mark.parametrize("value", ["1", "0"])
def test_tls_by_the_environment(home: Path, variable: str, value: str, verify: bool) -> None:  # noqa: FBT001
    add_files(home / ".docker", "ca", "cert", "key")
    folder = home / ".docker"
    found = find(home, "gpu-box", **{variable: value})
    assert found.url == "tcp://gpu-box:2375"
    assert found.tls == TlsFiles(
        ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem", verify=verify
    )


def test_tls_files_of_another_folder(home: Path, tmp_path: Path) -> None:
    add_files(tmp_path, "ca")
    found = find(home, "tcp://gpu-box:99", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(tmp_path))
    assert found.tls == TlsFiles(ca=tmp_path / "ca.pem", cert=None, key=None, verify=True)
    by_config = find(home, "tcp://gpu-box:99", DOCKER_TLS_VERIFY="1", DOCKER_CONFIG=str(tmp_path))
    assert by_config.tls == found.tls


def test_tls_without_an_address_is_docker_s_port_for_it(home: Path) -> None:
    add_files(home / ".docker", "ca")
    found = find(home, DOCKER_TLS_VERIFY="1")
    assert (found.url, found.source) == ("tcp://localhost:2376", "default")
    assert found.tls is not None


@pytest.mark.parametrize("host", ["unix:///a/engine.sock", "ssh://gpu-box", "npipe://"])
def test_sockets_and_ssh_have_no_use_for_tls(home: Path, host: str) -> None:
    assert find(home, host, DOCKER_TLS_VERIFY="1").tls is None


def test_tls_without_its_ca(home: Path, tmp_path: Path) -> None:
    message, hint = problem(home, "gpu-box", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH=str(tmp_path))
    assert message.startswith(f"DOCKER_TLS_VERIFY is set, but {tmp_path}/ca.pem is not there")
    assert "DOCKER_CERT_PATH" in hint


@pytest.mark.parametrize(("there", "lacking"), [("cert", "key"), ("key", "cert")])
def test_half_of_a_certificate(home: Path, there: str, lacking: str) -> None:
    add_files(home / ".docker", "ca", there)
    message, _ = problem(home, "gpu-box", DOCKER_TLS_VERIFY="1")
    assert f"{lacking}.pem is not there" in message
    assert f"but {there}.pem is" in message


def test_tls_of_a_context(home: Path) -> None:
    folder = add_context(home / ".docker", "one", {"Host": "tcp://one:2376", "SkipTLSVerify": False})
    assert (
        find(home, DOCKER_CONTEXT="one", DOCKER_TLS_VERIFY="1").tls is None
    )  # the variable is not for contexts
    add_files(folder, "ca", "cert", "key")
    assert find(home, DOCKER_CONTEXT="one").tls == TlsFiles(
        ca=folder / "ca.pem", cert=folder / "cert.pem", key=folder / "key.pem", verify=True
    )


def test_a_context_that_trusts_anybody(home: Path) -> None:
    add_context(home / ".docker", "one", {"Host": "tcp://one:2376", "SkipTLSVerify": True})
    assert find(home, DOCKER_CONTEXT="one").tls == TlsFiles(ca=None, cert=None, key=None, verify=False)
