"""What moderato takes of memory and of the disk: `python -m benchmarks memory`.

In process and as `moderato serve`, with weights of ViT-B/32's size, at most eight views together. Prompts are cached
before, so no text tower is open. And the base installation, by its packages.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.load import asked
from benchmarks.pictures import jpeg, prepared
from benchmarks.resident import PICTURES, ROWS, resident
from benchmarks.service import memory, served, write_policy
from benchmarks.timing import Result
from moderato.assemble import Workshop
from moderato.settings import Settings

_SIZE = (640, 480)
_FILES = 16
_IN_PROCESS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
_SERVED = (("onnx", "fp32"), ("openvino", "int8"))
_LARGEST = 12  # packages told by name
_BYTECODE = (".pyc", ".pyo")


def measure(checkpoint: Path, _: int) -> list[Result]:
    """MB of the library, of the service, and on the disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        policy, data = write_policy(folder, checkpoint), folder / "data"
        _keep_ranges(policy, data)
        _library(policy, data, _IN_PROCESS[0])  # reads the prompts
        found = {
            **{f"in process, {' '.join(side)}": _library(policy, data, side) for side in _IN_PROCESS},
            **{f"service, {' '.join(side)}": _service(policy, data, side) for side in _SERVED},
            "on the disk": installed("moderato"),
        }
    return [
        Result(f"{where}, {what}", [size], unit="MB", about={"where": where, "what": what})
        for where, sizes in found.items()
        for what, size in sizes.items()
    ]


def _keep_ranges(policy: Path, data: Path) -> None:
    """What int8 is opened with: ranges of drawn pictures, where `moderato bench` keeps those of the user's."""
    workshop = Workshop(Settings(data=data))
    moderator = workshop.moderator(policy)
    (need,) = moderator.ready(moderator.policy).needs.values()
    views = prepared(need.spec, [jpeg(_SIZE, seed) for seed in range(_FILES)])
    workshop.choices.keep_ranges(need.encoder.collect_ranges([views]))


def _library(policy: Path, data: Path, side: tuple[str, str]) -> dict[str, float]:
    """Of a process that has nothing else to do."""
    command = [sys.executable, "-m", "benchmarks.resident", str(policy), str(data)]
    taken: dict[str, float] = json.loads(subprocess.check_output(command, env={**os.environ, **_chosen(side)}))
    return taken


def _service(policy: Path, data: Path, side: tuple[str, str]) -> dict[str, float]:
    """Of a server and of the processes that decode for it."""
    files = [jpeg(_SIZE, seed) for seed in range(_FILES)]
    with served(policy, data, {"MODERATO_ROWS": str(ROWS), **_chosen(side)}) as (url, process):
        taken = {f"started, {what}": size for what, size in memory(process).items()}
        assert len(asked(url, files, PICTURES, None).latencies(200)) == PICTURES
        taken |= {f"after {PICTURES} pictures, {what}": size for what, size in memory(process).items()}
        return {what: round(size) for what, size in taken.items()} | {"server, peak": resident(process.pid)["peak"]}


def _chosen(side: tuple[str, str]) -> dict[str, str]:
    """The settings that say so."""
    return dict(zip(("MODERATO_RUNTIME", "MODERATO_PRECISION"), side, strict=True))


def installed(package: str) -> dict[str, float]:
    """MB (of 10^6 bytes) of a package with all that it requires, without bytecode: the whole, and the largest."""
    sizes = Counter({name: _size(name) / 1e6 for name in _required(package)})
    return {
        "the base installation": round(sizes.total(), 1),
        **{name: round(size, 1) for name, size in sizes.most_common(_LARGEST)},
    }


def _required(package: str) -> set[str]:
    """It and what it requires here, without extras of its own."""
    found: set[str] = set()
    waiting = [Requirement(package)]
    while waiting:
        asked_for = waiting.pop()
        name = asked_for.name.lower().replace("_", "-")
        if name in found and not asked_for.extras:
            continue
        try:
            required = distribution(name).requires or []
        except PackageNotFoundError:  # required elsewhere
            continue
        found.add(name)
        for requirement in map(Requirement, required):
            extras = ("", *asked_for.extras)
            if not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(requirement)
    return found


def _size(package: str) -> int:
    found = distribution(package)
    files = [Path(str(found.locate_file(file))) for file in found.files or [] if file.suffix not in _BYTECODE]
    return sum(file.stat().st_size for file in files if file.is_file() and "bin" not in file.parts)
