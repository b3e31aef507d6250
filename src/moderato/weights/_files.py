"""Files that are known by their hash: checked, copied, put in place whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path


class HashError(ValueError):
    """A file is not the one expected."""


@dataclass(frozen=True)
class File:
    """What is known of a file."""

    sha256: str | None = None  # None for what was not seen yet, where nobody stated it
    size: int | None = None
    stamp: str = ""  # the path, size and times of the file that had this hash: while they stand, it is not read again


def _stamp(path: Path) -> str:
    status = path.stat()
    # The change time too: cp -p, tar and rsync put another file in place with an old modification time.
    return f"{path} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def check(path: Path, expected: File) -> File:
    """The facts of a file, read and hashed unless its stamp stands. Raises `HashError` when it is another."""
    stamp = _stamp(path)
    if stamp == expected.stamp:
        return expected
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if expected.sha256 not in (None, sha256):
        raise HashError(f"sha256 {expected.sha256} expected, {sha256} found")
    return File(sha256, path.stat().st_size, stamp)


def settle(part: Path, target: Path, expected: File) -> File:
    """A whole `.part` becomes the file, if it is the one expected."""
    try:
        checked = check(part, expected)
    except HashError:
        part.unlink()
        raise
    os.replace(part, target)
    return replace(checked, stamp=_stamp(target))


def copy(source: Path, target: Path, expected: File, link: bool = False) -> File:
    """Copy a file, whole and checked; `link` shares its bytes where the disk allows."""
    part = target.with_name(f"{target.name}.copy.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    part.unlink(missing_ok=True)
    if link:  # takes no room; what is on another disk, or another user's, has to be copied
        with suppress(OSError):
            os.link(source.resolve(), part)
    if not part.exists():
        with source.open("rb") as original, part.open("wb") as duplicate:
            shutil.copyfileobj(original, duplicate, 1 << 20)
            duplicate.flush()
            os.fsync(duplicate.fileno())
    return settle(part, target, expected)
