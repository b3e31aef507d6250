"""Hugging Face's layout of CLIP: `config.json` (model_type clip) beside `model.safetensors`.

Tensor names and defaults as transformers' `CLIPModel` and `CLIPConfig` have them, "pre_layrnorm" included. A key that a
config leaves out means the class's default, which is ViT-B/32; `vision_config_dict` and `text_config_dict` override
their newer namesakes (transformers, configuration_clip.py).
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

CONFIG = "config.json"
MARK = "vision_model.embeddings.class_embedding"
"""A tensor that only this layout has."""

_BLOCK: dict[str, tuple[str, int | None]] = {
    "norm_1": ("layer_norm1.{kind}", None),
    "query": ("self_attn.q_proj.{kind}", None),
    "key": ("self_attn.k_proj.{kind}", None),
    "value": ("self_attn.v_proj.{kind}", None),
    "out": ("self_attn.out_proj.{kind}", None),
    "norm_2": ("layer_norm2.{kind}", None),
    "up": ("mlp.fc1.{kind}", None),
    "down": ("mlp.fc2.{kind}", None),
}
_ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
_RESAMPLE: dict[str, Interpolation] = {"2": "bilinear", "3": "bicubic"}  # PIL.Image.Resampling
_LEGACY_END = 2
"""The wrong id that the first CLIP configs carry; transformers then pools at the highest id (its issue 24773)."""


def read(config: Config, tensors: Tensors) -> tuple[TwoTowers, ViewSpec]:
    """The towers, and the view that the image processor's config asks for (CLIP's own where there is none).

    Raises `WeightsError` naming the file and the key that is missing or unknown.
    """
    config.only("model_type", "clip")
    dim = config.integer("projection_dim", 512)
    views = _processor(config)
    vision = _vision(_part(config, "vision_config"), dim, views, tensors)
    towers = TwoTowers(
        vision=vision, text=_text(_part(config, "text_config"), dim, tensors), logit_scale=logit_scale(tensors)
    )
    return towers, _view(views, vision.side)


def _vision(config: Config, dim: int, views: Config, tensors: Tensors) -> VisionTower:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    normalised = views.flag("do_normalize", True)
    return VisionTower(
        width=config.integer("hidden_size", 768),
        layers=layers,
        heads=config.integer("num_attention_heads", 12),
        hidden=config.integer("intermediate_size", 3072),
        dim=dim,
        activation=config.choice("hidden_act", _ACTIVATIONS, "quick_gelu"),
        epsilon=config.number("layer_norm_eps", 1e-5),
        side=config.integer("image_size", 224),
        patch=config.integer("patch_size", 32),
        mean=views.triple("image_mean", OPENAI_MEAN) if normalised else (0.0, 0.0, 0.0),
        std=views.triple("image_std", OPENAI_STD) if normalised else (1.0, 1.0, 1.0),
        tensors=tensors,
        refs={
            "patch.weight": TensorRef("vision_model.embeddings.patch_embedding.weight"),
            "class": TensorRef("vision_model.embeddings.class_embedding"),
            "positions": TensorRef("vision_model.embeddings.position_embedding.weight"),
            "projection": TensorRef("visual_projection.weight"),
            **norm_refs("pre_norm", "vision_model.pre_layrnorm"),
            **norm_refs("post_norm", "vision_model.post_layernorm"),
            **block_refs(layers, "vision_model.encoder.layers.{i}", _BLOCK),
        },
    )


def _text(config: Config, dim: int, tensors: Tensors) -> TextTower:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    end = config.integer("eos_token_id", 49407)
    return TextTower(
        width=config.integer("hidden_size", 512),
        layers=layers,
        heads=config.integer("num_attention_heads", 8),
        hidden=config.integer("intermediate_size", 2048),
        dim=dim,
        activation=config.choice("hidden_act", _ACTIVATIONS, "quick_gelu"),
        epsilon=config.number("layer_norm_eps", 1e-5),
        vocabulary=config.integer("vocab_size", 49408),
        context=config.integer("max_position_embeddings", 77),
        end=None if end == _LEGACY_END else end,
        tensors=tensors,
        refs={
            "tokens": TensorRef("text_model.embeddings.token_embedding.weight"),
            "positions": TensorRef("text_model.embeddings.position_embedding.weight"),
            "projection": TensorRef("text_projection.weight"),
            **norm_refs("post_norm", "text_model.final_layer_norm"),
            **block_refs(layers, "text_model.encoder.layers.{i}", _BLOCK),
        },
    )


def _part(config: Config, key: str) -> Config:
    older = f"{key}_dict"  # where it is there, the newer one counts for nothing: its gaps mean defaults too
    return config.section(older if config.values.get(older) is not None else key, {})


def _processor(config: Config) -> Config:
    folder = config.file.parent
    if (folder / "preprocessor_config.json").is_file():
        return Config.read(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():  # transformers 5 nests the image processor's config here
        return Config.read(folder / "processor_config.json").section("image_processor", {})
    return Config(config.file, {})


def _view(config: Config, side: int) -> ViewSpec:
    size = config.values.get("size", {"shortest_edge": side})
    lengths = list(size.values()) if isinstance(size, dict) else [size]
    fit: Fit = "squash" if isinstance(size, dict) and "height" in size else "crop"
    if any(length != side for length in lengths):
        raise config.error("size", f"the {side} pixels of the vision tower", size)
    return ViewSpec(side=side, fit=fit, interpolation=config.choice("resample", _RESAMPLE, "3"))
