"""The Modelfile as a value: what its text says, what Ollama makes of it, and what it cannot carry."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.errors import TemplateProblem
from modelforge.grammar import ROLES, Source, instructions
from modelforge.modelfile import Loss, Modelfile, Turn, as_ollama_reads, format_modelfile, losses, parse
from modelforge.parameters import TYPES
from modelforge.profile.schema import Parameters
from tests.prompts import HARD_PROMPTS

PIECES = (
    *(
        '"',
        '"""',
        '"""\n',
        " ",
        " \n",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "\u00a0",
        "\u200d",
        "\u2028",
        "\ufeff",
        "\x00",
    ),
    *("#", "a", "é", "\\", "FROM x", "SYSTEM ", "PARAMETER stop ", "{{ .Prompt }}"),
)
NASTY = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=10).map("".join)
FLOATS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [0.7, 1.1, 0.1 + 0.2, 1e-7, 1e39, 16777217.0]
)


def modelfiles() -> st.SearchStrategy[Modelfile]:
    parameters = st.fixed_dictionaries(
        {},
        optional={
            "num_ctx": st.integers(),
            "seed": st.integers(2**53 - 2, 2**53 + 2),
            "temperature": FLOATS,
            "top_p": st.integers(0, 2**26),
            "use_mmap": st.booleans(),
            "stop": st.lists(NASTY, max_size=3).map(tuple),
        },
    )
    return st.builds(
        Modelfile,
        from_=NASTY.filter(bool),
        system=st.none() | NASTY,
        template=st.none() | NASTY,
        license=st.lists(NASTY, max_size=2).map(tuple),
        parameters=parameters,
        messages=st.lists(
            st.builds(Turn, role=st.sampled_from([*ROLES, "tool", "", "a b"]), content=NASTY), max_size=2
        ).map(tuple),
        adapters=st.lists(NASTY, max_size=2).map(tuple),
        renderer=st.none() | NASTY,
        parser=st.none() | NASTY,
        requires=st.none()
        | st.sampled_from(["0.14.0", "0.14", "1", "v1.2.3", "1.2.3-rc.1", "01.2", "latest", ""]),
    )


def read_back(modelfile: Modelfile) -> Modelfile | None:
    """What Ollama would make of the text; None if it would refuse it."""
    try:
        return as_ollama_reads(format_modelfile(modelfile))
    except TemplateProblem:
        return None


# --- what text cannot carry ------------------------------------------------------------------------------


@given(modelfile=modelfiles())
@settings(max_examples=80, deadline=None)
def test_there_are_losses_exactly_where_ollama_would_read_something_else(modelfile: Modelfile) -> None:
    assert (losses(modelfile) == ()) == (read_back(modelfile) == modelfile)


@given(text=NASTY)
@settings(max_examples=80, deadline=None)
def test_the_same_for_one_text(text: str) -> None:
    modelfile = Modelfile(from_="x", system=text, license=("after",))
    assert (losses(modelfile) == ()) == (read_back(modelfile) == modelfile)


@pytest.mark.parametrize("name", HARD_PROMPTS)
def test_hard_prompts_and_our_own_parser_drops_nothing(name: str) -> None:
    text = HARD_PROMPTS[name]
    modelfile = Modelfile(
        from_="x",
        system=text,
        license=(text,),
        messages=(Turn(role="user", content=text),),
        parameters={"stop": (text, "x")},
    )
    lost = losses(modelfile)
    assert (lost == ()) == (read_back(modelfile) == modelfile)
    if not any("would end the text" in loss.reason for loss in lost):
        assert parse(format_modelfile(modelfile)) == modelfile


@pytest.mark.parametrize(
    ("fields", "instruction", "reason"),
    [
        pytest.param(
            {"system": "ab\n\u00a0c\u00a0"},
            "SYSTEM",
            "U+00A0 NO-BREAK SPACE at 2:1 and 1 more character would be dropped",
            id="NBSP",
        ),
        pytest.param({"system": "a\x07"}, "SYSTEM", "U+0007 at 1:2 would be dropped", id="control"),
        pytest.param(
            {"system": "a\r\nb\u200dc\u200dd\u200d"},
            "SYSTEM",
            "U+200D ZERO WIDTH JOINER at 2:2 and 2 more characters would be dropped",
            id="ZWJ after CRLF",
        ),
        pytest.param(
            {"template": "\ufeffa"},
            "TEMPLATE",
            "U+FEFF ZERO WIDTH NO-BREAK SPACE at 1:1 would be dropped",
            id="BOM",
        ),
        pytest.param(
            {"messages": (Turn(role="user", content='x"""\ny'),)},
            "MESSAGE user",
            '""" at the end of line 1 would end the text',
            id="quotes",
        ),
        pytest.param(
            {"messages": (Turn(role="tool\n", content="x"),)},
            r"MESSAGE tool\n",
            "its role is none of system, user, assistant",
            id="role",
        ),
        pytest.param({"system": ""}, "SYSTEM", "an empty text means that it is inherited", id="empty"),
        pytest.param(
            {"parameters": {"stop": ()}},
            "PARAMETER stop",
            "there is no way to write an empty list",
            id="stop",
        ),
        pytest.param(
            {"parameters": {"temperature": 0.123456789}},
            "PARAMETER temperature",
            "0.123456789 would become 0.12345679",
            id="float",
        ),
        pytest.param(
            {"parameters": {"seed": 2**53 + 1}},
            "PARAMETER seed",
            "9007199254740993 would become 9007199254740992",
            id="integer",
        ),
        pytest.param(
            {"parameters": {"top_k": 1.5}}, "PARAMETER top_k", "1.5 is not a whole number", id="type"
        ),
        pytest.param(
            {"parameters": {"mirostat": 1}}, "PARAMETER mirostat", "Ollama does not have it", id="unknown"
        ),
        pytest.param({"adapters": ("a", "b")}, "ADAPTER", "only the last ADAPTER counts", id="adapters"),
        pytest.param({"requires": "v1"}, "REQUIRES", "its leading v is dropped", id="v"),
        pytest.param({"requires": "new"}, "REQUIRES", "it is not a version such as 0.14.0", id="version"),
    ],
)
def test_a_loss_is_named(fields: dict[str, Any], instruction: str, reason: str) -> None:
    modelfile = Modelfile(from_="x", **fields)
    assert losses(modelfile) == (Loss(instruction=instruction, reason=reason),)
    comment = f"# {instruction}: Modelfile text cannot carry this: {reason}"
    assert comment in format_modelfile(modelfile).splitlines()


@pytest.mark.parametrize("value", [0.7, 0.1, 1.0, 1e-7, 1e38, 0.0, 1.1, 0.95])
def test_common_floats_survive(value: float) -> None:
    assert losses(Modelfile(from_="x", parameters={"temperature": value})) == ()


# --- format ----------------------------------------------------------------------------------------------


def test_quotes_are_used_only_where_they_are_needed() -> None:
    modelfile = Modelfile(
        from_="qwen2.5-coder:7b",
        system='Say "hi"  # twice',
        template=" padded",
        license=("", '"quoted"', "two\nlines"),
        parameters={
            "temperature": 1.0,
            "top_p": 0.25,
            "use_mmap": True,
            "num_ctx": 1048576,
            "stop": ("</s>", " "),
        },
    )
    assert format_modelfile(modelfile) == (
        'FROM qwen2.5-coder:7b\nTEMPLATE """ padded"""\nSYSTEM Say "hi"  # twice\nPARAMETER temperature 1\n'
        "PARAMETER top_p 0.25\nPARAMETER use_mmap true\nPARAMETER num_ctx 1048576\nPARAMETER stop </s>\n"
        'PARAMETER stop """ """\nLICENSE """"""\nLICENSE """"quoted""""\nLICENSE """two\nlines"""\n'
    )


# --- parse -----------------------------------------------------------------------------------------------


def test_a_whole_modelfile() -> None:
    text = (
        "\ufeff# comment\r\n\r\n  from  ./model.gguf \r\n"
        'System """\r\nYou are "kind".\r\n# not a comment\r\n"""   \r\n'
        "PARAMETER   temperature .5\r\nPARAMETER num_ctx 1.048576e+06\r\nPARAMETER use_mmap F\r\n"
        'PARAMETER stop "a b"\r\nPARAMETER stop <|x|>\r\nTEMPLATE "{{ .Prompt }}\nsecond line"\r\n'
        'MESSAGE user   hello there\r\nMESSAGE assistant """ hi"""\r\n'
        "LICENSE MIT\r\nLICENSE Apache-2.0\r\nADAPTER a.gguf\r\nRENDERER r\nPARSER p\nREQUIRES 0.14.0\r# end"
    )
    assert parse(text) == Modelfile(
        from_="./model.gguf",
        system='\r\nYou are "kind".\r\n# not a comment\r\n',
        template="{{ .Prompt }}\nsecond line",
        license=("MIT", "Apache-2.0"),
        parameters={"temperature": 0.5, "num_ctx": 1048576, "use_mmap": False, "stop": ("a b", "<|x|>")},
        messages=(Turn(role="user", content="hello there"), Turn(role="assistant", content=" hi")),
        adapters=("a.gguf",),
        renderer="r",
        parser="p",
        requires="0.14.0",
    )


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('""', ""),
        ('""""""', ""),
        ('"""""""', '"'),
        ('"a"', "a"),
        ('"a" b"', 'a" b'),
        ('"a\nb"', "a\nb"),
        ("'a'", "'a'"),
        (r"a\nb", r"a\nb"),
        ('"""a""" b"""', 'a""" b'),
        ('"""\na"""', "\na"),
        ("a # b", "a # b"),
        ("\u00a0a\u00a0", "\u00a0a\u00a0"),
        ("  ", ""),
    ],
)
def test_values(value: str, read: str) -> None:
    assert parse(f"FROM x\nSYSTEM {value}\nLICENSE z").system == read


def test_the_last_one_counts() -> None:
    assert parse("FROM a\nFROM b\nSYSTEM c\nSYSTEM d\nPARAMETER seed 1\nPARAMETER seed 2") == Modelfile(
        from_="b", system="d", parameters={"seed": 2}
    )


def test_instructions_know_their_places() -> None:
    source = Source("FROM a\r\nPARAMETER  seed 1\rSYSTEM x", "Modelfile")
    places = [
        (one.word, source.position(one.at), source.position(one.name_at), source.position(one.value_at))
        for one in instructions(source)
    ]
    assert places == [
        ("FROM", (1, 1), (1, 6), (1, 6)),
        ("PARAMETER", (2, 1), (2, 12), (2, 17)),
        ("SYSTEM", (3, 1), (3, 8), (3, 8)),
    ]


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("FROM x\r\n\r\nSYSTM hi", "My:3:1", "unknown instruction 'SYSTM'", "did you mean 'SYSTEM'?"),
        (
            "FROM x\nSYSTEM a\nmore text",
            "My:3:1",
            "unknown instruction 'more'",
            'needs quotes: SYSTEM """…"""',
        ),
        ("FROM x\nSYSTEM\nhi", "My:2:1", "SYSTEM has no value", "on the same line"),
        ("FROM x\nPARAMETER stop", "My:2:11", "PARAMETER stop has no value", "on the same line"),
        (
            "FROM x\n  PARAMETER temprature 1",
            "My:2:13",
            "unknown parameter 'temprature'",
            "did you mean 'temperature'?",
        ),
        ("FROM x\nPARAMETER num_ctx many", "My:2:19", "PARAMETER num_ctx cannot be 'many'", ""),
        ("FROM x\nPARAMETER num_ctx 1.5", "My:2:19", "PARAMETER num_ctx cannot be '1.5'", ""),
        ("FROM x\nPARAMETER top_p nan", "My:2:17", "PARAMETER top_p cannot be 'nan'", ""),
        ("FROM x\nPARAMETER use_mmap yes", "My:2:20", "PARAMETER use_mmap cannot be 'yes'", ""),
        (
            "FROM x\nPARAMETER mirostat 1",
            "My:2:11",
            "Ollama ignores the parameter 'mirostat'",
            "remove the line",
        ),
        ("FROM x\nMESSAGE usr hi", "My:2:9", "unknown role 'usr' of a message", "did you mean 'user'?"),
        (
            'FROM x\nSYSTEM """a\nb\n',
            "My:2:8",
            'the text that begins here with """ does not end',
            "last thing on",
        ),
        (
            'FROM x\nSYSTEM  "a" b\n',
            "My:2:9",
            'the text that begins here with " does not end',
            "last thing on",
        ),
        ("FROM x\nDRAFT y", "My:2:1", "DRAFT is not supported", "remove the line"),
        ("SYSTEM x", "My:1:1", "there is no FROM with a model", "FROM [[ base ]]"),
        ("", "My:1:1", "there is no FROM with a model", "FROM [[ base ]]"),
    ],
)
def test_errors_name_the_place_and_the_way_out(text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(TemplateProblem) as raised:
        parse(text, file="My")
    problem = raised.value.problems[0]
    assert (problem.place, problem.message) == (place, message)
    assert hint in (problem.hint or "")
    assert problem.source == Source(text, "").line(problem.line or 0)


# --- as Ollama reads -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("SYSTEM a\u00a0b\u200d", {"system": "ab"}, id="dropped"),
        pytest.param("SYSTEM \u00a0", {}, id="nothing left"),
        pytest.param('SYSTEM "a"\u00a0', {"system": "a"}, id="dropped after a quote"),
        pytest.param(
            'SYSTEM """a\nb"""\u00a0\nLICENSE c', {"system": "a\nb", "license": ("c",)}, id="and three"
        ),
        pytest.param("\u00a0SYSTEM a", {"system": "a"}, id="before an instruction"),
        pytest.param(
            "PARAMETER temperature 0.123456789", {"parameters": {"temperature": 0.12345679}}, id="float32"
        ),
        pytest.param("PARAMETER mirostat 1", {}, id="ignored"),
        pytest.param("PARAMETER system a", {"system": "a"}, id="parameters and instructions share names"),
        pytest.param(
            "PARAMETER message user: a", {"messages": (Turn(role="user", content="a"),)}, id="messages too"
        ),
        pytest.param("ADAPTER a\nADAPTER b", {"adapters": ("b",)}, id="adapters"),
        pytest.param("REQUIRES v0.14.0", {"requires": "0.14.0"}, id="v"),
        pytest.param('TEMPLATE ""\nLICENSE ""', {"license": ("",)}, id="empty"),
    ],
)
def test_ollama_reads_some_texts_otherwise(text: str, fields: dict[str, Any]) -> None:
    assert as_ollama_reads(f"FROM x\n{text}") == replace(Modelfile(from_="x"), **fields)


@pytest.mark.parametrize(
    "text",
    [
        "PARAMETER  seed 1",
        "PARAMETER num_ctx 1e3",
        "PARAMETER temperature 1e39",
        "PARAMETER System x",
        "\u00a0 SYSTEM x",
        "SYS\u00a0TEM x",
        "REQUIRES latest",
        "MESSAGE tool x",
        'SYSTEM """',
        "1SYSTEM x",
    ],
)
def test_ollama_refuses_some_texts(text: str) -> None:
    with pytest.raises(TemplateProblem):
        as_ollama_reads(f"FROM x\n{text}")


def test_the_table_of_parameters_is_the_profiles() -> None:
    assert set(TYPES) == set(Parameters.model_fields)
