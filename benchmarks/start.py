"""How long until the first verdict, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.timing import Result, alternating

_FIRST = (
    "import moderato, pathlib; folder = pathlib.Path(moderato.__file__).parent / 'samples'; "
    "moderato.load({policy!r}).check(folder / 'cat.png')"
)


def measure(checkpoint: Path, rounds: int) -> list[Result]:
    """Import, and import to first verdict with `tiny` and with ViT-B/32 weights; prompts cached after the first."""
    with tempfile.TemporaryDirectory() as data:
        policy = Path(data) / "bench.toml"
        policy.write_text(f'name = "b"\nencoder = "{checkpoint}"\nanchors = ["a house"]\n[labels.knife]\n')
        codes = {
            "an empty Python": "pass",
            "import moderato": "import moderato",
            "start to first verdict, tiny": _FIRST.format(policy="demo"),
            "start to first verdict, ViT-B/32, prompts cached": _FIRST.format(policy=str(policy)),
        }
        times = alternating(max(3, rounds // 2), 1, *(lambda code=code: _run(code, data) for code in codes.values()))
    return [Result(what, seconds, about={"start": what}) for what, seconds in zip(codes, times, strict=True)]


def _run(code: str, data: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env={"MODERATO_DATA": data})
