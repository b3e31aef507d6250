"""Small random SigLIPs and ViT classifiers as model folders, in the layouts of Hugging Face, open_clip and timm.

Made like the CLIPs of `models.py`: weights follow from a shape's and a tensor's name. They have Hugging Face's names;
open_clip's and timm's are the same tensors renamed, stacked and put into batches of one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, normalizers, processors
from tokenizers import models as tokenizer_models

from models import WORDS, Array, Weights, _linear, _norm, _normal, _write_json

HEADS = {"tiny": 3, "small": 6, "base": 12, "so400m": 16}
"""What timm's names of sizes mean."""
FAINT = 2e-3
"""Scale of tokens whose variance is near the epsilon of their first norm, where the right one matters."""


@dataclass(frozen=True)
class Siglip:
    """What a small SigLIP is made of."""

    name: str
    size: str = "base"
    side: int = 32
    patch: int = 8
    width: int = 96
    layers: int = 2
    hidden: int = 200
    text_width: int = 48
    text_layers: int = 2
    text_heads: int = 3
    text_hidden: int = 192
    context: int = 16
    vocabulary: int = 640
    exact_texts: bool = False
    """Whether texts are activated by the exact GELU, as open_clip does with SigLIP 1."""
    scale: float = 1
    logit_scale: float = 2.5

    @property
    def dim(self) -> int:
        return self.width


@dataclass(frozen=True)
class Vit:
    """What a small ViT classifier is made of."""

    name: str
    labels: tuple[str, ...]
    size: str = "tiny"
    side: int = 32
    patch: int = 8
    width: int = 48
    layers: int = 2
    hidden: int = 96
    epsilon: float = 1e-6
    scale: float = 1

    @property
    def dim(self) -> int:
        return self.width


SIGLIPS = {
    shape.name: shape
    for shape in (
        Siglip("siglip"),
        Siglip("siglip-faint", size="so400m", side=28, patch=14, width=128, layers=3, hidden=96, text_width=64,
               text_heads=8, text_hidden=256, text_layers=2, context=24, exact_texts=True, scale=FAINT),
    )
}  # fmt: skip
VITS = {
    shape.name: shape
    for shape in (
        Vit("vit", ("normal", "drawing", "nsfw")),
        Vit("vit-faint", ("NSFW", "SFW"), size="small", side=48, patch=16, width=60, layers=3, hidden=240, scale=FAINT),
    )
}


def siglip_weights(shape: Siglip) -> Weights:
    """The tensors of a SigLIP by Hugging Face's names."""
    width, text = shape.width, shape.text_width
    vision, head = "vision_model.embeddings", "vision_model.head"
    tensors = {
        "logit_scale": np.array([shape.logit_scale], np.float32),
        "logit_bias": np.array([-10], np.float32),
        **_patches(shape, f"{vision}.patch_embedding"),
        f"{vision}.position_embedding.weight": _tokens(shape, "position", (shape.side // shape.patch) ** 2, width),
        "text_model.embeddings.token_embedding.weight": _tokens(shape, "token", shape.vocabulary, text),
        "text_model.embeddings.position_embedding.weight": _tokens(shape, "place", shape.context, text) / 2,
        f"{head}.probe": _normal(shape, "probe", 1, 1, width),
        f"{head}.attention.in_proj_weight": _linear(shape, "in_proj_weight", 3 * width, width),
        f"{head}.attention.in_proj_bias": _normal(shape, "in_proj_bias", 3 * width) / 10,
        **_dense(shape, f"{head}.attention.out_proj", width, width),
        **_norm(shape, f"{head}.layernorm", width),
        **_dense(shape, f"{head}.mlp.fc1", shape.hidden, width),
        **_dense(shape, f"{head}.mlp.fc2", width, shape.hidden),
        **_norm(shape, "vision_model.post_layernorm", width),
        **_norm(shape, "text_model.final_layer_norm", text),
        **_dense(shape, "text_model.head", width, text),
    }
    for i in range(shape.layers):
        tensors |= _layer(shape, f"vision_model.encoder.layers.{i}", width, shape.hidden, _SIGLIP_LAYER)
    for i in range(shape.text_layers):
        tensors |= _layer(shape, f"text_model.encoder.layers.{i}", text, shape.text_hidden, _SIGLIP_LAYER)
    return tensors


def vit_weights(shape: Vit) -> Weights:
    """The tensors of a ViT classifier by the names of Hugging Face's files."""
    tensors = {
        "vit.embeddings.cls_token": _tokens(shape, "class", 1, 1, shape.width),
        "vit.embeddings.position_embeddings": _tokens(
            shape, "position", 1, 1 + (shape.side // shape.patch) ** 2, shape.width
        ),
        **_patches(shape, "vit.embeddings.patch_embeddings.projection"),
        **_norm(shape, "vit.layernorm", shape.width),
        **_dense(shape, "classifier", len(shape.labels), shape.width),
    }
    for i in range(shape.layers):
        tensors |= _layer(shape, f"vit.encoder.layer.{i}", shape.width, shape.hidden, _VIT_LAYER)
    return tensors


def open_clip_siglip_names(tensors: Mapping[str, Array]) -> Weights:
    """A SigLIP's tensors as open_clip stores them."""
    renamed: Weights = {}
    for name, tensor in tensors.items():
        if "head.attention.in_proj_" in name:
            kind, width = name.rpartition("_")[2], len(tensor) // 3
            renamed[f"visual.trunk.attn_pool.q.{kind}"] = tensor[:width]
            renamed[f"visual.trunk.attn_pool.kv.{kind}"] = tensor[width:]
        else:
            pairs = _TO_OPEN_CLIP if name.startswith("text") else _TO_TRUNK
            renamed[_renamed(name, pairs)] = tensor[None] if name == _SIGLIP_POSITIONS else tensor
    return _stacked(renamed)


def timm_names(tensors: Mapping[str, Array]) -> Weights:
    """A ViT's tensors as timm stores them."""
    return _stacked({_renamed(name, _TO_TIMM): tensor for name, tensor in tensors.items()})


def siglip_config(shape: Siglip) -> dict[str, Any]:
    """`config.json`."""
    return {
        "model_type": "siglip",
        "architectures": ["SiglipModel"],
        "vision_config": {
            "hidden_size": shape.width,
            "intermediate_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": HEADS[shape.size],
            "image_size": shape.side,
            "patch_size": shape.patch,
        },
        "text_config": {
            "hidden_size": shape.text_width,
            "intermediate_size": shape.text_hidden,
            "num_hidden_layers": shape.text_layers,
            "num_attention_heads": shape.text_heads,
            "max_position_embeddings": shape.context,
            "vocab_size": shape.vocabulary,
            "projection_size": shape.width,
            "hidden_act": "gelu" if shape.exact_texts else "gelu_pytorch_tanh",
            "bos_token_id": 2,
            "eos_token_id": 1,
            "pad_token_id": 0,
        },
    }


def open_clip_siglip_config(shape: Siglip) -> dict[str, Any]:
    """`open_clip_config.json`."""
    activation = {} if shape.exact_texts else {"act_kwargs": {"approximate": "tanh"}}
    return {
        "model_cfg": {
            "embed_dim": shape.width,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": shape.side,
                "timm_model_name": f"vit_{shape.size}_patch{shape.patch}_siglip_{shape.side}",
                "timm_model_pretrained": False,
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": {
                "context_length": shape.context,
                "vocab_size": shape.vocabulary,
                "hf_tokenizer_name": "timm/ViT-B-16-SigLIP2",
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "width": shape.text_width,
                "heads": shape.text_heads,
                "layers": shape.text_layers,
                "mlp_ratio": shape.text_hidden / shape.text_width,
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
                "norm_kwargs": {"eps": 1e-6},
                **activation,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def vit_config(shape: Vit) -> dict[str, Any]:
    """`config.json` in Hugging Face's layout."""
    return {
        "model_type": "vit",
        "architectures": ["ViTForImageClassification"],
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": HEADS[shape.size],
        "image_size": shape.side,
        "patch_size": shape.patch,
        "layer_norm_eps": shape.epsilon,
        "id2label": {str(i): label for i, label in enumerate(shape.labels)},
        "label2id": {label: i for i, label in enumerate(shape.labels)},
    }


def timm_config(shape: Vit) -> dict[str, Any]:
    """`config.json` in timm's layout."""
    return {
        "architecture": f"vit_{shape.size}_patch{shape.patch}_{shape.side}",
        "num_classes": len(shape.labels),
        "num_features": shape.width,
        "global_pool": "token",
        "label_names": [*shape.labels],
        "pretrained_cfg": {
            "input_size": [3, shape.side, shape.side],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": len(shape.labels),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
        },
    }


def write_hf_siglip(folder: Path, shape: Siglip, tensors: Mapping[str, Array] | None = None) -> Path:
    """A SigLIP in Hugging Face's layout; `tensors` (by its names) for other weights."""
    _write(folder, {"config.json": siglip_config(shape)}, "model", tensors or siglip_weights(shape))
    _write_json(folder / "preprocessor_config.json", processor_config(shape.side, "SiglipImageProcessor", 3))
    write_siglip_tokenizer(folder, shape.vocabulary)
    return folder


def write_open_clip_siglip(folder: Path, shape: Siglip, tensors: Mapping[str, Array] | None = None) -> Path:
    """A SigLIP in open_clip's layout; `tensors` by Hugging Face's names."""
    renamed = open_clip_siglip_names(tensors or siglip_weights(shape))
    _write(folder, {"open_clip_config.json": open_clip_siglip_config(shape)}, "open_clip_model", renamed)
    write_siglip_tokenizer(folder, shape.vocabulary)
    return folder


def write_hf_vit(folder: Path, shape: Vit, tensors: Mapping[str, Array] | None = None) -> Path:
    """A ViT classifier in Hugging Face's layout."""
    _write(folder, {"config.json": vit_config(shape)}, "model", tensors or vit_weights(shape))
    _write_json(folder / "preprocessor_config.json", processor_config(shape.side, "ViTImageProcessor", 2))
    return folder


def write_timm_vit(folder: Path, shape: Vit, tensors: Mapping[str, Array] | None = None) -> Path:
    """A ViT classifier in timm's layout; `tensors` by Hugging Face's names."""
    _write(folder, {"config.json": timm_config(shape)}, "model", timm_names(tensors or vit_weights(shape)))
    return folder


SIGLIP_LAYOUTS: dict[str, Callable[..., Path]] = {"open_clip": write_open_clip_siglip, "hugging_face": write_hf_siglip}
VIT_LAYOUTS: dict[str, Callable[..., Path]] = {"timm": write_timm_vit, "hugging_face": write_hf_vit}


def processor_config(side: int, kind: str, resample: int) -> dict[str, Any]:
    """`preprocessor_config.json`."""
    return {
        "image_processor_type": kind,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "size": {"height": side, "width": side},
        "resample": resample,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def write_siglip_tokenizer(folder: Path, size: int = 640) -> None:
    """SigLIP 2's kind of tokenizer (Gemma's): an end token and no start, bytes where a letter is unknown."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    merges: dict[tuple[str, str], None] = {}
    for word in [*WORDS, *(f"▁{word}" for word in WORDS)]:
        parts = list(word)
        while len(parts) > 1:
            merges[parts[0], parts[1]] = None
            parts[:2] = [parts[0] + parts[1]]
    letters = sorted(
        {letter for pair in merges for part in pair for letter in part} | set("abcdefghijklmnopqrstuvwxyz")
    )
    tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *dict.fromkeys(map("".join, merges))]
    tokens += [f"<unused{i}>" for i in range(size - len(tokens))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    bpe = tokenizer_models.BPE(vocabulary, list(merges), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "GemmaTokenizer", "pad_token": "<pad>"})


def _write(folder: Path, configs: Mapping[str, object], name: str, tensors: Mapping[str, Array]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file, config in configs.items():
        _write_json(folder / file, config)
    contiguous = {name: np.array(tensor, np.float32, order="C") for name, tensor in tensors.items()}
    save_file(contiguous, folder / f"{name}.safetensors", {"format": "pt"})


def _tokens(shape: Any, name: str, *size: int) -> Array:
    return (shape.scale * _normal(shape, name, *size)).astype(np.float32)


def _patches(shape: Any, name: str) -> Weights:
    weight = _linear(shape, f"{name}.weight", shape.width, 3, shape.patch, shape.patch)
    bias = _normal(shape, f"{name}.bias", shape.width) / 10
    return {f"{name}.weight": shape.scale * weight, f"{name}.bias": shape.scale * bias}


def _dense(shape: Any, name: str, rows: int, columns: int) -> Weights:
    weight, bias = f"{name}.weight", f"{name}.bias"
    return {weight: _linear(shape, weight, rows, columns), bias: _normal(shape, bias, rows) / 10}


def _layer(shape: Any, name: str, width: int, hidden: int, names: tuple[str, ...]) -> Weights:
    norm_1, norm_2, query, key, value, out, up, down = (f"{name}.{part}" for part in names)
    tensors = {**_norm(shape, norm_1, width), **_norm(shape, norm_2, width)}
    for part in (query, key, value, out):
        tensors |= _dense(shape, part, width, width)
    return {**tensors, **_dense(shape, up, hidden, width), **_dense(shape, down, width, hidden)}


_SIGLIP_LAYER = ("layer_norm1", "layer_norm2", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                 "self_attn.out_proj", "mlp.fc1", "mlp.fc2")  # fmt: skip
_VIT_LAYER = ("layernorm_before", "layernorm_after", "attention.attention.query", "attention.attention.key",
              "attention.attention.value", "attention.output.dense", "intermediate.dense", "output.dense")  # fmt: skip
_SIGLIP_POSITIONS = "vision_model.embeddings.position_embedding.weight"

_TO_TRUNK = {
    r"vision_model\.embeddings\.patch_embedding": "visual.trunk.patch_embed.proj",
    re.escape(_SIGLIP_POSITIONS): "visual.trunk.pos_embed",
    r"vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)": r"visual.trunk.blocks.\1.norm\2",
    r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj": r"visual.trunk.blocks.\1.attn.proj",
    r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.(.)_proj\.": r"visual.trunk.blocks.\1.attn.qkv.\2:",
    r"vision_model\.encoder\.layers": "visual.trunk.blocks",
    r"vision_model\.post_layernorm": "visual.trunk.norm",
    r"vision_model\.head\.probe": "visual.trunk.attn_pool.latent",
    r"vision_model\.head\.attention\.out_proj": "visual.trunk.attn_pool.proj",
    r"vision_model\.head\.layernorm": "visual.trunk.attn_pool.norm",
    r"vision_model\.head\.mlp": "visual.trunk.attn_pool.mlp",
}
_TO_OPEN_CLIP = {
    r"text_model\.embeddings\.token_embedding": "text.token_embedding",
    r"text_model\.embeddings\.position_embedding\.weight": "text.positional_embedding",
    r"text_model\.encoder\.layers\.(\d+)\.layer_norm(\d)": r"text.transformer.resblocks.\1.ln_\2",
    r"text_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj": r"text.transformer.resblocks.\1.attn.out_proj",
    r"text_model\.encoder\.layers\.(\d+)\.self_attn\.(.)_proj\.": r"text.transformer.resblocks.\1.attn.in_proj_\2:",
    r"text_model\.encoder\.layers\.(\d+)\.mlp\.fc1": r"text.transformer.resblocks.\1.mlp.c_fc",
    r"text_model\.encoder\.layers\.(\d+)\.mlp\.fc2": r"text.transformer.resblocks.\1.mlp.c_proj",
    r"text_model\.final_layer_norm": "text.ln_final",
    r"text_model\.head": "text.text_projection",
}
_TO_TIMM = {
    r"vit\.embeddings\.cls_token": "cls_token",
    r"vit\.embeddings\.position_embeddings": "pos_embed",
    r"vit\.embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"vit\.encoder\.layer\.(\d+)\.layernorm_before": r"blocks.\1.norm1",
    r"vit\.encoder\.layer\.(\d+)\.layernorm_after": r"blocks.\1.norm2",
    r"vit\.encoder\.layer\.(\d+)\.attention\.output\.dense": r"blocks.\1.attn.proj",
    r"vit\.encoder\.layer\.(\d+)\.attention\.attention\.(.)\w+\.": r"blocks.\1.attn.qkv.\2:",
    r"vit\.encoder\.layer\.(\d+)\.intermediate\.dense": r"blocks.\1.mlp.fc1",
    r"vit\.encoder\.layer\.(\d+)\.output\.dense": r"blocks.\1.mlp.fc2",
    r"vit\.layernorm": "norm",
    r"classifier": "head",
}
"""The beginning of a name in Hugging Face's layout, and in another; `q:`, `k:` and `v:` are stacked afterwards."""


def _renamed(name: str, pairs: Mapping[str, str]) -> str:
    for old, new in pairs.items():
        if match := re.match(old, name):
            return match.expand(new) + name[match.end() :]
    return name


def _stacked(tensors: Mapping[str, Array]) -> Weights:
    stacked: Weights = {}
    for name, tensor in tensors.items():
        if "q:" in name:
            stacked[name.replace("q:", "")] = np.concatenate([tensors[name.replace("q:", f"{i}:")] for i in "qkv"])
        elif not ("k:" in name or "v:" in name):
            stacked[name] = tensor
    return stacked
