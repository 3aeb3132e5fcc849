"""Bases on what speaks the Hub's protocol, by the real command line and Hugging Face's own library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live.conftest import MODELS
from tests.live.forge import Forge, quickstart
from tests.live.hubs import COMMIT, REPOSITORY, Hub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.servers import Server

MIB = 1 << 20
PADDING = bytes(16 * MIB)
HEADER = 4 * MIB
PROFILE = """\
system = "Use type hints and docstrings."
[base]
model = "hf.co/{model}"
{keys}
[parameters]
num_ctx = 1024
[[smoke]]
name = "answers"
prompt = "Write a function that adds two numbers."
expect = {{ contains = "def" }}
"""
BUILD = ("build", "coder", "--runtime", "embedded")


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Two quants of a real tiny model, with bytes behind them that only a download fetches."""
    files = {
        f"tiny-{quant}.gguf": (MODELS / f"forge-tiny-{quant}.gguf").read_bytes() + PADDING
        for quant in ("Q8_0", "Q4_0")
    }
    made = Hub(files={**files, "imatrix.gguf": b"x"})
    made.start()
    yield made
    made.stop()


@pytest.fixture
def forge(tmp_path: Path, hub: Hub) -> Forge:
    made = quickstart(tmp_path, HF_ENDPOINT=hub.url())
    write(made)
    return made


def write(forge: Forge, model: str = REPOSITORY, keys: str = 'quants = ["Q8_0", "Q4_0"]') -> None:
    forge.profile("coder", PROFILE.format(model=model, keys=keys))


def downloads(forge: Forge) -> list[Path]:
    return list((forge.folder / "cache" / "downloads").glob("*.gguf*"))


def test_planned_from_headers_built_from_one_download_and_then_unchanged(forge: Forge, hub: Hub) -> None:
    would = forge.run(*BUILD, "--dry-run")
    assert would.code == 0, would.err
    whole = len(hub.files["tiny-Q8_0.gguf"])
    assert f"hf.co/{REPOSITORY}:Q8_0" in would.out
    assert f"the base from Hugging Face, {whole / MIB:.1f} MiB at most" in would.out
    assert (hub.sent, downloads(forge)) == (2 * HEADER, [])
    there = {"/api/models/", f"/{REPOSITORY}/resolve/", "/lfs/"}
    assert all(any(place in one for place in there) for one in hub.asked), hub.asked
    hub.sent = 0

    built = forge.run(*BUILD)
    assert built.code == 0, built.err
    assert hub.sent == whole
    (file,) = downloads(forge)
    assert file.read_bytes() == hub.files["tiny-Q8_0.gguf"]
    file.unlink()

    again = forge.run(*BUILD)
    assert again.code == 0, again.err
    assert "is up to date" in again.err
    assert hub.sent == whole

    hub.stop()
    without = forge.run(*BUILD)
    assert without.code == 0, without.err
    told = " ".join((without.out + without.err).split())
    assert "is up to date" in told
    assert forge.run(*BUILD, "--dry-run").code == 0
    plan = forge.run("resolve", "coder")
    told = " ".join((plan.out + plan.err).split())
    assert "Hugging Face cannot be asked (nothing answers at" in told
    assert "planned with what was seen on 20" in told
    hub.start()
    assert downloads(forge) == []


def test_on_a_server_it_is_imported_and_not_downloaded_again(forge: Forge, hub: Hub, server: Server) -> None:
    build = ("build", "coder", "--runtime", "ollama", "--host", f"127.0.0.1:{server.port}")
    built = forge.run(*build)
    assert built.code == 0, built.err
    (file,) = downloads(forge)
    file.unlink()
    hub.sent = 0
    again = forge.run(*build)
    assert (again.code, "is up to date" in again.err) == (0, True), again.err
    other = forge.run(*build, "--name", "other")
    assert other.code == 0, other.err
    assert (hub.sent, downloads(forge)) == (0, [])


def test_a_server_makes_a_quant_of_a_file_there(forge: Forge, hub: Hub, server: Server) -> None:
    full = (MODELS / "forge-tiny-F16.gguf").read_bytes()
    hub.files = {**hub.files, "tiny-F16.gguf": full}
    write(forge, keys='quantize = "Q8_0"')
    build = ("build", "coder", "--runtime", "ollama", "--host", f"127.0.0.1:{server.port}")
    built = forge.run(*build)
    assert built.code == 0, built.err
    (file,) = downloads(forge)
    assert file.read_bytes() == full
    file.unlink()
    hub.sent = 0
    again = forge.run(*build)
    assert (again.code, "is up to date" in again.err, hub.sent) == (0, True, 0), again.err


def test_what_was_never_seen_cannot_be_planned_without_a_network(forge: Forge, hub: Hub) -> None:
    hub.stop()
    done = forge.run("resolve", "coder")
    hub.start()
    assert done.code == 10
    assert "connection refused" in done.err
    offline = Forge(folder=forge.folder, environment={**forge.environment, "HF_HUB_OFFLINE": "1"})
    done = offline.run("resolve", "coder")
    assert (done.code, "HF_HUB_OFFLINE is set" in " ".join(done.err.split())) == (10, True)


def test_a_private_repository_wants_a_token_which_stays_with_the_hub(forge: Forge, hub: Hub) -> None:
    hub.token = "hf_secret"  # noqa: S105 (made up)
    refused = forge.run("resolve", "coder")
    assert refused.code == 2
    assert "may not be read without a login" in " ".join(refused.err.split())
    assert "HF_TOKEN" in refused.err
    forge.environment["HF_TOKEN"] = "hf_secret"  # noqa: S105
    hub.authorized = {"hub": set(), "cdn": set()}
    built = forge.run(*BUILD)
    assert built.code == 0, built.err
    assert hub.authorized == {"hub": {"Bearer hf_secret"}, "cdn": {None}}
    assert "hf_secret" not in built.out + built.err


def test_a_token_that_was_left_by_a_login(forge: Forge, hub: Hub) -> None:
    hub.token = "hf_stored"  # noqa: S105
    file = forge.folder / "home" / ".cache" / "huggingface" / "token"
    file.parent.mkdir(parents=True)
    file.write_text("hf_stored", encoding="utf-8")
    done = forge.run("resolve", "coder")
    assert done.code == 0, done.err


def test_a_limit_of_requests_ends_with_10(forge: Forge, hub: Hub) -> None:
    hub.limit = True
    done = forge.run("resolve", "coder")
    assert (done.code, "429" in done.err, "HF_TOKEN" in done.err) == (10, True, True)


def test_a_download_that_is_cut_goes_on(forge: Forge, hub: Hub) -> None:
    assert forge.run("resolve", "coder").code == 0
    hub.sent, hub.cut = 0, 5 * MIB
    built = forge.run(*BUILD)
    assert built.code == 0, built.err
    assert "trying again from 5.0 MiB on" in " ".join(built.err.split())
    whole = len(hub.files["tiny-Q8_0.gguf"])
    assert hub.sent == whole
    assert [one.stat().st_size for one in downloads(forge)] == [whole]


def test_wrong_bytes_are_refused(forge: Forge, hub: Hub) -> None:
    assert forge.run("resolve", "coder").code == 0
    hub.gives = hub.files["tiny-Q8_0.gguf"][:-1] + b"x"
    done = forge.run(*BUILD)
    assert done.code == 7
    assert "is not what it should be" in " ".join(done.err.split())
    assert downloads(forge) == []
    assert forge.run("list").code == 0


def test_an_encoder_that_is_none_is_named(forge: Forge, hub: Hub) -> None:
    hub.files = {**hub.files, "mmproj-F16.gguf": (MODELS / "forge-tiny-Q4_0.gguf").read_bytes()}
    done = forge.run(*BUILD)
    assert done.code == 2
    told = " ".join(done.err.split())
    assert (
        f"mmproj-F16.gguf of hf.co/{REPOSITORY}: no encoder of images or sound: its architecture is llama"
        in told
    )
    write(forge, keys='quants = ["Q8_0", "Q4_0"]\nprojector = "none"')
    assert forge.run(*BUILD).code == 0


def test_a_commit_and_a_branch_that_is_not_there(forge: Forge, hub: Hub) -> None:
    write(forge, f"{REPOSITORY}:q4_0@{COMMIT}", "")
    done = forge.run("resolve", "coder")
    assert done.code == 0, done.err
    assert "Q4_0" in done.out
    assert "Q8_0" not in done.out
    asked = [one for one in hub.asked if "/api/" in one]
    assert forge.run("resolve", "coder").code == 0
    assert [one for one in hub.asked if "/api/" in one] == asked
    write(forge, f"{REPOSITORY}@dev")
    done = forge.run("resolve", "coder")
    assert (done.code, "has no branch, tag or commit 'dev'" in " ".join(done.err.split())) == (2, True)
    write(forge, "org/nothing")
    done = forge.run("resolve", "coder")
    assert (done.code, "there is no" in done.err) == (2, True)
