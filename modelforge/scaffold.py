"""`init`: a project that builds at once, from what this machine has. Pure: found things in, files out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.resources import PROFILE_SCHEMA, profile_schema

if TYPE_CHECKING:
    from pathlib import Path

PROFILE_NAME = "assistant"

PROFILE = """\
#:schema ./{schema}
description = "A small assistant"
system_file = "prompts/assistant.md"

[base]
model = {model}

[parameters]
{num_ctx}temperature = 0.3
{hardware}
# Nothing takes the model's name before these pass. Write down what you would check by hand.
[[smoke]]
name = "answers"
prompt = "{prompt}"
expect = {{ regex = "\\\\w+", max_seconds = 60 }}
"""

PROMPT = "You are a helpful assistant. Answer in plain words, as short as the question allows."

SETTINGS = """\
# Everything here has a default; see the reference of modelforge.toml.
{lines}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewFile:
    """A file to write: path relative to the new project, its text, and what it is for, in one line.

    `copy_of`: it is a copy of that file, and has no text here.
    """

    path: str
    text: str = ""
    purpose: str
    copy_of: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a new project can build on: a model on the server, or a GGUF file in its folder, or the demo model.

    `host`: the server that was named for this. `demo`: where the demo model lies, which the project gets a copy of.
    """

    model: str
    training_context: int | None = None
    host: str | None = None
    demo: Path | None = None


def new_project(found: Found, *, has_gitignore: bool = False) -> tuple[NewFile, ...]:
    """The files of a new project, in the order in which a reader should look at them.

    Args:
        found: what it builds on.
        has_gitignore: its folder has a `.gitignore`, which is left as it is.
    """
    known = found.training_context
    profile = PROFILE.format(
        schema=PROFILE_SCHEMA,
        model=json.dumps(found.model, ensure_ascii=False).replace("\x7f", "\\u007f"),
        num_ctx=f"num_ctx = {min(4096, known)}\n" if known else "",
        hardware='\n[resolve]\nheadroom = "0B" # the demo model is a few MB\n' if found.demo else "",
        prompt="Who are you?",
    )
    demo = (
        [NewFile(path=f"models/{found.demo.name}", purpose="the demo model", copy_of=found.demo)]
        if found.demo
        else []
    )
    return (
        NewFile(
            path=f"profiles/{PROFILE_NAME}.toml",
            text=profile,
            purpose="the profile: base, prompt, parameters, tests",
        ),
        NewFile(path="prompts/assistant.md", text=PROMPT, purpose="its system prompt"),
        NewFile(
            path="modelforge.toml",
            text=SETTINGS.format(lines=_settings(found)),
            purpose="the project's settings; its root is here",
        ),
        NewFile(
            path=f"profiles/{PROFILE_SCHEMA}",
            text=profile_schema(),
            purpose="what editors complete and check profiles with",
        ),
        NewFile(
            path=".modelforge/.gitignore" if has_gitignore else ".gitignore",
            text="*\n" if has_gitignore else ".modelforge/\n",
            purpose="keeps the project's own store out of git",
        ),
        *demo,
    )


def _settings(found: Found) -> str:
    if found.demo:
        return 'runtime = "embedded"\nstore = ".modelforge/store"'
    return f'runtime = "ollama"\nhost = {json.dumps(found.host)}' if found.host else '# runtime = "ollama"'
