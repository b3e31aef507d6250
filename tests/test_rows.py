"""Many callers before one encoder: who shares a batch, who goes first, and who never gets the rows of another."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest

from moderato.errors import Overloaded
from moderato.rows import Queue
from moderato.server.desk import Desk
from moderato.settings import ServeOptions
from moderato.turns import FairPool, Line, Ticket
from moderato.types import Rows, View, Views
from pictures import animation, encoded, photo
from servers import PNG, listening, service, wait_until


def view(number: int) -> View:
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0] = [number >> 16, number >> 8 & 255, number & 255]
    return View(pixels, (0, 0, 2, 2))


def numbers(views: Views) -> list[int]:
    return [int(red) << 16 | int(green) << 8 | int(blue) for red, green, blue in views[:, 0, 0]]


class Gate:
    """An encoder that tells each view's number, and encodes nothing while it is shut."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.is_open = threading.Event()
        self.is_open.set()
        self.refused: set[int] = set()

    def project(self, views: Views) -> Rows:
        self.batches.append(numbers(views))
        assert self.is_open.wait(20)
        if self.refused & set(numbers(views)):
            raise ValueError("the encoder failed")
        return Rows(np.array([[number] * 3 for number in numbers(views)], np.float32))


class Busy:
    """A queue whose encoder has a first view in hand, so that what is asked now waits; `go` lets it work."""

    def __init__(self, most: int = 4) -> None:
        self.gate = Gate()
        self.queue = Queue(self.gate.project, most)
        self.pool = ThreadPoolExecutor(64)
        self.gate.is_open.clear()
        self.first = self.pool.submit(self.queue.project, [view(0)], Ticket())
        wait_until(lambda: self.gate.batches == [[0]])

    def ask(self, *asked: int, ticket: Ticket | None = None) -> Future[Rows]:
        """Ask for some views and return once they wait."""
        before = len(self.queue)
        future = self.pool.submit(self.queue.project, [view(number) for number in asked], ticket or Ticket())
        wait_until(lambda: len(self.queue) == before + len(asked) or future.done())
        return future

    def go(self) -> list[list[int]]:
        """Open, wait until all is answered, and tell the batches after the first."""
        self.gate.is_open.set()
        self.pool.shutdown()
        assert self.first.result().tolist() == [[0] * 3]
        return self.gate.batches[1:]


def test_who_waits_at_the_same_time_shares_a_batch() -> None:
    busy = Busy()
    asked = [busy.ask(number) for number in range(1, 7)]
    assert busy.go() == [[1, 2, 3, 4], [5, 6]]
    assert [future.result().tolist() for future in asked] == [[[number] * 3] for number in range(1, 7)]


def test_bulk_goes_when_nothing_urgent_waits() -> None:
    busy = Busy()
    for number in range(1, 5):
        busy.ask(number, ticket=Ticket(bulk=True))
    busy.ask(5)
    busy.ask(6)
    assert busy.go() == [[5, 6, 1, 2], [3, 4]]


def test_one_with_many_views_delays_the_others_by_its_share_only() -> None:
    busy = Busy()
    long = busy.ask(*range(100, 120))
    short = [busy.ask(number) for number in (1, 2)]
    batches = busy.go()
    assert batches[0] == [100, 1, 2, 101]
    assert [len(batch) for batch in batches] == [4, 4, 4, 4, 4, 2]
    assert long.result()[:, 0].tolist() == list(range(100, 120))
    assert [future.result()[0, 0] for future in short] == [1, 2]


def test_nothing_is_done_for_those_who_have_gone() -> None:
    busy = Busy()
    ticket = Ticket()
    gone, stays = busy.ask(1, 2, 3, ticket=ticket), busy.ask(4)
    ticket.left = True
    assert busy.go() == [[4]]
    assert stays.result().tolist() == [[4] * 3]
    with pytest.raises(CancelledError):
        gone.result()


def test_nothing_is_done_once_the_deadline_has_passed() -> None:
    busy = Busy()
    late = busy.ask(1, ticket=Ticket(deadline=time.monotonic() + 0.05))
    with pytest.raises(Overloaded, match="in time"):
        late.result(5)
    busy.ask(2)
    assert busy.go() == [[2]]


def test_those_next_in_line_may_give_up_and_the_line_moves_on() -> None:
    busy = Busy()
    heirs = [Ticket(deadline=time.monotonic() + 0.05 * n) for n in range(1, 4)]
    asked = [busy.ask(n, ticket=heir) for n, heir in enumerate(heirs, 1)]
    last = busy.ask(9)
    wait_until(lambda: all(future.done() for future in asked))
    assert busy.go() == [[9]]
    assert last.result().tolist() == [[9] * 3]


def test_an_encoder_that_fails_fails_its_batch_only() -> None:
    busy = Busy()
    busy.gate.refused = {2}
    asked = {number: busy.ask(number) for number in range(1, 9)}
    assert busy.go() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    for number in (1, 2, 3, 4):
        with pytest.raises(ValueError, match="the encoder failed"):
            asked[number].result()
    assert [asked[number].result()[0, 0] for number in (5, 6, 7, 8)] == [5, 6, 7, 8]


def test_the_rest_of_one_that_failed_is_not_encoded() -> None:
    busy = Busy()
    busy.gate.refused = {102}
    failed = busy.ask(*range(100, 110))
    assert busy.go() == [[100, 101, 102, 103]]
    with pytest.raises(ValueError, match="the encoder failed"):
        failed.result()
    assert busy.queue.project([view(7)], Ticket()).tolist() == [[7] * 3]


def test_nobody_ever_gets_the_rows_of_another() -> None:
    gate = Gate()
    gate.refused = {(3 << 16) + 40}
    queue = Queue(gate.project, 5)

    def ask(caller: int) -> list[str]:
        chance = random.Random(caller)
        wrong = []
        for turn in range(60):
            asked = [(caller << 16) + turn * 8 + place for place in range(chance.randint(1, 8))]
            ticket = Ticket(chance.random() < 0.3, time.monotonic() + chance.choice([0.0005, 60, 60, 60]))
            ticket.left = chance.random() < 0.1
            try:
                found = queue.project([view(number) for number in asked], ticket)[:, 2].tolist()
            except (CancelledError, Overloaded, ValueError):
                continue
            if found != asked:
                wrong.append(f"{asked} became {found}")
        return wrong

    with ThreadPoolExecutor(24) as pool:
        assert [wrong for found in pool.map(ask, range(24)) for wrong in found] == []
    assert len(queue) == 0
    assert max(map(len, gate.batches)) == 5, "they never shared a batch"


def test_a_line_takes_one_of_each_in_turn() -> None:
    line: Line[str] = Line()
    line.put("a", ["a1", "a2", "a3"], bulk=False)
    line.put("b", ["b1"], bulk=False)
    line.put("c", ["c1", "c2"], bulk=True)
    assert len(line) == 6
    line.put("a", ["a4"], bulk=False)
    assert [line.take() for _ in range(8)] == ["a1", "b1", "a2", "a3", "a4", "c1", "c2", None]


def test_a_pool_works_for_each_ticket_in_turn() -> None:
    pool, done, go = FairPool(1, "test"), [], threading.Event()
    pool.submit(Ticket(), go.wait)
    first, second = Ticket(), Ticket()
    futures = [pool.submit(first, lambda n=n: done.append(f"first {n}")) for n in range(3)]
    futures += [pool.submit(second, lambda: done.append("second"))]
    futures[1].cancel()
    failing = pool.submit(second, lambda: 1 / 0)
    go.set()
    with pytest.raises(ZeroDivisionError):
        failing.result(5)
    assert done == ["first 0", "second", "first 2"]


# Over HTTP


class Slow:
    """The service's encoder, which counts what it is shown and can be held up."""

    def __init__(self, desk: Desk) -> None:
        encoder = desk.moderator.encoder("tiny")
        self._project: Callable[[Views], Rows] = encoder.project
        self.batches: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.error: Exception | None = None
        encoder.project = self.project  # type: ignore[method-assign]

    def project(self, views: Views) -> Rows:
        self.batches.append(len(views))
        assert self.may_go.wait(20)
        if self.error:
            raise self.error
        return self._project(views)


@contextmanager
def serving(folder: Path, options: ServeOptions = ServeOptions()) -> Iterator[tuple[Desk, httpx.Client, Slow]]:  # noqa: B008
    desk = service(folder, options)
    with listening(desk) as client:
        wait_until(desk.answered.is_set)
        slow = Slow(desk)
        try:
            yield desk, client, slow
        finally:
            slow.may_go.set()


def check(client: httpx.Client, *pictures: bytes, **headers: str) -> httpx.Response:
    files = [("images", (f"{n}.png", picture)) for n, picture in enumerate(pictures)]
    return client.post("/v1/check", files=files, headers=headers)


def test_requests_of_all_dialects_share_rows(tmp_path: Path) -> None:
    with serving(tmp_path) as (desk, client, slow), ThreadPoolExecutor(16) as pool:
        slow.may_go.clear()
        first = pool.submit(check, client, PNG)
        wait_until(lambda: slow.batches == [1])
        asked = [pool.submit(check, client, PNG) for _ in range(4)]
        asked += [pool.submit(client.post, "/v1/embed", files={"images": PNG}) for _ in range(4)]
        form: dict[str, Any] = {"files": {"image": PNG}, "data": {"classes": "a cat, a dog"}}
        asked += [pool.submit(client.post, "/classify/", **form) for _ in range(4)]
        queue = next(iter(desk.moderator._pipeline._queues.values()))
        # The thesis's squash and the encoder's own view are one and the same here: rows of one encoder all the same.
        wait_until(lambda: len(queue) == 12)
        slow.may_go.set()
        assert {future.result().status_code for future in [first, *asked]} == {200}
    assert slow.batches == [1, 12]


def test_overflow_is_answered_at_once_and_the_rest_in_time(tmp_path: Path) -> None:
    with serving(tmp_path, ServeOptions(max_waiting=4)) as (desk, client, slow), ThreadPoolExecutor(64) as pool:
        slow.may_go.clear()
        accepted = [pool.submit(check, client, PNG) for _ in range(20)]
        wait_until(lambda: desk.in_hand == 20)
        seconds = []
        for _ in range(20):
            began = time.monotonic()
            answer = check(client, PNG)
            seconds.append(time.monotonic() - began)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert median(seconds) < 0.1  # one may be late where others use the machine too
        slow.may_go.set()
        assert {future.result().status_code for future in accepted} == {200}
        assert check(client, PNG).status_code == 200
    assert desk.in_hand == 0


def test_many_pictures_count_as_many_but_an_idle_service_takes_them(tmp_path: Path) -> None:
    options = ServeOptions(max_waiting=4, max_images=30)
    with serving(tmp_path, options) as (desk, client, slow), ThreadPoolExecutor(4) as pool:
        slow.may_go.clear()
        large = pool.submit(check, client, *[PNG] * 30)
        wait_until(lambda: desk.in_hand == 30)
        assert check(client, PNG).status_code == 429
        slow.may_go.set()
        assert len(large.result().json()["results"]) == 30
        slow.may_go.clear()
        small = pool.submit(check, client, *[PNG] * 10)
        wait_until(lambda: desk.in_hand == 10)
        assert check(client, *[PNG] * 11).status_code == 429
        slow.may_go.set()
        assert small.result().status_code == 200


def test_bulk_fills_half_of_the_room_and_goes_last(tmp_path: Path) -> None:
    with serving(tmp_path, ServeOptions(max_waiting=4)) as (desk, client, slow), ThreadPoolExecutor(32) as pool:
        slow.may_go.clear()
        bulk = [pool.submit(check, client, PNG, priority="u=5, i") for _ in range(10)]
        wait_until(lambda: desk.in_hand == 10)
        assert check(client, PNG, priority="u=7").status_code == 429
        urgent = [pool.submit(check, client, PNG, priority="i, u=2"), pool.submit(check, client, PNG)]
        wait_until(lambda: desk.in_hand == 12)
        slow.may_go.set()
        assert {future.result().status_code for future in bulk + urgent} == {200}


def test_what_takes_longer_than_the_deadline_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, ServeOptions(deadline=0.3)) as (desk, client, slow), ThreadPoolExecutor(8) as pool:
        slow.may_go.clear()
        first = pool.submit(check, client, PNG)
        wait_until(lambda: slow.batches == [1])
        began = time.monotonic()
        late = [pool.submit(check, client, PNG) for _ in range(4)]
        assert {future.result().status_code for future in late} == {429}
        assert time.monotonic() - began < 2
        slow.may_go.set()
        first.result()
        assert check(client, PNG).status_code == 200
    assert slow.batches == [1, 1], "what nobody waits for any more was encoded"
    assert desk.in_hand == 0


def test_nothing_is_done_for_a_client_that_has_gone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serving(tmp_path) as (desk, client, slow), ThreadPoolExecutor(8) as pool:
        slow.may_go.clear()
        first = pool.submit(check, client, PNG)
        wait_until(lambda: slow.batches == [1])
        url = client.base_url
        request = client.build_request("POST", "/v1/check", files={"images": encoded(photo(90, 60))})
        head = b"".join(b"%s: %s\r\n" % pair for pair in request.headers.raw)
        raw = socket.create_connection((url.host, url.port or 0), timeout=10)
        raw.sendall(b"POST /v1/check HTTP/1.1\r\n" + head + b"\r\n" + request.read())
        queue = next(iter(desk.moderator._pipeline._queues.values()))
        wait_until(lambda: len(queue) == 1)
        raw.close()
        stays = pool.submit(check, client, animation("GIF"))
        wait_until(lambda: len(queue) == 9)
        slow.may_go.set()
        assert first.result().status_code == stays.result().status_code == 200
        wait_until(lambda: desk.in_hand == 0)
    assert slow.batches == [1, 8]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_an_encoder_that_fails_fails_those_in_its_batch_and_works_again(tmp_path: Path) -> None:
    with serving(tmp_path) as (_, client, slow):
        slow.error = RuntimeError("the encoder failed")
        answer = check(client, PNG, connection="close")  # uvicorn hangs up after a fault
        assert (answer.status_code, "encoder failed" in answer.text) == (500, False)
        slow.error = None
        assert check(client, PNG).status_code == 200
