"""Everything there is to measure so far, as one table.

Each comparison alternates its sides within one run and is told as a median with its quartiles: machines are noisy, and
a ratio taken in the same minute says more than two numbers from different days. Weights are random, of ViT-B/32's size:
speed does not depend on their values.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import again, bulk, decode, encode, heads, path, start, weights
from benchmarks.timing import Result


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=12, help="how often each side is timed")
    parser.add_argument("--json", type=Path, help="write the results here as well")
    options = parser.parse_args()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = weights.vit_b_32(Path(folder) / "vit-b-32")
        for measure in (
            start.measure,
            decode.measure,
            encode.measure,
            bulk.measure,
            path.measure,
            again.measure,
            heads.measure,
        ):
            results += measure(checkpoint, options.rounds)
    Console().print(_table(results))
    if options.json:
        facts = {"machine": _machine(), "results": [result.facts() for result in results]}
        options.json.write_text(json.dumps(facts, indent=2) + "\n")


def _table(results: list[Result]) -> Table:
    table = Table(title=" · ".join(f"{key} {value}" for key, value in _machine().items()), box=None)
    for column in ("what", "median", "quartiles", "against", "ratio"):
        table.add_column(column)
    for result in results:
        table.add_row(*result.row())
    return table


def _machine() -> dict[str, str]:
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "Python": platform.python_version(),
        **{name: version(name) for name in ("onnxruntime", "pillow", "numpy", "torch", "transformers")},
    }


if __name__ == "__main__":
    main()
