"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A path beside a file to write to: it takes the file's place when the block ends well, and is gone otherwise.

    Raises `OSError` where it cannot take that place; what was there before is then still there.
    """
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, file)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
