"""What speed is meant to be, and whether it is: each aim is held against the committed results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.records import Record
from benchmarks.timing import Result, told

_TIMES_THESIS = {"fp32": 2.5, "bf16": 5.0, "int8": 9.0}
_SHARE = 0.8
_ALONE = 1.2  # times what a view takes among eight
_BATCH = 8

_ENCODER, _SIZE = "ViT-B/32", "640 x 480"


@dataclass(frozen=True)
class Aim:
    """Something to reach, and what was reached; None where it was not measured."""

    what: str
    wanted: float
    got: float | None
    unit: str
    at_most: bool = False
    by: str = ""
    """The runtime with which."""

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.got is not None and (self.got <= self.wanted if self.at_most else self.got >= self.wanted)

    def cells(self) -> tuple[str, str, str, str]:
        """What, wanted, got, and whether or by how much not."""
        wanted = f"{'at most' if self.at_most else 'at least'} {told(self.wanted, self.unit)}"
        if self.got is None:
            return (self.what, wanted, "", "not measured")
        verdict = "met" if self.met else f"**missed** by {abs(self.got / self.wanted - 1):.0%}".replace("%", " %")
        return (self.what, wanted, f"{told(self.got, self.unit)}{f' ({self.by})' if self.by else ''}", verdict)


def aims(records: Mapping[str, Record]) -> list[Aim]:
    """All of them, in the order in which they are told."""
    return [
        *(_times_thesis(records, precision, wanted) for precision, wanted in _TIMES_THESIS.items()),
        *(_share(records, precision) for precision in _TIMES_THESIS),
        *(_alone(records, precision) for precision in _TIMES_THESIS),
        _most(records, "start", "start to first verdict, ViT-B/32, prompts cached", 2.0, "s"),
    ]


def _times_thesis(records: Mapping[str, Record], precision: str, wanted: float) -> Aim:
    found = _found(records, "path", encoder=_ENCODER, size=_SIZE, precision=precision)
    best = max(found, key=lambda result: result.ratio or 0, default=None)
    what = f"JPEG of {_SIZE} to probabilities, {_ENCODER}, {precision}: times the thesis's pipeline"
    return Aim(what, wanted, best and best.ratio, "x", by=_runtime(best))


def _share(records: Mapping[str, Record], precision: str) -> Aim:
    """The best runtime at its best batch."""
    found = [
        result for result in _found(records, "encode", encoder=_ENCODER, precision=precision) if result.unit == "share"
    ]
    best = max(found, key=lambda result: result.median, default=None)
    what = f"views to embeddings, {_ENCODER}, {precision}: share of the measured product of matrices"
    by = f"{_runtime(best)}, batch {best.about['batch']}" if best else ""
    return Aim(what, _SHARE, best and best.median, "share", by=by)


def _alone(records: Mapping[str, Record], precision: str) -> Aim:
    """In the runtime that is fastest at batch 8."""
    timed = [
        result for result in _found(records, "encode", encoder=_ENCODER, precision=precision) if result.unit == "s"
    ]
    among = min(_of(timed, batch=_BATCH), key=lambda result: result.median, default=None)
    alone = among and next(iter(_of(timed, batch=1, runtime=among.about["runtime"])), None)
    what = f"a view alone, {_ENCODER}, {precision}: times what it takes in a batch of {_BATCH}"
    return Aim(what, _ALONE, alone and alone.median / among.median, "x", at_most=True, by=_runtime(among))


def _found(records: Mapping[str, Record], benchmark: str, **about: object) -> list[Result]:
    return records[benchmark].find(**about) if benchmark in records else []


def _of(results: Iterable[Result], **about: object) -> list[Result]:
    return [result for result in results if about.items() <= result.about.items()]


def _runtime(result: Result | None) -> str:
    return result.about["runtime"] if result else ""


def _most(records: Mapping[str, Record], benchmark: str, what: str, wanted: float, unit: str) -> Aim:
    """The median of the result of this name."""
    results = records[benchmark].results if benchmark in records else []
    got = next((result.median for result in results if result.what == what), None)
    return Aim(what, wanted, got, unit, at_most=True)
