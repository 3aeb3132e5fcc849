from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from modelforge.errors import ExitCode, Problem, ProfileProblem, UsageProblem
from modelforge.profile.load import load_profile, profile_names, shipped_names
from modelforge.project import find_project
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from modelforge.profile import Profile

BASE = '[base]\nmodel = "./models/tiny-*.gguf"\n'


def load(root: Path, files: Mapping[str, str | bytes], name: str = "coder") -> Profile:
    return load_profile(find_project(write_tree(root, files), environment={}), name)


def problems(root: Path, files: Mapping[str, str | bytes], name: str = "coder") -> tuple[Problem, ...]:
    with pytest.raises(ProfileProblem) as caught:
        load(root, files, name)
    assert caught.value.exit_code == ExitCode.USAGE
    return caught.value.problems


def shown(root: Path, files: Mapping[str, str | bytes]) -> list[str]:
    return [f"{problem.place}: {problem.message}" for problem in problems(root, files)]


def marked(problem: Problem) -> str:
    """What the caret line would underline."""
    assert problem.source is not None
    assert problem.column is not None
    return problem.source[problem.column - 1 : problem.column - 1 + problem.width]


@pytest.mark.parametrize("quantize", ["q4_K_M", "Q4_K", "q8_0", "bf16", "F16"])
def test_quants_that_ollama_makes_in_any_case(tmp_path: Path, quantize: str) -> None:
    text = f"{BASE}quantize = '{quantize}'\n"
    assert load(tmp_path, {"profiles/coder.toml": text}).base.quantize == quantize
    listed = f"{text}quants = ['F16', 'Q4_K_M', 'Q8_0', 'BF16']\n"
    assert load(tmp_path, {"profiles/coder.toml": listed}).base.quants


def test_a_profile_with_everything(tmp_path: Path) -> None:
    text = """\
        description = "Pair programmer"
        name = "team/coder"
        template = "own.j2"
        system = '''Say "hi".'''
        license = "MIT"
        adapters = ["models/lora.gguf"]
        requires = "0.14.0"
        renderer = "qwen3"
        parser = "qwen3"

        [base]
        model = "qwen2.5-coder"
        sizes = ["14b", "7b"]
        variant = "instruct"
        quants = ["q8_0", "Q4_K_M"]

        [parameters]
        num_ctx = 16384
        temperature = 1
        stop = ["</s>"]

        [resolve]
        prefer = "speed"
        headroom = "2GiB"
        kv_cache = "q8_0"
        engine = "0.32"

        [hardware]
        targets = ["rtx-4090", "rtx-3060-12gb"]
        [hardware.rtx-3060-12gb]
        parameters.num_ctx = 8192
        system = "Be short."

        [serve]
        keep_alive = "30m"
        kv_cache = "q8_0"

        [vars]
        team = "platform"

        [[messages]]
        role = "user"
        content = "Hello"

        [[smoke]]
        name = "adds"
        prompt = "Add."
        expect = { contains = ["def "], python = true, tool_call = { name = "add", arguments = { a = 1 } } }
        runs = 3
        min_pass = 2
        """
    files = {"profiles/coder.toml": text, "templates/own.j2": "", "models/lora.gguf": "GGUF"}
    profile = load(tmp_path, files)
    assert (profile.name, profile.model_name, profile.file) == ("coder", "team/coder", "profiles/coder.toml")
    assert (profile.system, profile.license, profile.chat_template) == ('Say "hi".', ("MIT",), None)
    assert profile.adapters == (tmp_path / "models/lora.gguf",)
    assert profile.parameters.model_dump(exclude_unset=True) == {
        "num_ctx": 16384,
        "temperature": 1.0,
        "stop": ("</s>",),
    }
    assert profile.smoke[0].expect.tool_call == {"name": "add", "arguments": {"a": 1}}
    assert profile.targets == ("rtx-4090", "rtx-3060-12gb")
    assert profile.on("rtx-4090") is profile
    small = profile.on("rtx-3060-12gb")
    assert (small.parameters.num_ctx, small.parameters.stop, small.system) == (8192, ("</s>",), "Be short.")
    assert small.overrides == {}


def test_a_profile_that_says_little_leaves_the_rest_to_the_base(tmp_path: Path) -> None:
    profile = load(tmp_path, {"profiles/coder.toml": BASE})
    assert profile.model_name == "coder"
    assert profile.system is None
    assert profile.parameters.model_dump(exclude_none=True) == {}
    assert (profile.license, profile.adapters, profile.smoke, profile.targets) == ((), (), (), ())


# -- mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "mark", "hint"),
    [
        pytest.param(
            BASE + "[parameters]\ntemprature = 0.2",
            "4:1: unknown key 'temprature' in [parameters]",
            "temprature",
            "did you mean 'temperature'?",
            id="unknown key",
        ),
        pytest.param(
            "sistem = 'x'\n" + BASE,
            "1:1: unknown key 'sistem'",
            "sistem",
            "did you mean 'system'?",
            id="unknown key at the top",
        ),
        pytest.param(
            BASE + "system = 'x'",
            "3:1: unknown key 'system' in [base]",
            "system",
            "'system' belongs at the top of the file, before the first [table]",
            id="key of the top in a table",
        ),
        pytest.param(
            "num_ctx = 4096\n" + BASE,
            "1:1: unknown key 'num_ctx'",
            "num_ctx",
            "'num_ctx' belongs in [parameters]",
            id="key of a table at the top",
        ),
        pytest.param(
            BASE + "[[smoke]]\nname = 'a'\nprompt = 'b'\nexpect = { contains = 'x' }\nregex = 'x'",
            "7:1: unknown key 'regex' in [[smoke]]",
            "regex",
            "'regex' belongs in 'expect'",
            id="expectation outside of expect",
        ),
        pytest.param(
            BASE + "[parameters]\nmirostat = 2",
            "4:1: unknown key 'mirostat' in [parameters]",
            "mirostat",
            "ignored by Ollama since 0.7: remove it",
            id="ignored parameter",
        ),
        pytest.param(
            BASE + "[parameters]\nnum_gqa = 8",
            "4:1: unknown key 'num_gqa' in [parameters]",
            "num_gqa",
            "Ollama does not know it any more: remove it",
            id="removed parameter",
        ),
        pytest.param(
            BASE + "[parameters]\nmax_tokens = 8",
            "4:1: unknown key 'max_tokens' in [parameters]",
            "max_tokens",
            "Ollama calls it 'num_predict'",
            id="parameter by another tool's name",
        ),
        pytest.param(
            BASE + '[parameters]\nnum_ctx = "big" # no',
            "4:11: 'num_ctx' is \"big\", expected an integer from 4 to 16777216",
            '"big"',
            None,
            id="wrong type",
        ),
        pytest.param(
            BASE + "[parameters]\nseed = 1.5",
            "4:8: 'seed' is 1.5, expected an integer from -1 to 4294967295",
            "1.5",
            None,
            id="a float is no integer",
        ),
        pytest.param(
            BASE + "[parameters]\ntemperature = true",
            "4:15: 'temperature' is true, expected a number from 0 to 10",
            "true",
            None,
            id="a boolean is no number",
        ),
        pytest.param(
            BASE + "[parameters]\ntop_p = 7",
            "4:9: 'top_p' is 7, expected a number from 0 to 1",
            "7",
            None,
            id="out of range",
        ),
        pytest.param(
            BASE + "[parameters]\nstop = ['a', 1]",
            "4:14: an entry of 'stop' is 1, expected a string",
            "1",
            None,
            id="entry of a list",
        ),
        pytest.param(
            BASE + "[parameters]\nstop = ['']",
            "4:9: an entry of 'stop' is \"\", expected a string that is not empty",
            "''",
            None,
            id="empty stop",
        ),
        pytest.param(
            BASE + '[resolve]\nprefer = "qualty"',
            "4:10: 'prefer' is \"qualty\", expected one of 'quality', 'speed', 'smallest'",
            '"qualty"',
            "did you mean 'quality'?",
            id="choice",
        ),
        pytest.param(
            "[base]\n",
            "1:2: [base] has no 'model'",
            "base",
            'add model = …: GGUF files or a safetensors folder in the project ("./models/tiny-*.gguf"), '
            "or a model's name, with its registry's host or without",
            id="missing key",
        ),
        pytest.param(
            "license = 3\n" + BASE,
            "1:11: 'license' is 3, expected a list of strings or a string",
            "3",
            None,
            id="one error for a union",
        ),
        pytest.param(
            BASE + "[resolve]\nheadroom = '1 gobyte'",
            "4:12: 'headroom' is \"1 gobyte\", expected a size with its unit, such as '8GiB' or '512MiB'",
            "'1 gobyte'",
            None,
            id="size",
        ),
        pytest.param(
            BASE + "[serve]\nkeep_alive = '30'",
            "4:14: 'keep_alive' is \"30\", expected a duration with its unit, such as '30m' or '1h30m'; "
            "'-1' keeps it for good",
            "'30'",
            None,
            id="duration",
        ),
        pytest.param(
            "requires = 'v0.14'\n" + BASE,
            "1:12: 'requires' is \"v0.14\", expected a version of Ollama such as '0.14.0', without a 'v'",
            "'v0.14'",
            None,
            id="version",
        ),
        pytest.param(
            BASE + "[resolve]\nkv_cache = 'q8_0'\nflash_attention = 'off'",
            "4:12: 'kv_cache' is \"q8_0\", which needs flash attention, but that is off",
            "'q8_0'",
            'set flash_attention = "auto", or kv_cache = "f16"',
            id="quantized cache without flash attention",
        ),
        pytest.param(
            BASE + "[serve]\nparallel = 4",
            "4:12: 'parallel' is 4, but [resolve] plans for 1, the default",
            "4",
            "set parallel = 4 in [resolve] too",
            id="server that was not planned for",
        ),
        pytest.param(
            BASE + "quants = ['q4_k_n']",
            "3:11: an entry of 'quants' is \"q4_k_n\", expected a quant of llama.cpp, such as Q8_0, Q6_K or Q4_K_M",
            "'q4_k_n'",
            "did you mean 'Q4_K_S'?",
            id="quant",
        ),
        pytest.param(
            BASE + "quantize = 'q5_1'",
            "3:12: 'quantize' is \"q5_1\", expected one of Q8_0, Q4_K_M, Q4_K_S, BF16, F16",
            "'q5_1'",
            "Ollama makes no q5_1: make it with llama.cpp's llama-quantize, and name the file in 'model'",
            id="quant that Ollama does not make",
        ),
        pytest.param(
            BASE + "quantize = 'q4_K_L'",
            "3:12: 'quantize' is \"q4_K_L\", expected one of Q8_0, Q4_K_M, Q4_K_S, BF16, F16",
            "'q4_K_L'",
            "did you mean 'Q4_K_S'?",
            id="nearly a quant that Ollama makes",
        ),
        pytest.param(
            BASE + "quantize = 'q4_K_M'\nquants = ['Q8_0']",
            "4:10: 'quants' lists no Q4_K_M, the one quant that 'quantize' makes",
            "['Q8_0']",
            "take 'quants' out; where it is inherited: unset = [\"base.quants\"]",
            id="quants without the one that is made",
        ),
        pytest.param(
            BASE + "tag = 'x'\nsizes = ['7b']",
            "4:1: 'tag' and 'sizes' exclude each other",
            "sizes",
            "a tag pins one candidate: remove one of the two",
            id="tag and ladder",
        ),
        pytest.param(
            "system = ''\nsystem_file = 'profiles/coder.toml'\n" + BASE,
            "2:1: 'system' and 'system_file' exclude each other",
            "system_file",
            "remove one of the two",
            id="system twice",
        ),
        pytest.param(
            "renderer = 'qwen3-coder'\nchat_template_file = 'profiles/coder.toml'\n" + BASE,
            "2:1: 'chat_template_file' would never be used: 'renderer' makes the prompts",
            "chat_template_file",
            'remove one of the two; what is inherited goes with unset = ["renderer"]',
            id="template that never runs",
        ),
        pytest.param(
            f"{BASE}[[smoke]]\nname = 'a'\nprompt = 'b'\n[smoke.expect]\ncloser_to = 'c'\n",
            "7:1: 'closer_to' says nothing without 'than'",
            "closer_to",
            'for example expect = { closer_to = "a paraphrase", than = "another subject" }',
            id="nothing to compare with",
        ),
        pytest.param(
            f"{BASE}[[smoke]]\nname = 'a'\nprompt = 'b'\n[smoke.expect]\nthan = 'c'\n",
            "7:1: 'than' says nothing without 'closer_to'",
            "than",
            'for example expect = { closer_to = "a paraphrase", than = "another subject" }',
            id="nothing to compare",
        ),
        pytest.param(
            f"{BASE}[[smoke]]\nname = 'a'\nprompt = 'b'\n[smoke.expect]\ndimensions = 7\njson = true\n",
            "8:1: 'json' is about an answer, but 'dimensions' asks for embeddings",
            "json",
            "make two tests of it; one model seldom passes both",
            id="an answer beside embeddings",
        ),
        pytest.param(
            f"{BASE}[[smoke]]\nname = 'a'\nprompt = 'b'\nsystem = 'c'\n[smoke.expect]\ndimensions = 7\n",
            "6:1: 'system' is part of a chat, but 'dimensions' asks for embeddings",
            "system",
            "make two tests of it; one model seldom passes both",
            id="a chat beside embeddings",
        ),
        pytest.param(
            "name = 'coder:latest'\n" + BASE,
            "1:8: 'name' is \"coder:latest\", expected a model's name without a tag: "
            "the tag is the hardware's name, or 'latest'",
            "'coder:latest'",
            None,
            id="name with a tag",
        ),
        pytest.param(
            "name = 'modelforge/staged'\n" + BASE,
            "1:8: 'name' is \"modelforge/staged\", expected a name outside of 'modelforge/', "
            "where builds keep their own models",
            "'modelforge/staged'",
            None,
            id="name of ours",
        ),
        pytest.param(
            BASE + "[hardware]\ntargets = ['x-cloud']",
            "4:12: an entry of 'targets' is \"x-cloud\", expected a name that Ollama does not keep for itself "
            "('local', 'cloud', '*-cloud')",
            "'x-cloud'",
            None,
            id="target that cannot be a tag",
        ),
        pytest.param(
            BASE + "[hardware]\ntarget = ['t4']",
            "4:1: unknown key 'target' in [hardware]",
            "target",
            "did you mean 'targets'?",
            id="no table of overrides",
        ),
        pytest.param(
            BASE + "[hardware.t4]\nextends = 'x'",
            "4:1: unknown key 'extends' in [hardware.t4]",
            "extends",
            "'extends' belongs at the top of the file, before the first [table]",
            id="extends in an override",
        ),
        pytest.param(
            BASE + "[hardware.t4]\nparameters.top_p = 7",
            "4:20: 'top_p' is 7, expected a number from 0 to 1",
            "7",
            None,
            id="override out of range",
        ),
        pytest.param(
            BASE + "[hardware.t4]\nunset = 3",
            "4:9: 'unset' is 3, expected a list of strings",
            "3",
            None,
            id="unset in an override",
        ),
        pytest.param(
            BASE + "[[smoke]]\nname = 'a'\nprompt = 'b'\nexpect = { regex = '(a' }",
            "6:20: 'regex' is \"(a\", expected a Python regular expression "
            "(missing ), unterminated subpattern at position 0)",
            "'(a'",
            None,
            id="regular expression",
        ),
        pytest.param(
            BASE + "[[smoke]]\nname = 'a'\nprompt = 'b'\nexpect.json_schema = { type = 'nope' }",
            "6:22: 'json_schema' is a table, expected a JSON schema "
            "(type: 'nope' is not valid under any of the given schemas)",
            "{ type = 'nope' }",
            None,
            id="JSON schema",
        ),
        pytest.param(
            BASE + "[[smoke]]\nname = 'a'\nprompt = 'b'\nexpect = {}",
            "6:1: 'expect' is empty, so this test would pass whatever the model answers",
            "expect",
            'for example expect = { contains = ["def "] }',
            id="test of nothing",
        ),
        pytest.param(
            BASE + "[[smoke]]\nname = 'a'\nprompt = 'b'\nexpect = { json = true }\nruns = 2\nmin_pass = 3",
            "8:12: 'min_pass' is 3, but there are 2 runs",
            "3",
            "set runs = 3, or leave 'min_pass' out: all runs must pass then",
            id="more passes than runs",
        ),
        pytest.param(
            "[base]\nmodel = '../weights/*.gguf'",
            "2:9: 'model' is \"../weights/*.gguf\", expected a path inside the project",
            "'../weights/*.gguf'",
            'put the weights, or a copy of them, into the project: "./models/NAME-*.gguf"',
            id="base outside of the project",
        ),
        pytest.param(
            "[base]\nmodel = 'x:30b-cloud'",
            "2:9: 'model' is \"x:30b-cloud\", expected a model that lies on the server: "
            "its tag makes Ollama run it elsewhere",
            "'x:30b-cloud'",
            None,
            id="base in the cloud",
        ),
        pytest.param(
            "template = 'modelfil.j2'\n" + BASE,
            "1:12: 'template' is \"modelfil.j2\", which is not there",
            "'modelfil.j2'",
            None,
            id="template",
        ),
        pytest.param(
            BASE + "a = [1,\n\n",
            "3:5: this is not TOML: what begins here is not closed before the file ends",
            "[",
            None,
            id="TOML that ends too soon",
        ),
        pytest.param(BASE + "a = b", "3:5: this is not TOML: invalid value", "b", None, id="TOML"),
        pytest.param(
            "# é\nextends = 'assistent'\n",
            "2:11: 'extends' is \"assistent\", but there is no such profile",
            "'assistent'",
            None,
            id="unknown parent",
        ),
        pytest.param(
            "extends = ['a']\n" + BASE,
            "1:11: 'extends' is a list, expected a string",
            "['a']",
            None,
            id="two parents",
        ),
        pytest.param(
            "unset = ['parameters.stopp']\n" + BASE,
            "1:10: 'parameters.stopp' is not inherited, so there is nothing to unset",
            "'parameters.stopp'",
            None,
            id="unset of nothing",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(
    tmp_path: Path, text: str, expected: str, mark: str, hint: str | None
) -> None:
    (problem,) = problems(tmp_path, {"profiles/coder.toml": text})
    assert f"{problem.place}: {problem.message}" == f"profiles/coder.toml:{expected}"
    assert marked(problem) == mark
    if hint is not None:
        assert problem.hint == hint


def test_two_tests_of_one_name(tmp_path: Path) -> None:
    test = "[[smoke]]\nname = 'a'\nprompt = 'b'\nexpect.json = true\n"
    assert shown(tmp_path, {"profiles/coder.toml": BASE + test * 2}) == [
        'profiles/coder.toml:8:8: two tests are called "a"'
    ]


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
        system_file = "prompts/codng.md"
        [base]
        model = "./m.gguf"
        [parameters]
        temprature = 0.2
        top_p = 7
        [hardware.t4]
        parameters.top_k = -1
        parameters.num_ctx = 1
        [[smoke]]
        name = "a"
        runs = 1
        min_pass = 2
        """
    files = {"profiles/coder.toml": text, "prompts/coding.md": ""}
    assert shown(tmp_path, files) == [
        "profiles/coder.toml:1:15: 'system_file' is \"prompts/codng.md\", which is not there",
        "profiles/coder.toml:5:1: unknown key 'temprature' in [parameters]",
        "profiles/coder.toml:6:9: 'top_p' is 7, expected a number from 0 to 1",
        "profiles/coder.toml:8:20: 'top_k' is -1, expected an integer from 0 to 2147483647",
        "profiles/coder.toml:9:22: 'num_ctx' is 1, expected an integer from 4 to 16777216",
        "profiles/coder.toml:10:3: [[smoke]] has no 'prompt'",
        "profiles/coder.toml:10:3: [[smoke]] has no 'expect'",
        "profiles/coder.toml:13:12: 'min_pass' is 2, but there is 1 run",
    ]


def test_an_empty_file(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"profiles/coder.toml": ""})
    assert (problem.place, problem.message) == ("profiles/coder.toml:1:1", "there is no 'base'")
    assert problem.hint == "add [base]: where the weights come from"


def test_the_fields_of_a_problem(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"profiles/coder.toml": BASE + "[parameters]\r\ntop_p = 7\r\n"})
    assert problem == Problem(
        message="'top_p' is 7, expected a number from 0 to 1",
        kind="range",
        file="profiles/coder.toml",
        line=4,
        column=9,
        expected="a number from 0 to 1",
        source="top_p = 7",
        width=1,
    )


def test_a_file_name_that_cannot_be_a_models_name(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"profiles/my coder.toml": BASE}, "my coder")
    assert problem.place == "profiles/my coder.toml:1:1"
    assert problem.message.startswith("the file's name 'my coder' is the model's name, expected")
    assert (
        load(tmp_path, {"profiles/my coder.toml": "name = 'coder'\n" + BASE}, "my coder").model_name
        == "coder"
    )


# -- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"one\r\ntwo\rthree\n\n", id="line ends"),
        pytest.param(b"\xef\xbb\xbf  padded \t\n", id="byte order mark and blanks"),
        pytest.param('"""\n{{ .Prompt }}\u2028\u00ad\x00'.encode(), id="what a Modelfile cannot carry"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_prompt_file_arrives_byte_for_byte(tmp_path: Path, content: bytes) -> None:
    text = "system_file = 'p.md'\nlicense_file = 'p.md'\nchat_template_file = 'p.md'\n" + BASE
    profile = load(tmp_path, {"profiles/coder.toml": text, "p.md": content})
    assert profile.system is not None
    assert profile.chat_template is not None
    assert profile.system.encode() == profile.license[0].encode() == profile.chat_template.encode() == content


def test_a_byte_order_mark_before_a_profile_is_no_part_of_it(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfsistem = 1\n" + BASE.encode()
    assert shown(tmp_path, {"profiles/coder.toml": text}) == ["profiles/coder.toml:1:1: unknown key 'sistem'"]


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        pytest.param(
            "prompts/codng.md", "which is not there", "did you mean 'prompts/coding.md'?", id="missing"
        ),
        pytest.param(
            "prompt/coding.md", "which is not there", "did you mean 'prompts/coding.md'?", id="folder"
        ),
        pytest.param("prompts", "which is a folder, expected a file", None, id="a folder"),
        pytest.param("/etc/hostname", "expected a path relative to the project's root", None, id="absolute"),
        pytest.param("~/x", "expected a path relative to the project's root", None, id="home"),
        pytest.param("../outside.md", "expected a path inside the project", None, id="outside"),
        pytest.param(
            "prompts/../../outside.md", "expected a path inside the project", None, id="outside, winding"
        ),
        pytest.param(
            "prompts/link.md",
            "expected a path inside the project",
            "a link on the way leads out of it",
            id="link",
        ),
        pytest.param(
            "away/outside.md",
            "expected a path inside the project",
            "a link on the way leads out of it",
            id="link above",
        ),
        pytest.param("prompts/loop.md", "which cannot be followed to a file", None, id="loop of links"),
        pytest.param("prompts/pipe", "which is no regular file", None, id="no regular file"),
        pytest.param(
            "big.md", "which has 17.0 MiB, more than the 16.0 MiB that are allowed", None, id="too big"
        ),
    ],
)
def test_a_prompt_file_that_will_not_do(tmp_path: Path, name: str, reason: str, hint: str | None) -> None:
    root = write_tree(tmp_path / "project", {"prompts/coding.md": "x"})
    (tmp_path / "outside.md").write_text("secret")
    (root / "prompts/link.md").symlink_to(tmp_path / "outside.md")
    (root / "prompts/loop.md").symlink_to(root / "prompts/loop.md")
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(root / "prompts/pipe")
    with (root / "big.md").open("wb") as big:
        big.truncate(17 << 20)
    (problem,) = problems(root, {"profiles/coder.toml": f"system_file = '{name}'\n" + BASE})
    assert problem.place == "profiles/coder.toml:1:15"
    assert (problem.message, problem.hint) == (f"'system_file' is \"{name}\", {reason}", hint)
    assert problem.kind == "path"


def test_a_link_inside_the_project_is_fine(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path, {"prompts/real.md": "x", "profiles/coder.toml": "system_file = 'link.md'\n" + BASE}
    )
    (root / "link.md").symlink_to(root / "prompts/real.md")
    assert load(root, {}).system == "x"


@pytest.mark.parametrize("file", ["profiles/coder.toml", "prompts/p.md"])
def test_bytes_that_are_no_utf_8(tmp_path: Path, file: str) -> None:
    text = b"system_file = 'prompts/p.md'\n" + BASE.encode()
    files = {
        "profiles/coder.toml": text,
        "prompts/p.md": b"fine",
        file: text + "# é ".encode() + b"\xff\xfe x\n",
    }
    (problem,) = problems(tmp_path, files)
    assert problem.place == f"{file}:4:5"
    assert problem.message == "not UTF-8: byte 0xff at offset 72"
    assert problem.kind == "encoding"


def test_utf_16_is_called_by_its_name(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"profiles/coder.toml": BASE.encode("utf-16")})
    assert problem.hint == "it is UTF-16: save the file as UTF-8"


def test_a_template_outside_is_told_one_expectation(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"profiles/coder.toml": "template = '../../x'\n" + BASE})
    assert problem.message.endswith("expected a path inside the project")
    assert problem.expected == "a path inside the project"


def test_a_parent_that_is_like_nothing_is_told_what_there_is(tmp_path: Path) -> None:
    files = {"profiles/coder.toml": "extends = 'zzzz'\n" + BASE, "profiles/_shared.toml": ""}
    (problem,) = problems(tmp_path, files)
    assert str(problem.hint).startswith("there are: _shared, ")


# -- extends -----------------------------------------------------------------------------------------


def test_tables_merge_lists_replace_and_unset_removes(tmp_path: Path) -> None:
    parent = BASE + (
        "[parameters]\nnum_ctx = 4096\ntop_k = 5\nstop = ['a', 'b']\n[vars]\nteam = 'x'\nunit = 'y'\n"
        "[[smoke]]\nname = 'one'\nprompt = 'p'\nexpect.json = true\n"
    )
    child = (
        "extends = '_base'\nunset = ['parameters.top_k', 'vars.\"unit\"']\n"
        "parameters.stop = ['c']\n[[smoke]]\nname = 'two'\nprompt = 'p'\nexpect.json = true\n"
    )
    profile = load(tmp_path, {"profiles/_base.toml": parent, "profiles/coder.toml": child})
    assert profile.parameters.model_dump(exclude_none=True) == {"num_ctx": 4096, "stop": ("c",)}
    assert profile.vars == {"team": "x"}
    assert [test.name for test in profile.smoke] == ["two"]
    assert profile.origins["parameters.num_ctx"] == "profiles/_base.toml:4:1"
    assert profile.origins["parameters.stop"] == "profiles/coder.toml:3:12"
    assert profile.origins["parameters.stop.0"] == "profiles/coder.toml:3:20"
    assert "parameters.stop.0" not in list(profile.origins), "entries of lists are not listed"
    assert "parameters.num_keep.0" not in profile.origins
    assert "parameters.top_k" not in profile.origins


@pytest.mark.parametrize(
    ("parent", "child", "system"),
    [
        pytest.param("system = 'parent'", "system_file = 'p.md'", "file", id="file over text"),
        pytest.param("system_file = 'gone.md'", "system = 'child'", "child", id="text over file"),
        pytest.param("system = 'parent'", "", "parent", id="inherited"),
        pytest.param("system = 'parent'", "unset = ['system']", None, id="unset"),
        pytest.param("system = 'parent'", "system = ''", "", id="empty"),
    ],
)
def test_a_childs_system_drops_the_parents(
    tmp_path: Path, parent: str, child: str, system: str | None
) -> None:
    files = {
        "profiles/parent.toml": f"{parent}\n{BASE}",
        "profiles/coder.toml": f"extends = 'parent'\n{child}\n",
        "p.md": "file",
    }
    assert load(tmp_path, files).system == system


def test_a_childs_tag_drops_the_parents_ladder(tmp_path: Path) -> None:
    files = {
        "profiles/parent.toml": BASE + "sizes = ['7b']\nquants = ['q8_0']",
        "profiles/coder.toml": "extends = 'parent'\nbase.tag = 'tiny-Q4_0.gguf'\n",
    }
    base = load(tmp_path, files).base
    assert (base.tag, base.sizes, base.quants) == ("tiny-Q4_0.gguf", None, None)


def test_a_name_is_not_inherited(tmp_path: Path) -> None:
    files = {"profiles/parent.toml": "name = 'other'\n" + BASE, "profiles/coder.toml": "extends = 'parent'"}
    assert load(tmp_path, files).model_name == "coder"


def test_overrides_of_a_parent_merge_with_the_childs(tmp_path: Path) -> None:
    files = {
        "profiles/parent.toml": BASE
        + "[hardware.t4]\nsystem_file = 'gone'\nparameters = { num_ctx = 8, top_k = 1 }",
        "profiles/coder.toml": (
            "extends = 'parent'\nparameters.stop = ['x']\n[hardware]\ntargets = ['t4']\n"
            "[hardware.t4]\nsystem = 'short'\nparameters.num_ctx = 16\nunset = ['parameters.stop']"
        ),
    }
    profile = load(tmp_path, files).on("t4")
    assert profile.parameters.model_dump(exclude_none=True) == {"num_ctx": 16, "top_k": 1}
    assert profile.system == "short"
    assert profile.origins["parameters.top_k"] == "profiles/parent.toml:5:29"


def test_a_mistake_of_a_parent_is_told_in_its_file(tmp_path: Path) -> None:
    files = {
        "profiles/_base.toml": BASE + "[parameters]\ntop_p = 7",
        "profiles/coder.toml": "extends = '_base'\n[parameters]\ntop_k = 'x'",
    }
    assert shown(tmp_path, files) == [
        "profiles/_base.toml:4:9: 'top_p' is 7, expected a number from 0 to 1",
        "profiles/coder.toml:3:9: 'top_k' is \"x\", expected an integer from 0 to 2147483647",
    ]


def test_what_a_child_replaces_is_no_mistake_any_more(tmp_path: Path) -> None:
    files = {
        "profiles/_base.toml": BASE + "[parameters]\ntop_p = 7",
        "profiles/coder.toml": "extends = '_base'\nparameters.top_p = 0.7",
    }
    assert load(tmp_path, files).parameters.top_p == 0.7


def test_a_circle(tmp_path: Path) -> None:
    files = {
        "profiles/coder.toml": "extends = 'a'\n" + BASE,
        "profiles/a.toml": "extends = 'b'",
        "profiles/b.toml": "\nextends = 'coder'",
    }
    (problem,) = problems(tmp_path, files)
    assert problem.place == "profiles/b.toml:2:11"
    assert problem.message == "'extends' goes in a circle: coder → a → b → coder"


def test_a_profile_that_extends_itself(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, {"profiles/coder.toml": "extends = 'coder'\n" + BASE})
    assert problem.message == "'extends' goes in a circle: coder → coder"


def test_an_unknown_parent_is_told_with_the_nearest_and_the_childs_own_mistakes(tmp_path: Path) -> None:
    files = {
        "profiles/coder.toml": "extends = 'assistent'\nparameters.top_p = 7",
        "profiles/_assistant.toml": BASE,
    }
    first, second = problems(tmp_path, files)
    assert first.hint == "did you mean '_assistant'?"
    assert second.message == "'top_p' is 7, expected a number from 0 to 1"


def test_a_parent_that_is_no_toml(tmp_path: Path) -> None:
    files = {"profiles/coder.toml": "extends = 'a'", "profiles/a.toml": "x = "}
    assert shown(tmp_path, files) == [
        "profiles/a.toml:1:5: this is not TOML: what begins here is not closed before the file ends"
    ]


# -- names -------------------------------------------------------------------------------------------


def test_names_are_the_projects_own_profiles(tmp_path: Path) -> None:
    files = {
        "profiles/b.toml": "",
        "profiles/a.toml": "",
        "profiles/_f.toml": "",
        "profiles/.x.toml": "",
        "profiles/n.md": "",
    }
    project = find_project(write_tree(tmp_path, files), environment={})
    assert profile_names(project) == ("a", "b")
    assert not {"a", "b"} & set(shipped_names())


def test_an_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        load(tmp_path, {"profiles/coder.toml": BASE}, "profiles/codr.toml")
    assert str(caught.value) == "there is no profile 'profiles/codr.toml'"
    assert caught.value.problems[0].hint == "did you mean 'coder'? (modelforge list shows all)"


def test_a_fragment_is_not_built(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="'_f' is a fragment for 'extends'"):
        load(tmp_path, {"profiles/_f.toml": BASE}, "_f")


def test_a_profile_that_is_a_link_out_of_the_project(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "project", {"profiles/x": ""})
    (tmp_path / "secret").write_text("password")
    (root / "profiles/coder.toml").symlink_to(tmp_path / "secret")
    (problem,) = problems(root, {})
    assert problem.place == "profiles/coder.toml:1:1"
    assert problem.hint == "a link on the way leads out of it"
    assert "password" not in repr(problem)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_tree(
        tmp_path / "package/profiles", {"assistant.toml": "system_file = 'profiles/p.md'\n" + BASE}
    )
    write_tree(folder, {"p.md": "shipped prompt"})
    monkeypatch.setattr("modelforge.resources.profiles", lambda: folder)
    return folder


def test_a_shipped_profile_is_found_and_its_paths_are_its_own(shipped: Path, tmp_path: Path) -> None:
    assert shipped_names() == ("assistant",)
    profile = load(tmp_path / "project", {"x": ""}, "assistant")
    assert profile.system == "shipped prompt"
    assert profile.file == str(shipped / "assistant.toml")
    assert profile.root == tmp_path / "project"


@pytest.mark.usefixtures("shipped")
def test_a_projects_profile_shadows_the_shipped_one_and_may_extend_it(tmp_path: Path) -> None:
    files = {"profiles/assistant.toml": "extends = 'assistant'\nparameters.top_k = 3"}
    profile = load(tmp_path / "project", files, "assistant")
    assert (profile.system, profile.parameters.top_k) == ("shipped prompt", 3)
