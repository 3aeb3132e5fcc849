from __future__ import annotations

from modelforge.same import Same


def test_only_the_very_same_objects_are_equal() -> None:
    one, like = [1], [1]
    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(like)
    assert Same(one) != Same(one, one)
    assert Same(one, like) != Same(like, one)
    assert Same(one) != one
