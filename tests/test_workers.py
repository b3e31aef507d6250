"""Hostile files in worker processes: each is answered as unscannable, and takes down nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

import hostile
from moderato.assemble import Workshop
from moderato.errors import DecodeError, LimitError
from moderato.media import Limits, prepare
from moderato.media.workers import WorkerOptions, Workers
from moderato.server.desk import Desk
from moderato.settings import Settings
from moderato.types import ViewSpec
from pictures import animation, encoded, photo
from servers import BROKEN, PNG, bomb, listening, wait_until

SPECS = [ViewSpec(32), ViewSpec(48, "cover"), ViewSpec(32, "squash")]
OPTIONS = WorkerOptions(seconds=0.6, max_memory=2**28)
CODES = {
    hostile.HANGS: "too_slow: decoding it takes longer than 0.6 seconds.",
    hostile.CRASHES: "crash: its decoder crashed on it.",
    hostile.EXITS: "crash: its decoder crashed on it.",
    hostile.EATS: "too_much_memory: decoding it takes more memory than it may.",
    hostile.LIES: "fault: moderato failed on it (RuntimeError); its log says where.",
    hostile.FAILS: "fault: moderato failed on it (RuntimeError); its log says where.",
}


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with closing(Workers(2, OPTIONS, hostile.prepare)) as workers:
        yield workers


@pytest.mark.parametrize(
    "data",
    [PNG, encoded(photo(900, 300), "JPEG"), animation("GIF"), animation("WEBP")],
    ids=["PNG", "JPEG", "GIF", "WEBP"],
)
def test_a_worker_prepares_as_a_thread_does(workers: Workers, data: bytes) -> None:
    expected, found = prepare(data, SPECS, Limits()), workers.prepare(data, SPECS, Limits())
    assert found.size == expected.size
    assert list(found.views) == list(expected.views)
    for spec in SPECS:
        for one, other in zip(found.views[spec], expected.views[spec], strict=True):
            assert (one.box, one.time, one.frame) == (other.box, other.time, other.frame)
            np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_has_the_reason_that_a_thread_gives(workers: Workers, name: str) -> None:
    data, reason = BROKEN[name]
    with pytest.raises((DecodeError, LimitError), match=re.escape(reason)):
        workers.prepare(data, SPECS, Limits())


@pytest.mark.parametrize("fault", CODES)
def test_a_fault_ends_no_more_than_its_worker(workers: Workers, fault: bytes) -> None:
    for _ in range(3):  # more often than there are workers
        with pytest.raises((DecodeError, LimitError, RuntimeError)):
            workers.prepare(fault, SPECS, Limits())
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: workers.prepare(PNG, SPECS, Limits()), range(4)))
    assert {one.size for one in found} == {(96, 64)}


def test_a_worker_that_died_idle_is_replaced_before_it_is_asked(workers: Workers) -> None:
    idle = _preparing()
    for child in idle:
        child.kill()
    psutil.wait_procs(idle, timeout=10)
    for _ in range(4):
        assert workers.prepare(PNG, SPECS, Limits()).size == (96, 64)


def test_a_picture_that_needs_more_memory_than_it_may_is_unscannable() -> None:
    with closing(Workers(1, replace(OPTIONS, seconds=20, max_memory=2**27))) as small:
        large = encoded(photo(64, 64).resize((7000, 7000)), "PNG", compress_level=1)
        with pytest.raises(LimitError):
            small.prepare(large, SPECS, Limits())
        assert small.prepare(PNG, SPECS, Limits()).size == (96, 64)


def test_endless_animations_and_bombs_end(workers: Workers) -> None:
    endless = animation("GIF", frames=2)[:-1] * 1 + animation("GIF", frames=2)[-60:-1] * 200_000
    for data in (endless, bomb(8_900, 8_900), animation("WEBP", 400, (600, 600))):
        began = time.monotonic()
        with suppress(DecodeError, LimitError):
            workers.prepare(data, SPECS, Limits())
        assert time.monotonic() - began < 3
    assert workers.prepare(PNG, SPECS, Limits()).size == (96, 64)


def _preparing() -> list[psutil.Process]:
    """The workers of this process: children of the process they are forked from."""
    return [
        worker
        for child in psutil.Process().children()
        for worker in child.children()
        if "forkserver" in " ".join(child.cmdline())
    ]


def test_closing_ends_all_processes() -> None:
    before = {process.pid for process in _preparing()}
    with closing(Workers(3, OPTIONS)):
        assert len({process.pid for process in _preparing()} - before) == 3
    wait_until(lambda: {process.pid for process in _preparing()} == before)


def test_a_program_that_forgets_to_close_ends_all_the_same() -> None:
    code = "from moderato.media.workers import *\nif __name__ == '__main__':\n    Workers(2, WorkerOptions())\n"
    ended = subprocess.run([sys.executable, "-c", code], timeout=20, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, workers: Workers) -> Iterator[httpx.Client]:
    workshop = Workshop(Settings.model_construct(data=tmp_path_factory.mktemp("data")))
    moderator = workshop.moderator("demo", workers=workers)
    desk = Desk(moderator, {"demo": moderator.policy})
    with listening(desk) as client:
        wait_until(desk.answered.is_set)
        yield client


def check(client: httpx.Client, *pictures: bytes) -> list[str | None]:
    files = [("images", (f"{n}.png", picture)) for n, picture in enumerate(pictures)]
    answer = client.post("/v1/check", files=files)
    assert answer.status_code == 200, answer.text
    return [one["unscannable"] for one in answer.json()["results"]]


def test_hostile_files_take_down_neither_the_service_nor_a_neighbour(served: httpx.Client) -> None:
    good = [encoded(photo(80 + n, 60, seed=n)) for n in range(8)]
    with ThreadPoolExecutor(20) as pool:
        bad = [pool.submit(check, served, *CODES, PNG) for _ in range(2)]
        neighbours = [pool.submit(check, served, picture) for picture in good]
        assert [future.result() for future in neighbours] == [[None]] * 8
        assert [future.result() for future in bad] == [[*CODES.values(), None]] * 2
    assert check(served, PNG) == [None]


@pytest.mark.skipif(sys.platform != "linux", reason="signals")
def test_what_was_accepted_is_answered_when_the_service_is_stopped(tmp_path: Path) -> None:
    code = "from moderato.cli import main\nif __name__ == '__main__':\n    main()\n"
    arguments = [sys.executable, "-c", code, "serve", "--policy", "demo", "--port", "0"]
    environment = {**os.environ, "MODERATO_DATA": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    picture = encoded(photo(2600, 2500), "PNG", compress_level=0)  # takes a while to prepare
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, env=environment, start_new_session=True) as process:
        assert process.stderr
        url = re.search(r"http://\S+?:\d+", process.stderr.readline().decode())
        assert url
        with httpx.Client(base_url=url[0], timeout=30, trust_env=False) as client, ThreadPoolExecutor(4) as pool:
            began = threading.Barrier(5)

            def ask() -> list[str | None]:
                began.wait()
                return check(client, picture)

            asked = [pool.submit(ask) for _ in range(4)]
            began.wait()
            time.sleep(0.25)
            assert not any(future.done() for future in asked), "stopped too late to tell"
            os.killpg(process.pid, signal.SIGTERM)  # all of its processes, as systemd does
            assert [future.result() for future in asked] == [[None]] * 4
        assert process.wait(20) in (0, -signal.SIGTERM)
