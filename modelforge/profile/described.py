"""What a key of a table is for: the text under its declaration, read from the source when somebody asks.

Pydantic can do this for every table at import, which costs a start more than it is worth.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel


def description(model: type[BaseModel], key: str) -> str | None:
    """The words for a key of a table, those of the table that it inherits it from included."""
    for owner in model.__mro__:
        texts = _texts(owner)
        if key in texts:
            return texts[key]
    return None


@cache
def _texts(owner: type) -> Mapping[str, str]:
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(owner)))
    except (OSError, TypeError, SyntaxError):  # built in, or without a source: nothing to tell
        return {}
    (declared,) = tree.body
    if not isinstance(declared, ast.ClassDef):
        return {}
    found = {}
    for field, after in zip(declared.body, declared.body[1:], strict=False):
        is_text = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
    return found
