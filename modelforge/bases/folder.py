"""A candidate that is a folder of safetensors, as Hugging Face stores a model; a server converts it.

Which files there are is read as `ollama create` does it (ollama parser/parser.go `filesForModel`); sent are those
that its converter reads.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from modelforge.bases import Candidate, LocalFolder
from modelforge.bases.headers import size_of
from modelforge.bases.quantized import known_digest, made_of, made_quant
from modelforge.converted import converted_header
from modelforge.errors import BaseProblem, ForgeError, Problem, UsageProblem
from modelforge.safetensors import SafeTensor, read_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.filehash import Hashes
    from modelforge.gguf import Header
    from modelforge.profile.schema import Base

CONFIG = "config.json"
TEMPLATE = "chat_template.jinja"
INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model")
_READ = (
    CONFIG,
    *_TOKENIZERS,
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""What the converter reads beside the weights."""
_LARGEST_JSON = 64 << 20
_TORCH = ("pytorch_model*.bin", "consolidated*.pth", "*.pt", "*.pth")


def folder_candidate(base: Base, path: Path, ref: str, *, root: Path, hashes: Hashes) -> Candidate:
    """The one candidate that a folder is.

    Args:
        base: the profile's base; `quantize` is what is to be made of the model.
        path: the folder.
        ref: what people call it, `./models/tiny-hf`.
        root: the project's folder, which no file may leave.
        hashes: for digests that are known already; nothing is hashed here.

    Raises:
        UsageProblem: a file lies outside of the project.
        BaseProblem: it is no model that Ollama converts, or one that cannot be planned for.
    """
    try:
        names = _files(path, ref)
        _confine(path, names, ref, root)
        stamps = tuple(_stamp(path / name) for name in names)
        header = _header_once(path, names, ref, stamps)
        shape, asked = made_of(header, base)
    except OSError as error:
        raise _problem(ref, f"cannot be read: {error.strerror}", "check its permissions") from None
    except ForgeError as error:
        if isinstance(error, UsageProblem) and not isinstance(error, BaseProblem):
            raise
        raise BaseProblem(problems=[_placed(problem, ref) for problem in error.problems]) from None
    if asked == "F16":
        hint = "take \"BF16\", or leave 'quantize' out: the server keeps the weights as they are"
        raise _problem(ref, "is BF16, which Ollama's converter calls F16 and leaves as it is", hint)
    source = LocalFolder(path=path, files=names, bytes=sum(size for _, size, *_ in stamps))
    found = Candidate(
        ref=ref,
        size=size_of(header, base.sizes, path.name) or size_of(header, None, ""),
        quant=made_quant(base, header),
        digest=None,
        source=source,
        shape=shape,
        quantize=asked,
    )
    return replace(found, digest=known_digest(found, hashes))


def _files(path: Path, ref: str) -> tuple[str, ...]:
    """The names of all files that a server is to be sent."""
    if (path / "adapter_config.json").exists():
        raise _problem(
            ref,
            "holds an adapter, not a model",
            "convert it with llama.cpp's convert_lora_to_gguf.py, and name the file under 'adapters'",
        )
    weights = _weights(path, ref)
    if not (path / CONFIG).is_file():
        hint = "copy the whole folder of the model: its config.json and tokenizer belong to it"
        raise _problem(ref, f"has no {CONFIG}", hint)
    if not any((path / name).is_file() for name in _TOKENIZERS):
        raise _problem(ref, "has no tokenizer", f"copy the model's {' or '.join(_TOKENIZERS)} into it")
    return tuple(sorted({*weights, *(name for name in _READ if (path / name).is_file())}))


def _weights(path: Path, ref: str) -> tuple[str, ...]:
    """The weight files: those that the index names, else all that are called `model*.safetensors`."""
    if (path / INDEX).is_file():
        return _indexed(path, ref)
    found = sorted(file.name for file in path.glob("model*.safetensors") if file.is_file())
    if found:
        return tuple(found)
    if any(path.glob("*.gguf")):
        raise _problem(ref, "is a folder, not a GGUF file", f"name the file, or {ref}/*.gguf")
    torch = next((file.name for pattern in _TORCH for file in sorted(path.glob(pattern))), None)
    if torch:
        hint = "save it as safetensors, or convert it with llama.cpp's convert_hf_to_gguf.py"
        raise _problem(ref, f"has {torch}, a PyTorch file, which Ollama does not convert", hint)
    hint = f"name a GGUF file, or {ref}/*.gguf, or a folder with config.json and model.safetensors"
    raise _problem(ref, "is a folder without a model", hint)


def _indexed(path: Path, ref: str) -> tuple[str, ...]:
    index = _json(path / INDEX, f"{ref}/{INDEX}")
    places = index.get("weight_map")
    names = set(places.values()) if isinstance(places, dict) and places else set()
    if not names or not all(isinstance(name, str) and name.endswith(".safetensors") for name in names):
        raise _problem(f"{ref}/{INDEX}", "has no 'weight_map' of files", "download it again")
    for name in sorted(names):
        if "/" in name or "\\" in name:
            raise _problem(
                f"{ref}/{INDEX}", f"names {name!r}, which is not in the folder", "download it again"
            )
        if not (path / name).exists():
            raise _problem(f"{ref}/{INDEX}", f"names {name}, which is not there", "download the missing file")
    return tuple(sorted(names))


def _confine(path: Path, names: tuple[str, ...], ref: str, root: Path) -> None:
    inside = root.resolve()
    for name in ("", *names):
        target = (path / name).resolve()
        if not target.is_relative_to(inside):
            hint = "copy the files into the project: paths may not leave it, by links neither"
            shown = f"{ref}/{name}".rstrip("/")
            raise UsageProblem(f"{shown} is a link to {target}, outside of the project", hint=hint)


def _stamp(path: Path) -> tuple[str, int, int, int]:
    """What tells that a file is still the same, its size second."""
    now = path.stat()
    return (path.name, now.st_size, now.st_ino, now.st_mtime_ns)


@lru_cache(maxsize=32)
def _header_once(
    path: Path, names: tuple[str, ...], ref: str, _stamps: tuple[tuple[str, int, int, int], ...]
) -> Header:
    """The header, made once however many targets a command plans for, as long as the files stay the same."""
    config = _json(path / CONFIG, f"{ref}/{CONFIG}")
    tensors: list[SafeTensor] = []
    for name in names:
        if name.endswith(".safetensors"):
            tensors += read_safetensors(path / name, f"{ref}/{name}")
    tokenizer = next(name for name in _TOKENIZERS if name in names)
    return converted_header(config, tensors, vocabulary_bytes=(path / tokenizer).stat().st_size)


def has_no_template(source: LocalFolder) -> bool:
    """Whether the chat template is in a file of its own, which the converter does not read."""
    if not (source.path / TEMPLATE).is_file():
        return False
    try:
        told = json.loads((source.path / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return not (isinstance(told, dict) and told.get("chat_template"))


def _json(path: Path, name: str) -> dict[str, Any]:
    if path.stat().st_size > _LARGEST_JSON:
        raise _problem(name, "is too large", "is it the right file?")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _problem(name, f"is no JSON: {str(error)[:120]}", "download it again") from None
    if not isinstance(found, dict):
        raise _problem(name, "is no JSON object", "download it again")
    return found


def _problem(file: str, message: str, hint: str) -> BaseProblem:
    problem = Problem(message=message, kind=BaseProblem.kind, file=file, hint=hint)
    return BaseProblem(problems=(problem,))


def _placed(problem: Problem, ref: str) -> Problem:
    return problem if problem.file else replace(problem, file=ref)
