"""The identity of a model folder: a hash over its tensors, kept so that they are read once and not at every start."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from moderato.encoders._towers import Towers
from moderato.files import replacing

_KEPT = 100


def identity(towers: Towers, memory: Path | None) -> str:
    """`sha256:...` of all that embeds; `memory` is a JSON file of those already known, by the state of their files."""
    state = state_of_towers(towers)
    known = _read(memory)
    if state in known:
        return known[state]
    fresh = f"sha256:{towers.digest()}"
    if memory:
        _write(memory, {**known, state: fresh})
    return fresh


def state_of_towers(towers: Towers) -> str:
    """Changes whenever what embeds may have: the files' numbers, or how the config says they are used."""
    return " ".join([*map(state_of, towers.vision.tensors.files), towers.figures])


def state_of(file: Path) -> str:
    """Changes whenever the file may have."""
    status = file.stat()
    # The change time too: cp -p and rsync put another file in place with an old modification time.
    return f"{file.absolute()} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _read(memory: Path | None) -> dict[str, str]:
    with suppress(OSError, ValueError, TypeError):
        return dict(json.loads(memory.read_text("utf-8"))) if memory else {}
    return {}


def _write(memory: Path, known: dict[str, str]) -> None:
    with suppress(OSError):  # a read-only data folder costs time, nothing else
        memory.parent.mkdir(parents=True, exist_ok=True)
        with replacing(memory) as part:
            part.write_text(json.dumps(dict(list(known.items())[-_KEPT:]), indent=2), "utf-8")
