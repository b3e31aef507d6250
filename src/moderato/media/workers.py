"""`prepare` in processes of its own, for files of strangers: a codec that hangs, crashes or takes all memory is killed.

A thread that is stuck in a codec cannot be stopped; a process can. What comes back is JSON and raw pixels, never a
pickle: a worker that a file has taken over must not be able to run anything here.
"""

from __future__ import annotations

import atexit
import json
import logging
import multiprocessing
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Annotated, Any, Never

import numpy as np
from annotated_types import Ge, Gt

from moderato.errors import DecodeError, LimitError
from moderato.media import Limits, Prepared, prepare
from moderato.types import View, ViewSpec

Prepare = Callable[[bytes, Iterable[ViewSpec], Limits], Prepared]

_LOG = logging.getLogger(__name__)
_PICTURES = 1000  # of one worker; a new one costs 40 ms, and what a codec leaks goes with the old one
_FARTHEST = 2**30  # bytes of an answer: all views of 8 frames of one picture are a few MiB

# Forked from a process that has imported all this and little else, a worker has its first picture ready in 40 ms;
# spawned, in 0.5 s.
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@dataclass(frozen=True)
class WorkerOptions:
    """What one picture may cost a worker of the service."""

    seconds: Annotated[float, Gt(0)] = 10.0
    """Longer, and it is unscannable."""
    max_memory: Annotated[int, Ge(2**26)] = 2 * 2**30
    """Bytes beyond what a worker needs by itself; on Linux only."""


class Workers:
    """Processes that prepare pictures, one at a time each; thread-safe. `close` ends them, as does the end of ours.

    `prepare` is what they run: a function that they can import.
    """

    def __init__(self, count: int, options: WorkerOptions, prepare: Prepare = prepare) -> None:
        self.count = count
        self._options = options
        self._context: Any = multiprocessing.get_context(_METHOD)
        if _METHOD == "forkserver":
            self._context.set_forkserver_preload([__name__])
        self._work = prepare
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        for _ in range(count):
            self._free.put(self._started())
        atexit.register(self.close)  # before multiprocessing's own, which would wait for what ignores its signal

    def prepare(self, data: bytes, needs: Iterable[ViewSpec], limits: Limits) -> Prepared:
        """As `media.prepare`, in the next process that is free.

        Also raises `LimitError` for a picture that takes too long, and `DecodeError` where the decoder crashes.
        """
        specs = list(dict.fromkeys(needs))
        worker = self._free.get()
        try:
            if worker.is_spent:
                worker.end()
                worker = self._started()
            return worker.prepare(data, specs, limits, self._options.seconds)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End all processes, once each has done what it is at."""
        atexit.unregister(self.close)
        while self.count:
            self._free.get().end()
            self.count -= 1

    def _started(self) -> _Worker:
        return _Worker(self._context, self._work, self._options.max_memory)


class _Worker:
    """One process and the connection to it."""

    def __init__(self, context: Any, work: Prepare, max_memory: int) -> None:
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, work, max_memory), name="prepare", daemon=True)
        self._process.start()
        theirs.close()
        self._pictures = 0

    @property
    def is_spent(self) -> bool:
        """Whether another must take its place: one that is idle has nothing to say, unless its end."""
        return self._pictures >= _PICTURES or not self._process.is_alive() or self._ours.poll()

    def end(self) -> None:
        """End it, whatever it is at."""
        self._kill()
        self._ours.close()

    def prepare(self, data: bytes, specs: list[ViewSpec], limits: Limits, seconds: float) -> Prepared:
        """What it makes of a picture. Ends it when it does not answer in time, or not as it should."""
        self._pictures += 1
        end = monotonic() + seconds
        try:
            self._ours.send_bytes(pickle.dumps((specs, limits)))
            self._ours.send_bytes(data)
            answer = json.loads(self._received(end))
            if "size" not in answer:
                return self._refused(answer)
            views = {spec: self._views(end, spec, answer["places"][n]) for n, spec in enumerate(specs)}
            return Prepared(tuple(answer["size"]), views)
        except (DecodeError, LimitError, RuntimeError):
            raise
        except TimeoutError:
            self._kill()
            raise LimitError("too_slow", f"decoding it takes longer than {seconds:g} seconds.") from None
        except Exception as error:  # it died, or it answers what no worker should
            self._kill()
            _LOG.warning("a decoder ended with exit code %s", self._process.exitcode)
            raise DecodeError("crash", "its decoder crashed on it.") from error

    def _kill(self) -> None:
        self._process.kill()
        self._process.join()

    def _refused(self, answer: dict[str, Any]) -> Never:
        """Raise what the worker raised."""
        if answer["kind"] == "DecodeError":
            raise DecodeError(answer["code"], answer["detail"])
        if answer["kind"] == "LimitError":
            raise LimitError(answer["code"], answer["detail"])
        raise RuntimeError(answer["detail"])

    def _received(self, end: float) -> bytes:
        if not self._ours.poll(max(0.0, end - monotonic())):
            raise TimeoutError
        received: bytes = self._ours.recv_bytes(_FARTHEST)
        return received

    def _views(self, end: float, spec: ViewSpec, places: list[dict[str, Any]]) -> list[View]:
        """The views of one spec; their pixels are the received bytes themselves."""
        pixels = np.frombuffer(self._received(end), np.uint8).reshape(len(places), spec.side, spec.side, 3)
        return [
            View(square, tuple(place["box"]), place["time"], place["frame"])
            for square, place in zip(pixels, places, strict=True)
        ]


def _serve(connection: Connection, work: Prepare, max_memory: int) -> None:
    """The life of a worker: it ends when nobody is at the other end any more."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # meant for the service, which still answers what it has accepted
        signal.signal(ending, signal.SIG_IGN)
    _limit(max_memory)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            specs, limits = pickle.loads(connection.recv_bytes())
            data = connection.recv_bytes()
            for part in _answer(work, data, specs, limits):
                connection.send_bytes(part)


def _answer(work: Prepare, data: bytes, specs: list[ViewSpec], limits: Limits) -> list[Any]:
    """JSON, and the pixels of each spec's views."""
    try:
        prepared = work(data, specs, limits)
        views = [prepared.views[spec] for spec in specs]
        places = [[{"box": view.box, "time": view.time, "frame": view.frame} for view in some] for some in views]
        head = {"size": prepared.size, "places": places}
        return [json.dumps(head).encode(), *(np.stack([view.pixels for view in some]).data.cast("B") for some in views)]
    except (DecodeError, LimitError) as error:
        told = {"kind": type(error).__name__, "code": error.code, "detail": error.detail}
    except MemoryError:
        told = {"kind": "LimitError", "code": "too_much_memory", "detail": "decoding it takes more memory than it may."}
    except Exception:  # noqa: BLE001  a fault of ours with one picture: the log of the service tells it
        told = {"kind": "fault", "detail": traceback.format_exc()}
    return [json.dumps(told).encode()]


def _limit(max_memory: int) -> None:
    """Hold this process to so many bytes more than it has; when the machine runs out, it is the first to go."""
    if sys.platform != "linux":
        return
    import resource  # only Unix has it

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + max_memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # pictures of strangers do not belong into files
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
