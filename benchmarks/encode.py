"""Views → embeddings: each runtime and precision against transformers, and against what the cores can multiply."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import CLIPModel

from benchmarks.products import Product, products
from benchmarks.sides import THREADS, Side, sides, transformers_model
from benchmarks.timing import Result, alternating_each
from benchmarks.towers import flop
from benchmarks.weights import NAMES
from moderato.types import Views

_BATCHES = {"vit-b-32": (1, 8, 16), "vit-l-14": (1, 8)}


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a view at several batches, and the share of the fastest product of its precision that it reaches."""
    ours, model, peaks = sides(checkpoint), transformers_model(checkpoint), products(THREADS)
    results = []
    for batch in _BATCHES[checkpoint.name]:
        about = {"encoder": NAMES[checkpoint.name], "batch": batch}
        views = Views(np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8))
        pixels = torch.tensor(views).permute(0, 3, 1, 2).float() / 255
        taken = alternating_each(
            rounds,
            (batch, lambda pixels=pixels: _reference(model, pixels)),
            *((batch, lambda side=side, views=views: side.encoder.encode(views)) for side in ours),
            *((1, peak.run) for peak in peaks),
        )
        theirs, own, multiplied = taken[0], taken[1 : 1 + len(ours)], taken[1 + len(ours) :]
        for side, seconds in zip(ours, own, strict=True):
            what = f"{about['encoder']}, batch {batch}, {side}"
            results.append(Result(what, seconds, "transformers, fp32", theirs, about={**about, **side.about}))
            results.append(_share(what, side, seconds, peaks, multiplied, about))
        results.append(
            Result(f"{about['encoder']}, batch {batch}, transformers", theirs, about={**about, "side": "transformers"})
        )
    return results + _rates(peaks, multiplied)


def _share(
    what: str, side: Side, seconds: list[float], peaks: list[Product], multiplied: list[list[float]], about: dict
) -> Result:
    """Of the product of its precision beside which it looks worst, round for round."""
    work = flop(side.encoder.towers.vision)
    shares = {
        peak.library: [work / own / (peak.operations / product) for own, product in zip(seconds, times, strict=True)]
        for peak, times in zip(peaks, multiplied, strict=True)
        if peak.precision == side.precision
    }
    library = min(shares, key=lambda name: median(shares[name]))
    return Result(
        f"{what}: share of {library}'s product",
        shares[library],
        unit="share",
        note=f"{work / 1e9:.2f} GFLOP a view",
        about={**about, **side.about, "share": library},
    )


def _rates(peaks: list[Product], multiplied: list[list[float]]) -> list[Result]:
    """What the products reached while the last batch was measured."""
    return [
        Result(
            f"{peak.library}, products of {peak.precision}",
            [peak.operations / seconds / 1e9 for seconds in times],
            unit="GFLOP/s",
            about={"peak": peak.library, "precision": peak.precision},
        )
        for peak, times in zip(peaks, multiplied, strict=True)
    ]


def _reference(model: CLIPModel, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        model.get_image_features(pixel_values=pixels)
