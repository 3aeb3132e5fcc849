"""Which files of a repository of Hugging Face are candidates, and what is read of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2  # noqa: TID251 (the fake behind the door)
import pytest

from modelforge.bases import HubFile, SplitModel
from modelforge.bases.hubcandidates import hub_candidates
from modelforge.bases.quantized import made_digest, split_digest
from modelforge.bases.ranged import FIRST, FIRST_OF_REST
from modelforge.errors import BaseProblem, Unreachable
from modelforge.profile.schema import Base
from modelforge.registry import NotThere
from tests.ggufs import tiny_llama
from tests.hubs import CDN, FakeHub
from tests.projects import Place, place
from tests.registries import sha256
from tests.splits import split_gguf

if TYPE_CHECKING:
    from pathlib import Path

    from modelforge.bases import Found

PADDING = 6 << 20


@pytest.fixture
def here(tmp_path: Path) -> Place:
    made = place(tmp_path)
    for quant in ("Q8_0", "Q4_K_M", "Q2_K", "F16"):
        made.hub.files[f"Tiny-7B-{quant}.gguf"] = weights(tmp_path, quant)
    made.hub.files["imatrix.gguf"] = b"no model"
    return made


_MADE: dict[str, bytes] = {}


def weights(folder: Path, quant: str, **more: Any) -> bytes:
    """A model with its header at the start of more than what is read to plan; the very same bytes each time."""
    key = repr((quant, more))
    if key not in _MADE:
        _MADE[key] = tiny_llama(folder / "w.gguf", quant, **more).read_bytes() + bytes(PADDING)
    return _MADE[key]


def find(here: Place, model: str = "hf.co/org/repo", **keys: Any) -> Found:
    source = here.hub.open(here.site())
    try:
        return hub_candidates(Base(model=model, **keys), source)
    finally:
        source.close()


def refs(found: Found) -> list[str]:
    return [one.ref for one in found.candidates]


def test_one_candidate_for_each_quant_that_is_wanted(here: Place) -> None:
    found = find(here, quants=["q4_k_m", "F16"])
    assert refs(found) == ["hf.co/org/repo:F16", "hf.co/org/repo:Q4_K_M"]
    one = found.candidates[1]
    data = here.hub.files["Tiny-7B-Q4_K_M.gguf"]
    assert (one.quant, one.digest, one.projector_bytes) == ("Q4_K_M", sha256(data), 0)
    assert isinstance(one.source, HubFile)
    assert (one.source.commit, one.source.path) == (here.hub.commit, "Tiny-7B-Q4_K_M.gguf")
    assert (one.source.bytes, one.source.digest) == (len(data), sha256(data))
    assert one.source.here.name == f"{sha256(data)[7:23]}-Tiny-7B-Q4_K_M.gguf"
    assert found.notes == ()


def test_without_quants_those_are_read_that_a_profile_usually_takes(here: Place) -> None:
    assert refs(find(here)) == ["hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q8_0"]


def test_headers_are_read_once_and_no_more_than_they_need(here: Place) -> None:
    find(here)
    assert 0 < here.hub.sent <= 2 * (4 << 20)
    here.hub.sent = 0
    find(here)
    assert here.hub.sent == 0
    assert here.hub.listed == ["org/repo@main"] * 2


def test_the_header_decides_which_quant_a_file_has(here: Place, tmp_path: Path) -> None:
    here.hub.files = {"model.gguf": weights(tmp_path, "Q4_K_M"), "Q8_0/other.gguf": weights(tmp_path, "Q6_K")}
    assert refs(find(here, tag="model")) == ["hf.co/org/repo:model.gguf"]
    with pytest.raises(
        BaseProblem, match=r"hf\.co/org/repo has no file as base asks for: quants Q8_0"
    ) as caught:
        find(here, quants=["Q8_0"])
    assert caught.value.problems[0].hint == "it has Q8_0/other.gguf (Q6_K)"
    assert [one.quant for one in find(here, quants=["Q4_K_M"]).candidates] == ["Q4_K_M"]


def test_two_files_of_one_quant_go_by_their_names(here: Place, tmp_path: Path) -> None:
    here.hub.files["Tiny-7B-UD-Q4_K_M.gguf"] = weights(tmp_path, "Q4_K_M", embedding=512)
    there = refs(find(here, quants=["Q4_K_M"]))
    assert there == ["hf.co/org/repo:Tiny-7B-Q4_K_M.gguf", "hf.co/org/repo:Tiny-7B-UD-Q4_K_M.gguf"]


@pytest.mark.parametrize(
    ("model", "tag"),
    [
        ("hf.co/org/repo", "q2_k"),
        ("huggingface.co/org/repo", "Tiny-7B-Q2_K.gguf"),
        ("HF.co/org/repo", "tiny-7b-q2_k"),
        ("hf.co/org/repo:Q2_K", None),
        ("hf.co/org/repo:q2_k@main", None),
    ],
)
def test_a_tag_pins_by_quant_or_name(here: Place, model: str, tag: str | None) -> None:
    assert refs(find(here, model, tag=tag)) == ["hf.co/org/repo:Q2_K"]


def test_a_digest_pins(here: Place) -> None:
    tag = sha256(here.hub.files["Tiny-7B-F16.gguf"])
    assert refs(find(here, tag=tag)) == ["hf.co/org/repo:F16"]


def test_a_tag_that_is_not_there(here: Place) -> None:
    with pytest.raises(BaseProblem, match=r"hf\.co/org/repo has no Q8_1") as caught:
        find(here, tag="Q8_1")
    assert caught.value.problems[0].hint == "did you mean 'Q8_0'?"
    with pytest.raises(BaseProblem, match=r"says the tag 'Q8_0', base\.tag says 'F16'"):
        find(here, "hf.co/org/repo:Q8_0", tag="F16")


@pytest.mark.parametrize(
    "model", ["hf.co/org", "hf.co/a/b/c", "hf.co/org/repo@", "hf.co/org/re po", "hf.co/org/repo:"]
)
def test_what_is_no_repository(here: Place, model: str) -> None:
    with pytest.raises(BaseProblem, match="is no repository of Hugging Face"):
        find(here, model)
    assert here.hub.listed == []


def test_a_commit_is_listed_once(here: Place) -> None:
    for _ in range(2):
        find(here, f"hf.co/org/repo@{here.hub.commit}", tag="Q8_0")
    assert here.hub.listed == [f"org/repo@{here.hub.commit}"]


def test_sizes_and_variants_choose(here: Place, tmp_path: Path) -> None:
    here.hub.files = {
        f"Tiny-{size}-{variant}-Q8_0.gguf": weights(tmp_path, "Q8_0", layers=layers)
        for size, layers in (("7B", 2), ("14B", 3))
        for variant in ("Instruct", "Base")
    }
    found = find(here, sizes=["14b", "7b"], variant="instruct")
    assert [(one.ref.rpartition(":")[2], one.size) for one in found.candidates] == [
        ("Tiny-14B-Instruct-Q8_0.gguf", "14b"),
        ("Tiny-7B-Instruct-Q8_0.gguf", "7b"),
    ]
    with pytest.raises(BaseProblem, match="as base asks for: variant coder"):
        find(here, variant="coder")


def test_what_a_server_is_to_make_of_a_file_in_full_precision(here: Place) -> None:
    (one,) = find(here, quantize="Q4_K_M").candidates
    assert (one.ref, one.quant, one.quantize) == ("hf.co/org/repo:F16", "Q4_K_M", "Q4_K_M")
    digest = sha256(here.hub.files["Tiny-7B-F16.gguf"])
    assert isinstance(one.source, HubFile)
    assert one.source.digest == digest != one.digest == made_digest(digest, "Q4_K_M")
    with pytest.raises(BaseProblem, match="'quantize' needs F16 or BF16"):
        find(here, tag="Q8_0", quantize="Q4_K_M")


def test_an_encoder_is_taken_the_smallest_in_half_precision(here: Place) -> None:
    encoders = {"mmproj-F16.gguf": 2000, "mmproj-BF16.gguf": 1500, "mmproj-F32.gguf": 4000}
    here.hub.files |= {name: bytes(size) for name, size in encoders.items()}
    (one,) = find(here, tag="Q8_0").candidates
    assert (one.projector_bytes, here.hub.requests[-1].url.path.endswith("Q8_0.gguf")) == (2000, True)
    assert isinstance(one.projector, HubFile)
    assert isinstance(one.source, HubFile)
    assert (one.projector.path, one.projector.commit) == ("mmproj-F16.gguf", one.source.commit)
    assert one.digest == made_digest(one.source.digest, None, one.projector.digest)
    (other,) = find(here, tag="Q8_0", projector="MMPROJ-bf16.gguf").candidates
    assert (other.projector_bytes, other.digest != one.digest) == (1500, True)
    (plain,) = find(here, tag="Q8_0", projector="none").candidates
    assert (plain.projector, plain.projector_bytes, plain.digest) == (None, 0, one.source.digest)
    with pytest.raises(BaseProblem, match=r"hf\.co/org/repo has no encoder mmproj-F8\.gguf") as caught:
        find(here, tag="Q8_0", projector="mmproj-F8.gguf")
    assert "did you mean 'mmproj-F" in (caught.value.problems[0].hint or "")


def parts_of(here: Place, name: str, folder: Path, at: list[int]) -> dict[str, bytes]:
    """A file of the Hub in parts, in a folder of its quant."""
    whole = folder / "whole.gguf"
    whole.write_bytes(here.hub.files[name])
    files = split_gguf(whole, folder / "parts" / "Tiny-7B-Q6_K", at)
    return {f"Q6_K/{file.name}": file.read_bytes() for file in files}


def test_models_in_parts_are_planned_from_the_headers_of_all_parts(here: Place, tmp_path: Path) -> None:
    parts = parts_of(here, "Tiny-7B-Q8_0.gguf", tmp_path, [1, 4])
    (alone,) = find(here, tag="Q8_0").candidates
    here.hub.files |= parts
    (one,) = find(here, tag="q6_k").candidates
    assert one.ref == "hf.co/org/repo:Tiny-7B-Q6_K-00001-of-00003.gguf"  # its header says Q8_0
    assert isinstance(one.source, SplitModel)
    assert [(part.path, part.digest) for part in one.source.parts if isinstance(part, HubFile)] == [
        (path, sha256(data)) for path, data in parts.items()
    ]
    assert one.shape == alone.shape
    assert one.digest == split_digest(map(sha256, parts.values()))
    sent = here.hub.sent
    find(here, tag="q6_k")
    assert here.hub.sent == sent  # kept from one run to the next


def test_further_parts_have_short_headers(here: Place, tmp_path: Path) -> None:
    small = parts_of(here, "Tiny-7B-Q8_0.gguf", tmp_path, [1, 4])
    here.hub.files = {path: data + bytes(PADDING) for path, data in small.items()}
    assert len(find(here).candidates) == 1
    assert here.hub.sent == FIRST + 2 * FIRST_OF_REST


def test_a_model_of_which_a_part_is_missing_is_left_out_and_said(here: Place, tmp_path: Path) -> None:
    parts = parts_of(here, "Tiny-7B-Q8_0.gguf", tmp_path, [1, 4])
    del parts["Q6_K/Tiny-7B-Q6_K-00002-of-00003.gguf"]
    here.hub.files |= parts
    found = find(here)
    assert refs(found) == ["hf.co/org/repo:Q4_K_M", "hf.co/org/repo:Q8_0"]
    (note,) = found.notes
    assert note.startswith(
        "hf.co/org/repo has not all parts of Tiny-7B-Q6_K, which is left out: Q6_K/Tiny-7B-Q6_K-00002"
    )
    with pytest.raises(
        BaseProblem, match=r"not all of that model's parts: Q6_K/Tiny-7B-Q6_K-00002-of-00003\.gguf"
    ):
        find(here, tag="q6_k")
    here.hub.files = parts
    with pytest.raises(BaseProblem, match="not all of that model's parts"):
        find(here)


def test_a_file_without_a_digest_cannot_be_verified(here: Place) -> None:
    here.hub.no_digest = set(here.hub.files)
    with pytest.raises(BaseProblem, match=r"tells no digest of Tiny-7B-F16\.gguf"):
        find(here)


def test_a_repository_without_gguf(here: Place) -> None:
    here.hub.files = {}
    with pytest.raises(BaseProblem, match=r"hf\.co/org/repo has no GGUF files of a model"):
        find(here)
    with pytest.raises(NotThere, match=r"there is no https://hub\.example\.com/org/none"):
        find(here, "hf.co/org/none")


def test_a_token_goes_to_the_hub_and_not_to_where_it_redirects(here: Place) -> None:
    here.hub.token = "secret"  # noqa: S105 (made up)
    with pytest.raises(BaseProblem, match=r"may not be read, or is not there: Access to model") as caught:
        find(here, tag="Q8_0")
    assert "HF_TOKEN" in (caught.value.problems[0].hint or "")
    here.hub.sends = "secret"
    here.hub.requests.clear()
    assert refs(find(here, tag="Q8_0")) == ["hf.co/org/repo:Q8_0"]
    sent = {(one.url.host, one.headers.get("authorization")) for one in here.hub.requests}
    assert sent == {("hub.example.com", "Bearer secret"), (CDN, None)}


def test_without_a_network_what_was_seen_counts(here: Place) -> None:
    first = find(here)
    here.hub.down = True
    again = find(here)
    assert again.candidates == first.candidates
    (note,) = again.notes
    assert note.startswith("Hugging Face cannot be asked (nothing answers at https://hub.example.com")
    assert "; planned with what was seen on 20" in note
    with pytest.raises(Unreachable):  # a header that was never read
        find(here, tag="Q2_K")
    with pytest.raises(Unreachable):
        find(here, "hf.co/org/other")


def test_a_limit_of_requests(here: Place) -> None:
    here.hub.error = Unreachable("https://hub.example.com answers 429: its limit of requests is reached")
    with pytest.raises(Unreachable, match="429"):
        find(here)
    hub = FakeHub(files=here.hub.files)
    hub.before = lambda _request: httpx2.Response(429)
    here.hub = hub
    with pytest.raises(Unreachable, match="answers 429: its limit of requests is reached") as caught:
        find(here)
    assert "HF_TOKEN" in (caught.value.problems[0].hint or "")
