"""open_clip's layout, the native one: OpenAI's, LAION's and DataComp's CLIPs all exist in it as safetensors.

`open_clip_config.json` beside `open_clip_model.safetensors`; tensor names as open_clip 3.3 writes them
(https://github.com/mlfoundations/open_clip, src/open_clip/model.py and transformer.py).
"""

from __future__ import annotations

from moderato.encoders._layouts._config import Config
from moderato.encoders._layouts._open_clip import BLOCK, read_view, refuse_variations
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import (
    MOST_LAYERS,
    Activation,
    TextTower,
    Towers,
    VisionTower,
    block_refs,
    logit_scale,
    part_refs,
)
from moderato.types import ViewSpec

CONFIG = "open_clip_config.json"
MARKS = ("visual.conv1.weight",)
"""Tensors of which only this layout has one."""


def read(config: Config, tensors: Tensors) -> tuple[Towers, ViewSpec]:
    """The towers, and the view that their `preprocess_cfg` asks for.

    Raises `WeightsError` naming the file and the key that is missing or unknown.
    """
    vision, view = _vision(config, tensors)
    return Towers(vision, _text(config.section("model_cfg"), tensors), logit_scale(tensors)), view


def _vision(top: Config, tensors: Tensors) -> tuple[VisionTower, ViewSpec]:
    model = top.section("model_cfg")
    config = model.section("vision_cfg")
    config.refuse("timm_model_name", "a timm trunk under names of open_clip's own")
    config.only("pool_type", "tok")
    _refuse(config)
    width, layers = config.integer("width", 768), config.integer("layers", 12, most=MOST_LAYERS)
    side = config.integer("image_size", 224)
    view, mean, std = read_view(top, side)
    tower = VisionTower(
        width=width,
        layers=layers,
        heads=config.quotient(width, "head_width", 64),
        hidden=int(width * config.number("mlp_ratio", 4.0)),
        dim=model.integer("embed_dim"),
        activation=_activation(model),
        epsilon=1e-5,
        side=side,
        patch=config.integer("patch_size", 16),
        mean=mean,
        std=std,
        tensors=tensors,
        refs={
            "patch.weight": TensorRef("visual.conv1.weight"),
            "class": TensorRef("visual.class_embedding"),
            "positions": TensorRef("visual.positional_embedding"),
            "projection.weight": TensorRef("visual.proj", transposed=True),
            **part_refs("visual.", {"pre_norm": "ln_pre.{kind}", "post_norm": "ln_post.{kind}"}),
            **block_refs(layers, "visual.transformer.resblocks.{i}", BLOCK),
        },
    )
    return tower, view


def _text(model: Config, tensors: Tensors) -> TextTower:
    config = model.section("text_cfg")
    config.refuse("no_causal_mask", "a text tower that is not causal")
    config.only("pool_type", "argmax")
    _refuse(config)
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
        pooled="highest",
        tensors=tensors,
        refs={
            "tokens": TensorRef("token_embedding.weight"),
            "positions": TensorRef("positional_embedding"),
            "projection.weight": TensorRef("text_projection", transposed=True),
            **part_refs("", {"post_norm": "ln_final.{kind}"}),
            **block_refs(layers, "transformer.resblocks.{i}", BLOCK),
        },
    )


def _refuse(config: Config) -> None:
    refuse_variations(config)
    config.refuse("act_kwargs", "an activation with settings of its own")
    config.refuse("norm_kwargs", "a norm with settings of its own")


def _activation(model: Config) -> Activation:
    return "quick_gelu" if model.flag("quick_gelu", False) else "gelu"
