"""Small copies of pictures, as text that a page can hold."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from matplotlib.image import imsave

from moderato.errors import Unscannable
from moderato.evaluate.judging import Picture
from moderato.media import Limits, prepare
from moderato.media.fetch import FetchOptions
from moderato.media.load import load
from moderato.types import ViewSpec

_SPEC = ViewSpec(side=192, fit="squash")  # all of the picture; the page gives it its shape back
_QUALITY = {"quality": 72}


def thumbnail(picture: Picture, limits: Limits) -> tuple[str, tuple[int, int]] | None:
    """A `data:` URL of a square JPEG and the picture's true (width, height); None where there is none to be had.

    Only files are shown: nothing is fetched for a report.
    """
    if not isinstance(picture.source, Path):
        return None
    try:
        prepared = prepare(load(picture.source, limits, FetchOptions()).data, [_SPEC], limits)
    except Unscannable:
        return None
    memory = io.BytesIO()
    imsave(memory, prepared.views[_SPEC][0].pixels, format="jpg", pil_kwargs=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(memory.getvalue()).decode()}", prepared.size
