"""What versions of Ollama know of a model's settings, and what they pass over without a word.

From the source of v0.24.0, the last with engines of its own, and of v0.32.15, where llama.cpp's server runs every
GGUF (since v0.30.0; there is no release between). tests/live/test_dead_settings_live.py holds it against both servers.

- Parameters: `api.Options` and `api.Runner` in api/types.go. A name that is not there is logged ("invalid option
  provided") and dropped, at each request.
- v0.24.0 has two engines. Its own, for the architectures of `OllamaEngineRequired` (fs/ggml/ggml.go) unless the model
  has a projector in a file of its own (`NewLlamaServer` in llm/server.go), gives its sampler the temperature, top_k,
  top_p, min_p and the seed alone (runner/ollamarunner/runner.go), and reads neither `UseMmap` nor `MainGPU`. The other
  one, llama.cpp's, takes all (runner/llamarunner/runner.go).
- v0.32.15 hands all parameters on (`llamaServerChatRequest` and the arguments in llm/llama_server.go), but
  `draft_num_predict` only to models with draft layers (`appendDraftArgs`), and llama-server refuses a negative
  `repeat_last_n`, which Ollama's documentation still takes for the whole context.
- `rendererForName` in model/renderers/renderer.go fails each chat for a name that it does not have. `ParserForName` in
  model/parsers/parsers.go finds nothing for one, and answers then pass unparsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

Version: TypeAlias = tuple[int, int]
"""Major and minor."""

LLAMA_SERVER: Version = (0, 30)
"""The first version without engines of its own: it starts llama-server, which plans and runs by itself."""
OWN_ENGINE_READ: Version = (0, 24)
"""The version whose own engine was read; which architectures older ones run on theirs is not known here."""
REFUSES_WHOLE_CONTEXT: Version = (0, 32)
"""From its last releases on `repeat_last_n = -1` fails every request (seen with v0.32.15, llama.cpp b10488)."""

READ: tuple[Version, ...] = ((0, 24), (0, 32))
"""The versions whose source was read for the names below."""

SINCE: Mapping[str, Version] = {"draft_num_predict": LLAMA_SERVER}
"""Parameters that older versions do not know."""

_OWN_ENGINE = (
    "bert deepseek2 deepseekocr gemma3 gemma3n gemma4 glm4moelite glmocr gpt-oss gptoss laguna lfm2 lfm2moe llama4 "
    "mistral3 mllama nemotron_h nemotron_h_moe nemotron_h_omni nomic-bert olmo3 qwen25vl qwen3 qwen35 qwen35moe "
    "qwen3moe qwen3next qwen3vl qwen3vlmoe"
)
OWN_ENGINE = frozenset(_OWN_ENGINE.split())
"""Architectures (`general.architecture`) that v0.24.0 runs on its own engine."""
UNREAD_BY_OWN_ENGINE = frozenset(
    {
        "frequency_penalty",
        "main_gpu",
        "presence_penalty",
        "repeat_last_n",
        "repeat_penalty",
        "typical_p",
        "use_mmap",
    }
)
"""Parameters that this engine takes and never looks at."""

_RENDERERS_24 = (
    "cogito deepseek3.1 functiongemma gemma4 gemma4-large gemma4-small glm-4.7 glm-ocr laguna lfm2 lfm2-thinking "
    "nemotron-3-nano olmo3 olmo3-32b-think olmo3-think olmo3.1 qwen3-coder qwen3-vl-instruct qwen3-vl-thinking qwen3.5"
)
_PARSERS_24 = (
    "cogito deepseek3 functiongemma gemma4 gemma4-no-thinking glm-4.7 glm-ocr harmony laguna lfm2 lfm2-thinking "
    "ministral nemotron-3-nano olmo3 olmo3-think passthrough qwen3 qwen3-coder qwen3-thinking qwen3-vl-instruct "
    "qwen3-vl-thinking qwen3.5"
)
_RENDERERS: Mapping[Version, frozenset[str]] = {
    (0, 24): frozenset(_RENDERERS_24.split()),
    (0, 32): frozenset(
        f"{_RENDERERS_24} cohere glimmer nemotron-3.5-nano ornith poolside-v1 qwen3.8".split()
    ),
}
_PARSERS: Mapping[Version, frozenset[str]] = {
    (0, 24): frozenset(_PARSERS_24.split()),
    (0, 32): frozenset(f"{_PARSERS_24} cohere glimmer nemotron-3.5-nano ornith poolside-v1".split()),
}


def renderers(version: Version) -> frozenset[str] | None:
    """The names of renderers that a version may have built in; None for versions that are newer than those read."""
    return _names(_RENDERERS, version)


def parsers(version: Version) -> frozenset[str] | None:
    """The names of parsers that a version may have built in; None for versions that are newer than those read."""
    return _names(_PARSERS, version)


def _names(known: Mapping[Version, frozenset[str]], version: Version) -> frozenset[str] | None:
    """Those of the first version read that is not older: names are added, none has gone."""
    return next((known[read] for read in sorted(known) if read >= version), None)
