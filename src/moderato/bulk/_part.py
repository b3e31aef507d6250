"""A file of scores that grows until it is whole, and can be cut off at any moment."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from moderato.errors import RequestError
from moderato.types import Scores

_LOG = logging.getLogger(__name__)

_ROWS = 1 << 16  # that are read back at once

Write = Callable[[Path, Iterator[Scores]], object]
"""Writes scores, piece by piece, as another kind of file."""


class Part:
    """Scores of the first `done` rows, in numpy's format in OUTPUT.part; OUTPUT.part.json says how many, of what."""

    def __init__(self, output: Path, stream: BinaryIO, shape: tuple[int, ...], job: Mapping[str, str]) -> None:
        self.done = self.not_finite = 0
        self._output, self._stream, self._job = output, stream, dict(job)
        self._file, self._book = _beside(output, ".part"), _beside(output, ".part.json")
        self._total, self._width = shape[0], math.prod(shape[1:])
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self._header = header.getvalue()
        self._resume()

    def add(self, scores: Scores) -> None:
        """Append rows."""
        self._stream.write(np.ascontiguousarray(scores, "<f4").data)
        self.done += len(scores)
        self.not_finite += int(np.isnan(scores).any(axis=1).sum())

    def save(self) -> None:
        """From here on what was added outlives a kill and a power cut: first the scores, then the word of them."""
        self._flush()
        facts = {"job": self._job, "done": self.done, "not_finite": self.not_finite}
        draft = _beside(self._book, ".new")
        draft.write_text(json.dumps(facts))
        os.replace(draft, self._book)

    def chunks(self) -> Iterator[Scores]:
        """The scores, read back piece by piece."""
        self._flush()
        with self._file.open("rb") as stream:
            stream.seek(len(self._header))
            while piece := stream.read(4 * self._width * _ROWS):
                yield Scores(np.frombuffer(piece, "<f4").reshape(-1, self._width))

    def finish(self, write: Write | None) -> None:
        """All rows are there: OUTPUT is what `write` makes of them, or the file as it is.

        Raises `RequestError` when rows are missing.
        """
        self._flush()
        if self.done != self._total:
            raise RequestError(f"{self._output}: {self.done} rows came where the files spoke of {self._total}.")
        if write:
            draft = _beside(self._output, ".new")
            write(draft, self.chunks())
            os.replace(draft, self._output)
            self._file.unlink()
        else:
            os.replace(self._file, self._output)
        self._book.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _resume(self) -> None:
        """Go on behind the rows that are known to be there, if they are of the same job; begin anew otherwise."""
        job, done, not_finite = self._record()
        changed = [what for what, now in self._job.items() if job.get(what) != now]
        end = len(self._header) + 4 * self._width * done
        if not changed and os.fstat(self._stream.fileno()).st_size >= end:
            self.done, self.not_finite = done, not_finite
            self._stream.truncate(end)
            return
        if done:
            _LOG.warning("%s is begun anew: the %s changed since it was cut off.", self._output, " and ".join(changed))
        self._stream.truncate(0)
        self._stream.write(self._header)

    def _record(self) -> tuple[dict[str, str], int, int]:
        try:
            facts = json.loads(self._book.read_bytes())
            return dict(facts["job"]), int(facts["done"]), int(facts["not_finite"])
        except (OSError, ValueError, TypeError, KeyError):
            return {}, 0, 0


@contextmanager
def open_part(output: Path, shape: tuple[int, ...], job: Mapping[str, str]) -> Iterator[Part]:
    """What there is of OUTPUT, to go on with; no other run can meanwhile. What is left unfinished is saved.

    `job` says what the scores are of, in words that also tell what changed.
    Raises `RequestError` when another run has it, or it cannot be written.
    """
    try:
        with _beside(output, ".part").open("ab") as stream:
            if not _is_ours(stream, _beside(output, ".part")):
                raise RequestError(f"{output} is being written by another run.")
            part = Part(output, stream, shape, job)
            try:
                yield part
            except BaseException:
                part.save()
                raise
    except OSError as error:
        raise RequestError(f"{output} cannot be written ({error.strerror or error}).") from error


def _is_ours(stream: BinaryIO, file: Path) -> bool:
    """Take the lock, which lasts until the stream is closed, if by a kill; and see that the file is still this one."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(stream.fileno()), file.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def _beside(file: Path, ending: str) -> Path:
    return file.with_name(file.name + ending)
