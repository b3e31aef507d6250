"""What `moderato bench` measured, kept in `bench.json` in the data folder, and what `auto` makes of it.

An entry is of one encoder, by the very files it is made of, on one processor with so many threads. Another processor,
other weights or other graphs of ours: it is as if it had not been measured. Which version of a runtime was measured
stands in each row, and is compared when that runtime is loaded.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from moderato.bench.gate import Comparison
from moderato.bench.proc import table
from moderato.bench.worker import Memory
from moderato.files import replacing
from moderato.types import Precision

_LOG = logging.getLogger(__name__)
MADE = "2"
"""Raise the number when the graphs of a runtime change, or what is measured: older entries are then not used."""
_KEPT = 50
_WORTH = 1.05
"""Times as fast as the exact way, at least: what is less may be chance, and is not worth any difference."""


@dataclass(frozen=True)
class Machine:
    """What decides how fast an encoder is, beside the versions of the runtimes."""

    processor: str
    threads: int


@dataclass(frozen=True)
class Speed:
    """A cell: so many views a call. Seconds a view: median of the rounds and quartiles.

    `ratio`: how many times as fast as the exact way, round by round in turns with it; the median.
    """

    batch: int
    seconds: float
    low: float
    high: float
    ratio: float


@dataclass(frozen=True)
class Row:
    """One way of running the encoder. `why_not` is a sentence where it could not be measured or does not pass."""

    runtime: str
    precision: Precision
    version: str = ""
    speeds: tuple[Speed, ...] = ()
    memory: Memory | None = None
    compared: Comparison | None = None
    why_not: str | None = None

    @property
    def name(self) -> str:
        """As people call it."""
        return f"{self.runtime} {self.precision}"

    @property
    def ratio(self) -> float:
        """How many times as fast as the exact way: the geometric mean over the batches, so that each counts alike."""
        product = 1.0
        for speed in self.speeds:
            product *= speed.ratio
        return product ** (1 / len(self.speeds)) if self.speeds else 0.0


@dataclass(frozen=True)
class Entry:
    """All that was measured of one encoder, where, when, and by which pictures and policy.

    `ranges`: the digest of what int8 was calibrated to, empty where it was not: with other ranges it is another int8.
    `absent`: runtimes that could not be used, and why.
    """

    encoder: str
    space: str
    machine: Machine
    made: str
    when: str
    policy: str
    place: str | None
    pictures: int
    calibrated_by: int
    ranges: str
    rows: tuple[Row, ...]
    absent: dict[str, str]
    choice: str = ""
    why: str = ""

    @property
    def key(self) -> str:
        """What another measurement replaces it by."""
        return sha256(repr((self.space, self.machine)).encode()).hexdigest()

    @property
    def chosen(self) -> Row:
        """What `auto` takes."""
        return best(self.rows)

    def decided(self) -> Entry:
        """The same, saying what `auto` takes and why."""
        return replace(self, choice=self.chosen.name, why=_why(self.chosen, self))

    def stale(self, machine: Machine) -> str | None:
        """Why it says nothing about this machine and these graphs, as part of a sentence; None when it does."""
        if self.machine != machine:
            return "it was measured on another machine, or with other threads"
        return None if self.made == MADE else "it was measured by another version of moderato"


def best(rows: Sequence[Row], runtime: str = "auto", precision: str = "auto") -> Row:
    """The fastest row that passes; the first, which is the exact way, where none is faster by much.

    A `runtime` or a `precision` that is named limits them; one that passes is then taken before one that does not, for
    whoever names a precision wants it. Raises `LookupError` where there is none.
    """
    named = [row for row in rows if runtime in ("auto", row.runtime) and precision in ("auto", row.precision)]
    passing = [row for row in named if row.why_not is None]
    if not passing and precision != "auto":
        passing = [row for row in named if row.speeds]
    if not passing:
        raise LookupError
    fastest = max(passing, key=lambda row: row.ratio)
    exact = rows[0]
    return exact if exact in passing and fastest.ratio < _WORTH else fastest


def _why(choice: Row, entry: Entry) -> str:
    """Why this row, in sentences."""
    others = [row for row in entry.rows if row.ratio > choice.ratio and row.why_not]
    if choice == entry.rows[0]:
        said = [f"{choice.name} is exact, and nothing that passes is {_WORTH - 1:.0%} faster."]
    else:
        said = [f"{choice.name} is {choice.ratio:.2f} times as fast as {entry.rows[0].name} and passes."]
    return " ".join([*said, *(f"{row.name} is faster, but {row.why_not}" for row in others)])


def keep(file: Path, entries: Iterable[Entry]) -> None:
    """Add entries to the file; each replaces the one of the same encoder on the same machine.

    Raises `OSError` when it cannot be written.
    """
    fresh = {entry.key: entry for entry in entries}
    kept = [entry for entry in read(file) if entry.key not in fresh]
    values = [asdict(entry) for entry in [*kept, *fresh.values()][-_KEPT:]]
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.write_text(json.dumps(values, indent=1), "utf-8")


def read(file: Path) -> list[Entry]:
    """All entries; none of a file that is missing or damaged."""
    try:
        stored = file.read_bytes()  # most have none, and a validator takes longer to build than that to be seen
        return TypeAdapter(list[Entry]).validate_json(stored)
    except FileNotFoundError:
        return []
    except (OSError, ValidationError) as error:
        _LOG.warning("%s cannot be read (%s); 'moderato bench' writes it anew.", file, type(error).__name__)
        return []


def find(entries: Sequence[Entry], encoder: str, space: str, machine: Machine) -> Entry | str:
    """The entry of an encoder here, or why there is none, as part of a sentence.

    `space`: what the encoder's caches know it by.
    """
    why = "it was never measured here"
    for entry in entries:
        if entry.space == space:
            stale = entry.stale(machine)
            if stale is None:
                return entry
            why = stale
        elif entry.encoder == encoder:
            why = "it was measured with other weights"
    return why


@cache
def processor() -> str:
    """What the processor is called, and a digest of what it can do."""
    facts = table(Path("/proc/cpuinfo"))
    if features := facts.get("flags") or facts.get("Features"):
        name = facts.get("model name") or platform.machine()
        return f"{name} ({sha256(features.encode()).hexdigest()[:8]})"
    return platform.processor() or platform.machine()
