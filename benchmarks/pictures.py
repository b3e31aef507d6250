"""Pictures to measure with, and a worker's part in preparing them; nothing heavy is imported here."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from moderato.media import Limits, prepare
from moderato.types import Views, ViewSpec


def jpeg(size: tuple[int, int], seed: int) -> bytes:
    """A JPEG of soft noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def prepared(spec: ViewSpec, files: Sequence[bytes]) -> Views:
    """The views of some files, one each, `(N, S, S, 3)` uint8."""
    return Views(np.stack([view.pixels for file in files for view in prepare(file, [spec], Limits()).views[spec]]))
