"""A server to measure: `moderato serve` with weights of ViT-B/32's size, and what it and its processes take."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

_POLICY = """
name = "bench"
encoder = "{encoder}"
anchors = ["a photo", "a house"]
[labels.one]
prompts = ["a cat"]
review = 0.5
[labels.two]
prompts = ["a dog", "a horse"]
review = 0.5
"""


def write_policy(folder: Path, encoder: Path | str) -> Path:
    """A policy of two labels for an encoder."""
    policy = folder / "bench.toml"
    policy.write_text(_POLICY.format(encoder=encoder))
    return policy


@contextmanager
def served(
    policy: Path, data: Path, settings: Mapping[str, str] | None = None, workers: int = 1
) -> Iterator[tuple[str, psutil.Process]]:
    """A server, by its address, until the block ends. What it logs goes to `server.log` in its data folder."""
    data.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "moderato", "serve", "--policy", str(policy), "--port", "0"]
    command += ["--workers", str(workers)]
    environment = {**os.environ, "MODERATO_DATA": str(data), **(settings or {})}
    log = data / "server.log"
    with log.open("w") as stream, subprocess.Popen(command, stderr=stream, env=environment) as process:
        try:
            yield _address(log, process), psutil.Process(process.pid)
        finally:
            process.terminate()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    while process.poll() is None:
        time.sleep(0.05)
        if found := re.search(r"http://\S+?:\d+", log.read_text()):
            return found[0]
    raise RuntimeError(f"the server did not start: {log.read_text()}")


def processor(process: psutil.Process) -> float:
    """Seconds that the server and its processes have had of a core."""
    return sum(sum(one.cpu_times()[:2]) for one in _everyone(process))


def memory(process: psutil.Process) -> dict[str, float]:
    """MB of the server itself, and of all its processes, where what they share counts once."""
    whole = 0
    for one in _everyone(process):
        try:
            whole += one.memory_full_info().pss
        except psutil.NoSuchProcess:  # a worker that was just replaced
            continue
    return {"server": process.memory_info().rss / 2**20, "all processes": whole / 2**20}


def _everyone(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]
