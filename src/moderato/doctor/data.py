"""Whether moderato's own folder can be used, and how much room there is."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from moderato.assemble import Workshop
from moderato.doctor import Finding

_LEAST = 100 * 2**20  # bytes: keys and embeddings of prompts fit in many times over, no encoder does


def examine(workshop: Workshop) -> Iterator[Finding]:
    """The folder, and the disk it is on."""
    folder = workshop.settings.data.expanduser().absolute()
    place = next(path for path in (folder, *folder.parents) if path.exists())
    yield _written(folder, place)
    free = shutil.disk_usage(place).free
    detail = f"{free / 2**30:.1f} GiB free there"
    if free < _LEAST:
        yield Finding("space", "wrong", detail, "make room, or name a folder elsewhere: MODERATO_DATA=DIR")
    else:
        yield Finding("space", "well", detail)


def _written(folder: Path, place: Path) -> Finding:
    """`place` is the folder, or the nearest above it that exists: what will be made is not made by looking."""
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        detail = f"{folder} cannot be written ({error.strerror}): no keys, nothing downloaded, nothing kept"
        return Finding("folder", "wrong", detail, "name a folder that can be: MODERATO_DATA=DIR")
    return Finding("folder", "well", str(folder) if place == folder else f"{folder}, not there yet")
