"""One benchmark, in this process: `python -m benchmarks.one path`."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import records, weights
from benchmarks.plan import QUICK, ROUNDS
from benchmarks.records import RESULTS, Record
from benchmarks.timing import Result


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.one", description=__doc__)
    parser.add_argument("name", choices=ROUNDS)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rounds, with the small weights alone")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where they are written")
    parser.add_argument("--weights", type=Path, help="a folder that keeps the random weights for the next time")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results = _measure(options.name, options.weights or Path(folder), quick=options.quick)
    command = f"python -m benchmarks.one {options.name}{' --quick' if options.quick else ''}"
    record = records.measured(options.name, command, results, quick=options.quick)
    record.write(options.results)
    Console().print(_table(record, time.monotonic() - began))


def _measure(name: str, folder: Path, *, quick: bool) -> list[Result]:
    measure: Callable[[Path, int], list[Result]] = import_module(f"benchmarks.{name}").measure
    sizes = {"vit-b-32": QUICK} if quick else ROUNDS[name]
    return [result for size, rounds in sizes.items() for result in measure(weights.checkpoint(folder, size), rounds)]


def _table(record: Record, seconds: float) -> Table:
    table = Table(title=f"{record.benchmark}, {seconds:.0f} s", box=None, title_justify="left")
    for column in ("what", "median", "quartiles", "against", "compared"):
        table.add_column(column)
    for result in record.results:
        table.add_row(*result.row())
    return table


if __name__ == "__main__":
    main()
