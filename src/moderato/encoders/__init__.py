"""Encoders: views → embeddings, texts → embeddings.

`open_encoder` reads a model folder in any layout (`_layouts`) into towers (`_towers`), which a runtime (`onnx`) runs.
To add a runtime: one file here, with `open_vision`, `open_patches` and `open_text`. To add a layout: one file in
`_layouts`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from moderato import plugins
from moderato.encoders import _layouts
from moderato.encoders._identity import identity as identity_of
from moderato.encoders._prompt_cache import PromptCache
from moderato.encoders._texts import Texts, finite
from moderato.encoders._towers import TextTower, TwoTowers, VisionTower
from moderato.types import Embeddings, Views, ViewSpec

__all__ = ["WEIGHTS", "Encoder", "PromptCache", "open_encoder"]

WEIGHTS = _layouts.WEIGHTS
"""The names that weights go by, in the order in which they are looked for."""


class Runtime(Protocol):
    """What a runtime's module offers: each opens a tower for a number of threads and returns a thread-safe function."""

    def open_vision(self, tower: VisionTower, threads: int) -> Callable[[Views], Embeddings]:
        """Views `(N, S, S, 3)` uint8 → embeddings `(N, D)`."""

    def open_patches(self, tower: VisionTower, threads: int) -> Callable[[Views], NDArray[np.float32]]:
        """Views → one embedding a patch, `(N, grid, grid, D)`."""

    def open_text(self, tower: TextTower, threads: int) -> Callable[[NDArray[np.int64]], Embeddings]:
        """Token ids `(N, T)` → embeddings `(N, D)`."""


@dataclass
class Encoder:
    """One encoder, each of its parts opened when first used; thread-safe.

    `identity` names the embedding space: heads, banks and caches made in one are worthless in another.
    `view` is how it was trained to see; a policy may ask for another fit.
    `temperature` turns a cosine gap into a score (independent labels), `logit_scale` cosines into a softmax.
    """

    name: str
    identity: str
    view: ViewSpec
    texts: Texts
    temperature: float
    towers: TwoTowers
    runtime: Runtime
    threads: int
    _vision: Callable[[Views], Embeddings] | None = field(default=None, init=False, repr=False)
    _patches: Callable[[Views], NDArray[np.float32]] | None = field(default=None, init=False, repr=False)
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def dim(self) -> int:
        """D, the size of an embedding."""
        return self.towers.vision.dim

    @property
    def logit_scale(self) -> float:
        """What cosines are multiplied by before a softmax; near 100 for trained CLIPs."""
        return self.towers.logit_scale

    def encode(self, views: Views) -> Embeddings:
        """Embeddings `(N, D)` of uint8 views `(N, S, S, 3)`; N may be 0. Batch and single agree to 1e-5."""
        if len(views) == 0:
            return Embeddings(np.empty((0, self.dim), dtype=np.float32))
        vision = self._open_vision()
        with self._turn:  # one call uses all threads; two at once would only get in each other's way
            return finite(vision(views), self.name)

    def encode_patches(self, views: Views) -> NDArray[np.float32]:
        """One embedding a patch, float32 `(N, grid, grid, D)`, unit length, the top left patch first."""
        patches = self._open_patches()
        with self._turn:
            return patches(views)

    def _open_vision(self) -> Callable[[Views], Embeddings]:
        with self._lock:
            self._vision = self._vision or self.runtime.open_vision(self.towers.vision, self.threads)
            return self._vision

    def _open_patches(self) -> Callable[[Views], NDArray[np.float32]]:
        with self._lock:
            self._patches = self._patches or self.runtime.open_patches(self.towers.vision, self.threads)
            return self._patches


def open_encoder(
    folder: Path,
    *,
    name: str = "",
    identity: str | None = None,
    temperature: float | None = None,
    threads: int = 1,
    runtime: str = "onnx",
    prompts: PromptCache | None = None,
    identities: Path | None = None,
) -> Encoder:
    """Open the encoder in a model folder. Only configs and headers are read; the towers follow when used.

    `identity`: the declared one; without it the hash of all tensors, remembered in the file `identities`.
    `temperature`: for independent labels; without it the model's own logit scale.
    `threads`: cores that one call may use.

    Raises `WeightsError` when the folder is in no known layout, or something in it is missing or misshapen.
    """
    towers, view = _layouts.read(folder)
    identity = identity or identity_of(towers, identities)
    module = cast("Runtime", plugins.load("moderato.encoders", runtime))
    texts = Texts(
        tower=towers.text,
        folder=folder,
        open_tower=lambda: module.open_text(towers.text, threads),
        cache=prompts or PromptCache(None),
        identity=identity,
    )
    return Encoder(
        name=name or folder.name,
        identity=identity,
        view=view,
        texts=texts,
        temperature=temperature or towers.logit_scale,
        towers=towers,
        runtime=module,
        threads=threads,
    )
