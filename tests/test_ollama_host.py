from __future__ import annotations

import pytest

from modelforge.errors import UsageProblem
from modelforge.runtimes.ollama_host import parse_host


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  'gpu-box' ", "http://gpu-box:11434"),
        ("gpu-box:8080", "http://gpu-box:8080"),
        (":11500", "http://127.0.0.1:11500"),
        ("http://gpu-box", "http://gpu-box:80"),
        ("https://gpu-box", "https://gpu-box:443"),
        ("HTTPS://gpu-box:8443/", "https://gpu-box:8443"),
        ("https://example.com/ollama/", "https://example.com:443/ollama"),
        ("gpu-box:8080/ollama", "http://gpu-box:8080/ollama"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9", "http://127.0.0.1:9"),
        ("[::]:9", "http://[::1]:9"),
        ("::1", "http://[::1]:11434"),
        ("[::1]", "http://[::1]:11434"),
        ("[fd00::1]:80", "http://[fd00::1]:80"),
        ("host_with_underscore", "http://host_with_underscore:11434"),
    ],
)
def test_an_address_reads_as_ollama_reads_it(text: str, url: str) -> None:
    assert parse_host(text, "OLLAMA_HOST").url == url


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("gpu-box:x", "the port 'x'"),
        ("gpu-box:70000", "the port '70000'"),
        ("gpu-box:0", "the port '0'"),
        ("ftp://gpu-box", "unknown scheme 'ftp'"),
        ("gpu box", "no host name"),
        ("fd00::1::2:80", "no host name"),
        ("gpu-box\n:1", "no host name"),
    ],
)
def test_what_is_no_address_names_its_source_and_the_form(text: str, reason: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_host(text, "OLLAMA_HOST")
    assert caught.value.exit_code == 2
    assert "OLLAMA_HOST" in str(caught.value)
    assert reason in str(caught.value)
    assert "HOST[:PORT]" in (caught.value.problems[0].hint or "")


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_host("http://me:hunter2@gpu-box", "--host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("", True),
        ("localhost", True),
        ("127.8.0.1:1", True),
        ("::1", True),
        ("0.0.0.0", True),
        ("10.0.0.1", False),
    ],
)
def test_loopback_is_known(text: str, loopback: bool) -> None:  # noqa: FBT001
    assert parse_host(text, "--host").loopback is loopback


def test_display_leaves_out_what_everybody_knows() -> None:
    assert parse_host("http://gpu-box:11434", "--host").display == "gpu-box:11434"
    assert parse_host("https://gpu-box", "--host").display == "https://gpu-box:443"
