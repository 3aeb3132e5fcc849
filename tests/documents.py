"""Reads the documentation: its pages, fenced blocks, links, and the command lines in its consoles."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "benchmarks").glob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
)
_FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block. `words` are what stands behind its opening fence, `line` where that is."""

    page: Path
    line: int
    words: tuple[str, ...]
    text: str

    @property
    def id(self) -> str:
        """`docs/tutorial.md:14`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def word(self, name: str) -> str | None:
        """The value of `name=value` behind the opening fence."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), None)


@dataclass(frozen=True)
class Typed:
    """A command line of a console block, and the lines below it, up to the next one."""

    line: str
    output: tuple[str, ...]


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    text = text_of(page)
    return [
        Block(
            page=page,
            line=text.count("\n", 0, match.start()) + 1,
            words=tuple(match["info"].split()),
            text=match["text"],
        )
        for match in _FENCE.finditer(text)
    ]


def all_blocks(*words: str) -> list[Block]:
    """The blocks of all pages that begin with these words."""
    return [block for page in PAGES for block in blocks(page) if block.words[: len(words)] == words]


def typed(block: Block) -> list[Typed]:
    """The command lines of a console block, each with its output."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found:
            found[-1][1].append(line)
    return [Typed(line=line, output=tuple(output)) for line, output in found]


def forge_words(line: str) -> list[list[str]]:
    """The words behind each `modelforge` of a shell line; comments and redirections are left out."""
    commands = []
    for part in re.split(r"&&|\|", line):
        words = shlex.split(part.partition(">")[0] if '"' not in part else part, comments=True)
        if words[:1] == ["modelforge"]:
            commands.append(words[1:])
    return commands


def links(page: Path) -> list[str]:
    """The targets of a page's links; not those in code."""
    return _LINK.findall(_FENCE.sub("", text_of(page)))
