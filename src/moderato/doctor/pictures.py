"""Which formats can be decoded here: a small drawing in each, decoded as the service decodes what strangers send."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moderato.assemble import Workshop
from moderato.doctor import Finding
from moderato.errors import LimitError, Unscannable
from moderato.media import Limits, prepare
from moderato.media.workers import Prepare, WorkerOptions, Workers
from moderato.types import View, ViewSpec

REFUSED = ("videos", "SVG", "PDF", "archives", "text and web pages", "camera raw", "JPEG XL", "JPEG 2000", "PSD", "ICO")
"""What is no picture to moderato, however it is installed."""

_SAMPLES = Path(__file__).parent / "samples"
_SPEC = ViewSpec(16, "squash")
_QUARTERS = np.array([[(220, 40, 40), (40, 180, 60)], [(40, 70, 200), (240, 220, 60)]], dtype=np.int16)
"""The colours of the drawing in all samples; the second frame of those that move is turned by half a circle."""
_FAR = 48  # of 255: what the codecs lose at their worst quality is below 20, another quarter's colour above 130


@dataclass(frozen=True)
class Sample:
    """A format, the drawing in it, and the package that decodes it."""

    name: str
    file: str
    package: str = "pillow"

    @property
    def data(self) -> bytes:
        """The file."""
        return (_SAMPLES / self.file).read_bytes()

    @property
    def frames(self) -> int:
        """How many pictures are in it."""
        return 2 if self.file.startswith("moving") else 1


SAMPLES = (
    Sample("JPEG", "still.jpg"),
    Sample("progressive JPEG", "progressive.jpg"),
    Sample("PNG", "still.png"),
    Sample("animated PNG", "moving.png"),
    Sample("GIF", "still.gif"),
    Sample("animated GIF", "moving.gif"),
    Sample("WebP", "still.webp"),
    Sample("animated WebP", "moving.webp"),
    Sample("AVIF", "still.avif"),
    Sample("animated AVIF", "moving.avif"),
    Sample("HEIC", "still.heic", "pi-heif"),
    Sample("TIFF", "still.tiff"),
    Sample("BMP", "still.bmp"),
)


def examine(workshop: Workshop) -> Iterator[Finding]:
    """A line for each format, and what is unscannable whatever its format."""
    limits, options = workshop.settings.media, workshop.settings.prepare
    with closing(Workers(1, options, prepare)) as workers:
        for sample in SAMPLES:
            yield _decoded(sample, workers.prepare, limits)
    yield Finding("refused", "note", f"on purpose, however moderato is installed: {', '.join(REFUSED)}")
    yield Finding("beyond limits", "note", _beyond(limits, options))


def _decoded(sample: Sample, prepare: Prepare, limits: Limits) -> Finding:
    """Whether the drawing is what comes out."""
    mend = f"pip install --force-reinstall {sample.package}"
    try:
        views = prepare(sample.data, [_SPEC], limits).views[_SPEC]
    except LimitError as error:
        return Finding(sample.name, "wrong", str(error), "raise MODERATO_MEDIA__… or MODERATO_PREPARE__…")
    except Unscannable as error:
        return Finding(sample.name, "wrong", str(error), mend)
    except Exception as error:  # noqa: BLE001  one decoder that fails in its own way says nothing about the others
        return Finding(sample.name, "wrong", f"its decoder fails: {str(error).strip().splitlines()[-1]}", mend)
    if len(views) != sample.frames:
        return Finding(sample.name, "wrong", f"{len(views)} of its {sample.frames} frames are seen", mend)
    if max(map(_off, views)) > _FAR:
        return Finding(sample.name, "wrong", "decodes into other colours than were drawn", mend)
    return Finding(sample.name, "well", "decodes as drawn")


def _off(view: View) -> int:
    """By how much, of 255, the centres of the four quarters differ from what was drawn."""
    quarter = _SPEC.side // 2
    centres = view.pixels[quarter // 2 :: quarter, quarter // 2 :: quarter].astype(np.int16)
    drawn = _QUARTERS[::-1, ::-1] if view.frame else _QUARTERS
    return int(np.abs(centres - drawn).max())


def _beyond(limits: Limits, options: WorkerOptions) -> str:
    return (
        f"files over {limits.max_bytes:,} bytes, "
        f"frames over {limits.max_pixels:,} pixels or {limits.max_side:,} a side, "
        f"animations over {limits.max_animation_frames:,} frames or {limits.max_animation_pixels:,} pixels in all; "
        f"in the service what takes over {options.seconds:g} s or {options.max_memory / 2**20:,.0f} MiB to decode"
    )
