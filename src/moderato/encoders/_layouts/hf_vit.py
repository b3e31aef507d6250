"""Hugging Face's layout of ViT: `config.json` (model_type vit) beside `model.safetensors`, mostly picture classifiers.

Tensor names as transformers writes them in every version (its modules have other names since 5.0, its files have not),
for `ViTForImageClassification` and, without `vit.` and classifier, for `ViTModel`. The embedding is the class token
after the last norm, which the classifier reads; `ViTModel`'s pooler is for another use and not read.
"""

from __future__ import annotations

from moderato.encoders._layouts._config import HALVES, Config
from moderato.encoders._layouts._hugging_face import ACTIVATIONS, Processor
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import (
    MOST_LAYERS,
    Classifier,
    Names,
    Towers,
    VisionTower,
    block_refs,
    part_refs,
)
from moderato.types import ViewSpec

CONFIG = "config.json"
MARKS = ("vit.embeddings.cls_token", "embeddings.cls_token")
"""Tensors of which only this layout has one."""

_PROCESSOR = Processor(fit="squash", resample="2", mean=HALVES, std=HALVES)
_BLOCK: Names = {
    "norm_1": "layernorm_before.{kind}",
    "query": "attention.attention.query.{kind}",
    "key": "attention.attention.key.{kind}",
    "value": "attention.attention.value.{kind}",
    "out": "attention.output.dense.{kind}",
    "norm_2": "layernorm_after.{kind}",
    "up": "intermediate.dense.{kind}",
    "down": "output.dense.{kind}",
}
_UNNAMED = {"0": "LABEL_0", "1": "LABEL_1"}
"""What a config that names no labels means: transformers' `PreTrainedConfig`."""


def read(config: Config, tensors: Tensors) -> tuple[Towers, ViewSpec]:
    """The tower, its classifier if there is one, and the view that the image processor's config asks for.

    Raises `WeightsError` naming the file and the key that is missing or unknown, or a tensor that is left over.
    """
    config.only("model_type", "vit")
    prefix = "vit." if MARKS[0] in tensors else ""
    vision, view = _vision(config, tensors, prefix)
    towers = Towers(vision, classifier=_classifier(config, tensors))
    towers.use_all(tensors, spare=(f"{prefix}pooler.", f"{prefix}embeddings.mask_token"))
    return towers, view


def _vision(config: Config, tensors: Tensors, prefix: str) -> tuple[VisionTower, ViewSpec]:
    layers = config.integer("num_hidden_layers", 12, most=MOST_LAYERS)
    width, side = config.integer("hidden_size", 768), config.integer("image_size", 224)
    view, mean, std = _PROCESSOR.read(config, side)
    refs = {
        "class": TensorRef(f"{prefix}embeddings.cls_token", squeezed=True),
        "positions": TensorRef(f"{prefix}embeddings.position_embeddings", squeezed=True),
        **part_refs(f"{prefix}embeddings.", {"patch": "patch_embeddings.projection.{kind}"}),
        **part_refs(prefix, {"post_norm": "layernorm.{kind}"}),
        **block_refs(layers, f"{prefix}encoder.layer.{{i}}", _BLOCK),
    }
    if not config.flag("qkv_bias", True):
        unbiased = tuple(f".{part}.bias" for part in ("query", "key", "value"))
        refs = {name: ref for name, ref in refs.items() if not name.endswith(unbiased)}
    tower = VisionTower(
        width=width,
        layers=layers,
        heads=config.integer("num_attention_heads", 12),
        hidden=config.integer("intermediate_size", 3072),
        dim=width,
        activation=config.choice("hidden_act", ACTIVATIONS, "gelu"),
        epsilon=config.number("layer_norm_eps", 1e-12),
        side=side,
        patch=config.integer("patch_size", 16),
        mean=mean,
        std=std,
        tensors=tensors,
        refs=refs,
    )
    return tower, view


def _classifier(config: Config, tensors: Tensors) -> Classifier | None:
    weight, bias = TensorRef("classifier.weight"), TensorRef("classifier.bias")
    if weight.name not in tensors:
        return None
    config.only("problem_type", "single_label_classification")  # others are trained with a sigmoid for each label
    return Classifier(config.labels("id2label", _UNNAMED), weight, bias, tensors)
