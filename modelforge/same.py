"""Objects as keys of a cache: the same ones, whatever is in them. Hashing a model's shape costs more than planning."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Same(Generic[T]):
    """Some objects, equal to another `Same` of the very same ones. It keeps them alive, so that none's id is reused."""

    __slots__ = ("_hash", "all")

    def __init__(self, *objects: T) -> None:
        self.all = objects
        self._hash = hash(tuple(map(id, objects)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Same) or len(self.all) != len(other.all):
            return False
        return all(one is two for one, two in zip(self.all, other.all, strict=True))
