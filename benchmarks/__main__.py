"""Measure this machine: everything, or what is named. `python -m benchmarks`, `python -m benchmarks path encode`.

Each comparison alternates its sides within one run and is told as a median with its quartiles: machines are noisy, and
a ratio taken in the same minute says more than two numbers from different days. Each benchmark has a process of its
own, so that what one leaves in memory does not burden the next. Weights are random, of real sizes: speed does not
depend on their values. Results go to `benchmarks/results`, and docs/performance.md is made of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile

from benchmarks import report
from benchmarks.plan import ROUNDS


def main() -> None:
    """Measure, write, render, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(ROUNDS)}")
    parser.add_argument("--quick", action="store_true", help="a few minutes: few rounds, with the small weights alone")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ROUNDS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(ROUNDS)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or ROUNDS:
            command = [sys.executable, "-m", "benchmarks.one", name, "--weights", folder]
            subprocess.run([*command, *(["--quick"] if options.quick else [])], check=True)
    report.main()


if __name__ == "__main__":
    main()
