"""moderato against transformers and torch, live; and the golden files that stand for them where there is no torch.

`tests/golden/SHAPE.npz` holds what transformers answers for a shape of `models.py`. These tests compute it anew and
demand that the stored answers agree; a file that is missing is written. To make them again, delete them and run
`make test-reference`.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from models import (
    LAYOUTS,
    MISTAKES,
    SHAPES,
    TEXTS,
    Array,
    Shape,
    edit_json,
    far,
    golden,
    open_clip_names,
    views,
    write_hugging_face,
    write_open_clip,
    write_tokenizer,
)
from moderato.assemble import Workshop
from moderato.cards import encoder_card
from moderato.encoders import onnx, open_encoder
from moderato.encoders._tokenize import Tokenize
from moderato.layers import softmax
from moderato.media import Limits, prepare
from moderato.media.view import cut
from moderato.settings import read_settings
from moderato.types import Fit, Frame, View, Views, ViewSpec, unit
from pictures import encoded, photo
from vits import (
    SIGLIP_LAYOUTS,
    SIGLIPS,
    VIT_LAYOUTS,
    VITS,
    Siglip,
    Vit,
    write_hf_siglip,
    write_hf_vit,
)

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
modeling_clip = pytest.importorskip("transformers.models.clip.modeling_clip")

pytestmark = pytest.mark.reference

EMBEDDINGS, PROBABILITIES = 2e-4, 1e-4
SPREAD = 1e-4
"""What may differ relative to the spread between pictures (`models.far`)."""


class Reference:
    """transformers' CLIP in a folder, and what it says of views and texts."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.CLIPModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self.model.eval()
        self.processor = transformers.CLIPImageProcessorPil.from_pretrained(folder)
        self.tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)

    def pixels(self, pictures: list[Image.Image]) -> object:
        return self.processor(images=pictures, return_tensors="pt")["pixel_values"]

    def sees(self, pictures: list[Image.Image]) -> Views:
        """What its processor makes of pictures before it normalises the colours."""
        pixels = self.processor(images=pictures, do_normalize=False, do_rescale=False, return_tensors="np")
        return Views(np.stack(pixels["pixel_values"]).transpose(0, 2, 3, 1).astype(np.uint8))

    def tokens(self, texts: list[str]) -> object:
        context = self.model.config.text_config.max_position_embeddings
        rows = self.tokenizer(texts, padding="max_length", truncation=True, max_length=context, return_tensors="pt")
        return rows["input_ids"]

    @torch.inference_mode()
    def says(self, pictures: list[Image.Image], texts: list[str]) -> dict[str, Array]:
        answer = self.model(input_ids=self.tokens(texts), pixel_values=self.pixels(pictures))
        probabilities = answer.logits_per_image.softmax(dim=1)
        found = {"image": answer.image_embeds, "text": answer.text_embeds, "probabilities": probabilities}
        return {name: tensor.numpy() for name, tensor in found.items()}

    @torch.inference_mode()
    def patches(self, pictures: list[Image.Image]) -> Array:
        vision = self.model.vision_model
        with each_alone(vision.encoder.layers[-1].self_attn):
            tokens = vision(pixel_values=self.pixels(pictures)).last_hidden_state[:, 1:]
        rows = self.model.visual_projection(vision.post_layernorm(tokens))
        rows = rows / rows.norm(dim=-1, keepdim=True)
        grid = round(rows.shape[1] ** 0.5)
        return rows.reshape(len(pictures), grid, grid, -1).numpy()


@contextmanager
def each_alone(attention: torch.nn.Module) -> Iterator[None]:
    """In this attention every token sees itself alone, as in the graph for patches."""

    def forward(hidden_states: torch.Tensor, *_: object, **__: object) -> tuple[torch.Tensor, None]:
        out = attention.o_proj if hasattr(attention, "o_proj") else attention.out_proj
        return out(attention.v_proj(hidden_states)), None

    usual, attention.forward = attention.forward, forward
    try:
        yield
    finally:
        attention.forward = usual


def images(pixels: NDArray[np.uint8]) -> list[Image.Image]:
    return [Image.fromarray(view, "RGB") for view in pixels]


def delta(found: Array, expected: Array) -> float:
    return float(np.abs(found - expected).max())


def say(**figures: float) -> None:
    """Shown by `pytest -rP`: what was measured, not only that it was within bounds."""
    print(", ".join(f"{name} {figure:.1e}" for name, figure in figures.items()))


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture(scope="module")
def folder(shape: Shape, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hugging_face(tmp_path_factory.mktemp(shape.name), shape)


@pytest.fixture(scope="module")
def said(shape: Shape, folder: Path) -> dict[str, Array]:
    return Reference(folder).says(images(views(shape.side)), TEXTS)


def test_golden_files_hold_what_transformers_says(shape: Shape, said: dict[str, Array]) -> None:
    held(golden(shape), said)


def held(file: Path, said: dict[str, Array]) -> None:
    """A golden file that holds what was said; written where there is none."""
    if not file.is_file():
        np.savez_compressed(file, **said)
    with np.load(file) as stored:
        for name, answer in said.items():
            assert delta(stored[name], answer) <= 1e-5, f"{file} is out of date: delete it to have it made again"
    assert file.stat().st_size <= 50_000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_are_those_of_transformers(
    shape: Shape, said: dict[str, Array], layout: str, tmp_path: Path
) -> None:
    encoder = open_encoder(LAYOUTS[layout](tmp_path / layout, shape))
    image, text = encoder.encode(Views(views(shape.side))), encoder.texts.encode(TEXTS)
    say(image=delta(image, said["image"]), text=delta(text, said["text"]),
        relative_image=far(image, said["image"]), relative_text=far(text, said["text"]))  # fmt: skip
    assert delta(image, said["image"]) <= EMBEDDINGS
    assert delta(text, said["text"]) <= EMBEDDINGS
    assert far(image, said["image"]) <= SPREAD
    assert far(text, said["text"]) <= SPREAD


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_shows_in_the_comparison(shape: Shape, said: dict[str, Array], mistake: str, tmp_path: Path) -> None:
    encoder = open_encoder(write_open_clip(tmp_path / "wrong", *MISTAKES[mistake](shape)))
    image, text = encoder.encode(Views(views(shape.side))), encoder.texts.encode(TEXTS)
    say(relative_image=far(image, said["image"]), relative_text=far(text, said["text"]))
    assert far(image, said["image"]) > 50 * SPREAD
    if mistake != "colours not normalised":
        assert far(text, said["text"]) > 50 * SPREAD


def test_a_text_tower_that_is_not_causal_shows(shape: Shape, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_clip, "create_causal_mask", lambda **given: None)
    said = Reference(folder).says(images(views(shape.side)), TEXTS)
    text = open_encoder(folder).texts.encode(TEXTS)
    say(relative_text=far(text, said["text"]))
    assert far(text, said["text"]) > 50 * SPREAD


def test_patches_are_the_projected_tokens_of_transformers(shape: Shape, folder: Path) -> None:
    pixels = views(shape.side, 3)
    expected = Reference(folder).patches(images(pixels))
    found = open_encoder(folder).encode_patches(Views(pixels))
    say(patches=delta(found, expected))
    assert found.shape == expected.shape
    assert delta(found, expected) <= EMBEDDINGS
    assert delta(found.swapaxes(1, 2), expected) > 100 * EMBEDDINGS


class SiglipReference:
    """transformers' SigLIP in a folder, and what it says of views and texts."""

    def __init__(self, folder: Path) -> None:
        self.model = transformers.SiglipModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        self.model.eval()
        self.processor = transformers.SiglipImageProcessorPil.from_pretrained(folder)
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
        )

    def tokens(self, texts: list[str]) -> object:
        context = self.model.config.text_config.max_position_embeddings
        clean = [re.sub(r"\s+", " ", re.sub(r"[!-/:-@\[-`{-~]", "", text.replace("_", " "))) for text in texts]
        rows = self.tokenizer(
            [text.lower().strip() for text in clean],
            padding="max_length",
            truncation=True,
            max_length=context,
            return_tensors="pt",
        )
        return rows["input_ids"]

    @torch.inference_mode()
    def says(self, pictures: list[Image.Image], texts: list[str]) -> dict[str, Array]:
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        answer = self.model(input_ids=self.tokens(texts), pixel_values=pixels)
        shares = (self.model.logit_scale.exp() * answer.image_embeds @ answer.text_embeds.T).softmax(dim=1)
        found = {"image": answer.image_embeds, "text": answer.text_embeds, "probabilities": shares}
        return {name: tensor.numpy() for name, tensor in found.items()}

    @torch.inference_mode()
    def patches(self, pictures: list[Image.Image]) -> Array:
        """Each patch as the pooling head sees it when it is alone."""
        vision = self.model.vision_model
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        with each_alone(vision.encoder.layers[-1].self_attn):
            tokens = vision(pixel_values=pixels).last_hidden_state
        rows = vision.head(tokens.reshape(-1, 1, tokens.shape[-1]))
        grid = round(tokens.shape[1] ** 0.5)
        return (rows / rows.norm(dim=-1, keepdim=True)).reshape(len(pictures), grid, grid, -1).numpy()


class VitReference:
    """transformers' ViT classifier in a folder: its rows, not of unit length, and its probabilities."""

    def __init__(self, folder: Path) -> None:
        kind = transformers.ViTForImageClassification
        self.model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        self.processor = transformers.ViTImageProcessorPil.from_pretrained(folder)

    @torch.inference_mode()
    def says(self, pictures: list[Image.Image]) -> dict[str, Array]:
        pixels = self.processor(images=pictures, return_tensors="pt")["pixel_values"]
        tokens = self.model.vit(pixel_values=pixels).last_hidden_state
        probabilities = self.model.classifier(tokens[:, 0]).softmax(dim=1)
        with each_alone(self.model.vit.layers[-1].attention):
            patches = self.model.vit(pixel_values=pixels).last_hidden_state[:, 1:]
        return {"rows": tokens[:, 0].numpy(), "patches": patches.numpy(), "probabilities": probabilities.numpy()}


@pytest.fixture(scope="module", params=SIGLIPS)
def siglip(request: pytest.FixtureRequest) -> Siglip:
    return SIGLIPS[request.param]


@pytest.fixture(scope="module")
def siglip_said(siglip: Siglip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    folder = write_hf_siglip(tmp_path_factory.mktemp(siglip.name), siglip)
    return SiglipReference(folder).says(images(views(siglip.side)), TEXTS)


@pytest.fixture(scope="module", params=VITS)
def vit(request: pytest.FixtureRequest) -> Vit:
    return VITS[request.param]


@pytest.fixture(scope="module")
def vit_said(vit: Vit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Array]:
    return VitReference(write_hf_vit(tmp_path_factory.mktemp(vit.name), vit)).says(images(views(vit.side)))


def test_golden_files_hold_what_transformers_says_of_siglips(siglip: Siglip, siglip_said: dict[str, Array]) -> None:
    held(golden(siglip), siglip_said)


def test_golden_files_hold_what_transformers_says_of_vits(vit: Vit, vit_said: dict[str, Array]) -> None:
    held(golden(vit), {name: vit_said[name] for name in ("rows", "probabilities")})


@pytest.mark.parametrize("layout", SIGLIP_LAYOUTS)
def test_siglips_embed_as_in_transformers(
    siglip: Siglip, siglip_said: dict[str, Array], layout: str, tmp_path: Path
) -> None:
    encoder = open_encoder(SIGLIP_LAYOUTS[layout](tmp_path / layout, siglip))
    image, text = encoder.encode(Views(views(siglip.side))), encoder.texts.encode(TEXTS)
    shares = softmax(encoder.logit_scale * image @ text.T)
    say(relative_image=far(image, siglip_said["image"]), relative_text=far(text, siglip_said["text"]),
        probabilities=delta(shares, siglip_said["probabilities"]))  # fmt: skip
    assert delta(image, siglip_said["image"]) <= EMBEDDINGS
    assert delta(text, siglip_said["text"]) <= EMBEDDINGS
    assert far(image, siglip_said["image"]) <= SPREAD
    assert far(text, siglip_said["text"]) <= SPREAD
    assert delta(shares, siglip_said["probabilities"]) <= PROBABILITIES


def test_patches_of_a_siglip_are_pooled_each_alone(siglip: Siglip, tmp_path: Path) -> None:
    folder = write_hf_siglip(tmp_path, siglip)
    pixels = views(siglip.side, 3)
    expected = SiglipReference(folder).patches(images(pixels))
    found = open_encoder(folder).encode_patches(Views(pixels))
    say(patches=delta(found, expected))
    assert found.shape == expected.shape
    assert delta(found, expected) <= EMBEDDINGS
    assert delta(found.swapaxes(1, 2), expected) > 100 * EMBEDDINGS


def changed(*way: str, **values: object) -> Callable[[Path], None]:
    """Writes values into a table of a folder's config.json."""

    def change(config: dict) -> None:
        for key in way:
            config = config[key]
        config.update(values)

    return lambda folder: edit_json(folder / "config.json", change)


def padded_otherwise(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", lambda config: config.update(pad_token="<unk>"))


SIGLIP_MISTAKES: dict[str, tuple[Callable[[Path], None], bool, bool]] = {
    "another activation": (changed("vision_config", hidden_act="quick_gelu"), True, False),
    "another activation of texts": (changed("text_config", hidden_act="quick_gelu"), False, True),
    "epsilon ten times as large": (changed("vision_config", layer_norm_eps=1e-5), True, False),
    "epsilon ten times as large for texts": (changed("text_config", layer_norm_eps=1e-5), False, True),
    "twice as many heads": (changed("vision_config", num_attention_heads=32), True, False),
    "another padding": (padded_otherwise, False, True),
}
"""What is spoilt in a folder, and whether pictures and texts must show it."""


@pytest.mark.parametrize("mistake", SIGLIP_MISTAKES)
def test_a_mistake_shows_in_the_comparison_of_siglips(mistake: str, tmp_path: Path) -> None:
    shape = SIGLIPS["siglip-faint"]
    said = SiglipReference(write_hf_siglip(tmp_path, shape)).says(images(views(shape.side)), TEXTS)
    spoil, pictures, texts = SIGLIP_MISTAKES[mistake]
    spoil(tmp_path)
    encoder = open_encoder(tmp_path)
    image, text = encoder.encode(Views(views(shape.side))), encoder.texts.encode(TEXTS)
    say(relative_image=far(image, said["image"]), relative_text=far(text, said["text"]))
    assert (far(image, said["image"]) > 50 * SPREAD) == pictures
    assert (far(text, said["text"]) > 50 * SPREAD) == texts


def test_a_causal_siglip_shows(siglip: Siglip, siglip_said: dict[str, Array], tmp_path: Path) -> None:
    tower = open_encoder(write_hf_siglip(tmp_path, siglip)).towers.text
    ids = Tokenize(tmp_path, siglip.context, siglip.vocabulary, filled=True, canonical=True)(TEXTS)
    assert far(onnx.open_text(tower, 1)(ids), siglip_said["text"]) <= SPREAD
    assert far(onnx.open_text(replace(tower, causal=True), 1)(ids), siglip_said["text"]) > 50 * SPREAD


@pytest.mark.parametrize("layout", VIT_LAYOUTS)
def test_vits_score_as_in_transformers(vit: Vit, vit_said: dict[str, Array], layout: str, tmp_path: Path) -> None:
    encoder = open_encoder(VIT_LAYOUTS[layout](tmp_path / layout, vit))
    rows = encoder.project(Views(views(vit.side)))
    scores = encoder.classifier.network(rows)
    say(rows=delta(rows, vit_said["rows"]), relative=far(rows, vit_said["rows"]),
        probabilities=delta(scores, vit_said["probabilities"]))  # fmt: skip
    assert far(rows, vit_said["rows"]) <= SPREAD
    assert delta(scores, vit_said["probabilities"]) <= PROBABILITIES
    assert far(vit_said["patches"].mean(axis=1), vit_said["rows"]) > 50 * SPREAD  # as if it were pooled by the mean
    patches = encoder.encode_patches(Views(views(vit.side))).reshape(vit_said["patches"].shape)
    assert delta(patches, unit(vit_said["patches"])) <= EMBEDDINGS


@pytest.mark.parametrize("change", [{"hidden_act": "quick_gelu"}, {"layer_norm_eps": 1e-5}, {"num_attention_heads": 3}])
def test_a_mistake_shows_in_the_comparison_of_vits(change: dict[str, object], tmp_path: Path) -> None:
    shape = VITS["vit-faint"]
    said = VitReference(write_hf_vit(tmp_path, shape)).says(images(views(shape.side)))
    changed(**change)(tmp_path)
    rows = open_encoder(tmp_path).project(Views(views(shape.side)))
    say(relative=far(rows, said["rows"]))
    assert far(rows, said["rows"]) > 50 * SPREAD


def test_a_vit_without_biases_of_queries_keys_and_values(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=96,
                                    image_size=32, patch_size=8, qkv_bias=False, initializer_range=0.3)  # fmt: skip
    model = transformers.ViTModel(config)
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        pixels = (torch.tensor(views(32)).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        expected = model.eval()(pixel_values=pixels).last_hidden_state[:, 0].numpy()
    encoder = open_encoder(tmp_path)
    assert encoder.classifier is None
    assert far(encoder.project(Views(views(32))), expected) <= SPREAD


@pytest.mark.parametrize("kind", ["SiglipImageProcessorPil", "ViTImageProcessorPil"])
def test_views_of_siglips_and_vits_are_those_of_their_processors(kind: str) -> None:
    processor = getattr(transformers, kind)(do_normalize=False, do_rescale=False)
    spec = ViewSpec(224, "squash", "bilinear" if kind.startswith("ViT") else "bicubic")
    for size in SIZES:
        picture = photo(*size, seed=3)
        (view,) = prepare(encoded(picture), [spec], Limits()).views[spec]
        expected = processor(images=picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        assert np.abs(expected.astype(float) - view.pixels).mean() <= 1


def test_keys_that_a_siglip_leaves_out_mean_the_classs_defaults(tmp_path: Path) -> None:
    """As in Google's own config.json: hardly more than the vocabulary."""
    shape = Siglip("defaults", side=224, patch=16, width=48, layers=12, hidden=3072, text_width=24, text_layers=12,
                   text_heads=12, text_hidden=3072, context=64)  # fmt: skip
    folder = write_hf_siglip(tmp_path, shape)
    config = {
        "model_type": "siglip",
        "vision_config": {"hidden_size": 48},
        "text_config": {"hidden_size": 24, "vocab_size": 640, "projection_size": 48},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    said = SiglipReference(folder).says(images(views(224, 4)), TEXTS)
    encoder = open_encoder(folder)
    assert encoder.view == ViewSpec(224, "squash")
    assert far(encoder.encode(Views(views(224, 4))), said["image"]) <= SPREAD
    assert far(encoder.texts.encode(TEXTS), said["text"]) <= SPREAD


STRINGS = [
    *TEXTS,
    "",
    " ",
    "\n\t  \u00a0\u3000",
    "UPPER Case ÀÉÎ İstanbul ẞ",
    "it's they're we've I'm you'll he'd don't 'S 'LL",
    "e\u0301 and é, \ufb01 ligature, ½ ² ٣ 中",
    "👩‍👩‍👧‍👦🏳️‍🌈 emoji 🤷🏽‍♀️",
    "underscore_joined-and.dotted,too!!!???",
    "tabs\tand\r\nlines   collapse",
    "zero\u200bwidth \u202e turned",
    "1234567890 3.14 1,000",
    "<b>html &amp; entities</b>",
    "a cat " * 60,
    "🙂" * 100,
    "x" * 3000,
]


@pytest.fixture(scope="module", params=["tokenizer.json", "vocab.json and merges.txt"])
def tokenizers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenize, object]:
    """moderato's from one form of the files, transformers' from the other two, as `from_pretrained` finds them."""
    ours, theirs = tmp_path_factory.mktemp("ours"), tmp_path_factory.mktemp("theirs")
    write_tokenizer(ours, whole=request.param == "tokenizer.json")
    write_tokenizer(theirs, whole=False)
    return Tokenize(ours, 24, SHAPES["quick"].vocabulary), transformers.CLIPTokenizer.from_pretrained(theirs)


def same_ids(tokenizers: tuple[Tokenize, Callable[..., dict[str, list[int]]]], text: str) -> bool:
    ours, theirs = tokenizers
    return ours([text])[0].tolist() == theirs(text, truncation=True, max_length=24)["input_ids"]


@pytest.mark.parametrize("text", STRINGS)
def test_token_ids_are_those_of_transformers(tokenizers: tuple[Tokenize, Callable], text: str) -> None:
    assert same_ids(tokenizers, text)


@pytest.mark.parametrize("text", STRINGS)
def test_token_ids_of_siglips_are_those_of_transformers(text: str, tmp_path: Path) -> None:
    reference = SiglipReference(write_hf_siglip(tmp_path, SIGLIPS["siglip"]))
    found = Tokenize(tmp_path, 16, 640, filled=True, canonical=True)([text])
    assert found.tolist() == reference.tokens([text]).tolist()


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_token_ids_of_any_text_are_those_of_transformers(tokenizers: tuple[Tokenize, Callable], text: str) -> None:
    assert same_ids(tokenizers, text)


def agrees(folder: Path, shape: Shape) -> None:
    """Embeddings of a folder as transformers reads it, with its own processor."""
    said = Reference(folder).says(images(views(shape.side)), TEXTS)
    encoder = open_encoder(folder)
    assert far(encoder.encode(Views(views(shape.side))), said["image"]) <= SPREAD
    assert far(encoder.texts.encode(TEXTS), said["text"]) <= SPREAD


@pytest.mark.parametrize("end", [2, SHAPES["quick"].vocabulary - 1])
def test_texts_are_pooled_at_their_end_whatever_the_config_calls_it(end: int, tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path, SHAPES["quick"])
    edit_json(folder / "config.json", lambda config: config["text_config"].update(eos_token_id=end))
    agrees(folder, SHAPES["quick"])


def test_keys_that_a_config_leaves_out_mean_the_classes_defaults(tmp_path: Path) -> None:
    shape = Shape("defaults", dim=512, side=224, patch=32, width=48, layers=12, heads=12, hidden=3072, text_width=32,
                  text_layers=12, text_heads=8, text_hidden=2048, context=77, vocabulary=49408)  # fmt: skip
    folder = write_hugging_face(tmp_path, shape)
    config = {"model_type": "clip", "vision_config": {"hidden_size": 48}, "text_config": {"hidden_size": 32}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text("{}")
    agrees(folder, shape)


@pytest.mark.parametrize("part", ["text_config", "vision_config"])
def test_the_older_dict_of_a_config_overrides_the_newer(part: str, tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path, SHAPES["patch14"])

    def age(config: dict[str, dict[str, object]]) -> None:
        config[f"{part}_dict"] = config[part]
        config[part] = config[part] | {"hidden_act": "quick_gelu", "num_attention_heads": 1}

    edit_json(folder / "config.json", age)
    agrees(folder, SHAPES["patch14"])


def test_what_the_older_dict_leaves_out_means_the_default_too(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path, SHAPES["patch14"])

    def age(config: dict[str, dict[str, object]]) -> None:
        older = {key: value for key, value in config["text_config"].items() if key != "hidden_act"}
        config["text_config_dict"] = older

    edit_json(folder / "config.json", age)
    agrees(folder, SHAPES["patch14"])


def test_a_null_part_of_a_config_means_all_its_defaults(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path, SHAPES["quick"])

    def age(config: dict[str, object]) -> None:
        config["text_config_dict"], config["text_config"] = config["text_config"], None

    edit_json(folder / "config.json", age)
    agrees(folder, SHAPES["quick"])


def test_a_processor_as_transformers_5_saves_it_is_read(tmp_path: Path) -> None:
    shape = SHAPES["wide-heads"]
    folder = write_hugging_face(tmp_path, shape)
    reference = Reference(folder)
    (folder / "preprocessor_config.json").unlink()
    transformers.CLIPProcessor(reference.processor, reference.tokenizer).save_pretrained(folder)
    assert "image_processor" in json.loads((folder / "processor_config.json").read_text())
    agrees(folder, shape)


SIZES = [(640, 480), (480, 641), (1000, 333), (224, 224), (225, 301), (101, 60), (31, 32), (1024, 1024)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fit", ["crop", "squash", "cover"])
def test_views_are_those_of_transformers_processor(fit: Fit, size: tuple[int, int]) -> None:
    picture = photo(*size, seed=3)
    side, kind = 224, transformers.CLIPImageProcessorPil
    processor = kind(do_normalize=False, do_rescale=False)
    if fit == "squash":
        processor = kind(
            size={"height": side, "width": side}, do_center_crop=False, do_normalize=False, do_rescale=False
        )
    spec = ViewSpec(side, fit)
    for view in prepare(encoded(picture), [spec], Limits()).views[spec]:
        seen = picture.crop(view.box) if fit == "cover" else picture
        expected = processor(images=seen, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        assert expected.shape == view.pixels.shape
        assert np.abs(expected.astype(float) - view.pixels).mean() <= 1


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A random ViT-B/32, the model that transformers makes when told nothing. Half a gigabyte, gone afterwards."""
    folder = tmp_path_factory.mktemp("full-size")
    torch.manual_seed(0)
    transformers.CLIPModel(transformers.CLIPConfig()).save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    write_tokenizer(folder, 49408, whole=False)
    yield folder
    shutil.rmtree(folder)


FULL_SIZE = Shape("full-size", dim=512, side=224, patch=32, width=768, layers=12, heads=12, hidden=3072,
                  text_width=512, text_layers=12, text_heads=8, text_hidden=2048,
                  context=77, vocabulary=49408)  # fmt: skip


@pytest.fixture(scope="module", params=LAYOUTS)
def full_size_in_each_layout(
    request: pytest.FixtureRequest, full_size: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    if request.param == "hugging_face":
        yield full_size
        return
    tensors = load_file(full_size / "model.safetensors")
    yield (folder := write_open_clip(tmp_path_factory.mktemp("native"), FULL_SIZE, open_clip_names(tensors)))
    shutil.rmtree(folder)


PICTURES = [photo(640 - 40 * i, 300 + 50 * i, seed=i) for i in range(8)]


@pytest.fixture(scope="module")
def full_size_reference(full_size: Path) -> tuple[Views, dict[str, Array]]:
    reference = Reference(full_size)
    return reference.sees(PICTURES), reference.says(PICTURES, TEXTS)


def test_a_vit_b_32_classifies_as_transformers_does(
    full_size_in_each_layout: Path, full_size_reference: tuple[Views, dict[str, Array]]
) -> None:
    """From files to probabilities, and once more from the very pixels that transformers saw."""
    seen, said = full_size_reference
    moderator = Workshop(read_settings()).moderator("demo", encoder=str(full_size_in_each_layout))
    files = [encoded(picture) for picture in PICTURES]

    def probabilities(fit: Fit | None) -> Array:
        return np.array(
            [list(answer.probabilities.values()) for answer in moderator.classify_many(files, TEXTS, fit=fit)]
        )

    found, squashed = probabilities(None), probabilities("squash")
    encoder = moderator.encoder(str(full_size_in_each_layout))
    image, text = encoder.encode(seen), encoder.texts.encode(TEXTS)
    say(
        probabilities=delta(found, said["probabilities"]), squashed=delta(squashed, said["probabilities"]),
        image=delta(image, said["image"]), relative_image=far(image, said["image"]),
        text=delta(text, said["text"]), relative_text=far(text, said["text"]),
    )  # fmt: skip
    assert delta(found, said["probabilities"]) <= PROBABILITIES
    assert delta(squashed, said["probabilities"]) > 50 * PROBABILITIES
    assert delta(image, said["image"]) <= EMBEDDINGS
    assert delta(text, said["text"]) <= EMBEDDINGS
    assert far(image, said["image"]) <= SPREAD
    assert far(text, said["text"]) <= SPREAD


SCALED = 0.015
"""How far JPEGs decoded at a fraction may move embeddings, relative to the spread between pictures (`models.far`)."""


@pytest.fixture(scope="module")
def photos_of_12_megapixels() -> list[tuple[bytes, Image.Image]]:
    """JPEG files, and what they show when decoded whole."""
    sizes = [(4000, 3000), (3000, 4000), (4000, 3000), (4608, 2592), (3456, 3456)]
    files = [encoded(photo(*size, seed=9 + i), "JPEG", quality=90) for i, size in enumerate(sizes)]
    return [(file, Image.open(io.BytesIO(file)).convert("RGB")) for file in files]


def shrunk_carelessly(image: Image.Image, side: int) -> Image.Image:
    """To what a view has room for, without averaging."""
    width, height = (side * length // min(image.size) for length in image.size)
    return image.resize((width, height), Image.Resampling.NEAREST)


@pytest.mark.parametrize("fit", ["crop", "squash", "cover"])
@pytest.mark.parametrize("name", ["a random ViT-B/32", "the built-in encoder"])
def test_scaled_decoding_hardly_moves_embeddings(
    name: str, fit: Fit, full_size: Path, photos_of_12_megapixels: list[tuple[bytes, Image.Image]]
) -> None:
    builtin = encoder_card("tiny").folder
    encoder = open_encoder(full_size if name == "a random ViT-B/32" else builtin, identity=name)
    spec = replace(encoder.view, fit=fit)

    def embedded(cuts: list[list[View]]) -> Array:
        return encoder.encode(Views(np.stack([view.pixels for views in cuts for view in views])))

    wholes = [image for _, image in photos_of_12_megapixels]
    whole = embedded([cut(Frame(image, image.size), spec) for image in wholes])
    scaled = embedded([prepare(file, [spec], Limits()).views[spec] for file, _ in photos_of_12_megapixels])
    turned = embedded([cut(Frame(image.rotate(2), image.size), spec) for image in wholes])
    careless = [shrunk_carelessly(image, spec.side) for image in wholes]
    coarse = embedded([cut(Frame(image, image.size), spec) for image in careless])
    say(scaled=far(scaled, whole), turned=far(turned, whole), coarse=far(coarse, whole))
    assert far(scaled, whole) <= SCALED
    assert far(turned, whole) > SCALED
    assert far(coarse, whole) > SCALED
