"""Trained heads: each kind of file read right, told apart from what it is not, and the cards that name them."""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from moderato import plugins
from moderato.cards import HeadCard, encoder_card, encoder_names, head_card, head_names
from moderato.errors import CardError, MissingExtra, SettingsError, WeightsError
from moderato.heads import Head, dense, laion, q16
from moderato.layers import Affine, Curves, Linear, Network, Relu
from moderato.weights import UrlFile

SHARED = Path(__file__).parents[2] / "shared" / "heads"
ZIPS = {"b32": "clip_autokeras_nsfw_b32.zip", "l14": "clip_autokeras_binary_nsfw.zip"}

published = pytest.mark.skipif(not SHARED.is_dir(), reason=f"LAION's and Q16's own files are not in {SHARED}")


def random_state() -> np.random.RandomState:
    return np.random.RandomState(11)


def unit_rows(count: int, dim: int) -> NDArray[np.float32]:
    rows = random_state().standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def floats(*shape: int) -> NDArray[np.float32]:
    return np.float32(random_state().standard_normal(shape))


# ---- cards ----


@pytest.mark.parametrize("name", head_names())
def test_every_card_names_an_encoder_a_kind_and_where_its_file_is(name: str) -> None:
    card = head_card(name)
    assert card.encoder in {encoder_card(encoder).lineage for encoder in encoder_names()}
    assert card.kind in plugins.names("moderato.heads")
    assert card.licence
    assert card.limits
    if card.url:
        UrlFile(card.url, card.sha256)
    else:
        assert card.sha256 is None


def test_a_head_that_nobody_knows() -> None:
    with pytest.raises(CardError, match="Did you mean 'laion-nsfw-b32'"):
        head_card("laion-nsfw-b23")


# ---- dense: one safetensors file ----

FACTS = {"moderato_head": "1", "labels": '["a", "b"]', "encoder": "test/space", "output": "sigmoid", "unit": "true"}
ONE = {"0.weight": floats(2, 5), "0.bias": floats(2)}
SEVERAL = {  # YitingQu/unsafe-diffusion's Sequential: Linear, ReLU, Dropout, BatchNorm1d, Linear
    "0.weight": floats(4, 5),
    "0.bias": floats(4),
    "3.weight": floats(4),
    "3.bias": floats(4),
    "3.running_mean": floats(4),
    "3.running_var": np.abs(floats(4)),
    "3.num_batches_tracked": np.array(7),
    "4.weight": floats(2, 4),
    "4.bias": floats(2),
}


def dense_file(tmp_path: Path, tensors: dict[str, Any], **facts: str | None) -> Path:
    file = tmp_path / "spam.safetensors"
    said = {key: value for key, value in (FACTS | facts).items() if value is not None}
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, file, said)
    return file


def test_a_file_of_one_linear_layer(tmp_path: Path) -> None:
    head = dense.read(dense_file(tmp_path, ONE))
    assert (head.name, head.encoder, head.labels, head.dim) == ("spam", "test/space", ("a", "b"), 5)
    rows = unit_rows(9, 5)
    expected = 1 / (1 + np.exp(-(rows @ ONE["0.weight"].T + ONE["0.bias"]).astype(np.float64)))
    np.testing.assert_allclose(head.score(rows), expected, atol=1e-6)


def test_a_file_of_several_layers_is_read_as_pytorch_would(tmp_path: Path) -> None:
    facts = {"relu": "[1]", "epsilon": "0.01", "output": "softmax", "unit": "false", "licence": "CC0", "name": "x"}
    head = dense.read(dense_file(tmp_path, SEVERAL, **facts))
    t = {name: np.asarray(array, np.float64) for name, array in SEVERAL.items()}
    rows = 3 * unit_rows(9, 5)
    hidden = np.maximum(rows @ t["0.weight"].T + t["0.bias"], 0)
    hidden = (hidden - t["3.running_mean"]) / np.sqrt(t["3.running_var"] + 0.01) * t["3.weight"] + t["3.bias"]
    logits = hidden @ t["4.weight"].T + t["4.bias"]
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(head.score(rows), expected, atol=1e-5)
    assert (head.name, head.licence, head.network.unit) == ("x", "CC0", False)
    without = dense.read(dense_file(tmp_path, SEVERAL, **(facts | {"relu": "[]"})))
    assert not np.allclose(without.score(rows), expected, atol=1e-2)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floats_are_read_too(tmp_path: Path, dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    head = dense.read(dense_file(tmp_path, {name: array.astype(kind) for name, array in ONE.items()}))
    linear = head.network.layers[0]
    assert isinstance(linear, Linear)
    np.testing.assert_allclose(linear.weight, ONE["0.weight"], rtol=1e-2)
    assert linear.weight.dtype == np.float32


@pytest.mark.parametrize("output", ["sigmoid", "softmax", "raw"])
@pytest.mark.parametrize("unit", [True, False])
def test_what_is_written_reads_the_same(tmp_path: Path, output: str, unit: bool) -> None:
    layers = (Affine(floats(5), floats(5)), Linear(floats(4, 5), floats(4)), Relu(), Linear(floats(2, 4), floats(2)))
    network = Network(layers, output, unit)  # type: ignore[arg-type]
    head = Head("ä-1", "test/space", ("nackt", 'größe, "x"'), network, "CC0", "me, on ten pictures")
    dense.write(head, tmp_path / "it.safetensors")
    found = dense.read(tmp_path / "it.safetensors")
    assert replace(found, network=network) == replace(head) or found.fingerprint == head.fingerprint
    assert (found.name, found.labels, found.licence, found.measured) == ("ä-1", head.labels, "CC0", head.measured)
    np.testing.assert_array_equal(found.score(unit_rows(9, 5)), head.score(unit_rows(9, 5)))
    assert [file.name for file in tmp_path.iterdir()] == ["it.safetensors"]


def test_what_cannot_be_written_is_refused_and_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "it.safetensors"
    good = Head("x", "test/space", ("a",), Network((Linear(floats(1, 3), floats(1)),), "sigmoid"))
    dense.write(good, file)
    before = file.read_bytes()
    broken = Network((Linear(np.full((1, 3), np.nan, np.float32), floats(1)),), "sigmoid")
    curves = Network((Curves(np.array([0]), floats(1, 2), floats(1, 2)), *good.network), "sigmoid")
    for network, complaint in ((broken, "'0.weight' holds numbers that are not finite"), (curves, "layer Curves")):
        with pytest.raises(WeightsError, match=complaint):
            dense.write(replace(good, network=network), file)
    with pytest.raises(WeightsError, match="cannot be written"):
        dense.write(good, tmp_path / "no" / "such.safetensors")
    assert file.read_bytes() == before


NAN = np.full((2, 5), np.nan, np.float32)


@pytest.mark.parametrize(
    ("tensors", "facts", "complaint"),
    [
        (ONE, {"moderato_head": None}, "do not say moderato_head"),
        (ONE, {"moderato_head": "2"}, "moderato_head: .*found '2'"),
        (ONE, {"labels": None}, "labels: .*it is missing"),
        (ONE, {"labels": "a, b"}, "labels: .*found 'a, b'"),
        (ONE, {"labels": "[]"}, "labels"),
        (ONE, {"labels": '["a", "a"]'}, "two are the same"),
        (ONE, {"labels": '["a"]'}, "layer 0 gives 2 numbers, but metadata labels has 1"),
        (ONE, {"output": "sigmoit"}, "output: .*found 'sigmoit'"),
        (ONE, {"unit": "perhaps"}, "unit: .*found 'perhaps'"),
        (ONE, {"encoder": ""}, "encoder"),
        (ONE, {"epsilon": "nan"}, "epsilon"),
        (ONE, {"reluu": "[1]"}, "reluu: .*not permitted"),
        (ONE, {"relu": "[0]"}, "relu names 0"),
        (ONE, {"relu": "[-1]"}, "relu names -1"),
        (SEVERAL, {}, "2 linear layers; metadata relu should say"),
        ({"weight": floats(2, 5)}, {}, "tensor 'weight' should be named INDEX.NAME"),
        ({"0.weight": floats(2, 5), "0.scale": floats(5)}, {}, "layer 0 has the tensors scale, weight; known are"),
        ({"0.weight": floats(5), "0.bias": floats(5)}, {}, r"'0.weight' should have the shape \(out, in\)"),
        ({"0.weight": np.float32(2)}, {}, "'0.weight' should have the shape"),
        ({"0.weight": floats(2, 5), "0.bias": floats(3)}, {}, r"'0.bias' should have the shape \(2,\) .*found \(3,\)"),
        ({"0.weight": floats(0, 5)}, {}, "'0.weight' should have the shape"),
        ({"0.scale": floats(4), "0.shift": floats(4), "1.weight": floats(2, 5)}, {}, "layer 1 reads 5 numbers, but"),
        ({"0.scale": floats(2), "0.shift": floats(2)}, {}, "no linear layer"),
        ({}, {}, "no linear layer"),
        ({"0.weight": NAN}, {}, "'0.weight' holds numbers that are not finite"),
        ({"0.weight": floats(2, 5).astype(np.float64) * 1e300}, {}, "'0.weight' holds numbers that are not finite"),
        ({"0.weight": np.ones((2, 5), np.int64)}, {}, "should hold floating-point numbers, found int64"),
        (SEVERAL | {"3.running_var": -np.ones(4, np.float32)}, {"relu": "[1]"}, "running_var.* no variance"),
        ({"0.weight": floats(1, 5)}, {"labels": '["a"]', "output": "softmax"}, "a softmax over one label is always 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_dense_file_is_said(
    tmp_path: Path, tensors: dict[str, Any], facts: dict[str, str | None], complaint: str
) -> None:
    file = dense_file(tmp_path, tensors, **facts)
    with pytest.raises(WeightsError, match=complaint) as error:
        dense.read(file)
    assert str(error.value).startswith(str(file))


def test_a_dense_file_that_is_cut_off_or_missing(tmp_path: Path) -> None:
    file = dense_file(tmp_path, ONE)
    whole = file.read_bytes()
    for content in (b"", whole[:7], whole[:-1], b"\xff" * 100):
        file.write_bytes(content)
        with pytest.raises(WeightsError, match="not a whole safetensors file"):
            dense.read(file)
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        dense.read(tmp_path / "none.safetensors")


def test_a_dense_file_that_contradicts_its_card(tmp_path: Path) -> None:
    stated = {"description": "", "licence": "", "limits": "", "evidence": "unmeasured", "kind": "dense"}
    card = HeadCard(name="spam-1", encoder="test/space", labels=["a", "b"], **stated)
    file = dense_file(tmp_path, ONE)
    assert dense.read(file, card).name == "spam-1"
    for other in ({"encoder": "test/other"}, {"labels": ["b", "a"]}):
        with pytest.raises(CardError, match="spam-1: its card says"):
            dense.read(file, card.model_copy(update=other))


# ---- laion: archives of Keras models ----


@pytest.fixture(params=["b32", "l14"])
def theirs(request: pytest.FixtureRequest) -> tuple[str, Path, dict[str, NDArray[Any]]]:
    """A head's name, LAION's archive, and what TensorFlow and other readings gave for some rows."""
    with np.load(SHARED / f"laion_nsfw_{request.param}_reference.npz") as reference:
        return request.param, SHARED / ZIPS[request.param], dict(reference)


@published
@pytest.mark.parametrize(
    ("mode", "given", "expected"), [("smooth", "x", "x_smooth"), ("raw", "x", "x_raw"), ("lookup", "x16", "y16")]
)
def test_laions_heads_score_as_they_should(theirs: Any, mode: str, given: str, expected: str) -> None:
    """`y16` is what TensorFlow makes of LAION's own saved model."""
    name, file, reference = theirs
    head = laion.read(file, head_card(f"laion-nsfw-{name}"), mode)
    scores = head.score(reference[given])[:, 0]
    np.testing.assert_allclose(scores, reference[expected], atol=1e-5)
    for other in {"x_smooth", "x_raw", "y16"} - {expected}:
        assert np.abs(scores - reference[other]).max() > 1e-3
    assert np.abs(head.score(np.roll(reference[given], 1, axis=1))[:, 0] - reference[expected]).max() > 1e-2


@published
def test_lookup_scores_float32_rows_as_if_they_had_been_stored_as_float16(theirs: Any) -> None:
    name, file, reference = theirs
    head = laion.read(file, head_card(f"laion-nsfw-{name}"), "lookup")
    np.testing.assert_allclose(head.score(reference["x"])[:, 0], reference["x_lookup16"], atol=1e-5)


@published
def test_curves_follow_the_recipe(theirs: Any) -> None:
    name, file, _ = theirs
    curves = laion.read(file, head_card(f"laion-nsfw-{name}")).network.layers[0]
    assert isinstance(curves, Curves)
    expected = load_file(SHARED / f"laion_nsfw_{name}.safetensors")
    for column, x, y in zip(curves.columns, curves.x, curves.y, strict=True):
        np.testing.assert_allclose(x, expected[f"curve.{column}.x"], atol=1e-6)
        np.testing.assert_allclose(y, expected[f"curve.{column}.y"], rtol=1e-6)
    assert f"curve.{curves.columns[0] + 1}.x" not in expected


@published
def test_the_archives_are_those_on_the_cards(theirs: Any) -> None:
    import hashlib

    name, file, _ = theirs
    assert hashlib.sha256(file.read_bytes()).hexdigest() == head_card(f"laion-nsfw-{name}").sha256


def field(number: int, value: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length = len(value)
    digits = []
    while True:
        digits.append(length & 0x7F | (0x80 if length > 0x7F else 0))
        length >>= 7
        if not length:
            return bytes([number << 3 | 2, *digits]) + value


def constant(name: str, texts: list[str]) -> bytes:
    """A node of a graph that holds strings, among fields of other kinds."""
    tensor = b"\x08\x07" + field(2, field(2, b"\x08\x09")) + b"".join(field(8, text.encode()) for text in texts)
    value = field(5, field(1, b"value") + field(2, field(8, tensor)))
    return field(1, field(1, name.encode()) + field(2, b"Const") + field(5, field(1, b"dtype")) + value)


VOCABULARY = [f"{np.float16(value):f}" for value in random_state().permutation(np.linspace(-0.9, 0.9, 200))]
FACES = {"rows": 300, "widths": [6, 4, 1], "vocabularies": {2: "Const_1"}}
SMALL = HeadCard(
    name="small", description="", kind="laion", encoder="test/space", labels=["nsfw"], licence="", limits="",
    evidence="unmeasured", facts=FACES,
)  # fmt: skip


def keras_numbers() -> list[NDArray[np.float32]]:
    mean, variance = floats(6), np.abs(floats(6)) + 1
    mean[2], variance[2] = 100, 60**2
    return [mean, variance, floats(6, 4), floats(4), floats(4, 1), floats(1)]


def archive(file: Path, members: dict[str, bytes] | None = None) -> Path:
    numbers = [array.tobytes() for array in keras_numbers()]
    variables = b"".join([*numbers[:2], (300).to_bytes(8, "little"), *numbers[2:], b"what else a checkpoint keeps"])
    nodes = constant("Const", ["x"]) + constant("Const_1", VOCABULARY)
    graph = b"\x08\x01" + field(2, field(1, b"meta") + field(2, b"\x25abcd" + nodes + b"\x21abcdefgh"))
    whole = {"small/variables/variables.data-00000-of-00001": variables, "small/saved_model.pb": graph}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in (whole | (members or {})).items():
            made.writestr(name, content)
    return file


def keras_score(rows: NDArray[np.float64], ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The formula in plain words; `ranks` stand for column 2."""
    mean, variance, kernel, bias, last, end = (array.astype(np.float64) for array in keras_numbers())
    found = rows.copy()
    found[:, 2] = ranks
    hidden = np.maximum((found - mean) / np.sqrt(variance) @ kernel + bias, 0)
    return 1 / (1 + np.exp(-(hidden @ last + end)))[:, 0]


def test_an_archive_of_the_same_form(tmp_path: Path) -> None:
    file = archive(tmp_path / "small.zip")
    rows = unit_rows(200, 6).astype(np.float16)
    rows[:100, 2] = [float(text) for text in VOCABULARY[:100]]
    rows /= np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True).astype(np.float16)
    rows[:50, 2] = [float(text) for text in VOCABULARY[:50]]
    exact = np.array([VOCABULARY.index(f"{x:f}") + 1 if f"{x:f}" in VOCABULARY else 0 for x in rows[:, 2]])
    assert 0 < (exact == 0).sum() < 150
    near = np.abs(np.linalg.norm(rows.astype(np.float64), axis=1) - 1) < 9e-4
    assert near.sum() > 50
    wide = rows.astype(np.float64)
    values = np.array([float(text) for text in VOCABULARY])
    bins = [np.argsort(values)[200 * i // 64 : 200 * (i + 1) // 64] for i in range(64)]
    x, y = [values[each].mean() for each in bins], [each.mean() + 1 for each in bins]
    for mode, ranks in (("lookup", exact), ("raw", wide[:, 2]), ("smooth", np.interp(wide[:, 2], x, y))):
        found = laion.read(file, SMALL, mode).score(rows)[:, 0]
        np.testing.assert_allclose(found[near], keras_score(wide, ranks)[near], atol=1e-5)
        assert np.abs(found[near] - keras_score(wide, ranks + 30)[near]).max() > 1e-2
    assert laion.read(file, SMALL).fingerprint == laion.read(file, SMALL, "smooth").fingerprint
    assert len({laion.read(file, SMALL, mode).fingerprint for mode in ("smooth", "raw", "lookup")}) == 3


def test_lookup_gives_no_score_to_what_has_no_value(tmp_path: Path) -> None:
    head = laion.read(archive(tmp_path / "small.zip"), SMALL, "lookup")
    rows = unit_rows(4, 6)
    rows[0, 2], rows[1, 2], rows[2, 0] = np.nan, np.inf, -np.inf
    assert [*np.isnan(head.score(rows)[:, 0])] == [True, True, True, False]


def test_a_mode_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no mode 'smoth'. Did you mean 'smooth'"):
        laion.read(archive(tmp_path / "small.zip"), SMALL, "smoth")


@pytest.mark.parametrize(
    ("facts", "complaint"),
    [
        ({"rows": 301}, "another file than the card describes"),
        ({"widths": [6, 5, 1]}, "has [0-9]+ bytes, the card's layers need"),
        ({"vocabularies": {2: "Const_7"}}, "has no vocabulary b'Const_7'"),
        ({"vocabularies": {2: "Const"}}, "could not convert string to float"),
        ({"vocabularies": {6: "Const_1"}}, "no vocabulary of column 6"),
    ],
)
def test_an_archive_that_is_not_the_cards(tmp_path: Path, facts: dict[str, Any], complaint: str) -> None:
    card = SMALL.model_copy(update={"facts": FACES | facts})
    file = archive(tmp_path / "small.zip")
    if facts.get("widths"):
        content = b"".join(array.tobytes() for array in keras_numbers())
        archive(file, {"small/variables/variables.data-00000-of-00001": content[:48] + bytes(8) + content[48:]})
    with pytest.raises(WeightsError, match=complaint) as error:
        laion.read(file, card)
    assert str(error.value).startswith(str(file))


def test_a_card_that_describes_no_archive(tmp_path: Path) -> None:
    for facts in ({}, FACES | {"widths": [6]}, FACES | {"more": 1}):
        with pytest.raises(CardError, match="small: "):
            laion.read(archive(tmp_path / "small.zip"), SMALL.model_copy(update={"facts": facts}))


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ({"other/saved_model.pb": b""}, "one FOLDER/saved_model.pb, found 2"),
        ({"small/saved_model.pb": b""}, "has no vocabulary"),
        ({"small/saved_model.pb": b"\x12\xff\xff\xff\x7f"}, "damaged"),
        ({"small/saved_model.pb": b"\xff" * 20}, "damaged"),
        ({"small/saved_model.pb": bytes(65 << 20)}, "at most [0-9]+ are read"),
        ({"small/variables/variables.data-00000-of-00001": b"short"}, "has 5 bytes, the card's layers need"),
        ({"small/variables/variables.data-00000-of-00001": b"\xff" * 24 + b"\xff" * 200}, "another file than the card"),
    ],
)
def test_an_archive_with_something_else_in_it(tmp_path: Path, members: dict[str, bytes], complaint: str) -> None:
    with pytest.raises(WeightsError, match=complaint):
        laion.read(archive(tmp_path / "small.zip", members), SMALL)


def test_an_archive_with_numbers_that_are_none(tmp_path: Path) -> None:
    spoilt = keras_numbers()
    spoilt[2][0, 0] = np.nan
    parts = [array.tobytes() for array in spoilt]
    content = b"".join([*parts[:2], (300).to_bytes(8, "little"), *parts[2:]])
    file = archive(tmp_path / "small.zip", {"small/variables/variables.data-00000-of-00001": content})
    with pytest.raises(WeightsError, match="not finite"):
        laion.read(file, SMALL)


def test_a_damaged_archive_is_one_sentence(tmp_path: Path) -> None:
    """Cut at any place, or with bytes changed: it is refused, or it was of no consequence."""
    whole = archive(tmp_path / "small.zip").read_bytes()
    dice = random.Random(5)
    damaged = [whole[: dice.randrange(len(whole))] for _ in range(100)]
    for _ in range(300):
        spoilt = bytearray(whole)
        spoilt[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        damaged.append(bytes(spoilt))
    good = laion.read(tmp_path / "small.zip", SMALL).fingerprint
    refused = 0
    for content in damaged:
        (tmp_path / "it.zip").write_bytes(content)
        try:
            assert laion.read(tmp_path / "it.zip", SMALL).fingerprint == good
        except WeightsError:
            refused += 1
    assert refused > 300
    with pytest.raises(WeightsError, match="not the whole archive"):
        laion.read(tmp_path / "none.zip", SMALL)


# ---- laion_h14: a .pth ----


@pytest.mark.reference
def test_laions_largest_head_scores_as_pytorch_does(tmp_path: Path) -> None:
    import torch

    from moderato.heads import laion_h14

    torch.manual_seed(1)
    card = head_card("laion-nsfw-h14")
    widths = card.facts["widths"]
    parts: list[torch.nn.Module] = []
    for i, (reads, gives) in enumerate(pairwise(widths)):
        parts += [torch.nn.Linear(reads, gives), *[torch.nn.ReLU(), torch.nn.Dropout(0.2)] * (i < 5)]

    class Theirs(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.Sequential(*parts)

    model = Theirs().eval()
    with torch.no_grad():
        for name, values in model.named_parameters():  # a library's random weights let everything fade away
            values.copy_(
                torch.randn(values.shape) * (2 / values.shape[-1]) ** 0.5 if name.endswith("weight") else values
            )
    torch.save(model.state_dict(), tmp_path / "h14_nsfw.pth")
    rows = unit_rows(32, 1024)
    head = laion_h14.read(tmp_path / "h14_nsfw.pth", card)
    with torch.inference_mode():
        expected = model.layers(torch.tensor(rows)).clamp(0, 1).numpy()
    assert expected.std() > 0.01
    np.testing.assert_allclose(head.score(rows), expected, atol=1e-5)
    assert not np.allclose(head.score(np.roll(rows, 1, axis=1)), expected, atol=1e-2)


@pytest.mark.reference
def test_what_is_wrong_with_a_pth_is_said(tmp_path: Path) -> None:
    import torch

    from moderato.heads import laion_h14

    card = head_card("laion-nsfw-h14").model_copy(update={"facts": {"linear": [0, 3], "widths": [4, 3, 1], "relu": 1}})
    good = {"layers.0.weight": (3, 4), "layers.0.bias": (3,), "layers.3.weight": (1, 3), "layers.3.bias": (1,)}
    tensors = {name: torch.ones(shape) for name, shape in good.items()}
    file = tmp_path / "it.pth"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "owned"),))

    wrong: list[tuple[Any, str]] = [
        (tensors | {"layers.3.bias": torch.ones(2)}, r"'layers.3.bias' of the shape \(1,\), found \(2,\)"),
        ({"weight": torch.ones(1)}, "'layers.0.weight' of the shape .* it has weight"),
        ([torch.ones(1)], "tensors by name, found a list"),
        (tensors | {"layers.0.bias": torch.full((3,), torch.nan)}, "'layers.0.bias' holds numbers that are not finite"),
        (Hostile(), "not a whole file of tensors"),
    ]
    torch.save(tensors, file)
    assert laion_h14.read(file, card).score(np.ones((1, 4), np.float32)).shape == (1, 1)
    whole = file.read_bytes()
    for content, complaint in wrong:
        torch.save(content, file)
        with pytest.raises(WeightsError, match=complaint):
            laion_h14.read(file, card)
    assert not (tmp_path / "owned").exists()
    for cut in (b"", b"x" * 50, whole[: len(whole) // 2]):
        file.write_bytes(cut)
        with pytest.raises(WeightsError, match="not a whole file of tensors"):
            laion_h14.read(file, card)


def test_without_pytorch_its_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "moderato.heads.laion_h14", raising=False)
    with pytest.raises(MissingExtra, match="torch"):
        plugins.load("moderato.heads", "laion_h14")


# ---- q16: two prompts ----


@published
@pytest.mark.parametrize("name", ["b32", "b16", "l14"])
def test_q16_scores_as_its_reference_does(name: str, tmp_path: Path) -> None:
    file, card = SHARED / f"q16_{name}.safetensors", head_card(f"q16-{name}")
    head = q16.read(file, card)
    with np.load(SHARED / f"q16_{name}_reference.npz") as reference:
        rows, expected = reference["x"], reference["p_inappropriate"]
    scores = head.score(rows)
    np.testing.assert_allclose(scores[:, card.labels.index("inappropriate")], expected, atol=1e-6)
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(head.score(5 * rows), scores, atol=1e-5)
    assert np.abs(scores[:, 0] - expected).max() > 0.1
    prompts = load_file(file)["prompts"]
    np.save(tmp_path / "prompts.npy", prompts)
    (tmp_path / "prompts.p").write_bytes(pickle.dumps(prompts[None], protocol=4))
    for other in ("prompts.npy", "prompts.p"):
        assert q16.read(tmp_path / other, card).fingerprint == head.fingerprint


@published
@pytest.mark.parametrize("name", ["b32", "l14"])
def test_laions_violence_prompts_are_q16s_up_to_their_rounding(name: str) -> None:
    files = (f"laion_violence_{name}.npy", f"q16_{name}.safetensors")
    heads = [q16.read(SHARED / file, head_card(f"q16-{name}")) for file in files]
    rows = unit_rows(64, heads[0].dim)
    np.testing.assert_allclose(heads[0].score(rows), heads[1].score(rows), atol=2e-3)
    assert heads[0].fingerprint != heads[1].fingerprint


PROMPTS = (7 * floats(2, 8)).astype(np.float16)
Q16 = head_card("q16-b32")


def pickles(array: NDArray[Any]) -> Iterator[bytes]:
    """As numpy 1 and 2 write them, in every protocol but the last (which Q16 is older than)."""
    for protocol in range(5):
        written = pickle.dumps(array, protocol)
        yield written
        if protocol < 4:  # the old name has another length, which protocol 4 states
            yield written.replace(b"numpy._core.", b"numpy.core.")


def test_prompts_are_read_from_a_pickle_without_running_it(tmp_path: Path) -> None:
    file = tmp_path / "prompts.p"
    expected = 100 * PROMPTS.astype(np.float64)
    expected /= np.linalg.norm(PROMPTS.astype(np.float64), axis=1, keepdims=True)
    for array in (PROMPTS, PROMPTS[None], PROMPTS.astype(np.float32)):
        for written in pickles(array):
            file.write_bytes(written)
            linear = q16.read(file, Q16).network.layers[0]
            assert isinstance(linear, Linear)
            np.testing.assert_allclose(linear.weight, expected, rtol=1e-6)


class Hostile:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "prompts.p", tmp_path / "owned"
    arguments = (PROMPTS, Hostile(os.mkdir, str(trace)))
    attacks = [
        *(pickle.dumps(Hostile(os.mkdir, str(trace)), protocol) for protocol in range(6)),
        *(pickle.dumps(Hostile(eval, f"__import__('os').mkdir({str(trace)!r})"), protocol) for protocol in range(6)),
        *(pickle.dumps(arguments, protocol) for protocol in range(6)),
        pickle.dumps(Hostile(getattr, np.ndarray, "tofile")),
        b"cnumpy\ndtype\n(S'O'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n}b.",
        b"cnumpy.core.multiarray\n_reconstruct\n)\x81.",
        b"cnumpy.core.multiarray\n_reconstruct\n)R(I1\n(I2\nI8\ntI3\nI00\nS'x'\ntb.",
        b"\x80\x04]r\xff\xff\xff\xff.",  # takes 64 GB where pickle believes it
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",
        b"\x80\x02" + b"]" * 100_000 + b".",
        b"",
        b"x" * 1000,
        b"(" * (1 << 21),
    ]
    for attack in attacks:
        file.write_bytes(attack)
        with pytest.raises(WeightsError, match="not a pickled array of numbers"):
            q16.read(file, Q16)
    assert not trace.exists()


def test_a_damaged_pickle_is_one_sentence(tmp_path: Path) -> None:
    whole, dice = pickle.dumps(PROMPTS[None], 4), random.Random(8)
    for _ in range(500):
        spoilt = bytearray(whole[: dice.choice([len(whole), dice.randrange(len(whole))])])
        for _ in range(3):
            if spoilt:
                spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        (tmp_path / "prompts.p").write_bytes(spoilt)
        with suppress(WeightsError):
            assert len(q16.read(tmp_path / "prompts.p", Q16).labels) == 2


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (floats(3, 8), r"should hold 2 prompts \(rows\), found the shape \(3, 8\)"),
        (floats(8), "found the shape"),
        (floats(2, 2, 8), "found the shape"),
        (np.array([[1, 2], [0, 0]], np.float32), "one of the prompts is zero"),
        (np.array([[1, 2], [np.nan, 0]], np.float32), "not finite"),
        (np.array([[1, 2], [3, 4]]), "floating-point numbers"),
        (np.array([["a"], ["b"]]), "floating-point numbers"),
    ],
)
def test_prompts_that_are_none(tmp_path: Path, array: NDArray[Any], complaint: str) -> None:
    np.save(tmp_path / "prompts.npy", array)
    save_as_tensor = array.dtype.kind != "U"
    if save_as_tensor:
        save_file({"prompts": array}, tmp_path / "prompts.safetensors")
    (tmp_path / "prompts.p").write_bytes(pickle.dumps(array, 4))
    for file in ("prompts.npy", *["prompts.safetensors"] * save_as_tensor, "prompts.p"):
        with pytest.raises(WeightsError, match=complaint) as error:
            q16.read(tmp_path / file, Q16)
        assert file in str(error.value)


def test_files_that_hold_no_prompts(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([[{}], [{}]]), allow_pickle=True)
    np.save(tmp_path / "cut.npy", PROMPTS)
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-5])
    (tmp_path / "huge.npy").write_bytes(whole.replace(b"(2, 8), }         ", b"(2, 8000000000), }"))
    (tmp_path / "open.npy").write_bytes(whole.replace(b"(2, 8)", b"(2, 8 "))
    save_file({"other": PROMPTS}, tmp_path / "other.safetensors")
    for file in ("objects.npy", "cut.npy", "huge.npy", "open.npy", "none.npy", "other.safetensors", "none.p"):
        with pytest.raises(WeightsError) as error:
            q16.read(tmp_path / file, Q16)
        assert file in str(error.value)
    assert json.dumps(str(error.value))
