"""JPEG bytes → probabilities: the whole path against the thesis's (transformers, batch 1, texts encoded each time)."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from PIL import Image
from transformers import CLIPImageProcessorPil, CLIPModel

from benchmarks.pictures import jpeg
from benchmarks.timing import Result, alternating
from moderato.assemble import Workshop
from moderato.settings import Settings

_LABELS = ["nsfw", "sfw"]
_PICTURES = 8


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a picture of 640 x 480 and of 4000 x 3000 pixels."""
    moderator = Workshop(Settings(data=checkpoint / "data")).moderator("demo", str(checkpoint))
    model, processor = CLIPModel.from_pretrained(checkpoint).eval(), CLIPImageProcessorPil.from_pretrained(checkpoint)
    ids = torch.tensor([[49406, 1, 2, 49407], [49406, 3, 4, 49407]])
    results = []
    for size in ((640, 480), (4000, 3000)):
        files = [jpeg(size, seed) for seed in range(_PICTURES)]
        own, other = alternating(
            max(3, rounds // 3),
            _PICTURES,
            lambda files=files: list(moderator.classify_many(files, _LABELS)),
            lambda files=files: [_thesis(model, processor, ids, file) for file in files],
        )
        results.append(Result(f"JPEG of {size[0]} x {size[1]} to probabilities", own, "the thesis's pipeline", other))
    return results


def _thesis(model: CLIPModel, processor: CLIPImageProcessorPil, ids: torch.Tensor, file: bytes) -> None:
    picture = Image.open(io.BytesIO(file)).convert("RGB")
    with torch.inference_mode():
        model(input_ids=ids, **processor(picture, return_tensors="pt")).logits_per_image.softmax(dim=1)
