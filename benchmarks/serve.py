"""The service under load: `python -m benchmarks.serve`.

What it does over HTTP as a share of what the library does in process, taken in turns; then several times what it can
answer, for a while. The server is `moderato serve` with its default settings. The load comes from aiohttp in a process
of its own, which shares the cores with the server; what it takes of them is measured and told. Weights are random, of
ViT-B/32's size. Every request is a picture of its own bytes, so that nothing can be kept.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import psutil

from benchmarks import weights
from benchmarks.load import asked, unique
from benchmarks.pictures import jpeg
from benchmarks.service import memory, processor, served, write_policy
from moderato.assemble import Workshop
from moderato.moderator import Moderator
from moderato.settings import Settings

_SIZE = (640, 480)
_FILES = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each side is timed")
    parser.add_argument("--pictures", type=int, default=96, help="pictures in a round")
    parser.add_argument("--overload", type=float, default=60, help="seconds of overload")
    parser.add_argument("--times", type=float, default=5, help="what is asked, in times of what can be answered")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy = write_policy(folder, weights.vit_b_32(folder / "vit-b-32"))
        library = Workshop(Settings(data=folder / "data")).moderator(policy)
        library.warm_up()
        with served(policy, folder / "data") as (url, process):
            shares = share(library, url, files, process, options.rounds, options.pictures)
            rate = median(served.rate for _, served in shares)
            facts = {
                "cores": len(os.sched_getaffinity(0)),
                "library": [asdict(own) for own, _ in shares],
                "service": [asdict(served) for _, served in shares],
                "share": median(served.rate / own.rate for own, served in shares),
                "share, by what a picture takes of a core": median(
                    own.processor / served.processor for own, served in shares
                ),
                **overload(url, files, process, rate, options.times, options.overload),
            }
    print(json.dumps(facts, indent=2))
    if options.json:
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


@dataclass(frozen=True)
class Side:
    """Pictures a second, and what one of them took of a core, which tells more where others use the machine too."""

    rate: float
    processor: float


def share(
    library: Moderator, url: str, files: list[bytes], process: psutil.Process, rounds: int, pictures: int
) -> list[tuple[Side, Side]]:
    """In process and over HTTP, in turns; the first round warms up and does not count."""
    rates = []
    for turn in range(rounds + 1):
        began, used = time.perf_counter(), time.process_time()
        verdicts = list(library.check_many(unique(files, f"{turn} {n}", n) for n in range(pictures)))
        own = Side(len(verdicts) / (time.perf_counter() - began), (time.process_time() - used) / pictures)
        used = processor(process)
        load = asked(url, files, pictures, None)
        assert len(load.latencies(200)) == pictures, {status for _, status in load.answers}
        if turn:
            rates.append((own, Side(load.rate, (processor(process) - used) / pictures)))
    return rates


def overload(
    url: str, files: list[bytes], process: psutil.Process, rate: float, times: float, seconds: float
) -> dict[str, object]:
    """Ask for several times the rate that can be answered, and what became of it."""
    before = memory(process)
    load = asked(url, files, int(rate * times * seconds), rate * times)
    after = memory(process)
    well = asked(url, files, 48, None)
    accepted, refused = load.latencies(200), load.latencies(429)
    others = {status for _, status in load.answers} - {200, 429}
    return {
        "asked a second": rate * times,
        "goodput, as a share of the rate": load.rate / rate,
        "accepted": len(accepted),
        "accepted, seconds": _spread(accepted),
        "refused": len(refused),
        "refused, seconds": _spread(refused),
        "other statuses": sorted(others),
        "generator, share of all cores": load.processor / load.seconds / len(os.sched_getaffinity(0)),
        "memory before, MB": before,
        "memory after, MB": after,
        "afterwards: pictures a second, as a share of the rate": well.rate / rate,
    }


def _spread(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {"p50": round(cuts[49], 4), "p99": round(cuts[98], 4), "max": round(max(seconds), 4)}


if __name__ == "__main__":
    main()
