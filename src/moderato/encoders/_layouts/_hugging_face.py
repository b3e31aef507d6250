"""What the layouts of Hugging Face have in common: names of blocks, activations, and the image processor's config.

Defaults are those of transformers 5.23: a key that a config leaves out means its class's default.
"""

from __future__ import annotations

from dataclasses import dataclass

from moderato.encoders._layouts._config import Config
from moderato.encoders._towers import Activation, Names, Triple
from moderato.types import Fit, Interpolation, ViewSpec

BLOCK: Names = {
    "norm_1": "layer_norm1.{kind}",
    "query": "self_attn.q_proj.{kind}",
    "key": "self_attn.k_proj.{kind}",
    "value": "self_attn.v_proj.{kind}",
    "out": "self_attn.out_proj.{kind}",
    "norm_2": "layer_norm2.{kind}",
    "up": "mlp.fc1.{kind}",
    "down": "mlp.fc2.{kind}",
}
"""A block of CLIP's and SigLIP's."""

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}

_RESAMPLE: dict[str, Interpolation] = {"2": "bilinear", "3": "bicubic"}  # PIL.Image.Resampling


@dataclass(frozen=True)
class Processor:
    """What the class of an image processor does with a picture unless its config says otherwise."""

    fit: Fit
    resample: str
    mean: Triple
    std: Triple

    def read(self, config: Config, side: int) -> tuple[ViewSpec, Triple, Triple]:
        """View, mean and standard deviation per channel, from the processor's config beside a model's `config`.

        Raises `WeightsError` where it asks for something that no view of `side` pixels is.
        """
        views = _processor_config(config)
        if not views.flag("do_resize", True):
            raise views.error("do_resize", "true", False)
        scale = views.number("rescale_factor", 1 / 255)
        if not views.flag("do_rescale", True) or abs(255 * scale - 1) > 1e-3:
            raise views.error("do_rescale, rescale_factor", "true, 1/255", (views.values.get("do_rescale"), scale))
        normalised = views.flag("do_normalize", True)
        mean = views.triple("image_mean", self.mean) if normalised else (0.0, 0.0, 0.0)
        std = views.triple("image_std", self.std) if normalised else (1.0, 1.0, 1.0)
        interpolation = views.choice("resample", _RESAMPLE, self.resample)
        return ViewSpec(side, self._fit(views, side), interpolation), mean, std

    def _fit(self, views: Config, side: int) -> Fit:
        size = _lengths(views, "size", side)
        if frozenset(size) not in _FITS:
            raise views.error("size", "height and width, or shortest_edge", views.values["size"])
        fit = _FITS[frozenset(size)] or self.fit
        if views.flag("do_center_crop", self.fit == "crop"):
            _lengths(views, "crop_size", side)
        elif fit == "crop":
            raise views.error("do_center_crop", "true: the vision tower sees squares", False)
        return fit


_FITS: dict[frozenset[str], Fit | None] = {
    frozenset({"height", "width"}): "squash",
    frozenset({"shortest_edge"}): "crop",
    frozenset({"side"}): None,
}
"""What the names of a size mean; a number without a name means what the class does."""


def _lengths(views: Config, key: str, side: int) -> dict[str, object]:
    """A size by the names of its lengths, all of them checked to be `side`."""
    found = views.values.get(key)
    lengths = found if isinstance(found, dict) else {"side": side if found is None else found}
    if any(length != side for length in lengths.values()):
        raise views.error(key, f"the {side} pixels of the vision tower", found)
    return lengths


def _processor_config(config: Config) -> Config:
    folder = config.file.parent
    if (folder / "preprocessor_config.json").is_file():
        return Config.read(folder / "preprocessor_config.json")
    if (folder / "processor_config.json").is_file():  # transformers 5 nests the image processor's config here
        return Config.read(folder / "processor_config.json").section("image_processor", {})
    return Config(config.file, {})
