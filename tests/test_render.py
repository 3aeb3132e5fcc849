"""Rendering: the template decides what the model gets, and no text of the profile is altered on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelforge.bases import Candidate, LocalFile
from modelforge.errors import DoesNotFit, Problem, TemplateProblem
from modelforge.hardware import Hardware
from modelforge.modelfile import Turn, as_ollama_reads, parse
from modelforge.profile import Profile
from modelforge.profile.schema import Base, Message, Parameters, Resolve, Serve
from modelforge.render import Rendered, content_digest, render
from modelforge.resolve import Assessed, Bytes, Plan, RunSettings
from modelforge.same import Same
from tests.plans import shape_at
from tests.prompts import HARD_PROMPTS
from tests.shapes import LLAMA_8B

BUILT_IN = Path(__file__).parents[1] / "templates"
GOLDEN = Path(__file__).parent / "golden"
DEFAULT = (BUILT_IN / "modelfile.j2").read_text(encoding="utf-8")
REF = "./models/tiny-Q8_0.gguf"
WEIGHTS = "sha256:" + "0" * 64


def some_profile(root: Path = Path("/project"), **changes: Any) -> Profile:
    profile = Profile(
        name="coder",
        model_name="coder",
        file="profiles/coder.toml",
        root=root,
        description="Pair programmer",
        template="modelfile.j2",
        system=None,
        license=(),
        chat_template=None,
        adapters=(),
        requires=None,
        renderer=None,
        parser=None,
        base=Base(model="./models/tiny-*.gguf"),
        parameters=Parameters(),
        resolve=Resolve(),
        serve=Serve(),
        vars={},
        messages=(),
        smoke=(),
        targets=(),
        overrides={},
        origins={"template": "profiles/coder.toml:3:1"},
    )
    return replace(profile, **changes)


def some_plan(**changes: Any) -> Plan:
    candidate = Candidate(
        ref=REF,
        size="tiny",
        quant="Q8_0",
        digest=None,
        source=LocalFile(path=Path("/home/someone/models/tiny-Q8_0.gguf"), bytes=1000),
        shape=shape_at(Same(LLAMA_8B), "Q8_0"),
    )
    picked = Assessed(
        candidate=candidate,
        exact=True,
        bytes=Bytes(weights=1000, kv=100, compute=10, projector=0),
        devices=(),
        slack=5,
        verdict="picked",
        reason="fits",
        tokens_per_second=(10.0, 20.0),
    )
    plan = Plan(
        profile="coder",
        variant="coder:rtx-4090",
        hardware=Hardware(name="rtx-4090", backend="cuda"),
        settings=RunSettings(
            num_ctx=4096,
            num_batch=512,
            parallel=1,
            kv_cache="f16",
            flash_attention="auto",
            headroom=1 << 30,
            engine="0.32",
            prefer="quality",
            num_ctx_is_default=True,
        ),
        decision="fits",
        picked=picked,
        candidates=(picked,),
        next_better=None,
        warnings=(),
    )
    return replace(plan, **changes)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "templates").mkdir()
    return tmp_path


def rendered_by(project: Path, template: str, plan: Plan | None = None, **profile: Any) -> Rendered:
    """What a template of the project makes of a profile."""
    (project / "templates" / "own.j2").write_bytes(template.encode())
    chosen = some_profile(project, template="own.j2", **profile)
    return render(chosen, plan or some_plan(), templates=[project / "templates", BUILT_IN])


def by_default(**profile: Any) -> Rendered:
    return render(some_profile(**profile), some_plan(), templates=[BUILT_IN])


def problem_of(project: Path, template: str, **profile: Any) -> Problem:
    with pytest.raises(TemplateProblem) as raised:
        rendered_by(project, template, **profile)
    return raised.value.problems[0]


# --- exact texts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HARD_PROMPTS)
def test_every_prompt_comes_back_byte_for_byte(project: Path, name: str) -> None:
    text = HARD_PROMPTS[name]
    request = by_default(
        system=text,
        chat_template=text,
        messages=(Message(role="user", content=text), Message(role="assistant", content=text)),
        license=(text, text),
        parameters=Parameters(stop=(text,)),
    ).request
    assert request.system == text
    assert request.template == text
    assert request.license == (text, text)
    assert request.messages == (Turn(role="user", content=text), Turn(role="assistant", content=text))
    assert request.parameters["stop"] == (text,)
    # Text around it in the template becomes part of it.
    template = 'FROM [[ base ]]\nSYSTEM """Before:\n [[ system ~ "!" ]]\n"""\nLICENSE [[ license[0] ]]\n'
    request = rendered_by(project, template, system=text, license=(text,)).request
    assert request.system == f"Before:\n {text}!\n"
    assert request.license == (text,)


@given(text=st.text(min_size=1, max_size=40))
@settings(max_examples=30, deadline=None)
def test_any_text_comes_back(text: str) -> None:
    request = by_default(system=text, parameters=Parameters(stop=(text, "x"))).request
    assert (request.system, request.parameters["stop"]) == (text, (text, "x"))


def test_an_empty_system_and_an_empty_stop_list_reach_the_request() -> None:
    rendered = by_default(system="", parameters=Parameters(stop=()))
    assert rendered.request.system == ""
    assert rendered.request.parameters == {"num_ctx": 4096, "stop": ()}
    assert [loss.instruction for loss in rendered.losses] == ["SYSTEM", "PARAMETER stop"]
    assert rendered.warnings == ()


def test_a_prompt_that_looks_like_a_template_is_not_run() -> None:
    text = "[[ system ]] [[ undefined ]] [% for x in y %] {{ 1 + 1 }} [# gone #]"
    assert by_default(system=text).request.system == text


# --- what is rendered ------------------------------------------------------------------------------------


def rich_profile(root: Path) -> Profile:
    return some_profile(
        root,
        system='You write code.\nDocstrings use """ in a line.\n',
        chat_template="{{ .System }}{{ .Prompt }}",
        license=("Apache-2.0", "Second license\nof two lines\n"),
        messages=(Message(role="user", content=" hi"), Message(role="assistant", content='"Hello"')),
        renderer="qwen3-coder",
        parser="qwen3-coder",
        requires="0.14.0",
        adapters=(root / "adapters" / "style.gguf",),
        parameters=Parameters(
            num_ctx=16384, temperature=0.2, top_p=1.0, seed=7, use_mmap=False, stop=("<|im_end|>", "\n\n")
        ),
    )


def test_the_text_of_a_rich_profile(project: Path) -> None:
    (project / "adapters").mkdir()
    (project / "adapters" / "style.gguf").write_bytes(b"")
    rendered = render(rich_profile(project), some_plan(), templates=[BUILT_IN])
    assert rendered.modelfile == (GOLDEN / "rich.Modelfile").read_text(encoding="utf-8")
    assert rendered.request.adapters == (project / "adapters" / "style.gguf",)
    assert rendered.losses == ()
    assert rendered.warnings == (
        "the model's chat template makes no prompts: the renderer 'qwen3-coder' does",
    )
    read = as_ollama_reads(rendered.modelfile)
    assert (read.system, read.parameters) == (rendered.request.system, rendered.request.parameters)


def test_the_text_says_what_it_cannot_carry() -> None:
    rendered = by_default(system='10\u00a0EUR\n"""Docstring"""\nend', parameters=Parameters(stop=()))
    assert rendered.modelfile == (GOLDEN / "lossy.Modelfile").read_text(encoding="utf-8")


def test_only_an_absent_num_ctx_is_added() -> None:
    assert by_default().request.parameters == {"num_ctx": 4096}
    assert by_default(parameters=Parameters(num_ctx=8192)).request.parameters == {"num_ctx": 8192}


def test_a_profile_that_sets_nothing_inherits_all() -> None:
    request = by_default().request
    assert (request.system, request.template, request.renderer, request.parser) == (None, None, None, None)
    assert (request.license, request.messages, request.adapters, request.requires) == ((), (), (), None)


def test_a_pasted_modelfile_passes_untouched(project: Path) -> None:
    pasted = (
        '# Modelfile generated by "ollama show"\nFROM [[ base ]]\n'
        'TEMPLATE """{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ .Prompt }}"""\n'
        'PARAMETER stop "<|im_end|>"\nPARAMETER num_ctx 1.6384e+04\nsystem "Be kind."\n'
    )
    rendered = rendered_by(project, pasted)
    assert rendered.request.template == (
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}{{ .Prompt }}"
    )
    assert rendered.request.system == "Be kind."
    assert rendered.request.parameters == {"stop": ("<|im_end|>",), "num_ctx": 16384}
    assert rendered.warnings == ("the template sets num_ctx to 16384, not to 4096; the plan counted on it",)


def test_the_template_wins_over_the_profile_and_says_so(project: Path) -> None:
    rendered = rendered_by(
        project,
        DEFAULT + "PARAMETER temperature 0.9\nPARAMETER top_k 10\nPARAMETER stop STOP\n",
        parameters=Parameters(temperature=0.2, stop=("a",)),
    )
    assert rendered.request.parameters == {
        "num_ctx": 4096,
        "temperature": 0.9,
        "stop": ("a", "STOP"),
        "top_k": 10,
    }
    assert rendered.warnings == (
        "the template sets temperature to 0.9, not to 0.2",
        "the template writes PARAMETER temperature more than once; the last one counts",
    )


def test_what_the_template_leaves_out_is_said(project: Path) -> None:
    rendered = rendered_by(
        project,
        "FROM [[ base ]]\n# [[ system ]]\nMESSAGE user [[ messages[0].content ]]\n",
        system="x",
        messages=(Message(role="user", content="a"), Message(role="user", content="b")),
        parameters=Parameters(temperature=0.5, stop=("a",)),
        renderer="r",
    )
    assert rendered.warnings == (
        "the template leaves out system",
        "the template leaves out parameters.stop",
        "the template leaves out 1 of 2 messages",
        "the template leaves out profile.renderer",
        "the template leaves out the parameter num_ctx (4096); the plan counted on it",
        "the template leaves out the parameter temperature (0.5)",
    )


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        pytest.param("[[ vars.team ]]", "platform", id="vars"),
        pytest.param("[[ vars.ports | join('+') ]]", "1+2", id="filters on vars"),
        pytest.param("[[ base.quant ]] [[ base.size ]]", "Q8_0 tiny", id="facts of the base"),
        pytest.param("[[ hardware.name ]] [[ hardware.backend ]]", "rtx-4090 cuda", id="hardware"),
        pytest.param("[[ plan.settings.num_ctx ]]", "4096", id="plan"),
        pytest.param(
            "[[ plan.picked.candidate.source.path ]]", "tiny-Q8_0.gguf", id="no path of this machine"
        ),
        pytest.param("[[ profile.name ]]: [[ profile.description ]]", "coder: Pair programmer", id="profile"),
        pytest.param("[[ parameters.temperature + 1 ]]", "1.5", id="numbers"),
        pytest.param("[[ system | length ]]", "9", id="length"),
        pytest.param("[[ 'secret' in system ]]", "true", id="in"),
        pytest.param("[[ system == 'my secret' ]]", "true", id="equality"),
        pytest.param("[% if system %]yes[% else %]no[% endif %]", "yes", id="truth"),
        pytest.param("[[ system + '?' ]]", "my secret?", id="plus"),
        pytest.param("[[ '<{}>'.format(system) ]]", "<my secret>", id="format"),
        pytest.param("[[ 'a-b'.replace('-', system) ]]", "amy secretb", id="into a text of its own"),
        pytest.param(
            "[[ (system ~ '!') | length ]] [[ (system ~ '!') == 'my secret!' ]]", "10 true", id="joined"
        ),
        pytest.param("[[ [system, 'b'] | join('-') ]]", "my secret-b", id="join"),
        pytest.param("[% set s %]<[[ system ]]>[% endset %][[ s ]]", "<my secret>", id="set block"),
        pytest.param("[[ messages | map(attribute='content') | join(',') ]]", "a,b", id="map"),
        pytest.param("[[ parameters.stop | join('|') ]]", "x|y", id="stop"),
        pytest.param("[% include 'part.j2' %]", "from a part: my secret", id="include"),
        pytest.param("[% raw %][[ x ]][% endraw %]", "[[ x ]]", id="raw"),
    ],
)
def test_the_template_language(project: Path, expression: str, written: str) -> None:
    (project / "templates" / "part.j2").write_text("from a part: [[ system ]]")
    request = rendered_by(
        project,
        f"FROM [[ base ]]\nLICENSE {expression}\n",
        system="my secret",
        messages=(Message(role="user", content="a"), Message(role="user", content="b")),
        parameters=Parameters(temperature=0.5, stop=("x", "y")),
        vars={"team": "platform", "ports": [1, 2]},
    ).request
    assert request.license == (written,)


def test_crlf_templates_render_as_lf_ones(project: Path) -> None:
    template = (
        'FROM [[ base ]]\nSYSTEM """a\nb [[ system ]]"""\n[% if true %]\nPARAMETER seed 1\n[% endif %]\n'
    )
    text = "one\r\ntwo\rthree"
    first = rendered_by(project, template, system=text)
    second = rendered_by(project, "\ufeff" + template.replace("\n", "\r\n"), system=text)
    assert first.request == second.request
    assert first.request.system == f"a\nb {text}"


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression",
    [
        "system | upper",
        "system | trim",
        "system | replace('a', 'b')",
        "system | e",
        "system | safe",
        "system | list",
        "(system ~ 'x') | lower",
        "system.upper()",
        "system[0]",
        "system[:3]",
        "system[1:2]",
        "(system ~ 'x')[:3]",
        "('a' ~ system)[0]",
        "[system, 'x'] | join | upper",
        "('x' + system).strip()",
        "'%.3s' % system",
        "'%.3s%s' % (system, 'x')",
        "'%.3s' | format(system)",
        "'{:.3}'.format(system)",
        "system * 2",
        "system % 1",
        "[system] | tojson",
        "{'a': system} | tojson",
        "messages[0].content | title",
        "parameters.stop | tojson",
        "license | map('upper') | join",
        "base.split('/')",
        "system is lower",
    ],
)
def test_no_text_of_the_profile_can_be_changed(project: Path, expression: str) -> None:
    template = f"FROM [[ base ]]\nLICENSE [[ {expression} ]]\n"
    problem = problem_of(
        project,
        template,
        system="Text",
        messages=(Message(role="user", content="a"),),
        license=("a",),
        parameters=Parameters(stop=("a",)),
    )
    assert "would change" in problem.message
    assert problem.place == "templates/own.j2:2"
    assert problem.source == f"LICENSE [[ {expression} ]]"


@pytest.mark.parametrize(
    "block",
    [
        "[% filter upper %][[ system ]][% endfilter %]",
        "[% set s %][[ system ]][% endset %][[ s[:4] ]]",
        "[% macro m() %][[ system ]][% endmacro %][[ m() | trim ]]",
        "[% for c in system %][[ c ]][% endfor %]",
    ],
)
def test_nor_by_a_block(project: Path, block: str) -> None:
    problem = problem_of(project, f"FROM [[ base ]]\nLICENSE {block}\n", system="Text")
    assert "would change" in problem.message
    assert problem.place == "templates/own.j2:2"


@pytest.mark.parametrize(
    ("template", "place", "message", "hint"),
    [
        pytest.param(
            "FROM [[ base ]]\n\nSYSTEM [[ sytem ]]\n",
            "templates/own.j2:3",
            "there is no 'sytem' here",
            "did you mean 'system'?",
            id="unknown variable",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTEM [[ vars.taem ]]",
            "templates/own.j2:2",
            "there is no 'taem' here",
            "did you mean 'team'?",
            id="unknown var",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% set none_yet = {} %]SYSTEM [[ none_yet.team ]]",
            "templates/own.j2:2",
            "there is no 'team' here",
            "what stands before the dot is empty",
            id="unknown in nothing",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTEM [[ plan.setings.num_ctx ]]",
            "templates/own.j2:2",
            "there is no 'setings' here",
            "did you mean 'settings'?",
            id="unknown attribute",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% if x %]\n",
            "templates/own.j2:2",
            "Unexpected end of template",
            "[% raw %]",
            id="syntax",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTEM if [[ -f x ]]; then",
            "templates/own.j2:2",
            "expected token",
            "[% raw %]",
            id="shell",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTEM [[ profile.parser ]]\n",
            "templates/own.j2:2",
            "this has no value here",
            "is not none",
            id="none",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTEM [[ messages ]]\n",
            "templates/own.j2:2",
            "a list or a table",
            "[% for",
            id="list",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% include 'prat.j2' %]\n",
            "templates/own.j2:2",
            "there is no template 'prat.j2'",
            "did you mean 'part.j2'?",
            id="include",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% include '../secret.txt' %]\n",
            "templates/own.j2:2",
            "not a name inside the templates folder",
            "",
            id="leaves the folder",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% include '/etc/passwd' %]\n",
            "templates/own.j2:2",
            "not a name inside the templates folder",
            "",
            id="absolute",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% include 'link.j2' %]\n",
            "templates/own.j2:2",
            "a link that leads out of its folder",
            "",
            id="link",
        ),
        pytest.param(
            "FROM [[ base ]]\n[% include 'latin1.j2' %]\n",
            "templates/own.j2:2",
            "is not UTF-8 text",
            "",
            id="encoding",
        ),
        pytest.param(
            "FROM [[ base ]]\n[[ ''.__class__.__mro__ ]]\n",
            "templates/own.j2:2",
            "unsafe",
            "",
            id="sandbox",
        ),
        pytest.param("FROM [[ base ]]\n[[ 'x' * 10**9 ]]", "templates/own.j2:2", "67,108,864", "", id="size"),
        pytest.param("[[ 9 ** 10000 ]]", "templates/own.j2:1", "an exponent above 1000", "", id="exponent"),
        pytest.param("[% for x in range(10**9) %]a[% endfor %]", "templates/own.j2:1", "big", "", id="range"),
        pytest.param(
            "[[ [1, 2] | random ]]", "templates/own.j2:1", "No filter named 'random'", "", id="random"
        ),
        pytest.param("[[ 1 / 0 ]]", "templates/own.j2:1", "division by zero", "", id="any error"),
        # What the template writes
        pytest.param("SYSTEM x\n", "templates/own.j2:1:1", "no FROM", "FROM [[ base ]]", id="no FROM"),
        pytest.param(
            "\nFROM llama3.2\n",
            "templates/own.j2:2:6",
            "FROM 'llama3.2' is not the base that was picked, './models/tiny-Q8_0.gguf'",
            "write: FROM [[ base ]]",
            id="other FROM",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTM [[ system ]]\n",
            "templates/own.j2:2:1",
            "unknown instruction 'SYSTM'",
            "did you mean 'SYSTEM'?",
            id="unknown instruction",
        ),
        pytest.param(
            "FROM [[ base ]]\nPARAMETER temprature [[ 0.5 ]]\n",
            "templates/own.j2:2:11",
            "unknown parameter 'temprature'",
            "did you mean 'temperature'?",
            id="unknown parameter",
        ),
        pytest.param(
            "FROM [[ base ]]\nPARAMETER mirostat 1\n",
            "templates/own.j2:2:11",
            "Ollama ignores the parameter 'mirostat'",
            "remove the line",
            id="ignored parameter",
        ),
        pytest.param(
            "FROM [[ base ]]\nPARAMETER num_batch 1\n",
            "templates/own.j2:2:21",
            "PARAMETER num_batch cannot be 1",
            "",
            id="range of a parameter",
        ),
        pytest.param(
            "FROM [[ base ]]\nPARAMETER seed [[ system ]]\n",
            "templates/own.j2:2:16",
            "PARAMETER seed cannot be '[[ system ]]'",
            "",
            id="text as a number",
        ),
        pytest.param(
            "FROM [[ base ]]\nPARAMETER [[ system ]] 1\n",
            "templates/own.j2:2:11",
            "unknown parameter '[[ system ]]'",
            "",
            id="text as a name",
        ),
        pytest.param(
            "FROM [[ base ]]\n[[ system ]] x\n",
            "templates/own.j2:2:1",
            "unknown instruction '[[ system ]]'",
            "",
            id="text as an instruction",
        ),
        pytest.param(
            "FROM [[ base ]]\nMESSAGE [[ system ]] x\n",
            "templates/own.j2:2:9",
            "unknown role '[[ system ]]'",
            "",
            id="text as a role",
        ),
        pytest.param(
            "FROM [[ base ]]\nSYSTEM x[[ license ]]\n",
            "templates/own.j2:2:8",
            "SYSTEM: [[ license ]] is a list",
            "[% for",
            id="list as a text",
        ),
        pytest.param(
            "FROM [[ base ]]\nADAPTER ../../x.gguf\n",
            "templates/own.j2:2:9",
            "ADAPTER '../../x.gguf' is not a file of the project",
            "relative to the project's root",
            id="adapter",
        ),
        pytest.param(
            "FROM [[ base ]]\nREQUIRES latest\n",
            "templates/own.j2:2:10",
            "REQUIRES 'latest' is not a version",
            "",
            id="requires",
        ),
    ],
)
def test_refusals_name_the_place_and_the_way_out(
    project: Path, template: str, place: str, message: str, hint: str
) -> None:
    (project / "secret.txt").write_text("secret")
    (project / "templates" / "part.j2").write_text("")
    (project / "templates" / "latin1.j2").write_bytes(b"\xe9")
    (project / "templates" / "link.j2").symlink_to(project / "secret.txt")
    problem = problem_of(
        project, template, system="A long and private text", vars={"team": "x"}, license=("a",)
    )
    assert message in problem.message
    assert hint in (problem.hint or "")
    assert problem.place == place
    assert problem.source == template.splitlines()[(problem.line or 0) - 1]
    assert "private" not in repr(problem)


def test_a_line_that_several_places_can_have_written_has_no_place(project: Path) -> None:
    problem = problem_of(project, "FROM [[ base ]]\n[% for x in [1, 2] %]\n[[ x ]] is wrong\n[% endfor %]\n")
    assert problem.place == "templates/own.j2:3:1"
    problem = problem_of(project, "FROM [[ base ]]\nwrong\nwrong\n")
    assert problem.place == "templates/own.j2"
    assert problem.message == "unknown instruction 'wrong' (in line 2 of what the template writes)"


def test_a_missing_template_is_placed_in_the_profile(project: Path) -> None:
    with pytest.raises(TemplateProblem) as raised:
        render(some_profile(project, template="modelfle.j2"), some_plan(), templates=[BUILT_IN])
    problem = raised.value.problems[0]
    assert problem.place == "profiles/coder.toml:3:1"
    assert problem.message == "there is no template 'modelfle.j2'"
    assert problem.hint == "did you mean 'modelfile.j2'?"


def test_a_projects_template_shadows_the_built_in_one(project: Path) -> None:
    (project / "templates" / "modelfile.j2").write_text("FROM [[ base ]]\nSYSTEM mine\n")
    rendered = render(some_profile(project), some_plan(), templates=[project / "templates", BUILT_IN])
    assert rendered.request.system == "mine"


def test_a_plan_without_a_pick_cannot_be_rendered() -> None:
    with pytest.raises(DoesNotFit, match="rtx-4090"):
        render(some_profile(), some_plan(picked=None), templates=[BUILT_IN])


# --- the digest ------------------------------------------------------------------------------------------


def test_the_digest_is_the_same_on_every_machine(project: Path) -> None:
    (project / "adapters").mkdir()
    (project / "adapters" / "style.gguf").write_bytes(b"")
    rendered = render(rich_profile(project), some_plan(), templates=[BUILT_IN])
    assert content_digest(rendered, WEIGHTS, ["sha256:" + "1" * 64]) == (
        "sha256:d8483e0369b1086030e3478ae7bef9dceb570179e929f402516e27ab660d5aa2"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"system": "other"},
        {"system": ""},
        {"system": None},
        {"license": ("system",)},
        {"parameters": Parameters(temperature=0.3)},
        {"parameters": Parameters(temperature=0.2, stop=())},
        {"messages": (Message(role="user", content="a"),)},
        {"requires": "0.14.0"},
        {"renderer": "r"},
        {"parser": "r"},
        {"chat_template": "system"},
    ],
    ids=lambda changes: json.dumps(list(changes)),
)
def test_any_change_of_the_content_changes_the_digest(changes: dict[str, Any]) -> None:
    before: dict[str, Any] = {"system": "system", "parameters": Parameters(temperature=0.2)}
    assert content_digest(by_default(**before), WEIGHTS) != content_digest(
        by_default(**before | changes), WEIGHTS
    )


def test_weights_and_adapters_count_names_and_spelling_do_not(project: Path) -> None:
    rendered = by_default(system="x", parameters=Parameters(temperature=1))
    digest = content_digest(rendered, WEIGHTS)
    assert content_digest(rendered, "sha256:" + "1" * 64) != digest
    assert content_digest(rendered, WEIGHTS, [WEIGHTS]) != digest
    other = rendered_by(
        project,
        'FROM [[ base ]]\nPARAMETER temperature 1.0\nPARAMETER num_ctx 4096\nSYSTEM "x"\n',
        name="other",
    )
    assert content_digest(other, WEIGHTS) == digest


def test_the_text_parses_back_to_the_request() -> None:
    rendered = by_default(system="a\nb", license=("x",), parameters=Parameters(top_p=0.25))
    read = parse(rendered.modelfile)
    assert (read.from_, read.system, read.license) == (REF, "a\nb", ("x",))
    assert read.parameters == rendered.request.parameters


def test_a_template_that_changed_is_compiled_again(project: Path) -> None:
    for system in ("one", "two", "one"):
        assert rendered_by(project, f"FROM [[ base ]]\nSYSTEM {system}\n").request.system == system
