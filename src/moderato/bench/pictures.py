"""A folder of pictures, cut into the views that encoders see: some to calibrate by, the others to judge by.

Which is which follows from the digests of the files, so that the same folder is always divided alike, and no picture is
ever on both sides. Views lie in temporary files, so that memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from moderato.errors import RequestError, Unscannable
from moderato.media import Limits, Prepared, looks_like_a_picture, prepare
from moderato.media.fetch import FetchOptions
from moderato.media.load import load
from moderato.types import Encoded, Place, Rows, Source, View, Views, ViewSpec

MOST = 512
"""Pictures of a folder that are looked at; more would take minutes and hardly tell more."""
LEAST = 64
"""Fewer teach a quantisation nothing that holds for others, and show nothing about verdicts."""
_CALIBRATING = 128
"""Pictures that calibrate at most: what they tell is how large numbers become, and that is soon known."""


@dataclass(frozen=True)
class Picture:
    """One picture that was cut into views: by encoder where its views lie among all, and their places."""

    name: str
    digest: str
    size: tuple[int, int]
    views: Mapping[str, slice]
    places: Mapping[str, tuple[Place, ...]]

    def encoded(self, encoder: str, rows: Rows) -> Encoded:
        """Its own of the rows of all views that an encoder saw."""
        return Encoded(self.places[encoder], Rows(rows[self.views[encoder]]), self.size)


@dataclass
class Album:
    """Pictures and their views; a context manager, after which the views are gone.

    `specs`: by encoder how it sees. `place` is the folder, None for drawings of our own.
    """

    place: Path | None
    specs: Mapping[str, ViewSpec]
    pictures: list[Picture] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    """By name why a file could not be scanned; it is in no figure."""
    passed: int = 0
    """Files that are no pictures, or are one that is there already."""
    _files: dict[str, BinaryIO] = field(default_factory=dict, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __enter__(self) -> Self:
        for encoder in self.specs:
            stream = TemporaryFile(prefix="moderato-bench-")
            self._files[encoder] = cast("BinaryIO", self._stack.enter_context(stream))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def views(self, encoder: str) -> Views:
        """All views `(N, S, S, 3)` of an encoder, in the order of the pictures."""
        side = self.specs[encoder].side
        self._files[encoder].flush()
        return Views(np.memmap(self._files[encoder], np.uint8, "r").reshape(-1, side, side, 3))

    def add(self, source: Source, prepared: Prepared) -> None:
        """Keep a picture's views."""
        views = {encoder: prepared.views[spec] for encoder, spec in self.specs.items()}
        self.pictures.append(
            Picture(
                source.name,
                source.digest,
                prepared.size,
                {encoder: self._append(encoder, mine) for encoder, mine in views.items()},
                {encoder: tuple(Place(v.box, v.time, v.frame) for v in mine) for encoder, mine in views.items()},
            )
        )

    def _append(self, encoder: str, views: Sequence[View]) -> slice:
        stream, each = self._files[encoder], 3 * self.specs[encoder].side ** 2
        first = stream.tell() // each
        for view in views:
            stream.write(np.ascontiguousarray(view.pixels).tobytes())
        return slice(first, first + len(views))

    @property
    def calibrating(self) -> list[Picture]:
        """Those that int8 is calibrated by: half of them, by digest, but not more than are of use."""
        ordered = sorted(self.pictures, key=lambda picture: picture.digest)
        return ordered[: min(len(ordered) // 2, _CALIBRATING)] if self.place else []

    @property
    def judged(self) -> list[Picture]:
        """The others: held out, so that nothing was fitted to them."""
        kept = {picture.digest for picture in self.calibrating}
        return [picture for picture in self.pictures if picture.digest not in kept]

    def part(self, encoder: str, pictures: Iterable[Picture]) -> Views:
        """The views of some pictures."""
        every = self.views(encoder)
        return Views(np.concatenate([every[picture.views[encoder]] for picture in pictures]))


Watched = Callable[[Iterable[Path], int], Iterable[Path]]
"""Hands files on while a person waits for so many of them."""


def fill(album: Album, files: Sequence[Path], limits: Limits, watched: Watched) -> None:
    """Read files into an album, each picture once; what cannot be scanned is listed."""
    seen: set[str] = set()
    for file in watched(files, len(files)):
        try:
            source = load(file, limits, FetchOptions())
            prepared = prepare(source.data, album.specs.values(), limits)
        except Unscannable as reason:
            album.unread[str(file)] = str(reason)
            continue
        if source.digest in seen:
            album.passed += 1
        else:
            seen.add(source.digest)
            album.add(source, prepared)


def pictures_in(folder: Path) -> tuple[list[Path], int]:
    """Pictures anywhere below a folder, by name, and how many files are none.

    Of more than `MOST` those come whose names' digests are lowest: the same ones every time.
    Raises `RequestError` where there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise RequestError(f"--pictures {folder}: there is no such folder.")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    found = [file for file in files if looks_like_a_picture(file)]
    if not found:
        raise RequestError(f"--pictures {folder}: there is no picture in it. Name a folder of pictures like yours.")
    chosen = sorted(sorted(found, key=partial(_lot, folder))[:MOST])
    return chosen, len(files) - len(found)


def _lot(folder: Path, file: Path) -> str:
    return sha256(str(file.relative_to(folder)).encode(errors="surrogateescape")).hexdigest()


def check_enough(album: Album) -> None:
    """Raises `RequestError` where too few pictures of a folder could be read to show anything."""
    if album.place and len(album.pictures) < LEAST:
        raise RequestError(
            f"--pictures {album.place}: {len(album.pictures)} different pictures can be read "
            f"({len(album.unread)} cannot); at least {LEAST} are needed, half of them to calibrate by and half to "
            "judge by. Without --pictures a few built-in drawings are used, and int8 is left out."
        )


def batches(views: NDArray[np.uint8], rows: int) -> Iterator[Views]:
    """Views a batch at a time."""
    for start in range(0, len(views), rows):
        yield Views(np.ascontiguousarray(views[start : start + rows]))
