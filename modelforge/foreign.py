"""What a file is that was taken for a GGUF file, by its first bytes, and what to do about it."""

from __future__ import annotations

_ARCHIVE = "unpack it"
_DOWNLOAD = "download it again"
_OLD = "made for a llama.cpp of before August 2023: convert the original weights anew"
_PYTORCH = "convert it to GGUF first (llama.cpp's convert_hf_to_gguf.py)"
_SAFETENSORS = (
    "name the folder it is in, if it is a model; convert an adapter (llama.cpp's convert_lora_to_gguf.py)"
)

_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it: git lfs pull"),
    (b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint", _PYTORCH),
    (b"\x80\x02", "a PyTorch pickle", _PYTORCH),
    (b"\x80\x03", "a Python pickle", _PYTORCH),
    (b"\x80\x04", "a Python pickle", _PYTORCH),
    (b"\x1f\x8b", "a gzip archive", _ARCHIVE),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _ARCHIVE),
    (b"\xfd7zXZ", "an xz archive", _ARCHIVE),
    (b"7z\xbc\xaf", "a 7z archive", _ARCHIVE),
    (b"\x89HDF", "an HDF5 file", _PYTORCH),
    (b"lmgg", "a GGML file, GGUF's forerunner", _OLD),
    (b"fmgg", "a GGMF file, GGUF's forerunner", _OLD),
    (b"tjgg", "a GGJT file, GGUF's forerunner", _OLD),
    (b"algg", "a GGLA adapter, GGUF's forerunner", _OLD),
    (b"FUGG", "a GGUF file with its bytes swapped", _DOWNLOAD),
)
_SAFETENSORS_LIMIT = 100_000_000


def looks_like(head: bytes) -> tuple[str, str]:
    """What the bytes at a file's start are the start of, and a hint what to do; both end in no full stop.

    Args:
        head: the first bytes, 16 or more where the file has them; 256 are enough.
    """
    for beginning, what, hint in _BEGINNINGS:
        if head.startswith(beginning):
            return what, hint
    if _is_safetensors(head):
        return "a safetensors file", _SAFETENSORS
    return _text_or_bytes(head)


def _is_safetensors(head: bytes) -> bool:
    """Eight bytes of length, then that much JSON; the format's own limit is 100 MB."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _SAFETENSORS_LIMIT


def _text_or_bytes(head: bytes) -> tuple[str, str]:
    if not head.strip(b"\0"):
        return "nothing but zeros at its start, as an unfinished download", _DOWNLOAD
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return (
            "a web page, as a server sends it in place of a file",
            f"{_DOWNLOAD}, signed in where that is needed",
        )
    if text.startswith((b"{", b"[")):
        return "JSON", "name the .gguf file itself"
    if all(byte >= 0x20 or byte in b"\t\r\n" for byte in head):  # noqa: PLR2004 (below are control characters)
        return "text", "name the .gguf file itself"
    return f"unknown data, it begins with {head[:4].hex(' ')}", _DOWNLOAD
