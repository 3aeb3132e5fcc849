"""The docker runtime on a real engine, in images around both real servers: the whole main job, and what it leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.live.containers import VOLUME, caught, docker_quickstart, ours, own_ollama, volumes
from tests.live.test_build_live import ANSWER, NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.engines import Engine
    from tests.live.forge import Forge

FILE = f"profiles/{NAME}.toml"


@pytest.fixture
def forge(engine: Engine, image: str, tmp_path: Path) -> Forge:
    return docker_quickstart(tmp_path / "forge", engine, image)


def build(forge: Forge, *words: str) -> tuple[int, dict[str, object]]:
    done = forge.run("build", NAME, "--json", *words)
    (variant,) = done.document["variants"]
    return done.code, variant


# -- the main job --------------------------------------------------------------------------------------


def test_the_quickstart_in_a_container(engine: Engine, image: str, forge: Forge) -> None:
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    assert "4 passed" in done.err
    assert f"promoted  {NAME}:latest" in done.err
    assert f"docker {image.partition(':')[2]} at {VOLUME}@{engine.url}, gpus: none" in done.err
    assert ours(engine) == []
    assert volumes(engine) == {VOLUME}
    with own_ollama(engine, image) as own:
        assert {name.partition(":")[0] for name in own.names()} == {NAME, "modelforge/weights"}
        assert own.show(NAME)["system"] == "Use type hints and docstrings."
        assert ANSWER in own.answer(NAME)


def test_a_second_build_is_unchanged(engine: Engine, forge: Forge) -> None:
    code, first = build(forge)
    assert (code, first["status"]) == (0, "built")
    code, second = build(forge)
    assert (code, second["status"]) == (0, "unchanged")
    assert second["digests"] == first["digests"]
    assert ours(engine) == []


@pytest.mark.parametrize("how", ["deleted", "changed", "a blob is gone"])
def test_what_was_done_to_the_model_by_hand_is_seen(
    engine: Engine, image: str, forge: Forge, how: str
) -> None:
    build(forge)
    with own_ollama(engine, image) as own:
        if how == "deleted":
            own.call("DELETE", "/api/delete", {"model": NAME})
        elif how == "changed":
            own.call("POST", "/api/create", {"model": NAME, "from": NAME, "system": "Talk like a pirate."})
        else:
            blobs = engine.data / "volumes" / VOLUME / "_data" / "models" / "blobs"
            min(blobs.iterdir(), key=lambda blob: blob.stat().st_size).unlink()
    code, variant = build(forge)
    assert (code, variant["status"]) == (0, "built")
    assert build(forge)[1]["status"] == "unchanged"
    with own_ollama(engine, image) as own:
        assert ANSWER in own.answer(NAME)


def test_the_journal_has_the_images_digest(engine: Engine, image: str, forge: Forge) -> None:
    build(forge)
    with engine.client() as client:
        digest = client.inspect_image(image)["Id"]  # type: ignore[no-untyped-call]
    (entry,) = forge.run("history", NAME, "--json").document["entries"]
    assert (entry["runtime"], entry["image"]) == ("docker", digest)
    assert entry["endpoint"] == f"{VOLUME}@{engine.url}"


def test_run_smoke_and_rollback_go_to_the_container_by_themselves(engine: Engine, forge: Forge) -> None:
    build(forge)
    forge.edit(FILE, "num_ctx = 1024", "num_ctx = 512")
    assert build(forge)[1]["status"] == "built"
    (forge.project / "modelforge.toml").write_text("", encoding="utf-8")
    done = forge.run("run", NAME, "Write a function that adds two numbers.")
    assert ANSWER in done.out, done.err
    assert forge.run("smoke", NAME).code == 0
    assert forge.run("rollback", NAME).code == 0
    (forge.project / "modelforge.toml").write_text('runtime = "docker"\n', encoding="utf-8")
    forge.edit(FILE, "num_ctx = 512", "num_ctx = 1024")
    assert build(forge)[1]["status"] == "unchanged"
    assert ours(engine) == []


def test_weights_are_sent_once_for_each_content(forge: Forge) -> None:
    first = forge.run("build", NAME)
    assert "the server reads it" in first.err
    forge.edit(FILE, "num_ctx = 1024", "num_ctx = 512")
    second = forge.run("build", NAME)
    assert second.code == 0, second.err
    assert "import" not in second.err


def test_a_failing_smoke_test_leaves_the_old_model(engine: Engine, image: str, forge: Forge) -> None:
    build(forge)
    forge.edit(FILE, "Use type hints and docstrings.", "Talk like a pirate.")
    done = forge.run("build", NAME)
    assert done.code == 8
    assert "Arr!" in done.err
    with own_ollama(engine, image) as own:
        assert ANSWER in own.answer(NAME)
        assert {name.partition(":")[0] for name in own.names()} == {NAME, "modelforge/weights"}


def test_via_cli_makes_the_same_model(engine: Engine, image: str, forge: Forge) -> None:
    assert forge.run("build", NAME, "--name", "by-api").code == 0
    done = forge.run("build", NAME, "--name", "by-cli", "--via", "cli")
    assert done.code == 0, done.err
    with own_ollama(engine, image) as own:
        api, cli = own.show("by-api"), own.show("by-cli")
        assert sorted(api["parameters"].splitlines()) == sorted(cli["parameters"].splitlines())
        assert (api["system"], api["template"]) == (cli["system"], cli["template"])


def test_via_cli_tells_the_commands_error(forge: Forge) -> None:
    forge.edit(FILE, "[base]", "chat_template_file = 'broken.txt'\n\n[base]")
    # Go takes it, and so do we; an Ollama wants something handed on
    broken = '{{ define "x" }}{{ end }}{{ template "x" }}{{ .Prompt }}'
    (forge.project / "broken.txt").write_text(broken, encoding="utf-8")
    done = forge.run("build", NAME, "--via", "cli")
    assert done.code == 7, done.err
    assert "ollama create ended with" in done.err
    assert "template" in done.err


def test_without_a_runtime_named_the_image_that_is_there_is_taken(forge: Forge) -> None:
    (forge.project / "modelforge.toml").write_text("", encoding="utf-8")
    forge.environment["OLLAMA_HOST"] = "127.0.0.1:9"
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    assert "runtime docker: No Ollama answers at 127.0.0.1:9" in done.err


def test_a_context_names_the_engine(engine: Engine, image: str, tmp_path: Path) -> None:
    import hashlib  # noqa: PLC0415

    forge = docker_quickstart(tmp_path / "forge", engine, image)
    del forge.environment["DOCKER_HOST"]
    key = hashlib.sha256(b"mine").hexdigest()
    meta = forge.folder / "home" / ".docker" / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    content = {"Name": "mine", "Metadata": {}, "Endpoints": {"docker": {"Host": engine.url}}}
    meta.write_text(json.dumps(content), encoding="utf-8")
    forge.environment["DOCKER_CONTEXT"] = "mine"
    assert build(forge)[0] == 0
    forge.environment["DOCKER_CONTEXT"] = "mein"
    done = forge.run("build", NAME)
    assert done.code == 2
    assert "did you mean 'mine'?" in done.err


# -- what a container may not do -------------------------------------------------------------------------


def test_the_running_container_is_hardened(engine: Engine, image: str, forge: Forge) -> None:
    with engine.client() as client:
        digest = client.inspect_image(image)["Id"]  # type: ignore[no-untyped-call]
    with forge.start("build", NAME) as process:
        found = caught(engine)
        process.communicate(timeout=60)
    assert process.returncode == 0
    host = found["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert not host["Privileged"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert list(host["Tmpfs"]) == ["/tmp"]
    assert host["NetworkMode"] in {"default", "bridge"}
    assert (host["PidMode"], host["IpcMode"] in {"", "private"}, host["Binds"]) == ("", True, None)
    assert host["Memory"] > 0
    assert host["MemorySwap"] == host["Memory"]
    assert host["PidsLimit"] == 1024
    assert host["PortBindings"] == {"11434/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    assert [port["HostIp"] for port in found["NetworkSettings"]["Ports"]["11434/tcp"]] == ["127.0.0.1"]
    (mount,) = found["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"]) == ("volume", VOLUME, "/root/.ollama")
    assert found["Image"] == digest
    assert {"OLLAMA_NO_CLOUD=1", "OLLAMA_NOPRUNE=1"} <= set(found["Config"]["Env"])


def test_no_key_is_left_in_the_volume(engine: Engine, forge: Forge) -> None:
    build(forge)
    data = engine.data / "volumes" / VOLUME / "_data"
    assert {path.name for path in data.iterdir()} == {"models"}


def test_limits_and_variables_of_the_project(engine: Engine, image: str, forge: Forge) -> None:
    (forge.project / "modelforge.toml").write_text(
        f'[runtime]\ndefault = "docker"\n[runtime.docker]\nimage = "{image}"\nvolume = "mine"\n'
        'memory = "2GiB"\ncpus = 1.5\nenv = { OLLAMA_DEBUG = "1" }\n',
        encoding="utf-8",
    )
    forge.edit(FILE, "[resolve]", '[serve]\nkeep_alive = "7m"\n\n[resolve]\nkv_cache = "q8_0"\nparallel = 2')
    del forge.environment["MODELFORGE_DOCKER_IMAGE"]
    with forge.start("build", NAME) as process:
        found = caught(engine)
        _out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    host, env = found["HostConfig"], set(found["Config"]["Env"])
    assert (host["Memory"], host["NanoCpus"]) == (2 << 30, 1_500_000_000)
    assert found["Mounts"][0]["Name"] == "mine"
    assert {
        "OLLAMA_DEBUG=1",
        "OLLAMA_KV_CACHE_TYPE=q8_0",
        "OLLAMA_FLASH_ATTENTION=1",
        "OLLAMA_NUM_PARALLEL=2",
        "OLLAMA_KEEP_ALIVE=7m",
    } <= env
    assert "(CPU, 2.0 GiB" in err


def test_a_cache_that_the_server_cannot_have_is_told(forge: Forge) -> None:
    """0.24.0 passes over q5_1 with a word in its log; 0.32.15 takes it."""
    forge.edit(FILE, "[resolve]", '[resolve]\nkv_cache = "q5_1"')
    done = forge.run("build", NAME)
    assert done.code == 0, done.err
    old = "docker 0.24.0" in done.err
    assert ("the server does not run with what the plan counts on" in done.err) is old
    assert ("OLLAMA_KV_CACHE_TYPE" in done.err) is old


# -- two at once, and ends in the middle -----------------------------------------------------------------


def test_two_builds_side_by_side_on_one_volume(engine: Engine, image: str, forge: Forge) -> None:
    base = (forge.project / FILE).read_text(encoding="utf-8").partition("[[smoke]]")[0]
    for number in range(2):
        forge.profile(f"p{number}", base.replace("num_ctx = 1024", f"num_ctx = {600 + number}"))
    for _ in range(3):
        started = [forge.start("build", f"p{number}", "--json") for number in range(2)]
        started.append(forge.start("build", NAME, "--json"))
        for process in started:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, (out, err)
        for number in range(2):
            forge.edit(f"profiles/p{number}.toml", "temperature = 0.2", "temperature = 0.3")
            forge.edit(f"profiles/p{number}.toml", "temperature = 0.3", "temperature = 0.2")
    assert ours(engine) == []
    with own_ollama(engine, image) as own:
        for number in range(2):
            assert f"{600 + number}" in own.show(f"p{number}")["parameters"]
        assert ANSWER in own.answer(NAME)
        assert not {name for name in own.names() if name.startswith("modelforge/staged")}


def test_two_builds_of_one_name_wait_for_each_other(engine: Engine, forge: Forge) -> None:
    started = [forge.start("build", NAME, "--json") for _ in range(2)]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    statuses = {json.loads(out)["variants"][0]["status"] for out, _err in ended}
    assert statuses == {"built", "unchanged"}
    assert ours(engine) == []
