"""What speed is meant to be, and whether it is: each aim is held against the committed results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from benchmarks.records import Record
from benchmarks.timing import Result, told

_TIMES_THESIS = {"fp32": 2.5, "bf16": 5.0, "int8": 9.0}
_SHARE = 0.8
_ALONE = 1.2  # times what a view takes among eight
_BATCH, _MOST = 8, 16  # `rows` is 16 unless it is set
_CREDIBLE = 1.05  # of a product of matrices: more is only reached when something else slowed the product

_ROUNDED = 0.01  # what is missed by less is not missed by nothing

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
        return (
            self.got is not None
            and not self.disturbed
            and (self.got <= self.wanted if self.at_most else self.got >= self.wanted)
        )

    @property
    def disturbed(self) -> bool:
        """Whether it cannot be true: the machine had other work in the one half of the comparison."""
        return self.unit == "share" and self.got is not None and self.got > _CREDIBLE

    def cells(self) -> tuple[str, str, str, str]:
        """What, wanted, got, and whether or by how much not."""
        wanted = f"{'at most' if self.at_most else 'at least'} {told(self.wanted, self.unit)}"
        if self.got is None:
            return (self.what, wanted, "", "not measured")
        short = abs(self.got / self.wanted - 1)
        by = f"{short:.0%}" if short >= _ROUNDED else f"less than {_ROUNDED:.0%}"
        missed = "not credible, disturbed" if self.disturbed else f"**missed** by {by}"
        verdict = "met" if self.met else missed.replace("%", " %")
        return (self.what, wanted, f"{told(self.got, self.unit)}{f' ({self.by})' if self.by else ''}", verdict)


def aims(records: Mapping[str, Record]) -> list[Aim]:
    """All of them, in the order in which they are told."""
    return [
        *(_times_thesis(records, precision, wanted) for precision, wanted in _TIMES_THESIS.items()),
        *(_share(records, precision) for precision in _TIMES_THESIS),
        *(_alone(records, precision) for precision in _TIMES_THESIS),
        _most(records, "start", "start to first verdict, ViT-B/32, prompts cached", 2.0, "s"),
        _most(records, "memory", "service, onnx fp32, after 200 pictures, server", 600.0, "MB"),
        _most(records, "memory", "on the disk, the base installation", 260.0, "MB"),
    ]


def _times_thesis(records: Mapping[str, Record], precision: str, wanted: float) -> Aim:
    found = _found(records, "path", encoder=_ENCODER, size=_SIZE, precision=precision)
    best = max(found, key=lambda result: result.ratio or 0.0, default=None)
    what = f"JPEG of {_SIZE} to probabilities, {_ENCODER}, {precision}: times the thesis's pipeline"
    return Aim(what, wanted, best and best.ratio, "x", by=_runtime(best))


def _share(records: Mapping[str, Record], precision: str) -> Aim:
    found = _found(records, "encode", encoder=_ENCODER, precision=precision, batch=_MOST)
    best = _fastest(found)
    share = best and next(result for result in found if result.unit == "share" and _runtime(result) == _runtime(best))
    what = f"views to embeddings in batches of {_MOST}, {_ENCODER}, {precision}: share of the product of matrices"
    return Aim(what, _SHARE, share and share.median, "share", by=_runtime(best))


def _alone(records: Mapping[str, Record], precision: str) -> Aim:
    """In the runtime that is fastest among several."""
    among = _fastest(_found(records, "encode", encoder=_ENCODER, precision=precision, batch=_BATCH))
    alone = among and _fastest(
        _found(records, "encode", encoder=_ENCODER, precision=precision, batch=1, runtime=_runtime(among))
    )
    what = f"a view alone, {_ENCODER}, {precision}: times what it takes in a batch of {_BATCH}"
    got = alone and among and median(one / of for one, of in zip(alone.values, among.values, strict=True))
    return Aim(what, _ALONE, got, "x", at_most=True, by=_runtime(among))


def _found(records: Mapping[str, Record], benchmark: str, **about: object) -> list[Result]:
    return records[benchmark].find(**about) if benchmark in records else []


def _fastest(results: Iterable[Result]) -> Result | None:
    return min((result for result in results if result.unit == "s"), key=lambda result: result.median, default=None)


def _runtime(result: Result | None) -> str:
    return result.about["runtime"] if result else ""


def _most(records: Mapping[str, Record], benchmark: str, what: str, wanted: float, unit: str) -> Aim:
    """The median of the result of this name."""
    results = records[benchmark].results if benchmark in records else []
    got = next((result.median for result in results if result.what == what), None)
    return Aim(what, wanted, got, unit, at_most=True)
