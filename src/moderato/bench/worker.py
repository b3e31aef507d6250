"""An encoder in a process of its own: its memory is its own, and one that crashes or is killed takes nothing along."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Self, cast

import numpy as np

from moderato.bench.pictures import batches
from moderato.bench.proc import table
from moderato.encoders import Encoder, Ranges
from moderato.errors import ExecutionError, ModeratoError
from moderato.types import Rows, Views

Open = Callable[[], Encoder]
"""Opens an encoder to be run in one way. It is called in another process, which must be able to import it."""

_PATIENCE_S = 900.0
"""Longer than any call takes, compiling included; what takes more hangs."""
_MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """MiB of a whole process, Python included: `opened`, once its encoder has encoded a view; `peak`, the most ever."""

    opened: float
    peak: float


class Worker:
    """One encoder, run elsewhere; a context manager, which ends the process.

    Every call raises `ExecutionError`, saying what the process said, when the encoder cannot be opened or run.
    """

    def __init__(self, opened: Open) -> None:
        context = multiprocessing.get_context("spawn")  # runtimes have threads, which no fork survives
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, opened), name="bench", daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whatever it is at."""
        self._process.kill()
        self._process.join()
        self._ours.close()

    def open(self, views: Views) -> str:
        """Open the encoder and let it see these `(N, S, S, 3)` once. Returns the version of what runs it."""
        return cast("str", self._ask("open", views))

    def memory(self) -> Memory:
        """What the process takes now, and took at most."""
        return cast("Memory", self._ask("memory"))

    def project(self, views: Views) -> Rows:
        """As `Encoder.project`."""
        return cast("Rows", self._ask("project", views))

    def time(self, views: Views, seconds: float) -> float:
        """Seconds a view: the median of as many calls with all these views as fit into so many seconds, at least 1."""
        return cast("float", self._ask("time", views, seconds))

    def ranges(self, views: Views, rows: int) -> Ranges:
        """As `Encoder.collect_ranges`, so many views at a time."""
        return cast("Ranges", self._ask("ranges", views, rows))

    def _ask(self, what: str, *arguments: object) -> object:
        try:
            self._ours.send((what, arguments))
            if not self._ours.poll(_PATIENCE_S):
                raise ExecutionError(f"it does not answer within {_PATIENCE_S:.0f} s.")
            went_well, answer = self._ours.recv()
        except (EOFError, OSError):
            self._process.join()
            raise ExecutionError(f"its process died ({_end(self._process.exitcode)}).") from None
        if not went_well:
            raise ExecutionError(" ".join(str(answer).split()))
        return answer


def _end(code: int | None) -> str:
    if code == -9:
        return "killed, as a machine does that has no memory left"
    return f"signal {-code}" if code and code < 0 else f"exit code {code}"


def _serve(connection: Connection, opened: Open) -> None:
    """What the process does: answer until nobody asks any more."""
    seat = _Seat(opened)
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            what, arguments = connection.recv()
            try:
                connection.send((True, getattr(seat, what)(*arguments)))
            except ModeratoError as error:
                connection.send((False, str(error)))
            except Exception as error:  # noqa: BLE001  libraries fail in ways of their own
                connection.send((False, f"{type(error).__name__}: {error}"))


class _Seat:
    """The other end: an encoder, and what is asked of it by name."""

    def __init__(self, opened: Open) -> None:
        self._opened = opened
        self._encoder: Encoder | None = None
        self._resident = 0.0

    @property
    def encoder(self) -> Encoder:
        assert self._encoder, "open comes first"
        return self._encoder

    def open(self, views: Views) -> str:
        self._encoder = self._opened()
        self._encoder.project(views)
        self._resident = _status("VmRSS") or _most()
        return self._encoder.runtime.VERSION

    def memory(self) -> Memory:
        return Memory(self._resident, _status("VmHWM") or _most())

    def project(self, views: Views) -> Rows:
        return self.encoder.project(views)

    def time(self, views: Views, seconds: float) -> float:
        taken: list[float] = []
        while sum(taken) < seconds or not taken:
            started = perf_counter()
            self.encoder.project(views)
            taken.append(perf_counter() - started)
        return float(np.median(taken)) / len(views)

    def ranges(self, views: Views, rows: int) -> Ranges:
        return self.encoder.collect_ranges(batches(views, rows))


def _status(field: str) -> float:
    """A line of Linux's /proc/self/status, in MiB; 0 elsewhere."""
    return int(table(Path("/proc/self/status")).get(field, "0 kB").split()[0]) / 1024


def _most() -> float:
    """The most that this process ever took, in MiB, where there is no /proc; 0 where nobody tells."""
    with suppress(ImportError):
        import resource  # Windows has none

        most: Any = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(most) / (_MIB if sys.platform == "darwin" else 1024)
    return 0.0
