"""What types alone cannot tell: values that do not go together, names that have to be somewhere.

Works on plain data, so that it finds its mistakes even where others keep the data from being valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelforge import quants, requantize
from modelforge.errors import did_you_mean
from modelforge.names import is_reserved
from modelforge.paths import leaves_root
from modelforge.profile.smoketests import OF_ANSWERS, OF_CHATS, OF_EMBEDDINGS
from modelforge.profile.words import value_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelforge.profile.positions import KeyPath

FULL_CACHES = frozenset({"f16", "bf16"})
_SHARED = ("kv_cache", "flash_attention", "parallel")
_DEFAULTS = {"kv_cache": "f16", "flash_attention": "auto", "parallel": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something wrong with what stands at a path of the data."""

    path: KeyPath
    message: str
    kind: str
    expected: str | None = None
    hint: str | None = None
    on_key: bool = False


def findings(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything that is wrong with a profile's data between its keys; wrong types are left to the schema."""
    yield from _base(_table(data, "base"))
    yield from _chat_format(data)
    yield from _cache(data)
    yield from _server(_table(data, "resolve"), _table(data, "serve"))
    yield from _tests(data.get("smoke"))


def target_findings(hardware: object) -> Iterator[Finding]:
    """What is wrong with `[hardware]`, types apart."""
    targets = hardware.get("targets") if isinstance(hardware, Mapping) else None
    seen: set[object] = set()
    for index, target in enumerate(targets if isinstance(targets, list) else ()):
        folded = target.casefold() if isinstance(target, str) else None
        if folded in seen:
            yield Finding(
                path=("hardware", "targets", index),
                message=f"{value_text(target)} stands in 'targets' twice",
                kind="duplicate",
                hint="remove one of them",
            )
        seen.add(folded or index)


def _base(base: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _base_model(base.get("model"))
    yield from _inside("projector", base.get("projector"))
    tag = base.get("tag")
    if isinstance(tag, str) and is_reserved(tag.rpartition(":")[2]):
        yield _wrong(
            ("base", "tag"), tag, "a tag that Ollama does not keep for itself ('local', 'cloud', '*-cloud')"
        )
    listed = base.get("quants")
    for index, quant in enumerate(listed if isinstance(listed, list) else ()):
        yield from _quant(("base", "quants", index), quant, quants.names())
    yield from _quant(("base", "quantize"), base.get("quantize"), requantize.TARGETS)
    yield from _only_quant(base)


def _base_model(model: object) -> Iterator[Finding]:
    if not isinstance(model, str):
        return
    yield from _inside("model", model)
    last = model.rpartition("/")[2]
    if ":" in last and is_reserved(last.rpartition(":")[2]):
        yield _wrong(
            ("base", "model"), model, "a model that lies on the server: its tag makes Ollama run it elsewhere"
        )


def _inside(key: str, path: object) -> Iterator[Finding]:
    """A key of `[base]` that may be a path, which then may not leave the project."""
    looks_so = isinstance(path, str) and path.startswith((".", "/", "\\", "~"))
    reason = leaves_root(path) if isinstance(path, str) and looks_so else None
    if reason is not None:
        yield Finding(
            path=("base", key),
            message=f"'{key}' is {value_text(path)}, {reason}",
            kind="path",
            expected=reason.removeprefix("expected "),
            hint='put the weights, or a copy of them, into the project: "./models/NAME-*.gguf"',
        )


def _quant(path: KeyPath, quant: object, known: tuple[str, ...]) -> Iterator[Finding]:
    if not isinstance(quant, str) or not quant or quants.canonical(quant) in known:
        return
    few = len(known) < len(quants.names())
    expected = f"one of {', '.join(known)}" if few else "a quant of llama.cpp, such as Q8_0, Q6_K or Q4_K_M"
    name = "'quantize'" if path[-1] == "quantize" else "an entry of 'quants'"
    yield Finding(
        path=path,
        message=f"{name} is {value_text(quant)}, expected {expected}",
        kind="choice",
        expected=expected,
        hint=did_you_mean(quant, known) or _other_quant(quant) if few else did_you_mean(quant, known),
    )


def _other_quant(quant: str) -> str:
    """What to do for a quant that Ollama does not make."""
    return f"Ollama makes no {quant}: make it with llama.cpp's llama-quantize, and name the file in 'model'"


def _only_quant(base: Mapping[str, Any]) -> Iterator[Finding]:
    """All candidates have the one quant that is made: a list without it would leave none."""
    made, listed = base.get("quantize"), base.get("quants")
    if not isinstance(made, str) or not isinstance(listed, list) or not listed:
        return
    names = {quants.canonical(name) for name in listed if isinstance(name, str)}
    target = requantize.canonical(made)
    if target is not None and target not in names:
        yield Finding(
            path=("base", "quants"),
            message=f"'quants' lists no {target}, the one quant that 'quantize' makes",
            kind="conflict",
            expected=f"no 'quants' beside 'quantize', or {target} among them",
            hint="take 'quants' out; where it is inherited: unset = [\"base.quants\"]",
        )


def _chat_format(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Ollama asks a model's renderer before its template (`renderPrompt` in server/prompt.go, v0.32.15)."""
    if isinstance(data.get("renderer"), str) and "chat_template_file" in data:
        yield Finding(
            path=("chat_template_file",),
            message="'chat_template_file' would never be used: 'renderer' makes the prompts",
            kind="conflict",
            hint='remove one of the two; what is inherited goes with unset = ["renderer"]',
            on_key=True,
        )


def _cache(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Ollama and llama.cpp refuse or ignore a quantized cache of values without flash attention."""
    for name in ("resolve", "serve"):
        table = _table(data, name)
        cache = table.get("kv_cache")
        if table.get("flash_attention") == "off" and isinstance(cache, str) and cache not in FULL_CACHES:
            yield Finding(
                path=(name, "kv_cache"),
                message=f"'kv_cache' is {value_text(cache)}, which needs flash attention, but that is off",
                kind="conflict",
                expected="'f16' or 'bf16' where flash attention is off",
                hint='set flash_attention = "auto", or kv_cache = "f16"',
            )


def _server(resolve: Mapping[str, Any], serve: Mapping[str, Any]) -> Iterator[Finding]:
    """A plan is for the server that `[resolve]` describes; `[serve]` may not start another one."""
    for key in _SHARED:
        planned = resolve.get(key, _DEFAULTS[key])
        if key in serve and isinstance(serve[key], type(planned)) and serve[key] != planned:
            yield Finding(
                path=("serve", key),
                message=f"'{key}' is {value_text(serve[key])}, but [resolve] plans for {value_text(planned)}"
                + ("" if key in resolve else ", the default"),
                kind="conflict",
                expected=value_text(planned),
                hint=f"set {key} = {value_text(serve[key])} in [resolve] too",
            )


def _tests(tests: object) -> Iterator[Finding]:
    names: set[str] = set()
    for index, test in enumerate(tests if isinstance(tests, list) else ()):
        if not isinstance(test, Mapping):
            continue
        yield from _test(("smoke", index), test)
        name = test.get("name")
        if isinstance(name, str) and name in names:
            yield Finding(
                path=("smoke", index, "name"),
                message=f"two tests are called {value_text(name)}",
                kind="duplicate",
                hint="give each test its own name",
            )
        names.add(str(name))


def _test(path: KeyPath, test: Mapping[str, Any]) -> Iterator[Finding]:
    runs, least = test.get("runs", 1), test.get("min_pass")
    if isinstance(runs, int) and isinstance(least, int) and least > max(runs, 1):
        yield Finding(
            path=(*path, "min_pass"),
            message=f"'min_pass' is {least}, but there {'is 1 run' if runs == 1 else f'are {runs} runs'}",
            kind="conflict",
            expected=f"an integer from 1 to {runs}",
            hint=f"set runs = {least}, or leave 'min_pass' out: all runs must pass then",
        )
    if test.get("expect") == {}:
        yield Finding(
            path=(*path, "expect"),
            message="'expect' is empty, so this test would pass whatever the model answers",
            kind="missing",
            expected="at least one expectation",
            hint='for example expect = { contains = ["def "] }',
            on_key=True,
        )
    yield from _embedding(path, test)


def _embedding(path: KeyPath, test: Mapping[str, Any]) -> Iterator[Finding]:
    """A test asks for embeddings or for an answer; a comparison needs both of its texts."""
    expect = _table(test, "expect")
    for one, other in (("closer_to", "than"), ("than", "closer_to")):
        if one in expect and other not in expect:
            yield Finding(
                path=(*path, "expect", one),
                message=f"'{one}' says nothing without '{other}'",
                kind="missing",
                expected=f"'{one}' and '{other}' together",
                hint='for example expect = { closer_to = "a paraphrase", than = "another subject" }',
                on_key=True,
            )
    asks = next((key for key in OF_EMBEDDINGS if key in expect), None)
    if asks is None:
        return
    of_answers = [("expect", key) for key in expect if key in OF_ANSWERS]
    for key in (*of_answers, *((key,) for key in test if key in OF_CHATS)):
        part = "is part of a chat" if len(key) == 1 else "is about an answer"
        yield Finding(
            path=(*path, *key),
            message=f"'{key[-1]}' {part}, but '{asks}' asks for embeddings",
            kind="conflict",
            expected=f"no '{key[-1]}' beside '{asks}'",
            hint="make two tests of it; one model seldom passes both",
            on_key=True,
        )


def _wrong(path: KeyPath, value: str, expected: str) -> Finding:
    return Finding(
        path=path,
        message=f"'{path[-1]}' is {value_text(value)}, expected {expected}",
        kind="value",
        expected=expected,
    )


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = data.get(name)
    return table if isinstance(table, Mapping) else {}
