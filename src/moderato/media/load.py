"""Whatever a caller may send → a `Source`: bytes, a path, a URL."""

from __future__ import annotations

from pathlib import Path

from moderato.errors import DecodeError, LimitError
from moderato.media.decode import Limits
from moderato.media.fetch import FetchOptions, fetch
from moderato.types import Source

Sendable = bytes | str | Path | Source
"""The bytes of a file, a path, an http(s) URL, or a source that is already read."""


def name_of(sent: Sendable) -> str:
    """What the sender would call it."""
    if isinstance(sent, Source):
        return sent.name
    return "" if isinstance(sent, bytes) else str(sent)


def load(sent: Sendable, limits: Limits, fetching: FetchOptions) -> Source:
    """Read it, with the limits and the guard of `fetch`.

    Raises `FetchError`, `LimitError`, or `DecodeError` for a file that cannot be read.
    """
    if isinstance(sent, Source):
        return sent
    if isinstance(sent, bytes):
        return Source(sent)
    if isinstance(sent, str) and sent.lower().startswith(("http://", "https://")):
        return fetch(sent, fetching)
    return _read(Path(sent), limits)


def _read(path: Path, limits: Limits) -> Source:
    try:
        size = path.stat().st_size
        if size > limits.max_bytes:
            raise LimitError("too_many_bytes", f"the file has {size:,} bytes; the limit is {limits.max_bytes:,}.")
        return Source(path.read_bytes(), str(path))
    except OSError as error:
        raise DecodeError("unreadable", f"the file cannot be read ({error.strerror}).") from error
