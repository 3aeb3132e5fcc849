"""Candidates in a registry: which tags are asked for, what is read of them, and what is known without it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge.bases import Found, RegistryModel, registrysource
from modelforge.bases.registries import registry_candidates
from modelforge.bases.registrycache import Kept
from modelforge.bases.registrysource import Source
from modelforge.bases.tags import ladder, library_word
from modelforge.errors import BaseProblem, Unreachable, UsageProblem
from modelforge.gguf import read_header
from modelforge.profile.schema import Base
from modelforge.quants import default_names
from modelforge.registry import NotThere
from tests.ggufs import Typed, tiny_llama
from tests.registries import HOST, FakeRegistry, no_network

if TYPE_CHECKING:
    from pathlib import Path

MODEL = f"{HOST}/team/coder"
DAY = 1_790_000_000.0


@dataclass
class Place:
    """A registry, and the cache of a machine that plans from it. `now` is the machine's clock."""

    folder: Path
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    now: float = DAY

    def push(self, tag: str, quant: str = "Q8_0", *, projector: bytes = b"", **more: object) -> str:
        file = tiny_llama(self.folder / "x.gguf", quant, **more)  # type: ignore[arg-type]
        return self.registry.push(f"team/coder:{tag}", file.read_bytes(), projector=projector)

    def find(self, model: str = MODEL, **keys: object) -> Found:
        """As a command of its own does it."""
        source = Source(self.registry.open(), Kept(self.folder / "cache", lambda: self.now))
        return registry_candidates(Base.model_validate({"model": model, **keys}), source)

    def tags(self, model: str = MODEL, **keys: object) -> list[str]:
        return [one.ref.rpartition(":")[2] for one in self.find(model, **keys).candidates]


@pytest.fixture
def there(tmp_path: Path) -> Place:
    """14b in one quant, 7b in two, and other things."""
    made = Place(tmp_path)
    made.push("14b-instruct-q4_K_M", "Q4_K_M", layers=3)
    made.push("7b-instruct-q8_0", "Q8_0")
    made.push("7b-instruct-q4_K_M", "Q4_K_M")
    made.push("7b-base-q8_0", "Q8_0", metadata={"x": 1})
    return made


def test_a_candidate_says_all_that_a_build_needs(tmp_path: Path) -> None:
    place = Place(tmp_path)
    digest = place.push("v1", projector=b"an eye")
    (found,) = place.find(tag="v1").candidates
    raw = place.registry.tags["team/coder:v1"]
    assert (found.ref, found.quant, found.digest) == (f"{MODEL}:v1", "Q8_0", digest)
    assert found.projector_bytes == 6
    assert found.shape.architecture == "llama"
    assert isinstance(found.source, RegistryModel)
    assert (found.source.name, found.source.digest, found.source.manifest) == (f"{MODEL}:v1", digest, raw)
    assert [blob.media_type.rpartition(".")[2] for blob in found.source.blobs] == [
        "model",
        "projector",
        "v1+json",
    ]
    assert found.source.insecure is False


@pytest.mark.parametrize("lists", [True, False])
def test_the_ladder(there: Place, lists: bool) -> None:  # noqa: FBT001
    there.registry.lists = lists
    found = there.find(sizes=["14b", "7b"], variant="instruct", quants=["Q8_0", "q4_k_m"])
    assert {(one.size, one.quant) for one in found.candidates} == {
        ("14b", "Q4_K_M"),
        ("7b", "Q8_0"),
        ("7b", "Q4_K_M"),
    }
    assert found.notes == ()
    assert there.tags(sizes=["7b"], variant="base") == ["7b-base-q8_0"]


@pytest.mark.parametrize("lists", [True, False])
def test_a_size_of_which_there_is_none_is_told(there: Place, lists: bool) -> None:  # noqa: FBT001
    there.registry.lists = lists
    found = there.find(sizes=["32b", "7b", "3b"], variant="instruct")
    assert len(found.candidates) == 2
    assert found.notes == (f"the registry {HOST} has no team/coder of size 32b, 3b",)


@pytest.mark.parametrize("lists", [True, False])
def test_quantize_takes_the_tags_in_full_precision(there: Place, lists: bool) -> None:  # noqa: FBT001
    digest = there.push("7b-instruct-fp16", "F16")
    there.registry.lists = lists
    keys: dict[str, Any] = {"variant": "instruct", "quantize": "q4_K_M", "quants": ["q4_K_M"]}
    notes = there.find(sizes=["14b", "7b"], **keys).notes
    assert notes == (f"the registry {HOST} has no team/coder of size 14b in F16 or BF16",)
    (found,) = there.find(sizes=["7b"], **keys).candidates
    assert (found.ref, found.quant, found.quantize) == (f"{MODEL}:7b-instruct-fp16", "Q4_K_M", "Q4_K_M")
    (source,) = there.find(tag="7b-instruct-fp16").candidates
    assert found.source == source.source
    assert (source.digest, source.quantize) == (digest, None)
    assert found.digest not in {None, digest}
    assert found.shape.weights.file < source.shape.weights.file
    (same,) = there.find(tag="7b-instruct-fp16", quantize="f16").candidates
    assert (same.quantize, same.digest) == (None, digest)
    with pytest.raises(BaseProblem, match="Q8_0 already, and 'quantize' needs F16 or BF16"):
        there.find(tag="7b-instruct-q8_0", quantize="q4_K_M")


def test_without_more_all_tags_that_are_listed_or_the_latest(there: Place) -> None:
    assert len(there.tags()) == 4
    there.registry.tags["team/coder:latest"] = there.registry.tags["team/coder:7b-instruct-q8_0"]
    assert "latest" not in there.tags(), "another name for the same is no other candidate"
    there.registry.lists = False
    assert there.tags() == ["latest"]


def test_signatures_are_no_models(there: Place) -> None:
    there.registry.tags["team/coder:sha256-00.sig"] = b"{}"
    assert len(there.tags()) == 4


def test_a_model_without_a_quant_in_its_tag_where_there_is_none_with(there: Place) -> None:
    there.registry.lists = False
    there.push("3b-instruct", "Q4_0", layers=4)
    assert there.tags(sizes=["7b", "3b"], variant="instruct") == [
        "7b-instruct-q8_0",
        "7b-instruct-q4_K_M",
        "3b-instruct",
    ]


def test_a_ladder_asks_for_ollamas_spelling_and_the_profiles() -> None:
    (rung,) = ladder(Base(model="x", sizes=("7b",), quants=("Q4_K_M", "fp16")))
    assert rung.tags == ("7b-Q4_K_M", "7b-q4_K_M", "7b-fp16")
    (rung,) = ladder(Base(model="x", variant="it"))
    assert rung.tags == tuple(f"it-{library_word(name)}" for name in default_names())
    assert rung.otherwise == "it"
    (rung,) = ladder(Base(model="x", sizes=("7b",), quants=("q8_0",), pattern="v2-{quant}-{size}"))
    assert rung.tags == ("v2-q8_0-7b",)
    (rung,) = ladder(Base(model="x", sizes=("7b",), quants=("q8_0",), quantize="q8_0"))
    assert (rung.tags, rung.otherwise) == (("7b-fp16", "7b-f16", "7b-bf16"), None)
    assert [library_word(name) for name in ("Q8_0", "F16", "IQ4_XS", "odd")] == [
        "q8_0",
        "fp16",
        "iq4_XS",
        "odd",
    ]


@pytest.mark.parametrize(
    "keys",
    [{"model": f"{MODEL}:7b-base-q8_0"}, {"tag": "7b-base-q8_0"}, {"tag": "7b-base-q8_0", "sizes": ["14b"]}],
)
def test_a_pinned_tag(there: Place, keys: dict[str, object]) -> None:
    assert there.tags(**keys) == ["7b-base-q8_0"]  # type: ignore[arg-type]
    assert len(there.registry.asked) == 2, "its manifest and its header"


def test_a_tag_that_is_not_there_names_the_nearest(there: Place) -> None:
    with pytest.raises(NotThere, match=r"has no team/coder:7b-instruct-q8$") as caught:
        there.find(tag="7b-instruct-q8")
    assert "did you mean '7b-instruct-q8_0'?" in str(caught.value.problems[0].hint)
    there.registry.lists = False
    with pytest.raises(NotThere) as caught:
        there.find(tag="7b-instruct-q8")
    assert "correct base.model" in str(caught.value.problems[0].hint)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (True, "no team/coder as base asks for; it has 14b-instruct-q4_K_M, 7b-instruct-q8_0"),
        (False, "no team/coder as base asks for: no 99b-q8_0$"),
    ],
)
def test_nothing_of_what_is_asked_for(there: Place, lists: bool, message: str) -> None:  # noqa: FBT001
    there.registry.lists = lists
    with pytest.raises(NotThere, match=message):
        there.find(sizes=["99b"], quants=["q8_0"])


def test_a_model_that_is_not_there_at_all(there: Place) -> None:
    with pytest.raises(NotThere, match="has no team/codr at all"):
        there.find(f"{HOST}/team/codr")
    with pytest.raises(UsageProblem, match="is no model name"):
        there.find(f"{HOST}/a/b/c")


def test_quants_come_from_the_weights(there: Place) -> None:
    there.push("1b-q8_0", "Q4_0")
    with pytest.raises(BaseProblem, match="has the quants that base asks for: q8_0") as caught:
        there.find(sizes=["1b"], quants=["q8_0"])
    assert "coder:1b-q8_0 (Q4_0)" in str(caught.value.problems[0].hint)


def test_what_cannot_be_planned_for(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.registry.push("team/coder:none", b"", template=b"x")
    place.registry.push("team/coder:odd", b"not a GGUF file, but as long as is needed" * 10)
    with pytest.raises(BaseProblem, match="has no GGUF weights"):
        place.find(tag="none")
    with pytest.raises(BaseProblem, match="not a GGUF file"):
        place.find(tag="odd")


LARGE = {"tokenizer.ggml.tokens": Typed("str", tuple(f"a token number {n}" for n in range(230_000)))}


def test_of_the_weights_only_the_header_is_read(tmp_path: Path) -> None:
    place = Place(tmp_path)
    file = tiny_llama(tmp_path / "large.gguf", metadata=LARGE, layers=64)
    place.registry.push("team/coder:v1", file.read_bytes())
    (found,) = place.find(tag="v1").candidates
    assert found.shape.architecture == "llama"
    assert len(place.registry.asked) == 3, "the manifest, 4 MiB, and as much again"
    assert place.registry.sent == 8 << 20 < file.stat().st_size
    assert len(read_header(file).tensors) > 64
    place.find(tag="v1")
    assert len(place.registry.asked) == 4, "a header never changes, a tag may"


def test_weights_are_cut_short(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.push("v1")
    digest = next(digest for digest, data in place.registry.blobs.items() if data.startswith(b"GGUF"))
    place.registry.blobs[digest] = place.registry.blobs[digest][:1000]
    with pytest.raises(BaseProblem, match="ends at byte 1000, not at"):
        place.find(tag="v1")


def test_without_a_network_what_was_seen_counts_and_is_told(there: Place) -> None:
    for lists in (True, False):
        there.registry.before, there.registry.lists = lambda _: None, lists
        first = there.find(sizes=["14b", "7b"], variant="instruct")
        there.registry.before, there.now = no_network, DAY + 10 * 86400
        again = there.find(sizes=["14b", "7b"], variant="instruct")
        assert again.candidates == first.candidates
        (note,) = again.notes
        assert (
            f"{HOST} cannot be reached (nothing answers at https://{HOST} (the network is unreachable))"
            in note
        )
        assert note.endswith("planned with what was seen on 2026-09-21")
        there.now = DAY
        there.registry.before = lambda _: None
        assert there.find(sizes=["7b"], variant="instruct").notes == ()


def test_without_a_network_nothing_is_left_out_in_silence(there: Place) -> None:
    there.registry.lists = False
    there.find(sizes=["7b"], variant="instruct")
    there.registry.before = no_network
    with pytest.raises(Unreachable):
        there.find(sizes=["14b", "7b"], variant="instruct")
    with pytest.raises(Unreachable):
        Place(there.folder / "other", there.registry).find(tag="7b-base-q8_0")


def test_one_tag_that_cannot_be_read_fails_the_whole_plan(there: Place) -> None:
    there.registry.lists = False

    def before(request: httpx2.Request) -> httpx2.Response | None:
        return httpx2.Response(429) if "14b-instruct-q8_0" in str(request.url) else None

    there.registry.before = before
    with pytest.raises(Unreachable, match="answers 429: its limit of requests is reached"):
        there.find(sizes=["14b", "7b"], variant="instruct")


def test_a_digest_never_changes(there: Place) -> None:
    digest = there.push("v1", layers=5)
    (first,) = there.find(tag=digest).candidates
    assert first.ref == f"{MODEL}:sha256-{digest[7:19]}"
    assert first.digest == digest
    there.push("v1", layers=6)
    there.registry.before = no_network
    assert there.find(f"{MODEL}@{digest}") == Found(candidates=(first,))
    (named,) = there.find(f"{MODEL}:v1", tag=digest).candidates
    assert (named.ref, named.digest) == (f"{MODEL}:v1", digest)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 1, "digest": "x", "tags": 3, "time": 1}'])
def test_a_damaged_cache_is_asked_for_anew(there: Place, damage: bytes) -> None:
    first = there.find(sizes=["7b"])
    files = list((there.folder / "cache").rglob("*.json"))
    assert {path.parent.name for path in files} == {"names", "manifests", "headers"}
    for path in files:
        path.write_bytes(damage)
    assert there.find(sizes=["7b"]) == first
    for path in files:
        path.write_bytes(damage)
    there.registry.before = no_network
    with pytest.raises(Unreachable):
        there.find(sizes=["7b"])


def test_a_command_asks_once_and_not_again_once_nothing_answers(there: Place) -> None:
    source = Source(there.registry.open(), Kept(there.folder / "cache", lambda: DAY))
    base = Base(model=MODEL, sizes=("7b",))
    found = registry_candidates(base, source)
    count = len(there.registry.asked)
    assert registry_candidates(base, source) == found
    assert len(there.registry.asked) == count
    there.registry.before = no_network
    down = Source(there.registry.open(), Kept(there.folder / "cache", lambda: DAY))
    registry_candidates(base, down)
    registry_candidates(base.model_copy(update={"variant": "base"}), down)
    assert len(there.registry.asked) == count + 1
    down.close()


def test_a_registry_over_plain_http_says_so(there: Place) -> None:
    source = Source(there.registry.open("localhost:5000"), Kept(there.folder / "cache", lambda: DAY))
    (found,) = registry_candidates(Base(model="localhost:5000/team/coder:7b-base-q8_0"), source).candidates
    assert isinstance(found.source, RegistryModel)
    assert (found.ref, found.source.insecure) == ("localhost:5000/team/coder:7b-base-q8_0", True)


def test_an_interrupt_ends_the_other_threads(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrysource, "HEADERS_AT_ONCE", 1)
    registry = there.registry.open()

    def told(_event: object) -> None:
        there.registry.before = lambda _: httpx2.Response(429, headers={"retry-after": "30"})
        raise KeyboardInterrupt

    source = Source(registry, Kept(there.folder / "cache", lambda: DAY), told)
    with pytest.raises(KeyboardInterrupt):
        registry_candidates(Base(model=MODEL, variant="instruct"), source)
    with pytest.raises(Unreachable, match="it was interrupted"):
        registry.tags("team/coder")
