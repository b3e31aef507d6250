"""Pictures drawn in code, files made of them, and the drawings that are shipped: the only ones the tests know."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SAMPLES = Path(str(files("moderato") / "samples"))
KNIFE, CAT = (SAMPLES / "knife.png").read_bytes(), (SAMPLES / "cat.png").read_bytes()


def photo(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """Something with the spectrum of a photograph: soft areas, edges, fine noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8), "RGB")
    image = coarse.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        x, y = rng.integers(0, width), rng.integers(0, height)
        radius = int(rng.integers(2, max(3, min(width, height) // 4)))
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    noisy = np.asarray(image, dtype=np.int16) + rng.normal(0, 6, (height, width, 1)).astype(np.int16)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8), "RGB")


def encoded(image: Image.Image, name: str = "PNG", **options: object) -> bytes:
    """The file Pillow writes."""
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def animation(name: str, frames: int = 20, size: tuple[int, int] = (48, 32), milliseconds: int = 100) -> bytes:
    """A moving picture whose frame i is grey of value 12·i."""
    images = [Image.new("RGB", size, (12 * i % 256,) * 3) for i in range(frames)]
    return encoded(images[0], name, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
