"""What a file is, from its first bytes, and whether it is whole, where that can be seen without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from moderato.errors import DecodeError

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),
    (b"MM\x00+", "TIFF"),
)
_AVIF = {b"avif", b"avis"}
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_OTHERS = (
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"<svg", "an SVG drawing, which has no pixels"),
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"{", "JSON text"),
)


_HEAD = 512  # bytes that tell what a file is
_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif"),
    *(".heic", ".heif", ".bmp", ".tif", ".tiff"),
}


def looks_like_a_picture(path: Path) -> bool:
    """Whether a file is one, by its bytes, or by its name: a broken picture is to be reported, not passed over."""
    if path.suffix.lower() in _SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            sniff(stream.read(_HEAD))
    except DecodeError:
        return False
    except OSError:
        return True  # to be reported as unreadable
    return True


def sniff(data: bytes) -> str:
    """Pillow's name of the format. Raises `DecodeError` saying what the file is instead, where that is plain."""
    if not data:
        raise DecodeError("empty", "the file has no bytes.")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    brands = _brands(data)
    if brands & _AVIF:
        return "AVIF"
    if brands & _HEIF:
        return "HEIF"
    if brands:
        raise DecodeError("not_a_picture", "the file is a video or another media container, not a picture.")
    raise DecodeError("not_a_picture", f"the file is {_description(data)}, not a picture in a format known here.")


def is_cut(data: bytes, name: str) -> bool:
    """Whether the file plainly ends before its own structure says; False where that cannot be seen."""
    if name == "JPEG":
        return b"\xff\xd9" not in data
    if name == "WEBP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name in ("AVIF", "HEIF"):
        return any(end > len(data) for end in _box_ends(data))
    if name == "PNG":
        return b"IEND" not in data[-64:]
    if name == "BMP":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False


def count_gif_frames(data: bytes, limit: int) -> int:
    """Images in a GIF, up to one more than `limit`, from its block structure alone (GIF89a, sections 18-26).

    Pillow can count only by walking frames one at a time, seconds for a hostile file.
    Raises `DecodeError` when the file ends within a block.
    """
    count, at = 0, 13 + _colours(data, 10)
    while count <= limit and at < len(data) and data[at] != 0x3B:  # the trailer
        if data[at] == 0x2C:  # an image descriptor, its colours, one byte, data
            count += 1
            at = _after_blocks(data, at + 11 + _colours(data, at + 9))
        elif data[at] == 0x21:  # an extension
            at = _after_blocks(data, at + 2)
        else:  # browsers ignore what follows, and so do we
            break
    if count == 0:
        raise DecodeError("truncated" if at >= len(data) else "corrupt", "the GIF file holds no picture.")
    return count


def _colours(data: bytes, at: int) -> int:
    """Bytes of the colour table that the flags at `at` announce."""
    flags = data[at] if at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    """Where a chain of sub-blocks ends."""
    while at < len(data) and data[at]:
        at += 1 + data[at]
    if at >= len(data):
        raise DecodeError("truncated", "the GIF file ends before the picture does.")
    return at + 1


def _brands(data: bytes) -> set[bytes]:
    """The brands of an ISO media file (ISO 14496-12, 4.3); empty for any other."""
    if data[4:8] != b"ftyp":
        return set()
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return {box[:4], *(box[i : i + 4] for i in range(8, len(box), 4))}


def _box_ends(data: bytes) -> Iterator[int]:
    """Where each top-level box says that it ends."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: to the end of the file
            return
        at += size
        yield at


def _description(data: bytes) -> str:
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for magic, name in _OTHERS:
        if start.startswith(magic.lower()):
            return name
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data[:512]):
        return "plain text"
    return "of an unknown kind"
