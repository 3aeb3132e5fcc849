"""What a model's settings say that the server they are planned for never uses, or refuses.

Each is a warning: what is told here is known of the versions that were read (`engines`, `prompt_source`), and a
profile may well be for more than one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge import engines, prompt_source
from modelforge.bases import HubFile
from modelforge.chat_templates import choose, end_token
from modelforge.errors import BaseProblem, did_you_mean
from modelforge.gguf import read_header
from modelforge.settings import place_of
from modelforge.stops import dead_stops, marks_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from modelforge.bases import Candidate
    from modelforge.engines import Version
    from modelforge.gguf import Header
    from modelforge.modelfile import Modelfile
    from modelforge.profile import Profile
    from modelforge.settings import RunSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One model: what it asks for, of which base, for which server."""

    profile: Profile
    asked: Modelfile
    base: Candidate
    settings: RunSettings

    @property
    def version(self) -> Version:
        return self.settings.version

    @property
    def server(self) -> str:
        return f"Ollama {self.settings.engine}"

    def at(self, key: str) -> str:
        """`profiles/coder.toml:7:1: ` where the profile sets the key; "" where the template does."""
        file, line, column = place_of(self.profile, key)
        return f"{file}:{line}:{column}: " if line else ""


def unused(profile: Profile, asked: Modelfile, base: Candidate, settings: RunSettings) -> Iterator[str]:
    """A warning for each setting that does nothing.

    Args:
        profile: where the settings come from, for their places.
        asked: what the model is to have, its texts exact.
        base: the candidate that was picked.
        settings: whose `engine` is the server's version.
    """
    case = _Case(profile=profile, asked=asked, base=base, settings=settings)
    yield from _parameters(case)
    yield from _names(case)
    yield from _template(case)
    yield from _stops(case)


def _parameters(case: _Case) -> Iterator[str]:
    given = case.asked.parameters
    for name in given:
        since = engines.SINCE.get(name)
        if since is not None and case.version < since:
            place, new = case.at(f"parameters.{name}"), ".".join(map(str, since))
            yield f"{place}{name} does nothing on {case.server}, which does not know it: it came with {new}"
    if engines.OWN_ENGINE_READ <= case.version < engines.LLAMA_SERVER:
        yield from _unread(case)
    if case.version >= engines.REFUSES_WHOLE_CONTEXT and given.get("repeat_last_n") == -1:
        yield (
            f"{case.at('parameters.repeat_last_n')}repeat_last_n = -1 fails every request on Ollama 0.32.15, which "
            f"takes 0 or more: for the whole context write {case.settings.num_ctx}"
        )
    if given.get("draft_num_predict") and case.version >= engines.LLAMA_SERVER and _has_no_drafts(case.base):
        place = case.at("parameters.draft_num_predict")
        yield f"{place}draft_num_predict does nothing: {case.base.ref} has no layers that draft"


def _unread(case: _Case) -> Iterator[str]:
    names = sorted(engines.UNREAD_BY_OWN_ENGINE & case.asked.parameters.keys())
    if not names or case.base.projector_bytes or case.base.shape.architecture not in engines.OWN_ENGINE:
        return
    for name in names:
        yield (
            f"{case.at(f'parameters.{name}')}{name} does nothing on {case.server}: it runs the architecture "
            f"{case.base.shape.architecture} on its own engine, which does not look at it"
        )


def _has_no_drafts(base: Candidate) -> bool:
    """Whether that is certain: a model that a server or registry has may have a drafting model beside it."""
    if not base.files:
        return False
    return not base.shape.weights.drafts and not base.shape.architecture.startswith("qwen35")


def _names(case: _Case) -> Iterator[str]:
    for word, name, known, then in (
        ("renderer", case.asked.renderer, engines.renderers(case.version), "every chat fails"),
        ("parser", case.asked.parser, engines.parsers(case.version), "answers pass as they are"),
    ):
        if name and known is not None and name not in known:
            near = did_you_mean(name, known)
            yield f"{case.at(word)}{case.server} has no {word} '{name}': {then}" + (
                f"; {near}" if near else ""
            )


def _template(case: _Case) -> Iterator[str]:
    template = case.asked.template
    if not template:
        yield from _parser_alone(case)
        return
    place, passed_over = case.at("chat_template_file"), "the model's chat template makes no prompts"
    if case.asked.renderer:
        yield f"{place}{passed_over}: the renderer '{case.asked.renderer}' does"
        return
    architecture = case.base.shape.architecture
    if architecture in prompt_source.BUILT_IN and case.version >= engines.OWN_ENGINE_READ:
        yield f"{place}{passed_over}: {case.server} has the format of {architecture} built in"
        return
    if case.version < engines.LLAMA_SERVER or case.asked.parser:
        return
    found = _header(case.base)
    jinja = found[1].metadata.get("tokenizer.chat_template") if found else None
    if isinstance(jinja, str) and prompt_source.takes_jinja(jinja, template, architecture):
        yield (
            f"{place}{passed_over} on {case.server}: the GGUF's own can do more (tools or thinking), so it is taken; "
            "to have yours, set OLLAMA_GO_TEMPLATE=1 for the server"
        )


def _parser_alone(case: _Case) -> Iterator[str]:
    """With a parser and neither renderer nor template, prompts are sent as they are: no turns, no system prompt."""
    family = case.base.shape.architecture
    if not case.asked.parser or case.asked.renderer or case.version < engines.LLAMA_SERVER:
        return
    found = None if prompt_source.has_own_format(family) else _header(case.base)
    jinja = found[1].metadata.get("tokenizer.chat_template") if found else None
    if found and isinstance(jinja, str) and choose(jinja, end_token(*found)) is None:
        yield (
            f"{case.at('parser')}the parser '{case.asked.parser}' switches the GGUF's own chat template off on "
            f"{case.server}: unless that adds one that it knows, prompts are sent bare, without the system prompt; "
            "add a renderer or a chat_template_file"
        )


def _stops(case: _Case) -> Iterator[str]:
    stops = case.asked.parameters.get("stop")
    marked = [stop for stop in stops if marks_in(stop)] if isinstance(stops, tuple) else []
    found = _header(case.base) if marked else None
    if found is None:
        return
    path, header = found
    said = [turn.content for turn in case.asked.messages]
    texts = [text for text in (case.asked.template, case.asked.system, *said) if text]
    if "tokenizer.chat_template" not in header.metadata and not case.asked.template:
        return
    own = case.profile.parameters.stop or ()
    for stop, instead in dead_stops(marked, texts, path, header):
        place = case.at(f"parameters.stop.{own.index(stop)}") if stop in own else ""
        near = f"; its turns end with '{instead}'" if instead else ""
        yield f"{place}the stop text '{stop}' ends no answer: neither the chat template nor the vocabulary has it{near}"


def _header(base: Candidate) -> tuple[Path, Header] | None:
    """The GGUF file that the base is or is made of, where it lies on this machine, and its header."""
    first = base.files[0] if base.files else None  # of parts the first one has the metadata
    path = first.here if isinstance(first, HubFile) else first.path if first else None
    with suppress(BaseProblem):
        return (path, read_header(path)) if path is not None and path.is_file() else None
    return None
