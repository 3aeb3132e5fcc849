"""The profile's format, as frozen types. The one declaration: the loader and the reference come from it.

Absent is None (or empty) and means: inherited from the base. Nothing here fills in a default that the
user did not choose, but for `[resolve]`, whose defaults are the planner's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

KvType: TypeAlias = Literal["f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
Prefer: TypeAlias = Literal["quality", "speed", "smallest"]
Switch: TypeAlias = Literal["auto", "on", "off"]
Role: TypeAlias = Literal["system", "user", "assistant"]


class Table(BaseModel):
    """A TOML table: frozen, strictly typed, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class Base(Table):
    """`[base]`: where the weights come from."""

    model: str
    """a GGUF file or glob in the project ("./models/tiny-*.gguf"), or a model's name on the server"""
    sizes: tuple[str, ...] | None = None
    """ladder of sizes, best first"""
    variant: str | None = None
    """the variant in a tag, such as "instruct\""""
    quants: tuple[str, ...] | None = None
    """allow-list of quants; may go below the default floor"""
    tag: str | None = None
    """pins one tag, or one file name; the resolver then only checks the fit"""
    pattern: str | None = None
    """how tags are spelled; default "{size}-{variant}-{quant}\""""
    quantize: str | None = None
    """made from an F16/BF16 base by Ollama itself"""
    insecure: bool = False
    """plain http for a registry that is not on loopback"""


class Parameters(Table):
    """`[parameters]`: Ollama's parameters. Absent ones keep the base's or the server's value."""

    num_ctx: Annotated[int, Field(ge=4, le=16_777_216)] | None = None
    """context length in tokens"""
    num_batch: Annotated[int, Field(ge=2, le=1_048_576)] | None = None
    """tokens processed at once while reading the prompt"""
    num_keep: Annotated[int, Field(ge=-1)] | None = None
    """tokens of the prompt's start kept when the context is full"""
    num_predict: Annotated[int, Field(ge=-2)] | None = None
    """longest answer in tokens; -1 no limit, -2 fill the context"""
    num_gpu: Annotated[int, Field(ge=-1)] | None = None
    """layers on the GPU; set, it switches llama.cpp's own fitting off"""
    main_gpu: Annotated[int, Field(ge=0)] | None = None
    """index of the GPU for small tensors"""
    num_thread: Annotated[int, Field(ge=0)] | None = None
    """CPU threads; 0 lets the server choose"""
    draft_num_predict: Annotated[int, Field(ge=0)] | None = None
    """draft tokens for speculative decoding"""
    seed: Annotated[int, Field(ge=-1, le=4_294_967_295)] | None = None
    """random seed; -1 is random"""
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    """0 always takes the likeliest token"""
    top_k: Annotated[int, Field(ge=0)] | None = None
    """sample among this many likeliest tokens; 0 all"""
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """sample among the likeliest tokens of this summed probability"""
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """drop tokens less likely than this share of the likeliest"""
    typical_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    """locally typical sampling; 1 is off"""
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    """tokens looked back for repeats; 0 off, -1 the whole context"""
    repeat_penalty: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    """1 is off"""
    presence_penalty: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] | None = None
    """0 is off"""
    frequency_penalty: Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)] | None = None
    """0 is off"""
    use_mmap: bool | None = None
    """map the weights instead of reading them"""
    stop: tuple[str, ...] | None = None
    """texts that end the answer; an empty list clears the base's"""


class Resolve(Table):
    """`[resolve]`: how the resolver chooses."""

    prefer: Prefer = "quality"
    """what the best candidate is: quality, speed or smallest"""
    parallel: Annotated[int, Field(ge=1, le=1024)] = 1
    """requests served at once; the KV cache is that many times as large"""
    kv_cache: KvType = "f16"
    """type of the KV cache that the server runs with"""
    flash_attention: Switch = "auto"
    """flash attention as the server runs with it"""
    headroom: str | None = None
    """kept free on each device; llama.cpp's own margin (1 GiB) is the default"""
    allow_offload: bool = False
    """accept a candidate of which some layers stay on the CPU"""
    min_tokens_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """candidates predicted slower are dropped"""
    engine: str | None = None
    """Ollama's version that the plan is for; default: the newest known"""


class Message(Table):
    """`[[messages]]`: a turn of the conversation that every chat begins with."""

    role: Role
    content: str


class Expect(Table):
    """`expect` of a smoke test. Every key that is given must hold."""

    contains: tuple[str, ...] | str | None = None
    """each of these is in the answer"""
    not_contains: tuple[str, ...] | str | None = None
    """none of these is in the answer"""
    equals: str | None = None
    """the answer, but for blanks around it"""
    starts_with: str | None = None
    """the answer's beginning, after leading blanks"""
    regex: str | None = None
    """a Python regular expression found in the answer"""
    json_: Annotated[bool | None, Field(alias="json")] = None
    """the answer is one JSON value"""
    json_schema: Mapping[str, Any] | None = None
    """the answer is JSON that this schema accepts"""
    python: bool | None = None
    """the answer has a code block that parses as Python; it is never run"""
    tool_call: str | Mapping[str, Any] | None = None
    """the tool that is called: its name, or {name, arguments}"""
    min_tokens_per_second: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """at least this many tokens a second while answering"""
    max_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """the whole answer takes at most this long, loading not counted"""
    max_first_token_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """the first token comes within this time, loading not counted"""
    loaded_on: Literal["gpu", "cpu"] | None = None
    """where the model lies while it answers"""
    max_vram: str | None = None
    """most memory on the GPU, such as "8GiB\""""


class SmokeTest(Table):
    """`[[smoke]]`: one prompt and what its answer must be."""

    name: str
    prompt: str
    expect: Expect
    system: str | None = None
    """a system prompt for this test alone, in place of the model's"""
    messages: tuple[Message, ...] = ()
    """turns before the prompt"""
    tools: tuple[Mapping[str, Any], ...] = ()
    """tools offered to the model, as the chat API takes them"""
    parameters: Parameters = Parameters()
    """parameters for this test alone"""
    runs: Annotated[int, Field(ge=1, le=1000)] = 1
    """how often the prompt is asked, each time with the next seed"""
    min_pass: Annotated[int, Field(ge=1)] | None = None
    """how many of the runs must pass; default all"""


class Serve(Table):
    """`[serve]`: server settings that a Modelfile cannot carry."""

    keep_alive: str | None = None
    """how long the model stays loaded after a request, such as "30m\""""
    kv_cache: KvType | None = None
    """type of the KV cache (OLLAMA_KV_CACHE_TYPE)"""
    flash_attention: Switch | None = None
    """flash attention (OLLAMA_FLASH_ATTENTION)"""
    parallel: Annotated[int, Field(ge=1, le=1024)] | None = None
    """requests served at once (OLLAMA_NUM_PARALLEL)"""


class Body(Table):
    """All keys of a profile but `extends` and `[hardware]`, after inheritance, as TOML has them."""

    description: str = ""
    """one line for people"""
    name: str | None = None
    """the model's name; default: the file's stem"""
    template: str = "modelfile.j2"
    """the Jinja template of the Modelfile, in templates/"""
    system: str | None = None
    """the system prompt"""
    system_file: str | None = None
    """a file with the system prompt"""
    license: tuple[str, ...] | str | None = None
    """license text, or several"""
    license_file: str | None = None
    """a file with the license text"""
    chat_template_file: str | None = None
    """a file with a chat template in Ollama's Go syntax"""
    adapters: tuple[str, ...] = ()
    """GGUF adapter files"""
    requires: str | None = None
    """lowest Ollama version that the model needs"""
    renderer: str | None = None
    """Ollama's built-in renderer"""
    parser: str | None = None
    """Ollama's built-in parser"""
    base: Base
    parameters: Parameters = Parameters()
    resolve: Resolve = Resolve()
    serve: Serve = Serve()
    vars: Mapping[str, Any] = {}
    """variables for the Jinja template"""
    messages: tuple[Message, ...] = ()
    smoke: tuple[SmokeTest, ...] = ()
