"""Views → embeddings: each runtime and precision against transformers, and against what the cores can multiply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
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
    batches = _BATCHES[checkpoint.name]
    each = 1 + len(ours)
    taken = alternating_each(
        rounds,
        *(work for batch in batches for work in _works(batch, max(batches), ours, model)),
        *((1, peak.run) for peak in peaks),
    )
    multiplied = taken[each * len(batches) :]
    results = []
    for place, batch in enumerate(batches):
        theirs, *own = taken[each * place : each * (place + 1)]
        about = {"encoder": NAMES[checkpoint.name], "batch": batch}
        what = f"{about['encoder']}, batch {batch}"
        for side, seconds in zip(ours, own, strict=True):
            named = f"{what}, {side}"
            results.append(Result(named, seconds, "transformers, fp32", theirs, about={**about, **side.about}))
            results.append(_share(named, side, seconds, peaks, multiplied, about))
        results.append(Result(f"{what}, transformers", theirs, about={**about, "side": "transformers"}))
    return results + _rates(NAMES[checkpoint.name], peaks, multiplied)


def _works(batch: int, most: int, ours: Sequence[Side], model: CLIPModel) -> Iterator[tuple[int, Callable[[], None]]]:
    """What each side does in its turn: about as many views whatever the batch, transformers first."""
    views = Views(np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8))
    pixels = torch.tensor(views).permute(0, 3, 1, 2).float() / 255
    times = max(1, most // 2 // batch)
    for once in (partial(_reference, model, pixels), *(partial(side.encoder.encode, views) for side in ours)):
        yield batch * times, partial(_repeat, once, times)


def _repeat(once: Callable[[], object], times: int) -> None:
    for _ in range(times):
        once()


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


def _rates(encoder: str, peaks: list[Product], multiplied: list[list[float]]) -> list[Result]:
    """What the products reached meanwhile."""
    return [
        Result(
            f"{peak.library}, products of {peak.precision}, beside {encoder}",
            [peak.operations / seconds / 1e9 for seconds in times],
            unit="GFLOP/s",
            about={"peak": peak.library, "precision": peak.precision},
        )
        for peak, times in zip(peaks, multiplied, strict=True)
    ]


def _reference(model: CLIPModel, pixels: torch.Tensor) -> None:
    with torch.inference_mode():
        model.get_image_features(pixel_values=pixels)
