"""Chat templates that differ in what they can do, in Jinja and in Go: for tests of which of two a server takes."""

from __future__ import annotations

_LOOP = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}{% endfor %}"
JINJAS = {
    "plain": _LOOP,
    "tools": "{{ tools }}" + _LOOP,
    "calls alone": _LOOP + "{{ tool_calls }}",
    "tools both ways": "{{ tools }}{% if message['role'] == 'tool' %}{{ tool_calls }}{% endif %}" + _LOOP,
    "tools both ways, double quotes": '{{ tools }}{% if message["role"] == "tool" %}{{ tool_calls }}{% endif %}'
    + _LOOP,
    "thinking": "<think></think>" + _LOOP,
    "thinking by a split": "{{ content.split('</think>') }}" + _LOOP,
    "hidden thinking": "{{ content.split('</think>') + reasoning_content }}" + _LOOP,
    "tools and thinking": "{{ tools }}<think></think>" + _LOOP,
    "all": "{{ tools }}{{ tool_calls }}{{ tool_response }}<think></think>" + _LOOP,
}
_SAID = "{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}"
_THOUGHT = (
    "{{ range .Messages }}{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}{{ end }}"
)
_CALLS = '{{ range .Messages }}{{ if eq .Role "tool" }}{{ .Content }}{{ end }}{{ range .ToolCalls }}x{{ end }}{{ end }}'
GO = {
    "plain": _SAID,
    "prompt": "{{ .System }}{{ .Prompt }}",
    "tools": "{{ .Tools }}" + _SAID,
    "tools of the root": "{{ range .Messages }}{{ json $.Tools }}{{ .Content }}{{ end }}",
    "tools in a variable": "{{ $tools := .Tools }}" + _SAID,
    "tools in a variable's name": "{{ $tools := 1 }}" + _SAID,
    "tools in a comment": "{{/* .Tools */}}" + _SAID,
    "tools in a string": '{{ "}} .Tools" }}' + _SAID,
    "tools in text": ".Tools" + _SAID,
    "tools behind a raw string": "{{ printf `}} %s` .Tools }}" + _SAID,
    "tools both ways": "{{ .Tools }}" + _CALLS,
    "calls without tools": _CALLS,
    "insert": "{{ .Prompt }}{{ .Suffix }}",
    "insert and tools": "{{ .Prompt }}{{ .Suffix }}{{ .Tools }}",
    "thinking": _THOUGHT,
    "thinking outside a turn": "{{ .Thinking }}" + _SAID,
    "tools and thinking": "{{ .Tools }}" + _THOUGHT,
}
UNSURE = {"thinking outside a turn"}
"""Go templates of which ours does not tell whether they count as thinking."""
