"""A wait is told while it lasts, and not a moment longer."""

from __future__ import annotations

import time

from modelforge.events import Progress
from modelforge.waiting import told
from tests.fakes import Heard


def test_a_wait_is_told_in_seconds_until_it_ends() -> None:
    heard = Heard()
    with told(heard, stage="load", text="coder", tick=0.005):
        until = time.monotonic() + 5
        while len(heard.events) < 2 and time.monotonic() < until:
            time.sleep(0.005)
    count = len(heard.events)
    assert count >= 2
    assert heard.events[0] == Progress(stage="load", text="coder", done=0, total=None, unit="s")
    time.sleep(0.02)
    assert len(heard.events) == count


def test_it_can_be_ended_before() -> None:
    heard = Heard()
    with told(heard, stage="load", text="coder", tick=0.005) as end:
        end()
        end()
        count = len(heard.events)
        time.sleep(0.02)
        assert len(heard.events) == count


def test_a_short_wait_is_not_told() -> None:
    heard = Heard()
    with told(heard, stage="create", text="coder"):
        pass
    assert heard.events == []
