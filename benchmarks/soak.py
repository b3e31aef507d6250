"""Hours of mixed load, and the server's memory meanwhile: `python -m benchmarks.soak --minutes 60`.

Pictures of many sizes and formats, broken ones and bombs, by several routes and dialects, a few clients that leave in
the middle. The memory of the server and of its processes is written down every few seconds; `python -m
benchmarks.report` draws it. It fails when memory grew: when the floor of the last quarter is more than `--growth` MB
above that of the second quarter (the first fills what is bounded: caches, heaps). Embeddings of pictures are kept in
4 MiB here, a bound that is soon reached.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import aiohttp
import psutil

from benchmarks import mixture, records, weights
from benchmarks.records import RESULTS
from benchmarks.service import memory, served, write_policy
from benchmarks.timing import Result

_CLIENTS = 6
_FILES = 160
_EVERY = 5.0  # seconds between two looks at the memory
_LEAVES = 0.02  # clients that do not wait for their answer
_NEW = 0.02  # labels that nobody has written before
_SETTINGS = {"MODERATO_CACHE__MAX_MEMORY": str(4 * 2**20)}
_WORDS = ("cat", "dog", "house", "knife", "tree", "boat", "cup", "lamp", "horse", "car", "ball", "hat")


def main() -> None:
    """Load, look, draw, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=4, help="requests a second")
    parser.add_argument("--encoder", help="a card or a folder; random weights of ViT-B/32's size without it")
    parser.add_argument("--growth", type=float, default=10, help="MB that it may grow, for noise")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where they are written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = write_policy(folder, options.encoder or weights.checkpoint(folder, "vit-b-32"))
        with served(policy, folder / "data", _SETTINGS) as (url, process):
            looks, answers = asyncio.run(_soak(url, process, options.minutes * 60, options.rate))
            faults = [line for line in (folder / "data" / "server.log").open() if '"level": "error"' in line]
    results = told(looks, answers, len(faults))
    command = f"python -m benchmarks.soak --minutes {options.minutes:g} --rate {options.rate:g}"
    records.measured("soak", command, results).write(options.results)
    for result in results:
        print(*result.row())
    print(*faults[:10])
    grown = max(result.values[0] for result in results if result.about["soak"] == "grown" and result.unit == "MB")
    if faults or grown > options.growth:
        sys.exit("memory grew, or something went wrong")


def told(looks: Sequence[Mapping[str, float]], answers: Mapping[str, int], faults: int) -> list[Result]:
    """What is kept: the memory at each look, how much it grew, and how many answers of each kind there were."""
    who = [name for name in looks[0] if name != "seconds"]
    return [
        Result("seconds since the start", [look["seconds"] for look in looks], about={"soak": "clock"}),
        *(Result(name, [look[name] for look in looks], unit="MB", about={"soak": "memory"}) for name in who),
        *(
            Result(
                f"floor of the memory of {name}, last quarter against the second",
                [_growth([look[name] for look in looks])],
                unit="MB",
                about={"soak": "grown"},
            )
            for name in who
        ),
        Result("errors in the log", [faults], unit="", about={"soak": "grown"}),
        *(Result(what, [count], unit="answers", about={"soak": "answers"}) for what, count in sorted(answers.items())),
    ]


async def _soak(
    url: str, process: psutil.Process, seconds: float, rate: float
) -> tuple[list[dict[str, float]], Counter[str]]:
    looks: list[dict[str, float]] = []
    answers: Counter[str] = Counter()
    began = time.monotonic()
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(url, timeout=timeout) as session:
        clients = [
            asyncio.create_task(_client(session, Random(n), answers, began + seconds, _CLIENTS / rate))
            for n in range(_CLIENTS)
        ]
        while time.monotonic() < began + seconds:
            looks.append({"seconds": round(time.monotonic() - began, 1), **memory(process)})
            await asyncio.sleep(min(_EVERY, seconds / 60))
        await asyncio.gather(*clients)
    return looks, answers


async def _client(
    session: aiohttp.ClientSession, random: Random, answers: Counter[str], end: float, pause: float
) -> None:
    """Ask, wait, ask again; what it asks is drawn by lot."""
    files = mixture.files(_FILES // _CLIENTS, random.randrange(2**31))
    while time.monotonic() < end:
        began = time.monotonic()
        path, body = _request(random, files)
        timeout = aiohttp.ClientTimeout(total=random.uniform(0.005, 0.1) if random.random() < _LEAVES else 120)
        try:
            async with session.request("POST" if body else "GET", path, timeout=timeout, **body) as answer:
                await answer.read()
                answers[f"{path.split('?')[0]} {answer.status}"] += 1
        except TimeoutError:
            answers["left"] += 1
        except aiohttp.ClientError as error:
            answers[f"{path.split('?')[0]} {type(error).__name__}"] += 1
        with suppress(ValueError):
            await asyncio.sleep(began + pause * random.uniform(0.5, 1.5) - time.monotonic())


def _request(random: Random, files: list[bytes]) -> tuple[str, dict[str, object]]:
    """A path, and what is sent there."""
    pictures = [_fresh(random, random.choice(files)) for _ in range(random.choice((1, 1, 1, 1, 2, 4)))]
    labels = ", ".join(f"a {_word(random)}" for _ in range(random.randrange(1, 5)))
    encoded = [base64.b64encode(picture).decode() for picture in pictures]
    match random.randrange(12):
        case 0 | 1 | 2 | 3 | 4:
            return "/v1/check", {"data": _form(pictures)}
        case 5:
            return "/v1/classify", {"data": _form(pictures[:1], labels=labels)}
        case 6:
            return "/v1/embed", {"data": _form(pictures)}
        case 7 | 8:
            image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded[0]}"}}
            return "/v1/moderations", {"json": {"model": "omni-moderation-latest", "input": [image]}}
        case 9:
            return "/v1/images:annotate", {
                "json": {
                    "requests": [
                        {"image": {"content": one}, "features": [{"type": "SAFE_SEARCH_DETECTION"}]} for one in encoded
                    ]
                }
            }
        case 10:
            target = {"X-Amz-Target": "RekognitionService.DetectModerationLabels"}
            headers = {**target, "Content-Type": "application/x-amz-json-1.1"}
            return "/", {"data": json.dumps({"Image": {"Bytes": encoded[0]}}), "headers": headers}
        case _:
            return random.choice(("/metrics", "/healthz", "/v1/policies", "/nothing")), {}


def _fresh(random: Random, picture: bytes) -> bytes:
    """Mostly bytes that nobody has seen: a number after the picture's end, which decoders pass over."""
    return picture if random.random() < 0.1 or not picture else picture + random.randbytes(8)


def _word(random: Random) -> str:
    """One of a few, and now and then one that no cache knows: the text tower opens for it, and closes again."""
    return f"thing {random.randrange(10**6)}" if random.random() < _NEW else random.choice(_WORDS)


def _form(pictures: list[bytes], **more: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for picture in pictures:
        form.add_field("images", picture, filename="picture")
    for name, value in more.items():
        form.add_field(name, value)
    return form


def _growth(megabytes: Sequence[float]) -> float:
    """From the second quarter's floor to the last one's, their lowest tenth.

    The text tower opens and closes, a few hundred MB each time: medians tell how long it was open, floors what stays.
    """
    quarter = len(megabytes) // 4
    return round(_floor(megabytes[-quarter:]) - _floor(megabytes[quarter : 2 * quarter]), 1)


def _floor(megabytes: Sequence[float]) -> float:
    return sorted(megabytes)[len(megabytes) // 10]


if __name__ == "__main__":
    main()
