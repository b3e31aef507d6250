"""What strangers send: pictures of many sizes and formats, animations, broken files and bombs."""

from __future__ import annotations

import io
import struct
import zlib
from random import Random

import numpy as np
from PIL import Image

_LEAST, _MOST = 24, 4000  # pixels a side
_FORMATS = {"JPEG": 10, "PNG": 4, "WEBP": 4, "GIF": 1, "BMP": 1, "TIFF": 1}
_BROKEN = 8  # one in so many


def files(count: int, seed: int = 0) -> list[bytes]:
    """So many files, the same for a seed."""
    random = Random(seed)
    return [_broken(random, n) if random.randrange(_BROKEN) == 0 else _sound(random, n) for n in range(count)]


def _sound(random: Random, number: int) -> bytes:
    side = round(_LEAST * (_MOST / _LEAST) ** random.random())
    size = (side, max(16, round(side * random.uniform(0.4, 1.0))))
    kind = random.choices([*_FORMATS], [*_FORMATS.values()])[0]
    frames = [_picture(size, number + n) for n in range(random.randrange(1, 6) if kind in ("GIF", "WEBP") else 1)]
    if len(frames) > 1:
        frames = [frame.resize((min(400, size[0]), min(300, size[1]))) for frame in frames]
    options = {"JPEG": {"quality": 85, "progressive": random.random() < 0.2}, "PNG": {"compress_level": 1}}
    stream = io.BytesIO()
    more = {"save_all": True, "append_images": frames[1:]} if len(frames) > 1 else {}
    frames[0].save(stream, kind, **options.get(kind, {}), **more)
    return stream.getvalue()


def _picture(size: tuple[int, int], seed: int) -> Image.Image:
    """Soft noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def _broken(random: Random, number: int) -> bytes:
    whole = _sound(random, number)
    kinds = (whole[: len(whole) // 2], random.randbytes(2000), b"", _bomb(), b"<html>no picture</html>")
    return kinds[random.randrange(len(kinds))]


def _bomb() -> bytes:
    """A PNG of 40,000 x 40,000 pixels in a few kilobytes, as far as it goes."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(2**21), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
