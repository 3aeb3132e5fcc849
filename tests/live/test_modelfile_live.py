"""The truth about Modelfile text: what `ollama create -f` on real servers makes of it, against `as_ollama_reads`."""

from __future__ import annotations

import json
import re
import subprocess  # noqa: TID251 (runs the real command; not part of the product)
from typing import TYPE_CHECKING, Any

import pytest

from modelforge.errors import TemplateProblem
from modelforge.modelfile import Modelfile, Turn, as_ollama_reads, format_modelfile, losses
from modelforge.printable import without_dropped
from tests.live.servers import OLD
from tests.prompts import HARD_PROMPTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.servers import Server

pytestmark = pytest.mark.live

# Instructions after `FROM base`, as somebody may write them by hand.
TEXTS = [
    "SYSTEM",
    "SYSTEM ",
    'SYSTEM ""',
    "SYSTEM \u00a0",
    "\u00a0SYSTEM x",
    "\u00a0 SYSTEM x",
    "SYS\u00a0TEM x",
    "sYsTeM x",
    "\u017fYSTEM x",
    "SYSTEM\tx",
    'SYSTEM "x" y\nLICENSE z"',
    'SYSTEM "x"\u00a0',
    'SYSTEM """x\ny"""\u00a0\nLICENSE z',
    'SYSTEM """\r\nx\r\n"""\r\nLICENSE z\r\n',
    'SYSTEM """x""" y\nLICENSE """',
    'SYSTEM "a\n\nb"',
    'SYSTEM """""\n"\n"""',
    "SYSTEM 'x'",
    "SYSTEM x # y\n# LICENSE a\n  # b",
    "SYSTEM x\rLICENSE y",
    "SYSTEM x\nSYSTEM y",
    "SYSTEM \u4f60\u3000\u597d",
    "LICENSE a\nLICENSE a\nLICENSE b",
    "PARAMETER temperature 0.123456789\nPARAMETER top_p 1e-7\nPARAMETER min_p .5",
    "PARAMETER temperature 1e39",
    "PARAMETER temperature 0x1p-2_",
    "PARAMETER top_k +5\nPARAMETER seed 9007199254740993",
    "PARAMETER num_ctx 1e3",
    "PARAMETER num_ctx 9223372036854775808",
    "PARAMETER use_mmap T",
    "PARAMETER use_mmap yes",
    'PARAMETER stop a\nPARAMETER stop " b"\nPARAMETER stop a',
    "PARAMETER stop \u00a0",
    "PARAMETER  seed 1",
    "PARAMETER seed  1",
    "PARAMETER mirostat 1",
    "PARAMETER numa true",
    "PARAMETER system x",
    "PARAMETER license x",
    "PARAMETER message user: x",
    'MESSAGE user hello: you\nMESSAGE assistant """ hi\n"""\nMESSAGE system x',
    'MESSAGE user ""',
    "MESSAGE User x",
    "MESSAGE  user x",
    "REQUIRES v0.14.0",
    "REQUIRES 0.14",
    "REQUIRES latest",
    "REQUIRES 01.2.3",
    "RENDERER qwen3-coder\nPARSER qwen3-coder",
    'RENDERER ""\nTEMPLATE ""',
    'TEMPLATE """{{ .System }}\n{{ .Prompt }}"""',
    "1SYSTEM x",
    'SYSTEM """',
]


@pytest.fixture
def base(server: Server, tiny: Path) -> str:
    """A model on the server that the others are made FROM."""
    assert create(server, "base", f"FROM {tiny}\n") is None
    return "base"


def create(server: Server, name: str, text: str) -> str | None:
    """Runs `ollama create`; None if it worked, else what it wrote."""
    file = server.folder / "Modelfile"
    file.write_bytes(text.encode())
    done = subprocess.run(
        [str(server.binary), "create", name, "-f", str(file)],
        env=server.environment,
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return None if done.returncode == 0 else done.stderr


def layers(server: Server, name: str) -> Iterator[tuple[str, bytes]]:
    """Kind and bytes of the layers of a model, as they are in the store, but for the weights."""
    manifest = server.models / "manifests/registry.ollama.ai/library" / name / "latest"
    parsed = json.loads(manifest.read_bytes())
    for layer in [*parsed["layers"], parsed["config"]]:
        kind = layer["mediaType"].rpartition(".")[2]
        if kind != "model":
            yield kind, (server.models / "blobs" / layer["digest"].replace(":", "-")).read_bytes()


def standing(server: Server, name: str) -> dict[str, Any]:
    """What a model has, from the bytes in the store."""
    found: dict[str, Any] = {"license": [], "parameters": {}, "messages": []}
    for kind, content in layers(server, name):
        if kind == "license":
            found["license"].append(content.decode())
        elif kind == "params":
            found["parameters"] = json.loads(content)
        elif kind == "messages":
            found["messages"] = [(turn["role"], turn["content"]) for turn in json.loads(content)]
        elif kind.endswith("json"):
            config = json.loads(content)
            found |= {key: config[key] for key in ("renderer", "parser", "requires") if key in config}
        else:
            found[kind] = content.decode()
    return found


def predicted(read: Modelfile, base: dict[str, Any]) -> dict[str, Any]:
    """What a model made FROM `base` has, if Ollama reads the text so."""
    own = {
        name: value
        for name in ("system", "template", "renderer", "parser", "requires")
        if (value := getattr(read, name)) is not None
    }
    parameters = {
        name: list(value) if isinstance(value, tuple) else value for name, value in read.parameters.items()
    }
    return (
        base
        | own
        | {
            "license": base["license"] + list(read.license),
            "parameters": base["parameters"] | parameters,
            "messages": [(turn.role, turn.content) for turn in read.messages] or base["messages"],
        }
    )


def read_or_none(text: str) -> Modelfile | None:
    try:
        return as_ollama_reads(text)
    except TemplateProblem:
        return None


def test_texts_are_read_as_predicted(server: Server, base: str) -> None:
    before = standing(server, base)
    wrong: dict[str, object] = {}
    for text in TEXTS:
        whole = f"FROM {base}\n{text}"
        read, failed = read_or_none(whole), create(server, "made", whole)
        if failed is None and read is not None:
            got, expected = standing(server, "made"), predicted(read, before)
            if got != expected:
                wrong[text] = (got, expected)
        elif (failed is None) != (read is not None):
            wrong[text] = (failed or standing(server, "made"), read)
    assert wrong == {}


def test_hard_prompts_are_read_as_predicted_and_losses_are_true(server: Server, base: str) -> None:
    before = standing(server, base)
    wrong: dict[str, object] = {}
    for name, prompt in HARD_PROMPTS.items():
        modelfile = Modelfile(
            from_=base,
            system=prompt,
            license=(prompt,),
            messages=(Turn(role="user", content=prompt),),
            parameters={"stop": (prompt, "x"), "temperature": 0.7},
        )
        text = format_modelfile(modelfile)
        read, failed = read_or_none(text), create(server, "made", text)
        got = None if failed is not None else standing(server, "made")
        if got != (read and predicted(read, before)):
            wrong[name] = (failed or got, read)
        if (losses(modelfile) == ()) != (got == predicted(modelfile, before)):
            wrong[f"losses of {name}"] = (losses(modelfile), got)
    assert wrong == {}


def test_every_character_is_dropped_or_kept_as_predicted(server: Server, base: str) -> None:
    """All code points but the surrogates, in one text of 4 MB; servers built with Go 1.21 to 1.26."""
    line_ends = re.compile(r"[\r\n\"]")
    every = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    text = "x" + line_ends.sub("", every) + "x"
    assert create(server, "every", f"FROM {base}\nSYSTEM {text}\n") is None
    assert standing(server, "every")["system"] == without_dropped(text)


def test_a_parameter_of_newer_servers_is_refused_by_older_ones(server: Server, base: str) -> None:
    failed = create(server, "made", f"FROM {base}\nPARAMETER draft_num_predict 4\n")
    assert ("unknown parameter" in failed if failed else False) == (server.version == OLD)


def test_what_the_server_shows_is_what_is_in_the_store(server: Server, base: str) -> None:
    assert create(server, "made", f'FROM {base}\nSYSTEM """ a\u200d\r\nb """\nMESSAGE user hi\n') is None
    _status, text = server.call("POST", "/api/show", {"model": "made"})
    shown = json.loads(text)
    assert shown["system"] == standing(server, "made")["system"] == " a\r\nb "
    assert [(turn["role"], turn["content"]) for turn in shown["messages"]] == [("user", "hi")]
