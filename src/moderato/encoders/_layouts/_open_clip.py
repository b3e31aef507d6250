"""What open_clip's layouts have in common: names of text blocks, `preprocess_cfg`, and the variations that are refused.

Names and meanings as in open_clip 3.3 (https://github.com/mlfoundations/open_clip, src/open_clip/model.py).
"""

from __future__ import annotations

from moderato.encoders._layouts._config import OPENAI_MEAN, OPENAI_STD, Config
from moderato.encoders._towers import Names, Triple
from moderato.types import Fit, Interpolation, ViewSpec

BLOCK: Names = {
    "norm_1": "ln_1.{kind}",
    "query": ("attn.in_proj_{kind}", (0, 3)),
    "key": ("attn.in_proj_{kind}", (1, 3)),
    "value": ("attn.in_proj_{kind}", (2, 3)),
    "out": "attn.out_proj.{kind}",
    "norm_2": "ln_2.{kind}",
    "up": "mlp.c_fc.{kind}",
    "down": "mlp.c_proj.{kind}",
}
"""A block of open_clip's own transformers."""

_INTERPOLATION: dict[str, Interpolation] = {"bicubic": "bicubic", "bilinear": "bilinear"}
_FIT: dict[str, Fit] = {"shortest": "crop", "squash": "squash"}

_VARIATIONS = {
    "hf_model_name": "a Hugging Face text tower",
    "attentional_pool": "attentional pooling",
    "no_ln_pre": "blocks without a norm before them",
    "final_ln_after_pool": "a norm after pooling",
    "ls_init_value": "layer scale",
    "embed_cls": "a class token at the end of texts",
    "use_pad_mask": "a mask over padding",
    "block_type": "blocks of another kind",
    "qk_norm": "norms of queries and keys",
    "scaled_cosine_attn": "attention by cosine",
    "scale_heads": "scaled attention heads",
    "scale_attn_inner": "a norm inside attention",
    "scale_attn": "a norm after attention",
    "scale_fc": "a norm inside the hidden layer",
}


def read_view(config: Config, side: int) -> tuple[ViewSpec, Triple, Triple]:
    """View, mean and standard deviation per channel, from the top config's `preprocess_cfg`; CLIP's where it is silent.

    Its `size` counts for nothing: open_clip takes the vision tower's.
    """
    views = config.section("preprocess_cfg", {})
    view = ViewSpec(
        side=side,
        fit=views.choice("resize_mode", _FIT, "shortest"),
        interpolation=views.choice("interpolation", _INTERPOLATION, "bicubic"),
    )
    return view, views.triple("mean", OPENAI_MEAN), views.triple("std", OPENAI_STD)


def refuse_variations(config: Config) -> None:
    """Raise `WeightsError` when a tower's table asks for a part that no tower here has."""
    config.only("pos_embed_type", "learnable")
    config.only("text_arch", "clip")
    for key, meaning in _VARIATIONS.items():
        config.refuse(key, meaning)
