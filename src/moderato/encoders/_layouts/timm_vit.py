"""timm's layout of a plain ViT: `config.json` with an `architecture` beside `model.safetensors`.

Keys and defaults as timm 1.0.31 writes and reads them (timm/models/_hub.py, timm/data/config.py). The embedding is the
class token after the last norm, which the classifier reads.
"""

from __future__ import annotations

from moderato.encoders._layouts._config import Config
from moderato.encoders._layouts._timm import EPSILON, HEADS, Trunk
from moderato.encoders._tensors import TensorRef, Tensors
from moderato.encoders._towers import Classifier, Towers, VisionTower
from moderato.types import Fit, Interpolation, ViewSpec

CONFIG = "config.json"
MARKS = ("patch_embed.proj.weight",)
"""Tensors of which only this layout has one."""

_NAME = "vit_SIZE_patchN_N"
_FIT: dict[str, Fit] = {"center": "crop", "squash": "squash"}
_INTERPOLATION: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear"}
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_USUAL_CROP = 0.875
"""What part of a resized picture is kept where a config does not say."""


def read(config: Config, tensors: Tensors) -> tuple[Towers, ViewSpec]:
    """The tower, its classifier if there is one with names, and the view that `pretrained_cfg` asks for.

    Raises `WeightsError` naming the file and the key that is missing or unknown, or a tensor that is left over.
    """
    heads = config.named("architecture", _NAME, HEADS)
    config.refuse("model_args", "a model with settings of its own")
    config.only("global_pool", "token")
    views = config.section("pretrained_cfg", {})
    view = _view(views)
    trunk = Trunk(tensors)
    vision = VisionTower(
        width=trunk.width,
        layers=trunk.layers,
        heads=heads,
        hidden=trunk.hidden,
        dim=trunk.width,
        activation="gelu",
        epsilon=EPSILON,
        side=view.side,
        patch=trunk.patch,
        mean=views.triple("mean", _IMAGENET_MEAN),
        std=views.triple("std", _IMAGENET_STD),
        tensors=tensors,
        refs={**trunk.refs, "class": TensorRef("cls_token", squeezed=True)},
    )
    towers = Towers(vision, classifier=_classifier(config, tensors))
    towers.use_all(tensors, spare=() if towers.classifier else ("head.",))
    return towers, view


def _view(config: Config) -> ViewSpec:
    size = config.integers("input_size", 3, 224, 224)
    side = size[-1]
    if size != (3, side, side):
        raise config.error("input_size", "three channels of a square", [*size])
    share = config.number("crop_pct", _USUAL_CROP)
    if not 0.25 <= share <= 1:
        raise config.error("crop_pct", "a number from 0.25 to 1", share)
    return ViewSpec(
        side=side,
        fit=config.choice("crop_mode", _FIT, "center"),
        interpolation=config.choice("interpolation", _INTERPOLATION, "bicubic"),
        share=share,
    )


def _classifier(config: Config, tensors: Tensors) -> Classifier | None:
    weight, bias = TensorRef("head.weight"), TensorRef("head.bias")
    if weight.name not in tensors or config.values.get("label_names") is None:
        return None  # without names, the thousand outputs of an ImageNet model are no labels
    return Classifier(config.labels("label_names"), weight, bias, tensors)
