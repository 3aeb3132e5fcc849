"""What llama.cpp is asked for a model of a store: the conversation, the chat template that it goes through, settings.

The prompt is made as a server from 0.30 on makes it (server/prompt.go and server/images.go, v0.32.15). A model with a
renderer of Ollama's own goes through the GGUF's Jinja template, which says the same in its own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from modelforge import chat_templates, prompt_source
from modelforge.errors import SmokeFailed
from modelforge.runtimes import Turn, recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from modelforge.chat_templates import Choice
    from modelforge.gguf import Header
    from modelforge.render import Request
    from modelforge.runtimes import ChatRequest, ParameterValue, Standing

OLLAMA_DEFAULTS: Mapping[str, ParameterValue] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "typical_p": 1.0,
    "repeat_last_n": 64,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "num_keep": 4,
    "num_predict": -1,
    "seed": -1,
}
"""What Ollama sets where nobody says anything (api/types.go, v0.32.15); llama.cpp's own differ."""
LOADING = frozenset({"num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap"})
"""Parameters that a model is loaded with."""
_RANDOM_SEED = 0xFFFF_FFFF
_THEIRS = {"num_keep": "n_keep", "num_predict": "n_predict"}
_JINJA = "tokenizer.chat_template"
_BARE = "{{ .Prompt }}"
"""What a server from 0.30 on takes for a model with a parser alone, whatever Jinja its GGUF has."""


def conversation(standing: Standing, asked: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Model and request together, as Ollama does it (server/routes.go, v0.32.15).

    The model's messages come first; its system prompt before them, unless the request begins with its own.
    """
    turns = (*standing.messages, *asked)
    if standing.system and not (asked and asked[0].role == "system"):
        return (Turn(role="system", content=standing.system), *turns)
    return turns


def prompt_of(
    standing: Standing,
    request: ChatRequest,
    turns: Sequence[Turn],
    model: tuple[Path, Header],
    *,
    today: date,
) -> str | None:
    """The prompt as the model's own Go template makes it; None where the GGUF's Jinja template does.

    Args:
        standing: what the model has.
        request: the question.
        turns: the whole conversation.
        model: the GGUF file and its header.
        today: the day that a template may tell.

    Raises:
        SmokeFailed: the template fails, or what comes of it only an Ollama server can read.
    """
    path, header = model
    jinja = header.metadata.get(_JINJA)
    if standing.renderer:
        if not isinstance(jinja, str) or not jinja.strip():
            raise _only_on_a_server(f"the model's prompts are made by Ollama's renderer {standing.renderer}")
        return None
    template = standing.template or (_BARE if standing.parser else "")
    if not template or _says_the_same(template, path, header):
        return None
    architecture = str(header.metadata.get("general.architecture"))
    weighed = isinstance(jinja, str) and not standing.parser
    if weighed and prompt_source.takes_jinja(str(jinja), template, architecture):
        return None
    if request.tools:
        raise _only_on_a_server("the model has a chat template in Go's language, and tools are offered")
    return _in_go(template, turns, today)


def _in_go(template: str, turns: Sequence[Turn], today: date) -> str:
    from modelforge.go_prompt import go_prompt  # noqa: PLC0415 (few models have such a template)
    from modelforge.gotemplate import GoTemplateProblem  # noqa: PLC0415

    try:
        return go_prompt(template).text(turns, today)
    except GoTemplateProblem as problem:
        message = f"the model's chat template fails in line {problem.line}: {problem}"
        raise SmokeFailed(message, hint="correct chat_template_file, or the base's own is at fault") from None


def request_body(
    request: ChatRequest, turns: Sequence[Turn], prompt: str | None, options: Mapping[str, ParameterValue]
) -> dict[str, Any]:
    """A request of llama.cpp's completions if there is a prompt, else of its chat completions."""
    body: dict[str, Any] = {
        _THEIRS.get(key, key): list(value) if isinstance(value, tuple) else value
        for key, value in options.items()
        if key not in LOADING
    }
    if isinstance(body["seed"], int) and body["seed"] < 0:
        body["seed"] = _RANDOM_SEED
    body["cache_prompt"] = False
    if prompt is not None:
        schema = {} if request.format == "json" else request.format
        return {**body, "prompt": prompt, **({} if schema is None else {"json_schema": dict(schema)})}
    body["messages"] = [{"role": turn.role, "content": turn.content} for turn in turns]
    if request.tools:
        body["tools"] = [dict(tool) for tool in request.tools]
    if request.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif request.format is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"schema": dict(request.format)}}
    return body


def makes_embeddings(header: Header) -> bool:
    """Whether Ollama takes a model for one of embeddings, which then does nothing else (server/images.go, v0.32.15)."""
    return f"{header.metadata.get('general.architecture')}.pooling_type" in header.metadata


def chat_format(path: Path, header: Header, request: Request) -> tuple[Choice | None, str]:
    """The Go template that a model from a file needs, unless the profile says how to chat; and a warning if none is."""
    if request.template or request.renderer or recipe.has_own_format(header):
        return None, ""
    choice, why = _choice(path, header)
    if choice is None and makes_embeddings(header):
        return None, ""
    if choice is None:
        why += ": no Go template was added; Ollama before 0.30 sends it the bare prompt (chat_template_file helps)"
    return choice, why


def _says_the_same(template: str, model: Path, header: Header) -> bool:
    """Whether the Go template is known to say what the GGUF's Jinja says, which can take tools, too."""
    if chat_templates.is_imported(template):
        return isinstance(header.metadata.get(_JINJA), str)
    choice, _ = _choice(model, header)
    return choice is not None and choice.template == template


def _choice(path: Path, header: Header) -> tuple[Choice | None, str]:
    """The format of a GGUF, or None and why."""
    jinja = header.metadata.get(_JINJA)
    if not isinstance(jinja, str) or not jinja.strip():
        return None, f"{path.name} brings no chat template"
    choice = chat_templates.choose(jinja, chat_templates.end_token(path, header))
    return choice, "" if choice else f"the chat format of {path.name} is unknown"


def _only_on_a_server(what: str) -> SmokeFailed:
    return SmokeFailed(
        f"{what}, which only an Ollama server can do",
        hint="test it there: --runtime ollama, or --runtime docker",
    )
