from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from modelforge.bases import Candidate, LocalFile, SplitModel
from modelforge.bases.headers import has_token
from modelforge.bases.local import encoders_passed_over, is_local, is_registry, local_candidates
from modelforge.errors import ExitCode, UsageProblem
from modelforge.filehash import Hashes
from modelforge.profile.schema import Base
from tests.ggufs import tiny_llama, write_gguf
from tests.projectors import projector_file
from tests.splits import split_gguf


def candidates(root: Path, model: str = "./models/*.gguf", **keys: object) -> tuple[Candidate, ...]:
    base = Base.model_validate({"model": model, **keys})
    return local_candidates(base, root=root, hashes=Hashes(root / ".cache"))


def refs(root: Path, model: str = "./models/*.gguf", **keys: object) -> list[str]:
    return [candidate.ref for candidate in candidates(root, model, **keys)]


def refused(root: Path, model: str = "./models/*.gguf", **keys: object) -> str:
    """Everything that a refusal says, in one line."""
    with pytest.raises(UsageProblem) as caught:
        candidates(root, model, **keys)
    assert caught.value.exit_code is ExitCode.USAGE
    lines = [f"{p.file or ''}|{p.message}|{p.hint or ''}" for p in caught.value.problems]
    return " / ".join([caught.value.summary, *lines])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a 7b and a 3b in two quants each."""
    for size in ("7b", "3b"):
        for quant in ("Q8_0", "Q4_K_M"):
            tiny_llama(
                tmp_path / "models" / f"tiny-{size}-instruct-{quant}.gguf", quant, size_label=size.upper()
            )
    return tmp_path


# What is local


@pytest.mark.parametrize(
    "model",
    ["./x", "../x", "/x/y", "x.gguf", "models/x.GGUF", "models/tiny-*", "tiny-?b", "m[12].gguf", "./hf.co/x"],
)
def test_paths_and_globs_are_local(model: str) -> None:
    assert is_local(model)


@pytest.mark.parametrize("model", ["qwen2.5-coder", "qwen2.5-coder:7b", "team/model", "team/model:3b"])
def test_names_are_not_local(model: str) -> None:
    assert not is_local(model)
    assert not is_registry(model)


@pytest.mark.parametrize(
    "model",
    [
        "hf.co/org/repo",
        "hf.co/org/repo:x.gguf",
        "registry.example.com/a/b",
        "localhost:5000/a/b",
        "http://x/y",
    ],
)
def test_a_registry_is_neither(model: str) -> None:
    assert not is_local(model)
    assert is_registry(model)


def test_with_the_project_at_hand_an_existing_path_is_local(root: Path) -> None:
    (root / "models" / "weights").write_text("")
    assert is_local("models/weights", root)
    assert not is_local("models/other", root)


# What is found


def test_a_candidate_says_all_that_is_known(root: Path) -> None:
    (found,) = candidates(root, "./models/tiny-7b-instruct-Q4_K_M.gguf")
    path = root / "models" / "tiny-7b-instruct-Q4_K_M.gguf"
    assert (found.ref, found.size, found.quant) == ("./models/tiny-7b-instruct-Q4_K_M.gguf", "7b", "Q4_K_M")
    assert found.source == LocalFile(path=path, bytes=path.stat().st_size)
    assert found.digest is None
    assert found.shape.architecture == "llama"


def test_a_digest_that_is_known_is_given(root: Path) -> None:
    path = root / "models" / "tiny-3b-instruct-Q8_0.gguf"
    Hashes(root / ".cache", lambda: time.time_ns() + 10**10).sha256(path)
    (found,) = candidates(root, "models/tiny-3b-instruct-Q8_0.gguf")
    assert found.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_glob_finds_models_only_in_the_order_of_their_names(root: Path) -> None:
    (root / "models" / "README.md").write_text("hello")
    (root / "models" / "._tiny-7b-instruct-Q8_0.gguf").write_bytes(b"\0\5\x16\7")
    (root / "models" / "folder").mkdir()
    assert refs(root, "./models/*") == [
        "./models/tiny-3b-instruct-Q4_K_M.gguf",
        "./models/tiny-3b-instruct-Q8_0.gguf",
        "./models/tiny-7b-instruct-Q4_K_M.gguf",
        "./models/tiny-7b-instruct-Q8_0.gguf",
    ]


def test_what_is_no_file_is_not_passed_over_in_silence(root: Path) -> None:
    (root / "models" / "folder.gguf").mkdir()
    (root / "models" / "gone.gguf").symlink_to("nowhere")
    os.mkfifo(root / "models" / "pipe.gguf")
    told = refused(root, "./models/*.gguf")
    assert "./models/folder.gguf|a folder, not a GGUF file|" in told
    assert "./models/gone.gguf|a link to nowhere, where nothing is|" in told
    assert "./models/pipe.gguf|neither a file nor a folder|" in told
    assert refs(root, "./models/tiny-7b-*.gguf")


def test_a_header_is_read_once_while_the_file_stays_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "./models/tiny-7b-instruct-Q8_0.gguf"
    before = candidates(root, model)
    with monkeypatch.context() as patched:
        patched.setattr("modelforge.bases.local.read_header", lambda *_file: pytest.fail("read again"))
        assert candidates(root, model) == before
    tiny_llama(root / model, "Q4_K_M", layers=3)
    assert candidates(root, model) != before


def test_other_spellings_of_a_path_mean_the_same(root: Path) -> None:
    ref = "./models/tiny-7b-instruct-Q8_0.gguf"
    for model in (ref[2:], f"./models/../{ref[2:]}", f"{root}/{ref[2:]}", "./**/tiny-7b*Q8_0.gguf"):
        assert refs(root, model) == [ref]


def test_a_name_with_glob_characters_is_found_as_it_is(root: Path) -> None:
    tiny_llama(root / "models" / "x[1].gguf")
    assert refs(root, "./models/x[1].gguf") == ["./models/x[1].gguf"]


def test_quants_filter_in_any_case_by_the_header(root: Path) -> None:
    tiny_llama(root / "models" / "liar-Q8_0.gguf", "Q4_K_M")
    found = candidates(root, quants=["q4_k_m"])
    assert [candidate.ref for candidate in found] == [
        "./models/liar-Q8_0.gguf",
        "./models/tiny-3b-instruct-Q4_K_M.gguf",
        "./models/tiny-7b-instruct-Q4_K_M.gguf",
    ]
    assert {candidate.quant for candidate in found} == {"Q4_K_M"}


def test_without_a_file_type_most_of_the_weights_decide(root: Path) -> None:
    tiny_llama(root / "m" / "x.gguf", "Q6_K", metadata={"general.file_type": None})
    tiny_llama(root / "m" / "y.gguf", "Q4_K_M", metadata={"general.file_type": 777})
    assert [candidate.quant for candidate in candidates(root, "./m/*")] == ["Q6_K", "Q4_K_M"]


def test_sizes_filter_by_name_label_and_count(root: Path) -> None:
    tiny_llama(root / "m" / "tiny-7B.Q8_0.gguf", size_label="99B")
    tiny_llama(root / "m" / "labelled.gguf", size_label="7B")
    tiny_llama(root / "m" / "counted.gguf", size_label="odd")
    tiny_llama(root / "m" / "mixtral-8x7b.gguf", size_label="8x7B", layers=4)
    found = {one.ref: one.size for one in candidates(root, "./m/*", sizes=["14b", "7b", "1.3m"])}
    assert found == {"./m/tiny-7B.Q8_0.gguf": "7b", "./m/labelled.gguf": "7b", "./m/counted.gguf": "1.3m"}


def test_without_sizes_the_label_or_the_count_says_it(root: Path) -> None:
    tiny_llama(root / "m" / "a-7b.gguf", size_label="8x7B")
    tiny_llama(root / "m" / "b.gguf")
    assert [one.size for one in candidates(root, "./m/*")] == ["8x7b", "1.3m"]


@pytest.mark.parametrize(
    ("name", "word", "stands"),
    [
        ("llama-2-7b.Q4_0", "7b", True),
        ("Qwen2.5_7B-Instruct", "7b", True),
        ("qwen3-30b-a3b", "3b", False),
        ("qwen3-30b-a3b", "30b-a3b", True),
        ("smol-1.7b", "7b", False),
        ("smol-1.7b", "1.7b", True),
        ("x-7bit", "7b", False),
    ],
)
def test_a_word_must_stand_by_itself(name: str, word: str, *, stands: bool) -> None:
    assert has_token(name, word) is stands


def test_a_variant_filters_by_name(root: Path) -> None:
    tiny_llama(root / "models" / "tiny-7b-base-Q8_0.gguf")
    assert "./models/tiny-7b-base-Q8_0.gguf" not in refs(root, variant="instruct")
    assert refs(root, variant="base") == ["./models/tiny-7b-base-Q8_0.gguf"]


@pytest.mark.parametrize("tag", ["tiny-3b-instruct-Q8_0", "tiny-3b-instruct-Q8_0.gguf", "*3b*Q8*"])
def test_a_tag_pins_one_file_whatever_else_is_asked(root: Path, tag: str) -> None:
    (found,) = candidates(root, tag=tag, quants=["Q4_K_M"], sizes=["70b"])
    assert (found.ref, found.size, found.quant) == ("./models/tiny-3b-instruct-Q8_0.gguf", "3b", "Q8_0")


def test_a_tag_looks_into_no_other_file(root: Path) -> None:
    (root / "models" / "broken.gguf").write_text("")
    assert refs(root, tag="tiny-3b-instruct-Q8_0") == ["./models/tiny-3b-instruct-Q8_0.gguf"]


def test_two_files_of_one_size_and_quant_are_two_candidates(root: Path) -> None:
    tiny_llama(root / "models" / "other-7b-instruct-Q8_0.gguf")
    assert len(refs(root, sizes=["7b"], quants=["Q8_0"])) == 2


def test_adapters_and_projectors_are_passed_over(root: Path) -> None:
    tiny_llama(root / "models" / "lora.gguf", metadata={"general.type": "adapter"})
    tiny_llama(root / "models" / "mmproj.gguf", metadata={"general.architecture": "clip"})
    write_gguf(root / "models" / "vocab.gguf", {"general.architecture": "llama"}, [])
    assert len(refs(root)) == 4


# Several files


def test_a_model_in_parts_is_one_candidate_with_the_header_of_the_whole(root: Path) -> None:
    whole = root / "models" / "tiny-7b-instruct-Q8_0.gguf"
    parts = split_gguf(whole, root / "m" / "tiny-7b-Q8_0", [1, 4])
    (one,) = candidates(root, "./m/*.gguf")
    (alone,) = candidates(root, tag=whole.name)
    assert one.ref == "./m/tiny-7b-Q8_0-00001-of-00003.gguf"
    assert isinstance(one.source, SplitModel)
    assert [part.path for part in one.source.parts if isinstance(part, LocalFile)] == parts
    assert one.source.bytes == sum(part.stat().st_size for part in parts)
    assert (one.shape, one.quant, one.size) == (alone.shape, alone.quant, alone.size)


@pytest.mark.parametrize(
    ("model", "tag"),
    [
        ("./m/x-00001-of-00003.gguf", None),
        ("./m/x-00003-of-00003.gguf", None),
        ("./m/*-00002-of-*.gguf", None),
        ("./m/*.gguf", "x"),
        ("./m/*.gguf", "x-00001-of-00003"),
        ("./m/*.gguf", "x-00002-of-00003.gguf"),
    ],
)
def test_any_of_its_parts_names_a_model(root: Path, model: str, tag: str | None) -> None:
    split_gguf(root / "models" / "tiny-7b-instruct-Q8_0.gguf", root / "m" / "x", [1, 4])
    tiny_llama(root / "m" / "y.gguf")
    assert refs(root, model, **({"tag": tag} if tag else {})) == ["./m/x-00001-of-00003.gguf"]


def test_the_digest_of_parts_is_known_when_those_of_all_parts_are(root: Path) -> None:
    parts = split_gguf(root / "models" / "tiny-7b-instruct-Q8_0.gguf", root / "m" / "x", [1])
    hashes = Hashes(root / ".cache", now=lambda: time.time_ns() + 10**10)
    base = Base(model="./m/*.gguf")
    for part in parts:
        assert local_candidates(base, root=root, hashes=hashes)[0].digest is None
        hashes.sha256(part)
    (one,) = local_candidates(base, root=root, hashes=hashes)
    lines = "".join(f"sha256:{hashlib.sha256(part.read_bytes()).hexdigest()}\n" for part in parts)
    assert one.digest == f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def test_an_encoder_of_its_own_is_a_part_of_every_candidate(root: Path) -> None:
    encoder = projector_file(root / "models" / "mmproj-F16.gguf")
    for one in candidates(root, projector="./models/mmproj-*.gguf"):
        assert one.projector == LocalFile(path=encoder, bytes=encoder.stat().st_size)
        assert one.projector_bytes == encoder.stat().st_size
        assert one.files[-1] == one.projector
    assert len(candidates(root, projector="./models/mmproj-F16.gguf")) == 4
    assert [one.projector for one in candidates(root, projector="none")] == [None] * 4


def test_an_encoder_that_is_left_out_is_said(root: Path) -> None:
    projector_file(root / "models" / "mmproj-F16.gguf")

    def said(**keys: str) -> tuple[str, ...]:
        base = Base.model_validate({"model": "./models/*.gguf", **keys})
        assert local_candidates(base, root=root, hashes=Hashes(root / ".cache"))
        return encoders_passed_over(base, root=root)

    (note,) = said()
    assert note.startswith("./models/mmproj-F16.gguf is left out: it is an encoder of images or sound")
    assert note.endswith('projector = "./models/mmproj-F16.gguf" in [base] adds it')
    assert said(projector="none") == said(projector="./models/mmproj-F16.gguf") == ()
    assert said(tag="tiny-3b-instruct-Q8_0") == said(model="./models/tiny-*.gguf") == ()


# What is refused


def test_when_only_other_files_are_left_each_is_named(root: Path) -> None:
    tiny_llama(root / "m" / "lora.gguf", metadata={"general.type": "adapter"})
    tiny_llama(root / "m" / "mm.gguf", metadata={"general.type": "mmproj"})
    said = refused(root, "./m/*.gguf")
    assert said.startswith("'./m/*.gguf' matches no model / ./m/lora.gguf|an adapter, not a model")
    assert "./m/mm.gguf|a projector" in said


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("split.no", "is no part 2 of 3: its split.no is not there|"),
        ("split.count", "is no part 2 of 3: its split.count is not there|"),
        ("split.tensors.count", "is no part 2 of 3: its split.tensors.count is not there|"),
    ],
)
def test_a_part_that_does_not_say_which_it_is(root: Path, key: str, said: str) -> None:
    split_gguf(
        root / "models" / "tiny-7b-instruct-Q8_0.gguf", root / "m" / "big", [1, 4], keys={1: {key: None}}
    )
    assert f"./m/big-00002-of-00003.gguf|{said}" in refused(root, "./m/*.gguf")


def test_parts_of_two_models_are_told_apart(root: Path) -> None:
    for size in ("7b", "3b"):
        whole = root / "models" / f"tiny-{size}-instruct-Q8_0.gguf"
        split_gguf(whole, root / "m" / size, [1, 4] if size == "7b" else [2, 4])
    (root / "m" / "3b-00001-of-00003.gguf").replace(root / "m" / "7b-00001-of-00003.gguf")
    said = refused(root, "./m/7b-*.gguf")
    assert "./m/7b-00001-of-00003.gguf|the 3 parts have" in said
    assert "they are of different models" in said


def test_missing_parts_are_all_named(root: Path) -> None:
    parts = split_gguf(root / "models" / "tiny-7b-instruct-Q8_0.gguf", root / "m" / "big", [1, 4, 5])
    parts[0].unlink()
    parts[2].unlink()
    said = refused(root, "./m/*.gguf")
    for part in (1, 3):
        assert f"./m/big-0000{part}-of-00004.gguf|is missing: the model is split in 4" in said


@pytest.mark.parametrize(
    "name", ["big-00003-of-00002.gguf", "big-00000-of-00002.gguf", "big-00001-of-99999.gguf"]
)
def test_a_name_that_counts_wrongly(root: Path, name: str) -> None:
    tiny_llama(root / "m" / name)
    assert f"./m/{name}|its name says part " in refused(root, "./m/*.gguf")


def test_a_part_under_another_name_is_no_model(root: Path) -> None:
    parts = split_gguf(root / "models" / "tiny-7b-instruct-Q8_0.gguf", root / "m" / "big", [3])
    parts[0].replace(root / "m" / "renamed.gguf")
    parts[1].unlink()
    said = refused(root, "./m/*.gguf")
    assert "./m/renamed.gguf|a part of a model that is split in 2, and its name does not say which|" in said


def test_an_encoder_that_is_none(root: Path) -> None:
    said = refused(root, projector="./models/tiny-3b-instruct-Q8_0.gguf")
    assert (
        "./models/tiny-3b-instruct-Q8_0.gguf|no encoder of images or sound: its architecture is llama|"
        in said
    )
    assert "matches no file" in refused(root, projector="./models/mmproj.gguf")
    assert "base.projector matches ./models/tiny-3b-" in refused(root, projector="./models/tiny-*.gguf")
    assert "lies outside of the project" in refused(root, projector="../mmproj.gguf")


def test_a_missing_file_gets_the_nearest_name(root: Path) -> None:
    said = refused(root, "./models/tinny-7b-instruct-Q8_0.gguf")
    assert "'./models/tinny-7b-instruct-Q8_0.gguf' matches no file" in said
    assert "did you mean './models/tiny-7b-instruct-Q8_0.gguf'?" in said


def test_a_glob_without_matches_is_told_what_is_there(root: Path) -> None:
    assert "there are ./models/tiny-3b-instruct-Q4_K_M.gguf, " in refused(root, "./models/zzz*")
    assert "no .gguf is in the project's folder" in refused(root, "./*.gguf")


def test_a_missing_folder_gets_the_nearest_name(root: Path) -> None:
    said = refused(root, "./modles/tiny-*.gguf")
    assert "the project's folder has no folder 'modles'" in said
    assert "did you mean 'models'?" in said


def test_a_folder_is_told_how_to_be_named(root: Path) -> None:
    assert "name the file, or ./models/*.gguf" in refused(root, "./models")


def test_an_unknown_quant_gets_the_nearest_name(root: Path) -> None:
    assert "'q4_KM' in base.quants is no quant|did you mean 'Q4_K_M'?" in refused(
        root, quants=["q4_KM", "q8_0"]
    )


def test_quants_that_no_file_has_are_told_what_there_is(root: Path) -> None:
    said = refused(root, quants=["q6_K"], sizes=["7b"])
    assert "no file of './models/*.gguf' has what base asks for: sizes 7b, quants q6_K" in said
    assert "./models/tiny-7b-instruct-Q8_0.gguf (7b Q8_0)" in said


def test_a_tag_that_no_file_has_gets_the_nearest_name(root: Path) -> None:
    said = refused(root, tag="tiny-7b-instruct-Q8")
    assert "no file of ./models/*.gguf is named 'tiny-7b-instruct-Q8'" in said
    assert "did you mean 'tiny-7b-instruct-Q8_0.gguf'?" in said


def test_all_damaged_files_are_named_at_once(root: Path) -> None:
    (root / "models" / "a.gguf").write_bytes(b"")
    os.truncate(root / "models" / "tiny-3b-instruct-Q8_0.gguf", 5000)
    said = refused(root)
    assert "./models/a.gguf|not a GGUF file: it is empty" in said
    assert "./models/tiny-3b-instruct-Q8_0.gguf|cut: " in said


def test_a_header_that_cannot_be_planned_for_names_its_file(root: Path) -> None:
    tiny_llama(root / "models" / "zero.gguf", metadata={"llama.block_count": None})
    assert "./models/zero.gguf|" in refused(root, "./models/zero.gguf")


@pytest.mark.parametrize("model", ["../x.gguf", "./models/../../x.gguf", "/x.gguf", "../*/x.gguf"])
def test_a_path_may_not_leave_the_project(root: Path, model: str) -> None:
    assert f"'{model}' lies outside of the project" in refused(root, model)


@pytest.mark.parametrize("model", ["./models/out.gguf", "./models/*.gguf", "./away/x.gguf", "./away/*.gguf"])
def test_a_link_may_not_leave_the_project(
    root: Path, tmp_path_factory: pytest.TempPathFactory, model: str
) -> None:
    outside = tiny_llama(tmp_path_factory.mktemp("outside") / "x.gguf")
    (root / "models" / "out.gguf").symlink_to(outside)
    (root / "away").symlink_to(outside.parent)
    assert f"is a link to {outside}, outside of the project" in refused(root, model)


def test_a_link_inside_of_the_project_is_fine(root: Path) -> None:
    (root / "current.gguf").symlink_to(Path("models") / "tiny-7b-instruct-Q8_0.gguf")
    assert refs(root, "./current.gguf") == ["./current.gguf"]


def test_a_project_behind_a_link_is_fine(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    link = tmp_path_factory.mktemp("home") / "project"
    link.symlink_to(root)
    assert len(refs(link)) == 4
    assert refs(link, f"{link}/models/tiny-7b*Q8_0.gguf") == ["./models/tiny-7b-instruct-Q8_0.gguf"]


def test_nothing_is_told_of_a_folder_outside(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tiny_llama(tmp_path_factory.mktemp("outside") / "secret.gguf").parent
    (root / "away").symlink_to(outside)
    said = refused(root, "./away/secrets.gguf")
    assert "./away is a link to" in said
    assert "secret.gguf'" not in said


@pytest.mark.parametrize(
    "model", ["./loop/x.gguf", "./loop", f"./{'x' * 300}.gguf", "./a\0b.gguf", "./x/*\0.gguf"]
)
def test_what_cannot_be_looked_for_is_refused(root: Path, model: str) -> None:
    (root / "loop").symlink_to(root / "loop")
    assert model.replace("\0", "") in refused(root, model).replace("\0", "")


def test_a_bad_pattern_is_refused(root: Path) -> None:
    (root / "models" / "x").mkdir()
    try:
        found = refs(root, "./models/**x.gguf")
    except UsageProblem as error:
        assert "is no valid pattern" in str(error)  # noqa: PT017 (newer Pythons take it as '*')
    else:
        assert found == []
