"""The doctor as a whole: what is looked at, that no check hides another, and that nothing is changed."""

from __future__ import annotations

import shutil
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, NoReturn

import pytest

from modelforge import doctor
from modelforge.doctor import machine, packages, servers
from modelforge.errors import BuildFailed
from modelforge.units import GIB
from tests.doctors import DEFAULT, diagnose, remedy, serve, told, well
from tests.projects import CODER, place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.finding import Finding
    from modelforge.site import Site


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch)
    monkeypatch.setattr(packages, "_devices", lambda *_words: (("CPU",), ""))


@pytest.fixture(autouse=True)
def disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much free as a moment ago: others write meanwhile."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=9 * GIB))


def test_only_the_runtime_that_is_wanted_is_looked_at(tmp_path: Path) -> None:
    nothing = f"No Ollama answers at {DEFAULT} (connection refused)."
    here = place(tmp_path)
    assert "start it:           ollama serve" in told(diagnose(here))[nothing]
    assert nothing in told(diagnose(here, runtime="ollama"))
    assert nothing not in told(diagnose(here, runtime="embedded"))
    assert not [text for text in well(diagnose(here, runtime="ollama")) if "embedded" in text]


def test_it_says_what_a_build_would_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = str(tmp_path / "store")
    found = diagnose(place(tmp_path), store=store)
    assert (found.ready, well(found)[-1]) == (True, f"models are built by the runtime embedded, at {store}")
    serve(monkeypatch, versions={DEFAULT: "0.32.15"})
    found = diagnose(place(tmp_path / "b"))
    assert (found.ready, well(found)[-1]) == (
        True,
        f"models are built by the runtime ollama, at http://{DEFAULT}",
    )
    serve(monkeypatch)
    found = diagnose(place(tmp_path / "c"), runtime="ollama")
    assert not found.ready
    assert "pip install 'ollama-modelforge[embedded]'" in remedy(found, "no runtime can be had")


def test_profiles_are_counted_and_the_next_step_is_told(tmp_path: Path) -> None:
    root = tmp_path / "project"
    here = place(tmp_path)
    assert well(diagnose(here))[0] == f"1 profile in {root}, valid"
    here.write(other=CODER.replace("num_ctx", "num_ctxx"))
    assert remedy(diagnose(here), f"1 of 2 profiles in {root} not valid") == "modelforge validate"
    for file in (root / "profiles").iterdir():
        file.unlink()
    assert remedy(diagnose(here), f"no profiles in {root}") == "modelforge init"


def test_a_base_in_the_cloud_is_no_valid_profile(tmp_path: Path) -> None:
    here = place(tmp_path, coder=CODER.replace("./models/tiny-*.gguf", "gpt-oss:120b-cloud"))
    assert remedy(diagnose(here), "1 of 1 profile in") == "modelforge validate"


def breaks(_site: Site) -> NoReturn:
    message = "boom"
    raise RuntimeError(message)


def refuses(_site: Site) -> NoReturn:
    raise BuildFailed("it is not there", hint="get it")


CHECKS = (
    *((machine, check) for check in ("hardware", "store", "folders", "disk")),
    *((servers, check) for check in ("server", "cloud", "programs", "another", "proxy", "docker")),
    *((packages, check) for check in ("llama", "installed")),
)


def test_a_check_that_fails_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(tmp_path)
    before = diagnose(here)
    for module, check in CHECKS:
        with monkeypatch.context() as patch:
            patch.setattr(module, check, breaks)
            broken = diagnose(here)
            (new,) = [one for one in broken.findings if "cannot be looked at: RuntimeError: boom" in one.text]
            kept = [one for one in broken.findings if one != new]
            assert kept == [one for one in before.findings if one in kept], check
            assert len(kept) >= len(before.findings) - 2, check
            assert (new.good, broken.ready) == (False, True), check


def test_a_check_that_is_refused_tells_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = place(tmp_path)
    for module, check in CHECKS:
        with monkeypatch.context() as patch:
            patch.setattr(module, check, refuses)
            assert remedy(diagnose(here), "it is not there") == "get it", check


def test_a_check_that_hangs_hides_no_other_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    real = machine.hardware

    def hangs(site: Site) -> Iterator[Finding]:
        yield from real(site)
        end.wait(60)

    here = place(tmp_path)
    before = diagnose(here)
    monkeypatch.setattr(doctor, "PATIENCE", 0.4)
    monkeypatch.setattr(machine, "hardware", hangs)
    start = time.monotonic()
    found = diagnose(here)
    (left,) = [one for one in threading.enumerate() if one.name == "the hardware"]
    assert left.daemon  # or the program could not end before it
    end.set()
    assert time.monotonic() - start < 5
    (new,) = set(found.findings) - set(before.findings)
    assert (new.good, new.text) == (False, "the look at the hardware hangs: nothing came of it within 0.4 s")
    assert set(before.findings) < set(found.findings)


def test_what_several_checks_stumble_over_is_told_once(tmp_path: Path) -> None:
    here = place(tmp_path)
    here.environment["OLLAMA_HOST"] = "a:b:c"
    found = diagnose(here)
    assert "expected [http://|https://]HOST[:PORT]" in remedy(found, "OLLAMA_HOST is no address of an Ollama")
    assert not found.ready


def test_it_changes_nothing(tmp_path: Path) -> None:
    here = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    diagnose(here)
    assert sorted(tmp_path.rglob("*")) == before


def test_it_waits_less_than_a_build_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def look(site: Site) -> Iterator[Finding]:
        timeouts = site.project.settings.timeouts
        seen.append((timeouts.connect, timeouts.call, timeouts.load, site.look))
        yield from ()

    monkeypatch.setattr(servers, "server", look)
    here = place(tmp_path)
    diagnose(here)
    here.environment["MODELFORGE_CONNECT_TIMEOUT"] = "9"
    diagnose(here)
    assert seen == [(1.5, 1.5, 300.0, True), (9.0, 1.5, 300.0, True)]
