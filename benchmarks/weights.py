"""Random checkpoints of real sizes, in Hugging Face's layout: transformers and moderato both read them.

Speed does not depend on the values. `python -m benchmarks.weights vit-l-14 FOLDER` writes one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel
from transformers.utils import logging

_LARGE = {
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
    },
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    "projection_dim": 768,
}
_SIZES = {"vit-b-32": {}, "vit-l-14": _LARGE}  # transformers' own default is ViT-B/32

NAMES = {"vit-b-32": "ViT-B/32", "vit-l-14": "ViT-L/14"}
"""What the report calls them, by the folder's name."""


def checkpoint(folder: Path, size: str) -> Path:
    """The checkpoint of this size in a folder, written where it is not there yet, with a tokenizer of single bytes."""
    found = folder / size
    if not (found / "merges.txt").exists():
        _write(found, CLIPConfig(**_SIZES[size]))
    return found


def _write(folder: Path, config: CLIPConfig) -> None:
    logging.disable_progress_bar()
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = {token: place for place, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")


if __name__ == "__main__":
    print(checkpoint(Path(sys.argv[2]), sys.argv[1]))
