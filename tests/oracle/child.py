"""Asks llama.cpp's own planner; a program for a process of its own, since the planner may end it.

    python child.py BUILD FAKEGPU.so QUESTIONS.json LIBRARY.so …

Answers go to standard output, a line of JSON for each question. Uses nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from pathlib import Path
from typing import Any

MEASURE = (
    "_Z29common_get_device_memory_dataPKcPK18llama_model_paramsPK20llama_context_params"
    "RSt6vectorIP19ggml_backend_deviceSaIS9_EERjSD_SD_14ggml_log_level"
)
FIT = "_Z17common_fit_paramsPKcP18llama_model_paramsP20llama_context_paramsPfP32llama_model_tensor_buft_overridePmj"
FIT_END = {11549: "PK22common_fit_extra_model14ggml_log_level", 10488: "14ggml_log_level"}
CACHE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "bf16": 30}
LOG_NOTHING = 5
MARGIN = 1 << 30
LEAST_CONTEXT = 4096


def _model_fields(build: int) -> list[tuple[str, Any]]:
    lazy = [("lazy_mode", c_int)] if build >= 11549 else []
    return [
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        *lazy,
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        *(
            (name, c_bool)
            for name in ["vocab_only", "check_tensors", "use_extra_bufts", "no_host", "no_alloc", "load_mtp"]
        ),
    ]


def _context_fields(build: int) -> list[tuple[str, Any]]:
    counts = "n_ctx n_batch n_ubatch n_seq_max n_rs_seq n_outputs_max n_outputs_max_per_seq"
    kinds = "ctx_type rope_scaling_type pooling_type attention_type flash_attn_type"
    ropes = "rope_freq_base rope_freq_scale yarn_ext_factor yarn_attn_factor yarn_beta_fast yarn_beta_slow"
    return [
        *((name, c_uint32) for name in counts.split()),
        *((name, c_int32) for name in ("n_threads", "n_threads_batch")),
        *((name, c_int) for name in kinds.split()),
        *((name, c_float) for name in ropes.split()),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        *([("moe_cache_size", c_size_t)] if build >= 11549 else []),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        *(
            (name, c_bool)
            for name in ["embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified"]
        ),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    ]


MODEL_DEFAULTS = {
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "main_gpu": 0,
    "use_extra_bufts": True,
    "no_alloc": False,
    "vocab_only": False,
    "tensor_split": None,
}
CONTEXT_DEFAULTS = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max": 0,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "flash_attn_type": -1,
    "yarn_ext_factor": -1.0,
    "defrag_thold": -1.0,
    "type_k": 1,
    "type_v": 1,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
    "kv_unified": False,
    "n_samplers": 0,
}


class Vector(Structure):
    """A std::vector."""

    _fields_ = (("begin", c_void_p), ("end", c_void_p), ("room", c_void_p))


class Memory(Structure):
    """One device's answer, in bytes."""

    _fields_ = (
        ("total", c_int64),
        ("free", c_int64),
        ("model", c_size_t),
        ("context", c_size_t),
        ("compute", c_size_t),
    )


class Override(Structure):
    """A tensor pattern and where such tensors go."""

    _fields_ = (("pattern", c_void_p), ("buft", c_void_p))


class Planner:
    """llama.cpp of one build in this process, with the fake devices."""

    def __init__(self, build: int, fake: str, libraries: list[str]) -> None:
        self.build = build
        self.libraries = [ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL) for path in libraries]
        self.model_type = type("ModelParams", (Structure,), {"_fields_": _model_fields(build)})
        self.context_type = type("ContextParams", (Structure,), {"_fields_": _context_fields(build)})
        self.fake = ctypes.CDLL(fake, mode=ctypes.RTLD_GLOBAL)
        self.fake.fake_device.restype = c_void_p
        load = self.find("ggml_backend_load")
        load.restype = c_void_p
        if not load(fake.encode()):
            raise SystemExit("ggml did not take the fake devices: its backend interface is another")
        self.silence = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(lambda _level, _text, _data: None)
        if not os.environ.get("MODELFORGE_ORACLE_LOG"):
            self.find("llama_log_set")(self.silence, None)
        self.call("llama_model_default_params", self.model_type, MODEL_DEFAULTS)
        self.call("llama_context_default_params", self.context_type, CONTEXT_DEFAULTS)

    def find(self, name: str) -> Any:
        for library in reversed(self.libraries):
            try:
                return library[name]
            except AttributeError:
                continue
        raise SystemExit(f"llama.cpp b{self.build} exports no {name}")

    def call(self, name: str, kind: Any, expected: dict[str, Any]) -> Any:
        """The parameters that llama.cpp starts from; they must be what is documented, else the layout is another."""
        function = self.find(name)
        function.restype = kind
        made = function()
        for field, value in expected.items():
            if getattr(made, field) != value:
                raise SystemExit(
                    f"{name}().{field} is {getattr(made, field)!r}, not {value!r}: the layout of llama.cpp's "
                    f"parameters is not that of b{self.build}"
                )
        return made

    def parameters(self, question: dict[str, Any]) -> tuple[Any, Any, Any]:
        memory = question["memory"]
        devices = (c_void_p * (len(memory) + 1))()
        for index, size in enumerate(memory):
            self.fake.fake_set_memory(index, c_size_t(size))
            devices[index] = self.fake.fake_device(index)
        self.fake.fake_set_cuda(c_bool(question["cuda"]))
        model = self.call("llama_model_default_params", self.model_type, {})
        model.devices = ctypes.cast(devices, c_void_p)
        model.use_extra_bufts = False  # else what the CPU repacks is in no row
        context = self.call("llama_context_default_params", self.context_type, {})
        context.n_ctx = question["context"]
        context.n_batch = context.n_ubatch = question["batch"]
        context.n_seq_max = question["parallel"]
        context.n_outputs_max = 0 if question["embeddings"] else question["parallel"]
        context.flash_attn_type = int(question["flash"])
        context.type_k = context.type_v = CACHE_TYPES[question["kv"]]
        context.embeddings = question["embeddings"]
        context.swa_full = False
        return model, context, devices

    def measure(self, question: dict[str, Any]) -> list[list[int]]:
        """[weights, KV, compute] of each device and at last of the system, in bytes; laid out as `decide` answered."""
        model, context, devices = self.parameters(question)
        split = (c_float * 128)(*question.get("split", ()))
        moved = question.get("overrides", ())
        buffers = self.buffers(devices)
        overrides = (Override * (len(moved) + 1))()
        for override, (pattern, where) in zip(overrides, moved, strict=False):
            override.pattern = ctypes.cast(c_char_p(pattern.encode()), c_void_p)
            override.buft = buffers[where]
        if any(split):
            model.tensor_split = ctypes.cast(split, c_void_p)
        if moved:
            model.tensor_buft_overrides = ctypes.cast(overrides, c_void_p)
        function = self.find(MEASURE)
        function.restype = None
        answer, devices = Vector(), Vector()
        layers, trained, experts = c_uint32(), c_uint32(), c_uint32()
        function(
            byref(answer),
            question["file"].encode(),
            byref(model),
            byref(context),
            byref(devices),
            byref(layers),
            byref(trained),
            byref(experts),
            c_int(LOG_NOTHING),
        )
        count = ((answer.end or 0) - (answer.begin or 0)) // ctypes.sizeof(Memory)
        rows = ctypes.cast(answer.begin, POINTER(Memory))
        return [[rows[i].model, rows[i].context, rows[i].compute] for i in range(count)]

    def decide(self, question: dict[str, Any]) -> dict[str, Any]:
        """What common_fit_params makes of it: the layers on the devices, and what of these lies elsewhere."""
        model, context, devices = self.parameters(question)
        function = self.find(FIT + FIT_END[self.build])
        function.restype = c_int
        split = (c_float * 128)()
        overrides = (Override * 4096)()
        model.tensor_buft_overrides = ctypes.cast(overrides, c_void_p)
        margins = (c_size_t * 128)(*([MARGIN] * 128))
        extra = [c_void_p(None)] if self.build >= 11549 else []
        status = function(
            question["file"].encode(),
            byref(model),
            byref(context),
            split,
            overrides,
            margins,
            c_uint32(LEAST_CONTEXT),
            *extra,
            c_int(LOG_NOTHING),
        )
        return {
            "status": status,
            "layers": model.n_gpu_layers,
            "overrides": self.overflow(overrides, devices),
            "context": context.n_ctx,
            "split": [int(part) for part in split[: len(question["memory"])]],
        }

    def buffers(self, devices: Any) -> list[int]:
        """The devices' types of buffers; at last that of system memory."""
        of_device, of_system = (
            self.find("ggml_backend_dev_buffer_type"),
            self.find("ggml_backend_cpu_buffer_type"),
        )
        of_device.restype = of_system.restype = c_void_p
        return [*(of_device(c_void_p(device)) for device in devices if device), of_system()]

    def overflow(self, overrides: Any, devices: Any) -> list[tuple[str, int]]:
        """Tensor patterns that go elsewhere than their layer: to another device, or to system memory (-1)."""
        places = self.buffers(devices)
        found: list[tuple[str, int]] = []
        for override in overrides:
            if not override.pattern:
                break
            where = places.index(override.buft)
            found.append(
                (ctypes.string_at(override.pattern).decode(), -1 if where == len(places) - 1 else where)
            )
        return found


def main() -> None:
    """Answers all questions of a file."""
    build, fake, questions, *libraries = sys.argv[1:]
    answers = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    planner = Planner(int(build), fake, libraries)
    for question in json.loads(Path(questions).read_text(encoding="utf-8")):
        made: Any = planner.decide(question) if question.get("decide") else planner.measure(question)
        os.write(answers, json.dumps(made).encode() + b"\n")


if __name__ == "__main__":
    main()
