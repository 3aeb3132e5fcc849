"""The profile's format, as frozen types. The one declaration: the loader and the reference come from it.

`tables` has what tables are made of, `smoketests` the tables of `[[smoke]]`.

Absent is None (or empty) and means: inherited from the base. Nothing here fills in a default that the
user did not choose, but for `[resolve]`, whose defaults are the planner's own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, ConfigDict

from modelforge.profile.names import model_name, tag_name
from modelforge.profile.rules import rule, whole
from modelforge.profile.smoketests import Expect, SmokeTest
from modelforge.profile.tables import Message, Parallel, Parameters, Positive, Rows, Size, Some, Table, Text

__all__ = [
    "Base",
    "Body",
    "Expect",
    "Head",
    "KvType",
    "Message",
    "Parameters",
    "Prefer",
    "ProfileFile",
    "Resolve",
    "Serve",
    "SmokeTest",
    "Switch",
    "Targets",
]

KvType: TypeAlias = Literal["f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
Prefer: TypeAlias = Literal["quality", "speed", "smallest"]
Switch: TypeAlias = Literal["auto", "on", "off"]

_NUMBER = r"(?:0|[1-9]\d*)"
_PRE = r"(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?"
_REQUIRES = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}(?:\.{_NUMBER}{_PRE})?)?")
_ENGINE = re.compile(rf"{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER}{_PRE})?")
_KEEP_ALIVE = re.compile(r"-?(?:\d+(?:\.\d+)?(?:ms|h|m|s))+|0|-1")
_PLACEHOLDERS = re.compile(r"[^{}]*(?:\{(?:size|variant|quant)\}[^{}]*)+")

# Validators of one value. Each gives the value back, or raises ValueError with what was expected.


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
