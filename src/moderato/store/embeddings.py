"""Embeddings of pictures already seen: another policy, head or threshold then costs no encoding.

They are found by all that decides them: the digest of the bytes, the limits of decoding, how the views are cut, the
encoder's identity, its files and its precision. An entry holds the rows of all views of one source, where they were
cut, and the picture's size.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from moderato.caches import FileCache
from moderato.types import Encoded, Place, Rows, ViewSpec

_LOG = logging.getLogger(__name__)
_MADE = "views 4"
"""Raise the number when decoding or cutting changes: what is kept is then of other views."""
_BYTES_OF_ENTRY = 700  # of memory, beside its rows and places; both as tracemalloc told
_BYTES_OF_PLACE = 340


@dataclass(frozen=True)
class CacheOptions:
    """What the HTTP service keeps of pictures it saw: their embeddings, never the pictures."""

    where: Literal["memory", "disk", "off"] = "memory"
    """`memory` is lost when the service stops; `disk` keeps them in `embeddings.sqlite` in the data folder too."""
    max_memory: Annotated[int, Ge(0)] = 64 * 2**20
    """Bytes of memory; a view takes 2 to 4 KB, and beyond it the least recently used go."""
    max_disk: Annotated[int, Ge(1)] = 2**30
    """Bytes of the file."""


class EmbeddingCache:
    """What encoders made of sources; thread-safe, and several processes may share the file.

    The least recently used go beyond `max_memory` bytes of memory, the oldest beyond `max_bytes` of the file; `file`
    None keeps none there. A view takes some 2 to 4 KB.
    """

    def __init__(self, file: Path | None, max_bytes: int = 2**30, max_memory: int = 0) -> None:
        self._kept = FileCache(file, "embeddings", max_bytes=max_bytes) if file else None
        self._recent = _Recent(max_memory)

    @property
    def bytes_in_memory(self) -> int:
        """What is kept in memory takes some so many."""
        return self._recent.bytes

    def get(self, keys: Iterable[str]) -> dict[str, Encoded]:
        """Those that are known, by key."""
        wanted = list(keys)
        found = self._recent.get(wanted)
        missing = [key for key in wanted if key not in found]
        if self._kept and missing:
            read = {key: value for key, packed in self._kept.get(missing).items() if (value := _unpacked(packed))}
            self._recent.put(read)
            found |= read
        return found

    def put(self, encoded: Mapping[str, Encoded]) -> None:
        """Keep new ones."""
        self._recent.put(encoded)
        if self._kept and encoded:
            self._kept.put({key: _packed(item) for key, item in encoded.items()})


class _Recent:
    """The most recently used, in so many bytes of memory; thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Encoded] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, keys: Iterable[str]) -> dict[str, Encoded]:
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        return found

    def put(self, encoded: Mapping[str, Encoded]) -> None:
        with self._lock:
            for key, item in encoded.items():
                if key in self._kept:
                    self.bytes -= _bytes_of(self._kept.pop(key))
                item.rows.setflags(write=False)  # from now on everybody's
                self._kept[key] = item
                self.bytes += _bytes_of(item)
            while self.bytes > self._max_bytes:
                self.bytes -= _bytes_of(self._kept.popitem(last=False)[1])


def _bytes_of(encoded: Encoded) -> int:
    return encoded.rows.nbytes + _BYTES_OF_ENTRY + _BYTES_OF_PLACE * len(encoded.places)


def key_of(digest: str, limits: object, spec: ViewSpec, space: str) -> str:
    """What the rows of a source are found by; `space` is the encoder's, and tells the precision."""
    return sha256(repr((_MADE, digest, limits, spec, space)).encode()).hexdigest()


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
