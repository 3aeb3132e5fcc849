"""What the doctor says of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.site import Site


def profiles(site: Site) -> Iterator[Finding]:
    """Whether there are profiles, and all of them valid."""
    from modelforge.overview import load_all  # noqa: PLC0415 (it brings the whole profile schema)

    good, errors = load_all(site)
    total = len(good) + len(errors)
    root = site.project.root
    if total == 0:
        yield Finding(good=False, text=f"no profiles in {root}", remedy="modelforge init")
    elif errors:
        text = f"{len(errors)} of {_count(total)} in {root} not valid"
        yield Finding(good=False, text=text, remedy="modelforge validate")
    else:
        yield Finding(good=True, text=f"{_count(total)} in {root}, valid")


def _count(number: int) -> str:
    return "1 profile" if number == 1 else f"{number} profiles"
