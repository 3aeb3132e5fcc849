"""The smallest model that a server takes, to lie over a broken name so that the server can delete it.

A server cannot delete a name whose manifest is empty, but it can create over it. Where there is no other model
to copy, this one does: an adapter without tensors, which 0.32 takes as it is, while it would hand a plain model
to llama-quantize, which refuses one without tensors (tried on v0.24.0 and v0.32.15).
"""

from __future__ import annotations

import hashlib
import struct
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelforge.runtimes.ollama_api import OllamaApi

_VERSION = 3
_STRING = 8
_ALIGNMENT = 32


def stub() -> bytes:
    """A GGUF file with two keys and no tensors."""
    keys = {"general.architecture": "llama", "general.type": "adapter"}
    head = b"GGUF" + struct.pack("<IQQ", _VERSION, 0, len(keys))
    body = b"".join(_text(key) + struct.pack("<I", _STRING) + _text(value) for key, value in keys.items())
    return head + body + bytes(-len(head + body) % _ALIGNMENT)


def create_stub(api: OllamaApi, name: str) -> None:
    """Creates it under `name`. May raise the API's `Refused`."""
    data = stub()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with tempfile.TemporaryDirectory(prefix="modelforge-") as folder:
        file = Path(folder) / "stub.gguf"
        file.write_bytes(data)
        if not api.has_blob(digest):
            api.upload(digest, file, lambda _done: None)
    api.create({"model": name, "files": {"stub.gguf": digest}})


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()
