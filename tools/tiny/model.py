"""A small CLIP whose tensors bear open_clip's names, and how it is written to a folder in open_clip's layout."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class VisionConfig:
    """Image tower; sizes in pixels, widths in channels."""

    image_size: int = 48
    layers: int = 6
    width: int = 128
    patch_size: int = 8
    head_width: int = 32


@dataclass(frozen=True)
class TextConfig:
    """Text tower."""

    vocab_size: int
    context_length: int = 16
    width: int = 96
    heads: int = 3
    layers: int = 2


class Attention(nn.Module):
    """Multi-head self-attention with the parameters of nn.MultiheadAttention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool, first_only: bool) -> Tensor:
        """(n, tokens, width) to the same shape, or to (n, 1, width): what the first token gathers."""
        n, _, width = x.shape
        asking = x[:, :1] if first_only else x
        q = functional.linear(asking, self.in_proj_weight[:width], self.in_proj_bias[:width])
        k, v = functional.linear(x, self.in_proj_weight[width:], self.in_proj_bias[width:]).chunk(2, -1)
        q, k, v = (part.view(n, -1, self.heads, width // self.heads).transpose(1, 2) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).reshape(n, -1, width))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        layers = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, x: Tensor, causal: bool, first_only: bool = False) -> Tensor:
        """(n, tokens, width) to the same shape, or to (n, 1, width)."""
        kept = x[:, :1] if first_only else x
        kept = kept + self.attn(self.ln_1(x), causal, first_only)
        return kept + self.mlp(self.ln_2(kept))


class Transformer(nn.Module):
    """A stack of blocks; causal for text, else only the first (class) token is worked out in the last block."""

    def __init__(self, width: int, layers: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same shape if causal, else to (n, 1, width)."""
        for block in self.resblocks[:-1]:
            x = block(x, self.causal)
        return self.resblocks[-1](x, self.causal, first_only=not self.causal)


class VisionTower(nn.Module):
    """A vision transformer, pooled at its class token."""

    def __init__(self, config: VisionConfig, embed_dim: int) -> None:
        super().__init__()
        width, tokens = config.width, (config.image_size // config.patch_size) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, config.patch_size, config.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(tokens, width) * width**-0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, config.layers, width // config.head_width, causal=False)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def forward(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """(n, 3, side, side), normalised, to (n, embed_dim); kept: indices (n, k) of the only patches to look at."""
        patches = self.conv1(images).flatten(2).transpose(1, 2) + self.positional_embedding[1:]
        if kept is not None:
            patches = patches.gather(1, kept[..., None].expand(-1, -1, patches.shape[2]))
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(images), 1, -1)
        x = self.transformer(self.ln_pre(torch.cat((first, patches), 1)))
        return self.ln_post(x[:, 0]) @ self.proj


def wave_grid(config: VisionConfig) -> Tensor:
    """Sines and cosines of each patch's place, shape (patches, width): near patches are alike."""
    cells = config.image_size // config.patch_size
    frequencies = 10.0 ** -torch.linspace(0, 1.5, config.width // 4)
    angles = torch.arange(cells)[:, None] * frequencies
    waves = torch.cat((angles.sin(), angles.cos()), 1)
    down, across = waves[:, None].expand(-1, cells, -1), waves[None].expand(cells, -1, -1)
    return torch.cat((down, across), 2).flatten(0, 1)


def _look_around(attention: Attention) -> None:
    """Start attention as in trained transformers (Trockman and Kolter, 2023): tokens attend to near, like ones."""
    width, heads = attention.out_proj.in_features, attention.heads
    size = width // heads
    for head in range(heads):
        rows = slice(head * size, (head + 1) * size)
        wanted = 0.7 * torch.randn(width, width) * width**-0.5 + 0.7 * torch.eye(width)
        u, s, v = torch.linalg.svd(wanted)
        root = s[:size].sqrt()[:, None]
        attention.in_proj_weight[:width][rows] = root * u[:, :size].T
        attention.in_proj_weight[width : 2 * width][rows] = root * v[:size]
    wanted = 0.4 * torch.randn(width, width) * width**-0.5 - 0.4 * torch.eye(width)
    u, s, v = torch.linalg.svd(wanted)
    attention.in_proj_weight[2 * width :] = s.sqrt()[:, None] * v
    attention.out_proj.weight.copy_(u * s.sqrt())


class TinyCLIP(nn.Module):
    """Both towers; the text tower's parts sit at the top level, as in open_clip."""

    def __init__(self, vision: VisionConfig, text: TextConfig, embed_dim: int) -> None:
        super().__init__()
        self.vision_config, self.text_config, self.embed_dim = vision, text, embed_dim
        self.visual = VisionTower(vision, embed_dim)
        self.token_embedding = nn.Embedding(text.vocab_size, text.width)
        self.positional_embedding = nn.Parameter(torch.randn(text.context_length, text.width) * 0.01)
        self.transformer = Transformer(text.width, text.layers, text.heads, causal=True)
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.randn(text.width, embed_dim) * text.width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self._start()

    def _start(self) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        for name, tensor in self.named_parameters():
            if "resblocks" in name and tensor.ndim == 2:
                shrink = 0.5 if name.endswith(("out_proj.weight", "c_proj.weight")) else 1.0
                nn.init.normal_(tensor, std=shrink * tensor.shape[1] ** -0.5)
        with torch.no_grad():
            self.visual.positional_embedding[1:] = wave_grid(self.vision_config)
            for block in self.visual.transformer.resblocks:
                _look_around(block.attn)

    def encode_image(self, images: Tensor, kept: Tensor | None = None) -> Tensor:
        """(n, 3, side, side), normalised, to unit rows (n, embed_dim); kept: see VisionTower.forward."""
        return functional.normalize(self.visual(images, kept), dim=-1)

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids (n, tokens), tokens at most the context length, to unit rows (n, embed_dim)."""
        x = self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]]
        x = self.ln_final(self.transformer(x))
        return functional.normalize(x[torch.arange(len(x)), ids.argmax(1)] @ self.text_projection, dim=-1)


def save(model: TinyCLIP, tokenizer: Tokenizer, mean: list[float], std: list[float], folder: Path) -> None:
    """Write weights (float16), configuration and tokenizer in open_clip's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    (folder / "open_clip_model.safetensors").write_bytes(to_bytes(tensors))
    config = {
        "model_cfg": {
            "embed_dim": model.embed_dim,
            "quick_gelu": False,
            "vision_cfg": asdict(model.vision_config),
            "text_cfg": asdict(model.text_config),
        },
        "preprocess_cfg": {"mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save(str(folder / "tokenizer.json"))


def load(folder: Path) -> tuple[TinyCLIP, Tokenizer, list[float], list[float]]:
    """What `save` wrote: model (float32, for use), tokenizer, mean and spread of the channels."""
    config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))
    parts = config["model_cfg"]
    model = TinyCLIP(VisionConfig(**parts["vision_cfg"]), TextConfig(**parts["text_cfg"]), parts["embed_dim"])
    model.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    return model.eval(), tokenizer, config["preprocess_cfg"]["mean"], config["preprocess_cfg"]["std"]
