"""What a model is made of: layers, their order, config, parameters, as Ollama's create does it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelforge.errors import BuildFailed
from modelforge.gguf import Header, read_header
from modelforge.runtimes import BrokenModel, Turn, recipe
from modelforge.runtimes.recipe import Defaults, Part, Recipe, file_part, from_file, from_model, human_number
from modelforge.runtimes.store import Layer, Manifest, Store, config_layer
from tests.fakes import some_request
from tests.ggufs import tiny_llama

WEIGHTS = Part(layer=Layer(kind="model", digest="sha256:" + "a" * 64, size=9), path=Path("x.gguf"))
ADAPTER = file_part("adapter", Path("y.gguf"), "sha256:" + "b" * 64, 5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


@pytest.fixture
def header(tmp_path: Path) -> Header:
    return read_header(tiny_llama(tmp_path / "tiny.gguf", "Q4_K_M"))


def config_of(made: Recipe) -> dict[str, Any]:
    assert made.config.data is not None
    found: dict[str, Any] = json.loads(made.config.data)
    return found


def data_of(made: Recipe, kind: str) -> list[bytes]:
    return [part.data or b"" for part in made.parts if part.layer.kind == kind]


def written(store: Store, made: Recipe, name: str = "base") -> Manifest:
    for part in (*made.parts, made.config):
        if part.data is not None:
            store.blobs.add_bytes(part.data)
    store.write(name, made.config.layer, made.layers)
    found = store.read(name)
    assert found is not None
    return found


def base(store: Store, header: Header, **request: Any) -> Manifest:
    return written(store, from_file([WEIGHTS], header, some_request(**request), [], Defaults()))


def test_a_model_from_a_file_has_ollamas_layers_in_ollamas_order(header: Header) -> None:
    request = some_request(
        template="{{ .Prompt }}",
        system="Be kind.",
        license=("MIT", "BSD"),
        parameters={"temperature": 0.7, "num_ctx": 4096, "stop": ("<|im_end|>",)},
        messages=(Turn(role="user", content="<hi>"),),
    )
    made = from_file([WEIGHTS], header, request, [ADAPTER], Defaults())
    kinds = ["model", "adapter", "template", "system", "license", "license", "params", "messages"]
    assert [layer.kind for layer in made.layers] == kinds
    assert data_of(made, "system") == [b"Be kind."]
    assert data_of(made, "license") == [b"MIT", b"BSD"]
    assert data_of(made, "params") == [
        b'{"num_ctx":4096,"stop":["\\u003c|im_end|\\u003e"],"temperature":0.7}\n'
    ]
    assert data_of(made, "messages") == [b'[{"role":"user","content":"\\u003chi\\u003e"}]\n']


def test_the_config_has_ollamas_keys_in_ollamas_order(header: Header) -> None:
    made = from_file([WEIGHTS], header, some_request(requires="0.12.0"), [], Defaults())
    assert made.config.data == (
        b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"'
        + human_number(
            sum(
                tensor.dims[0] * tensor.dims[-1] if len(tensor.dims) > 1 else tensor.dims[0]
                for tensor in header.tensors
            )
        ).encode()
        + b'","file_type":"Q4_K_M","requires":"0.12.0","architecture":"amd64","os":"linux"}\n'
    )


def test_a_bare_model_is_weights_and_config_alone(header: Header) -> None:
    made = from_file([WEIGHTS], header, some_request(parameters={}), [], Defaults())
    assert [layer.kind for layer in made.layers] == ["model"]


def test_the_models_own_format_fills_in_what_the_profile_leaves_open(header: Header, store: Store) -> None:
    defaults = Defaults(template="GO", stop=("<end>",))
    made = from_file([WEIGHTS], header, some_request(parameters={"seed": 1}), [], defaults)
    found = recipe.standing(made, store)
    assert (found.template, found.parameters) == ("GO", {"seed": 1, "stop": ("<end>",)})


@pytest.mark.parametrize("stop", [("mine",), ()])
def test_the_profiles_own_template_and_stop_win(header: Header, store: Store, stop: tuple[str, ...]) -> None:
    request = some_request(template="MINE", parameters={"stop": stop})
    found = recipe.standing(
        from_file([WEIGHTS], header, request, [], Defaults(template="GO", stop=("x",))), store
    )
    assert (found.template, found.parameters["stop"]) == ("MINE", stop)


def test_architectures_with_a_built_in_format_get_its_renderer(header: Header, store: Store) -> None:
    gemma = replace(header, metadata={**header.metadata, "general.architecture": "gemma4"})
    found = recipe.standing(from_file([WEIGHTS], gemma, some_request(parameters={}), [], Defaults()), store)
    assert (found.renderer, found.parser, found.parameters) == ("gemma4", "gemma4", {"stop": ("<turn|>",)})
    assert recipe.has_own_format(gemma)
    assert not recipe.has_own_format(header)


def test_what_is_left_open_is_the_bases(header: Header, store: Store) -> None:
    turn = Turn(role="user", content="hi")
    whole = {
        "system": "S",
        "template": "T",
        "license": ("L",),
        "parameters": {"seed": 1},
        "messages": (turn,),
    }
    from_base = base(store, header, **whole, renderer="r", parser="p", requires="0.9")
    made = from_model(from_base, store, some_request(parameters={}), [])
    assert recipe.standing(made, store) == replace(recipe.read(from_base, store.text), manifest=made.manifest)


def test_over_a_base_parameters_merge_licences_add_up_and_texts_replace(header: Header, store: Store) -> None:
    from_base = base(
        store,
        header,
        system="old",
        template="T",
        license=("one",),
        parameters={"seed": 1, "top_k": 5, "stop": ("a", "b")},
        messages=(Turn(role="user", content="old"),),
    )
    request = some_request(
        system="new",
        license=("two",),
        parameters={"seed": 2, "stop": ("c",)},
        messages=(Turn(role="user", content="new"),),
        requires="1.0",
    )
    found = recipe.standing(from_model(from_base, store, request, [ADAPTER]), store)
    assert found.weights == (WEIGHTS.layer.digest, ADAPTER.layer.digest)
    assert (found.system, found.template, found.license) == ("new", "T", ("one", "two"))
    assert found.parameters == {"seed": 2, "top_k": 5, "stop": ("c",)}
    assert found.messages == (Turn(role="user", content="new"),)
    assert found.requires == "1.0"


def test_an_empty_system_takes_the_bases_away(header: Header, store: Store) -> None:
    from_base = base(store, header, system="old")
    made = from_model(from_base, store, some_request(system=""), [])
    assert recipe.standing(made, store).system == ""
    assert "system" not in [layer.kind for layer in made.layers]


def test_no_layer_tells_where_it_came_from(header: Header, store: Store) -> None:
    written(store, from_model(base(store, header), store, some_request(), []), "child")
    assert b'"from"' not in next(store.root.glob("manifests/*/*/child/*")).read_bytes()


def test_layers_that_only_a_server_knows_are_handed_on(header: Header, store: Store) -> None:
    plain = base(store, header)
    extra = Layer(kind="draft", digest="sha256:" + "c" * 64, size=3)
    made = from_model(replace(plain, layers=(*plain.layers, extra)), store, some_request(), [])
    assert extra in made.layers


def test_an_old_config_loses_its_list_of_layers_and_keeps_the_rest(header: Header, store: Store) -> None:
    plain = base(store, header)
    old = {**store.json(plain.config), "rootfs": {"type": "layers"}, "capabilities": ["completion"]}
    blob = store.blobs.add_bytes(json.dumps(old).encode())
    made = from_model(replace(plain, config=config_layer(blob.digest, blob.size)), store, some_request(), [])
    assert config_of(made) == {key: value for key, value in old.items() if key != "rootfs"}


def test_a_base_without_weights_is_refused(header: Header, store: Store) -> None:
    plain = base(store, header)
    with pytest.raises(BuildFailed, match="no GGUF weights in this store"):
        from_model(replace(plain, layers=()), store, some_request(), [])


@pytest.mark.parametrize("bad", ["", "[1]", "{", '"x"'])
@pytest.mark.parametrize("kind", ["params", "config"])
def test_parts_that_are_no_json_object_break_the_model(
    header: Header, store: Store, kind: str, bad: str
) -> None:
    plain = base(store, header, parameters={"seed": 1})
    blob = store.blobs.add_bytes(bad.encode())
    layer = Layer(kind=kind, digest=blob.digest, size=blob.size)
    broken = (
        replace(plain, config=layer) if kind == "config" else replace(plain, layers=(*plain.layers, layer))
    )
    with pytest.raises(BrokenModel):
        recipe.read(broken, store.text)


@pytest.mark.parametrize("bad", ["{}", "[1]", "7"])
def test_messages_that_are_no_list_of_turns_break_the_model(header: Header, store: Store, bad: str) -> None:
    plain = base(store, header)
    blob = store.blobs.add_bytes(bad.encode())
    layer = Layer(kind="messages", digest=blob.digest, size=blob.size)
    with pytest.raises(BrokenModel):
        recipe.read(replace(plain, layers=(*plain.layers, layer)), store.text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999"),
        (1500, "2K"),
        (361_000, "361K"),
        (2_000_000, "2M"),
        (2_621_440, "2.62M"),
        (1_000_000_000, "1B"),
        (1_240_000_000, "1.2B"),
        (70_553_706_496, "70.6B"),
    ],
)
def test_numbers_of_weights_are_worded_as_ollama_does(count: int, text: str) -> None:
    assert human_number(count) == text


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "unknown"),
        (1, "F16"),
        (15, "Q4_K_M"),
        (30, "IQ4_XS"),
        (38, "MXFP4_MOE"),
        (99, "unknown"),
        (None, "unknown"),
    ],
)
def test_file_types_have_ollamas_names(header: Header, number: int | None, name: str) -> None:
    metadata = {key: value for key, value in header.metadata.items() if key != "general.file_type"}
    if number is not None:
        metadata["general.file_type"] = number
    assert recipe.file_type(replace(header, metadata=metadata)) == name
