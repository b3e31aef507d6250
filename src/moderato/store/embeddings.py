"""Embeddings of pictures already seen: another policy, head or threshold then costs no encoding.

They are found by all that decides them: the digest of the bytes, the limits of decoding, how the views are cut, the
encoder's identity, its files and its precision. An entry holds the rows of all views of one source, where they were
cut, and the picture's size.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import numpy as np

from moderato.caches import FileCache
from moderato.types import Encoded, Place, Rows, ViewSpec

_LOG = logging.getLogger(__name__)
_MADE = "views 2"
"""Raise the number when decoding or cutting changes: what is kept is then of other views."""
_PRECISION = "float32"


class EmbeddingCache:
    """What encoders made of sources; thread-safe, and several processes may share the file.

    `file` None keeps nothing. Beyond `max_bytes` of the file the oldest go; a view takes some 2 to 4 KB.
    """

    def __init__(self, file: Path | None, max_bytes: int = 2**30) -> None:
        self._kept = FileCache(file, "embeddings", max_bytes=max_bytes)

    def get(self, keys: Iterable[str]) -> dict[str, Encoded]:
        """Those that are known, by key."""
        return {key: found for key, value in self._kept.get(keys).items() if (found := _unpacked(value))}

    def put(self, encoded: Mapping[str, Encoded]) -> None:
        """Keep new ones."""
        if encoded:
            self._kept.put({key: _packed(item) for key, item in encoded.items()})


def key_of(digest: str, limits: object, spec: ViewSpec, space: str) -> str:
    """What the rows of a source are found by; `space` is the encoder's."""
    return sha256(repr((_MADE, digest, limits, spec, space, _PRECISION)).encode()).hexdigest()


def _packed(encoded: Encoded) -> bytes:
    facts = {"size": encoded.size, "places": [asdict(place) for place in encoded.places]}
    body = json.dumps(facts).encode() + b"\n" + encoded.rows.astype("<f4").tobytes()
    return sha256(body).digest() + body


def _unpacked(value: bytes) -> Encoded | None:
    check, body = value[: sha256().digest_size], value[sha256().digest_size :]
    if sha256(body).digest() != check:
        _LOG.warning("a kept embedding is damaged and is made anew")
        return None
    head, _, rows = body.partition(b"\n")
    facts = json.loads(head)
    places = tuple(Place(tuple(place["box"]), place["time"], place["frame"]) for place in facts["places"])
    array = np.frombuffer(rows, "<f4").astype(np.float32).reshape(len(places), -1)
    return Encoded(places, Rows(array), (facts["size"][0], facts["size"][1]))
