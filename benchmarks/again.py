"""A picture sent again: its embedding is kept in memory, or on disk, against encoding it anew."""

from __future__ import annotations

import io
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.timing import Result, alternating
from moderato.assemble import Workshop
from moderato.moderator import Moderator
from moderato.settings import Settings
from moderato.store.embeddings import EmbeddingCache

_LABELS = ["nsfw", "sfw"]
_SIZE = (1600, 1200)


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Milliseconds a picture, one at a time."""
    workshop = Workshop(Settings(data=checkpoint / "data"))
    caches = {
        "in memory": EmbeddingCache(None, max_memory=2**26),
        "on disk": EmbeddingCache(checkpoint / "data" / "embeddings.sqlite"),
    }
    results = []
    for where, cache in caches.items():
        moderator = workshop.moderator("demo", str(checkpoint), seen=cache)
        known, fresh = _picture(), _fresh(_picture())
        again, first = alternating(
            rounds,
            1,
            lambda moderator=moderator, known=known: _ask(moderator, known),
            lambda moderator=moderator, fresh=fresh: _ask(moderator, next(fresh)),
        )
        results.append(
            Result(f"a picture of {_SIZE[0]} x {_SIZE[1]} again, kept {where}", again, "the first time", first)
        )
    return results


def _ask(moderator: Moderator, picture: bytes) -> None:
    assert not moderator.classify(picture, _LABELS).unscannable


def _picture() -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (_SIZE[1] // 16, _SIZE[0] // 16, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize(_SIZE, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _fresh(picture: bytes) -> Iterator[bytes]:
    """Files that nobody has seen: the same picture, and a number behind its end."""
    return (picture + number.to_bytes(4) for number in count())
