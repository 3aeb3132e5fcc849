"""Profiles with one mistake each, and where it is: what the loader, the JSON Schema and editors must agree about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]

HEAD = """\
description = "A profile"
{top}

[base]
model = "./models/tiny.gguf"
{base}

[parameters]
num_ctx = 4096
{parameters}

[resolve]
{resolve}

[serve]
{serve}

[vars]
team = "x"

[hardware]
{targets}

[hardware.rtx-3060-12gb]
{override}

[[messages]]
role = "user"
content = "Hello."
{message}

[[smoke]]
name = "one"
prompt = "Add two numbers."
{expect}
{smoke}
"""
PLACES = {
    "top": (),
    "base": ("base",),
    "parameters": ("parameters",),
    "resolve": ("resolve",),
    "serve": ("serve",),
    "targets": ("hardware",),
    "override": ("hardware", "rtx-3060-12gb"),
    "message": ("messages", 0),
    "smoke": ("smoke", 0),
    "expect": ("smoke", 0, "expect"),
}
WHOLE = {"targets": 'targets = ["rtx-3060-12gb"]', "expect": "expect = { json = true }"}


def profile(**parts: str) -> str:
    """A valid profile with lines of one's own in its tables."""
    return HEAD.format(**{**dict.fromkeys(PLACES, ""), **WHOLE, **parts})


VALID = profile()


@dataclass(frozen=True)
class Spoiled:
    """A profile with a mistake. `path` is its place; `finer`, where the schema tells it, within that place."""

    id: str
    text: str
    path: KeyPath
    finer: KeyPath = ()


def spoiled(table: str, line: str, *path: str | int, finer: KeyPath = ()) -> Spoiled:
    """A mistake in a line of a table, at a path below that table; default: at the key of the line."""
    where = path or tuple(line.partition(" =")[0].split("."))
    below = where[1:] if table == "expect" else where
    return Spoiled(f"{table}: {line}", profile(**{table: line}), (*PLACES[table], *below), finer)


# Keys with a value that will not do; the place is the key.
VALUES: dict[str, tuple[str, ...]] = {
    "top": (
        "name = 'coder:latest'",
        "name = 'modelforge/staged'",
        "name = 'a b'",
        "name = ''",
        "template = ''",
        "template = '../modelfile.j2'",
        "system = ['a']",
        "system_file = 7",
        "system_file = '/etc/hostname'",
        "system_file = '~/x.md'",
        "system_file = './../x.md'",
        "license = 7",
        "license = ''",
        "license_file = 'C:/x'",
        'chat_template_file = "\\\\x"',
        "requires = 'v0.14'",
        "requires = 0.14",
        "renderer = ''",
        "parser = true",
        "adapters = 'lora.gguf'",
        "extends = ''",
        "extends = ['a', 'b']",
        "unset = 'parameters.stop'",
    ),
    "base": (
        "sizes = '7b'",
        "sizes = []",
        "variant = 7",
        "quants = []",
        "quants = 'Q8_0'",
        "tag = 'x:cloud'",
        "tag = 'LOCAL'",
        "tag = ''",
        "pattern = '{sise}'",
        "pattern = 'plain'",
        "quantize = 'Q5_K_M'",
        "insecure = 'yes'",
        "projector = ''",
        "projector = false",
        "projector = '../mmproj.gguf'",
    ),
    "parameters": (
        "temperature = 'warm'",
        "temperature = -1",
        "temperature = true",
        "temperature = inf",
        "top_p = 7",
        "top_k = 1.5",
        "num_batch = 1",
        "num_keep = -2",
        "num_predict = -3",
        "seed = 4294967296",
        "seed = '7'",
        "min_p = 1.01",
        "repeat_penalty = 11",
        "repeat_penalty = 0",
        "presence_penalty = -11",
        "use_mmap = 1",
        "stop = 'a'",
        "main_gpu = 1979-05-27",
    ),
    "resolve": (
        "prefer = 'qualty'",
        "parallel = 0",
        "parallel = '2'",
        "kv_cache = 'q8'",
        "kv_cache = 'F16'",
        "flash_attention = true",
        "headroom = '1 gobyte'",
        "headroom = 1024",
        "headroom = '-1GiB'",
        "allow_offload = 'no'",
        "min_tokens_per_second = 0",
        "engine = 'v0.32'",
        "engine = 0.32",
    ),
    "serve": ("keep_alive = '30'", "keep_alive = 30", "keep_alive = 'forever'", "kv_cache = 'f17'"),
    "targets": ("targets = 'rtx-4090'",),
    "override": (
        "parameters.num_ctx = 1",
        "base.tag = 7",
        "base.model = '../x.gguf'",
        "resolve.prefer = 'best'",
        "resolve.headroom = 'x'",
        "serve.keep_alive = 'x'",
        "system = 7",
        "unset = 3",
    ),
    "expect": (
        "expect = {}",
        "expect.contains = []",
        "expect.contains = ''",
        "expect.not_contains = 7",
        "expect.json = 'yes'",
        "expect.python = 1",
        "expect.starts_with = ''",
        "expect.max_seconds = 0",
        "expect.max_seconds = '30s'",
        "expect.loaded_on = 'GPU'",
        "expect.max_vram = '8 gigs'",
        "expect.json_schema = 'object'",
        "expect.tool_call = ''",
        "expect.tool_call = 7",
        "expect.dimensions = 0",
        "expect.dimensions = 2147483648",
        "expect.dimensions = 768.5",
        "expect.dimensions = '768'",
        "expect.dimensions = true",
    ),
    "smoke": ("runs = 0", "runs = 1.5", "min_pass = 2", "tools = 'x'", "system = 7", "parameters = []"),
}

OTHERS: tuple[Spoiled, ...] = (
    # an entry of a list
    spoiled("base", "quants = ['q8_0', 'q9_k']", "quants", 1),
    spoiled("base", "sizes = ['7b', '']", "sizes", 1),
    spoiled("parameters", "stop = ['a', 1]", "stop", 1),
    spoiled("top", "license = ['MIT', 2]", "license", 1),
    spoiled("top", "adapters = ['../lora.gguf']", "adapters", 0),
    spoiled("targets", "targets = ['rtx-4090', 'x-cloud']", "targets", 1),
    spoiled("targets", "targets = ['a b']", "targets", 0),
    spoiled("expect", "expect.contains = ['a', '']", "expect", "contains", 1),
    spoiled("expect", "expect.contains = [7]", "expect", "contains", 0),
    # an unknown key, and one in the wrong table
    spoiled("top", "sistem = 'x'"),
    spoiled("top", "num_ctx = 4096"),
    Spoiled("an unknown table", VALID + "[parameter]\n", ("parameter",)),
    spoiled("base", "models = 'x'"),
    spoiled("parameters", "temprature = 0.2"),
    spoiled("parameters", "max_tokens = 100"),
    spoiled("parameters", "mirostat = 1"),
    spoiled("parameters", "kv_cache = 'q8_0'"),
    spoiled("resolve", "num_ctx = 4096"),
    spoiled("serve", "num_parallel = 1"),
    spoiled("override", "extends = 'x'"),
    spoiled("override", "targets = ['t4']"),
    spoiled("override", "parameters.temprature = 1"),
    spoiled("message", "name = 'x'"),
    spoiled("smoke", "expects = 'x'"),
    spoiled("expect", "expect = { json = true, include = 'x' }", "expect", "include"),
    spoiled("smoke", "parameters.top_q = 1"),
    spoiled("smoke", "messages = [{ role = 'user', content = 'x', name = 'y' }]", "messages", 0, "name"),
    # a table that is none, and something else that is one
    spoiled("targets", "rtx-4090 = 3"),
    spoiled("targets", "[hardware.'a b']", "a b"),
    spoiled("targets", "[hardware.cloud]", "cloud"),
    Spoiled("base is no table", "base = 'x'\n", ("base",)),
    Spoiled("parameters is a list", "[base]\nmodel = 'x'\n[[parameters]]\nnum_ctx = 4096\n", ("parameters",)),
    Spoiled("smoke is a table", "[base]\nmodel = 'x'\n[smoke]\nname = 'x'\n", ("smoke",)),
    Spoiled("hardware is a list", "hardware = ['t4']\n[base]\nmodel = 'x'\n", ("hardware",)),
    spoiled("top", "system.text = 'x'", "system"),
    # what is needed
    Spoiled("a message without content", VALID + "[[messages]]\nrole = 'user'\n", ("messages", 1)),
    Spoiled("a role", VALID + "[[messages]]\nrole = 'bot'\ncontent = 'x'\n", ("messages", 1, "role")),
    Spoiled("no expect", VALID + "[[smoke]]\nname = 'two'\nprompt = 'x'\n", ("smoke", 1)),
    Spoiled("no prompt", VALID + "[[smoke]]\nname = 'two'\nexpect = { json = true }\n", ("smoke", 1)),
    Spoiled("no name", VALID + "[[smoke]]\nprompt = 'x'\nexpect = { json = true }\n", ("smoke", 1)),
    # a tool's call as a table: the loader tells of the whole, the schema of the part
    spoiled("expect", "expect.tool_call = { name = 1 }", "expect", "tool_call", finer=("name",)),
    spoiled(
        "expect",
        "expect.tool_call = { name = 'f', arguments = 1 }",
        "expect",
        "tool_call",
        finer=("arguments",),
    ),
    spoiled("expect", "expect.tool_call = { name = 'f', args = {} }", "expect", "tool_call", finer=("args",)),
    spoiled("expect", "expect.tool_call = {}", "expect", "tool_call"),
    # embeddings: a comparison has two texts, and there is no answer beside them
    spoiled("expect", "expect.closer_to = 'a'", "expect", "closer_to"),
    spoiled("expect", "expect.than = 'a'", "expect", "than"),
    spoiled("expect", "expect = { closer_to = '', than = 'b' }", "expect", "closer_to"),
    spoiled("expect", "expect = { closer_to = 'a', than = ['b'] }", "expect", "than"),
    *(
        spoiled("expect", f"expect = {{ {key}, {line} }}", "expect", line.partition(" ")[0])
        for key in ("dimensions = 768", "closer_to = 'a', than = 'b'")
        for line in (
            "contains = 'a'",
            "not_contains = ['a']",
            "equals = 'a'",
            "starts_with = 'a'",
            "regex = 'a'",
            "json = true",
            "json_schema = {}",
            "python = true",
            "tool_call = 'a'",
            "min_tokens_per_second = 1.0",
            "max_first_token_seconds = 1.0",
        )
    ),
    *(
        Spoiled(
            f"embeddings: {line}",
            profile(expect="expect = { dimensions = 768 }", smoke=line),
            ("smoke", 0, line.partition(" ")[0]),
        )
        for line in ("system = ''", "messages = []", "tools = []")
    ),
    # what excludes what
    spoiled("top", "system = 'a'\nsystem_file = 'README.md'", "system_file"),
    spoiled("top", "license = 'a'\nlicense_file = 'README.md'", "license_file"),
    spoiled("top", "renderer = 'a'\nchat_template_file = 'README.md'", "chat_template_file"),
    spoiled("base", "tag = 'a'\nsizes = ['7b']", "sizes"),
    spoiled("base", "tag = 'a'\nquants = ['Q8_0']", "quants"),
    spoiled("base", "tag = 'a'\nvariant = 'instruct'", "variant"),
    spoiled("base", "tag = 'a'\npattern = '{quant}'", "pattern"),
    spoiled("override", "system = 'a'\nsystem_file = 'README.md'", "system_file"),
    spoiled("override", "base.tag = 'a'\nbase.sizes = ['7b']", "base", "sizes"),
    spoiled("resolve", "flash_attention = 'off'\nkv_cache = 'q8_0'", "kv_cache"),
    spoiled("override", "resolve = { flash_attention = 'off', kv_cache = 'q4_0' }", "resolve", "kv_cache"),
)

SPOILED: tuple[Spoiled, ...] = (
    *(spoiled(table, line) for table, lines in VALUES.items() for line in lines),
    *OTHERS,
)

# What the schema cannot say, by the name that docs/how-to/editor.md has for it: only the loader refuses these.
UNSAID: dict[str, Spoiled] = {
    "what a parent may give": Spoiled("", "description = 'x'\n", ()),
    "a parent that is not there": spoiled("top", "extends = 'nobody'"),
    "an `unset` of nothing": spoiled("top", "unset = ['parameters.top_k']", "unset", 0),
    "a file that is not there": spoiled("top", "system_file = 'nothing.md'"),
    "a path that leaves the project on its way": spoiled("top", "system_file = 'a/../../x.md'"),
    "`[serve]` against `[resolve]`": spoiled("serve", "parallel = 4"),
    "a name that two tests have": Spoiled(
        "", VALID + "[[smoke]]\nname = 'one'\nprompt = 'x'\nexpect = { json = true }\n", ("smoke", 1, "name")
    ),
    "a target that stands twice": spoiled("targets", "targets = ['t4', 'T4']", "targets", 1),
    "`min_pass` above `runs`": spoiled("smoke", "runs = 2\nmin_pass = 3", "min_pass"),
    "a regular expression": spoiled("expect", "expect.regex = '(a'"),
    "a JSON schema": spoiled("expect", "expect.json_schema = { type = 'nope' }"),
    "dates, `inf` and `nan`": spoiled("expect", "expect.max_seconds = inf"),
    "a whole number with a point": spoiled("parameters", "num_batch = 512.0"),
}
