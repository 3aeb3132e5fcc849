"""The profile's format, as frozen types. The one declaration: the loader and the reference come from it.

Absent is None (or empty) and means: inherited from the base. Nothing here fills in a default that the
user did not choose, but for `[resolve]`, whose defaults are the planner's own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from modelforge.parameters import IGNORED
from modelforge.profile.names import model_name, tag_name
from modelforge.profile.rules import SIZE, rule, whole
from modelforge.units import parse_size

KvType: TypeAlias = Literal["f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
Prefer: TypeAlias = Literal["quality", "speed", "smallest"]
Switch: TypeAlias = Literal["auto", "on", "off"]
Role: TypeAlias = Literal["system", "user", "assistant"]

_INT32 = 2_147_483_647
_NUMBER = r"(?:0|[1-9]\d*)"
_PRE = r"(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_REQUIRES = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}{_PRE})?)?")
_ENGINE = re.compile(rf"{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER}{_PRE})?")
_KEEP_ALIVE = re.compile(r"-?(?:\d+(?:\.\d+)?(?:ms|h|m|s))+|0|-1")
_PLACEHOLDERS = re.compile(r"[^{}]*(?:\{(?:size|variant|quant)\}[^{}]*)+")

# Not in api/types.go any more, so that `ollama create` refuses them.
_REMOVED = ("numa", "tfs_z", "num_gqa", "embedding_only")
_ROPE = ("rope_frequency_base", "rope_frequency_scale", "rope_freq_base", "rope_freq_scale", "rope_scaling")
_OTHER_WORDS = {
    "max_tokens": "num_predict",
    "n_predict": "num_predict",
    "n_ctx": "num_ctx",
    "context_length": "num_ctx",
    "ctx_size": "num_ctx",
    "n_batch": "num_batch",
    "n_gpu_layers": "num_gpu",
    "gpu_layers": "num_gpu",
    "n_threads": "num_thread",
    "threads": "num_thread",
    "repetition_penalty": "repeat_penalty",
    "stop_sequences": "stop",
    "typ_p": "typical_p",
}


# Validators of one value. Each gives the value back, or raises ValueError with what was expected.


@rule(pattern=whole(SIZE))
def _size(text: str) -> str:
    parse_size(text)
    return text


@rule(pattern=whole(_ENGINE.pattern))
def _engine(text: str) -> str:
    if not _ENGINE.fullmatch(text):
        raise ValueError("a version of Ollama such as '0.32' or '0.32.15'")
    return text


@rule(pattern=whole(_REQUIRES.pattern))
def _requires(text: str) -> str:
    if not _REQUIRES.fullmatch(text):
        raise ValueError("a version of Ollama such as '0.14.0', without a 'v'")
    return text


@rule(pattern=whole(_KEEP_ALIVE.pattern))
def _keep_alive(text: str) -> str:
    if not _KEEP_ALIVE.fullmatch(text):
        raise ValueError("a duration with its unit, such as '30m' or '1h30m'; '-1' keeps it for good")
    return text


@rule(pattern=whole(_PLACEHOLDERS.pattern))
def _pattern(text: str) -> str:
    if not _PLACEHOLDERS.fullmatch(text):
        raise ValueError("a text with {size}, {variant} or {quant} in it, and no other braces")
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a Python regular expression ({error})") from None
    return text


_Json = TypeVar("_Json")


def _json_able(value: _Json) -> _Json:
    if isinstance(value, Mapping):
        for inner in value.values():
            _json_able(inner)
    elif isinstance(value, list):
        for inner in value:
            _json_able(inner)
    elif not isinstance(value, (str, int, float)) or not math.isfinite(
        value if isinstance(value, float) else 0
    ):
        raise ValueError("values that JSON has: no dates or times, no inf or nan")
    return value


def _is_plain_schema(value: object) -> bool:
    """Whether a schema has only the keys that most have, used well: then no library need be asked."""
    return isinstance(value, Mapping) and all(
        key in _PLAIN and _PLAIN[key](inner) for key, inner in value.items()
    )


_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "type": lambda value: isinstance(value, str) and value in _TYPES,
    "required": lambda value: (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    ),
    "properties": lambda value: isinstance(value, Mapping) and all(map(_is_plain_schema, value.values())),
    "items": _is_plain_schema,
    "additionalProperties": lambda value: isinstance(value, bool),
    "enum": lambda value: isinstance(value, list),
    "const": lambda _value: True,
    "minimum": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "maximum": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
}


def _json_schema(value: Mapping[str, Any]) -> Mapping[str, Any]:
    if _is_plain_schema(_json_able(value)):
        return value
    from jsonschema.exceptions import SchemaError  # noqa: PLC0415 (slow to import, seldom used)
    from jsonschema.validators import validator_for  # noqa: PLC0415

    try:
        schema = dict(_json_able(value))
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        place = "/".join(map(str, error.absolute_path))
        raise ValueError(f"a JSON schema ({place + ': ' if place else ''}{error.message})") from None
    return value


@rule(
    required=["name"],
    properties={"name": {"type": "string"}, "arguments": {"type": "object"}},
    additionalProperties=False,
)
def _tool_call(value: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    if isinstance(value, str):
        return value
    named = isinstance(value.get("name"), str) and isinstance(value.get("arguments", {}), Mapping)
    if not named or not value.keys() <= {"name", "arguments"}:
        raise ValueError('the tool\'s name, or { name = "…", arguments = { … } }')
    return _json_able(value)


def _tools(value: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
    for tool in value:
        _json_able(tool)
    return value


_Entry = TypeVar("_Entry")
# Strict types, but TOML's lists may become tuples.
Rows: TypeAlias = Annotated[tuple[_Entry, ...], Field(strict=False)]
Some: TypeAlias = Annotated[tuple[_Entry, ...], Field(strict=False, min_length=1)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=_INT32)]
CountOrAll: TypeAlias = Annotated[int, Field(ge=-1, le=_INT32)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty: TypeAlias = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
Strength: TypeAlias = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
# 0 kills the runner of Ollama 0.24, and 0.32 refuses every request with it
Factor: TypeAlias = Annotated[float, Field(gt=0, le=10, allow_inf_nan=False)]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Parallel: TypeAlias = Annotated[int, Field(ge=1, le=1024)]
Size: TypeAlias = Annotated[str, AfterValidator(_size)]


class Table(BaseModel):
    """A TOML table: frozen, strictly typed, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    foreign: ClassVar[Mapping[str, str]] = {}
    """what to say of keys that people bring from elsewhere"""


class Base(Table):
    """`[base]`: where the weights come from."""

    model: Text
    """GGUF files or a safetensors folder in the project ("./models/tiny-*.gguf"), or a model's name, with its
    registry's host or without"""
    sizes: Some[Text] | None = None
    """ladder of sizes, best first"""
    variant: Text | None = None
    """the variant in a tag, such as "instruct\""""
    quants: Some[Text] | None = None
    """allow-list of quants; may go below the default floor"""
    tag: Text | None = None
    """pins one tag, digest ("sha256:…") or file name; the resolver then only checks the fit"""
    pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    """how tags are spelled; default "{size}-{variant}-{quant}\""""
    quantize: Text | None = None
    """made by Ollama itself from an F16 or BF16 base: Q8_0, Q4_K_M, Q4_K_S, BF16 or F16"""
    projector: Text | None = None
    """encoder of images or sound: a GGUF file in the project, or one of the repository on Hugging Face, of which a
    fitting one is taken by itself; "none" for no encoder"""
    insecure: bool = False
    """plain http for a registry that is not on this machine's loopback, which always has it"""


class Parameters(Table):
    """`[parameters]`: Ollama's parameters. Absent ones keep the base's or the server's value."""

    foreign: ClassVar[Mapping[str, str]] = (
        dict.fromkeys(IGNORED, "ignored by Ollama since 0.7: remove it")
        | dict.fromkeys(_REMOVED, "Ollama does not know it any more: remove it")
        | dict.fromkeys(_ROPE, "Ollama takes rope scaling from the base's GGUF alone: remove it")
        | {key: f"Ollama calls it '{ours}'" for key, ours in _OTHER_WORDS.items()}
    )

    num_ctx: Annotated[int, Field(ge=4, le=16_777_216)] | None = None
    """context length in tokens"""
    num_batch: Annotated[int, Field(ge=2, le=1_048_576)] | None = None
    """tokens processed at once while reading the prompt"""
    num_keep: CountOrAll | None = None
    """tokens of the prompt's start kept when the context is full"""
    num_predict: Annotated[int, Field(ge=-2, le=_INT32)] | None = None
    """longest answer in tokens; -1 no limit, -2 fill the context"""
    num_gpu: CountOrAll | None = None
    """layers on the GPU; set, it switches llama.cpp's own fitting off"""
    main_gpu: Count | None = None
    """index of the GPU for small tensors"""
    num_thread: Count | None = None
    """CPU threads; 0 lets the server choose"""
    draft_num_predict: Count | None = None
    """draft tokens for speculative decoding"""
    seed: Annotated[int, Field(ge=-1, le=4_294_967_295)] | None = None
    """random seed; -1 is random"""
    temperature: Strength | None = None
    """0 always takes the likeliest token"""
    top_k: Count | None = None
    """sample among this many likeliest tokens; 0 all"""
    top_p: Share | None = None
    """sample among the likeliest tokens of this summed probability"""
    min_p: Share | None = None
    """drop tokens less likely than this share of the likeliest"""
    typical_p: Share | None = None
    """locally typical sampling; 1 is off"""
    repeat_last_n: CountOrAll | None = None
    """tokens looked back for repeats; 0 off; -1 the whole context, which newer servers refuse"""
    repeat_penalty: Factor | None = None
    """1 is off"""
    presence_penalty: Penalty | None = None
    """0 is off"""
    frequency_penalty: Penalty | None = None
    """0 is off"""
    use_mmap: bool | None = None
    """map the weights instead of reading them"""
    stop: Rows[Text] | None = None
    """texts that end the answer; an empty list clears the base's"""


class Resolve(Table):
    """`[resolve]`: how the resolver chooses."""

    prefer: Prefer = "quality"
    """what the best candidate is: quality, speed or smallest"""
    parallel: Parallel = 1
    """requests served at once; the KV cache is that many times as large"""
    kv_cache: KvType = "f16"
    """type of the KV cache that the server runs with"""
    flash_attention: Switch = "auto"
    """flash attention as the server runs with it"""
    headroom: Size | None = None
    """kept free on each device; llama.cpp's own margin (1 GiB) is the default"""
    allow_offload: bool = False
    """accept a candidate of which some layers stay on the CPU"""
    min_tokens_per_second: Positive | None = None
    """candidates predicted slower are dropped"""
    engine: Annotated[str, AfterValidator(_engine)] | None = None
    """Ollama's version that the plan is for; default: the newest known"""


class Message(Table):
    """`[[messages]]`: a turn of the conversation that every chat begins with."""

    role: Role
    """who says it: system, user or assistant"""
    content: str
    """what is said, exactly"""


class Expect(Table):
    """`expect` of a smoke test. Every key that is given must hold."""

    contains: Some[Text] | Text | None = None
    """each of these is in the answer"""
    not_contains: Some[Text] | Text | None = None
    """none of these is in the answer"""
    equals: str | None = None
    """the answer, but for blanks around it"""
    starts_with: Text | None = None
    """the answer's beginning, after leading blanks"""
    regex: Annotated[str, AfterValidator(_regex)] | None = None
    """a Python regular expression found in the answer"""
    json_: Annotated[bool | None, Field(alias="json")] = None
    """the answer is one JSON value"""
    json_schema: Annotated[Mapping[str, Any], AfterValidator(_json_schema)] | None = None
    """the answer is JSON that this schema accepts"""
    python: bool | None = None
    """the answer has a code block that parses as Python; it is never run"""
    tool_call: Annotated[Text | Mapping[str, Any], AfterValidator(_tool_call)] | None = None
    """the tool that is called: its name, or {name, arguments}"""
    min_tokens_per_second: Positive | None = None
    """at least this many tokens a second while answering"""
    max_seconds: Positive | None = None
    """the whole answer takes at most this long, loading not counted"""
    max_first_token_seconds: Positive | None = None
    """the first token comes within this time, loading not counted"""
    loaded_on: Literal["gpu", "cpu"] | None = None
    """where the model lies while it answers"""
    max_vram: Size | None = None
    """most memory on the GPU, such as "8GiB\""""


class SmokeTest(Table):
    """`[[smoke]]`: one prompt and what its answer must be."""

    name: Text
    """what a person calls it"""
    prompt: Text
    """what the model is asked"""
    expect: Expect
    """what must hold of the answer"""
    system: str | None = None
    """a system prompt for this test alone, in place of the model's"""
    messages: Rows[Message] = ()
    """turns before the prompt"""
    tools: Annotated[Rows[Mapping[str, Any]], AfterValidator(_tools)] = ()
    """tools offered to the model, as the chat API takes them"""
    parameters: Parameters = Parameters()
    """parameters for this test alone"""
    runs: Annotated[int, Field(ge=1, le=1000)] = 1
    """how often the prompt is asked, each time with the next seed"""
    min_pass: Annotated[int, Field(ge=1)] | None = None
    """how many of the runs must pass; default all"""


class Serve(Table):
    """`[serve]`: server settings that a Modelfile cannot carry."""

    keep_alive: Annotated[str, AfterValidator(_keep_alive)] | None = None
    """how long the model stays loaded after a request, such as "30m\""""
    kv_cache: KvType | None = None
    """type of the KV cache (OLLAMA_KV_CACHE_TYPE)"""
    flash_attention: Switch | None = None
    """flash attention (OLLAMA_FLASH_ATTENTION)"""
    parallel: Parallel | None = None
    """requests served at once (OLLAMA_NUM_PARALLEL)"""


class Body(Table):
    """All keys of a profile but `extends` and `[hardware]`, after inheritance, as TOML has them."""

    description: str = ""
    """one line for people"""
    name: Annotated[str, AfterValidator(model_name)] | None = None
    """the model's name; default: the file's stem"""
    template: Text = "modelfile.j2"
    """the Jinja template of the Modelfile, in templates/"""
    system: str | None = None
    """the system prompt"""
    system_file: Text | None = None
    """a file with the system prompt"""
    license: Rows[Text] | Text | None = None
    """license text, or several"""
    license_file: Text | None = None
    """a file with the license text"""
    chat_template_file: Text | None = None
    """a file with a chat template in Ollama's Go syntax"""
    adapters: Rows[Text] = ()
    """GGUF adapter files"""
    requires: Annotated[str, AfterValidator(_requires)] | None = None
    """lowest Ollama version that the model needs"""
    renderer: Text | None = None
    """Ollama's built-in renderer"""
    parser: Text | None = None
    """Ollama's built-in parser"""
    base: Base
    """where the weights come from"""
    parameters: Parameters = Parameters()
    """Ollama's parameters"""
    resolve: Resolve = Resolve()
    """how the resolver chooses"""
    serve: Serve = Serve()
    """server settings that a Modelfile cannot carry"""
    vars: Mapping[str, Any] = {}
    """variables for the Jinja template"""
    messages: Rows[Message] = ()
    """turns of conversation that every chat begins with"""
    smoke: Rows[SmokeTest] = ()
    """tests that the built model must pass"""


class Targets(Table):
    """`[hardware]`: what the profile is built for, and a table of overrides for each name that needs one."""

    model_config = ConfigDict(extra="allow")

    targets: Rows[Annotated[str, AfterValidator(tag_name)]] = ()
    """names of hardware that --all-hardware builds for"""


class Head(Table):
    """What a file says about itself and others: the keys that do not outlive inheritance."""

    extends: Text | None = None
    """the profile that this one adds to, by its name"""
    unset: Rows[Text] = ()
    """inherited keys to drop, such as "parameters.stop\""""
    hardware: Targets = Targets()
    """targets and their overrides"""


class ProfileFile(Body, Head):
    """All that a profile's file may say. In a file that extends another, `base` may be left to that one."""
