"""open_clip's layout, the native one: OpenAI's, LAION's and DataComp's CLIPs all exist in it as safetensors.

`open_clip_config.json` beside `open_clip_model.safetensors`; tensor names as open_clip 3.3 writes them
(https://github.com/mlfoundations/open_clip, src/open_clip/model.py and transformer.py).
"""

from __future__ import annotations

from moderato.encoders._layouts._config import Config
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import (
    MOST_LAYERS,
    OPENAI_MEAN,
    OPENAI_STD,
    Activation,
    TextTower,
    TwoTowers,
    VisionTower,
    block_refs,
    logit_scale,
    norm_refs,
)
from moderato.types import Fit, Interpolation, ViewSpec

CONFIG = "open_clip_config.json"
MARK = "visual.conv1.weight"
"""A tensor that only this layout has."""

_BLOCK: dict[str, tuple[str, int | None]] = {
    "norm_1": ("ln_1.{kind}", None),
    "query": ("attn.in_proj_{kind}", 0),
    "key": ("attn.in_proj_{kind}", 1),
    "value": ("attn.in_proj_{kind}", 2),
    "out": ("attn.out_proj.{kind}", None),
    "norm_2": ("ln_2.{kind}", None),
    "up": ("mlp.c_fc.{kind}", None),
    "down": ("mlp.c_proj.{kind}", None),
}
_INTERPOLATION: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear"}
_FIT: dict[str, Fit] = {"shortest": "crop", "squash": "squash"}


def read(config: Config, tensors: Tensors) -> tuple[TwoTowers, ViewSpec]:
    """The towers, and the view that their `preprocess_cfg` asks for.

    Raises `WeightsError` naming the file and the key that is missing or unknown.
    """
    model, views = config.section("model_cfg"), config.section("preprocess_cfg", {})
    towers = TwoTowers(
        vision=_vision(model, views, tensors),
        text=_text(model, tensors),
        logit_scale=logit_scale(tensors),
    )
    spec = ViewSpec(
        side=towers.vision.side,
        fit=views.choice("resize_mode", _FIT, "shortest"),
        interpolation=views.choice("interpolation", _INTERPOLATION, "bicubic"),
    )
    return towers, spec


def _vision(model: Config, views: Config, tensors: Tensors) -> VisionTower:
    config = model.section("vision_cfg")
    config.refuse("timm_model_name", "a timm trunk")
    config.refuse("attentional_pool", "attentional pooling")
    _refuse_variations(config)
    config.only("pool_type", "tok")
    width, layers = config.integer("width", 768), config.integer("layers", 12, most=MOST_LAYERS)
    return VisionTower(
        width=width,
        layers=layers,
        heads=config.quotient(width, "head_width", 64),
        hidden=int(width * config.number("mlp_ratio", 4.0)),
        dim=model.integer("embed_dim"),
        activation=_activation(model),
        epsilon=1e-5,
        side=config.integer("image_size", 224),
        patch=config.integer("patch_size", 16),
        mean=views.triple("mean", OPENAI_MEAN),
        std=views.triple("std", OPENAI_STD),
        tensors=tensors,
        refs={
            "patch.weight": TensorRef("visual.conv1.weight"),
            "class": TensorRef("visual.class_embedding"),
            "positions": TensorRef("visual.positional_embedding"),
            "projection": TensorRef("visual.proj", transposed=True),
            **norm_refs("pre_norm", "visual.ln_pre"),
            **norm_refs("post_norm", "visual.ln_post"),
            **block_refs(layers, "visual.transformer.resblocks.{i}", _BLOCK),
        },
    )


def _text(model: Config, tensors: Tensors) -> TextTower:
    config = model.section("text_cfg")
    config.refuse("hf_model_name", "a Hugging Face text tower")
    config.refuse("no_causal_mask", "a text tower that is not causal")
    _refuse_variations(config)
    config.only("pool_type", "argmax")
    width, layers = config.integer("width", 512), config.integer("layers", 12, most=MOST_LAYERS)
    return TextTower(
        width=width,
        layers=layers,
        heads=config.integer("heads", 8),
        hidden=int(width * config.number("mlp_ratio", 4.0)),
        dim=model.integer("embed_dim"),
        activation=_activation(model),
        epsilon=1e-5,
        vocabulary=config.integer("vocab_size", 49408),
        context=config.integer("context_length", 77),
        end=None,
        tensors=tensors,
        refs={
            "tokens": TensorRef("token_embedding.weight"),
            "positions": TensorRef("positional_embedding"),
            "projection": TensorRef("text_projection", transposed=True),
            **norm_refs("post_norm", "ln_final"),
            **block_refs(layers, "transformer.resblocks.{i}", _BLOCK),
        },
    )


def _refuse_variations(config: Config) -> None:
    config.refuse("ls_init_value", "layer scale")
    config.refuse("act_kwargs", "an activation with settings of its own")
    config.refuse("norm_kwargs", "a norm with settings of its own")


def _activation(model: Config) -> Activation:
    return "quick_gelu" if model.flag("quick_gelu", False) else "gelu"
