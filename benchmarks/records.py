"""What a benchmark found, where and with what, as a file: `benchmarks/results/NAME.json`."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.timing import Result

RESULTS = Path(__file__).parent / "results"
"""The committed ones, of which docs/performance.md is made."""

_PACKAGES = ("moderato", "numpy", "onnxruntime", "openvino", "pillow", "torch", "transformers")


@dataclass(frozen=True)
class Record:
    """One benchmark's results, and what they are worth nothing without."""

    benchmark: str
    command: str
    date: str
    """The day, as 2026-11-21, in UTC."""
    quick: bool
    """Whether it was a look with few rounds."""
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    results: list[Result]

    def find(self, **about: object) -> list[Result]:
        """Those that are about all of this."""
        return [result for result in self.results if about.items() <= result.about.items()]

    def write(self, folder: Path) -> None:
        """Into a file of its name, a result a line."""
        facts = {**vars(self), "results": None}
        lines = ",\n  ".join(json.dumps(result.facts()) for result in self.results)
        head = json.dumps(facts, indent=1).removesuffix("null\n}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.benchmark}.json").write_text(f"{head}[\n  {lines}\n ]\n}}\n")


def measured(benchmark: str, command: str, results: list[Result], *, quick: bool = False) -> Record:
    """The record of what was just measured on this machine."""
    today = datetime.now(UTC).date().isoformat()
    return Record(benchmark, command, today, quick, _machine(), _versions(), results)


def read(folder: Path) -> dict[str, Record]:
    """All records of a folder, by benchmark."""
    records = {}
    for file in sorted(folder.glob("*.json")):
        facts = json.loads(file.read_text())
        records[file.stem] = Record(**{**facts, "results": [Result(**one) for one in facts["results"]]})
    return records


def _machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0))} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release().split('-')[0]}",
    }


def _processor() -> str:
    """Its name, and the instructions that make low precisions fast."""
    facts = dict(re.findall(r"^(.+?)\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    flags = [name for name in ("avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if name in facts["flags"].split()]
    return f"{facts['model name']} (family {facts['cpu family']}, model {facts['model']}; {', '.join(flags)})"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
