"""Runs side by side: what they share, how they take turns, and how they end early."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest

from moderato.assemble import Workshop
from moderato.errors import Overloaded
from moderato.media import Limits, Prepared, prepare
from moderato.moderator import Moderator
from moderato.settings import Settings
from moderato.turns import Ticket, current_ticket, on_behalf_of
from moderato.types import Rows, Source, Verdict, Views, ViewSpec
from pictures import encoded, photo
from servers import wait_until


def pictures(count: int, first: int = 0) -> list[Source]:
    return [Source(encoded(photo(64, 48, seed)), f"{seed}.png") for seed in range(first, first + count)]


class House:
    """A moderator whose `prepare` and encoder tell what they do, and wait while their gates are shut."""

    def __init__(self, folder: Path) -> None:
        workshop = Workshop(Settings(data=folder, rows=8, threads=1))
        built = workshop.moderator("demo")
        self.moderator = Moderator(
            built.policy, workshop.encoder, workshop.head, lambda name: (), threads=1, rows=8, prepare=self.prepare
        )
        encoder = self.moderator.encoder("tiny")
        self.moderator.ready(built.policy)
        self._project: Callable[[Views], Rows] = encoder.project
        encoder.project = self.project  # type: ignore[method-assign]
        self.prepared: list[bytes] = []
        self.batches: list[int] = []
        self.may_prepare, self.may_encode = threading.Event(), threading.Event()
        self.may_prepare.set()
        self.may_encode.set()
        self.error: Exception | None = None

    def prepare(self, data: bytes, needs: Iterable[ViewSpec], limits: Limits) -> Prepared:
        self.prepared.append(data)
        assert self.may_prepare.wait(20)
        return prepare(data, needs, limits)

    def project(self, views: Views) -> Rows:
        self.batches.append(len(views))
        assert self.may_encode.wait(20)
        if self.error:
            raise self.error
        return self._project(views)

    def check(self, sources: list[Source], ticket: Ticket | None = None) -> list[Verdict]:
        with on_behalf_of(ticket or Ticket()):
            return list(self.moderator.check_many(sources))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_runs_in_several_threads_share_calls_of_the_encoder(house: House) -> None:
    with ThreadPoolExecutor(8) as pool:
        house.may_encode.clear()
        asked = [pool.submit(house.check, pictures(1, n)) for n in range(7)]
        wait_until(lambda: len(house.prepared) == 7)
        queue = next(iter(house.moderator._pipeline._queues.values()))
        wait_until(lambda: sum(house.batches) + len(queue) == 7)
        house.may_encode.set()
        assert [future.result()[0].source for future in asked] == [f"{n}.png" for n in range(7)]
    assert len(house.batches) == 2


def test_a_run_of_many_pictures_lets_others_be_prepared_in_between(house: House) -> None:
    house.may_prepare.clear()
    many, few = pictures(40), pictures(1, 100)
    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(house.check, many)
        wait_until(lambda: len(house.prepared) == 1)
        small = pool.submit(house.check, few)
        time.sleep(0.1)
        house.may_prepare.set()
        assert small.result()[0].source == "100.png"
        assert [verdict.source for verdict in large.result()] == [source.name for source in many]
    # Behind what the threads had in hand; those that wait for a core may overtake one another by a few.
    assert house.prepared.index(few[0].data) <= 30, "not behind all 40"


def test_nothing_is_begun_for_a_ticket_of_no_use(house: House) -> None:
    with pytest.raises(CancelledError):
        house.check(pictures(3), Ticket(left=True))
    with pytest.raises(Overloaded):
        house.check(pictures(3), Ticket(deadline=time.monotonic() - 1))
    assert (house.prepared, house.batches) == ([], [])


def test_a_deadline_holds_while_pictures_are_prepared(house: House) -> None:
    house.may_prepare.clear()
    began = time.monotonic()
    with pytest.raises(Overloaded):
        house.check(pictures(5), Ticket(deadline=began + 0.2))
    assert time.monotonic() - began < 2
    house.may_prepare.set()
    assert house.check(pictures(1))[0].scores
    assert len(house.prepared) == 2, "the others of the late run were prepared all the same"


def test_an_encoder_that_fails_fails_one_run_and_serves_the_next(house: House) -> None:
    house.error = RuntimeError("no memory")
    with pytest.raises(RuntimeError, match="no memory"):
        house.check(pictures(2))
    house.error = None
    assert [bool(verdict.scores) for verdict in house.check(pictures(2))] == [True, True]


def test_who_sets_no_ticket_is_urgent_and_has_all_the_time() -> None:
    assert (current_ticket().bulk, current_ticket().left_over) == (False, float("inf"))
    ticket = Ticket(bulk=True)
    with on_behalf_of(ticket):
        assert current_ticket() is ticket
    assert current_ticket() is not current_ticket()
