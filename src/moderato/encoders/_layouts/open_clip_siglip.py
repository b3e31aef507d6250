"""open_clip's layout of SigLIP and SigLIP 2: a timm trunk that pools by attention, a text tower that is not causal.

`open_clip_config.json` beside `open_clip_model.safetensors`; tensor names as open_clip 3.3 writes them. The trunk's
activation is the tanh approximation for all sizes, as Google trained them (big_vision uses flax's gelu) and as
transformers runs the same weights; timm itself uses the exact one for the sizes that SigLIP 1 had.
"""

from __future__ import annotations

from moderato.encoders._layouts._config import Config
from moderato.encoders._layouts._open_clip import BLOCK, read_view, refuse_variations
from moderato.encoders._layouts._timm import EPSILON, HEADS, Trunk
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import (
    MOST_LAYERS,
    Activation,
    Names,
    TextTower,
    Towers,
    VisionTower,
    block_refs,
    logit_scale,
    part_refs,
)
from moderato.types import ViewSpec

CONFIG = "open_clip_config.json"
MARKS = ("visual.trunk.attn_pool.latent",)
"""Tensors of which only this layout has one."""

_NAME = "vit_SIZE_patchN_siglip_N"
_POOL: Names = {
    "pool.query": "q.{kind}",
    "pool.key": ("kv.{kind}", (0, 2)),
    "pool.value": ("kv.{kind}", (1, 2)),
    "pool.out": "proj.{kind}",
    "pool.norm_2": "norm.{kind}",
    "pool.up": "mlp.fc1.{kind}",
    "pool.down": "mlp.fc2.{kind}",
}
_APPROXIMATE: dict[str, Activation] = {"tanh": "gelu_tanh", "none": "gelu"}
_SPARE = ("logit_bias",)  # a sigmoid's over cosines; scores here come from gaps and shares, where it falls out


def read(config: Config, tensors: Tensors) -> tuple[Towers, ViewSpec]:
    """The towers, and the view that their `preprocess_cfg` asks for.

    Raises `WeightsError` naming the file and the key that is missing or unknown, or a tensor that is left over.
    """
    vision, view = _vision(config, tensors)
    towers = Towers(vision, _text(config.section("model_cfg"), tensors), logit_scale(tensors))
    towers.use_all(tensors, _SPARE)
    return towers, view


def _vision(top: Config, tensors: Tensors) -> tuple[VisionTower, ViewSpec]:
    model = top.section("model_cfg")
    config = model.section("vision_cfg")
    config.refuse("timm_model_kwargs", "a trunk with settings of its own")
    config.required("timm_pool", "map")
    config.required("timm_proj", "none")
    trunk = Trunk(tensors, "visual.trunk.")
    side = config.integer("image_size", 224)
    view, mean, std = read_view(top, side)
    tower = VisionTower(
        width=trunk.width,
        layers=trunk.layers,
        heads=config.named("timm_model_name", _NAME, HEADS),
        hidden=trunk.hidden,
        dim=trunk.width,
        activation="gelu_tanh",
        epsilon=EPSILON,
        side=side,
        patch=trunk.patch,
        mean=mean,
        std=std,
        tensors=tensors,
        refs={
            **trunk.refs,
            "pool.probe": TensorRef("visual.trunk.attn_pool.latent", squeezed=True),
            **part_refs("visual.trunk.attn_pool.", _POOL),
        },
    )
    return tower, view


def _text(model: Config, tensors: Tensors) -> TextTower:
    config = model.section("text_cfg")
    refuse_variations(config)
    if not config.flag("no_causal_mask", False):
        raise config.error("no_causal_mask", "true", False)
    config.required("pool_type", "last")
    config.section("tokenizer_kwargs", {}).only("clean", "canonicalize")
    width, layers = config.integer("width", 512), config.integer("layers", 12, most=MOST_LAYERS)
    return TextTower(
        width=width,
        layers=layers,
        heads=config.integer("heads", 8),
        hidden=int(width * config.number("mlp_ratio", 4.0)),
        dim=model.integer("embed_dim"),
        activation=config.section("act_kwargs", {}).choice("approximate", _APPROXIMATE, "none"),
        epsilon=config.section("norm_kwargs", {}).number("eps", 1e-5),
        vocabulary=config.integer("vocab_size", 49408),
        context=config.integer("context_length", 77),
        pooled="last",
        causal=False,
        canonical=True,
        tensors=tensors,
        refs={
            "tokens": TensorRef("text.token_embedding.weight"),
            "positions": TensorRef("text.positional_embedding"),
            **part_refs("text.", {"post_norm": "ln_final.{kind}", "projection": "text_projection.{kind}"}),
            **block_refs(layers, "text.transformer.resblocks.{i}", BLOCK),
        },
    )
