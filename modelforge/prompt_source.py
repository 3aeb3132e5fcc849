"""Whether a server makes prompts from a model's own chat template, or passes it over for the GGUF's.

Both versions ask a renderer first (`renderPrompt` in server/prompt.go), and give one to architectures whose format
they have built in (`createModel` in server/create.go, v0.24.0 and v0.32.15). v0.24.0 else always takes the template.

From v0.30.0 on (`GetModel` and `shouldPreferChatTemplate` in server/images.go, `shouldUseGoTemplate` in
server/routes.go) the Jinja template of the GGUF is taken instead where it can do more: a capability is `tools` or
`thinking`, told from texts in the Jinja template, and from fields of the Go template, which may have `insert` too.
With a renderer, a parser, or the format of gpt-oss, nothing is weighed, and the Jinja template is never taken, not even
where the model has no other: its prompts are then sent bare. The server's OLLAMA_GO_TEMPLATE overrules the weighing.
Of a template that is passed over, `generate` still takes `.Suffix`.
"""

from __future__ import annotations

BUILT_IN = frozenset({"gemma4", "laguna", "nemotron_h", "nemotron_h_moe", "nemotron_h_omni"})
"""Architectures that servers from 0.24 on give a renderer of their own (server/create.go)."""

_GPT_OSS = frozenset({"gptoss", "gpt-oss"})
_TOOL_ROLES = (
    "tool_response",
    "tool_results",
    "role'] == 'tool'",
    'role\'] == "tool"',
    "role\"] == 'tool'",
    'role"] == "tool"',
    "message.role == 'tool'",
    'message.role == "tool"',
    "ipython",
)


def has_own_format(architecture: str) -> bool:
    """Whether servers from 0.24 on need no chat template for the architecture, or may need none (gpt-oss)."""
    return architecture in BUILT_IN | _GPT_OSS


def takes_jinja(jinja: str, template: str, architecture: str) -> bool:
    """Whether a server from 0.30 on surely takes the GGUF's Jinja template before a model's Go template.

    Args:
        jinja: the GGUF's `tokenizer.chat_template`.
        template: the model's own, in Go.
        architecture: the GGUF's `general.architecture`.
    """
    if not jinja or (architecture in _GPT_OSS and "<|start|>" in template and "<|end|>" in template):
        return False
    fields = fields_of(template)
    go = {name for name, field in (("tools", "tools"), ("insert", "suffix")) if field in fields}
    # whether `.Thinking` counts depends on what stands around it, so where it is used both must come to the same
    readings = [go, go | {"thinking"}] if "thinking" in fields else [go]
    return all(_prefers(jinja, _jinja_can(jinja), one, both_ways=_go_both_ways(template)) for one in readings)


def fields_of(template: str) -> frozenset[str]:
    """The names of fields in a Go template, in small letters; none of one that cannot be read."""
    from modelforge.go_prompt import go_prompt  # noqa: PLC0415 (few models have such a template)
    from modelforge.gotemplate import GoTemplateProblem  # noqa: PLC0415

    try:
        return frozenset(name for name in go_prompt(template).names if not name.startswith("$"))
    except GoTemplateProblem:
        return frozenset()


def _prefers(jinja: str, can: set[str], go: set[str], *, both_ways: bool) -> bool:
    if len(can) > len(go):
        return not both_ways or _jinja_both_ways(jinja)
    return can == go and "tools" in can and _jinja_both_ways(jinja) and not both_ways


def _jinja_can(jinja: str) -> set[str]:
    found = {"tools"} if "tools" in jinja or "tool_call" in jinja else set()
    if "<think>" in jinja and "</think>" in jinja:
        return found | {"thinking"}
    split = "content.split('</think>')" in jinja or 'content.split("</think>")' in jinja
    hidden = "reasoning_content" in jinja or "<SPECIAL_12>" in jinja
    return found | {"thinking"} if split and not hidden else found


def _jinja_both_ways(jinja: str) -> bool:
    """Whether the template writes tools' calls and takes their results."""
    calls = "tool_calls" in jinja or "assistant_tool_call" in jinja
    return calls and any(text in jinja for text in _TOOL_ROLES)


def _go_both_ways(template: str) -> bool:
    results = ('eq .Role "tool"', "tool_response", "TOOL_RESULTS")
    return {"tools", "toolcalls"} <= fields_of(template) and any(text in template for text in results)
