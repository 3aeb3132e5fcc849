"""The embeddings of a served model.

As seen on v0.24.0 and v0.32.15: servers bring every vector to length 1, and cut a text that is too long unless they
are told not to. Where a model makes NaN, 0.24 answers with an error and 0.32 with zeros. Models that chat make vectors
on 0.24, too; 0.32 refuses that with 501.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.runtimes import Embeddings
from modelforge.runtimes.embedding import only_chats, vectors_of
from modelforge.runtimes.ollama_api import Refused, patiently
from modelforge.runtimes.ollama_chat import KEEP_ALIVE, seconds_in
from modelforge.runtimes.ollama_errors import asking

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from modelforge.runtimes import ParameterValue
    from modelforge.runtimes.ollama_api import OllamaApi

_NO_EMBEDDINGS = "does not support embeddings"


def embed(
    api: OllamaApi, name: str, texts: Sequence[str], options: Mapping[str, ParameterValue]
) -> Embeddings:
    """A vector for each text.

    Raises:
        SmokeFailed: the model cannot be loaded, makes no embeddings, or a text is too long.
    """
    body = {
        "model": name,
        "input": list(texts),
        "options": dict(options),
        "truncate": False,
        "keep_alive": KEEP_ALIVE,
    }
    with asking(name):
        try:
            answer = patiently(lambda: api.embed(body))
        except Refused as refused:
            if _NO_EMBEDDINGS in refused.words:
                raise only_chats(name) from refused
            raise
    load = seconds_in(answer, "load_duration")
    return Embeddings(
        vectors=vectors_of(answer.get("embeddings"), texts),
        prompt_tokens=int(answer.get("prompt_eval_count") or 0),
        seconds=max(seconds_in(answer, "total_duration") - load, 0.0),
        load_seconds=load,
    )
