"""Small random CLIPs as model folders, in both layouts, without torch; and small pictures and texts to show them.

Weights follow from a shape and a tensor's name alone: `RandomState` is the stream that NumPy promises never to change,
so every environment makes the same model, and golden files made in one hold in another. Their scale lets different
pictures have clearly different embeddings, which the random weights of a library do not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers import models as tokenizer_models

Array = NDArray[np.float32]
Weights = dict[str, Array]

OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = [
    *("a", "photo", "of", "the", "cat", "dog", "knife", "gun", "blood", "house", "tree", "beach"),
    *("people", "person", "drawing", "with", "and", "in", "on", "harmless", "café"),
]
VOCABULARY = 640
"""Ids of the small tokenizer; `START` and `END` are the two highest, as in CLIP's."""
TEXTS = [
    "a photo of a cat",
    "A Dog on the beach",
    "knife",
    "people  with a gun,\tin the house!",
    "日本語 and café, naïve 🙂",
    "a drawing of a harmless tree it's 1234",
]


@dataclass(frozen=True)
class Shape:
    """What a small CLIP is made of."""

    name: str
    dim: int = 32
    side: int = 32
    patch: int = 8
    width: int = 64
    layers: int = 2
    heads: int = 4
    hidden: int = 256
    text_width: int = 48
    text_layers: int = 2
    text_heads: int = 3
    text_hidden: int = 192
    context: int = 24
    vocabulary: int = VOCABULARY
    quick_gelu: bool = True
    normal: tuple[tuple[float, float, float], tuple[float, float, float]] = OPENAI
    logit_scale: float = 2.5
    """As stored: the logarithm."""


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("quick"),
        Shape("patch14", dim=48, side=28, patch=14, width=96, heads=3, layers=3, hidden=384, quick_gelu=False,
              text_width=64, text_hidden=256, text_heads=4, text_layers=3),
        Shape("wide-heads", dim=64, side=32, patch=16, width=160, heads=2, layers=1, hidden=640, quick_gelu=False,
              text_width=40, text_hidden=160, text_heads=1, text_layers=1, context=77, normal=HALVES),
        Shape("deep", dim=40, side=48, patch=4, width=48, heads=6, layers=5, hidden=96,
              text_width=80, text_hidden=160, text_heads=5, text_layers=4, context=12, logit_scale=3.5),
    )
}  # fmt: skip


def weights(shape: Shape) -> Weights:
    """The tensors of a model, by open_clip's names."""
    tensors = {
        "logit_scale": np.array(shape.logit_scale, np.float32),
        "visual.conv1.weight": _linear(shape, "visual.conv1.weight", shape.width, 3, shape.patch, shape.patch),
        "visual.class_embedding": _normal(shape, "visual.class_embedding", shape.width),
        "visual.positional_embedding": _normal(
            shape, "visual.positional_embedding", 1 + (shape.side // shape.patch) ** 2, shape.width
        ),
        "visual.proj": _linear(shape, "visual.proj", shape.dim, shape.width).T,
        "token_embedding.weight": _normal(shape, "token_embedding.weight", shape.vocabulary, shape.text_width),
        "positional_embedding": _normal(shape, "positional_embedding", shape.context, shape.text_width) / 2,
        "text_projection": _linear(shape, "text_projection", shape.dim, shape.text_width).T,
        **_norm(shape, "visual.ln_pre", shape.width),
        **_norm(shape, "visual.ln_post", shape.width),
        **_norm(shape, "ln_final", shape.text_width),
    }
    for i in range(shape.layers):
        tensors |= _block(shape, f"visual.transformer.resblocks.{i}", shape.width, shape.hidden)
    for i in range(shape.text_layers):
        tensors |= _block(shape, f"transformer.resblocks.{i}", shape.text_width, shape.text_hidden)
    return {name: np.array(tensor, order="C") for name, tensor in tensors.items()}


def hugging_face_names(tensors: Mapping[str, Array]) -> Weights:
    """The same tensors as transformers stores them: renamed, split into query, key and value, transposed."""
    renamed: Weights = {}
    for name, tensor in tensors.items():
        if "attn.in_proj_" in name:
            for letter, third in zip("qkv", np.split(tensor, 3), strict=True):
                renamed[_renamed(name).replace("attn.in_proj_", f"self_attn.{letter}_proj.")] = third
        else:
            renamed[_renamed(name)] = tensor.T if name in ("visual.proj", "text_projection") else tensor
    return {name: np.array(tensor, order="C") for name, tensor in renamed.items()}


def open_clip_names(tensors: Mapping[str, Array]) -> Weights:
    """The way back: tensors by transformers' names as open_clip stores them."""
    renamed: Weights = {}
    for name, tensor in tensors.items():
        if ".q_proj." in name:
            stacked = [tensors[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
            renamed[_renamed(name, back=True).replace("self_attn.q_proj.", "attn.in_proj_")] = np.concatenate(stacked)
        elif not (".k_proj." in name or ".v_proj." in name):
            renamed[_renamed(name, back=True)] = tensor.T if name.endswith("_projection.weight") else tensor
    return {name: np.array(tensor, order="C") for name, tensor in renamed.items()}


def open_clip_config(shape: Shape) -> dict[str, Any]:
    """`open_clip_config.json`."""
    return {
        "model_cfg": {
            "embed_dim": shape.dim,
            "quick_gelu": shape.quick_gelu,
            "vision_cfg": {
                "image_size": shape.side,
                "layers": shape.layers,
                "width": shape.width,
                "head_width": shape.width // shape.heads,
                "patch_size": shape.patch,
                "mlp_ratio": shape.hidden / shape.width,
            },
            "text_cfg": {
                "context_length": shape.context,
                "vocab_size": shape.vocabulary,
                "width": shape.text_width,
                "heads": shape.text_heads,
                "layers": shape.text_layers,
                "mlp_ratio": shape.text_hidden / shape.text_width,
            },
        },
        "preprocess_cfg": {"mean": shape.normal[0], "std": shape.normal[1]},
    }


def hugging_face_config(shape: Shape) -> dict[str, Any]:
    """`config.json`."""
    activation = {"hidden_act": "quick_gelu" if shape.quick_gelu else "gelu"}
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": shape.dim,
        "vision_config": activation
        | {
            "hidden_size": shape.width,
            "intermediate_size": shape.hidden,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "image_size": shape.side,
            "patch_size": shape.patch,
        },
        "text_config": activation
        | {
            "hidden_size": shape.text_width,
            "intermediate_size": shape.text_hidden,
            "num_hidden_layers": shape.text_layers,
            "num_attention_heads": shape.text_heads,
            "max_position_embeddings": shape.context,
            "vocab_size": shape.vocabulary,
            "bos_token_id": shape.vocabulary - 2,
            "eos_token_id": shape.vocabulary - 1,
        },
    }


def processor_config(shape: Shape) -> dict[str, Any]:
    """`preprocessor_config.json`."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": shape.side},
        "crop_size": {"height": shape.side, "width": shape.side},
        "resample": 3,
        "image_mean": shape.normal[0],
        "image_std": shape.normal[1],
    }


def write_open_clip(
    folder: Path, shape: Shape, tensors: Mapping[str, Array] | None = None, dtype: str = "float32"
) -> Path:
    """A model folder in open_clip's layout with a `tokenizer.json`; `tensors` (open_clip's names) for other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "open_clip_config.json", open_clip_config(shape))
    save_file(_cast(tensors or weights(shape), dtype), folder / "open_clip_model.safetensors")
    write_tokenizer(folder, shape.vocabulary)
    return folder


def write_hugging_face(
    folder: Path, shape: Shape, tensors: Mapping[str, Array] | None = None, dtype: str = "float32", shards: int = 1
) -> Path:
    """The same in Hugging Face's layout with `vocab.json` and `merges.txt`; `tensors` by open_clip's names."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", hugging_face_config(shape))
    _write_json(folder / "preprocessor_config.json", processor_config(shape))
    write_tokenizer(folder, shape.vocabulary, whole=False)
    renamed = _cast(hugging_face_names(tensors or weights(shape)), dtype)
    if shards == 1:
        save_file(renamed, folder / "model.safetensors", {"format": "pt"})
        return folder
    places = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        names = sorted(renamed)[i::shards]
        save_file({name: renamed[name] for name in names}, folder / file, {"format": "pt"})
        places |= dict.fromkeys(names, file)
    _write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": places})
    return folder


LAYOUTS: dict[str, Callable[..., Path]] = {"open_clip": write_open_clip, "hugging_face": write_hugging_face}


def write_tokenizer(folder: Path, size: int = VOCABULARY, *, whole: bool = True) -> None:
    """CLIP's kind of tokenizer with `size` ids: as `tokenizer.json`, or as `vocab.json` and `merges.txt`."""
    vocabulary, merges = _byte_pairs(size)
    if whole:
        _clip_tokenizer(vocabulary, merges).save(str(folder / "tokenizer.json"))
        return
    _write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")


def edit_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    values = json.loads(file.read_text("utf-8"))
    change(values)
    _write_json(file, values)


def copied(folder: Path, to: Path) -> Path:
    """A copy of a model folder, to spoil."""
    return Path(shutil.copytree(folder, to))


def views(side: int, count: int = 8) -> NDArray[np.uint8]:
    """Pictures of very different content, uint8 `(count, side, side, 3)`, the same in every environment."""
    stream = np.random.RandomState(7)
    rows = []
    for i in range(count):
        cells = 2 + i % 4
        coarse = Image.fromarray(stream.randint(0, 256, (cells, cells, 3)).astype(np.uint8), "RGB")
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.NEAREST), dtype=np.int64)
        rows.append(smooth + stream.randint(-20, 21, (side, side, 3)))
    return np.stack(rows).clip(0, 255).astype(np.uint8)


def far(found: Array, reference: Array) -> float:
    """How far embeddings are from others, relative to the spread between pictures: both are centred on the mean first.

    Cosines of random models say little: everything they see lies in one narrow cone.
    """
    centred = reference - reference.mean(axis=0)
    return float(np.linalg.norm(found - found.mean(axis=0) - centred) / np.linalg.norm(centred))


def numpy_dtype(name: str) -> np.dtype[Any]:
    """A dtype by name, bfloat16 included."""
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def golden(shape: Shape) -> Path:
    """Where the reference's answers for a shape are kept: image, text, probabilities; `test_reference.py` makes it."""
    return Path(__file__).parent / "golden" / f"{shape.name}.npz"


def _rolled(tensors: Mapping[str, Array]) -> Weights:
    return {name: np.roll(tensor, 1, 0) if "positional" in name else tensor for name, tensor in tensors.items()}


MISTAKES: dict[str, Callable[[Shape], tuple[Shape, Weights]]] = {
    "the other activation": lambda shape: (replace(shape, quick_gelu=not shape.quick_gelu), weights(shape)),
    "positions shifted by one": lambda shape: (shape, _rolled(weights(shape))),
    "half as wide heads": lambda shape: (
        replace(shape, heads=2 * shape.heads, text_heads=2 * shape.text_heads),
        weights(shape),
    ),
    "colours not normalised": lambda shape: (replace(shape, normal=((0, 0, 0), (1, 1, 1))), weights(shape)),
}
"""Controls: a shape or weights a little wrong, which every comparison worth its name must notice."""


def _stream(shape: Shape, name: str) -> np.random.RandomState:
    return np.random.RandomState(crc32(f"{shape.name}/{name}".encode()))


def _normal(shape: Shape, name: str, *size: int) -> Array:
    return _stream(shape, name).standard_normal(size).astype(np.float32)


def _linear(shape: Shape, name: str, *size: int) -> Array:
    """Scale 1/sqrt(fan in): what comes out is as large as what goes in."""
    return (_normal(shape, name, *size) / np.sqrt(np.prod(size[1:]))).astype(np.float32)


def _norm(shape: Shape, name: str, width: int) -> Weights:
    return {
        f"{name}.weight": 1 + _normal(shape, f"{name}.weight", width) / 10,
        f"{name}.bias": _normal(shape, f"{name}.bias", width) / 10,
    }


def _block(shape: Shape, name: str, width: int, hidden: int) -> Weights:
    sizes = {
        "attn.in_proj_{}": (3 * width, width),
        "attn.out_proj.{}": (width, width),
        "mlp.c_fc.{}": (hidden, width),
        "mlp.c_proj.{}": (width, hidden),
    }
    tensors = {**_norm(shape, f"{name}.ln_1", width), **_norm(shape, f"{name}.ln_2", width)}
    for part, (rows, columns) in sizes.items():
        weight, bias = f"{name}.{part.format('weight')}", f"{name}.{part.format('bias')}"
        tensors |= {weight: _linear(shape, weight, rows, columns), bias: _normal(shape, bias, rows) / 10}
    return tensors


_BEGINNINGS = [
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    ("transformer.resblocks.", "text_model.encoder.layers."),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.proj", "visual_projection.weight"),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."),
    ("text_projection", "text_projection.weight"),
]
"""The beginning of a name in open_clip's layout, and in Hugging Face's."""
_PARTS = [
    (".attn.out_proj.", ".self_attn.out_proj."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
]
"""The same for what stands inside a block."""


def _renamed(name: str, back: bool = False) -> str:
    beginnings, parts = ([pair[::-1] if back else pair for pair in pairs] for pairs in (_BEGINNINGS, _PARTS))
    for old, new in parts:
        name = name.replace(old, new)
    old, new = next((pair for pair in beginnings if name.startswith(pair[0])), ("", ""))
    return new + name.removeprefix(old)


def _cast(tensors: Mapping[str, Array], dtype: str) -> dict[str, NDArray[Any]]:
    kind = numpy_dtype(dtype)
    return {name: np.array(tensor, kind, order="C") for name, tensor in tensors.items()}


def _write_json(file: Path, values: object) -> None:
    file.write_text(json.dumps(values, ensure_ascii=False), "utf-8")


@cache
def _byte_pairs(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Ids and merges in CLIP's order: bytes, bytes that end a word, merges, start, end. The merges spell `WORDS`."""
    letters = [*map(chr, [*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324)])]  # GPT-2's bytes
    table = dict(zip([*range(33, 127), *range(161, 173), *range(174, 256)], letters[:188], strict=True))
    table |= dict(zip([byte for byte in range(256) if byte not in table], letters[188:], strict=True))
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        parts = [table[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            merges[parts[0], parts[1]] = None
            parts[:2] = [parts[0] + parts[1]]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *dict.fromkeys(map("".join, merges))]
    tokens += [f"<unused {i}>" for i in range(size - 2 - len(tokens))]
    return {token: i for i, token in enumerate([*tokens, START, END])}, list(merges)


def _clip_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """As the `tokenizer.json` of openai/clip-vit-base-patch32 describes it."""
    tokenizer = Tokenizer(
        tokenizer_models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=END)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (START, END)])
    return tokenizer
