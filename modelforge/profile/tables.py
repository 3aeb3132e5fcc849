"""What the profile's tables are made of, and the two that stand in more than one place.

The types of values, the table itself, `[parameters]` and `[[messages]]`; `schema` says where they stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from modelforge.parameters import IGNORED
from modelforge.profile.rules import SIZE, rule, whole
from modelforge.units import parse_size

Role: TypeAlias = Literal["system", "user", "assistant"]

INT32 = 2_147_483_647

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


@rule(pattern=whole(SIZE))
def _size(text: str) -> str:
    parse_size(text)
    return text


_Entry = TypeVar("_Entry")
# Strict types, but TOML's lists may become tuples.
Rows: TypeAlias = Annotated[tuple[_Entry, ...], Field(strict=False)]
Some: TypeAlias = Annotated[tuple[_Entry, ...], Field(strict=False, min_length=1)]
Text: TypeAlias = Annotated[str, Field(min_length=1)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=INT32)]
CountOrAll: TypeAlias = Annotated[int, Field(ge=-1, le=INT32)]
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


class Message(Table):
    """`[[messages]]`: a turn of the conversation that every chat begins with."""

    role: Role
    """who says it: system, user or assistant"""
    content: str
    """what is said, exactly"""


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
    num_predict: Annotated[int, Field(ge=-2, le=INT32)] | None = None
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
