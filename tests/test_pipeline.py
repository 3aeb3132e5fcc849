"""The whole way of a target: plan, request, digests, what a build does, and what it would do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from modelforge import pipeline
from modelforge.bases import ServedModel
from modelforge.errors import BuildFailed, DoesNotFit, ExitCode, UsageProblem
from modelforge.identity import content_of, plan_digest
from modelforge.journal import Journal, Pending
from modelforge.pipeline import BuildOptions, build_target, dry_run, plan, rendered
from modelforge.runtimes import RuntimeInfo
from modelforge.targets import targets
from tests.fakes import FakeRuntime
from tests.ggufs import tiny_llama
from tests.projects import CODER, GAMER, REVIEWER, Place, place
from tests.registries import HOST, FakeRegistry
from tests.splits import split_gguf
from tests.trees import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from modelforge.build import BuildResult
    from modelforge.resolve import Plan
    from modelforge.targets import Target, Work


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(pipeline, "commit_of", lambda _site: "c0ffee")
    return place(tmp_path)


def target_of(work: Work, *hardware: str, profile: str = "coder") -> Target:
    (target,) = targets(work, profile, hardware)
    return target


def build(here: Place, *hardware: str, heard: list[Plan] | None = None, **options: object) -> BuildResult:
    work = here.work()
    told = heard if heard is not None else []
    chosen = replace(BuildOptions(), **options)  # type: ignore[arg-type]
    return build_target(work, target_of(work, *hardware), chosen, told.append)


def test_a_build_and_its_figures(here: Place) -> None:
    heard: list[Plan] = []
    result = build(here, heard=heard)
    assert (result.status, result.name, result.variant) == ("built", "coder:latest", "coder:latest")
    assert here.runtime.names() == ["coder:latest"]
    assert [plan.variant for plan in heard] == ["coder:latest"]
    assert set(result.seconds) == {"resolve", "create", "smoke", "promote"}
    assert all(digest.startswith("sha256:") for digest in result.digests.values())
    standing = here.runtime.models["coder:latest"]
    assert (standing.system, standing.parameters["num_ctx"]) == ("Be short.", 512)


def test_an_unchanged_build_is_not_announced(here: Place) -> None:
    build(here)
    heard: list[Plan] = []
    assert build(here, heard=heard).status == "unchanged"
    assert heard == []


def test_warnings_of_the_template_are_told_where_there_is_something_to_do(here: Place) -> None:
    (here.root / "templates").mkdir()
    (here.root / "templates" / "bare.j2").write_text("FROM [[ base ]]\nPARAMETER num_ctx 512\n")
    here.write(coder=f'template = "bare.j2"\n{CODER}')
    build(here)
    assert any("system" in text for text in here.heard.texts)
    here.heard.events.clear()
    assert build(here).status == "unchanged"
    assert not any("system" in text for text in here.heard.texts)


def test_a_variant_is_named_after_its_hardware(here: Place) -> None:
    assert build(here, "rtx-4090").name == "coder:rtx-4090"
    assert build(here, "8GiB").name == "coder:8GiB"


def test_a_name_for_one_build(here: Place) -> None:
    result = build(here, "rtx-4090", name="Mine")
    assert (result.variant, result.name) == ("coder:rtx-4090", "Mine:latest")
    with pytest.raises(UsageProblem):
        build(here, name="no name")


def test_nothing_fits(here: Place) -> None:
    result = build(here, "1MiB")
    assert (result.status, result.runtime, here.opened) == ("refused", None, 0)
    assert isinstance(result.error, DoesNotFit)
    assert result.error.exit_code == ExitCode.DOES_NOT_FIT
    assert result.digests["plan"].startswith("sha256:")


def test_a_failure_comes_back_in_the_result(here: Place) -> None:
    here.runtime.fail("create", BuildFailed("no space left on device"))
    result = build(here)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.exit_code == ExitCode.BUILD_FAILED
    assert result.seconds["resolve"] > 0


@pytest.fixture
def on_the_hub(here: Place, tmp_path: Path) -> Place:
    weights = tiny_llama(tmp_path / "w.gguf").read_bytes()
    here.hub.files = {"tiny-Q8_0.gguf": weights + bytes((6 << 20) - len(weights))}
    here.write(coder=CODER.replace("./models/tiny-*.gguf", "hf.co/org/repo"))
    return here


def downloads(here: Place) -> list[Path]:
    return list((here.root.parent / "cache" / "downloads").glob("*.gguf"))


def test_a_base_on_hugging_face_is_downloaded_once(on_the_hub: Place) -> None:
    here, work = on_the_hub, on_the_hub.work()
    (whole,) = map(len, here.hub.files.values())
    change = dry_run(work, target_of(work), BuildOptions())
    assert (change.stands, change.fetches, downloads(here)) == (False, whole, [])
    assert here.hub.sent < whole  # the header alone
    here.hub.sent = 0
    first = build(here)
    assert (first.status, first.error, here.hub.sent) == ("built", None, whole)
    assert set(first.seconds) == {"resolve", "bring", "create", "smoke", "promote"}
    (file,) = downloads(here)
    assert [file.read_bytes()] == list(here.hub.files.values())
    file.unlink()
    second = build(here)
    assert (second.status, second.digests, here.hub.sent) == ("unchanged", first.digests, whole)
    here.hub.down = True
    third = build(here)
    assert (third.status, third.digests) == ("unchanged", first.digests)
    assert "planned with what was seen on 20" in third.plan.warnings[0]


def test_a_file_of_hugging_face_has_the_digests_of_the_same_file_in_the_project(on_the_hub: Place) -> None:
    here = on_the_hub
    first = build(here)
    write_tree(here.root, {"models/same.gguf": next(iter(here.hub.files.values()))})
    here.write(coder=CODER.replace("./models/tiny-*.gguf", "./models/same.gguf"))
    assert build(here).digests["content"] == first.digests["content"]


def test_weights_that_the_runtime_has_are_not_downloaded_again(on_the_hub: Place) -> None:
    here = on_the_hub
    build(here)
    (file,) = downloads(here)
    file.unlink()
    here.hub.sent = 0
    assert build(here, name="other").status == "built"
    assert (here.hub.sent, downloads(here)) == (0, [])


def test_a_file_of_hugging_face_that_is_not_what_it_should_be(on_the_hub: Place) -> None:
    here = on_the_hub
    build_plan = plan(here.work(), target_of(here.work()))
    assert build_plan.picked is not None
    (data,) = here.hub.files.values()
    here.hub.gives = data[:-1] + b"x"
    result = build(here)
    assert (result.status, downloads(here), here.runtime.names()) == ("failed", [], [])
    assert result.error is not None
    assert result.error.exit_code == ExitCode.BUILD_FAILED
    assert "what came for tiny-Q8_0.gguf is not what it should be" in str(result.error)


def test_this_machine_as_a_target_is_told_with_the_plan(here: Place) -> None:
    here.machine = GAMER
    work = here.work()
    plan = pipeline.plan(work, target_of(work))
    assert plan.warnings[0] == "this machine is rtx-4090: its overrides apply"
    assert plan.settings.num_ctx == 1024


def test_tests_that_the_other_hardware_decides_are_skipped(here: Place) -> None:
    here.write(coder=CODER.replace('contains = "ok"', 'contains = "ok", max_seconds = 0.001'))
    result = build(here, "rtx-3060-12gb")
    assert result.status == "built"
    assert result.smoke is not None
    (test,) = result.smoke.results
    assert {check.kind: check.verdict for check in test.checks} == {
        "contains": "passed",
        "max_seconds": "skipped",
    }
    assert build(here).status == "smoke-failed"  # here they count


def test_a_pick_that_this_machine_cannot_load_is_untested(here: Place) -> None:
    here.machine = replace(here.machine, system_memory=1 << 20)
    result = build(here, "rtx-4090")
    assert result.status == "smoke-failed"
    assert "untested" in str(result.error)


def test_the_memory_of_a_server_elsewhere_is_not_ours(here: Place) -> None:
    here.machine = replace(here.machine, system_memory=1 << 20)
    here.environment = {"OLLAMA_HOST": "gpu-box:11434"}
    assert build(here, "rtx-4090").status == "built"


# -- dry runs ------------------------------------------------------------------------------------------


def would(here: Place) -> tuple[bool, tuple[str, ...]]:
    work = here.work()
    change = dry_run(work, target_of(work), BuildOptions())
    return change.stands, change.differences


def test_a_dry_run_of_a_first_build(here: Place) -> None:
    assert would(here) == (False, ())
    assert {call[0] for call in here.runtime.calls} <= {"show", "expected"}
    assert not (here.root.parent / "state").exists()


def test_a_first_dry_run_hashes_no_parts(here: Place) -> None:
    whole = next((here.root / "models").glob("*.gguf"))
    split_gguf(whole, here.root / "models" / "big", [2])
    here.write(coder=CODER.replace("./models/tiny-*.gguf", "./models/big-*.gguf"))
    assert would(here) == (False, ())
    assert here.runtime.called("expected") == []
    assert not list((here.root.parent / "cache").rglob("hashes/*"))


def test_a_dry_run_tells_the_differences(here: Place) -> None:
    build(here)
    assert would(here) == (True, ())
    here.write(coder=CODER.replace("Be short.", "Be long.").replace("= 0.2", "= 0.3"))
    stands, differences = would(here)
    assert stands
    assert differences == (
        "system differs at character 4: wanted 'long.', got 'short.'",
        "parameter temperature: wanted 0.3, got 0.2",
    )
    assert here.runtime.models["coder:latest"].system == "Be short."


def test_a_dry_run_over_a_broken_name(here: Place) -> None:
    build(here)
    here.runtime.break_name("coder:latest")
    assert would(here) == (True, ("coder:latest cannot be read",))


def test_a_dry_run_of_what_does_not_fit(here: Place) -> None:
    work = here.work()
    with pytest.raises(DoesNotFit):
        dry_run(work, target_of(work, "1MiB"), BuildOptions())


# -- a base in a registry ------------------------------------------------------------------------------


@pytest.fixture
def registry(here: Place) -> FakeRegistry:
    """The profile's base is in a registry."""
    file = next((here.root / "models").glob("*.gguf"))
    here.registry.push("team/coder:v1", file.read_bytes(), system=b"Be kind.")
    here.write(coder=CODER.replace("./models/tiny-*.gguf", f"{HOST}/team/coder:v1"))
    return here.registry


def test_a_base_in_a_registry_is_fetched_by_a_build_alone(here: Place, registry: FakeRegistry) -> None:
    work = here.work()
    before = content_of(work.site, rendered(work, target_of(work), plan(work, target_of(work))))
    whole = sum(len(blob) for blob in registry.blobs.values())
    change = dry_run(work, target_of(work), BuildOptions())
    assert (change.stands, change.fetches) == (False, whole)
    assert here.runtime.called("bring") == []
    registry.sent = 0
    first = build(here)
    assert (first.status, first.error) == ("built", None)
    sent = registry.sent
    assert sent > 0
    second = build(here)
    assert (second.status, registry.sent) == ("unchanged", sent)
    assert second.digests == first.digests
    assert dry_run(work, target_of(work), BuildOptions()).fetches == 0
    made = rendered(work, target_of(work), plan(work, target_of(work)))
    (entry,) = [one for one in here.runtime.list() if one.name.startswith(HOST)]
    source = ServedModel(name=entry.name, digest=entry.digest)
    served = replace(made, base=replace(made.base, source=source))
    assert content_of(work.site, served) == before == first.digests["content"]


def test_what_a_server_makes_of_a_base_in_a_registry(here: Place) -> None:
    weights = tiny_llama(here.root / "full.gguf", "F16").read_bytes()
    here.registry.push("team/coder:v1", weights)
    here.write(coder=CODER.replace('./models/tiny-*.gguf"', f'{HOST}/team/coder:v1"\nquantize = "q8_0"'))
    work = here.work()
    whole = sum(len(blob) for blob in here.registry.blobs.values())
    assert dry_run(work, target_of(work), BuildOptions()).fetches == whole
    first = build(here)
    assert (first.status, first.error) == ("built", None)
    assert first.plan.picked is not None
    assert (first.plan.picked.candidate.quant, first.plan.picked.candidate.quantize) == ("Q8_0", "Q8_0")
    assert build(here).status == "unchanged"
    assert len(here.runtime.called("bring")) == 1
    here.runtime.weights.clear()
    here.runtime.delete(first.name)
    assert dry_run(work, target_of(work), BuildOptions()).fetches == 0, "what it is made of is there"
    here.runtime = FakeRuntime(info=RuntimeInfo(kind="embedded", version="", endpoint="store"))
    sent = here.registry.sent
    with pytest.raises(UsageProblem, match="the embedded runtime cannot make Q8_0 of it"):
        build(here)
    assert (here.runtime.called("bring"), here.registry.sent) == ([], sent)


# -- digests -------------------------------------------------------------------------------------------


def digests(here: Place, *hardware: str) -> tuple[str, str]:
    work = here.work()
    target = target_of(work, *hardware)
    decided = pipeline.plan(work, target)
    return plan_digest(decided), content_of(work.site, pipeline.rendered(work, target, decided))


def test_the_same_project_has_the_same_digests_on_every_machine(here: Place, tmp_path: Path) -> None:
    other = place(tmp_path / "elsewhere" / "deep")
    other.machine = GAMER
    other.clock += 1e6
    assert digests(here, "rtx-3060-12gb") == digests(other, "rtx-3060-12gb")
    assert digests(here, "rtx-4090") == digests(here, "rtx-4090")


def edited(old: str, new: str) -> Callable[[Place], None]:
    return lambda here: here.write(coder=CODER.replace(old, new))


@pytest.mark.parametrize(
    ("change", "plan_changes", "content_changes"),
    [
        pytest.param(edited('description = "Code"', ""), False, False, id="description"),
        pytest.param(edited('contains = "ok"', 'contains = "yes"'), False, False, id="tests"),
        pytest.param(edited("Be short.", "Be long."), False, True, id="prompt"),
        pytest.param(edited("num_ctx = 512", "num_ctx = 256"), True, True, id="context"),
        pytest.param(edited("= 0.2", "= 0.3"), False, True, id="temperature"),
        pytest.param(
            edited("[parameters]", '[resolve]\nheadroom = "2GiB"\n[parameters]'), True, False, id="headroom"
        ),
        pytest.param(edited("\n\n", "\n# a remark\n\n"), False, False, id="layout"),
    ],
)
def test_what_changes_which_digest(
    here: Place,
    change: Callable[[Place], None],
    plan_changes: bool,  # noqa: FBT001
    content_changes: bool,  # noqa: FBT001
) -> None:
    before = digests(here, "rtx-3060-12gb")
    change(here)
    after = digests(here, "rtx-3060-12gb")
    assert (before[0] != after[0], before[1] != after[1]) == (plan_changes, content_changes)


def test_other_weights_are_another_content(here: Place) -> None:
    before = digests(here, "rtx-4090")
    file = here.root / "models" / "tiny-Q8_0.gguf"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    plan, content_digest = digests(here, "rtx-4090")
    assert (plan, content_digest != before[1]) == (before[0], True)


def test_two_profiles_of_one_content(tmp_path: Path) -> None:
    here = place(tmp_path, coder=CODER, twin=CODER, reviewer=REVIEWER)
    work = here.work()
    found = {}
    for name in ("coder", "twin", "reviewer"):
        target = target_of(work, "t4", profile=name)
        decided = pipeline.plan(work, target)
        found[name] = (plan_digest(decided), content_of(work.site, pipeline.rendered(work, target, decided)))
    assert found["coder"][1] == found["twin"][1] != found["reviewer"][1]
    assert found["coder"][0] != found["twin"][0]  # a plan is for a variant


# -- seen before the runtime is opened -------------------------------------------------------------------


@pytest.fixture
def engine(here: Place) -> Place:
    """The same, on a runtime of which a model can be seen before it is opened."""
    info = RuntimeInfo(kind="docker", version="0.32.15", endpoint=here.work().access.where, image="sha256:1")
    here.runtime = FakeRuntime(info=info)
    return here


def test_a_build_that_is_seen_to_have_nothing_to_do_opens_nothing(engine: Place) -> None:
    first = build(engine)
    assert (first.status, engine.opened, engine.looked) == ("built", 1, [])
    engine.seen = True
    second = build(engine)
    assert (second.status, second.digests, second.smoke) == ("unchanged", first.digests, first.smoke)
    assert (engine.opened, engine.looked) == (1, [("coder:latest", first.digests["manifest"])])
    assert second.runtime == first.runtime
    assert second.standing is not None


def test_what_is_not_seen_to_stand_is_looked_at_on_the_runtime(engine: Place) -> None:
    build(engine)
    assert build(engine).status == "unchanged"
    assert (engine.opened, len(engine.looked)) == (2, 1)


@pytest.mark.parametrize("changed", ["content", "tests"])
def test_what_has_changed_is_not_even_looked_for(engine: Place, changed: str) -> None:
    build(engine)
    engine.seen = True
    old, new = ("Be short.", "Be long.") if changed == "content" else ('contains = "ok"', 'contains = "o"')
    engine.write(coder=CODER.replace(old, new))
    assert build(engine).status == ("built" if changed == "content" else "unchanged")
    assert (engine.opened, engine.looked) == (2, [])


def test_after_a_kill_the_runtime_is_opened(engine: Place) -> None:
    build(engine)
    engine.seen = True
    Journal(engine.site().state, engine.runtime.info).note(
        Pending(name="other:latest", staged="modelforge/staged:1")
    )
    build(engine)
    assert (engine.opened, engine.looked) == (2, [])


def test_a_command_that_only_looks_finds_candidates_and_hardware_once(here: Place) -> None:
    looking, building = here.work(look=True), here.work()
    first, second = (target_of(looking, name) for name in ("rtx-4090", "rtx-3060-12gb"))
    assert pipeline.candidates(looking, first) is pipeline.candidates(looking, second)
    assert target_of(looking, "rtx-4090").hardware is first.hardware
    target = target_of(building, "rtx-4090")
    assert pipeline.candidates(building, target) is not pipeline.candidates(building, target)
    other = replace(first.profile, base=first.profile.base.model_copy(update={"quants": ("Q4_0",)}))
    assert len(pipeline.candidates(looking, replace(first, profile=other)).candidates) == 1


def test_a_plan_for_another_context_and_for_the_longest(here: Place) -> None:
    work = here.work(look=True)
    target = target_of(work, "rtx-4090")
    given = pipeline.plan(work, target, context=256)
    longest = pipeline.plan(work, target, context="max")
    assert (given.settings.num_ctx, given.num_ctx_from) == (256, "given")
    assert (longest.settings.num_ctx, longest.num_ctx_from) == (1024, "longest")
    assert pipeline.plan(work, target).num_ctx_from == "profile"


def test_what_only_a_server_makes_is_refused_without_one_before_anything_is_read(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_llama(here.root / "models" / "full-F16.gguf", "F16")
    here.write(coder=CODER.replace('tiny-*.gguf"', 'full-F16.gguf"\nquantize = "q8_0"'))
    here.runtime = FakeRuntime(info=RuntimeInfo(kind="embedded", version="", endpoint="store"))
    monkeypatch.setattr(pipeline, "content_of", lambda *_: pytest.fail("was hashed"))
    with pytest.raises(UsageProblem, match="the embedded runtime cannot make Q8_0 of it") as caught:
        build(here)
    assert caught.value.exit_code is ExitCode.USAGE
    work = here.work()
    with pytest.raises(UsageProblem, match="the embedded runtime cannot make Q8_0 of it"):
        dry_run(work, target_of(work), BuildOptions())
    assert here.runtime.calls == []


def test_a_quant_that_is_made_has_a_content_of_its_own(here: Place) -> None:
    tiny_llama(here.root / "models" / "full-F16.gguf", "F16")
    contents = set()
    for quantize in ("q8_0", "Q8_0", "q4_k_m", "f16"):
        here.write(coder=CODER.replace('tiny-*.gguf"', f'full-F16.gguf"\nquantize = "{quantize}"'))
        result = build(here)
        assert result.plan.picked is not None
        assert result.plan.picked.candidate.quant == quantize.upper()
        contents.add(result.digests["content"])
    assert len(contents) == 3
