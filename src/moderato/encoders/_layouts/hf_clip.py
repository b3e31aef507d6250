"""Hugging Face's layout of CLIP: `config.json` (model_type clip) beside `model.safetensors`.

Tensor names and defaults as transformers' `CLIPModel` and `CLIPConfig` have them, "pre_layrnorm" included. A key that a
config leaves out means the class's default, which is ViT-B/32; `vision_config_dict` and `text_config_dict` override
their newer namesakes (transformers, configuration_clip.py).
"""

from __future__ import annotations

from moderato.encoders._layouts._config import OPENAI_MEAN, OPENAI_STD, Config
from moderato.encoders._layouts._hugging_face import ACTIVATIONS, BLOCK, Processor
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import (
    MOST_LAYERS,
    Pooled,
    TextTower,
    Towers,
    VisionTower,
    block_refs,
    logit_scale,
    part_refs,
)
from moderato.types import ViewSpec

CONFIG = "config.json"
MARKS = ("vision_model.embeddings.class_embedding",)
"""Tensors of which only this layout has one."""

_PROCESSOR = Processor(fit="crop", resample="3", mean=OPENAI_MEAN, std=OPENAI_STD)
_LEGACY_END = 2
"""The wrong id that the first CLIP configs carry; transformers then pools at the highest id (its issue 24773)."""


def read(config: Config, tensors: Tensors) -> tuple[Towers, ViewSpec]:
    """The towers, and the view that the image processor's config asks for (CLIP's own where there is none).

    Raises `WeightsError` naming the file and the key that is missing or unknown.
    """
    config.only("model_type", "clip")
    dim = config.integer("projection_dim", 512)
    vision, view = _vision(_part(config, "vision_config"), dim, tensors)
    text = _text(_part(config, "text_config"), dim, tensors)
    return Towers(vision, text, logit_scale(tensors)), view


def _vision(config: Config, dim: int, tensors: Tensors) -> tuple[VisionTower, ViewSpec]:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    side = config.integer("image_size", 224)
    view, mean, std = _PROCESSOR.read(config, side)
    tower = VisionTower(
        width=config.integer("hidden_size", 768),
        layers=layers,
        heads=config.integer("num_attention_heads", 12),
        hidden=config.integer("intermediate_size", 3072),
        dim=dim,
        activation=config.choice("hidden_act", ACTIVATIONS, "quick_gelu"),
        epsilon=config.number("layer_norm_eps", 1e-5),
        side=side,
        patch=config.integer("patch_size", 32),
        mean=mean,
        std=std,
        tensors=tensors,
        refs={
            "patch.weight": TensorRef("vision_model.embeddings.patch_embedding.weight"),
            "class": TensorRef("vision_model.embeddings.class_embedding"),
            "positions": TensorRef("vision_model.embeddings.position_embedding.weight"),
            "projection.weight": TensorRef("visual_projection.weight"),
            **part_refs("vision_model.", {"pre_norm": "pre_layrnorm.{kind}", "post_norm": "post_layernorm.{kind}"}),
            **block_refs(layers, "vision_model.encoder.layers.{i}", BLOCK),
        },
    )
    return tower, view


def _text(config: Config, dim: int, tensors: Tensors) -> TextTower:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    return TextTower(
        width=config.integer("hidden_size", 512),
        layers=layers,
        heads=config.integer("num_attention_heads", 8),
        hidden=config.integer("intermediate_size", 2048),
        dim=dim,
        activation=config.choice("hidden_act", ACTIVATIONS, "quick_gelu"),
        epsilon=config.number("layer_norm_eps", 1e-5),
        vocabulary=config.integer("vocab_size", 49408),
        context=config.integer("max_position_embeddings", 77),
        pooled=_pooled(config),
        tensors=tensors,
        refs={
            "tokens": TensorRef("text_model.embeddings.token_embedding.weight"),
            "positions": TensorRef("text_model.embeddings.position_embedding.weight"),
            "projection.weight": TensorRef("text_projection.weight"),
            **part_refs("text_model.", {"post_norm": "final_layer_norm.{kind}"}),
            **block_refs(layers, "text_model.encoder.layers.{i}", BLOCK),
        },
    )


def _pooled(config: Config) -> Pooled:
    ends = config.integers("eos_token_id", 49407)
    return "highest" if _LEGACY_END in ends else ends


def _part(config: Config, key: str) -> Config:
    older = f"{key}_dict"  # where it is there, the newer one counts for nothing: its gaps mean defaults too
    return config.section(older if config.values.get(older) is not None else key, {})
