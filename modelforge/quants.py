"""The quant table: bits, quality order, and which quants another one beats in both.

Sources: bits per weight are those of a whole Llama-3.1-8B file (llama.cpp tools/quantize/README.md), the
loss is the mean Kullback-Leibler divergence from F16 of Llama-3-8B on Wikitext-2 (llama.cpp
tools/perplexity/README.md), with an importance matrix where that is listed. Only the order is used: the
loss itself shrinks with a model's size. File types are llama.cpp's `llama_ftype` numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Quant:
    """One way to store weights.

    `bits` is bits per weight of a typical file, `loss` the KL divergence from F16. `file_type` is the
    number in a GGUF's `general.file_type`, None where llama.cpp has none. `native_only`: only for models
    that were trained in it. `full` is full or half precision.
    """

    name: str
    bits: float
    loss: float
    file_type: int | None
    use: str
    native_only: bool = False
    full: bool = False


def _q(name: str, bits: float, loss: float, file_type: int | None, use: str) -> Quant:
    return Quant(name=name, bits=bits, loss=loss, file_type=file_type, use=use)


def _full(name: str, bits: float, loss: float, file_type: int, use: str) -> Quant:
    return Quant(name=name, bits=bits, loss=loss, file_type=file_type, use=use, full=True)


def _native(name: str, bits: float, loss: float, file_type: int, use: str) -> Quant:
    return Quant(name=name, bits=bits, loss=loss, file_type=file_type, use=use, native_only=True)


TABLE: tuple[Quant, ...] = (
    _full("F32", 32.0, 0.0, 0, "reference; twice F16's memory for nothing that a chat shows"),
    _full("BF16", 16.0, 0.000025, 32, "as trained; slower on GPUs before Ampere"),
    _full("F16", 16.0, 0.00055, 1, "as trained, for quantizing from"),
    _q("Q8_0", 8.5008, 0.00136, 7, "no loss that is seen"),
    _q("Q6_K", 6.5633, 0.00545, 18, "nearly as good as Q8_0"),
    _q("Q5_K_M", 5.7036, 0.01076, 17, "very good"),
    _q("Q5_K_S", 5.5704, 0.0166, 16, "very good"),
    _q("Q5_1", 6.0, 0.01805, 9, "old; Q5_K_M is smaller and better"),
    _q("Q5_0", 5.5704, 0.02224, 8, "old; Q5_K_S is as small and better"),
    _q("Q4_K_M", 4.8944, 0.02815, 15, "the usual choice"),
    _q("Q4_K_S", 4.6672, 0.03195, 14, "good, a little smaller"),
    _q("IQ4_NL", 4.6818, 0.03574, 25, "good; Q4_K_S is smaller and better"),
    _q("IQ4_XS", 4.4597, 0.03633, 30, "the smallest that is still good"),
    _q("NVFP4", 4.5, 0.07, 39, "for GPUs with NVFP4; IQ4_XS is smaller and better"),
    _q("Q4_1", 5.1, 0.07168, 3, "old; Q4_K_S is smaller and better"),
    _q("Q4_0", 4.65, 0.07194, 2, "old; right for models trained for it (QAT)"),
    _q("Q3_K_L", 4.2979, 0.07308, 13, "loss is seen"),
    _q("Q3_K_M", 3.996, 0.08436, 12, "loss is seen"),
    _q("IQ3_M", 3.7628, 0.10253, 27, "loss is seen"),
    _q("IQ3_S", 3.6606, 0.11128, 26, "loss is seen"),
    _q("IQ3_XS", 3.4977, 0.13869, 22, "loss is plain"),
    _q("IQ3_XXS", 3.2548, 0.18363, 23, "loss is plain"),
    _q("Q3_K_S", 3.6429, 0.19982, 11, "IQ3_XS is smaller and better"),
    _q("IQ2_M", 2.9294, 0.32599, 29, "bad; for very large models only"),
    _q("Q2_K", 3.1593, 0.33139, 10, "bad; for very large models only"),
    _q("Q2_K_S", 2.9697, 0.40336, 21, "bad; for very large models only"),
    _q("IQ2_S", 2.7403, 0.4392, 28, "bad; for very large models only"),
    _q("IQ2_XS", 2.5882, 0.54629, 20, "bad; for very large models only"),
    _q("IQ2_XXS", 2.3824, 0.81202, 19, "hardly usable"),
    _q("IQ1_M", 2.146, 1.39308, 31, "hardly usable"),
    _q("IQ1_S", 2.0042, 2.25455, 24, "hardly usable"),
    _native("MXFP4", 4.25, 0.0721, 38, "what gpt-oss was trained in"),
    _native("TQ2_0", 2.0625, 3.0, 37, "for models with three-valued weights"),
    _native("TQ1_0", 1.6875, 3.0, 36, "for models with three-valued weights"),
    _native("Q1_0", 1.125, 4.0, 40, "for models trained in one bit"),
)

FLOOR = "IQ4_XS"
"""The default floor: nothing of fewer bits is taken unless the profile lists it."""

_BY_NAME = {quant.name: quant for quant in TABLE}
_BY_FOLDED = {quant.name.casefold(): quant.name for quant in TABLE} | {
    "fp32": "F32",
    "fp16": "F16",
    "mxfp4_moe": "MXFP4",
    "q3_k": "Q3_K_M",
    "q4_k": "Q4_K_M",
    "q5_k": "Q5_K_M",
}
# Ollama writes 4 for MXFP4; in llama.cpp that number is unused.
_BY_FILE_TYPE = {quant.file_type: quant.name for quant in TABLE} | {4: "MXFP4"}


def names() -> tuple[str, ...]:
    """All quants, best first."""
    return tuple(sorted(_BY_NAME, key=lambda name: (_BY_NAME[name].loss, name)))


def spellings() -> Mapping[str, str]:
    """Every spelling that `canonical` takes, in lower case -> llama.cpp's."""
    return _BY_FOLDED


@lru_cache(maxsize=1024)
def get(name: str) -> Quant | None:
    """The table's line for a name in any case, or None."""
    spelled = canonical(name)
    return _BY_NAME[spelled] if spelled else None


def canonical(name: str) -> str | None:
    """llama.cpp's spelling of a quant's name in any case (`q4_k_m` is `Q4_K_M`); None if it is not one."""
    return _BY_FOLDED.get(name.strip().casefold())


def from_file_type(number: int) -> str | None:
    """The quant that `general.file_type` says, or None: llama.cpp's numbers, and Ollama's 4 for MXFP4.

    Files that say "guessed" carry 1024 on top.
    """
    return _BY_FILE_TYPE.get(int(number) & ~1024)


def loss(name: str, bits: float) -> float:
    """The quality order: the table's loss, or for a quant that is not there the loss that its bits suggest.

    `bits` is the file's own bits per weight. An unknown mix is taken as the best known quant that is not
    larger, and among equals just above it.
    """
    known = get(name)
    if known is not None:
        return known.loss
    smaller = [quant.loss for quant in TABLE if quant.bits <= bits and not quant.native_only]
    return min(smaller) - 1e-6 if smaller else max(quant.loss for quant in TABLE) + 1.0 / max(bits, 0.01)


def below_floor(name: str, bits: float) -> bool:
    """Whether a quant has fewer bits than the default floor; `bits` counts for unknown names only."""
    known = get(name)
    return (known.bits if known else bits) < _BY_NAME[FLOOR].bits


def dominated_by(name: str, others: Collection[str]) -> str | None:
    """The best of `others` that is no larger and no worse than `name`, or None."""
    known = get(name)
    if known is None:
        return None
    beats = [other for other in map(get, others) if other is not None and _beats(other, known)]
    return min(beats, key=lambda quant: quant.loss).name if beats else None


def beats(name: str, other: str) -> bool:
    """Whether a quant is no larger and better than another one; never where either is not in the table."""
    one, two = get(name), get(other)
    return one is not None and two is not None and _beats(one, two)


def _beats(one: Quant, other: Quant) -> bool:
    same = one.name == other.name or one.native_only or other.full
    return not same and one.bits <= other.bits and one.loss < other.loss


@cache
def default_names() -> tuple[str, ...]:
    """What a profile without an allow-list takes, best first: no other beats it, from Q8_0 down to the floor."""
    everything = tuple(_BY_NAME)
    usual = (q for q in TABLE if not q.full and not q.native_only and not below_floor(q.name, q.bits))
    return tuple(
        q.name for q in sorted(usual, key=lambda q: q.loss) if dominated_by(q.name, everything) is None
    )
