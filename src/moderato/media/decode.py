"""Bytes → frames: every picture format a browser shows, and a few that phones and scanners write.

What a file is, its bytes say: names and mime types are not asked. Limits are checked on the header, before anything is
decoded. Whatever goes wrong becomes a `DecodeError` or `LimitError` with one code and one sentence.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pi_heif
from annotated_types import Ge
from PIL import Image, ImageOps, UnidentifiedImageError

from moderato.errors import DecodeError, LimitError, Unscannable
from moderato.media import _formats
from moderato.types import Frame

pi_heif.register_heif_opener()
# What Pillow warns about (damaged EXIF, odd palettes) is in the sender's file: nobody here can act on it.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_ORIENTATION = 0x0112  # the EXIF tag
_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_FROM_RIGHT = (2, 3, 6, 7)  # that show the last column or row at the left
_FROM_BELOW = (3, 4, 7, 8)  # that show it at the top
_SCALES = ("JPEG",)  # formats that can be decoded at 1/2, 1/4 and 1/8 (libjpeg's DCT scaling)
_MOVING = ("GIF", "WEBP", "PNG", "AVIF")  # every frame must be decoded to reach the last
_PAGED = ("TIFF", "HEIF")  # each page for itself, of its own size; an MPO's are depth maps, which nobody is shown


Positive = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class Limits:
    """What is decoded at all. A picture beyond a limit is unscannable, never judged in part."""

    max_bytes: Positive = 20 * 2**20
    """Size of the file."""
    max_pixels: Positive = 80_000_000
    """Width times height of one frame."""
    max_side: Positive = 32_000
    """Width or height, in pixels."""
    max_frames: Annotated[int, Ge(2)] = 8
    """Frames looked at in an animation: the first, the last and others evenly between them."""
    max_animation_frames: Positive = 5_000
    """Frames an animation may have in all."""
    max_animation_pixels: Positive = 250_000_000
    """Frames times width times height: all must be decoded to reach the last."""


class Picture:
    """An opened file: its header is read and within the limits, its pixels (but those of a PNG) are not decoded yet.

    `size` is the upright (width, height). Raises `DecodeError` or `LimitError`.
    """

    def __init__(self, data: bytes, limits: Limits) -> None:
        if len(data) > limits.max_bytes:
            raise LimitError("too_many_bytes", f"the file has {len(data):,} bytes; the limit is {limits.max_bytes:,}.")
        self._format = _formats.sniff(data)
        self._data = data
        self._limits = limits
        self._unused: Image.Image | None = None
        with self._opened() as image:
            self.size = _upright_size(image, limits)
            self._wanted = self._sample(image)
        self._unused = image

    @property
    def can_scale(self) -> bool:
        """Whether `frames` can decode at a fraction of the size."""
        return self._format in _SCALES

    def frames(self, reduction: int = 1) -> Iterator[Frame]:
        """The sampled frames in order, upright RGB; a format that can scale is decoded at 1/`reduction` (1, 2, 4, 8).

        Raises `DecodeError` when a frame cannot be read to its end.
        """
        with self._opened() as image:
            scale = self._scaled(image, reduction)
            size, clock, number = self.size, 0.0, 0
            for index in range(self._wanted[-1] + 1):
                if index:
                    image.seek(index)
                    size = _upright_size(image, self._limits)
                if index in self._wanted:
                    image.load()
                    picture = upright_rgb(image)
                    if picture is image and len(self._wanted) > 1:
                        picture = image.copy()  # the next frame is decoded into the same memory
                    time = image.info.get("timestamp", clock * 1000) / 1000
                    corner = _corner(picture.size, size, scale, _orientation(image))
                    yield Frame(picture, size, time, number, scale, corner)
                    number += 1
                clock += float(image.info.get("duration") or 0) / 1000

    def _scaled(self, image: Image.Image, reduction: int) -> int:
        """Have it decoded at 1/`reduction` where it can be; the scale at which it will be."""
        wanted = (image.width // reduction, image.height // reduction)
        return reduction if self.can_scale and reduction > 1 and image.draft(None, wanted) else 1

    @contextmanager
    def _opened(self) -> Iterator[Image.Image]:
        """The image at its first frame: the one whose header was read, and a new one once that is used up."""
        try:
            image, self._unused = self._unused or Image.open(io.BytesIO(self._data), formats=[self._format]), None
            yield image
        except Unscannable:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
            raise LimitError("too_many_pixels", "the picture is far larger than any that can be decoded.") from error
        except Exception as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> DecodeError:
        if "truncated" in str(error).lower() or _formats.is_cut(self._data, self._format):
            return DecodeError("truncated", f"the {self._format} file ends before the picture does.")
        unnamed = isinstance(error, UnidentifiedImageError) or not str(error)
        detail = "its header makes no sense" if unnamed else str(error).strip()
        return DecodeError("corrupt", f"the {self._format} data is damaged ({detail}).")

    def _sample(self, image: Image.Image) -> tuple[int, ...]:
        """Indices of the frames to look at."""
        limits = self._limits
        count = self._count(image, limits.max_animation_frames)
        if count > limits.max_animation_frames:
            raise LimitError("too_many_frames", f"the animation has more than {limits.max_animation_frames:,} frames.")
        pixels = count * image.width * image.height
        if self._format in _MOVING and count > 1 and pixels > limits.max_animation_pixels:
            raise LimitError(
                "too_many_pixels",
                f"{count:,} frames of {image.width} x {image.height} are {pixels:,} pixels; "
                f"the limit for an animation is {limits.max_animation_pixels:,}.",
            )
        spread = np.linspace(0, count - 1, min(count, limits.max_frames))
        return tuple(int(index) for index in spread.round())

    def _count(self, image: Image.Image, limit: int) -> int:
        if self._format == "GIF":
            return _formats.count_gif_frames(self._data, limit)
        if self._format == "TIFF":
            return _count_pages(image, limit)
        return getattr(image, "n_frames", 1) if self._format in (*_MOVING, *_PAGED) else 1


def upright_rgb(image: Image.Image) -> Image.Image:
    """A loaded image of any mode as RGB: alpha over white, 16 bits scaled to 8, EXIF orientation applied."""
    turned = ImageOps.exif_transpose(image) if _orientation(image) != 1 else image
    if turned.mode == "RGB" and "transparency" not in turned.info:
        return turned
    if turned.mode[0] in "IF":
        turned = _to_8_bits(turned)
    if turned.has_transparency_data:
        paper = Image.new("RGBA", turned.size, "white")
        return Image.alpha_composite(paper, turned.convert("RGBA")).convert("RGB")
    return turned.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and float greys. Pillow's own conversion clips at 255, which turns a scan white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8), "L")
    values = np.array(image, dtype=np.float32)  # changed in place: pictures of 80 megapixels come by
    np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    highest = float(values.max(initial=0))
    tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (65535.0,)  # floats follow no convention
    values *= 255 / next((top for top in tops if highest <= top), highest)
    return Image.fromarray(values.clip(0, 255, out=values).round(out=values).astype(np.uint8), "L")


def _upright_size(image: Image.Image, limits: Limits) -> tuple[int, int]:
    """(width, height) as it is shown, from the header alone; raises `LimitError` when it is too large."""
    width, height = image.size
    if max(width, height) > limits.max_side:
        raise LimitError("too_wide", f"{width} x {height} pixels; the limit for a side is {limits.max_side:,}.")
    if width * height > limits.max_pixels:
        raise LimitError("too_many_pixels", f"{width} x {height} pixels; the limit is {limits.max_pixels:,} in all.")
    if image.format == "PNG":
        image.load()  # the tag may follow the pixels, and looking for it Pillow would pass over what is wrong with them
    return (height, width) if _orientation(image) in _TURNED else (width, height)


def _corner(decoded: tuple[int, int], whole: tuple[int, int], reduction: int, orientation: int) -> tuple[float, float]:
    """Where an upright picture begins in its pixels: libjpeg fills up the last column and row of a scaled one."""
    across, down = (have - length / reduction for have, length in zip(decoded, whole, strict=True))
    return (across if orientation in _FROM_RIGHT else 0.0, down if orientation in _FROM_BELOW else 0.0)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001  a damaged EXIF block does not make the picture unreadable
        return 1


def _count_pages(image: Image.Image, limit: int) -> int:
    """Pages of a TIFF, up to one more than `limit`; seeking reads only the page's header."""
    count = 1
    try:
        while count <= limit:
            image.seek(count)
            count += 1
    except EOFError:
        image.seek(0)
    return count
