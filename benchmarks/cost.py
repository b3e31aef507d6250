"""What a thousand pictures cost: the rate that was measured, and prices from `prices.toml`.

A machine's rate is this machine's, core for core; a vCPU that is one of two threads of a core counts as half of one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.records import Record
from benchmarks.timing import Result

BUSY = (1.0, 0.3)
"""Shares of the day in which the machine has work: always, and what a service with nights and peaks may reach."""

_HOUR = 3600


@dataclass(frozen=True)
class Rented:
    """A machine: $ an hour, and how many cores it has."""

    name: str
    hour: float
    cores: int
    kind: str
    date: str
    source: str

    def thousand(self, core_rate: float, busy: float) -> float:
        """$ for a thousand pictures at so many a second and core, while it has work for a share of the time."""
        return 1000 * self.hour / (_HOUR * core_rate * self.cores * busy)


@dataclass(frozen=True)
class Sold:
    """A service: $ a thousand pictures."""

    name: str
    thousand: float
    date: str
    source: str


def rented() -> list[Rented]:
    """The machines of the data file."""
    return [Rented(**entry) for entry in _prices()["machine"]]


def sold() -> list[Sold]:
    """The services of the data file."""
    return [Sold(**entry) for entry in _prices()["vendor"]]


def core_rates(path: Record, encoder: str, size: str) -> Mapping[str, tuple[Result, float]]:
    """Of each precision the fastest runtime's result, and its pictures a second and core."""
    cores = int(path.machine["cores"].split()[0])
    best: dict[str, Result] = {}
    for result in path.find(encoder=encoder, size=size):
        precision = result.about.get("precision")
        if precision and (precision not in best or result.median < best[precision].median):
            best[precision] = result
    return {precision: (result, 1 / result.median / cores) for precision, result in sorted(best.items(), key=_slowest)}


def _slowest(entry: tuple[str, Result]) -> float:
    return -entry[1].median


@cache
def _prices() -> Mapping[str, list[dict[str, Any]]]:
    found = tomllib.loads((Path(__file__).parent / "prices.toml").read_text())
    return {kind: [{**one, "date": str(one["date"])} for one in entries] for kind, entries in found.items()}
