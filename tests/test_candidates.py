"""Where a base is looked for: on the runtime, in Ollama's library, in the registry that its name says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge import pipeline
from modelforge.bases import HubFile, RegistryModel, ServedModel
from modelforge.bases.hub import INSTALL, NoLibrary
from modelforge.errors import BaseProblem, ExitCode, Unreachable
from modelforge.gguf import read_header
from modelforge.targets import targets
from tests.ggufs import tiny_llama
from tests.projects import CODER, Place, place
from tests.registries import HOST, no_network

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.resolve import Plan


@pytest.fixture
def here(tmp_path: Path) -> Place:
    made = place(tmp_path)
    for tag, quant in (("7b-q8_0", "Q8_0"), ("7b-q4_K_M", "Q4_K_M")):
        weights = tiny_llama(tmp_path / "w.gguf", quant).read_bytes()
        for repository in ("library/qwen", "team/qwen"):
            made.registry.push(f"{repository}:{tag}", weights)
    return made


def plan(here: Place, model: str, *, hardware: tuple[str, ...] = ("rtx-4090",), keys: str = "") -> Plan:
    here.write(coder=CODER.replace('"./models/tiny-*.gguf"', f'"{model}"\n{keys}'))
    work = here.work()
    (target,) = targets(work, "coder", hardware)
    found = pipeline.plan(work, target)
    work.close()
    return found


def picked(found: Plan) -> tuple[str, type]:
    assert found.picked is not None
    return found.picked.candidate.ref, type(found.picked.candidate.source)


def serve(here: Place, name: str) -> None:
    here.runtime.stand(name)
    here.runtime.headers[name] = read_header(tiny_llama(here.root.parent / "served.gguf"))


def test_a_name_is_what_the_runtime_has_and_no_registry_is_asked(here: Place) -> None:
    serve(here, "qwen:7b")
    assert picked(plan(here, "qwen")) == ("qwen:7b", ServedModel)
    assert here.registry.asked == []


LADDER = 'sizes = ["14b", "7b"]'


def test_a_ladder_is_not_cut_to_what_the_runtime_was_given(here: Place) -> None:
    serve(here, "qwen:7b-q4_K_M")
    assert picked(plan(here, "qwen", keys=LADDER)) == ("qwen:7b-q8_0", RegistryModel)
    assert picked(plan(here, "qwen:7b-q4_K_M", keys=LADDER)) == ("qwen:7b-q4_K_M", ServedModel)


def test_a_ladder_that_no_registry_knows_is_the_runtimes(here: Place) -> None:
    serve(here, "own:7b-q8_0")
    found = plan(here, "own", keys=LADDER)
    assert picked(found) == ("own:7b-q8_0", ServedModel)
    with pytest.raises(BaseProblem, match=r"the runtime has no model .*, and the registry .* has no"):
        plan(here, "nowhere", keys=LADDER)


def test_a_ladder_without_a_network_is_what_the_runtime_has(here: Place) -> None:
    here.registry.before = no_network
    serve(here, "qwen:7b-q8_0")
    found = plan(here, "qwen", keys=LADDER)
    assert picked(found) == ("qwen:7b-q8_0", ServedModel)
    (warning,) = found.warnings
    assert warning.startswith("the registry registry.ollama.ai cannot be reached (nothing answers at")
    assert warning.endswith("; planned with what the runtime has")


def test_a_ladder_whose_registry_puts_us_off_is_not_cut(here: Place) -> None:
    here.registry.before = lambda _: httpx2.Response(429, headers={"retry-after": "900"})
    serve(here, "qwen:7b-q8_0")
    with pytest.raises(Unreachable, match="its limit of requests is reached"):
        plan(here, "qwen", keys=LADDER)


def test_what_the_runtime_does_not_have_is_in_ollamas_library(here: Place) -> None:
    serve(here, "other:7b")
    found = plan(here, "qwen", keys='sizes = ["7b"]')
    assert picked(found) == ("qwen:7b-q8_0", RegistryModel)
    assert {request.url.host for request in here.registry.requests} == {"registry.ollama.ai"}
    assert {request.url.scheme for request in here.registry.requests} == {"https"}
    assert found.warnings == ()


def test_a_source_that_the_runtime_does_not_have_is_in_ollamas_library(here: Place) -> None:
    here.runtime.stand("qwen:7b-q8_0")
    here.runtime.headers["qwen:7b-q8_0"] = read_header(tiny_llama(here.root.parent / "served.gguf", "Q8_0"))
    keys = 'sizes = ["7b"]\nquantize = "q4_K_M"'
    here.registry.lists = False
    with pytest.raises(
        BaseProblem, match=r"no 'qwen:7b-fp16' in F16 or BF16, as 'quantize' needs; it has qwen:7b-q8"
    ):
        plan(here, "qwen", keys=keys)
    weights = tiny_llama(here.root.parent / "w.gguf", "F16").read_bytes()
    here.registry.push("library/qwen:7b-fp16", weights)
    assert picked(plan(here, "qwen", keys=keys)) == ("qwen:7b-fp16", RegistryModel)


def test_what_is_neither_there_nor_here_names_both(here: Place) -> None:
    serve(here, "qwen2:7b")
    with pytest.raises(BaseProblem) as caught:
        plan(here, "qwem2:7b")
    message = (
        "the runtime has no model 'qwem2:7b', and the registry registry.ollama.ai has no library/qwem2:7b"
    )
    assert str(caught.value) == message
    assert caught.value.problems[0].hint == "did you mean 'qwen2:7b'?"
    with pytest.raises(BaseProblem) as caught:
        plan(here, "unheard-of")
    assert (
        caught.value.problems[0].hint == "correct base.model, sizes, variant, quants or pattern, or pin a tag"
    )


def test_what_is_not_here_while_the_network_is_down(here: Place) -> None:
    here.registry.before = no_network
    with pytest.raises(
        Unreachable, match=r"the runtime has no model 'qwen', and nothing answers at https://"
    ) as caught:
        plan(here, "qwen")
    assert caught.value.exit_code == ExitCode.UNREACHABLE


def test_a_host_is_asked_and_no_runtime(here: Place) -> None:
    serve(here, f"{HOST}/team/qwen:7b-q2_K")
    found = plan(here, f"{HOST}/team/qwen", keys='sizes = ["70b", "7b"]')
    assert picked(found) == (f"{HOST}/team/qwen:7b-q8_0", RegistryModel)
    assert found.warnings == (f"the registry {HOST} has no team/qwen of size 70b",)
    assert here.opened == 0
    assert picked(plan(here, "registry.ollama.ai/library/qwen")) == ("qwen:7b-q8_0", RegistryModel)


def test_a_host_that_does_not_answer_leaves_what_the_runtime_has(here: Place) -> None:
    here.registry.before = no_network
    model = f"{HOST}/team/qwen"
    with pytest.raises(Unreachable, match="nothing answers at"):
        plan(here, model)
    serve(here, f"{model}:7b-q4_K_M")
    found = plan(here, model)
    assert picked(found) == (f"{model}:7b-q4_K_M", ServedModel)
    (warning,) = found.warnings
    assert warning.startswith(f"the registry {HOST} cannot be reached (nothing answers at https://{HOST} (")
    assert warning.endswith("; planned with what the runtime has")


def test_a_host_that_puts_us_off_is_not_passed_over(here: Place) -> None:
    here.registry.before = lambda _: httpx2.Response(429, headers={"retry-after": "900"})
    serve(here, f"{HOST}/team/qwen:7b-q4_K_M")
    with pytest.raises(Unreachable, match="its limit of requests is reached"):
        plan(here, f"{HOST}/team/qwen")


def test_a_plan_needs_no_runtime(here: Place) -> None:
    here.runtime.fail("list", Unreachable("nothing answers at http://127.0.0.1:11434."))
    found = plan(here, "qwen", keys='sizes = ["7b"]')
    assert picked(found) == ("qwen:7b-q8_0", RegistryModel)
    (warning,) = found.warnings
    assert warning.startswith(
        "the runtime cannot be asked for its models (nothing answers at http://127.0.0.1"
    )
    assert warning.endswith("; planned from registry.ollama.ai")


def test_but_one_of_both(here: Place) -> None:
    here.runtime.fail("list", Unreachable("nothing answers at http://127.0.0.1:11434.", hint="start it"))
    here.registry.before = no_network
    with pytest.raises(
        Unreachable, match=r"11434\. Nothing answers at https://registry\.ollama\.ai"
    ) as caught:
        plan(here, "qwen")
    assert caught.value.problems[0].hint == "start it"


def test_insecure_is_for_hosts_only(here: Place) -> None:
    plan(here, "registry:5000/team/qwen", keys="insecure = true")
    assert {request.url.scheme for request in here.registry.requests} == {"http"}
    here.registry.requests.clear()
    plan(here, "qwen", keys="insecure = true")
    assert {request.url.scheme for request in here.registry.requests} == {"https"}


def test_hugging_face_is_what_was_pulled_from_there(here: Place) -> None:
    here.hub.down = True
    with pytest.raises(Unreachable, match=r"'hf\.co/org/repo:Q8_0' cannot be looked for: nothing answers at"):
        plan(here, "hf.co/org/repo:Q8_0")
    serve(here, "hf.co/org/repo:Q8_0")
    found = plan(here, "hf.co/org/repo:Q8_0")
    assert picked(found) == ("hf.co/org/repo:Q8_0", ServedModel)
    assert "hf.co cannot be reached" in found.warnings[0]
    assert here.registry.asked == []


def test_a_commit_of_hugging_face_is_never_what_was_pulled(here: Place) -> None:
    serve(here, "hf.co/org/repo:Q8_0")
    here.hub.down = True
    with pytest.raises(Unreachable, match="the network is unreachable"):
        plan(here, "hf.co/org/repo@dev")
    here.hub.error = NoLibrary("bases on Hugging Face need the library huggingface_hub")
    with pytest.raises(NoLibrary):
        plan(here, "hf.co/org/repo@dev")


def test_hugging_face_needs_its_library_unless_the_runtime_pulled_from_there(here: Place) -> None:
    here.hub.error = NoLibrary("bases on Hugging Face need the library huggingface_hub", hint=INSTALL)
    with pytest.raises(NoLibrary) as caught:
        plan(here, "hf.co/org/repo:Q8_0")
    assert caught.value.problems[0].hint == "pip install 'ollama-modelforge[hf]'"
    assert caught.value.exit_code == ExitCode.USAGE
    serve(here, "hf.co/org/repo:Q8_0")
    assert picked(plan(here, "hf.co/org/repo:Q8_0")) == ("hf.co/org/repo:Q8_0", ServedModel)


def test_hugging_face_is_asked_before_the_runtime(here: Place, tmp_path: Path) -> None:
    here.hub.files = {"tiny-Q8_0.gguf": tiny_llama(tmp_path / "w.gguf").read_bytes()}
    serve(here, "hf.co/org/repo:Q4_0")
    assert picked(plan(here, "huggingface.co/org/repo")) == ("hf.co/org/repo:Q8_0", HubFile)
    assert here.opened == 0
