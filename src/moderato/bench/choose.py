"""Which runtime, in which precision, an encoder is opened with: what the settings name, or what was measured here.

settings           where `moderato bench` measured it here          where it did not
------------------------------------------------------------------------------------------------
auto, auto         the fastest that passes the gate                 onnx, fp32: exact, and always there
a runtime, auto    the fastest precision of it that passes          that runtime, fp32
auto, a precision  the fastest runtime in it                        the first runtime that offers it here
both               they are, measured or not
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Literal

from moderato import plugins
from moderato.bench.record import Entry, Machine, Row, best, find, processor, read
from moderato.encoders import Ranges
from moderato.errors import ExecutionError, MissingExtra
from moderato.types import Precision

AUTO: Literal["auto"] = "auto"
EXACT: tuple[str, Precision] = ("onnx", "fp32")
"""What all is measured against: in the base install, and exact."""
Wanted = Literal["auto", Precision]
"""What the setting may say."""
RUNTIMES = "moderato.encoders"
"""The package whose plugins are runtimes."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Execution:
    """How an encoder is run, and why so, as part of a sentence."""

    runtime: str
    precision: Precision
    why: str


@dataclass(frozen=True)
class Choices:
    """What is known of this machine in the data folder, and what the settings `runtime` and `precision` make of it."""

    data: Path
    threads: int
    runtime: str
    precision: Wanted

    @property
    def file(self) -> Path:
        """What was measured."""
        return self.data / "bench.json"

    def execution(self, encoder: str, space: Callable[[], str]) -> Execution:
        """How to run an encoder. `space`: what its caches know it by, asked for where it counts.

        What was measured with another version of its runtime is not used; nor is anything of another machine or of
        other weights. That is said once in the log. Raises `ExecutionError` when no runtime here offers the precision.
        """
        if self.runtime != AUTO and self.precision != AUTO:
            return Execution(self.runtime, self.precision, "as the settings say")
        entries = read(self.file)
        if not entries:
            return self._unmeasured("nothing was measured here")
        found = find(entries, encoder, space(), Machine(processor(), self.threads))
        if isinstance(found, str):
            return self._unmeasured(_said(f"'{encoder}': {found}"))
        try:
            row = best(found.rows, self.runtime, self.precision)
        except LookupError:
            return self._unmeasured(f"nothing that the settings allow was measured for '{encoder}'")
        if outdated := self._outdated(row):
            return self._unmeasured(_said(f"'{encoder}': {outdated}"))
        return Execution(row.runtime, row.precision, f"as 'moderato bench' measured on {found.when[:10]}")

    def measured(self) -> list[tuple[Entry, str | None]]:
        """What was measured, and why it is not used where it is not; whether weights are the same is not looked at."""
        here = Machine(processor(), self.threads)
        return [(entry, entry.stale(here) or self._outdated(entry.chosen)) for entry in read(self.file)]

    def _outdated(self, row: Row) -> str | None:
        return None if version_of(row.runtime) == row.version else f"it was measured with {row.version}"

    def _unmeasured(self, why: str) -> Execution:
        """What is run where nothing was measured."""
        if self.precision == AUTO:
            return Execution(EXACT[0] if self.runtime == AUTO else self.runtime, EXACT[1], why)
        first = next((name for name in _runtimes() if self.precision in offered(name)), None)
        if first is None:
            raise ExecutionError(
                f"No runtime that is installed here offers {self.precision} on this machine. "
                "'moderato doctor' lists them."
            )
        return Execution(first, self.precision, why)

    def ranges(self, space: str) -> Ranges | None:
        """What int8 is chosen by, where it was measured for this encoder. Raises `WeightsError` for a damaged file."""
        file = self._ranges_file(space)
        return Ranges.read(file) if file.exists() else None

    def keep_ranges(self, ranges: Ranges) -> None:
        """Keep them. Raises `WeightsError` when they cannot be written."""
        file = self._ranges_file(ranges.space)
        with suppress(OSError):  # saving says what is wrong
            file.parent.mkdir(parents=True, exist_ok=True)
        ranges.save(file)

    def _ranges_file(self, space: str) -> Path:
        return self.data / "ranges" / f"{sha256(space.encode()).hexdigest()[:16]}.npz"


def _runtimes() -> list[str]:
    """All runtimes, the one of the base install first."""
    return sorted(plugins.names(RUNTIMES), key=lambda name: (name != EXACT[0], name))


def offered(runtime: str) -> tuple[str, ...]:
    """The precisions that a runtime offers on this machine; none where it is not installed."""
    try:
        return tuple(plugins.load(RUNTIMES, runtime).precisions())
    except MissingExtra:
        return ()


def version_of(runtime: str) -> str:
    """What a runtime says it is; nothing where it cannot be loaded."""
    try:
        return str(plugins.load(RUNTIMES, runtime).VERSION)
    except Exception:  # noqa: BLE001  not installed, or a library that fails in ways of its own: there is another
        return ""


@cache
def _said(why: str) -> str:
    """Log, once, that a measurement is not used."""
    _LOG.warning("What was measured is not used: %s. 'moderato bench' measures again.", why)
    return why
