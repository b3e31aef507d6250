"""Views → embeddings: moderato's graph against transformers, and against what the cores can multiply."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import CLIPModel

from benchmarks.timing import Result, alternating
from moderato.encoders import open_encoder
from moderato.types import Views

_GFLOP = 8.82  # a view of ViT-B/32: open_clip, docs/model_profile.csv
_SIZE = 2048


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a view at batches 1 and 8."""
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    encoder = open_encoder(checkpoint, identity="bench", threads=threads)
    reference = CLIPModel.from_pretrained(checkpoint).eval()
    results = []
    for batch in (1, 8):
        views = Views(np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8))
        pixels = torch.tensor(views).permute(0, 3, 1, 2).float() / 255
        own, other, product = alternating(
            rounds,
            batch,
            lambda views=views: encoder.encode(views),
            lambda pixels=pixels: _reference(reference, pixels),
            lambda batch=batch: [_multiply() for _ in range(batch)],
        )
        peak = 2 * _SIZE**3 / 1e9 / median(product)
        share = _GFLOP / median(own) / peak
        results += [
            Result(f"encode ViT-B/32, batch {batch}", own, "transformers, fp32", other),
            Result(f"a product of {_SIZE} x {_SIZE} matrices", product, note=f"{share:.0%} of it in encode"),
        ]
    return results


def _reference(model: CLIPModel, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        model.get_image_features(pixel_values=pixels)


_LEFT = torch.rand(_SIZE, _SIZE)
_RIGHT = torch.rand(_SIZE, _SIZE)


def _multiply() -> None:
    torch.mm(_LEFT, _RIGHT)
