"""The golden decisions: what is picked for public models on named devices."""

from __future__ import annotations

from tests import decisions


def test_no_decision_changed_unseen() -> None:
    golden = decisions.GOLDEN.read_text(encoding="utf-8")
    assert decisions.text() == golden, "if it is meant: python -m tests.decisions, and read the difference"


def test_there_are_twelve_models_and_twenty_devices_of_all_kinds() -> None:
    assert (len(decisions.MODELS), len(decisions.DEVICES)) == (12, 20)
    kinds = {decisions.hardware(name).backend for name in decisions.DEVICES}
    assert kinds == {"cuda", "rocm", "vulkan", "metal", "cpu"}
    assert any(len(decisions.hardware(name).devices) > 1 for name in decisions.DEVICES)
