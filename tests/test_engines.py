"""What is known of versions holds together; that servers do so: tests/live/test_dead_settings_live.py."""

from __future__ import annotations

from modelforge import engines
from modelforge.parameters import TYPES
from modelforge.settings import NEWEST_ENGINE


def test_every_parameter_of_the_tables_is_one() -> None:
    assert engines.UNREAD_BY_OWN_ENGINE | engines.SINCE.keys() <= TYPES.keys()


def test_the_newest_engine_is_among_those_read() -> None:
    assert ".".join(map(str, engines.READ[-1])) == NEWEST_ENGINE


def test_names_are_those_of_the_first_version_read_that_is_not_older() -> None:
    old, new = engines.renderers((0, 24)), engines.renderers((0, 32))
    assert old is not None
    assert new is not None
    assert "qwen3.8" not in old
    assert "qwen3.8" in new
    assert old < new
    assert engines.renderers((0, 12)) == old
    assert engines.renderers((0, 25)) == engines.renderers((0, 31)) == new
    assert "harmony" in (engines.parsers((0, 24)) or ())


def test_of_a_version_that_is_newer_than_those_read_nothing_is_said() -> None:
    assert engines.renderers((0, 33)) is None
    assert engines.parsers((1, 0)) is None
