"""Several processes that answer on one socket, each with an encoder of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event
from typing import Any

import typer

from moderato.errors import ModeratoError

_LOG = logging.getLogger(__name__)
_CONTEXT = multiprocessing.get_context("spawn")
_PAUSE = 1.0  # seconds before another takes the place of one that ended: what kills them all must not spin

Answer = Callable[[int, Callable[[], object]], None]
"""Answers until stopped, as worker number 1, 2, ...; calls its second argument once it does. It can be pickled."""


def supervise(count: int, answer: Answer, started: Callable[[], object]) -> None:
    """Keep so many processes at it until SIGTERM or Ctrl-C, which each of them is told too; `started` is called once.

    The first begins alone: what keeps it from answering would keep all, and what it cached the others find. Raises
    `typer.Exit` with its code when it cannot. One that ends by itself is replaced.
    """
    ready = _CONTEXT.Event()
    workers = {1: _start(1, answer, ready)}
    stopping = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        for worker in workers.values():
            worker.terminate()  # SIGTERM: what it has accepted is answered

    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, stop)
    while not ready.wait(0.05):
        if not workers[1].is_alive():
            raise typer.Exit(0 if stopping.is_set() else workers[1].exitcode or 1)
    started()
    for number in range(2, count + 1):
        if not stopping.is_set():
            workers[number] = _start(number, answer, ready)
    while not stopping.is_set():
        wait([worker.sentinel for worker in workers.values()], timeout=_PAUSE)
        for number, worker in workers.items():
            if not worker.is_alive() and not stopping.is_set():
                _LOG.warning("worker %d ended with exit code %s; another takes its place", number, worker.exitcode)
                time.sleep(_PAUSE)
                workers[number] = _start(number, answer, ready)
    stop()  # one may have been started while the others were told
    for worker in workers.values():
        worker.join()


def _start(number: int, answer: Answer, ready: Event) -> SpawnProcess:
    worker = _CONTEXT.Process(target=_work, args=(number, answer, ready), name=f"worker {number}")
    worker.start()
    return worker


def _work(number: int, answer: Answer, ready: Event) -> None:
    """The life of a worker; it does not outlive its supervisor."""
    threading.Thread(target=_follow, args=(multiprocessing.parent_process(),), daemon=True).start()
    try:
        answer(number, ready.set)
    except ModeratoError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)


def _follow(parent: Any) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
