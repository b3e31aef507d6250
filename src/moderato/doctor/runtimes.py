"""Which runtimes can be used here, and whether the one in use computes what it should."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moderato import plugins
from moderato.assemble import Workshop
from moderato.bench.choose import AUTO, EXACT, RUNTIMES
from moderato.bench.record import Entry
from moderato.cards import encoder_card
from moderato.doctor import Finding
from moderato.encoders import Encoder, open_encoder
from moderato.errors import MissingExtra, ModeratoError
from moderato.types import Embeddings, Views

_GOLDEN = Path(__file__).parent / "golden.npz"
"""`views` uint8 (8, 48, 48, 3) and their `embeddings` float32 (8, 128), `prompts` (8) and their embeddings `texts`, by
the code in PyTorch that trained the built-in encoder (`tools/doctor`)."""
_ENCODER = "tiny"
_FAR = 1e-3  # fp32 by another order of additions is off by 1e-6, a tower with one thing wrong by 1e-2 and more
_LIBRARIES = {"onnx": "onnxruntime"}
"""What is installed for it, where that has another name than the runtime."""


def examine(workshop: Workshop) -> Iterator[Finding]:
    """A line for each runtime, what those in use make of the stored drawings and prompts, and what was measured."""
    choices = workshop.choices
    measured = choices.measured() if AUTO in (choices.runtime, choices.precision) else []
    used = {choices.runtime}
    if choices.runtime == AUTO:
        used = {EXACT[0], *(entry.chosen.runtime for entry, stale in measured if not stale)}
    for name in dict.fromkeys([*plugins.names(RUNTIMES), *sorted(used)]):
        yield (found := _found(name, name in used))
        if name in used and found.state == "well":
            yield _parity(name, workshop.settings.threads)
    yield from (_chosen(entry, stale) for entry, stale in measured)


def _chosen(entry: Entry, stale: str | None) -> Finding:
    """What `auto` is for an encoder."""
    if stale:
        return Finding(f"auto, {entry.encoder}", "note", f"not used: {stale}", "moderato bench")
    return Finding(f"auto, {entry.encoder}", "well", f"{entry.choice}, measured on {entry.when[:10]}")


def _found(name: str, is_used: bool) -> Finding:
    use = ", in use" if is_used else ""
    try:
        runtime = plugins.load(RUNTIMES, name)
    except ModeratoError as error:
        is_needless = isinstance(error, MissingExtra) and not is_used
        return Finding(name, "note" if is_needless else "wrong", str(error))
    except Exception as error:  # noqa: BLE001  a library that cannot be loaded says so in ways of its own
        broken = f"cannot be loaded: {type(error).__name__}: {error}"
        library = _LIBRARIES.get(name, name)
        return Finding(name, "wrong" if is_used else "note", broken, f"pip install --force-reinstall {library}")
    return Finding(name, "well", f"{runtime.VERSION}{use}")


def _parity(name: str, threads: int) -> Finding:
    """Whether the built-in encoder embeds stored drawings and prompts as it was trained to."""
    title = f"{name} computes"
    folder = encoder_card(_ENCODER).folder
    assert folder
    try:
        with np.load(_GOLDEN) as golden:
            encoder = open_encoder(folder, name=_ENCODER, threads=threads, runtime=name)
            off = max(_off(*pair) for pair in _pairs(encoder, dict(golden)))
    except Exception as error:  # noqa: BLE001  as above
        return Finding(title, "wrong", f"fails: {type(error).__name__}: {error}", _other(name))
    if not off <= _FAR:
        detail = (
            f"something else than it should: embeddings are {off:.1%} of their spread off. No verdict can be trusted"
        )
        return Finding(title, "wrong", detail, _other(name))
    return Finding(title, "well", f"what it should: embeddings are {off:.0e} of their spread off")


def _pairs(encoder: Encoder, golden: dict[str, NDArray[Any]]) -> Iterator[tuple[Embeddings, Embeddings]]:
    """What is found and what was stored, of pictures and of texts."""
    yield encoder.encode(Views(golden["views"])), Embeddings(golden["embeddings"])
    if encoder.texts:
        yield encoder.texts.encode([str(prompt) for prompt in golden["prompts"]]), Embeddings(golden["texts"])


def _off(found: Embeddings, stored: Embeddings) -> float:
    """How far embeddings are off, relative to the spread of the stored ones around their mean."""
    return float(np.linalg.norm(found - stored) / np.linalg.norm(stored - stored.mean(axis=0)))


def _other(name: str) -> str:
    return f"pip install --force-reinstall {_LIBRARIES.get(name, name)}, or set MODERATO_RUNTIME to another"
