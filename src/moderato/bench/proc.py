"""What Linux tells in `/proc`."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def table(file: Path) -> dict[str, str]:
    """The lines `name: value` of a file there; of a name that comes again, as of the second core, the first.

    Empty where there is no such file, as on other systems.
    """
    found: dict[str, str] = {}
    with suppress(OSError):
        for line in file.read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    return found
