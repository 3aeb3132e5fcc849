from __future__ import annotations

import pytest

from modelforge.errors import BuildFailed
from modelforge.events import silent
from modelforge.runtimes import BrokenModel
from tests.fakes import FakeRuntime, some_rendered


def test_a_fake_keeps_names_as_ollama_does() -> None:
    runtime = FakeRuntime()
    made = runtime.create(some_rendered(system="hi"), "Coder", silent)
    runtime.copy("coder:LATEST", "kept")
    assert runtime.names() == ["Coder:latest", "kept:latest"]
    kept = runtime.show("kept")
    assert kept is not None
    assert (kept.system, kept.weights) == ("hi", made.weights)
    runtime.delete("coder")
    assert runtime.show("coder") is None


def test_a_fake_fails_at_the_nth_call_and_can_leave_a_broken_name() -> None:
    runtime = FakeRuntime()
    runtime.create(some_rendered(), "a", silent)
    runtime.fail("copy", BuildFailed("boom"), nth=2, when="broken")
    runtime.copy("a", "b")
    with pytest.raises(BuildFailed, match="boom"):
        runtime.copy("a", "b")
    with pytest.raises(BrokenModel):
        runtime.show("b")
    runtime.copy("a", "b")
    assert runtime.show("b") is not None
