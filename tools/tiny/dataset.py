"""Drawn pictures in bulk: made by several processes, kept as bytes in memory."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from tools.tiny.draw import draw_scene, view
from tools.tiny.scenes import Pair, Scene, sample_scene
from torch import Tensor

_CHUNK = 500
_LEAST = 0.3  # of the shorter side: 14 of 48 pixels; of anything smaller nothing can be told


@dataclass(frozen=True)
class Drawings:
    """pixels: (n, side, side, 3) bytes; scenes: what each shows."""

    pixels: Tensor
    scenes: list[Scene]


@dataclass(frozen=True)
class Look:
    """What a model gets to see: side in pixels, mean and spread of the three channels (0..1)."""

    side: int
    mean: Sequence[float]
    std: Sequence[float]


class Progress:
    """Prints how far a job is, its rate, the time left and the smoothed loss, every few seconds."""

    def __init__(self, name: str, total: int, unit: str, every: float = 10.0) -> None:
        self.name, self.total, self.unit, self.every = name, total, unit, every
        self.begun = self.shown = time.monotonic()
        self.loss: float | None = None

    def at(self, done: int, loss: float | None = None) -> None:
        """Report `done` of the total, if it is time to or all is done."""
        if loss is not None:
            self.loss = loss if self.loss is None else 0.99 * self.loss + 0.01 * loss
        now = time.monotonic()
        if now - self.shown < self.every and done < self.total:
            return
        self.shown = now
        rate = done / max(now - self.begun, 1e-9)
        left = (self.total - done) / max(rate, 1e-9)
        note = "" if self.loss is None else f", loss {self.loss:.3f}"
        line = f"{self.name}: {done}/{self.total} {self.unit}, {rate:.0f}/s, {left / 60:.1f} min left{note}"
        print(line, file=sys.stderr, flush=True)


def _picture(scene: Scene, side: int, least: float, rng: random.Random) -> NDArray[np.uint8]:
    cropped = rng.random() < 0.5
    return view(draw_scene(scene, cropped, rng, least), side, cropped)


def _draw_chunk(scenes: Sequence[Scene], seed: str, side: int, least: float) -> NDArray[np.uint8]:
    rng = random.Random(seed)
    return np.stack([_picture(scene, side, least, rng) for scene in scenes])


def draw_all(scenes: list[Scene], side: int, seed: str, workers: int, least: float) -> Drawings:
    """One picture, `side` pixels wide and high, for every scene; `least`: see draw_scene."""
    progress = Progress(f"draw ({seed})", len(scenes), "pictures")
    pixels = torch.empty((len(scenes), side, side, 3), dtype=torch.uint8)
    chunks = [scenes[i : i + _CHUNK] for i in range(0, len(scenes), _CHUNK)]
    seeds = [f"{seed}/{index}" for index in range(len(chunks))]
    with ProcessPoolExecutor(workers) as pool:
        done = 0
        for drawn in pool.map(partial(_draw_chunk, side=side, least=least), chunks, seeds):
            pixels[done : done + len(drawn)] = torch.from_numpy(drawn)
            done += len(drawn)
            progress.at(done)
    return Drawings(pixels, scenes)


def _scenes(pairs: Sequence[Pair], rng: random.Random) -> Iterator[Scene]:
    while True:
        yield sample_scene(pairs, rng)


def draw_training_set(pairs: Sequence[Pair], count: int, side: int, seed: int, workers: int) -> Drawings:
    """Random scenes made of the given pairs."""
    scenes = list(islice(_scenes(pairs, random.Random(f"{seed} scenes")), count))
    return draw_all(scenes, side, f"{seed} training", workers, _LEAST)


def to_input(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Bytes (n, side, side, 3) to normalised floats (n, 3, side, side)."""
    low, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (mean, std))
    return (pixels.permute(0, 3, 1, 2).float() / 255 - low) / spread
