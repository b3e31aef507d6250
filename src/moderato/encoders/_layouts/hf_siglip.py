"""Hugging Face's layout of SigLIP and of SigLIP 2 at a fixed resolution: `config.json` (model_type siglip, for both).

Tensor names and defaults as transformers' `SiglipModel` and `SiglipConfig` have them; Google's own configs state little
more than the vocabulary, and a key that is left out means the class's default, which is B/16 at 224 pixels.
"""

from __future__ import annotations

from moderato.encoders._layouts._config import HALVES, Config
from moderato.encoders._layouts._hugging_face import ACTIVATIONS, BLOCK, Processor
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import (
    MOST_LAYERS,
    Names,
    TextTower,
    Towers,
    VisionTower,
    block_refs,
    logit_scale,
    part_refs,
)
from moderato.types import ViewSpec

CONFIG = "config.json"
MARKS = ("vision_model.head.probe",)
"""Tensors of which only this layout has one."""

_PROCESSOR = Processor(fit="squash", resample="3", mean=HALVES, std=HALVES)
_POOL: Names = {
    "pool.query": ("attention.in_proj_{kind}", (0, 3)),
    "pool.key": ("attention.in_proj_{kind}", (1, 3)),
    "pool.value": ("attention.in_proj_{kind}", (2, 3)),
    "pool.out": "attention.out_proj.{kind}",
    "pool.norm_2": "layernorm.{kind}",
    "pool.up": "mlp.fc1.{kind}",
    "pool.down": "mlp.fc2.{kind}",
}
_SPARE = ("logit_bias",)  # a sigmoid's over cosines; scores here come from gaps and shares, where it falls out


def read(config: Config, tensors: Tensors) -> tuple[Towers, ViewSpec]:
    """The towers, and the view that the image processor's config asks for (SigLIP's own where there is none).

    Raises `WeightsError` naming the file and the key that is missing or unknown, or a tensor that is left over.
    """
    config.only("model_type", "siglip")
    vision, view = _vision(config.section("vision_config", {}), tensors)
    towers = Towers(vision, _text(config.section("text_config", {}), tensors), logit_scale(tensors))
    towers.use_all(tensors, _SPARE)
    return towers, view


def _vision(config: Config, tensors: Tensors) -> tuple[VisionTower, ViewSpec]:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    width, side = config.integer("hidden_size", 768), config.integer("image_size", 224)
    view, mean, std = _PROCESSOR.read(config, side)
    tower = VisionTower(
        width=width,
        layers=layers,
        heads=config.integer("num_attention_heads", 12),
        hidden=config.integer("intermediate_size", 3072),
        dim=width,
        activation=config.choice("hidden_act", ACTIVATIONS, "gelu_pytorch_tanh"),
        epsilon=config.number("layer_norm_eps", 1e-6),
        side=side,
        patch=config.integer("patch_size", 16),
        mean=mean,
        std=std,
        tensors=tensors,
        refs={
            "positions": TensorRef("vision_model.embeddings.position_embedding.weight"),
            "pool.probe": TensorRef("vision_model.head.probe", squeezed=True),
            **part_refs("vision_model.embeddings.", {"patch": "patch_embedding.{kind}"}),
            **part_refs("vision_model.", {"post_norm": "post_layernorm.{kind}"}),
            **part_refs("vision_model.head.", _POOL),
            **block_refs(layers, "vision_model.encoder.layers.{i}", BLOCK),
        },
    )
    return tower, view


def _text(config: Config, tensors: Tensors) -> TextTower:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    width = config.integer("hidden_size", 768)
    return TextTower(
        width=width,
        layers=layers,
        heads=config.integer("num_attention_heads", 12),
        hidden=config.integer("intermediate_size", 3072),
        dim=config.integer("projection_size", width),
        activation=config.choice("hidden_act", ACTIVATIONS, "gelu_pytorch_tanh"),
        epsilon=config.number("layer_norm_eps", 1e-6),
        vocabulary=config.integer("vocab_size", 32000),
        context=config.integer("max_position_embeddings", 64),
        pooled="last",
        causal=False,
        canonical=True,
        tensors=tensors,
        refs={
            "tokens": TensorRef("text_model.embeddings.token_embedding.weight"),
            "positions": TensorRef("text_model.embeddings.position_embedding.weight"),
            **part_refs("text_model.", {"post_norm": "final_layer_norm.{kind}", "projection": "head.{kind}"}),
            **block_refs(layers, "text_model.encoder.layers.{i}", BLOCK),
        },
    )
