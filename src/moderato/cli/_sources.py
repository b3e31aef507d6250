"""What people name on the command line → sources: files, folders, globs, URLs, or `-` for bytes on standard input."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from moderato.errors import RequestError
from moderato.media import looks_like_a_picture
from moderato.media.load import Sendable, is_remote
from moderato.types import Source


def expand(names: list[str]) -> list[Sendable]:
    """All sources, folders walked in the order of their names.

    In a folder, files that are no pictures by their bytes are passed over, and counted aloud; what is named itself is
    never passed over. Raises `RequestError` for a name that is nothing at all.
    """
    found: list[Sendable] = []
    for name in names:
        found += _sources(name)
    if not found:
        raise RequestError("There is no picture to look at.")
    return found


def _sources(name: str) -> list[Sendable]:
    if name == "-":
        return [Source(sys.stdin.buffer.read(), "-")]
    if is_remote(name):
        return [name]
    path = Path(name)
    if name and path.is_dir():
        return list(_walk(path))
    if name and path.exists():
        return [path]
    matches = sorted(glob.glob(name, recursive=True))
    if not matches:
        raise RequestError(f"{name}: there is no such file, folder or URL.")
    return [source for match in map(Path, matches) for source in (_walk(match) if match.is_dir() else [match])]


def _walk(folder: Path) -> Iterator[Path]:
    passed = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file() or not path.exists():  # a link that leads nowhere is to be reported too
            if looks_like_a_picture(path):
                yield path
            else:
                passed += 1
    if passed:
        Console(stderr=True, markup=False, emoji=False).print(
            f"{folder}: passed over {passed} files that are no pictures.", highlight=False
        )
