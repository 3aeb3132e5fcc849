from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from modelforge.bases import Candidate, ServedModel
from modelforge.bases.served import served_candidates
from modelforge.errors import BaseProblem
from modelforge.gguf import Header, read_header
from modelforge.profile.schema import Base
from modelforge.runtimes import Entry
from tests.ggufs import tiny_llama

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Served = tuple[Entry, Header]
TAGS = {
    "7b-instruct-q8_0": "Q8_0",
    "7b-instruct-q4_K_M": "Q4_K_M",
    "3b-instruct-q8_0": "Q8_0",
    "7b-base-q8_0": "Q8_0",
    "7b": "Q4_K_M",
    "latest": "Q4_K_M",
}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Served]:
    def made(name: str, quant: str = "Q8_0", **metadata: object) -> Served:
        header = read_header(tiny_llama(tmp_path / "x.gguf", quant, size_label="7.6B", metadata=metadata))
        return Entry(name=name, digest="ab" * 32, bytes=header.file_bytes, modified=0.0), header

    return made


@pytest.fixture
def coder(make: Callable[..., Served]) -> list[Served]:
    return [make(f"coder:{tag}", quant) for tag, quant in TAGS.items()]


def candidates(models: list[Served], model: str = "coder", **keys: object) -> tuple[Candidate, ...]:
    return served_candidates(Base.model_validate({"model": model, **keys}), models)


def refs(models: list[Served], model: str = "coder", **keys: object) -> list[str]:
    return [candidate.ref for candidate in candidates(models, model, **keys)]


def refused(models: list[Served], model: str = "coder", there: tuple[str, ...] = (), **keys: object) -> str:
    with pytest.raises(BaseProblem) as caught:
        served_candidates(Base.model_validate({"model": model, **keys}), models, there=there)
    return " / ".join(f"{problem.message}|{problem.hint}" for problem in caught.value.problems)


def test_without_more_all_tags_are_candidates(coder: list[Served], make: Callable[..., Served]) -> None:
    assert refs([*coder, make("other:7b"), make("team/coder:7b")]) == [f"coder:{tag}" for tag in TAGS]


def test_a_candidate_says_all_that_is_known(coder: list[Served]) -> None:
    (found,) = candidates(coder, "coder:7b-instruct-q4_K_M")
    assert (found.ref, found.quant, found.digest) == (
        "coder:7b-instruct-q4_K_M",
        "Q4_K_M",
        "sha256:" + "ab" * 32,
    )
    assert found.source == ServedModel(name="coder:7b-instruct-q4_K_M", digest="ab" * 32)
    assert found.size == "7.6b"
    assert found.shape.architecture == "llama"


@pytest.mark.parametrize(
    ("keys", "tags"),
    [
        (
            {"sizes": ["7b", "3b"], "variant": "instruct", "quants": ["q8_0"]},
            ["7b-instruct-q8_0", "3b-instruct-q8_0"],
        ),
        ({"sizes": ["3b"]}, ["3b-instruct-q8_0"]),
        ({"sizes": ["7B"]}, ["7b-instruct-q8_0", "7b-instruct-q4_K_M", "7b-base-q8_0", "7b"]),
        ({"quants": ["q4_k_m"]}, ["7b-instruct-q4_K_M"]),
        ({"sizes": ["7b"], "quants": ["Q8_0"]}, ["7b-instruct-q8_0", "7b-base-q8_0"]),
        ({"variant": "base"}, ["7b-base-q8_0"]),
        ({"pattern": "{size}", "sizes": ["7b"]}, ["7b"]),
    ],
)
def test_sizes_variant_and_quants_choose_tags(
    coder: list[Served], keys: dict[str, object], tags: list[str]
) -> None:
    assert refs(coder, "coder", **keys) == [f"coder:{tag}" for tag in tags]


def test_a_pattern_of_its_own_is_followed(make: Callable[..., Served]) -> None:
    models = [make("coder:Q8_0.7b-chat"), make("coder:7b-chat-Q8_0")]
    found = candidates(
        models, pattern="{quant}.{size}-{variant}", sizes=["7b"], variant="chat", quants=["q8_0"]
    )
    assert [(one.ref, one.size) for one in found] == [("coder:Q8_0.7b-chat", "7b")]


def test_the_size_is_the_profile_s_word(coder: list[Served]) -> None:
    assert {one.size for one in candidates(coder, sizes=["7B"], variant="instruct")} == {"7B"}


def test_the_header_s_quant_counts_not_the_tag_s(make: Callable[..., Served]) -> None:
    models = [make("coder:7b-instruct-q8_0", "Q4_K_M")]
    assert [one.quant for one in candidates(models)] == ["Q4_K_M"]
    assert "it has coder:7b-instruct-q8_0 (Q4_K_M)" in refused(models, quants=["q8_0"])


@pytest.mark.parametrize(
    ("model", "keys"),
    [("coder:7b", {}), ("coder", {"tag": "7b"}), ("CODER:7B", {"tag": "7b"}), ("library/coder:7b", {}),
     ("coder:7b", {"quants": ["q2_K"], "sizes": ["70b"]})],
)  # fmt: skip
def test_a_tag_pins_one_spelled_as_the_server_does(
    coder: list[Served], model: str, keys: dict[str, object]
) -> None:
    assert refs(coder, model, **keys) == ["coder:7b"]


def test_two_tags_that_differ_are_refused(coder: list[Served]) -> None:
    assert "base.model says the tag '7b', base.tag says '3b'" in refused(coder, "coder:7b", tag="3b")


def test_a_model_that_is_not_there_gets_the_nearest_and_the_pull() -> None:
    said = refused(
        [], "codr", there=("coder:7b", "llama3.2:3b"), sizes=["7b"], variant="instruct", quants=["q8_0"]
    )
    assert (
        said
        == "the runtime has no model 'codr'|did you mean 'coder'? Or get it: ollama pull codr:7b-instruct-q8_0"
    )
    assert (
        refused([], "llama3.2:3b") == "the runtime has no model 'llama3.2:3b'|get it: ollama pull llama3.2:3b"
    )


def test_a_tag_that_is_not_there_gets_the_nearest(coder: list[Served]) -> None:
    said = refused(coder, "coder:7b-instruct-q8")
    assert (
        "the runtime has no 'coder:7b-instruct-q8' as base asks for; it has coder:7b-instruct-q8_0 (Q8_0), "
        in said
    )
    assert "did you mean 'coder:7b-instruct-q8_0'? Or get it: ollama pull coder:7b-instruct-q8" in said


def test_quants_that_are_not_there_get_the_pull(coder: list[Served]) -> None:
    said = refused(coder, sizes=["7b"], variant="instruct", quants=["q6_K"])
    assert said.endswith("|get it: ollama pull coder:7b-instruct-q6_K")


def test_an_unknown_quant_gets_the_nearest(coder: list[Served]) -> None:
    assert "did you mean 'Q8_0'?" in refused(coder, quants=["q8_00"])


def test_what_is_only_named_in_the_cloud_is_no_candidate(make: Callable[..., Served]) -> None:
    assert refs([make("coder:480b-cloud"), make("coder:cloud"), make("coder:7b")]) == ["coder:7b"]


def test_an_adapter_is_refused_by_name(make: Callable[..., Served]) -> None:
    assert "coder:x is an adapter" in refused([make("coder:x", **{"general.type": "adapter"})])


def test_a_header_that_cannot_be_planned_for_names_the_model(make: Callable[..., Served]) -> None:
    assert refused([make("coder:x", **{"llama.block_count": 0})]).startswith("coder:x: ")


def test_a_digest_pins_one_whatever_its_tag(coder: list[Served], make: Callable[..., Served]) -> None:
    entry, header = make("coder:odd")
    pinned = Entry(name=entry.name, digest=f"sha256:{'cd' * 32}", bytes=1, modified=0.0)
    models = [*coder, (pinned, header)]
    assert refs(models, f"coder@sha256:{'cd' * 32}") == ["coder:odd"]
    assert refs(models, "coder", tag=f"sha256:{'ab' * 32}") == ["coder:7b-instruct-q8_0"]
    assert "has no" in refused(models, f"coder@sha256:{'ef' * 32}")
