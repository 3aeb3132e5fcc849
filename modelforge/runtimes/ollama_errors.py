"""What a server's refusal means for the user: which error it is, and what to do about it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from modelforge.errors import BuildFailed, SmokeFailed, Unreachable
from modelforge.http import CutOff
from modelforge.runtimes.ollama_api import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOO_LONG = "raise num_ctx (and num_batch where it is set) as far as the model goes, or take shorter texts"
_NOT_FINITE = "the model makes NaN or inf of this: its weights are damaged, or too large for its quant"
_HINTS = (
    ("no space left on device", "make room on the server's disk"),
    ("read-only file system", "the server's store cannot be written: look at its OLLAMA_MODELS"),
    ("permission denied", "the server may not write to its store: look at its OLLAMA_MODELS"),
    ("digest mismatch", "the file changed while it was sent: try again"),
    (
        "llama-quantize",
        "the file is damaged, of an architecture that this Ollama does not know, or its disk is full",
    ),
    ("unable to load model", "this Ollama may not know the architecture: upgrade it"),
    ("requires more system memory", "take a smaller candidate, or a smaller num_ctx"),
    ("template error", "the chat template is no valid Go template"),
    ("exceeds the context length", _TOO_LONG),
    ("json: unsupported value", _NOT_FINITE),
    ("NaN or Inf", _NOT_FINITE),
    ("does not support chat", "if it is an embedding model, test that: expect = { closer_to = …, than = … }"),
    ("does not support tools", "the model's template has no place for tools: leave out the test's tools"),
)


def hint_for(words: str) -> str:
    """What to do about a server's error."""
    return next((hint for text, hint in _HINTS if text in words), "look at the server's log")


@contextmanager
def reading(endpoint: str) -> Iterator[None]:
    """Around calls that only read: a server that will not answer them is as good as none.

    Raises:
        Unreachable: in place of `Refused`.
    """
    try:
        yield
    except Refused as refused:
        raise Unreachable(
            f"the Ollama at {endpoint} refuses: {refused.words}", hint=hint_for(refused.words)
        ) from refused


@contextmanager
def writing(endpoint: str, what: str) -> Iterator[None]:
    """Around calls that write: a refusal, or a server that dies meanwhile, is a failed build.

    Raises:
        BuildFailed: in place of `Refused` and `CutOff`.
    """
    try:
        yield
    except Refused as refused:
        raise BuildFailed(
            f"the Ollama at {endpoint} could not {what}: {refused.words}", hint=hint_for(refused.words)
        ) from refused
    except CutOff as error:
        raise BuildFailed(
            f"the Ollama at {endpoint} did not {what}: {error.reason}",
            hint="look at the server's log, start it again if it died, then run the same command",
        ) from error


@contextmanager
def asking(name: str) -> Iterator[None]:
    """Around questions to a model: a refusal, or a server that dies meanwhile, is a failed test.

    Raises:
        SmokeFailed: in place of `Refused`, `CutOff`, and of what UTF-8 cannot carry.
    """
    try:
        yield
    except Refused as refused:
        raise SmokeFailed(
            f"{name} does not answer: {refused.words}", hint=hint_for(refused.words)
        ) from refused
    except UnicodeEncodeError as error:
        raise SmokeFailed(f"the question is no text that UTF-8 can carry: {error}") from error
    except CutOff as error:
        hint = "look at the server's log; a model may need longer to load than the timeout allows"
        raise SmokeFailed(f"{name} does not answer: {error.reason}", hint=hint) from error
