"""SigLIPs and ViT classifiers from small random models: right by golden files, alike in their layouts, or refused.

The golden files are `test_reference.py`'s, made with transformers; every comparison with them has a control that must
fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import TEXTS, Array, edit_json, far, golden, views
from moderato.cards import encoder_card
from moderato.encoders import Encoder, onnx, open_encoder
from moderato.encoders._tokenize import Tokenize
from moderato.errors import WeightsError
from moderato.layers import softmax
from moderato.types import Views, ViewSpec, unit
from vits import (
    SIGLIP_LAYOUTS,
    SIGLIPS,
    VIT_LAYOUTS,
    VITS,
    Siglip,
    Vit,
    siglip_weights,
    vit_weights,
    write_hf_siglip,
    write_hf_vit,
    write_timm_vit,
)

SPREAD, PROBABILITIES = 1e-4, 1e-4
"""What may differ relative to the spread between pictures (`models.far`), and in a probability."""

WRITERS = {
    "hf_siglip": (SIGLIP_LAYOUTS["hugging_face"], SIGLIPS["siglip"]),
    "open_clip_siglip": (SIGLIP_LAYOUTS["open_clip"], SIGLIPS["siglip"]),
    "hf_vit": (VIT_LAYOUTS["hugging_face"], VITS["vit"]),
    "timm_vit": (VIT_LAYOUTS["timm"], VITS["vit"]),
}
"""How each layout's folder is written, and of what shape."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every shape in every layout. To be read only: `copied` makes one to spoil."""
    root = tmp_path_factory.mktemp("vits")
    kinds = ((SIGLIPS, SIGLIP_LAYOUTS), (VITS, VIT_LAYOUTS))
    return {
        (name, layout): write(root / f"{name}-{layout}", shape)
        for shapes, layouts in kinds
        for name, shape in shapes.items()
        for layout, write in layouts.items()
    }


@pytest.fixture(params=SIGLIPS)
def siglip(request: pytest.FixtureRequest) -> Siglip:
    return SIGLIPS[request.param]


@pytest.fixture(params=VITS)
def vit(request: pytest.FixtureRequest) -> Vit:
    return VITS[request.param]


def expected(shape: Siglip | Vit) -> dict[str, Array]:
    with np.load(golden(shape)) as stored:
        return dict(stored)


def seen(shape: Siglip | Vit) -> Views:
    return Views(views(shape.side))


def delta(found: Array, reference: Array) -> float:
    return float(np.abs(found - reference).max())


# -- right ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", SIGLIP_LAYOUTS)
def test_siglips_are_those_of_the_reference(folders: dict[tuple[str, str], Path], siglip: Siglip, layout: str) -> None:
    encoder, reference = open_encoder(folders[siglip.name, layout]), expected(siglip)
    image, text = encoder.encode(seen(siglip)), encoder.texts.encode(TEXTS)
    assert far(image, reference["image"]) <= SPREAD
    assert far(text, reference["text"]) <= SPREAD
    assert delta(softmax(encoder.logit_scale * image @ text.T), reference["probabilities"]) <= PROBABILITIES


@pytest.mark.parametrize("layout", VIT_LAYOUTS)
def test_vits_are_those_of_the_reference(folders: dict[tuple[str, str], Path], vit: Vit, layout: str) -> None:
    encoder, reference = open_encoder(folders[vit.name, layout]), expected(vit)
    rows = encoder.project(seen(vit))
    assert far(rows, reference["rows"]) <= SPREAD
    assert delta(encoder.classifier.network(rows), reference["probabilities"]) <= PROBABILITIES
    assert delta(encoder.classifier.network(encoder.encode(seen(vit))), reference["probabilities"]) > 0.01


FAINT = SIGLIPS["siglip-faint"]


def mistaken(folder: Path, **changes: dict[str, object]) -> Encoder:
    for part, values in changes.items():
        edit_json(folder / "config.json", lambda config, part=part, values=values: config[part].update(values))
    return open_encoder(folder)


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "quick_gelu"}, {"layer_norm_eps": 1e-5}, {"num_attention_heads": 4}],
    ids=["activation", "epsilon", "heads"],
)
def test_a_mistake_shows_in_the_comparison_of_siglips(change: dict[str, object], tmp_path: Path) -> None:
    encoder = mistaken(write_hf_siglip(tmp_path, FAINT), vision_config=change, text_config=change)
    assert far(encoder.encode(seen(FAINT)), expected(FAINT)["image"]) > 50 * SPREAD
    assert far(encoder.texts.encode(TEXTS), expected(FAINT)["text"]) > 50 * SPREAD


def test_another_filling_of_texts_shows(tmp_path: Path) -> None:
    folder = write_hf_siglip(tmp_path, FAINT)
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(pad_token="<unk>"))
    assert far(open_encoder(folder).texts.encode(TEXTS), expected(FAINT)["text"]) > 50 * SPREAD


def test_a_causal_mask_over_texts_shows(folders: dict[tuple[str, str], Path], siglip: Siglip) -> None:
    folder = folders[siglip.name, "hugging_face"]
    tower = open_encoder(folder).towers.text
    ids = Tokenize(folder, siglip.context, siglip.vocabulary, filled=True, canonical=True)(TEXTS)
    assert far(onnx.open_text(tower, 1)(ids), expected(siglip)["text"]) <= SPREAD
    assert far(onnx.open_text(replace(tower, causal=True), 1)(ids), expected(siglip)["text"]) > 50 * SPREAD


def test_positions_shifted_by_one_show(siglip: Siglip, tmp_path: Path) -> None:
    tensors = {name: np.roll(t, 1, 0) if "position" in name else t for name, t in siglip_weights(siglip).items()}
    encoder = open_encoder(write_hf_siglip(tmp_path, siglip, tensors))
    assert far(encoder.encode(seen(siglip)), expected(siglip)["image"]) > 50 * SPREAD
    assert far(encoder.texts.encode(TEXTS), expected(siglip)["text"]) > 50 * SPREAD


@pytest.mark.parametrize(
    "change",
    [{"hidden_act": "quick_gelu"}, {"layer_norm_eps": 1e-5}, {"num_attention_heads": 3}],
    ids=["activation", "epsilon", "heads"],
)
def test_a_mistake_shows_in_the_comparison_of_vits(change: dict[str, object], tmp_path: Path) -> None:
    shape = VITS["vit-faint"]
    folder = write_hf_vit(tmp_path, shape)
    edit_json(folder / "config.json", lambda config: config.update(change))
    assert far(open_encoder(folder).project(seen(shape)), expected(shape)["rows"]) > 50 * SPREAD


def test_the_mean_of_all_patches_is_another_row(folders: dict[tuple[str, str], Path], vit: Vit) -> None:
    patches = open_encoder(folders[vit.name, "timm"]).encode_patches(seen(vit))
    assert far(unit(patches.mean(axis=(1, 2))), unit(expected(vit)["rows"])) > 50 * SPREAD


# -- however used --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", WRITERS)
def test_rows_embeddings_and_patches_have_the_towers_sizes(layout: str, tmp_path: Path) -> None:
    write, shape = WRITERS[layout]
    encoder, grid = open_encoder(write(tmp_path, shape)), shape.side // shape.patch
    rows, embeddings, patches = (see(seen(shape)) for see in (encoder.project, encoder.encode, encoder.encode_patches))
    assert encoder.dim == shape.width
    assert rows.dtype == embeddings.dtype == patches.dtype == np.float32
    assert np.abs(np.linalg.norm(rows, axis=1) - 1).min() > 0.1
    assert delta(embeddings, rows / np.linalg.norm(rows, axis=1, keepdims=True)) <= 1e-6
    assert patches.shape == (8, grid, grid, shape.width)
    assert np.linalg.norm(patches, axis=-1) == pytest.approx(1, abs=1e-5)
    bare = encoder.project_patches(seen(shape))
    assert delta(patches, bare / np.linalg.norm(bare, axis=-1, keepdims=True)) <= 1e-6
    assert np.abs(np.linalg.norm(bare, axis=-1) - 1).min() > 0.1
    assert encoder.project(Views(seen(shape)[:0])).shape == (0, shape.width)
    singly = np.vstack([encoder.project(Views(view[None])) for view in seen(shape)])
    assert delta(rows, singly) <= 1e-5 * np.abs(rows).max()


@pytest.mark.parametrize("layout", WRITERS)
def test_a_changed_corner_shows_most_in_its_own_patch(layout: str, tmp_path: Path) -> None:
    write, shape = WRITERS[layout]
    encoder, changed = open_encoder(write(tmp_path, shape)), seen(shape)[:1].copy()
    changed[:, : shape.patch, -shape.patch :] = 255 - changed[:, : shape.patch, -shape.patch :]
    before, after = (encoder.encode_patches(Views(pixels)) for pixels in (seen(shape)[:1], changed))
    moved = np.linalg.norm(after - before, axis=-1)[0]
    assert np.unravel_index(moved.argmax(), moved.shape) == (0, shape.side // shape.patch - 1)


def test_layouts_of_siglip_agree(folders: dict[tuple[str, str], Path], siglip: Siglip) -> None:
    native, other = (open_encoder(folders[siglip.name, layout]) for layout in SIGLIP_LAYOUTS)
    assert native.identity == other.identity
    assert delta(native.encode(seen(siglip)), other.encode(seen(siglip))) <= 1e-6
    assert delta(native.texts.encode(TEXTS), other.texts.encode(TEXTS)) <= 1e-6
    assert native.logit_scale == other.logit_scale == native.temperature == pytest.approx(np.exp(siglip.logit_scale))
    assert native.view == other.view == ViewSpec(siglip.side, "squash")


def test_layouts_of_vit_agree_but_for_how_they_want_to_see(folders: dict[tuple[str, str], Path]) -> None:
    shape = VITS["vit-faint"]
    native, other = (open_encoder(folders[shape.name, layout]) for layout in VIT_LAYOUTS)
    assert native.identity == other.identity
    assert delta(native.project(seen(shape)), other.project(seen(shape))) <= 1e-6
    assert native.view == ViewSpec(shape.side, "crop", "bicubic")
    assert other.view == ViewSpec(shape.side, "squash", "bilinear")


def test_a_picture_classifier_reads_no_text(folders: dict[tuple[str, str], Path], vit: Vit) -> None:
    encoder = open_encoder(folders[vit.name, "timm"])
    assert (encoder.texts, encoder.temperature, encoder.logit_scale) == (None, None, None)
    assert open_encoder(folders["siglip", "open_clip"]).classifier is None


@pytest.mark.parametrize("labels", [("NSFW", "SFW"), ("SFW", "NSFW"), ("b", "a", "c")])
@pytest.mark.parametrize("layout", VIT_LAYOUTS)
def test_labels_stand_in_the_order_of_the_file_and_not_of_the_alphabet(
    layout: str, labels: tuple[str, ...], tmp_path: Path
) -> None:
    """Marqo's 0 is NSFW: sorted labels would call every harmless picture unsafe."""
    shape = replace(VITS["vit"], labels=labels)
    tensors = {**vit_weights(shape), "classifier.bias": np.array([9, 0, 0][: len(labels)], np.float32)}
    classifier = open_encoder(VIT_LAYOUTS[layout](tmp_path, shape, tensors)).classifier
    scores = classifier.network(np.zeros((1, shape.width), np.float32))
    assert classifier.labels == labels
    assert scores[0].argmax() == 0
    assert scores.sum() == pytest.approx(1)


MARQO = {
    "architecture": "vit_tiny_patch16_384",
    "num_classes": 2,
    "num_features": 192,
    "global_pool": "token",
    "label_names": ["NSFW", "SFW"],
    "pretrained_cfg": {
        "tag": "augreg_in21k_ft_in1k",
        "custom_load": True,
        "input_size": [3, 384, 384],
        "fixed_input_size": True,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 1000,
        "pool_size": None,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    },
}
"""config.json of Marqo/nsfw-image-detection-384 at b8c2412."""


def test_marqos_own_config_is_read(tmp_path: Path) -> None:
    shape = Vit("marqo", ("NSFW", "SFW"), side=384, patch=16, width=192, layers=12, hidden=768)
    (write_timm_vit(tmp_path, shape) / "config.json").write_text(json.dumps(MARQO))
    encoder = open_encoder(tmp_path, threads=2)
    vision, card = encoder.towers.vision, encoder_card("marqo-nsfw-384")
    assert encoder.view == ViewSpec(384, "crop", "bicubic")
    assert encoder.classifier.labels == ("NSFW", "SFW")
    assert (vision.heads, vision.layers, vision.hidden, vision.epsilon) == (3, 12, 768, 1e-6)
    assert (card.side, card.dim, card.activation) == (vision.side, vision.dim, vision.activation)
    assert encoder.classifier.network(encoder.project(Views(views(384, 1)))).sum() == pytest.approx(1)


@pytest.mark.parametrize(("crop", "share"), [(0.9, 0.9), (None, 0.875)])
def test_timms_margin_is_left_off(crop: float | None, share: float, tmp_path: Path) -> None:
    folder = write_timm_vit(tmp_path, VITS["vit"])
    edit_json(folder / "config.json", lambda config: config["pretrained_cfg"].update(crop_pct=crop))
    assert open_encoder(folder).view == replace(ViewSpec(32, "crop", "bicubic"), share=share)


def test_labels_may_be_alike(tmp_path: Path) -> None:
    folder = write_hf_vit(tmp_path, replace(VITS["vit"], labels=("crane", "fish", "crane")))
    assert open_encoder(folder).classifier.labels == ("crane", "fish", "crane")


def test_numbers_order_the_labels_whatever_order_they_are_written_in(tmp_path: Path) -> None:
    labels = tuple(f"label {i}" for i in range(12))
    folder = write_hf_vit(tmp_path, replace(VITS["vit"], labels=labels))
    turned = {str(i): labels[i] for i in sorted(range(12), key=str, reverse=True)}
    edit_json(folder / "config.json", lambda config: config.update(id2label=turned))
    assert open_encoder(folder).classifier.labels == labels


def test_a_vit_without_classifier_or_prefix_is_an_encoder(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    shape = VITS["vit"]
    tensors = {k.removeprefix("vit."): v for k, v in vit_weights(shape).items() if not k.startswith("classifier")}
    encoder = open_encoder(write_hf_vit(tmp_path, shape, tensors | {"pooler.dense.bias": np.zeros(3, np.float32)}))
    assert encoder.classifier is None
    assert np.array_equal(encoder.project(seen(shape)), open_encoder(folders["vit", "timm"]).project(seen(shape)))


def test_a_timm_model_whose_outputs_have_no_names_is_an_encoder(tmp_path: Path) -> None:
    folder = write_timm_vit(tmp_path, VITS["vit"])
    edit_json(folder / "config.json", lambda config: config.pop("label_names"))
    assert open_encoder(folder).classifier is None


def test_a_classifier_is_not_part_of_the_identity(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    tensors = vit_weights(VITS["vit"])
    tensors["classifier.bias"][0] += 1
    other = open_encoder(write_hf_vit(tmp_path / "other", VITS["vit"], tensors))
    assert other.identity == open_encoder(folders["vit", "hugging_face"]).identity


def test_case_punctuation_and_underscores_of_a_text_do_not_matter(folders: dict[tuple[str, str], Path]) -> None:
    texts = open_encoder(folders["siglip", "open_clip"]).texts
    rows = texts.encode(["a photo of a cat", "A Photo_of a  CAT!", "a photo of a dog"])
    assert delta(rows[0], rows[1]) <= 1e-6
    assert delta(rows[0], rows[2]) > 0.01


def test_an_encoder_with_another_padding_knows_no_prompts_of_this_one(tmp_path: Path) -> None:
    folder = write_hf_siglip(tmp_path, SIGLIPS["siglip"])
    before = open_encoder(folder, identity="one").texts._space
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(pad_token="<unk>"))
    assert open_encoder(folder, identity="one").texts._space != before


# -- clear when not ------------------------------------------------------------------------------------------------


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


def processor(**values: object) -> Spoil:
    return lambda folder: edit_json(folder / "preprocessor_config.json", lambda config: config.update(values))


def config_file(folder: Path) -> Path:
    return next(folder / name for name in ("open_clip_config.json", "config.json") if (folder / name).is_file())


def tensors(changes: dict[str, tuple[int, ...] | None]) -> Spoil:
    """Put tensors of zeros in a folder's weights; None takes one out."""

    def spoil(folder: Path) -> None:
        file = next(folder.glob("*.safetensors"))
        kept = {name: tensor for name, tensor in load_file(file).items() if changes.get(name, ()) is not None}
        save_file({**kept, **{name: np.zeros(s, np.float32) for name, s in changes.items() if s is not None}}, file)

    return spoil


VISION, TEXT = ("model_cfg", "vision_cfg"), ("model_cfg", "text_cfg")
MISTAKES: dict[str, dict[str, tuple[Spoil, list[str]]]] = {
    "hf_siglip": {
        "NaFlex": (config(model_type="siglip2"), ["model_type should be 'siglip', found 'siglip2'"]),
        "a missing tensor": (
            tensors({"vision_model.head.mlp.fc1.bias": None}),
            ["no tensor 'vision_model.head.mlp.fc1.bias'"],
        ),
        "a tensor too many": (
            tensors({"vision_model.encoder.layers.0.self_attn.q_norm.weight": (8,)}),
            ["q_norm.weight' belongs to a part that this version does not know"],
        ),
        "two probes": (tensors({"vision_model.head.probe": (1, 2, 96)}), ["'vision_model.head.probe'", "[2, 96]"]),
        "texts of another size": (
            lambda folder: (
                config("text_config", projection_size=40)(folder),
                tensors({"text_model.head.weight": (40, 48), "text_model.head.bias": (40,)})(folder),
            ),
            ["embeddings of 96 numbers, texts of 40"],
        ),
        "another view": (processor(size={"height": 64, "width": 64}), ["preprocessor_config.json", "the 32 pixels"]),
        "a view that is no square": (processor(size={"height": 32, "width": 64}), ["size should be the 32 pixels"]),
        "a longest edge": (processor(size={"longest_edge": 32}), ["size should be height and width, or shortest_edge"]),
        "an uncut rectangle": (processor(size={"shortest_edge": 32}), ["do_center_crop should be true"]),
        "another crop": (processor(do_center_crop=True, crop_size=24), ["crop_size should be the 32 pixels"]),
        "no resizing": (processor(do_resize=False), ["do_resize should be true, found False"]),
        "no rescaling": (processor(do_rescale=False), ["do_rescale, rescale_factor should be true, 1/255"]),
        "another scale": (processor(rescale_factor=1 / 127.5), ["rescale_factor should be true, 1/255"]),
        "another filter": (processor(resample=1), ["resample is '1'"]),
    },
    "open_clip_siglip": {
        "another trunk": (config(*VISION, timm_model_name="vit_base_patch16_siglip_gap_224"), ["timm_model_name"]),
        "an unknown size": (
            config(*VISION, timm_model_name="vit_vast_patch16_siglip_224"),
            ["timm_model_name should be vit_SIZE_patchN_siglip_N, SIZE being one of tiny", "found 'vit_vast_"],
        ),
        "another pool": (config(*VISION, timm_pool="avg"), ["timm_pool should be 'map', found 'avg'"]),
        "no pool": (config(*VISION, timm_pool=...), ["timm_pool should be 'map', found None"]),
        "a projection": (config(*VISION, timm_proj="linear"), ["timm_proj should be 'none', found 'linear'"]),
        "a trunk with settings": (config(*VISION, timm_model_kwargs={"reg_tokens": 4}), ["timm_model_kwargs"]),
        "causal texts": (config(*TEXT, no_causal_mask=False), ["no_causal_mask should be true"]),
        "pooling at the highest id": (config(*TEXT, pool_type="argmax"), ["pool_type should be 'last'"]),
        "another cleaning": (config(*TEXT, tokenizer_kwargs={"clean": "lower"}), ["tokenizer_kwargs.clean should be"]),
        "another kind of text tower": (config(*TEXT, text_arch="modern"), ["text_arch should be 'clip'"]),
        "norms of queries": (config(*TEXT, qk_norm=True), ["text_cfg.qk_norm asks for norms of queries and keys"]),
        "another activation": (config(*TEXT, act_kwargs={"approximate": "sigmoid"}), ["act_kwargs.approximate is"]),
        "another size": (config("model_cfg", embed_dim=64), ["'text.text_projection.weight'", "[96, 48]", "[64, 48]"]),
        "layer scale": (
            tensors({"visual.trunk.blocks.0.ls1.gamma": (96,)}),
            ["'visual.trunk.blocks.0.ls1.gamma' belongs to a part that this version does not know"],
        ),
        "a patch embedding of another kind": (
            tensors({"visual.trunk.patch_embed.proj.weight": (96, 192)}),
            ["'visual.trunk.patch_embed.proj.weight' should have 4 axes, found the shape [96, 192]"],
        ),
        "keys and values that do not divide": (
            tensors({"visual.trunk.attn_pool.kv.weight": (191, 96)}),
            ["'visual.trunk.attn_pool.kv.weight' should be 2 of the same size"],
        ),
    },
    "hf_vit": {
        "another kind of model": (config(model_type="deit"), ["model_type should be 'vit', found 'deit'"]),
        "too many labels": (
            config(id2label={"0": "a", "1": "b", "2": "c", "3": "d"}),
            ["'classifier.weight' has the shape [3, 48]", "4 labels of the config (a, b, c, d)", "[4, 48]"],
        ),
        "labels left out": (config(id2label=...), ["'classifier.weight'", "LABEL_0, LABEL_1"]),
        "a gap": (config(id2label={"0": "a", "2": "b"}), ["id2label should be words", "from \"0\" on"]),
        "several at once": (config(problem_type="multi_label_classification"), ["problem_type should be 'single_"]),
        "colours divided by nothing": (processor(image_std=[0, 0, 0]), ["colours should be divided by numbers above"]),
        "a missing bias": (tensors({"classifier.bias": None}), ["no tensor 'classifier.bias'"]),
        "a distillation token": (tensors({"vit.embeddings.distillation_token": (1, 1, 48)}), ["distillation_token'"]),
        "an odd processor": (processor(size={"height": 48, "width": 48}), ["size should be the 32 pixels"]),
    },
    "timm_vit": {
        "another family": (config(architecture="eva02_base_patch14_448"), ["architecture should be vit_SIZE_patchN_N"]),
        "no architecture": (config(architecture=...), ["architecture is missing"]),
        "pooling by the mean": (config(global_pool="avg"), ["global_pool should be 'token', found 'avg'"]),
        "a model with settings": (config(model_args={"img_size": 64}), ["model_args asks for a model with settings"]),
        "no margin at all": (config("pretrained_cfg", crop_pct=1.5), ["crop_pct should be a number from 0.25 to 1"]),
        "a border": (config("pretrained_cfg", crop_mode="border"), ["crop_mode is 'border'"]),
        "no square": (config("pretrained_cfg", input_size=[3, 32, 64]), ["input_size should be three channels"]),
        "another side": (config("pretrained_cfg", input_size=[3, 48, 48]), ["'pos_embed'", "[17, 48]", "[37, 48]"]),
        "too few labels": (config(label_names=["a", "b"]), ["'head.weight' has the shape [3, 48]", "2 labels"]),
        "labels in one word": (config(label_names="abc"), ["label_names should be of type list or dict"]),
        "layer scale": (tensors({"blocks.1.ls2.gamma": (48,)}), ["'blocks.1.ls2.gamma' belongs to a part"]),
        "norms of keys": (tensors({"blocks.1.attn.k_norm.weight": (16,)}), ["'blocks.1.attn.k_norm.weight'"]),
        "registers": (tensors({"reg_token": (1, 4, 48)}), ["'reg_token' belongs to a part"]),
        "a norm before the blocks": (tensors({"norm_pre.weight": (48,)}), ["'norm_pre.weight' belongs to a part"]),
        "no blocks": (tensors({"blocks.0.norm1.weight": None}), ["no tensor 'blocks.0.norm1.weight'"]),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "mistake"), [(layout, mistake) for layout, mistakes in MISTAKES.items() for mistake in mistakes]
)
def test_a_folder_is_refused_with_what_is_wrong(layout: str, mistake: str, tmp_path: Path) -> None:
    write, shape = WRITERS[layout]
    folder = write(tmp_path / "model", shape)
    spoil, parts = MISTAKES[layout][mistake]
    spoil(folder)
    with pytest.raises(WeightsError) as raised:
        open_encoder(folder)
    for part in (str(folder), *parts):
        assert part in str(raised.value)


@pytest.mark.parametrize(("change", "view"), [
    ({"size": 32}, ViewSpec(32, "squash", "bilinear")),
    ({"size": None, "resample": 3}, ViewSpec(32, "squash", "bicubic")),
    ({"size": {"shortest_edge": 32}, "do_center_crop": True}, ViewSpec(32, "crop", "bilinear")),
    ({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": 32}, ViewSpec(32, "crop", "bilinear")),
])  # fmt: skip
def test_the_view_is_what_the_processor_says(change: dict[str, object], view: ViewSpec, tmp_path: Path) -> None:
    folder = write_hf_vit(tmp_path, VITS["vit"])
    processor(**change)(folder)
    assert open_encoder(folder).view == view


def test_colours_that_are_not_normalised_are_honoured(tmp_path: Path) -> None:
    folder = write_hf_vit(tmp_path, VITS["vit"])
    normalised = open_encoder(folder).project(seen(VITS["vit"]))
    processor(do_normalize=False)(folder)
    vision = open_encoder(folder).towers.vision
    assert (vision.mean, vision.std) == ((0, 0, 0), (1, 1, 1))
    assert far(open_encoder(folder).project(seen(VITS["vit"])), normalised) > 50 * SPREAD


ODD_VALUES = [None, -1, 0, 1, 0.5, 1e400, "", "x", [], {}, [1, 2, 3], {"0": []}, True, float("nan"), 10**30]


def ways(table: dict[str, Any], *so_far: str) -> list[tuple[str, ...]]:
    """The ways to every key of a config."""
    deeper = [way for key, value in table.items() if isinstance(value, dict) for way in ways(value, *so_far, key)]
    return [*((*so_far, key) for key in table), *deeper]


@pytest.mark.parametrize("layout", WRITERS)
def test_no_value_in_a_config_makes_anything_but_a_model_or_a_clear_error(layout: str, tmp_path: Path) -> None:
    write, shape = WRITERS[layout]
    folder = write(tmp_path, shape)
    for file in (config_file(folder), folder / "preprocessor_config.json"):
        original = json.loads(file.read_text()) if file.is_file() else {}
        for *way, key in ways(original):
            for value in ODD_VALUES:
                changed = json.loads(json.dumps(original))
                table = changed
                for step in way:
                    table = table[step]
                table[key] = value
                file.write_text(json.dumps(changed))
                try:
                    open_encoder(folder, identity="any")
                except WeightsError as error:
                    assert str(folder) in str(error)  # noqa: PT017  it need not be raised
        file.write_text(json.dumps(original))
