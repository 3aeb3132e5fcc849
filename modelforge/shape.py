"""What a model's header says about its memory: the architecture's rules, apart from any arithmetic.

A shape is worked out once a file; its sums make a plan cheap.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from modelforge.architecture import (
    ENCODERS,
    ENCODERS_WITH_OUTPUT,
    EXACT_COMPUTE,
    GATED_DELTA,
    PARALLEL_BLOCKS,
    RESULTS_BESIDE,
    STREAMS,
    TWICE,
    Findings,
    Layer,
    drafts_of,
    layers_of,
)
from modelforge.errors import BaseProblem
from modelforge.keys import Keys

if TYPE_CHECKING:
    from modelforge.gguf import Header, Tensor

INPUTS = frozenset(
    {
        "token_embd.weight",
        "per_layer_token_embd.weight",
        "position_embd.weight",
        "token_types.weight",
    }
)
"""Tensors that only look rows up; llama.cpp always keeps them in system memory."""

PROJECTOR = ("v.", "mm.", "a.", "vision_", "multi_modal_", "resampler.")
HOST_ALIGNMENT = 32
DEVICE_ALIGNMENT = 128
ROW_PADDING = 512
_ELSEWHERE = {
    "experts": re.compile(r"\.ffn_(up|down|gate_up|gate)_(ch|)exps"),
    "feed_forward": re.compile(r"\.ffn_(gate|up|gate_up|down)"),
    "gate_down": re.compile(r"\.ffn_(gate|gate_up|down)"),
    "down": re.compile(r"\.ffn_down"),
}
"""Tensors of a block that llama.cpp lays elsewhere together (common/fit.cpp)."""
_SLOW = (("IQ1", 2.4), ("IQ2", 1.55), ("IQ3", 1.4), ("Q2_K", 1.25), ("Q3_K", 1.2), ("TQ", 1.5))


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """Bytes of a layer in a mixture of experts that llama.cpp can lay elsewhere, by its patterns of names.

    `experts` alone; `feed_forward`: these and all else that gates, goes up or down; `gate_down` and `down`: of that
    what is left when the ups, and the gates too, stay with the attention (common/fit.cpp, b10488).
    """

    experts: int = 0
    feed_forward: int = 0
    gate_down: int = 0
    down: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """Bytes of the weights by place. With everything on a GPU it holds `blocks` and `output`.

    `blocks`: one number for each layer, as an accelerator lays them out. `output`: what comes after the
    last layer; if the model has no output matrix of its own, with the copy of the input embedding that
    llama.cpp makes there. `input`: the embedding tables, in system memory. `file`: all of it once, as it
    lies in system memory when there is no accelerator. `projector`: image and sound encoders in the file.
    `drafts`: layers for multi-token prediction (MTP), which are in none of the others. `parts`: of each block,
    if there are experts; `copies`: the largest of a block's tensors of experts, and the largest two together.
    """

    input: int
    blocks: tuple[int, ...]
    output: int
    file: int
    projector: int = 0
    drafts: int = 0
    parts: tuple[Parts, ...] = ()
    copies: tuple[int, int] = (0, 0)

    @property
    def device(self) -> int:
        """Bytes on accelerators when every layer is there."""
        return sum(self.blocks) + self.output


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """The facts that a plan needs of one GGUF file; see `shape_of`. Lengths in elements or tokens, sizes in bytes.

    `streams` is how many embeddings a token are alive beside the usual ones, `deepstack` how many more an image
    brings for the first layers. `each_layer` is the elements for a token of embeddings that layers have of their
    own, `results` those of experts' results where they lie beside attention.

    `layers` is what each layer keeps; `groups` the same by kind: (layer, how many). `state` is the sum of their
    recurrent state for one sequence, `scan` what the graph holds of it where a layer has most.

    `widest` is the most elements for a token that a layer's feed-forward part holds at once, `recurrent_width` the
    same of a recurrent part. `kv_widest` is the widest layer's key + value, as attention reads it, `value_widest`
    the widest value, `query` that of all heads' queries. `latent_value` is the length of the value that latent
    attention (MLA) reads out of its key row; 0 elsewhere.

    `active_bytes` is what is read from memory for each token made, experts counted by use; `read_cost` the same,
    with types whose kernels wait for arithmetic counted longer. `bits` is bits per weight.
    """

    architecture: str
    training_context: int
    vocabulary: int
    embedding: int
    heads: int
    parallel_blocks: bool
    streams: int
    deepstack: int
    each_layer: int
    results: int
    encoder: bool
    layers: tuple[Layer, ...]
    groups: tuple[tuple[Layer, int], ...]
    state: int
    scan: int
    widest: int
    recurrent_width: int
    kv_widest: int
    value_widest: int
    query: int
    latent_value: int
    weights: Weights
    device_weights: int
    parameters: int
    bits: float
    experts: bool
    active_bytes: int
    read_cost: int
    compute_exact: bool
    exact: bool
    inexact_because: tuple[str, ...]


def shape_of(header: Header) -> ModelShape:
    """The shape of a model from its GGUF header, or from what a server shows of it.

    Raises:
        BaseProblem: a key that is needed is missing or no number; the message names it.
    """
    keys, findings = Keys(header), Findings()
    count = keys.integer("block_count")
    if not count:
        raise BaseProblem(f"'{keys.architecture}.block_count' in the model's header is 0")
    layers = layers_of(keys, count, findings)
    compute_exact = not findings.reasons and keys.architecture in EXACT_COMPUTE and not _each_layer(keys)
    weights = _weights(header, keys, count, findings)
    _doubts(keys, weights, findings)
    own = [tensor for tensor in header.tensors if not tensor.name.startswith(PROJECTOR)]
    parameters = sum(prod(tensor.dims) for tensor in own)
    active, cost = _read_per_token(own, keys, header.file_bytes)
    return ModelShape(
        architecture=keys.architecture,
        training_context=keys.integer("context_length"),
        vocabulary=_vocabulary(header, keys),
        embedding=keys.integer("embedding_length"),
        heads=keys.integer("attention.head_count", 0),
        parallel_blocks=_parallel(keys),
        streams=STREAMS.get(keys.architecture, 0),
        deepstack=keys.integer("n_deepstack_layers", 0),
        each_layer=_each_layer(keys),
        results=_results(keys),
        encoder=keys.architecture in ENCODERS,
        layers=layers,
        groups=tuple(Counter(layer for layer in layers if layer != Layer()).items()),
        state=sum(layer.state for layer in layers),
        scan=_scan(keys, max(layer.state for layer in layers)),
        widest=_widest(keys),
        recurrent_width=_recurrent_width(keys),
        kv_widest=max(layer.key + layer.value for layer in layers),
        value_widest=max(layer.value for layer in layers),
        query=_query(keys),
        latent_value=_latent_value(keys),
        weights=weights,
        device_weights=weights.device,
        parameters=parameters,
        bits=8 * sum(tensor.bytes for tensor in own) / parameters if parameters else 0.0,
        experts=keys.integer("expert_count", 0) > 0,
        active_bytes=active,
        read_cost=cost,
        compute_exact=compute_exact,
        exact=not findings.reasons,
        inexact_because=tuple(findings.reasons),
    )


def _doubts(keys: Keys, weights: Weights, findings: Findings) -> None:
    if _each_layer(keys):
        findings.add(
            "the compute buffer of models whose layers have embeddings of their own is over-estimated"
        )
    elif keys.architecture not in EXACT_COMPUTE:
        findings.add(f"the compute buffer of '{keys.architecture}' models is over-estimated")
    if weights.projector:
        findings.add("the memory for reading images is estimated")


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _on_device(tensor: Tensor) -> int:
    """Bytes of a tensor on an accelerator: rows of blocks are padded to 512 elements once (ggml-cuda)."""
    size, elements, row = tensor.bytes, prod(tensor.dims), tensor.dims[0] if tensor.dims else 0
    quantized = elements and size * 8 < 16 * elements
    if quantized and row % ROW_PADDING:
        size += (ROW_PADDING - row % ROW_PADDING) * tensor.bytes // elements
    return _padded(size, DEVICE_ALIGNMENT)


def _weights(header: Header, keys: Keys, count: int, findings: Findings) -> Weights:
    if not header.tensors:
        findings.add("the tensor table was not read; the whole file is counted as weights of the layers")
        each = -(-header.file_bytes // count)
        return Weights(input=0, blocks=(each,) * count, output=0, file=header.file_bytes)
    sums = {"input": 0, "output": 0, "projector": 0, "file": 0, "drafts": 0}
    blocks = [0] * count
    trunk = count - drafts_of(keys)
    for tensor in header.tensors:
        place = _place(tensor.name, count)
        if isinstance(place, int) and place >= trunk:
            sums["drafts"] += _on_device(tensor)
            continue
        if isinstance(place, int):
            blocks[place] += _on_device(tensor)
        else:
            sums[place] += _padded(tensor.bytes, HOST_ALIGNMENT) if place == "input" else _on_device(tensor)
        if place != "projector":
            sums["file"] += _padded(tensor.bytes, HOST_ALIGNMENT)
    tied = _tied(header, keys)
    if tied:
        sums["output"] += _on_device(tied)
        sums["file"] += _padded(tied.bytes, HOST_ALIGNMENT) if keys.architecture in TWICE else 0
    parts, copies = _parts(header, keys, trunk)
    return Weights(blocks=tuple(blocks), parts=parts, copies=copies, **sums)


def _parts(header: Header, keys: Keys, count: int) -> tuple[tuple[Parts, ...], tuple[int, int]]:
    """What of each of the first `count` blocks can lie elsewhere, and the two largest of a block's experts."""
    if not keys.integer("expert_count", 0):
        return (), (0, 0)
    sums = [dict.fromkeys(_ELSEWHERE, 0) for _ in range(count)]
    experts: list[list[int]] = [[] for _ in range(count)]
    for tensor in header.tensors:
        block = _place(tensor.name, count)
        if not isinstance(block, int):
            continue
        size, name = _on_device(tensor), tensor.name.partition(".")[2]
        for part, pattern in _ELSEWHERE.items():
            sums[block][part] += size if pattern.search(name) else 0
        if _ELSEWHERE["experts"].search(name):
            experts[block].append(size)
    one, two = (max(sum(sorted(found)[-most:]) for found in experts) for most in (1, 2))
    return tuple(Parts(**found) for found in sums), (one, two)


def _place(name: str, count: int) -> int | str:
    """The layer that a tensor belongs to, or "input", "output", "projector"."""
    if name in INPUTS:
        return "input"
    if name.startswith(PROJECTOR):
        return "projector"
    head, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return int(number) if head == "blk" and number.isdigit() and int(number) < count else "output"


def _tied(header: Header, keys: Keys) -> Tensor | None:
    """The input embedding, if a copy of it stands in for a missing output matrix."""
    by_name = {tensor.name: tensor for tensor in header.tensors}
    if "output.weight" in by_name or keys.architecture in ENCODERS - ENCODERS_WITH_OUTPUT:
        return None
    return by_name.get("token_embd.weight")


def _vocabulary(header: Header, keys: Keys) -> int:
    """Tokens that the output has: the embedding's rows, or else what the metadata says."""
    for tensor in header.tensors:
        if tensor.name == "token_embd.weight" and len(tensor.dims) > 1:
            return tensor.dims[1]
    return keys.vocabulary()


def _widest(keys: Keys) -> int:
    """Most elements for a token in a layer's feed-forward part: gate, up and their product.

    Without a gate the one matrix's result is changed in place. The result of all experts takes the place of
    gates and ups only where it is no wider than both.
    """
    dense = (3 if _gated(keys) else 1) * _feed_forward(keys)
    if not keys.integer("expert_count", 0):
        return dense
    used = keys.integer("expert_used_count", keys.integer("expert_count"))
    each = keys.integer("expert_feed_forward_length", _feed_forward(keys))
    shared = keys.integer("expert_shared_feed_forward_length", each * keys.integer("expert_shared_count", 0))
    leading = dense if keys.integer("leading_dense_block_count", 0) else 0
    result = used * keys.integer("embedding_length")
    beside = result if result > 2 * used * each else 0
    return max(3 * used * each + beside, 3 * shared, leading)


def _feed_forward(keys: Keys) -> int:
    count = keys.integer("block_count")
    return max(keys.per_block("feed_forward_length", count, 0) or (0,))


def _gated(keys: Keys) -> bool:
    """Whether feed-forward parts have a gate: a matrix of its own, or in one with the other."""
    names = {name for tensors in keys.blocks.values() for name in tensors}
    if not names or "ffn_up.weight" not in names or "ffn_gate.weight" in names:
        return True
    widths = {tensors["ffn_up.weight"][-1] for tensors in keys.blocks.values() if "ffn_up.weight" in tensors}
    return max(widths) > _feed_forward(keys)


def _parallel(keys: Keys) -> bool:
    """Whether attention and feed-forward parts work side by side on the same input."""
    if keys.architecture == "stablelm" and keys.blocks:
        return not any("ffn_norm.weight" in tensors for tensors in keys.blocks.values())
    return keys.architecture in PARALLEL_BLOCKS


def _latent_value(keys: Keys) -> int:
    """Elements of the value that latent attention (MLA) reads out of its key row."""
    return keys.integer("attention.value_length", 0) if keys.has("attention.key_length_mla") else 0


def _query(keys: Keys) -> int:
    """Elements of all heads' queries for a token, and of what is projected with them (gates)."""
    heads = keys.integer("attention.head_count", 0)
    if _latent_value(keys):
        return heads * keys.integer("attention.key_length_mla")
    projected = [
        tensors["attn_q.weight"][-1] for tensors in keys.blocks.values() if "attn_q.weight" in tensors
    ]
    if projected and keys.architecture not in GATED_DELTA:
        return max(projected)
    return heads * keys.integer("attention.key_length", keys.integer("embedding_length") // max(heads, 1))


def _each_layer(keys: Keys) -> int:
    """Elements for a token of all layers' own embeddings; gemma3n's are in what its graph is known to hold."""
    if keys.architecture != "gemma4":
        return 0
    return keys.integer("block_count") * keys.integer("embedding_length_per_layer_input", 0)


def _results(keys: Keys) -> int:
    """Elements for a token of all used experts' results, less the two that have a place anyway."""
    if keys.architecture not in RESULTS_BESIDE:
        return 0
    return max(keys.integer("expert_used_count", 0) - 2, 0) * keys.integer("embedding_length")


def _scan(keys: Keys, state: int) -> int:
    """Bytes that a scan holds for each sequence: its state and some of what it writes; of a delta net old and new."""
    if keys.architecture in GATED_DELTA:
        return state + 4 * keys.integer("ssm.state_size") * keys.integer("ssm.inner_size")
    return state * 17 // 16


def _recurrent_width(keys: Keys) -> int:
    """Most elements for a token in a Mamba part: its input, what is convolved (twice), and the scan's result.

    With groups (Mamba-2) the input has the gate, what is convolved and a step for each head; without, the gate
    and what is convolved. A delta net has its gate, and what is convolved before and after.
    """
    inner = keys.integer("ssm.inner_size", 0)
    convolved = inner + 2 * keys.integer("ssm.group_count", 0) * keys.integer("ssm.state_size", 0)
    if keys.architecture in GATED_DELTA:
        return inner + 2 * convolved
    steps = keys.integer("ssm.time_step_rank", 0) if keys.has("ssm.group_count") else 0
    return inner + convolved + steps + 2 * convolved + inner if inner else 0


def _read_per_token(tensors: list[Tensor], keys: Keys, file_bytes: int) -> tuple[int, int]:
    """Bytes read for each token made, and the same with slow types counted longer.

    The input embedding is one row, unless it is the output matrix too.
    """
    if not tensors:
        return file_bytes, file_bytes
    tied = not any(tensor.name == "output.weight" for tensor in tensors)
    experts = max(keys.integer("expert_count", 0), 1)
    used = keys.integer("expert_used_count", experts)
    active = cost = 0
    for tensor in tensors:
        if tensor.name in INPUTS and not (tied and tensor.name == "token_embd.weight"):
            continue
        share = tensor.bytes * used // experts if "_exps." in tensor.name else tensor.bytes
        active += share
        cost += round(share * next((slow for name, slow in _SLOW if tensor.type.startswith(name)), 1.0))
    return active, cost
