"""Pictures sent to a service from a process of its own, by aiohttp, and what came back."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from multiprocessing import get_context

import aiohttp

MOST = 32
"""Connections of a side that asks for no more than it is answered."""


@dataclass(frozen=True)
class Load:
    """What came back: (seconds, status) of each request, how long it all took, and the generator's processor time.

    `began` is by `perf_counter`, a clock that the processes of a Linux machine share.
    """

    answers: list[tuple[float, int]]
    seconds: float
    processor: float
    began: float

    def latencies(self, *statuses: int) -> list[float]:
        """Those of the answers with one of the statuses, in seconds."""
        return [seconds for seconds, status in self.answers if status in statuses]

    @property
    def rate(self) -> float:
        """Pictures that were judged a second."""
        return len(self.latencies(200)) / self.seconds


def asked(url: str, files: list[bytes], requests: int, rate: float | None = None, at_a_time: int = MOST) -> Load:
    """Send so many pictures: so many a second, answered or not; without a rate each when another was answered."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_load, (url, files, requests, rate, at_a_time))


def unique(files: list[bytes], mark: str, number: int) -> bytes:
    """One of the files with a few bytes after its end, which decoders pass over."""
    return files[number % len(files)] + mark.encode()


def _load(url: str, files: list[bytes], requests: int, rate: float | None, at_a_time: int) -> Load:
    used, began = time.process_time(), time.perf_counter()
    answers, seconds = asyncio.run(_answers(url, files, requests, rate, at_a_time))
    return Load(answers, seconds, time.process_time() - used, began)


async def _answers(
    url: str, files: list[bytes], requests: int, rate: float | None, at_a_time: int
) -> tuple[list[tuple[float, int]], float]:
    turns = asyncio.Semaphore(at_a_time if rate is None else requests)
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number: int) -> tuple[float, int]:
            async with turns:
                return await _answer(session, unique(files, f"{os.getpid()} {number}", number))

        began = time.perf_counter()
        tasks = []
        for number in range(requests):
            if rate is not None:
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(ask(number)))
        return await asyncio.gather(*tasks), time.perf_counter() - began


async def _answer(session: aiohttp.ClientSession, picture: bytes) -> tuple[float, int]:
    """Seconds and status, 0 where there was none."""
    form = aiohttp.FormData()
    form.add_field("images", picture, filename="a.jpg")
    began = time.perf_counter()
    try:
        async with session.post("/v1/check", data=form) as answer:
            await answer.read()
            return time.perf_counter() - began, answer.status
    except aiohttp.ClientError:
        return time.perf_counter() - began, 0
