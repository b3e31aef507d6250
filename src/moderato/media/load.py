"""Whatever a caller may send → a `Source`: bytes, a path, a URL."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from pathlib import Path

from moderato.errors import DecodeError, LimitError
from moderato.media.decode import Limits
from moderato.media.fetch import FetchOptions, fetch
from moderato.types import Source


@dataclass(frozen=True)
class Url:
    """An address to fetch, and nothing else: never a path, whatever it says."""

    url: str
    name: str = ""


@dataclass(frozen=True)
class Base64:
    """A file as base64 text, with or without a `data:` URL's head."""

    text: str
    name: str = ""


Sendable = bytes | str | Path | Url | Base64 | Source
"""The bytes of a file, a path or an http(s) URL as text, or one of the kinds above."""


def name_of(sent: Sendable) -> str:
    """What the sender calls it."""
    if isinstance(sent, Url):
        return sent.name or sent.url
    if isinstance(sent, Base64 | Source):
        return sent.name
    return "" if isinstance(sent, bytes) else str(sent)


def is_remote(sent: Sendable) -> bool:
    """Whether it must be fetched over a network."""
    return isinstance(sent, Url) or (isinstance(sent, str) and sent.lower().startswith(("http://", "https://")))


def load(sent: Sendable, limits: Limits, fetching: FetchOptions) -> Source:
    """Read it, with the limits and the guard of `fetch`.

    Raises `FetchError`, `LimitError`, or `DecodeError` for a file that cannot be read.
    """
    if isinstance(sent, Source):
        return sent
    if isinstance(sent, bytes):
        return Source(sent)
    if isinstance(sent, Base64):
        return Source(_decoded(sent.text, limits), sent.name)
    if isinstance(sent, Url):
        return replace(fetch(sent.url, fetching, limits.max_bytes), name=name_of(sent))
    if isinstance(sent, str) and is_remote(sent):
        return fetch(sent, fetching, limits.max_bytes)
    return _read(Path(sent), limits)


def _decoded(text: str, limits: Limits) -> bytes:
    head, comma, body = text.partition(",")
    if comma and not head.startswith("data:"):
        raise DecodeError("bad_base64", "the text is neither base64 nor a data: URL.")
    body = body if comma else head
    if len(body) * 3 // 4 > limits.max_bytes * 1.1:  # line breaks may add a little
        raise LimitError("too_many_bytes", f"the file is larger than the limit of {limits.max_bytes:,} bytes.")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError("bad_base64", f"the text is not base64 ({error}).") from error


def _read(path: Path, limits: Limits) -> Source:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DecodeError("unreadable", "it is no file but a device or a pipe.")
        with path.open("rb") as stream:
            data = stream.read(limits.max_bytes + 1)
        if len(data) > limits.max_bytes:
            raise LimitError("too_many_bytes", f"the file is larger than the limit of {limits.max_bytes:,} bytes.")
        return Source(data, str(path))
    except OSError as error:
        raise DecodeError("unreadable", f"the file cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise DecodeError("unreadable", f"no file can have this name ({error}).") from error
