"""Encoders from small random models: right (golden files made with transformers), alike in both layouts, or refused.

The golden files are `test_reference.py`'s; every comparison with them has controls that must fail (`models.MISTAKES`).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from models import (
    LAYOUTS,
    MISTAKES,
    SHAPES,
    TEXTS,
    Array,
    Shape,
    copied,
    edit_json,
    far,
    golden,
    numpy_dtype,
    views,
    weights,
    write_hugging_face,
    write_open_clip,
    write_tokenizer,
)
from moderato.assemble import Workshop
from moderato.encoders import Encoder, PromptCache, onnx, open_encoder
from moderato.encoders._texts import Texts
from moderato.encoders._tokenize import Tokenize
from moderato.encoders._towers import Towers, VisionTower
from moderato.errors import WeightsError
from moderato.settings import read_settings
from moderato.types import Views, ViewSpec
from pictures import encoded

QUICK = SHAPES["quick"]
PICTURES = Views(views(QUICK.side))

EMBEDDINGS, PROBABILITIES = 2e-4, 1e-4
SPREAD = 1e-4
"""What may differ relative to the spread between pictures (`models.far`)."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every shape in every layout. To be read only: `copied` makes one to spoil."""
    root = tmp_path_factory.mktemp("encoders")
    return {
        (name, layout): write(root / f"{name}-{layout}", shape)
        for name, shape in SHAPES.items()
        for layout, write in LAYOUTS.items()
    }


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def folder(folders: dict[tuple[str, str], Path], shape: Shape, layout: str) -> Path:
    return folders[shape.name, layout]


@pytest.fixture
def quick(folders: dict[tuple[str, str], Path], layout: str) -> Path:
    """One shape, in each layout."""
    return folders["quick", layout]


@pytest.fixture
def encoder(folders: dict[tuple[str, str], Path]) -> Encoder:
    return open_encoder(folders["quick", "open_clip"])


def expected(shape: Shape) -> dict[str, Array]:
    with np.load(golden(shape)) as stored:
        return dict(stored)


def delta(found: Array, reference: Array) -> float:
    return float(np.abs(found - reference).max())


# -- right ---------------------------------------------------------------------------------------------------------


def test_embeddings_are_those_of_the_reference(shape: Shape, folder: Path) -> None:
    encoder, reference = open_encoder(folder), expected(shape)
    image, text = encoder.encode(Views(views(shape.side))), encoder.texts.encode(TEXTS)
    assert delta(image, reference["image"]) <= EMBEDDINGS
    assert delta(text, reference["text"]) <= EMBEDDINGS
    assert far(image, reference["image"]) <= SPREAD
    assert far(text, reference["text"]) <= SPREAD


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows_in_the_comparison(shape: Shape, mistake: str, tmp_path: Path) -> None:
    encoder, reference = open_encoder(write_open_clip(tmp_path, *MISTAKES[mistake](shape))), expected(shape)
    assert far(encoder.encode(Views(views(shape.side))), reference["image"]) > 50 * SPREAD
    if mistake != "colours not normalised":
        assert far(encoder.texts.encode(TEXTS), reference["text"]) > 50 * SPREAD


def test_probabilities_are_those_of_the_reference(shape: Shape, folder: Path) -> None:
    moderator = Workshop(read_settings()).moderator("demo", encoder=str(folder))
    files = [encoded(Image.fromarray(pixels, "RGB")) for pixels in views(shape.side)]
    answers = moderator.classify_many(files, TEXTS)
    found = np.array([list(answer.probabilities.values()) for answer in answers])
    reference = expected(shape)["probabilities"]
    assert delta(found, reference) <= PROBABILITIES
    assert delta(np.roll(found, 1, axis=0), reference) > 100 * PROBABILITIES


def test_batch_and_single_agree(shape: Shape, folder: Path) -> None:
    encoder, pictures = open_encoder(folder), views(shape.side)
    assert (
        delta(encoder.encode(Views(pictures)), np.vstack([encoder.encode(Views(row[None])) for row in pictures]))
        <= 1e-5
    )
    together = encoder.texts.encode(TEXTS)
    alone = np.vstack([open_encoder(folder, identity="alone").texts.encode([text]) for text in TEXTS])
    assert delta(together, alone) <= 1e-5


def test_embeddings_are_float32_rows_of_unit_length(shape: Shape, folder: Path) -> None:
    encoder = open_encoder(folder)
    for rows in (encoder.encode(Views(views(shape.side))), encoder.texts.encode(TEXTS)):
        assert rows.dtype == np.float32
        assert rows.shape[1] == encoder.dim == shape.dim
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-5)


def test_rows_are_embeddings_before_they_are_brought_to_unit_length(shape: Shape, folder: Path) -> None:
    encoder = open_encoder(folder)
    rows, embeddings = encoder.project(Views(views(shape.side))), encoder.encode(Views(views(shape.side)))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    assert rows.dtype == np.float32
    assert np.abs(lengths - 1).min() > 0.1
    assert delta(rows / lengths, embeddings) <= 1e-6


@pytest.mark.parametrize("number", [math.nan, math.inf, 1e25])
def test_rows_without_a_length_are_refused(number: float, tmp_path: Path) -> None:
    """1e25 is a number, its square is none: at unit length such a row would be all zeros and score like nothing."""
    tensors = weights(QUICK)
    tensors["visual.proj"] = np.full_like(tensors["visual.proj"], number)
    encoder = open_encoder(write_open_clip(tmp_path, QUICK, tensors), identity="damaged")
    with pytest.raises(WeightsError, match="embeddings that are no numbers"):
        encoder.encode(PICTURES)


def test_patches_are_rows_of_unit_length_in_a_grid(shape: Shape, folder: Path) -> None:
    grid = shape.side // shape.patch
    patches = open_encoder(folder).encode_patches(Views(views(shape.side, 3)))
    assert patches.dtype == np.float32
    assert patches.shape == (3, grid, grid, shape.dim)
    assert np.linalg.norm(patches, axis=-1) == pytest.approx(1, abs=1e-5)


def test_a_changed_corner_shows_most_in_its_own_patch(encoder: Encoder) -> None:
    changed = PICTURES[:1].copy()
    changed[:, :8, -8:] = 255 - changed[:, :8, -8:]
    moved = np.linalg.norm(
        encoder.encode_patches(Views(changed)) - encoder.encode_patches(Views(PICTURES[:1])), axis=-1
    )
    assert np.unravel_index(moved[0].argmax(), (4, 4)) == (0, 3)


# -- alike ---------------------------------------------------------------------------------------------------------


def test_layouts_agree(folders: dict[tuple[str, str], Path], shape: Shape) -> None:
    native, other = (open_encoder(folders[shape.name, layout]) for layout in LAYOUTS)
    assert delta(native.encode(Views(views(shape.side))), other.encode(Views(views(shape.side)))) <= 1e-6
    assert delta(native.texts.encode(TEXTS), other.texts.encode(TEXTS)) <= 1e-6
    assert native.identity == other.identity
    assert native.identity.startswith("sha256:")
    assert native.logit_scale == other.logit_scale == pytest.approx(np.exp(shape.logit_scale))
    assert native.view == other.view == ViewSpec(shape.side, "crop", "bicubic")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions_are_cast_on_reading(layout: str, dtype: str, tmp_path: Path) -> None:
    stored = open_encoder(LAYOUTS[layout](tmp_path / dtype, QUICK, dtype=dtype))
    exact = {name: tensor.astype(numpy_dtype(dtype)).astype(np.float32) for name, tensor in weights(QUICK).items()}
    copy = open_encoder(LAYOUTS[layout](tmp_path / "float32", QUICK, exact))
    assert stored.identity == copy.identity
    assert np.array_equal(stored.encode(PICTURES), copy.encode(PICTURES))
    assert np.array_equal(stored.texts.encode(TEXTS), copy.texts.encode(TEXTS))
    assert far(stored.encode(PICTURES), expected(QUICK)["image"]) < 0.02


def test_shards_are_one_model(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    whole = open_encoder(folders["quick", "hugging_face"])
    sharded = open_encoder(write_hugging_face(tmp_path, QUICK, shards=3))
    assert sharded.identity == whole.identity
    assert np.array_equal(sharded.encode(PICTURES), whole.encode(PICTURES))


def test_another_weight_is_another_identity(encoder: Encoder, tmp_path: Path) -> None:
    names = ("visual.ln_post.bias", "ln_final.weight", "token_embedding.weight", "logit_scale")
    found = {encoder.identity}
    for name in names:
        tensors = weights(QUICK)
        tensors[name].reshape(-1)[-1:] += 0.01
        found.add(open_encoder(write_open_clip(tmp_path / name, QUICK, tensors)).identity)
    assert len(found) == 1 + len(names)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_same_weights_used_otherwise_are_another_identity(encoder: Encoder, mistake: str, tmp_path: Path) -> None:
    """Or the prompts kept on disk would outlive a corrected config."""
    assert open_encoder(write_open_clip(tmp_path, *MISTAKES[mistake](QUICK))).identity != encoder.identity


def test_an_identity_is_remembered_until_the_folder_changes(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, memory = copied(quick, tmp_path / "copy"), tmp_path / "identities.json"
    first = open_encoder(folder, identities=memory).identity
    with monkeypatch.context() as patch:
        patch.setattr(Towers, "digest", lambda towers: pytest.fail("all tensors were read again"))
        assert open_encoder(folder, identities=memory).identity == first
    edit_json(config_file(folder), activation_turned)
    corrected = open_encoder(folder, identities=memory).identity
    weights_file(folder).write_bytes(weights_file(folder).read_bytes()[:-4] + bytes(4))
    other = open_encoder(folder, identities=memory).identity
    assert len({first, corrected, other}) == 3


def activation_turned(config: dict[str, Any]) -> None:
    if "model_cfg" in config:
        config["model_cfg"]["quick_gelu"] = False
    else:
        config["text_config"]["hidden_act"] = "gelu"


@pytest.mark.parametrize("content", [b"", b"5", b"[1]", b"{}", b"no", b"\xff"])
def test_a_damaged_memory_of_identities_is_written_anew(
    encoder: Encoder, quick: Path, content: bytes, tmp_path: Path
) -> None:
    memory = tmp_path / "identities.json"
    memory.write_bytes(content)
    assert open_encoder(quick, identities=memory).identity == encoder.identity
    assert encoder.identity in memory.read_text()


def test_a_declared_identity_and_temperature_win(quick: Path) -> None:
    encoder = open_encoder(quick, name="mine", identity="lab/one", temperature=7.0)
    assert (encoder.name, encoder.identity, encoder.temperature) == ("mine", "lab/one", 7.0)
    assert open_encoder(quick).name == quick.name
    assert open_encoder(quick).temperature == open_encoder(quick).logit_scale


@pytest.mark.parametrize(
    ("ends", "pooled"), [(2, "highest"), ([2, 639], "highest"), (639, (639,)), ([639, 7], (639, 7)), (None, (49407,))]
)
def test_texts_are_pooled_at_any_of_the_ids_that_the_config_names(ends: object, pooled: object, tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path, QUICK)
    edit_json(folder / "config.json", lambda config: config["text_config"].update(eos_token_id=ends))
    tower = open_encoder(folder).towers.text
    assert tower.pooled == pooled
    ids = np.array([[638, 5, 5, 639, 0], [638, 639, 7, 639, 0]])
    assert tower.pool(ids).tolist() == ([3, 1] if pooled != (49407,) else [0, 0])


@pytest.mark.parametrize(("key", "value", "view"), [
    ("resize_mode", "squash", ViewSpec(32, "squash")),
    ("resize_mode", "shortest", ViewSpec(32, "crop")),
    ("interpolation", "bilinear", ViewSpec(32, "crop", "bilinear")),
])  # fmt: skip
def test_the_view_is_what_preprocess_cfg_says(
    folders: dict[tuple[str, str], Path], key: str, value: str, view: ViewSpec, tmp_path: Path
) -> None:
    folder = copied(folders["quick", "open_clip"], tmp_path / "copy")
    edit_json(folder / "open_clip_config.json", lambda config: config["preprocess_cfg"].update({key: value}))
    assert open_encoder(folder).view == view


@pytest.mark.parametrize(("change", "view"), [
    ({"size": {"height": 32, "width": 32}}, ViewSpec(32, "squash")),
    ({"size": 32}, ViewSpec(32, "crop")),
    ({"resample": 2}, ViewSpec(32, "crop", "bilinear")),
])  # fmt: skip
def test_the_view_is_what_the_processor_says(
    folders: dict[tuple[str, str], Path], change: dict[str, object], view: ViewSpec, tmp_path: Path
) -> None:
    folder = copied(folders["quick", "hugging_face"], tmp_path / "copy")
    edit_json(folder / "preprocessor_config.json", lambda config: config.update(change))
    assert open_encoder(folder).view == view


# -- however used ----------------------------------------------------------------------------------------------


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode(Views(PICTURES[:0])).shape == (0, QUICK.dim)
    assert encoder.encode_patches(Views(PICTURES[:0])).shape == (0, 4, 4, QUICK.dim)


def test_no_texts_no_rows(encoder: Encoder) -> None:
    assert encoder.texts.encode([]).shape == (0, QUICK.dim)


def test_views_need_not_lie_in_one_piece(encoder: Encoder) -> None:
    assert np.array_equal(
        encoder.encode(Views(PICTURES[::2, :, ::-1])), encoder.encode(Views(PICTURES[::2, :, ::-1].copy()))
    )


def test_threads_may_call_at_once(quick: Path) -> None:
    encoder = open_encoder(quick, threads=2)
    alone = open_encoder(quick).encode(PICTURES), open_encoder(quick, identity="alone").texts.encode(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        images = [pool.submit(encoder.encode, PICTURES) for _ in range(40)]
        texts = [pool.submit(encoder.texts.encode, TEXTS[i % 6 :]) for i in range(40)]
    assert all(delta(image.result(), alone[0]) <= 1e-5 for image in images)
    assert all(delta(text.result(), alone[1][i % 6 :]) <= 1e-5 for i, text in enumerate(texts))


def test_a_tower_is_opened_once_however_many_ask_at_once(encoder: Encoder) -> None:
    opened = []

    def open_vision(tower: VisionTower, threads: int, *rest: Any) -> Callable[..., Any]:
        opened.append(threads)
        time.sleep(0.05)
        return onnx.open_vision(tower, threads, *rest)

    encoder.runtime = cast(Any, SimpleNamespace(open_vision=open_vision))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(encoder.encode, [PICTURES] * 4))
    assert opened == [1]


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted where Linux lists them")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_call_uses_the_cores_it_was_given(quick: Path, threads: int) -> None:
    encoder = open_encoder(quick, threads=threads)
    before = set(os.listdir("/proc/self/task"))
    encoder.encode(PICTURES)
    assert len(set(os.listdir("/proc/self/task")) - before) == threads - 1  # the caller's own is one of them


# -- texts -----------------------------------------------------------------------------------------------------------


class Tower:
    """The text tower of an encoder, counting how often it was opened."""

    def __init__(self, encoder: Encoder) -> None:
        self.opened = 0
        self._tower = encoder.towers.text

    def __call__(self) -> Callable[..., Any]:
        self.opened += 1
        return onnx.open_text(self._tower, 1)


def texts_of(encoder: Encoder, folder: Path, cache: PromptCache | None = None, idle: float = 60) -> tuple[Texts, Tower]:
    tower = Tower(encoder)
    return Texts(encoder.towers.text, folder, tower, cache or PromptCache(None), encoder.identity, idle), tower


def test_pictures_need_neither_text_tower_nor_tokenizer(quick: Path, tmp_path: Path) -> None:
    folder = copied(quick, tmp_path / "copy")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    encoder = open_encoder(folder)
    assert np.array_equal(encoder.encode(PICTURES), open_encoder(quick).encode(PICTURES))
    assert not encoder.texts.is_open
    with pytest.raises(WeightsError, match=r"tokenizer\.json, or vocab\.json and merges\.txt") as raised:
        encoder.texts.encode(["a cat"])
    assert str(folder) in str(raised.value)


def test_the_text_tower_closes_when_idle_and_opens_again(encoder: Encoder, quick: Path) -> None:
    texts, tower = texts_of(encoder, quick, idle=0.05)
    first = texts.encode(["a cat"])
    deadline = time.monotonic() + 5
    while texts.is_open and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not texts.is_open
    assert np.array_equal(texts.encode(["a cat"]), first)
    assert not texts.is_open
    assert texts.encode(["a dog"]).shape == (1, QUICK.dim)
    assert tower.opened == 2


def test_a_busy_text_tower_stays_open(encoder: Encoder, folders: dict[tuple[str, str], Path]) -> None:
    texts, tower = texts_of(encoder, folders["quick", "open_clip"], idle=1)
    for i in range(4):
        texts.encode([f"cat {i}"])
        time.sleep(0.4)
    assert tower.opened == 1
    texts.close()
    assert not texts.is_open


def test_known_texts_never_open_the_tower_again(encoder: Encoder, quick: Path, tmp_path: Path) -> None:
    first, _ = texts_of(encoder, quick, PromptCache(tmp_path / "prompts.sqlite"))
    second, tower = texts_of(encoder, quick, PromptCache(tmp_path / "prompts.sqlite"))
    rows = first.encode(TEXTS)
    assert np.array_equal(second.encode(TEXTS[::-1]), rows[::-1])
    assert tower.opened == 0
    assert not second.is_open


def test_another_tokenizer_or_encoder_knows_nothing_of_them(
    folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    cache, native = PromptCache(tmp_path / "prompts.sqlite"), folders["quick", "open_clip"]
    other_tokenizer = copied(native, tmp_path / "copy")
    edit_json(other_tokenizer / "tokenizer.json", lambda tokenizer: tokenizer.update(normalizer=None))
    open_encoder(native, prompts=cache).texts.encode(["A CAT"])
    for folder, identity in ((other_tokenizer, None), (native, "another")):
        encoder = open_encoder(folder, identity=identity, prompts=cache)
        encoder.texts.encode(["A CAT"])
        assert encoder.texts.is_open


def test_texts_come_back_in_their_order_and_as_often_as_asked(encoder: Encoder) -> None:
    asked = ["a cat", "a dog", "a cat", "", "a dog"]
    rows = encoder.texts.encode(asked)
    assert np.array_equal(rows[0], rows[2])
    assert np.array_equal(rows[1], rows[4])
    assert far(rows, np.roll(rows, 1, axis=0)) > 0.1


def test_many_texts_are_cut_into_calls(encoder: Encoder) -> None:
    asked = [f"cat {'dog ' * (i % 7)}{i}" for i in range(150)]
    rows = encoder.texts.encode(asked)
    assert delta(rows[[0, 70, 149]], np.vstack([encoder.texts.encode([asked[i]]) for i in (0, 70, 149)])) <= 1e-5


def test_texts_cut_to_the_longest_are_as_exact_as_padded_ones(shape: Shape, folder: Path) -> None:
    tower = open_encoder(folder).towers.text
    run = onnx.open_text(tower, 1)
    ids = Tokenize(folder, shape.context, shape.vocabulary)(["a cat", "knife in a house"])
    padded = np.pad(ids, ((0, 0), (0, shape.context - ids.shape[1])))
    assert ids.shape[1] < shape.context
    assert delta(run(ids), run(padded)) <= 1e-6


def test_what_follows_the_end_of_a_text_cannot_matter_and_what_stands_before_does(
    encoder: Encoder, quick: Path
) -> None:
    run = onnx.open_text(encoder.towers.text, 1)
    ids = Tokenize(quick, QUICK.context, QUICK.vocabulary)(["a cat on the beach", "a cat"])
    behind, before = ids.copy(), ids.copy()
    behind[1, 4:] = 77
    before[1, 1] = 77
    assert delta(run(behind), run(ids)) <= 1e-6
    assert delta(run(before)[1], run(ids)[1]) > 1e-2
    assert delta(run(before)[0], run(ids)[0]) <= 1e-6


def test_a_tokenizer_with_more_ids_than_the_tower_is_refused(quick: Path, tmp_path: Path) -> None:
    folder = copied(quick, tmp_path / "copy")
    for name in ("tokenizer.json", "vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)
    write_tokenizer(folder, QUICK.vocabulary + 1)
    with pytest.raises(WeightsError, match="ids up to 640, the text tower only 640"):
        open_encoder(folder).texts.encode(["a cat"])


# -- clear when not --------------------------------------------------------------------------------------------------


Spoil = Callable[[Path], object]


def config(*way: str, **values: Any) -> Spoil:
    """Change values in the table at the end of the way through a model's config; `...` takes a key out."""

    def change(table: dict[str, Any]) -> None:
        for key in way:
            table = table[key]
        table.update(values)
        for key in [key for key, value in values.items() if value is ...]:
            del table[key]

    return lambda folder: edit_json(config_file(folder), change)


def config_file(folder: Path) -> Path:
    return next(folder / name for name in ("open_clip_config.json", "config.json") if (folder / name).is_file())


def weights_file(folder: Path) -> Path:
    return next(iter(folder.glob("*.safetensors")))


def tensors(**changes: Array | None) -> Spoil:
    """Change tensors, by open_clip's names with `__` for a dot; None takes one out."""

    def spoil(folder: Path) -> None:
        changed = {name.replace("__", "."): tensor for name, tensor in changes.items()}
        kept = {**load_file(weights_file(folder)), **changed}
        save_file({name: tensor for name, tensor in kept.items() if tensor is not None}, weights_file(folder))

    return spoil


def content(name: str, content: bytes) -> Spoil:
    return lambda folder: (folder / name).write_bytes(content)


def cut(folder: Path) -> None:
    whole = weights_file(folder).read_bytes()
    weights_file(folder).write_bytes(whole[: len(whole) // 2])


def zeros(*size: int) -> Array:
    return np.zeros(size, np.float32)


NATIVE, VISION, TEXT = "open_clip_config.json", ("model_cfg", "vision_cfg"), ("model_cfg", "text_cfg")
NATIVE_MISTAKES: dict[str, tuple[Spoil, list[str]]] = {
    "no weights": (lambda folder: weights_file(folder).unlink(), ["no known architecture", NATIVE]),
    "no config": (
        lambda folder: config_file(folder).unlink(),
        ["no known architecture", "open_clip_model.safetensors"],
    ),
    "a strange model": (tensors(visual__conv1__weight=None), ["no known architecture", "visual.conv1.weight"]),
    "truncated weights": (cut, ["open_clip_model.safetensors", "not a whole safetensors file"]),
    "empty weights": (content("open_clip_model.safetensors", b""), ["open_clip_model.safetensors", "not a whole"]),
    "weights that are a pickle": (content("open_clip_model.safetensors", b"\x80\x02" * 99), ["not a whole"]),
    "a missing tensor": (tensors(visual__ln_pre__bias=None), ["model.safetensors", "no tensor 'visual.ln_pre.bias'"]),
    "a missing scale": (tensors(logit_scale=None), ["model.safetensors", "no tensor 'logit_scale'"]),
    "an empty scale": (tensors(logit_scale=zeros(0)), ["model.safetensors", "logit_scale"]),
    "a wrong shape": (
        tensors(token_embedding__weight=zeros(640, 47)),
        ["model.safetensors", "'token_embedding.weight'", "[640, 47]", "[640, 48]"],
    ),
    "a projection turned over": (tensors(visual__proj=zeros(32, 64)), ["'visual.proj'", "[64, 32]", "[32, 64]"]),
    "thirds that do not divide": (
        tensors(visual__transformer__resblocks__0__attn__in_proj_weight=zeros(193, 64)),
        ["model.safetensors", "attn.in_proj_weight", "193"],
    ),
    "thirds of a scalar": (
        tensors(visual__transformer__resblocks__0__attn__in_proj_bias=zeros()),
        ["model.safetensors", "attn.in_proj_bias"],
    ),
    "whole numbers for weights": (
        tensors(visual__ln_pre__bias=np.zeros(64, np.int32)),
        ["model.safetensors", "visual.ln_pre.bias"],
    ),
    "a config that is not JSON": (content(NATIVE, b"{"), [NATIVE, "not a readable JSON file"]),
    "a config that is not text": (content(NATIVE, b"\xff\xfe"), [NATIVE, "not a readable JSON file"]),
    "a config that is a list": (content(NATIVE, b"[]"), [NATIVE, "a JSON object, found list"]),
    "no model": (config(model_cfg=...), [NATIVE, "model_cfg is missing"]),
    "no size": (config("model_cfg", embed_dim=...), [NATIVE, "model_cfg.embed_dim is missing"]),
    "a size in words": (config("model_cfg", embed_dim="32"), ["model_cfg.embed_dim should be", "int", "'32'"]),
    "no width at all": (config(*VISION, width=0), ["model_cfg.vision_cfg.width", "a whole number from 1", "found 0"]),
    "heads that do not divide": (config(*VISION, head_width=7), ["vision_cfg.head_width", "divisor of 64", "found 7"]),
    "text heads that do not divide": (config(*TEXT, heads=5), ["5 attention heads do not divide a width of 48"]),
    "patches that do not divide": (config(*VISION, patch_size=7), ["patches of 7 do not divide views of 32 pixels"]),
    "another size of view": (config(*VISION, image_size=64), ["positional_embedding", "[17, 64]", "[65, 64]"]),
    "too many layers": (config(*VISION, layers=3), ["no tensor 'visual.transformer.resblocks.2."]),
    "a timm trunk": (config(*VISION, timm_model_name="vit_tiny"), ["vision_cfg.timm_model_name", "cannot run"]),
    "layer scale": (config(*VISION, ls_init_value=0.1), ["vision_cfg.ls_init_value asks for layer scale"]),
    "norms of queries": (config(*TEXT, qk_norm=True), ["text_cfg.qk_norm asks for norms of queries and keys"]),
    "a text tower of another kind": (config(*TEXT, text_arch="modern"), ["text_arch should be 'clip', found 'modern'"]),
    "no norm before the blocks": (config(*VISION, no_ln_pre=True), ["vision_cfg.no_ln_pre", "cannot run"]),
    "attentional pooling": (config(*VISION, attentional_pool=True), ["vision_cfg.attentional_pool", "cannot run"]),
    "average pooling": (config(*VISION, pool_type="avg"), ["vision_cfg.pool_type should be 'tok', found 'avg'"]),
    "a foreign text tower": (config(*TEXT, hf_model_name="roberta-base"), ["text_cfg.hf_model_name", "cannot run"]),
    "texts that are not causal": (config(*TEXT, no_causal_mask=True), ["text_cfg.no_causal_mask", "cannot run"]),
    "last token pooling": (config(*TEXT, pool_type="last"), ["text_cfg.pool_type should be 'argmax', found 'last'"]),
    "another resize": (config("preprocess_cfg", resize_mode="longest"), ["preprocess_cfg.resize_mode", "'longest'"]),
    "another filter": (config("preprocess_cfg", interpolation="lanczos"), ["preprocess_cfg.interpolation", "bicubic"]),
    "two means": (config("preprocess_cfg", mean=[0.5, 0.5]), ["preprocess_cfg.mean should be three numbers"]),
}
OTHER_MISTAKES: dict[str, tuple[Spoil, list[str]]] = {
    "another kind of model": (
        config(model_type="siglip"),
        ["config.json", "model_type should be 'clip', found 'siglip'"],
    ),
    "an unknown activation": (config("text_config", hidden_act="swish"), ["text_config.hidden_act is 'swish'", "gelu"]),
    "heads that do not divide": (
        config("vision_config", num_attention_heads=5),
        ["model.safetensors", "5 attention heads do not divide a width of 64"],
    ),
    "another hidden width": (
        config("vision_config", intermediate_size=128),
        ["mlp.fc1.weight", "[256, 64]", "[128, 64]"],
    ),
    "a missing tensor": (
        tensors(text_model__final_layer_norm__bias=None),
        ["model.safetensors", "no tensor 'text_model.final_layer_norm.bias'"],
    ),
    "truncated weights": (cut, ["model.safetensors", "not a whole safetensors file"]),
    "a processor of another size": (
        content("preprocessor_config.json", b'{"size": {"shortest_edge": 48}}'),
        ["preprocessor_config.json", "size should be the 32 pixels", "48"],
    ),
    "a processor that is not JSON": (content("preprocessor_config.json", b"no"), ["preprocessor_config.json", "JSON"]),
    "a processor that does not cut squares": (
        content("preprocessor_config.json", b'{"size": {"shortest_edge": 32}, "do_center_crop": false}'),
        ["preprocessor_config.json", "do_center_crop should be true"],
    ),
    "a processor that cuts other squares": (
        content("preprocessor_config.json", b'{"crop_size": {"height": 24, "width": 24}}'),
        ["preprocessor_config.json", "crop_size should be the 32 pixels"],
    ),
    "a processor that does not rescale": (
        content("preprocessor_config.json", b'{"do_rescale": false}'),
        ["preprocessor_config.json", "do_rescale, rescale_factor should be true, 1/255"],
    ),
    "an end that is no number": (config("text_config", eos_token_id=[]), ["text_config.eos_token_id", "whole number"]),
    "a processor with another filter": (
        content("preprocessor_config.json", b'{"resample": 1}'),
        ["preprocessor_config.json", "resample is '1'"],
    ),
}


def refused(folder: Path, parts: list[str]) -> None:
    with pytest.raises(WeightsError) as raised:
        open_encoder(folder)
    for part in (str(folder), *parts):
        assert part in str(raised.value)


@pytest.mark.parametrize("mistake", NATIVE_MISTAKES)
def test_a_native_folder_is_refused_with_what_is_wrong(
    folders: dict[tuple[str, str], Path], mistake: str, tmp_path: Path
) -> None:
    folder = copied(folders["quick", "open_clip"], tmp_path / "copy")
    spoil, parts = NATIVE_MISTAKES[mistake]
    spoil(folder)
    refused(folder, parts)


@pytest.mark.parametrize("mistake", OTHER_MISTAKES)
def test_a_hugging_face_folder_is_refused_with_what_is_wrong(
    folders: dict[tuple[str, str], Path], mistake: str, tmp_path: Path
) -> None:
    folder = copied(folders["quick", "hugging_face"], tmp_path / "copy")
    spoil, parts = OTHER_MISTAKES[mistake]
    spoil(folder)
    refused(folder, parts)


def test_folders_that_are_none_or_empty_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", ["no known architecture", "no such folder"])
    refused(tmp_path, ["no known architecture", "an empty folder"])


@pytest.mark.parametrize(
    "index", ["{}", "[]", "no", '{"weight_map": {"a": "lost.safetensors"}}', '{"weight_map": {"a": 1}}']
)
def test_shards_that_cannot_be_read_are_refused(index: str, tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path, QUICK, shards=2)
    (folder / "model.safetensors.index.json").write_text(index)
    refused(folder, ["lost.safetensors" if "lost" in index else "model.safetensors.index.json"])


ODD_VALUES = [None, -1, 0, 1, 0.5, 1e400, "", "x", [], {}, [1, 2, 3], True, math.nan, 10**30]


def ways(table: dict[str, Any], *so_far: str) -> list[tuple[str, ...]]:
    """The ways to every key of a config."""
    deeper = [way for key, value in table.items() if isinstance(value, dict) for way in ways(value, *so_far, key)]
    return [*((*so_far, key) for key in table), *deeper]


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_no_value_in_a_config_makes_anything_but_a_model_or_a_clear_error(
    quick: Path, value: object, tmp_path: Path
) -> None:
    folder = copied(quick, tmp_path / "copy")
    file = config_file(folder)
    original = json.loads(file.read_text())
    for *way, key in ways(original):
        file.write_text(json.dumps(original))
        config(*way, **{key: value})(folder)
        try:
            open_encoder(folder, identity="any")
        except WeightsError as error:
            assert str(folder) in str(error)  # noqa: PT017  it need not be raised
