"""Pictures to measure with, drawn with the spectrum of photographs, and a worker's part in preparing them.

Nothing heavy is imported here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from moderato.media import Limits, prepare
from moderato.types import Views, ViewSpec


def jpeg(size: tuple[int, int], seed: int) -> bytes:
    """A drawn JPEG."""
    return written(drawn(size, seed), "JPEG")


def drawn(size: tuple[int, int], seed: int) -> Image.Image:
    """A picture of octaves of noise, each half as strong as the one twice as coarse, with ellipses and grain."""
    random, (width, height) = np.random.default_rng(seed), size
    total = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 8):
        noise = random.normal(0, 120 / 2**octave * 2, (2**octave * 3 // 4, 2**octave, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel]).resize(size, Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(layer)
    image = Image.fromarray((total + 128).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        x, y, radius = random.uniform(0, width), random.uniform(0, height), random.uniform(0.01, 0.15) * height
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), tuple(random.integers(0, 256, 3).tolist()))
    grain = random.normal(0, 5, (height, width, 1))
    return Image.fromarray((np.asarray(image) + grain).clip(0, 255).astype(np.uint8))


def written(image: Image.Image, name: str, *, progressive: bool = False) -> bytes:
    """As a file: JPEG and WebP as cameras and sites write them, at quality 87 with halved colours."""
    stream = io.BytesIO()
    options = {"progressive": progressive, "subsampling": "4:2:0"} if name == "JPEG" else {}
    image.save(stream, name, quality=87, **options)
    return stream.getvalue()


def prepared(spec: ViewSpec, files: Sequence[bytes]) -> Views:
    """The views of some files, one each, `(N, S, S, 3)` uint8."""
    return Views(np.stack([view.pixels for file in files for view in prepare(file, [spec], Limits()).views[spec]]))
